//! How a handler says that it failed.

use std::fmt;

/// What handlers return.
pub type Result<T, E = HandlerError> = std::result::Result<T, E>;

/// What a failure means for the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Stop, and leave the group: other members take the partitions over at once.
    Fail,
    /// Exit at once, without leaving: the partitions wait for the session timeout.
    Fatal,
}

/// A handler's failure. Any error becomes one by `?`, with [`Severity::Fail`].
///
/// The event's outputs and store changes are undone, and its offset is not committed.
pub struct HandlerError {
    severity: Severity,
    source: Box<dyn std::error::Error + Send + Sync>,
}

impl HandlerError {
    /// A failure that stops the application in good order.
    pub fn fail(reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { severity: Severity::Fail, source: reason.into() }
    }

    /// A failure after which nothing may run on: the process exits without leaving the group.
    pub fn fatal(reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { severity: Severity::Fatal, source: reason.into() }
    }

    /// What it means for the application.
    pub const fn severity(&self) -> Severity {
        self.severity
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

impl<E: std::error::Error + Send + Sync + 'static> From<E> for HandlerError {
    fn from(error: E) -> Self {
        Self::fail(error)
    }
}
