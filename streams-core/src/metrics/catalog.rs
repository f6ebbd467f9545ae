//! The names of all figures, each with its kind, unit and labels.

use metrics::{
    Counter, Gauge, Histogram, Key, KeyName, Label, Level, Metadata, SharedString, Unit,
};

/// The kind of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A number that only grows.
    Counter,
    /// A number that grows and shrinks.
    Gauge,
    /// A distribution.
    Histogram,
}

impl Kind {
    /// The kind's name in the table of the documentation.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// One figure that a source reports through the `metrics` facade.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// The stable name.
    pub name: &'static str,
    /// The kind.
    pub kind: Kind,
    /// The unit: `records`, `bytes`, `seconds` or `1`.
    pub unit: &'static str,
    /// The names of the labels beside `group` and `topic`, which every figure has.
    pub labels: &'static [&'static str],
    /// One sentence about the figure.
    pub help: &'static str,
}

impl Entry {
    const fn new(
        name: &'static str,
        kind: Kind,
        unit: &'static str,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> Self {
        Self { name, kind, unit, labels, help }
    }

    fn unit(&self) -> Unit {
        match self.unit {
            "bytes" => Unit::Bytes,
            "seconds" => Unit::Seconds,
            _ => Unit::Count,
        }
    }

    fn key(&self, labels: Vec<Label>) -> Key {
        Key::from_parts(self.name, labels)
    }

    pub(super) fn counter(&self, labels: Vec<Label>) -> Counter {
        metrics::with_recorder(|recorder| {
            let (name, help) = (KeyName::from_const_str(self.name), self.help);
            recorder.describe_counter(name, Some(self.unit()), SharedString::const_str(help));
            recorder.register_counter(&self.key(labels), &METADATA)
        })
    }

    pub(super) fn gauge(&self, labels: Vec<Label>) -> Gauge {
        metrics::with_recorder(|recorder| {
            let (name, help) = (KeyName::from_const_str(self.name), self.help);
            recorder.describe_gauge(name, Some(self.unit()), SharedString::const_str(help));
            recorder.register_gauge(&self.key(labels), &METADATA)
        })
    }

    pub(super) fn histogram(&self, labels: Vec<Label>) -> Histogram {
        metrics::with_recorder(|recorder| {
            let (name, help) = (KeyName::from_const_str(self.name), self.help);
            recorder.describe_histogram(name, Some(self.unit()), SharedString::const_str(help));
            recorder.register_histogram(&self.key(labels), &METADATA)
        })
    }
}

static METADATA: Metadata<'static> =
    Metadata::new("streams_core::metrics", Level::INFO, Some("streams_core::metrics"));

macro_rules! catalog {
    ($(
        $entry:ident: $name:literal, $kind:ident, $unit:literal, [$($label:literal),*],
        $help:literal;
    )*) => {
        $(pub(super) const $entry: Entry =
            Entry::new($name, Kind::$kind, $unit, &[$($label),*], $help);)*
        /// Every figure, in the order of the table above.
        pub const CATALOG: &[Entry] = &[$($entry),*];
    };
}

catalog! {
    SOURCE_RECORDS: "streams_source_records_total", Counter, "records", [],
        "Source records whose events are complete and committed.";
    OUTPUT_RECORDS: "streams_output_records_total", Counter, "records", [],
        "Records that committed transactions produced, changelog records included.";
    OUTPUT_BYTES: "streams_output_bytes_total", Counter, "bytes", [],
        "Bytes of keys, values and headers that committed transactions produced.";
    TRANSACTIONS: "streams_transactions_total", Counter, "1", ["result"],
        "Transactions by `result`: `committed` or `aborted`.";
    TRANSACTION_SECONDS: "streams_transaction_duration_seconds", Histogram, "seconds", [],
        "The time from a transaction's first event to its commit.";
    LINGER_SECONDS: "streams_transaction_linger_seconds", Histogram, "seconds", [],
        "The time in which a committed transaction took events.";
    EXECUTE_SECONDS: "streams_transaction_execute_seconds", Histogram, "seconds", [],
        "The time from a transaction's last event to its commit.";
    TRANSACTION_RECORDS: "streams_transaction_source_records", Histogram, "records", [],
        "Source records that a transaction commits.";
    EVENTS_IN_FLIGHT: "streams_events_in_flight", Gauge, "records", ["partition"],
        "Delivered events that an incomplete event holds back, by partition.";
    WAITING: "streams_waiting_steps", Gauge, "1", ["worker"],
        "Completions and interjections that wait for a transaction, by worker.";
    UNSENT_BYTES: "streams_unsent_output_bytes", Gauge, "bytes", ["worker"],
        "Outputs that wait until the client takes them, by worker.";
    JOBS_PENDING: "streams_durable_jobs_pending", Gauge, "1", ["partition"],
        "Durable jobs that are pending, by partition.";
    JOBS_BYTES: "streams_durable_jobs_bytes", Gauge, "bytes", ["partition"],
        "Bytes of the rows of pending durable jobs, by partition.";
    CONSUMER_LAG: "streams_consumer_lag_records", Gauge, "records", ["partition"],
        "Offsets between the next record to process and the partition's end.";
    RESTORED_RECORDS: "streams_restored_records_total", Counter, "records", [],
        "Changelog records that restores have applied.";
    RESTORED_BYTES: "streams_restored_bytes_total", Counter, "bytes", [],
        "Bytes of changelog records that restores have applied.";
    RESTORE_SECONDS: "streams_restore_duration_seconds", Histogram, "seconds", [],
        "The time from a partition's assignment to the end of its restore.";
    RESTORE_REMAINING: "streams_restore_remaining_records", Gauge, "records", ["partition"],
        "Changelog offsets that a restore has not read yet.";
    COPY_LAG: "streams_copy_lag_records", Gauge, "records", ["partition"],
        "Changelog offsets that a warm copy has not read yet.";
    REBALANCES: "streams_rebalances_total", Counter, "1", [],
        "Generations that this member has joined.";
    LOSSES: "streams_partitions_lost_total", Counter, "1", [],
        "Times that this member has lost all its partitions.";
    OWNED: "streams_partitions_active", Gauge, "1", [],
        "Partitions that this member processes.";
    MEMBERS: "streams_group_members", Gauge, "1", [],
        "Members of the group, as its leader tells.";
    TRANSITIONS: "streams_group_transitions", Gauge, "1", [],
        "Partitions on their way from one member to another, as the leader tells.";
    DROPPED: "streams_metrics_dropped_total", Counter, "1", [],
        "Metrics that the `MetricsHandler` was too slow to take.";
}
