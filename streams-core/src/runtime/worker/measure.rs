//! The figures that a worker reports about itself.

use std::time::{Duration, Instant};

use super::Worker;
use crate::client::{Fetcher, TxnProducer};
use crate::eos::{PartitionId, TxnFigures};
use crate::handler::EventSource;
use crate::jobs::durable::JOBS;
use crate::metrics::TxnTimes;
use crate::store::EventSeq;
use crate::task::TaskState;

/// The time between two settings of the gauges.
const GAUGES_EVERY: Duration = Duration::from_secs(1);

impl<A: EventSource, P: TxnProducer, F: Fetcher> Worker<A, P, F> {
    /// Reports a committed transaction.
    pub(super) fn measure_commit(
        &self,
        now: Instant,
        partitions: &[(PartitionId, EventSeq)],
        figures: &TxnFigures,
    ) {
        // The metric names a partition only if there is one.
        let only = match partitions {
            [(id, _)] => self.partition_of(*id).map(|at| at.partition()),
            _ => None,
        };
        self.meters.committed(self.times(now), (partitions.len(), only), figures);
    }

    /// Reports that a partition's store is restored.
    pub(super) fn measure_restore(&mut self, now: Instant, partition: i32) {
        let times = self.times(now);
        if let Some(TaskState::Restoring(restore)) = self.tasks.get(&partition).map(|t| &t.state) {
            let (took, records, bytes) = restore.totals(now);
            self.meters.restored(times, partition, took, records, bytes);
        }
    }

    /// Sets the gauges, about once a second.
    pub(super) fn measure(&mut self, now: Instant) {
        if self.gauges_due.is_some_and(|due| now < due) {
            return;
        }
        self.gauges_due = Some(now + GAUGES_EVERY);
        let unsent = self.slots.iter().map(|slot| slot.outputs.size_bytes()).sum();
        self.meters.queues(self.waiting.len(), unsent);
        let tasks = &self.tasks;
        let is = |partition: i32, state: fn(&TaskState) -> bool| {
            tasks.get(&partition).is_some_and(|task| state(&task.state))
        };
        self.meters.retain(
            |partition| is(partition, |state| !state.is_copy()),
            |partition| is(partition, |state| state.is_copy()),
        );
        for (partition, task) in &self.tasks {
            let at = task.topic_partition();
            match &task.state {
                TaskState::Active => {
                    let lag = self.fetcher.end(at).zip(self.fetcher.position(at));
                    let lag = lag.map(|(end, position)| end - position);
                    self.meters.active(*partition, lag, self.pool.in_flight(task.id));
                    if self.parts.runner.is_some() {
                        let rows = task.context.framework();
                        self.meters.jobs(*partition, rows.len(JOBS), rows.bytes(JOBS));
                    }
                }
                TaskState::Restoring(restore) => {
                    self.meters.restoring(*partition, restore.end() - restore.position());
                }
                TaskState::Warm(_) | TaskState::Closing | TaskState::Retired => {}
            }
        }
    }

    const fn times(&self, now: Instant) -> TxnTimes {
        TxnTimes { now, wall: self.wall }
    }
}
