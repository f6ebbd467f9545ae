//! The settings of a source about errors.

use std::sync::Arc;

use super::builder::SourceBuilder;
use super::error::SourceError;
use super::error_policy::{ErrorPolicy, TransactionErrorContext, TransactionResponse};
use super::policy::OnUndecodable;
use crate::handler::EventSource;
use crate::task::ParkingBounds;

impl<A: EventSource, Missing: 'static> SourceBuilder<A, Missing> {
    /// Sets what to do with a record that can't be decoded, or whose type has no handler: a short
    /// form of [`Self::on_decode_error`].
    #[must_use]
    pub fn on_undecodable(self, policy: OnUndecodable) -> Self {
        self.on_decode_error(policy)
    }

    /// Sets what to do with a record that can't be decoded, or whose type has no handler; by
    /// default the source stops. GKES: `DeserializationErrorHandler`.
    ///
    /// # Examples
    /// ```
    /// use streams_core::prelude::*;
    /// use streams_core::{ErrorPolicy, ErrorResponse, SourceBuilder};
    ///
    /// fn letters<A: EventSource>(source: SourceBuilder<A>) -> SourceBuilder<A> {
    ///     source.on_decode_error(ErrorPolicy::dead_letter("letters"))
    /// }
    ///
    /// fn asked<A: EventSource>(source: SourceBuilder<A>) -> SourceBuilder<A> {
    ///     source.output("letters").on_decode_error(ErrorPolicy::with(|error| {
    ///         match error.is_unrouted() {
    ///             true => ErrorResponse::Continue,
    ///             false => ErrorResponse::DeadLetter("letters".to_owned()),
    ///         }
    ///     }))
    /// }
    /// ```
    #[must_use]
    pub fn on_decode_error(mut self, policy: impl Into<ErrorPolicy>) -> Self {
        self.errors.decode = policy.into();
        self
    }

    /// Sets what to do with an event whose handler, finalizer or interjection fails or panics, or
    /// whose changes can't be encoded; by default the source stops. GKES:
    /// `DefaultProcessingErrorHandler`.
    ///
    /// A failure by [`HandlerError::fatal`](crate::HandlerError::fatal) ends the process in any
    /// case.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    ///
    /// use streams_core::prelude::*;
    /// use streams_core::{Backoff, ErrorPolicy, RetryOrder, SourceBuilder};
    ///
    /// fn retried<A: EventSource>(source: SourceBuilder<A>) -> SourceBuilder<A> {
    ///     let backoff = Backoff::exponential(Duration::from_millis(100), Duration::from_secs(10));
    ///     let retry = ErrorPolicy::retry(5, backoff).order(RetryOrder::Key);
    ///     source.on_handler_error(retry.then(ErrorPolicy::dead_letter("letters")))
    /// }
    /// ```
    #[must_use]
    pub fn on_handler_error(mut self, policy: impl Into<ErrorPolicy>) -> Self {
        self.errors.handler = policy.into();
        self
    }

    /// Asks this function whenever a step of a transaction fails; by default the source does what
    /// [`TransactionResponse::Continue`] says. GKES: `TxnErrorHandler`.
    ///
    /// It runs on the worker's thread, which processes nothing meanwhile.
    #[must_use]
    pub fn on_transaction_error<F>(mut self, respond: F) -> Self
    where
        F: Fn(&TransactionErrorContext<'_>) -> TransactionResponse + Send + Sync + 'static,
    {
        self.errors.transaction = Some(Arc::new(respond));
        self
    }

    /// Sets how many events of a partition may be parked, by
    /// [`ErrorPolicy::park_by_key`]: `rows` is 1 to 100,000,000, by default 10,000, and `bytes`,
    /// with keys, is 1 KiB to 16 GiB, by default 64 MiB.
    ///
    /// At a bound the partition takes no more records, and its fetch pauses, until events are
    /// unparked. Events that have begun before may exceed it.
    #[must_use]
    pub const fn parked_events_max(mut self, rows: usize, bytes: usize) -> Self {
        self.errors.parking = ParkingBounds { max_rows: rows, max_bytes: bytes };
        self
    }

    /// Replaces the exit of the process after
    /// [`ErrorResponse::FatallyExit`](crate::ErrorResponse::FatallyExit) and
    /// [`HandlerError::fatal`](crate::HandlerError::fatal): the source calls this function instead.
    ///
    /// By default the source logs the error, flushes the standard output, and calls
    /// [`std::process::exit`] with [`FATAL_EXIT_CODE`](crate::FATAL_EXIT_CODE): no destructor runs,
    /// and the member does not leave the group. If the function returns, the source ends without
    /// leaving the group, and without what is not committed; `wait` returns the error.
    #[must_use]
    pub fn on_fatal(mut self, call: impl Fn(&SourceError) + Send + Sync + 'static) -> Self {
        self.errors.on_fatal = Some(Arc::new(call));
        self
    }
}
