//! A source at work: topics, group, workers, and an orderly end.
//!
//! Three kinds of threads: the control thread (tokio: group membership and administration), the
//! workers (one by default), and each worker's producers. Between them go mailboxes; each end says
//! what bounds it.
//!
#![doc = include_str!("../docs/lifecycle.md")]

mod block;
mod builder;
mod callbacks;
mod control;
mod copies;
pub mod dead_letter;
mod error;
mod error_policy;
mod error_settings;
pub(crate) mod failure;
mod handle;
mod history;
mod instance;
mod interject;
mod interjection_settings;
mod job_settings;
pub(crate) mod mailbox;
pub(crate) mod outage;
mod policy;
mod prepare;
mod problem;
pub(crate) mod pulse;
mod running;
mod schedules;
mod shared;
mod signals;
pub(crate) mod slot;
mod source_set;
mod source_topics;
mod start;
mod status;
mod store_factory;
mod takeover;
pub(crate) mod tombstones;
mod topics;
pub(crate) mod worker;

pub use self::builder::SourceBuilder;
pub use self::error::{CodePlace, EventPlace, SourceError, UserCode};
pub use self::error_policy::{
    Backoff, ErrorContext, ErrorPolicy, ErrorResponse, FATAL_EXIT_CODE, RetryOrder, RetryPolicy,
    TransactionErrorContext, TransactionResponse,
};
pub use self::handle::SourceHandle;
pub(crate) use self::handle::{Lifecycle, Port};
pub(crate) use self::history::CommittedWith;
pub use self::interject::{Answer, InterjectError, Interjected, InterjectedAll};
#[cfg(test)]
pub(crate) use self::interject::{Question, Queue};
pub use self::policy::{
    ChangelogMissing, CreateTopics, NewPartitions, OffsetsMissing, OnUndecodable, OnUnreadable,
    StartFrom,
};
pub use self::problem::{TopicProblem, TopicRole};
pub use self::running::{RunningSource, SourceState, Stall};
pub(crate) use self::running::{SharedState, UserCommand};
pub use self::schedules::{ScheduleError, ScheduledInterjection};
pub use self::shared::{IntoShared, NothingMissing};
pub use self::signals::Signal;
pub use self::source_set::{SourceSet, SourceSetError};
pub use self::source_topics::SourceTopics;
pub use self::status::{RunState, RunStatus};
