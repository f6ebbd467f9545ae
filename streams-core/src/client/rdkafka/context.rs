//! What librdkafka calls back into: logs, and delivery reports of records that failed.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::ProducerContext;
use rdkafka::types::RDKafkaErrorCode;

use super::ffi::RdError;
use crate::client::Secrets;

/// Forwards logs to `tracing`, and keeps the first failed delivery.
#[derive(Debug, Default)]
pub(super) struct Context {
    secrets: Secrets,
    failed: Mutex<Option<FailedDelivery>>,
    /// The topics of all failed deliveries.
    failed_topics: Mutex<BTreeSet<String>>,
    /// The last time that a broker refused the connection's credentials.
    refused: Mutex<Option<RdError>>,
    calls: AtomicU64,
}

/// A record that was not taken.
#[derive(Clone, Debug)]
pub(super) struct FailedDelivery {
    pub(super) code: i32,
    pub(super) topic: String,
    pub(super) message: String,
}

/// What librdkafka logs when a transaction fails.
const TXN_ERROR: &str = "TXNERR";

impl Context {
    /// A context whose lines of the log contain none of these.
    pub(super) fn without(secrets: Secrets) -> Self {
        Self { secrets, ..Self::default() }
    }

    /// The first failed delivery since the last call.
    pub(super) fn take_failed(&self) -> Option<FailedDelivery> {
        self.failed.lock().ok()?.take()
    }

    /// Returns the topics of the deliveries that have failed since the last call, as text: `` `a`,
    /// `b` ``.
    pub(super) fn take_failed_topics(&self) -> String {
        let mut topics = self.failed_topics.lock().unwrap_or_else(PoisonError::into_inner);
        let topics = std::mem::take(&mut *topics);
        topics.iter().map(|topic| format!("`{topic}`")).collect::<Vec<_>>().join(", ")
    }

    /// Returns the refusal of the client's credentials, if there was one since the last call.
    pub(super) fn take_refused(&self) -> Option<RdError> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Polls without waiting until librdkafka's queue is empty.
    ///
    /// A poll takes one event off the queue, and a line of the log is one too: rust-rdkafka says
    /// the same for it as for an empty queue. The events behind it would stay, for the queue wakes
    /// no thread as long as it isn't empty.
    pub(super) fn drain(&self, mut poll: impl FnMut()) {
        loop {
            let before = self.calls.load(Ordering::Relaxed);
            poll();
            if self.calls.load(Ordering::Relaxed) == before {
                return;
            }
        }
    }

    pub(super) fn called(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        use RDKafkaLogLevel::{Alert, Critical, Debug, Emerg, Error, Info, Notice, Warning};
        self.called();
        let message = self.secrets.scrub(message);
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
        let json = self.secrets.scrub(String::from_utf8_lossy(statistics));
        tracing::debug!(target: "librdkafka", facility = "STATS", "{json}");
    }

    /// Errors of a producer's client; a consumer's are taken off its queue with their places.
    fn error(&self, error: KafkaError, reason: &str) {
        self.called();
        let reason = self.secrets.scrub(reason);
        tracing::warn!(target: "librdkafka", %error, "{reason}");
        let code = error.rdkafka_error_code().filter(|code| {
            matches!(code, RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SSL)
        });
        if let Some(code) = code {
            let message = format!("{error}: {reason}");
            let refused =
                RdError { code: code as i32, message, fatal: false, requires_abort: false };
            *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(refused);
        }
    }
}

impl ConsumerContext for Context {}

impl ProducerContext for Context {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        self.called();
        if let Err((error, message)) = result {
            self.note_failed(error, message.topic());
        }
    }
}

impl Context {
    /// Keeps the failed delivery of a record to `topic`.
    pub(super) fn note_failed(&self, error: &KafkaError, topic: &str) {
        let code = error.rdkafka_error_code().map_or(-1, |code| code as i32);
        let topic = topic.to_owned();
        if let Ok(mut topics) = self.failed_topics.lock()
            && !topics.contains(&topic)
        {
            topics.insert(topic.clone());
        }
        let failed =
            FailedDelivery { code, message: format!("{error} for topic `{topic}`"), topic };
        if let Ok(mut first) = self.failed.lock() {
            first.get_or_insert(failed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_behind_lines_of_the_log_is_served() {
        let context = Context::default();
        let mut queue = vec!["report", "line", "line", "report", "line"];
        let mut served = 0;
        let mut poll = || match queue.pop() {
            Some("line") => context.log(RDKafkaLogLevel::Debug, "TEST", "a line"),
            Some(_) => {
                served += 1;
                context.called();
            }
            None => {}
        };
        context.drain(&mut poll);
        assert_eq!(served, 2);
    }

    #[test]
    fn c3_a_refusal_of_the_credentials_is_kept_and_an_outage_is_none() {
        let context = Context::default();
        context.error(KafkaError::Global(RDKafkaErrorCode::AllBrokersDown), "1/1 down");
        assert!(context.take_refused().is_none());
        context.error(KafkaError::Global(RDKafkaErrorCode::Authentication), "SASL PLAIN failed");
        let refused = context.take_refused().expect("it is kept");
        assert_eq!(refused.code, RDKafkaErrorCode::Authentication as i32);
        assert!(refused.message.contains("SASL PLAIN failed"), "{}", refused.message);
        assert!(context.take_refused().is_none(), "once");
    }
}
