//! The pool's settings, checked when they are made.

use std::time::Duration;

use super::progress::metadata_bytes_min;
use crate::error::ConfigError;

/// How transactions are filled and committed. GKES: `EosConfig`, with the same defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EosConfig {
    pub(crate) pool_size: usize,
    pub(crate) pending_transactions: usize,
    pub(crate) target_batch_size: usize,
    pub(crate) max_batch_size: usize,
    pub(crate) max_batch_bytes: usize,
    pub(crate) max_unsent_bytes: usize,
    pub(crate) batch_delay: Duration,
    pub(crate) transaction_timeout: Duration,
    pub(crate) offset_metadata_max_bytes: usize,
}

const MIB: usize = 1024 * 1024;

impl Default for EosConfig {
    fn default() -> Self {
        Self {
            pool_size: 3,
            pending_transactions: 1,
            target_batch_size: 1_000,
            max_batch_size: 10_000,
            max_batch_bytes: 16 * MIB,
            max_unsent_bytes: 64 * MIB,
            batch_delay: Duration::from_millis(10),
            transaction_timeout: Duration::from_secs(60),
            offset_metadata_max_bytes: 4_096,
        }
    }
}

const POOL_SIZE_MAX: usize = 64;
const BATCH_SIZE_MAX: usize = 1_000_000;
const BATCH_BYTES_MIN: usize = 1024;
const BATCH_BYTES_MAX: usize = 1024 * MIB;
const BATCH_DELAY_MIN: Duration = Duration::from_millis(1);
const BATCH_DELAY_MAX: Duration = Duration::from_secs(10);
const TRANSACTION_TIMEOUT_MIN: Duration = Duration::from_secs(1);
const TRANSACTION_TIMEOUT_MAX: Duration = Duration::from_secs(900);
const OFFSET_METADATA_MAX_BYTES: usize = 1_048_576;
const _: () = assert!(BATCH_DELAY_MIN.as_nanos() <= BATCH_DELAY_MAX.as_nanos());

impl EosConfig {
    /// The number of transactional producers of a worker: 1 to 64, by default 3.
    ///
    /// # Errors
    /// If it is out of range, or not above `pending_transactions`.
    pub fn pool_size(mut self, pool_size: usize) -> Result<Self, ConfigError> {
        self.pool_size = pool_size;
        self.check()
    }

    /// How many transactions may wait behind the one that commits: below the pool's size, by
    /// default 1.
    ///
    /// # Errors
    /// If it is not below the pool's size.
    pub fn pending_transactions(mut self, pending: usize) -> Result<Self, ConfigError> {
        self.pending_transactions = pending;
        self.check()
    }

    /// The number of events or records, whichever is greater, at which a transaction is ended even
    /// while others are in flight: 1 to `max_batch_size`, by default 1,000.
    ///
    /// # Errors
    /// If it is out of range.
    pub fn target_batch_size(mut self, events: usize) -> Result<Self, ConfigError> {
        self.target_batch_size = events;
        self.check()
    }

    /// The number of events or records, whichever is greater, at which a transaction takes no more:
    /// up to 1,000,000, by default 10,000.
    ///
    /// # Errors
    /// If it is out of range, or below `target_batch_size`.
    pub fn max_batch_size(mut self, events: usize) -> Result<Self, ConfigError> {
        self.max_batch_size = events;
        self.check()
    }

    /// The bytes of outputs and changes at which a transaction takes no more events, and ends even
    /// while others are in flight: 1 KiB to 1 GiB, by default 16 MiB. The last event may exceed it.
    /// Each producer's queue has the same bound, or that of one record if it is larger.
    ///
    /// # Errors
    /// If it is out of range, or above `max_unsent_bytes`.
    pub fn max_batch_bytes(mut self, bytes: usize) -> Result<Self, ConfigError> {
        self.max_batch_bytes = bytes;
        self.check()
    }

    /// The bytes of outputs and changes that wait in a worker's memory for its producers: at this
    /// bound the worker begins no event until they have taken some. From `max_batch_bytes` to 16
    /// GiB, by default 64 MiB.
    ///
    /// # Errors
    /// If it is out of range.
    pub fn max_unsent_bytes(mut self, bytes: usize) -> Result<Self, ConfigError> {
        self.max_unsent_bytes = bytes;
        self.check()
    }

    /// The longest a transaction that could be committed takes more events, if they keep coming:
    /// 1 ms to 10 s, by default 10 ms. It waits for none; while another is in flight it could not
    /// be committed. At most half of `transaction_timeout`, so that the broker does not abort the
    /// transaction before its commit.
    ///
    /// # Errors
    /// If it is out of range.
    pub fn batch_delay(mut self, delay: Duration) -> Result<Self, ConfigError> {
        self.batch_delay = delay;
        self.check()
    }

