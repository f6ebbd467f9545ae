//! What is done now and then: nobody is told, so nobody is woken for it.
//!
//! It comes before a request, if the last time is long enough ago. What a request sees is thus what
//! it would see with a timer, and a cluster that is asked nothing sleeps.

use super::Cluster;
use super::log::PartitionLog;

/// `producer.id.expiration.check.interval.ms`.
const EXPIRY_INTERVAL_MS: i64 = 600_000;
/// `log.cleaner.backoff.ms`. Retention is looked at as often; Kafka does it every five minutes.
const CLEANING_INTERVAL_MS: i64 = 15_000;

/// When it is time.
#[derive(Clone, Debug, Default)]
pub(super) struct Housekeeping {
    next_expiry: i64,
    next_cleaning: i64,
}

impl Housekeeping {
    pub(super) const fn is_due(&self, now: i64) -> bool {
        now >= self.next_cleaning || now >= self.next_expiry
    }
}

impl Cluster {
    pub(super) fn keep_house(&mut self) {
        if self.now >= self.housekeeping.next_cleaning {
            self.housekeeping.next_cleaning = self.now + CLEANING_INTERVAL_MS;
            self.clean_logs();
        }
        if self.now >= self.housekeeping.next_expiry {
            self.housekeeping.next_expiry = self.now + EXPIRY_INTERVAL_MS;
            self.expire_producers();
        }
    }

    fn clean_logs(&mut self) {
        for topic in self.topics.values_mut() {
            for log in &mut topic.partitions {
                log.expire_segments(&topic.config, self.now);
                log.compact(&topic.config, self.now);
            }
        }
    }

    fn expire_producers(&mut self) {
        self.expire_transactional_ids();
        let before = self.now - self.settings.transactions.producer_expiration_ms;
        let logs = self.topics.values_mut().flat_map(|topic| &mut topic.partitions);
        logs.for_each(|log: &mut PartitionLog| log.expire_producers(before));
    }
}
