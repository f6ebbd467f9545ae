//! Events that hold their transaction open for longer than `transaction_timeout`.
//!
//! The broker aborts such a transaction, so the pool does it first. Its events come again once: a
//! completer may have been late by chance. If the same event outlives its transaction again, the
//! source stops and names it.

use std::collections::BTreeSet;

use super::Worker;
use super::step::{interjected, place};
use crate::client::{Fetcher, TxnProducer};
use crate::eos::PartitionId;
use crate::handler::EventSource;
use crate::runtime::error::SourceError;
use crate::task::Input;

/// Incomplete events that have outlived a transaction, by task and offset; an interjection has no
/// offset.
pub(super) type Outlived = BTreeSet<(PartitionId, Option<i64>)>;

impl<A: EventSource, P: TxnProducer, F: Fetcher> Worker<A, P, F> {
    /// The pinned transaction has timed out: remembers the events that pin it, and fails those that
    /// have done so before.
    pub(super) fn replay_pinned(&mut self) {
        let timeout = self.parts.eos.transaction_timeout;
        let tasks = &self.tasks;
        self.outlived.retain(|(id, _)| tasks.values().any(|task| task.id == *id));
        let mut again = None;
        for task in tasks.values() {
            for input in task.pinning() {
                let at = match input {
                    Input::Record(record) | Input::Parked(record) => place(record),
                    Input::Scheduled { which, .. } => {
                        let known = self.parts.interjections.get(*which);
                        interjected(task, known.map_or("interjection", |known| &*known.name))
                    }
                    Input::Once => interjected(task, "interject"),
                };
                match self.outlived.insert((task.id, at.offset)) {
                    true => tracing::warn!(
                        event = %at, ?timeout,
                        "an incomplete event has outlived its transaction: it is processed again"
                    ),
                    false => drop(again.get_or_insert(at)),
                }
            }
        }
        if let Some(at) = again {
            self.fail(SourceError::PinnedTooLong { at, timeout });
        }
    }

    /// The partition has committed.
    pub(super) fn forget_outlived(&mut self, partition: PartitionId) {
        if self.outlived.is_empty() {
            return;
        }
        let committed = self.pool.committed_of(partition).map_or(0, |committed| committed.offset);
        let is_pending = |offset: Option<i64>| offset.is_some_and(|offset| offset >= committed);
        self.outlived.retain(|(id, offset)| *id != partition || is_pending(*offset));
    }
}
