//! The changelog: stores that are restored before their partition's events, and warm copies.

use std::any::Any;
use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use super::Worker;
use crate::client::{FetchError, Fetched, Fetcher, Reads, TxnProducer, UnreadableBatch};
use crate::handler::EventSource;
use crate::record::{Record, TopicPartition};
use crate::runtime::error::{CodePlace, SourceError, UserCode};
use crate::runtime::pulse::panic_text;
use crate::store::{Change, StateStore, framework_row, is_opened, is_reserved, split_table_key};
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
        self.begin_again(now);
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
                Some(Fetched::EndOfPartition { partition, offset }) => {
                    self.changelog_ends(now, partition, offset);
                }
                Some(Fetched::Trouble(message)) => tracing::debug!(message, "restoring"),
                Some(Fetched::Failed { partition, error }) => {
                    self.restore_failed(partition.as_ref(), error);
                }
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
        let moment = self.moment(now);
        let Some(task) = self.tasks.get_mut(&partition) else {
            return;
        };
        let change = Change {
            offset: record.offset(),
            key: record.key().unwrap_or_default(),
            value: record.value(),
            headers: record.headers(),
        };
        let (offset, bytes) = (record.offset(), record.size_bytes());
        let at = task.topic_partition().clone();
        self.pulse.enter(UserCode::Restore, &at, Some(offset), "");
        let restore = || match is_reserved(change.key) {
            true => {
                task.restored.opened |= is_opened(change.key);
                if let Some((table, key)) = framework_row(change.key) {
                    task.context.framework_mut().restore(table, key, change.value);
                }
                Ok(())
            }
            false => {
                task.restored.records += 1;
                task.context.store.restore(change)
            }
        };
        let restored = catch_unwind(AssertUnwindSafe(restore));
        self.pulse.leave();
        let restored = match restored {
            Ok(restored) => {
                restored.map_err(|source| SourceError::Restore { partition: at, source })
            }
            Err(panic) => Err(panicked(at, &change, &*panic)),
        };
        match (&mut task.state, restored) {
            (TaskState::Warm(_), Err(error)) => self.warm_failed(partition, &error),
            (_, Err(error)) => self.fail(error),
            (TaskState::Warm(copy), Ok(())) => {
                let restorer = self.restorer.as_ref();
                let end = || restorer?.end(record.topic_partition());
                copy.applied(moment, offset, bytes, end);
            }
            (TaskState::Restoring(restore), Ok(())) => {
                if restore.applied(offset, bytes) {
                    self.restored(now, partition);
                }
            }
            (TaskState::Active | TaskState::Closing | TaskState::Retired, Ok(())) => {}
        }
    }

    /// The end was reached at `offset`, as far as transactions are decided. Whoever restores has
    /// made sure that everything up to the restore's end is (`runtime/prepare.rs`), but a replica
    /// that lags behind ends earlier: then the next end is awaited.
    fn changelog_ends(&mut self, now: Instant, partition: i32, offset: i64) {
        let at = self.moment(now);
        match self.tasks.get_mut(&partition).map(|task| &mut task.state) {
            Some(TaskState::Warm(copy)) => copy.reached_end(at, offset),
            Some(TaskState::Restoring(restore)) => {
                if restore.reached(offset) {
                    self.restored(now, partition);
                } else {
                    let (end, partition) = (restore.end(), self.changelog(partition));
                    tracing::warn!(%partition, offset, end, "the replica's end is not the end yet");
                }
            }
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

    /// A changelog can't be read on. If it is a copy's, the worker gives up that copy alone.
    fn restore_failed(&mut self, changelog: Option<&TopicPartition>, error: FetchError) {
        let known = changelog.map(TopicPartition::partition);
        let state = known.and_then(|known| self.tasks.get(&known)).map(|task| &task.state);
        match (known, state) {
            (Some(number), Some(TaskState::Warm(_))) => self.warm_failed(number, &error),
            (Some(_), Some(TaskState::Restoring(_))) => self.fail(error.into()),
            // Not read any more.
            (Some(_), _) => tracing::debug!(%error, "a changelog that is not read any more"),
            (None, _) if self.restores_ours() => self.fail(error.into()),
            (None, _) => {
                for partition in self.warm_partitions() {
                    self.warm_failed(partition, &error);
                }
            }
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
        self.measure_restore(now, partition);
        self.activate(now, partition);
        self.end_restore(partition);
    }
}

/// The store panicked while it restored this change.
fn panicked(
    partition: TopicPartition,
    change: &Change<'_>,
    panic: &(dyn Any + Send),
) -> SourceError {
    let table = split_table_key(change).map(|(table, _)| String::from_utf8_lossy(table));
    let name = table.map_or_else(|_| String::new(), Cow::into_owned);
    let at = CodePlace { code: UserCode::Restore, partition, offset: Some(change.offset), name };
    SourceError::CodePanicked { at, message: panic_text(panic) }
}