    /// After this time the broker aborts a transaction whose owner is gone: 1 s to 15 min, the
    /// broker's own default limit; by default 60 s.
    ///
    /// An incomplete event with effects holds its transaction open. If its completer takes longer
    /// than this, the event is processed once more, and if that takes longer too, the source stops
    /// with an error that names the event.
    ///
    /// # Errors
    /// If it is out of range, or shorter than twice `batch_delay`.
    pub fn transaction_timeout(mut self, timeout: Duration) -> Result<Self, ConfigError> {
        self.transaction_timeout = timeout;
        self.check()
    }

    /// The bytes that the metadata of an offset commit may have: the brokers'
    /// `offset.metadata.max.bytes`, by default 4,096; up to 1 MiB.
    ///
    /// The metadata lists the events that are done behind an incomplete one, and the schedule of
    /// the interjections. A partition takes no more events while its metadata could exceed the
    /// limit, which happens only where offsets have large gaps.
    ///
    /// # Errors
    /// If it is out of range. The start refuses a limit that the interjections alone exceed.
    pub fn offset_metadata_max_bytes(mut self, bytes: usize) -> Result<Self, ConfigError> {
        self.offset_metadata_max_bytes = bytes;
        self.check()
    }

    fn check(self) -> Result<Self, ConfigError> {
        let range = |name, value: usize, low: usize, high: usize| {
            ConfigError::check(name, value, low..=high)
        };
        range("pool_size", self.pool_size, 1, POOL_SIZE_MAX)?;
        let pending_max = self.pool_size - 1;
        range("pending_transactions", self.pending_transactions, 0, pending_max)?;
        range("max_batch_size", self.max_batch_size, 1, BATCH_SIZE_MAX)?;
        range("target_batch_size", self.target_batch_size, 1, self.max_batch_size)?;
        let batch = self.max_batch_bytes;
        range("max_unsent_bytes", self.max_unsent_bytes, BATCH_BYTES_MIN, 16 * BATCH_BYTES_MAX)?;
        let batch_max = BATCH_BYTES_MAX.min(self.max_unsent_bytes);
        range("max_batch_bytes", batch, BATCH_BYTES_MIN, batch_max)?;
        let metadata = metadata_bytes_min(0)..=OFFSET_METADATA_MAX_BYTES;
        ConfigError::check("offset_metadata_max_bytes", self.offset_metadata_max_bytes, metadata)?;
        let timeouts = TRANSACTION_TIMEOUT_MIN..=TRANSACTION_TIMEOUT_MAX;
        ConfigError::check_duration("transaction_timeout", self.transaction_timeout, timeouts)?;
        let delays = BATCH_DELAY_MIN..=BATCH_DELAY_MAX.min(self.transaction_timeout / 2);
        ConfigError::check_duration("batch_delay", self.batch_delay, delays)?;
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn out_of_range_names_the_setting_the_value_and_the_range() {
        let config = EosConfig::default();
        let text = |result: Result<EosConfig, ConfigError>| result.unwrap_err().to_string();
        assert_eq!(text(config.pool_size(0)), "`pool_size` is 0: it must be from 1 to 64");
        assert_eq!(
            text(config.batch_delay(Duration::ZERO)),
            "`batch_delay` is 0ns: it must be from 1ms to 10s"
        );
        assert_eq!(
            text(config.target_batch_size(10_001)),
            "`target_batch_size` is 10001: it must be from 1 to 10000"
        );
        assert_eq!(
            text(config.pending_transactions(3)),
            "`pending_transactions` is 3: it must be from 0 to 2"
        );
        assert_eq!(
            text(config.max_batch_bytes(10)),
            "`max_batch_bytes` is 10: it must be from 1024 to 67108864"
        );
        assert_eq!(
            text(config.max_unsent_bytes(1_024)),
            "`max_batch_bytes` is 16777216: it must be from 1024 to 1024"
        );
        assert_eq!(
            text(config.offset_metadata_max_bytes(10)),
            "`offset_metadata_max_bytes` is 10: it must be from 83 to 1048576"
        );
    }

    #[test]
    fn c1_a_batch_takes_at_most_half_of_the_transaction_timeout() {
        let slow = EosConfig::default().batch_delay(Duration::from_secs(2)).unwrap();
        assert_eq!(
            slow.transaction_timeout(Duration::from_secs(3)).unwrap_err().to_string(),
            "`batch_delay` is 2s: it must be from 1ms to 1.5s"
        );
        assert!(slow.transaction_timeout(Duration::from_secs(4)).is_ok());
    }
}
