//! The changelog: stores that are restored before their partition's events, and warm copies.

use std::sync::Arc;
use std::time::Instant;

use super::Worker;
use crate::client::{FetchError, Fetched, Fetcher, Reads, TxnProducer, UnreadableBatch};
use crate::handler::EventSource;
use crate::record::{Record, TopicPartition};
use crate::runtime::error::SourceError;
use crate::store::{Change, StateStore, is_opened, is_reserved};
use crate::task::{Task, TaskState};

/// So many changelog records are applied before the mailbox is looked at again.
const RECORDS_PER_ROUND: usize = 4_096;
/// The same, while there are events to process: they wait for a fraction of a millisecond.
const RECORDS_PER_ROUND_WHILE_ACTIVE: usize = 256;

impl<A: EventSource, P: TxnProducer, F: Fetcher> Worker<A, P, F> {
    /// Begins to read a partition's changelog; what was fetched of it before is dropped.
    pub(super) fn begin_restore(&mut self, partition: i32, start: i64) -> Result<(), SourceError> {
        let changelog = self.changelog(partition);
        let restorer = match &mut self.restorer {
            Some(restorer) => restorer,
            none => none.insert((self.parts.make_fetcher)(Reads::Changelog)?),
        };
        Ok(restorer.assign(&changelog, start)?)
    }

    /// Reads a partition's changelog no longer.
    pub(super) fn end_restore(&mut self, partition: i32) {
        let changelog = self.changelog(partition);
        if let Some(restorer) = &mut self.restorer {
            restorer.unassign(&changelog);
        }
        let reads = |task: &Task<A::Store>| {
            task.topic_partition().partition() != partition
                && matches!(task.state, TaskState::Restoring(_) | TaskState::Warm(_))
        };
        if !self.tasks.values().any(reads) {
            self.close_restorer();
        }
    }

    /// Closing a client takes about 100 ms, which nobody's events wait for.
    fn close_restorer(&mut self) {
        if let Some(restorer) = self.restorer.take() {
            self.closer.drop(restorer);
        }
    }

    pub(super) fn changelog(&self, partition: i32) -> TopicPartition {
        TopicPartition::new(Arc::clone(&self.parts.changelog), partition)
    }

    /// Applies changelog records. Returns whether there may be more at hand.
    pub(super) fn restore(&mut self, now: Instant) -> bool {
        if self.restorer.is_none() {
            return false;
        }
        self.prefer_ours();
        let is_active = self.tasks.values().any(|task| task.state == TaskState::Active);
        let budget = if is_active { RECORDS_PER_ROUND_WHILE_ACTIVE } else { RECORDS_PER_ROUND };
        let mut more = true;
        for _ in 0..budget {
            let Some(restorer) = &mut self.restorer else {
                return false;
            };
            match restorer.poll() {
                None => {
                    more = false;
                    break;
                }
                Some(Fetched::Record(record)) => self.restore_record(now, &record),
                Some(Fetched::EndOfPartition(partition)) => self.changelog_ends(now, partition),
                Some(Fetched::Trouble(message)) => tracing::debug!(message, "restoring"),
                Some(Fetched::Failed(error)) => self.restore_failed(error),
                Some(Fetched::Unreadable(batch)) => self.changelog_unreadable(batch),
            }
        }
        self.prefer_ours();
        self.report_restores(now);
        self.report_warm(now);
        more
    }

    fn restores_ours(&self) -> bool {
        self.tasks.values().any(|task| matches!(task.state, TaskState::Restoring(_)))
    }

    /// Events wait for what is ours.
    fn prefer_ours(&mut self) {
        let restoring = self.restores_ours();
        let flow = |(partition, task): (&i32, &mut Task<A::Store>)| match &mut task.state {
            TaskState::Warm(copy) => Some((*partition, copy.flow(restoring)?)),
            _ => None,
        };
        let changed: Vec<(i32, bool)> = self.tasks.iter_mut().filter_map(flow).collect();
        for (partition, pause) in changed {
            let changelog = self.changelog(partition);
            match (&mut self.restorer, pause) {
                (Some(restorer), true) => restorer.pause(&changelog),
                (Some(restorer), false) => restorer.resume(&changelog),
                (None, _) => {}
            }
        }
    }

    fn report_restores(&mut self, now: Instant) {
        for task in self.tasks.values_mut() {
            let partition = task.topic_partition().clone();
            if let TaskState::Restoring(restore) = &mut task.state
                && let Some(p) = restore.report(now)
            {
                let (records, bytes, rate, remaining) = (p.records, p.bytes, p.rate, p.remaining);
                tracing::info!(%partition, records, bytes, rate, remaining, "restoring");
            }
        }
    }

    fn restore_record(&mut self, now: Instant, record: &Record) {
        let partition = record.topic_partition().partition();
        let Some(task) = self.tasks.get_mut(&partition) else {
            return;
        };
        if !matches!(task.state, TaskState::Restoring(_) | TaskState::Warm(_)) {
            return;
        }
        let change = Change {
            offset: record.offset(),
            key: record.key().unwrap_or_default(),
            value: record.value(),
            headers: record.headers(),
        };
        let restored = match is_reserved(change.key) {
            true => {
                task.restored.opened |= is_opened(change.key);
                Ok(())
            }
            false => {
                task.restored.records += 1;
                task.context.store.restore(change)
            }
        };
        let (offset, bytes) = (record.offset(), record.size_bytes());
        match (&mut task.state, restored) {
            (TaskState::Warm(_), Err(error)) => self.warm_failed(partition, &error),
            (_, Err(source)) => {
                let partition = task.topic_partition().clone();
                self.fail(SourceError::Restore { partition, source });
            }
            (TaskState::Warm(copy), Ok(())) => copy.applied(offset, bytes),
            (TaskState::Restoring(restore), Ok(())) => {
                if restore.applied(offset, bytes) {
                    self.restored(now, partition);
                }
            }
            (TaskState::Active | TaskState::Closing | TaskState::Retired, Ok(())) => {}
        }
    }

    /// The end was reached, as far as transactions are decided. Whoever restores has made sure that
    /// everything up to its end is (`runtime/prepare.rs`).
    fn changelog_ends(&mut self, now: Instant, partition: i32) {
        match self.tasks.get_mut(&partition).map(|task| &mut task.state) {
            Some(TaskState::Warm(copy)) => copy.reached_end(),
            Some(TaskState::Restoring(_)) => self.restored(now, partition),
            _ => {}
        }
    }

    fn changelog_unreadable(&mut self, batch: UnreadableBatch) {
        let number = batch.partition.partition();
        match self.tasks.get(&number).map(|task| &task.state) {
            Some(TaskState::Warm(_)) => self.warm_failed(number, &batch),
            Some(TaskState::Restoring(_)) => self.fail(SourceError::UnreadableChanges(batch)),
            _ => {}
        }
    }

    /// The client does not say which partition it was.
    fn restore_failed(&mut self, error: FetchError) {
        if self.restores_ours() {
            return self.fail(error.into());
        }
        for partition in self.warm_partitions() {
            self.warm_failed(partition, &error);
        }
    }

    fn restored(&mut self, now: Instant, partition: i32) {
        let Some(task) = self.tasks.get_mut(&partition) else {
            return;
        };
        let at = task.topic_partition().clone();
        let TaskState::Restoring(restore) = &task.state else {
            return;
        };
        let p = restore.progress(now);
        let (records, bytes, rate) = (p.records, p.bytes, p.rate);
        tracing::info!(partition = %at, records, bytes, rate, "restored");
        self.activate(now, partition);
        self.end_restore(partition);
    }
}
