//! What handlers see and say: [`EventContext`], [`ExecutionState`], and the routing table that
//! `#[event_source]` verifies and generates.
//!
//! Pure: no async, no clock, no client. Handlers are synchronous and own their partition's store
//! while they run.

mod completer;
mod context;
mod counts;
mod error;
mod events;
mod hold;
mod outgoing;
pub(crate) mod parked;
mod routing;
mod scheduled;
mod topic;

pub use self::completer::{Completer, Completion, CompletionSink, EventTicket, Finalize};
pub use self::context::EventContext;
pub(crate) use self::context::HandlerClock;
pub(crate) use self::counts::PartitionCounts;
pub use self::error::{FailureReason, HandlerError, Result, Severity};
pub use self::events::Events;
pub use self::hold::Hold;
pub use self::outgoing::Outgoing;
pub use self::parked::ParkedKey;
pub use self::routing::{
    DeclaredKey, DurableRoute, EventSource, Interjection, IntoOutcome, NoDeclaredKey, Outcome,
    Route, RoutingTable,
};
pub(crate) use self::scheduled::Scheduled;
pub use self::topic::Topic;

/// How far an event is, when its handler returns without an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExecutionState {
    /// The event is done: its offset may be committed, with its outputs and changes.
    Complete,
    /// The event goes on elsewhere: a [`Completer`] taken from the context completes it, from any
    /// thread. Its offset is not committed before that. Without a completer the event fails.
    Incomplete,
}
