//! What librdkafka calls back into: logs, and delivery reports of records that failed.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::ProducerContext;
use rdkafka::types::RDKafkaErrorCode;

/// Forwards logs to `tracing`, and keeps the first failed delivery.
#[derive(Debug, Default)]
pub(super) struct Context {
    failed: Mutex<Option<FailedDelivery>>,
    calls: AtomicU64,
}

/// A record that was not taken.
#[derive(Clone, Debug)]
pub(super) struct FailedDelivery {
    pub(super) code: i32,
    pub(super) message: String,
}

/// What librdkafka logs when a transaction fails.
const TXN_ERROR: &str = "TXNERR";

impl Context {
    /// The first failed delivery since the last call.
    pub(super) fn take_failed(&self) -> Option<FailedDelivery> {
        self.failed.lock().ok()?.take()
    }

    /// Polls without waiting until nothing is left in librdkafka's queue, or `poll` finds what it
    /// looks for.
    ///
    /// A poll takes one event off the queue, and a line of the log is one too: rust-rdkafka says
    /// the same for it as for an empty queue. What waits behind it would stay, for the queue wakes
    /// nobody as long as it isn't empty.
    pub(super) fn drain<T>(&self, mut poll: impl FnMut() -> Option<T>) -> Option<T> {
        loop {
            let before = self.calls.load(Ordering::Relaxed);
            let found = poll();
            if found.is_some() || self.calls.load(Ordering::Relaxed) == before {
                return found;
            }
        }
    }

    fn called(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        use RDKafkaLogLevel::{Alert, Critical, Debug, Emerg, Error, Info, Notice, Warning};
        self.called();
        // What fails a transaction is told by the call that meets it, and is not always an error.
        let level = if facility == TXN_ERROR { Debug } else { level };
        match level {
            Emerg | Alert | Critical | Error => {
                tracing::error!(target: "librdkafka", facility, "{message}")
            }
            Warning => tracing::warn!(target: "librdkafka", facility, "{message}"),
            Notice | Info => tracing::info!(target: "librdkafka", facility, "{message}"),
            Debug => tracing::debug!(target: "librdkafka", facility, "{message}"),
        }
    }

    /// JSON, if `statistics.interval.ms` is set.
    fn stats_raw(&self, statistics: &[u8]) {
        self.called();
        let json = String::from_utf8_lossy(statistics);
        tracing::debug!(target: "librdkafka", facility = "STATS", "{json}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.called();
        // Reaching an end is what restores wait for, and no error.
        if matches!(error, KafkaError::Global(RDKafkaErrorCode::PartitionEOF)) {
            return;
        }
        tracing::warn!(target: "librdkafka", %error, "{reason}");
    }
}

impl ConsumerContext for Context {}

impl ProducerContext for Context {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        self.called();
        let Err((error, message)) = result else {
            return;
        };
        let code = error.rdkafka_error_code().map_or(-1, |code| code as i32);
        let failed =
            FailedDelivery { code, message: format!("{} for topic `{}`", error, message.topic()) };
        if let Ok(mut first) = self.failed.lock() {
            first.get_or_insert(failed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_behind_lines_of_the_log_is_found() {
        let context = Context::default();
        let mut queue = vec![Some("second"), None, None, Some("first"), None];
        let mut poll = || {
            context.drain(|| {
                let event = queue.pop()?;
                if event.is_none() {
                    context.log(RDKafkaLogLevel::Debug, "TEST", "a line");
                }
                event
            })
        };
        assert_eq!((poll(), poll(), poll()), (Some("first"), Some("second"), None));
    }
}
