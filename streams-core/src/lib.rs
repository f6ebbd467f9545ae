//! Exactly-once, stateful event-sourcing applications on Apache Kafka.
extern crate self as streams_core;

#[doc(hidden)]
pub mod __private;
pub mod client;
pub mod codec;
pub mod eos;
pub mod error;
pub mod group;
pub mod handler;
pub mod prelude;
pub mod record;
pub mod runtime;
pub mod store;
pub mod task;
pub mod testing;

#[doc = include_str!("docs/event_codec.md")]
pub use streams_derive::EventCodec;
#[doc = include_str!("docs/events.md")]
pub use streams_derive::Events;
#[doc = include_str!("docs/state_store.md")]
pub use streams_derive::StateStore;
#[doc = include_str!("docs/default_handler.md")]
pub use streams_derive::default_handler;
#[doc = include_str!("docs/event_handler.md")]
pub use streams_derive::event_handler;
#[doc = include_str!("docs/event_source.md")]
pub use streams_derive::event_source;
#[doc = include_str!("docs/interjection.md")]
pub use streams_derive::interjection;

pub use crate::codec::{CodecError, EventCodec};
pub use crate::handler::{
    EventContext, EventSource, Events, ExecutionState, HandlerError, Interjection, IntoOutcome,
    Outcome, Result, Route, RoutingTable, Topic,
};
pub use crate::record::Record;
pub use crate::runtime::{
    EventProducer, OnUndecodable, RunningSource, SourceBuilder, SourceError, SourceState, StartFrom,
};
pub use crate::store::{NoStore, OrderedTable, StateStore, StoreField, Table};
