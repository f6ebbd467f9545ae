//! Figures of a running source, for a [`MetricsHandler`] and for the `metrics` facade.
//!
#![doc = include_str!("../docs/metrics.md")]

mod catalog;
mod meters;
mod metric;
mod sink;

pub use self::catalog::{CATALOG, Entry, Kind};
pub(crate) use self::meters::{GroupMeters, SourceLabels, TxnTimes, WorkerMeters};
pub use self::metric::{Metric, MetricsHandler, Operation};
pub use self::sink::METRICS_QUEUE_MAX;
pub(crate) use self::sink::MetricsSink;

#[cfg(test)]
mod tests;
