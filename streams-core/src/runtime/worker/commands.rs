//! What the pool asks for.

use std::sync::Arc;
use std::time::Instant;

use super::{FromWorker, Worker};
use crate::client::{Fetcher, OffsetToCommit, SendError, TxnProducer};
use crate::eos::{
    CHANGELOG_PREFIX, Command, CommitOffset, Event, PartitionId, Snapshot, StopReason, TxnSeq,
};
use crate::error::{Cause, Disposition};
use crate::group::Generation;
use crate::handler::EventSource;
use crate::planted::{self, Bug};
use crate::record::TopicPartition;
use crate::runtime::error::{SourceError, UserCode};
use crate::runtime::slot::SlotCommand;
use crate::store::EventSeq;
use crate::task::TaskState;

impl<A: EventSource, P: TxnProducer, F: Fetcher> Worker<A, P, F> {
    pub(super) fn execute(&mut self, now: Instant, command: Command) {
        match command {
            Command::Init { slot } | Command::Recover { slot } => self.make_producer(slot),
            Command::Transmit { slot, .. } => self.slots[slot].transmit = true,
            Command::Flush { txn, slot } => self.slots[slot].flush = Some(txn),
            Command::Commit { txn, slot, offsets } => self.commit(now, txn, slot, offsets),
            Command::Abort { slot, .. } => {
                self.meters.aborted();
                self.slots[slot].end_span("aborted");
                self.slots[slot].reset();
                self.slots[slot].command(SlotCommand::Abort);
            }
            Command::Resolve { txn, offsets } => {
                let offsets = self.offsets(txn, &offsets);
                let offsets =
                    offsets.into_iter().map(|o| (o.topic_partition, o.offset, o.metadata));
                let worker = self.parts.index;
                let offsets = offsets.collect();
                (self.parts.report)(FromWorker::Resolve { worker, txn, offsets });
            }
            Command::Settled { partitions, figures, .. } => {
                self.measure_commit(now, &partitions, &figures);
                self.txn_failures = 0;
                for (id, last) in partitions {
                    self.settled(id, last);
                    self.forget_outlived(id);
                    self.forget_failures(id);
                    self.opened(id, last);
                }
            }
            Command::TimedOut { .. } => self.replay_pinned(),
            Command::Rewind { partition, to } => self.rewind(now, partition, &to),
            Command::Drained { partition } => {
                let drained = self.tasks.values().find(|task| task.id == partition);
                match drained.map(|task| (task.topic_partition().clone(), task.retires)) {
                    Some((at, true)) => self.retire(at),
                    Some((at, false)) => {
                        self.close(at.partition());
                        (self.parts.report)(FromWorker::Drained(at));
                    }
                    None => {}
                }
            }
            Command::Stop { reason } => self.stop(reason),
        }
    }

    /// The partition's events up to `last` are committed.
    fn settled(&mut self, id: PartitionId, last: EventSeq) {
        let Some(task) = self.tasks.values_mut().find(|task| task.id == id) else {
            return;
        };
        let at = task.topic_partition().clone();
        let commit = || task.committed_through(last);
        if let Err(error) = self.pulse.guard(UserCode::Store, &at, None, "commit_before", commit) {
            self.fail(error);
        }
    }

    /// EOS-7: the generation goes with every commit.
    fn commit(&mut self, now: Instant, txn: TxnSeq, slot: usize, offsets: Vec<CommitOffset>) {
        let Some(generation) = self.generation.clone() else {
            let (disposition, cause) = (Disposition::Abort, Cause::Group);
            return self.pool.handle(now, Event::Failed { txn, disposition, cause });
        };
        let (generation, offsets) = self.plant(generation, offsets);
        // The slot refuses a commit without an offset (EOS-7).
        let offsets = self.offsets(txn, &offsets);
        let timeout = self.offsets_patience.timeout();
        let slot = &mut self.slots[slot];
        slot.generation = Some(generation.generation_id);
        slot.command(SlotCommand::Commit { txn, offsets, generation, timeout });
    }

    /// What a commit is made of, with the bug that a test has switched on.
    fn plant(
        &self,
        generation: Generation,
        offsets: Vec<CommitOffset>,
    ) -> (Generation, Vec<CommitOffset>) {
        if planted::is(Bug::CommitWithoutGeneration) {
            let member_id = Arc::from("");
            return (Generation { generation_id: -1, member_id, ..generation }, offsets);
        }
        if planted::is(Bug::InterjectionWithoutFence) {
            let moves = |offset: &CommitOffset| {
                self.pool.committed_of(offset.partition) != Some(&offset.snapshot)
            };
            return (generation, offsets.into_iter().filter(moves).collect());
        }
        (generation, offsets)
    }

