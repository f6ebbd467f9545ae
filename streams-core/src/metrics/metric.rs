//! One measured operation, as GKES reports it.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// The operation that a [`Metric`] measures.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// A transaction was committed. GKES: `TxnCommitOperation`.
    TxnCommit,
    /// A partition's store was restored. GKES: `PartitionPreppedOperation`.
    PartitionPrepped,
    /// An operation of the application
    /// ([`RunningSource::emit_metric`](crate::RunningSource::emit_metric)).
    Custom(Cow<'static, str>),
}

impl Operation {
    /// Returns the operation's name, as GKES writes it.
    pub fn name(&self) -> &str {
        match self {
            Self::TxnCommit => "TxnCommit",
            Self::PartitionPrepped => "PartitionPrepped",
            Self::Custom(name) => name,
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One measured operation. GKES: `Metric`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metric {
    /// The operation.
    pub operation: Operation,
    /// When the operation began: for a transaction, its first event; for a restore, the
    /// partition's assignment.
    pub start_time: SystemTime,
    /// When the work began that the operation had waited for: for a transaction, after its last
    /// event. `None` if nothing was waited for.
    pub execute_time: Option<SystemTime>,
    /// When the operation ended.
    pub end_time: SystemTime,
    /// The number of records: for a transaction, those that it produced, changelog included; for a
    /// restore, those that it applied.
    pub count: usize,
    /// The bytes of these records.
    pub bytes: usize,
    /// How many partitions the operation concerns.
    pub partition_count: usize,
    /// The partition; `None` if the operation concerns several.
    pub partition: Option<i32>,
    /// The source topic.
    pub topic: Arc<str>,
    /// The group.
    pub group_id: Arc<str>,
}

impl Metric {
    /// Returns a metric of the application: `operation` on `topic`, from `start_time` to
    /// `end_time`. Its other fields can be set afterwards.
    pub fn custom(
        operation: impl Into<Cow<'static, str>>,
        topic: impl Into<Arc<str>>,
        start_time: SystemTime,
        end_time: SystemTime,
    ) -> Self {
        Self {
            operation: Operation::Custom(operation.into()),
            start_time,
            execute_time: None,
            end_time,
            count: 0,
            bytes: 0,
            partition_count: 0,
            partition: None,
            topic: topic.into(),
            group_id: Arc::from(""),
        }
    }

    /// Returns the time from start to end. GKES: `Duration`.
    pub fn duration(&self) -> Duration {
        between(self.start_time, self.end_time)
    }

    /// Returns the time before the execution began; zero if nothing was waited for. GKES:
    /// `Linger`.
    pub fn linger(&self) -> Duration {
        self.execute_time.map_or(Duration::ZERO, |at| between(self.start_time, at))
    }

    /// Returns the time from the begin of the execution to the end. GKES: `ExecuteDuration`.
    pub fn execute_duration(&self) -> Duration {
        between(self.execute_time.unwrap_or(self.start_time), self.end_time)
    }
}

fn between(from: SystemTime, to: SystemTime) -> Duration {
    // A wall clock may be set back meanwhile.
    to.duration_since(from).unwrap_or_default()
}

/// Takes the metrics of a source. GKES: `MetricsHandler`.
///
/// A thread of its own calls the handler, one metric at a time. Every `Fn(&Metric)` is a handler.
pub trait MetricsHandler: Send + Sync + 'static {
    /// Takes one metric.
    fn handle(&self, metric: &Metric);
}

impl fmt::Debug for dyn MetricsHandler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MetricsHandler")
    }
}

impl<F: Fn(&Metric) + Send + Sync + 'static> MetricsHandler for F {
    fn handle(&self, metric: &Metric) {
        self(metric);
    }
}
