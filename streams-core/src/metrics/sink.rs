//! The way of a metric to its handler.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};

use metrics::Counter;

use super::{Metric, MetricsHandler, SourceLabels, catalog};

/// How many metrics wait for the [`MetricsHandler`] at most. The source drops further ones, counts
/// them, and logs a warning, so that a slow handler never slows down the processing.
pub const METRICS_QUEUE_MAX: usize = 2_048;

/// Sends metrics to the handler, if there is one.
#[derive(Clone, Default)]
pub(crate) struct MetricsSink {
    way: Way,
    dropped: Arc<AtomicU64>,
    counter: Option<Counter>,
}

#[derive(Clone, Default)]
enum Way {
    #[default]
    Nowhere,
    Queue(SyncSender<Metric>),
    /// The test driver calls the handler in its own thread.
    Direct(Arc<dyn MetricsHandler>),
}

impl MetricsSink {
    /// A sink whose handler runs on a thread of its own, which ends with the last sink.
    pub(crate) fn spawn(
        labels: &SourceLabels,
        handler: Option<Arc<dyn MetricsHandler>>,
    ) -> std::io::Result<Self> {
        let Some(handler) = handler else {
            return Ok(Self::default());
        };
        let (sender, inbox) = sync_channel::<Metric>(METRICS_QUEUE_MAX);
        std::thread::Builder::new().name("streams-metrics".to_owned()).spawn(move || {
            while let Ok(metric) = inbox.recv() {
                handler.handle(&metric);
            }
        })?;
        let counter = Some(catalog::DROPPED.counter(labels.labels()));
        Ok(Self { way: Way::Queue(sender), dropped: Arc::default(), counter })
    }

    /// A sink that calls the handler at once.
    pub(crate) fn direct(handler: Option<Arc<dyn MetricsHandler>>) -> Self {
        let way = handler.map_or(Way::Nowhere, Way::Direct);
        Self { way, ..Self::default() }
    }

    /// Returns true if a handler takes metrics.
    pub(crate) const fn is_used(&self) -> bool {
        !matches!(self.way, Way::Nowhere)
    }

    /// Sends the metric. Returns false if the queue is full and the metric is dropped.
    pub(crate) fn send(&self, metric: Metric) -> bool {
        let refused = match &self.way {
            Way::Nowhere => return true,
            Way::Direct(handler) => {
                handler.handle(&metric);
                return true;
            }
            Way::Queue(sender) => sender.try_send(metric),
        };
        match refused {
            Ok(()) => true,
            Err(TrySendError::Full(metric)) => {
                let dropped = self.count();
                if dropped.is_power_of_two() {
                    let operation = metric.operation.name();
                    tracing::warn!(
                        operation,
                        dropped,
                        "the metrics handler is too slow: the source drops metrics"
                    );
                }
                false
            }
            Err(TrySendError::Disconnected(metric)) => {
                if self.count() == 1 {
                    let operation = metric.operation.name();
                    tracing::error!(
                        operation,
                        "the metrics handler has panicked: it gets no further metrics"
                    );
                }
                false
            }
        }
    }

    /// Counts a dropped metric. Returns how many there are.
    fn count(&self) -> u64 {
        if let Some(counter) = &self.counter {
            counter.increment(1);
        }
        self.dropped.fetch_add(1, Ordering::Relaxed) + 1
    }
}

impl fmt::Debug for MetricsSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetricsSink").field("is_used", &self.is_used()).finish_non_exhaustive()
    }
}
