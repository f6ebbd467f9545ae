//! The figures of a worker and of a member, registered once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use metrics::{Counter, Gauge, Histogram, Label};

use super::catalog;
use super::{Entry, Metric, MetricsSink, Operation};
use crate::eos::TxnFigures;

/// The labels that every figure of a source has.
#[derive(Clone, Debug)]
pub(crate) struct SourceLabels {
    pub(crate) group: Arc<str>,
    pub(crate) topic: Arc<str>,
}

impl SourceLabels {
    pub(super) fn labels(&self) -> Vec<Label> {
        vec![
            Label::new("group", self.group.to_string()),
            Label::new("topic", self.topic.to_string()),
        ]
    }

    fn with(&self, name: &'static str, value: impl Into<String>) -> Vec<Label> {
        let mut labels = self.labels();
        labels.push(Label::new(name, value.into()));
        labels
    }
}

/// This moment by both clocks, from which the wall time of an earlier moment follows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TxnTimes {
    pub(crate) now: Instant,
    pub(crate) wall: SystemTime,
}

impl TxnTimes {
    fn wall_at(&self, earlier: Instant) -> SystemTime {
        let ago = self.now.saturating_duration_since(earlier);
        self.wall.checked_sub(ago).unwrap_or(self.wall)
    }
}

/// Gauges with one value for each partition of a worker.
struct ByPartition {
    entry: Entry,
    labels: SourceLabels,
    known: BTreeMap<i32, Gauge>,
}

impl ByPartition {
    const fn new(entry: Entry, labels: SourceLabels) -> Self {
        Self { entry, labels, known: BTreeMap::new() }
    }

    fn set(&mut self, partition: i32, value: i64) {
        let (entry, labels) = (self.entry, &self.labels);
        let register = || entry.gauge(labels.with("partition", partition.to_string()));
        self.known.entry(partition).or_insert_with(register).set(to_f64(value));
    }

    /// Sets the gauges of partitions that are gone to zero: the facade cannot remove them.
    fn retain(&mut self, stays: impl Fn(i32) -> bool) {
        self.known.retain(|partition, gauge| {
            let stays = stays(*partition);
            if !stays {
                gauge.set(0.0);
            }
            stays
        });
    }
}

#[expect(clippy::cast_precision_loss, reason = "gauges are floats")]
const fn to_f64(value: i64) -> f64 {
    value as f64
}

/// What a worker reports.
pub(crate) struct WorkerMeters {
    sink: MetricsSink,
    labels: SourceLabels,
    source_records: Counter,
    output_records: Counter,
    output_bytes: Counter,
    committed: Counter,
    aborted: Counter,
    duration: Histogram,
    linger: Histogram,
    execute: Histogram,
    records: Histogram,
    waiting: Gauge,
    unsent: Gauge,
    in_flight: ByPartition,
    jobs_pending: ByPartition,
    jobs_bytes: ByPartition,
    lag: ByPartition,
    remaining: ByPartition,
    copy_lag: ByPartition,
    restored_records: Counter,
    restored_bytes: Counter,
    restore: Histogram,
}

impl WorkerMeters {
    /// Registers the figures of worker `index` with the recorder that is installed now.
    pub(crate) fn new(labels: SourceLabels, index: usize, sink: MetricsSink) -> Self {
        let (all, worker) = (|| labels.labels(), || labels.with("worker", index.to_string()));
        let result = |result: &str| catalog::TRANSACTIONS.counter(labels.with("result", result));
        let by_partition = |entry| ByPartition::new(entry, labels.clone());
        Self {
            source_records: catalog::SOURCE_RECORDS.counter(all()),
            output_records: catalog::OUTPUT_RECORDS.counter(all()),
            output_bytes: catalog::OUTPUT_BYTES.counter(all()),
            committed: result("committed"),
            aborted: result("aborted"),
            duration: catalog::TRANSACTION_SECONDS.histogram(all()),
            linger: catalog::LINGER_SECONDS.histogram(all()),
            execute: catalog::EXECUTE_SECONDS.histogram(all()),
            records: catalog::TRANSACTION_RECORDS.histogram(all()),
            waiting: catalog::WAITING.gauge(worker()),
            unsent: catalog::UNSENT_BYTES.gauge(worker()),
            in_flight: by_partition(catalog::EVENTS_IN_FLIGHT),
            jobs_pending: by_partition(catalog::JOBS_PENDING),
            jobs_bytes: by_partition(catalog::JOBS_BYTES),
            lag: by_partition(catalog::CONSUMER_LAG),
            remaining: by_partition(catalog::RESTORE_REMAINING),
            copy_lag: by_partition(catalog::COPY_LAG),
            restored_records: catalog::RESTORED_RECORDS.counter(all()),
            restored_bytes: catalog::RESTORED_BYTES.counter(all()),
            restore: catalog::RESTORE_SECONDS.histogram(all()),
            sink,
            labels,
        }
    }

