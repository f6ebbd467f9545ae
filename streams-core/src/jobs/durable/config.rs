//! The settings of durable jobs.

use std::time::Duration;

use crate::error::ConfigError;

const ROWS_MAX: usize = 100_000_000;
const BYTES_MIN: usize = 1024;
const BYTES_MAX: usize = 16 * 1024 * 1024 * 1024;
const CONCURRENCY_MAX: usize = 100_000;
const TIMEOUT_MIN: Duration = Duration::from_millis(1);
const TIMEOUT_MAX: Duration = Duration::from_hours(24 * 365);

/// The bounds of the durable jobs of each partition:
/// [`SourceBuilder::durable_jobs`](crate::SourceBuilder::durable_jobs).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DurableJobs {
    pub(crate) max_rows: usize,
    pub(crate) max_bytes: usize,
    pub(crate) concurrency: usize,
}

impl Default for DurableJobs {
    fn default() -> Self {
        Self { max_rows: 100_000, max_bytes: 64 * 1024 * 1024, concurrency: 64 }
    }
}

impl DurableJobs {
    /// Sets how many jobs of a partition may be pending: 1 to 100,000,000, by default 100,000.
    ///
    /// At the bound the partition takes no more records, and its fetch pauses, until finalizers
    /// have removed jobs. The jobs of the last event may exceed the bound, and so may those that
    /// finalizers and interjections schedule.
    #[must_use]
    pub const fn max_rows(mut self, rows: usize) -> Self {
        self.max_rows = rows;
        self
    }

    /// Sets the bytes that the pending jobs of a partition may have in the changelog and in memory,
    /// keys included: 1 KiB to 16 GiB, by default 64 MiB. The bound works as
    /// [`Self::max_rows`] does.
    #[must_use]
    pub const fn max_bytes(mut self, bytes: usize) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// Sets how many jobs of a partition run at a time: 1 to 100,000, by default 64. As many
    /// results may wait for the commit of their finalizers; then no further job begins.
    #[must_use]
    pub const fn concurrency(mut self, jobs: usize) -> Self {
        self.concurrency = jobs;
        self
    }

    pub(crate) fn check(self) -> Result<Self, ConfigError> {
        ConfigError::check("durable_jobs.max_rows", self.max_rows, 1..=ROWS_MAX)?;
        ConfigError::check("durable_jobs.max_bytes", self.max_bytes, BYTES_MIN..=BYTES_MAX)?;
        let concurrency = 1..=CONCURRENCY_MAX;
        ConfigError::check("durable_jobs.concurrency", self.concurrency, concurrency)?;
        Ok(self)
    }
}

/// How the jobs of one type run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JobConfig {
    pub(crate) timeout: Option<Duration>,
}

impl JobConfig {
    /// Sets the longest time that an asynchronous job may run: 1 ms to 365 days, by default without
    /// a bound. A job that takes longer is cancelled, and its finalizer is given
    /// [`JobError::TimedOut`](super::JobError::TimedOut). A thread can't be cancelled, so a
    /// blocking job takes no such bound.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    pub(crate) fn check(self, is_async: bool) -> Result<(), ConfigError> {
        let Some(timeout) = self.timeout else {
            return Ok(());
        };
        if !is_async {
            return Err(ConfigError::Invalid {
                name: "JobConfig::timeout",
                value: format!("{timeout:?}"),
                hint: "a thread can't be cancelled: bound what the blocking job waits for, or \
                       write the job as an `async fn`"
                    .to_owned(),
            });
        }
        ConfigError::check_duration("JobConfig::timeout", timeout, TIMEOUT_MIN..=TIMEOUT_MAX)
    }
}
