//! What librdkafka calls back into: logs, and delivery reports of records that failed.

use std::sync::Mutex;

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::ProducerContext;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{ClientContext, Statistics};

/// Forwards logs to `tracing`, and keeps the first failed delivery.
#[derive(Debug, Default)]
pub(super) struct Context {
    failed: Mutex<Option<FailedDelivery>>,
}

/// A record that was not taken.
#[derive(Clone, Debug)]
pub(super) struct FailedDelivery {
    pub(super) code: i32,
    pub(super) message: String,
}

impl Context {
    /// The first failed delivery since the last call.
    pub(super) fn take_failed(&self) -> Option<FailedDelivery> {
        self.failed.lock().ok()?.take()
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        use RDKafkaLogLevel::{Alert, Critical, Debug, Emerg, Error, Info, Notice, Warning};
        match level {
            Emerg | Alert | Critical | Error => {
                tracing::error!(target: "librdkafka", facility, "{message}")
            }
            Warning => tracing::warn!(target: "librdkafka", facility, "{message}"),
            Notice | Info => tracing::info!(target: "librdkafka", facility, "{message}"),
            Debug => tracing::debug!(target: "librdkafka", facility, "{message}"),
        }
    }

    fn stats(&self, _: Statistics) {}

    fn error(&self, error: KafkaError, reason: &str) {
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
