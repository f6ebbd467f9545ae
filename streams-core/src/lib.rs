//! Exactly-once, stateful event-sourcing applications on Apache Kafka.
//!
//! Each event's outputs, its state changes and its offset are committed in one Kafka transaction,
//! or not at all. It is not a stream-processing language, not a database, and not exactly-once for
//! side effects outside Kafka.
//!
//! ```
//! use schemars::JsonSchema;
//! use serde::{Deserialize, Serialize};
//! use streams_core::prelude::*;
//!
//! #[derive(EventCodec, Serialize, Deserialize, JsonSchema)]
//! struct Deposit {
//!     account: String,
//!     cents: i64,
//! }
//!
//! #[derive(Events)] // the contract of the topic
//! enum AccountEvent {
//!     Deposited(Deposit),
//! }
//!
//! #[derive(Events)]
//! enum Balance {
//!     Changed(i64),
//! }
//!
//! #[derive(StateStore)] // the state of each partition
//! struct Accounts {
//!     balances: Table<String, i64>,
//! }
//!
//! static BALANCES: Topic<Balance> = Topic::new("balances");
//!
//! #[event_source(events = AccountEvent, store = Accounts)]
//! mod accounts {
//!     use super::*;
//!
//!     #[event_handler("Deposited")]
//!     fn deposited(ctx: &mut EventContext<Accounts>, d: Deposit) -> Result<ExecutionState> {
//!         let balance = ctx.store.balances.update(d.account.clone(), |balance| {
//!             *balance += d.cents;
//!             *balance
//!         });
//!         ctx.forward(&BALANCES, &d.account, Balance::Changed(balance))?;
//!         Ok(Complete)
//!     }
//! }
//!
//! fn main() {
//!     let source = accounts::Source::builder().bootstrap("kafka:9092").group("accounts");
//!     // source.topic("deposits").start()?.run_until_signal()?;
//! #   drop(source);
//! }
//! ```
//!
//! # Where to go from here
//!
//! - [`EventSource::builder`]: the settings, and how a source starts and ends.
//! - [`EventContext`]: what a handler sees; [`Table`] and [`StateStore`]: its state.
//! - [`eos`]: the guarantees EOS-1 to EOS-7, and the pool of transactions that keeps them.
//! - [`group`]: membership; [`handler::Completer`]: events that end later, from any thread.
//! - [`jobs`]: asynchronous work by key.
//! - [`global`]: topics that every process reads whole, as tables for handlers.
//! - [`ErrorPolicy`]: what becomes of an event that fails.
//! - [`testing`]: applications without a broker.
//! - [`codec`]: how payloads become bytes; [`schema`]: contracts as data.
//! - [`from_gkes`]: a guide for users of GKES, with the counterpart of each of its names.
extern crate self as streams_core;

#[doc(hidden)]
pub mod __private;
pub mod client;
pub mod codec;
pub mod eos;
pub mod error;
#[doc = include_str!("docs/from_gkes.md")]
pub mod from_gkes {}
pub mod global;
pub mod group;
pub mod handler;
pub mod jobs;
pub mod metrics;
mod patience;
mod planted;
pub mod prelude;
pub mod producer;
pub mod record;
pub mod runtime;
pub mod schema;
pub mod store;
pub mod task;
pub mod testing;

#[doc = include_str!("docs/event_codec.md")]
pub use streams_derive::EventCodec;
#[doc = include_str!("docs/events.md")]
pub use streams_derive::Events;
#[doc = include_str!("docs/job.md")]
pub use streams_derive::Job;
#[doc = include_str!("docs/key_codec.md")]
pub use streams_derive::KeyCodec;
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

pub use crate::codec::{CodecError, EventCodec, KeyCodec};
pub use crate::global::{
    GlobalChangeLog, GlobalError, GlobalState, GlobalTable, OrderedGlobalTable,
};
pub use crate::handler::{
    EventContext, EventSource, Events, ExecutionState, HandlerError, Interjection, IntoOutcome,
    Outcome, ParkedKey, Result, Route, RoutingTable, Topic,
};
pub use crate::producer::{BatchProducer, Destination, EventProducer, Producer};
pub use crate::record::Record;
pub use crate::runtime::{
    Answer, Backoff, ChangelogMissing, CodePlace, CreateTopics, ErrorContext, ErrorPolicy,
    ErrorResponse, FATAL_EXIT_CODE, InterjectError, Interjected, InterjectedAll, IntoShared,
    NewPartitions, NothingMissing, OffsetsMissing, OnUndecodable, OnUnreadable, RetryOrder,
    RetryPolicy, RunState, RunStatus, RunningSource, ScheduleError, ScheduledInterjection, Signal,
    SourceBuilder, SourceError, SourceHandle, SourceSet, SourceSetError, SourceState, SourceTopics,
    Stall, StartFrom, TopicProblem, TopicRole, TransactionErrorContext, TransactionResponse,
    UserCode, dead_letter,
};
pub use crate::store::{NoStore, OrderedTable, StateStore, StoreField, Table};