    fn offsets(&self, txn: TxnSeq, offsets: &[CommitOffset]) -> Vec<OffsetToCommit> {
        // Unique among all commits of the group, or a lost reply could not be told from the commit
        // before it.
        let changelog = self
            .parts
            .changelog_tag
            .map_or(String::new(), |tag| format!("{CHANGELOG_PREFIX}{tag}"));
        let tag = format!("{:x}.{:x}.{}{changelog}", self.parts.seed, self.parts.index, txn.0);
        let of = |offset: &CommitOffset| {
            let topic_partition = self.partition_of(offset.partition)?;
            let metadata = offset.snapshot.metadata(&tag);
            Some(OffsetToCommit { topic_partition, offset: offset.snapshot.offset, metadata })
        };
        offsets.iter().filter_map(of).collect()
    }

    pub(super) fn partition_of(&self, id: PartitionId) -> Option<TopicPartition> {
        let task = self.tasks.values().find(|task| task.id == id)?;
        Some(task.topic_partition().clone())
    }

    /// EOS-4: the store and the schedule roll back, the events are fetched again, and interjections
    /// run again.
    fn rewind(&mut self, now: Instant, id: PartitionId, to: &Snapshot) {
        let due = self.due_times(now, &to.schedule);
        let Some(task) = self.tasks.values_mut().find(|task| task.id == id) else {
            return;
        };
        let (at, offset) = (task.topic_partition().clone(), to.offset);
        for key in &self.cancelled {
            self.pool.remove_due(id, *key);
        }
        let runs = self.pulse.guard(UserCode::Store, &at, None, "undo_from", || task.rewind());
        tracing::info!(partition = %at, offset, "rewound");
        let is_active = task.state == TaskState::Active;
        if is_active {
            task.interjections = due;
        }
        let runs = match runs {
            Ok(runs) => runs,
            Err(error) => return self.fail(error),
        };
        if !is_active {
            let why = || self.given_up(at.partition());
            return runs.into_iter().for_each(|run| run.resolve(Err(why())));
        }
        self.run_again(at.partition(), runs);
        if let Err(error) = self.fetcher.assign(&at, offset) {
            self.fail(error.into());
        }
    }

    pub(super) fn stop(&mut self, reason: StopReason) {
        let last = self.last_error.take();
        let text = last.as_ref().map_or(String::new(), ToString::to_string);
        let error = match (reason, last) {
            (StopReason::Outage, _) => {
                SourceError::Outage { timeout: self.parts.outage_timeout, last: text }
            }
            (StopReason::Failed, Some(error)) => SourceError::Transaction(error),
            (StopReason::TooManyAborts, _) => {
                SourceError::TooManyAborts { count: crate::eos::ABORTS_IN_A_ROW_MAX, last: text }
            }
            (StopReason::Failed, None) => SourceError::Thread("the pool stopped".to_owned()),
        };
        self.fail(error);
        self.abort_all();
        let partitions: Vec<_> = self.tasks.keys().copied().collect();
        partitions.into_iter().for_each(|partition| self.close(partition));
        self.ended = true;
    }

    /// Sends what may be sent, and flushes where all is sent.
    pub(super) fn transmit(&mut self, now: Instant) {
        for index in 0..self.slots.len() {
            self.send_slot(now, index);
            let slot = &mut self.slots[index];
            if slot.sent == slot.outputs.len()
                && let Some(txn) = slot.flush.take()
            {
                slot.command(SlotCommand::Flush(txn));
            }
        }
    }

    /// Sends the outputs of a slot's transaction, as far as its client takes them.
    pub(super) fn send_slot(&mut self, now: Instant, index: usize) {
        let slot = &mut self.slots[index];
        let Some(producer) = slot.producer.as_ref().filter(|_| slot.transmit) else {
            return;
        };
        let mut refused = None;
        for output in slot.outputs.iter_from(slot.sent) {
            match producer.send(output) {
                Ok(()) => slot.sent += 1,
                Err(SendError::Full) => break,
                Err(SendError::Refused(error)) => {
                    refused = Some(error);
                    break;
                }
            }
        }
        if slot.sent == slot.outputs.len() {
            slot.outputs.clear();
            slot.sent = 0;
        }
        if let Some(error) = refused {
            slot.transmit = false;
            let (disposition, cause) = self.keep(now, index, error);
            if let Some(txn) = self.pool.txn_of(index) {
                self.pool.handle(now, Event::Failed { txn, disposition, cause });
            }
        }
    }
}
