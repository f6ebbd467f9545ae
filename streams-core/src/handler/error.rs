//! How a handler says that it failed.

use std::fmt;

/// What handlers return.
pub type Result<T, E = HandlerError> = std::result::Result<T, E>;

/// What a failure means for the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Stop, and leave the group: other members take the partitions over at once.
    Fail,
    /// End the process at once, without leaving the group: the partitions wait for the session
    /// timeout.
    Fatal,
}

/// A handler's failure. Errors become one by `?`, with [`Severity::Fail`]: those of the standard
/// library and of other crates, `anyhow::Error`, `Box<dyn Error + Send + Sync>`, `String`, `&str`.
///
/// The event's outputs and store changes are undone, and its offset is not committed.
///
/// # Examples
/// ```
/// use streams_core::prelude::*;
///
/// fn check(amount: i64) -> std::result::Result<i64, String> {
///     if amount < 0 { Err(format!("the amount {amount} is negative")) } else { Ok(amount) }
/// }
///
/// fn deposited(_: &mut EventContext<NoStore>, amount: &str) -> Result<ExecutionState> {
///     let amount: i64 = amount.parse()?; // an error of the standard library
///     check(amount)?; // a text
///     if amount > 1_000 {
///         return Err("more than 1,000".into());
///     }
///     Ok(Complete)
/// }
/// # let mut ctx = streams_core::testing::context();
/// # assert_eq!(deposited(&mut ctx, "7").unwrap(), Complete);
/// # for wrong in ["seven", "-7", "7000"] {
/// #     assert!(deposited(&mut ctx, wrong).is_err());
/// # }
/// ```
pub struct HandlerError {
    severity: Severity,
    source: Box<dyn std::error::Error + Send + Sync>,
}

impl HandlerError {
    /// A failure that goes to the source's error policy
    /// ([`SourceBuilder::on_handler_error`](crate::SourceBuilder::on_handler_error)); by default it
    /// stops the application in good order.
    pub fn fail(reason: impl FailureReason) -> Self {
        Self { severity: Severity::Fail, source: reason.into_error() }
    }

    /// A failure after which nothing may run on: the process exits with
    /// [`FATAL_EXIT_CODE`](crate::FATAL_EXIT_CODE), without leaving the group. No error policy is
    /// asked. [`SourceBuilder::on_fatal`](crate::SourceBuilder::on_fatal) replaces the exit.
    pub fn fatal(reason: impl FailureReason) -> Self {
        Self { severity: Severity::Fatal, source: reason.into_error() }
    }

    /// What it means for the application.
    pub const fn severity(&self) -> Severity {
        self.severity
    }

    /// Returns the error that the handler ran into.
    pub fn get_ref(&self) -> &(dyn std::error::Error + Send + Sync + 'static) {
        &*self.source
    }

    /// The error that the handler ran into.
    pub fn into_source(self) -> Box<dyn std::error::Error + Send + Sync> {
        self.source
    }
}

impl fmt::Display for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.source, f)
    }
}

impl fmt::Debug for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {:?}", self.severity, self.source)
    }
}

/// Whatever can be the reason of a [`HandlerError`]: everything that becomes a
/// `Box<dyn Error + Send + Sync>`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be the reason why a handler fails",
    label = "no `Error` that is `Send + Sync`: write \
             `.map_err(|error| HandlerError::fail(error.to_string()))?`",
    note = "a type of your own: implement `std::error::Error` for it, or derive \
            `thiserror::Error`; a boxed error: make it `Box<dyn Error + Send + Sync>`"
)]
pub trait FailureReason {
    /// The reason as an error.
    fn into_error(self) -> Box<dyn std::error::Error + Send + Sync>;
}

#[diagnostic::do_not_recommend]
impl<E: Into<Box<dyn std::error::Error + Send + Sync>>> FailureReason for E {
    fn into_error(self) -> Box<dyn std::error::Error + Send + Sync> {
        self.into()
    }
}

impl<E: FailureReason> From<E> for HandlerError {
    fn from(reason: E) -> Self {
        Self::fail(reason)
    }
}
