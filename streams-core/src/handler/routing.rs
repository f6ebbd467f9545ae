//! The verified routing table, as `#[event_source]` generates it.

use std::time::{Duration, SystemTime};

use super::{EventContext, Events, ExecutionState, HandlerError};
use crate::codec::CodecError;
use crate::record::Record;
use crate::runtime::SourceBuilder;
use crate::store::StateStore;

/// What came of one event.
#[derive(Debug)]
pub enum Outcome {
    /// The event is done.
    Complete,
    /// A completer will complete it.
    Incomplete,
    /// The handler failed.
    Failed(HandlerError),
    /// The record's bytes are not the payload of its record type.
    Undecodable(CodecError),
    /// No handler for the record type, and no default handler.
    Unrouted,
}

/// What a handler may return.
#[diagnostic::on_unimplemented(
    message = "a handler can't return `{Self}`",
    label = "should be `Result<ExecutionState>`",
    note = "end with `Ok(Complete)` when the event is done, or `Ok(Incomplete)` when a completer \
            finishes it later"
)]
pub trait IntoOutcome {
    /// The outcome it means.
    fn into_outcome(self) -> Outcome;
}

impl IntoOutcome for ExecutionState {
    fn into_outcome(self) -> Outcome {
        match self {
            Self::Complete => Outcome::Complete,
            Self::Incomplete => Outcome::Incomplete,
        }
    }
}

impl<E: Into<HandlerError>> IntoOutcome for std::result::Result<ExecutionState, E> {
    fn into_outcome(self) -> Outcome {
        self.map_or_else(|e| Outcome::Failed(e.into()), IntoOutcome::into_outcome)
    }
}

/// One row of the routing table, as data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The record type, as it travels in the `__grt__` header.
    pub record_type: &'static str,
    /// The payload's type.
    pub payload: &'static str,
    /// The handler's path.
    pub handler: &'static str,
}

/// A handler that is called by the clock, once for each partition. Kafka Streams: a punctuator.
#[derive(Debug)]
pub struct Interjection<S: 'static> {
    /// The handler's path.
    pub name: &'static str,
    /// The time between two calls.
    pub every: Duration,
    /// Each interval is longer or shorter by a random time up to this.
    pub jitter: Duration,
    /// The handler.
    pub call: fn(&mut EventContext<S>, SystemTime) -> Outcome,
}

impl<S: 'static> Clone for Interjection<S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S: 'static> Copy for Interjection<S> {}

/// A verified routing table.
#[derive(Debug)]
pub struct RoutingTable<S: 'static> {
    /// Decodes the record and calls its handler.
    pub dispatch: fn(&mut EventContext<S>, &Record) -> Outcome,
    /// The rows, as data.
    pub routes: &'static [Route],
    /// The interjections.
    pub interjections: &'static [Interjection<S>],
}

/// An application: a contract, a store, and a handler for each record type. `#[event_source]`.
pub trait EventSource: Sized + 'static {
    /// The contract of the source topic.
    type Events: Events;
    /// The state of each partition.
    type Store: StateStore;
    /// The verified routing table.
    const TABLE: RoutingTable<Self::Store>;

    /// Decodes the record and calls its handler.
    fn dispatch(ctx: &mut EventContext<Self::Store>, record: &Record) -> Outcome {
        (Self::TABLE.dispatch)(ctx, record)
    }

    /// The settings of a source of this application; [`SourceBuilder::start`] starts it.
    fn builder() -> SourceBuilder<Self> {
        SourceBuilder::new()
    }

    /// The routing table as data.
    fn routes() -> &'static [Route] {
        Self::TABLE.routes
    }
}
