//! The first event of a partition: it commits the start position, and writes the record by which
//! later owners know that the group has processed the partition.
//!
//! Without the commit a start position would be chosen again by the next owner, and with
//! `StartFrom::Latest` that owner would skip what came meanwhile. The record and the position are
//! in one transaction, so whoever finds one of them knows that there was the other
//! ([`OffsetsMissing`] has the table).

use std::time::Instant;

use super::step::interjected;
use super::{FromWorker, Worker};
use crate::client::{Fetcher, TxnProducer};
use crate::eos::{EventEnd, Offer, PartitionId};
use crate::handler::EventSource;
use crate::planted::{self, Bug};
use crate::runtime::error::SourceError;
use crate::runtime::history::CommittedWith;
use crate::runtime::policy::{ChangelogMissing, OffsetsMissing};
use crate::runtime::problem::TopicProblem;
use crate::store::{Changelog, EventSeq};
use crate::task::{Opening, Task, TaskState};

impl<A: EventSource, P: TxnProducer, F: Fetcher> Worker<A, P, F> {
    /// Checks that the committed offset and the changelog, which is restored, belong together.
    pub(super) fn check_history(&self, partition: i32) -> Result<(), SourceError> {
        let Some(task) = self.tasks.get(&partition) else {
            return Ok(());
        };
        let (at, records) = (task.topic_partition(), task.restored.records);
        let was_processed = task.restored.opened || records > 0;
        let group = self.parts.group_id.to_string();
        if task.committed.is_none() && was_processed {
            let error = SourceError::OffsetMissing { partition: at.clone(), group, records };
            return match self.parts.offsets_missing {
                OffsetsMissing::Fail => Err(error),
                OffsetsMissing::StartFrom => {
                    let offset = task.start.offset;
                    tracing::warn!(%error, offset, "accepted, as `offsets_missing` says");
                    Ok(())
                }
            };
        }
        let is_whole = task.restored.opened || planted::is(Bug::StaleCopy);
        if task.committed_with == CommittedWith::This && !is_whole {
            let changelog = self.parts.changelog.to_string();
            let problem = TopicProblem::ChangelogEmptied { changelog, partition, group };
            return match self.parts.changelog_missing {
                ChangelogMissing::Fail => Err(SourceError::Topics(vec![problem])),
                ChangelogMissing::Accept => {
                    tracing::warn!(%problem, "accepted, as `changelog_missing` says");
                    Ok(())
                }
            };
        }
        Ok(())
    }

    /// Runs the first event of each partition that needs one, before any other event of it.
    /// Returns false if no transaction takes it now.
    pub(super) fn open_partitions(&mut self, now: Instant) -> bool {
        let is_due = |task: &Task<A::Store>| task.begins() && task.opening == Opening::Due;
        while let Some(number) =
            self.tasks.iter().find_map(|(number, task)| is_due(task).then_some(*number))
        {
            let Offer::Join { slot, .. } = self.pool.offer(now) else {
                return false;
            };
            let Some(task) = self.tasks.get_mut(&number) else {
                return true;
            };
            task.context.begin(None);
            let event = task.context.event();
            let outputs = task.context.outputs_mut();
            let mut changelog = Changelog::new(outputs, &self.parts.changelog, number);
            if let Err(source) = changelog.opened(&self.parts.group_id) {
                let at = interjected(task, "opening");
                self.fail(SourceError::Changelog { at, source });
                return false;
            }
            let records = outputs.len();
            task.opening = Opening::Sent(event);
            let end = EventEnd { event, offset: None, records, complete: true };
            self.pool.end_event(task.id, end, false);
            self.take_outputs(now, slot, number);
        }
        true
    }

    /// The events up to `last` are committed: with the first one, the partition is active.
    pub(super) fn opened(&mut self, id: PartitionId, last: EventSeq) {
        let Some(task) = self.tasks.values_mut().find(|task| task.id == id) else {
            return;
        };
        let Opening::Sent(event) = task.opening else {
            return;
        };
        if event <= last {
            (task.opening, task.restored.opened) = (Opening::Done, true);
            let at = task.topic_partition().clone();
            if task.state == TaskState::Active {
                (self.parts.report)(FromWorker::Active(at));
            }
        }
    }
}
