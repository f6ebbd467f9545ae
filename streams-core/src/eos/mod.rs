//! Exactly once: which transaction an event joins, when it may commit, and what an abort undoes.
//!
//! The guarantees, by the names that asserts, tests and commits use:
//!
//! - **EOS-1** Records of one source partition are produced in event order, across transactions.
//! - **EOS-2** Transactions that share a partition commit in the order they opened.
//! - **EOS-3** A committed offset is one past the highest contiguously completed event and never
//!   goes back.
//! - **EOS-4** If a transaction aborts, every later open one aborts too; the tasks rewind and their
//!   stores roll back.
//! - **EOS-5** A fenced producer never yields a commit.
//! - **EOS-6** A revoked partition has no event in an open transaction once its revocation is
//!   acknowledged; one that is released, before its member joins.
//! - **EOS-7** Every commit carries the member id and the generation (KIP-447). A transaction
//!   without an offset to advance commits the current offset again, because only the offset commit
//!   is fenced by the generation.
//!
//! [`Pool`] is the machine: no async, no clock, no client. The worker drives it.

mod config;
mod pool;
mod progress;
mod schedule;
mod txn;

pub use self::config::EosConfig;
pub use self::pool::{
    ABORTS_IN_A_ROW_MAX, Command, Event, EventEnd, Offer, PartitionId, Pool, StopReason,
};
pub use self::progress::{
    CHANGELOG_PREFIX, Delivery, IN_FLIGHT_EVENTS_LIMIT, IN_FLIGHT_EVENTS_MAX, Progress, Snapshot,
    Window, changelog_tag, is_ours, metadata_bytes_min,
};
pub use self::schedule::{Schedule, ScheduleKey};
pub use self::txn::{CommitOffset, Transaction, TxnFigures, TxnSeq, TxnState};