    /// Reports a committed transaction, with the number of its partitions and the only one.
    pub(crate) fn committed(
        &self,
        at: TxnTimes,
        (partition_count, partition): (usize, Option<i32>),
        figures: &TxnFigures,
    ) {
        let TxnFigures { opened_at, sealed_at, source_records, records, bytes } = *figures;
        let sealed_at = sealed_at.unwrap_or(opened_at);
        let since = |earlier: Instant| at.now.saturating_duration_since(earlier);
        self.committed.increment(1);
        self.source_records.increment(source_records as u64);
        self.output_records.increment(records as u64);
        self.output_bytes.increment(bytes as u64);
        self.duration.record(since(opened_at));
        self.linger.record(sealed_at.saturating_duration_since(opened_at));
        self.execute.record(since(sealed_at));
        self.records.record(f64::from(u32::try_from(source_records).unwrap_or(u32::MAX)));
        if self.sink.is_used() {
            self.send(Metric {
                operation: Operation::TxnCommit,
                start_time: at.wall_at(opened_at),
                execute_time: Some(at.wall_at(sealed_at)),
                end_time: at.wall,
                count: records,
                bytes,
                partition_count,
                partition,
                topic: Arc::clone(&self.labels.topic),
                group_id: Arc::clone(&self.labels.group),
            });
        }
    }

    /// Reports an aborted transaction.
    pub(crate) fn aborted(&self) {
        self.aborted.increment(1);
    }

    /// Reports a restore that has ended.
    pub(crate) fn restored(
        &mut self,
        at: TxnTimes,
        partition: i32,
        took: Duration,
        records: u64,
        bytes: u64,
    ) {
        self.remaining.set(partition, 0);
        self.restored_records.increment(records);
        self.restored_bytes.increment(bytes);
        self.restore.record(took);
        if self.sink.is_used() {
            self.send(Metric {
                operation: Operation::PartitionPrepped,
                start_time: at.wall.checked_sub(took).unwrap_or(at.wall),
                execute_time: None,
                end_time: at.wall,
                count: usize::try_from(records).unwrap_or(usize::MAX),
                bytes: usize::try_from(bytes).unwrap_or(usize::MAX),
                partition_count: 1,
                partition: Some(partition),
                topic: Arc::clone(&self.labels.topic),
                group_id: Arc::clone(&self.labels.group),
            });
        }
    }

    fn send(&self, metric: Metric) {
        self.sink.send(metric);
    }

    /// Sets the worker's queues.
    pub(crate) fn queues(&self, waiting: usize, unsent_bytes: usize) {
        self.waiting.set(to_f64(i64::try_from(waiting).unwrap_or(i64::MAX)));
        self.unsent.set(to_f64(i64::try_from(unsent_bytes).unwrap_or(i64::MAX)));
    }

    /// Sets the figures of an active partition.
    pub(crate) fn active(&mut self, partition: i32, lag: Option<i64>, in_flight: usize) {
        if let Some(lag) = lag {
            self.lag.set(partition, lag.max(0));
        }
        self.in_flight.set(partition, i64::try_from(in_flight).unwrap_or(i64::MAX));
    }

    /// Sets the pending durable jobs of an active partition, and the bytes of their rows.
    pub(crate) fn jobs(&mut self, partition: i32, pending: usize, bytes: usize) {
        self.jobs_pending.set(partition, i64::try_from(pending).unwrap_or(i64::MAX));
        self.jobs_bytes.set(partition, i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// Sets how far a restore is.
    pub(crate) fn restoring(&mut self, partition: i32, remaining: i64) {
        self.remaining.set(partition, remaining.max(0));
    }

    /// Sets how far a warm copy is behind.
    pub(crate) fn copy(&mut self, partition: i32, lag: i64) {
        self.copy_lag.set(partition, lag.max(0));
    }

    /// Forgets partitions that this worker has no longer.
    pub(crate) fn retain(
        &mut self,
        is_active: impl Fn(i32) -> bool,
        is_copy: impl Fn(i32) -> bool,
    ) {
        self.jobs_pending.retain(&is_active);
        self.jobs_bytes.retain(&is_active);
        self.lag.retain(&is_active);
        self.in_flight.retain(&is_active);
        self.remaining.retain(|partition| is_active(partition) || is_copy(partition));
        self.copy_lag.retain(is_copy);
    }
}

/// What a member of the group reports.
#[derive(Debug)]
pub(crate) struct GroupMeters {
    rebalances: Counter,
    losses: Counter,
    active: Gauge,
    members: Gauge,
    transitions: Gauge,
}

impl GroupMeters {
    /// Registers the figures with the recorder that is installed now.
    pub(crate) fn new(labels: &SourceLabels) -> Self {
        let all = || labels.labels();
        Self {
            rebalances: catalog::REBALANCES.counter(all()),
            losses: catalog::LOSSES.counter(all()),
            active: catalog::OWNED.gauge(all()),
            members: catalog::MEMBERS.gauge(all()),
            transitions: catalog::TRANSITIONS.gauge(all()),
        }
    }

    /// Counts a generation that this member has joined.
    pub(crate) fn joined(&self) {
        self.rebalances.increment(1);
    }

    /// Counts a loss of all partitions.
    pub(crate) fn lost(&self) {
        self.losses.increment(1);
        self.active.set(0.0);
    }

    /// Sets how many partitions this member processes.
    pub(crate) fn active(&self, partitions: usize) {
        self.active.set(to_f64(i64::try_from(partitions).unwrap_or(i64::MAX)));
    }

    /// Sets what the leader tells.
    pub(crate) fn view(&self, members: usize, transitions: usize) {
        self.members.set(to_f64(i64::try_from(members).unwrap_or(i64::MAX)));
        self.transitions.set(to_f64(i64::try_from(transitions).unwrap_or(i64::MAX)));
    }
}
