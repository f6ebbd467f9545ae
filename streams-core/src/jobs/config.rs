//! The settings of a scheduler, and the presets of GKES.

use std::thread::available_parallelism;
use std::time::Duration;

use super::lanes::{Limits, Policy, Retry};
use crate::error::ConfigError;

/// How many jobs of a scheduler may run at the same time at most.
pub const CONCURRENCY_MAX: usize = 65_536;
/// How many keys may have jobs at most.
pub const CONCURRENT_KEYS_MAX: usize = 10_000_000;
/// How many jobs of one key may wait at most.
pub const WORKER_QUEUE_DEPTH_MAX: usize = 1_000_000;
/// How many jobs of a scheduler may wait or run at most.
pub const PENDING_JOBS_MAX: usize = 10_000_000;
/// The longest timeout of a job, and the longest time between two attempts.
pub const JOB_DURATION_MAX: Duration = Duration::from_hours(24);
/// How many attempts a job has at most.
pub const JOB_ATTEMPTS_MAX: u32 = 1_000;
const JOB_DURATION_MIN: Duration = Duration::from_millis(1);

/// The settings of an [`AsyncJobScheduler`](super::AsyncJobScheduler). GKES: `SchedulerConfig`.
///
/// The presets have GKES's numbers; `cores` is the number of processors that this process may use.
///
/// | preset | `concurrency` | `worker_queue_depth` | `max_concurrent_keys` |
/// |---|---|---|---|
/// | [`SchedulerConfig::default`] | cores | 1,000 | 10,000 |
/// | [`SchedulerConfig::compute`] | cores | 1,000 | 10,000 |
/// | [`SchedulerConfig::fast_network`] | cores x 4 | 100 | 10,000 |
/// | [`SchedulerConfig::slow_network`] | cores x 16 | 100 | 10,000 |
/// | [`SchedulerConfig::wide_network`] | cores x 32 | 1,000 | 10,000 |
///
/// # Examples
/// ```
/// use std::time::Duration;
///
/// use streams_core::jobs::SchedulerConfig;
///
/// let config = SchedulerConfig::slow_network()
///     .timeout(Duration::from_secs(5))
///     .retries(3, Duration::from_millis(100));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SchedulerConfig {
    pub(super) concurrency: usize,
    pub(super) worker_queue_depth: usize,
    pub(super) max_concurrent_keys: usize,
    pub(super) max_pending_jobs: usize,
    pub(super) timeout: Option<Duration>,
    pub(super) retry: Retry,
}

impl Default for SchedulerConfig {
    /// GKES: `DefaultConfig`.
    fn default() -> Self {
        Self::of(1, 1_000)
    }
}

impl SchedulerConfig {
    fn of(jobs_per_core: usize, worker_queue_depth: usize) -> Self {
        Self {
            concurrency: cores() * jobs_per_core,
            worker_queue_depth,
            max_concurrent_keys: 10_000,
            max_pending_jobs: 100_000,
            timeout: None,
            retry: Retry::NEVER,
        }
    }

    /// Returns the settings for jobs that keep a processor busy. GKES: `ComputeConfig`.
    pub fn compute() -> Self {
        Self::default()
    }

    /// Returns the settings for a service that answers fast. GKES: `FastNetworkConfig`.
    pub fn fast_network() -> Self {
        Self::of(4, 100)
    }

    /// Returns the settings for a service that answers slowly. GKES: `SlowNetworkConfig`.
    pub fn slow_network() -> Self {
        Self::of(16, 100)
    }

    /// Returns the settings for a service that takes many calls at the same time. GKES:
    /// `WideNetworkConfig`.
    pub fn wide_network() -> Self {
        Self::of(32, 1_000)
    }

    /// Sets how many jobs run at the same time: 1 to 65,536.
    #[must_use]
    pub const fn concurrency(mut self, jobs: usize) -> Self {
        self.concurrency = jobs;
        self
    }

    /// Sets how many jobs of one key may wait: 0 to 1,000,000. The job that exceeds the limit waits
    /// too, and its partition takes no more events until the limit is kept again.
    #[must_use]
    pub const fn worker_queue_depth(mut self, jobs: usize) -> Self {
        self.worker_queue_depth = jobs;
        self
    }

    /// Sets how many keys may have jobs: up to 10,000,000, and at least `concurrency`, which a
    /// lower number is raised to. The partition whose job exceeds the limit takes no more events
    /// until the limit is kept again.
    #[must_use]
    pub const fn max_concurrent_keys(mut self, keys: usize) -> Self {
        self.max_concurrent_keys = keys;
        self
    }

    /// Sets how many jobs may wait or run, of all keys: 1 to 10,000,000, by default 100,000. The
    /// partition whose job exceeds the limit takes no more events until the limit is kept again.
    #[must_use]
    pub const fn max_pending_jobs(mut self, jobs: usize) -> Self {
        self.max_pending_jobs = jobs;
        self
    }

    /// Sets how long an attempt of a job may take: 1 ms to 24 h. Without it a job may take for
    /// ever, and so holds back its partition's committed offset.
    ///
    /// The scheduler drops the future of an asynchronous job that takes longer, and retries it if
    /// it has attempts left. A blocking or computing job cannot be stopped: it is over with
    /// [`JobError::TimedOut`](super::JobError::TimedOut), its thread goes on, and the next job of
    /// its key waits until the thread is back.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Sets how many attempts a job has, the first one included (1 to 1,000, by default 1), and the
    /// time before the second one (1 ms to 24 h), which doubles with each further attempt, up to
    /// one minute. A random part of up to a half is taken off. Later jobs of the key wait
    /// meanwhile, and other keys go on.
    ///
    /// A panic is not retried.
    #[must_use]
    pub const fn retries(mut self, attempts: u32, backoff: Duration) -> Self {
        let longest = Duration::from_mins(1);
        let backoff_max = if backoff.as_nanos() > longest.as_nanos() { backoff } else { longest };
        self.retry = Retry { attempts, backoff, backoff_max };
        self
    }

    /// Sets the longest time between two attempts: from the first back-off to 24 h, by default one
    /// minute.
    #[must_use]
    pub const fn max_backoff(mut self, longest: Duration) -> Self {
        self.retry.backoff_max = longest;
        self
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// If one is out of its range.
    pub fn check(self) -> Result<Self, ConfigError> {
        ConfigError::check("concurrency", self.concurrency, 1..=CONCURRENCY_MAX)?;
        check_queue_depth(self.worker_queue_depth)?;
        check_keys(self.max_concurrent_keys)?;
        ConfigError::check("max_pending_jobs", self.max_pending_jobs, 1..=PENDING_JOBS_MAX)?;
        if let Some(timeout) = self.timeout {
            ConfigError::check_duration("timeout", timeout, JOB_DURATION_MIN..=JOB_DURATION_MAX)?;
        }
        ConfigError::check("retries", self.retry.attempts, 1..=JOB_ATTEMPTS_MAX)?;
        if self.retry.attempts > 1 {
            let backoff = JOB_DURATION_MIN..=JOB_DURATION_MAX;
            ConfigError::check_duration("retries", self.retry.backoff, backoff)?;
            let longest = self.retry.backoff..=JOB_DURATION_MAX;
            ConfigError::check_duration("max_backoff", self.retry.backoff_max, longest)?;
        }
        Ok(self)
    }

    pub(super) fn limits(&self) -> Limits {
        Limits {
            concurrency: self.concurrency,
            queue_depth: self.worker_queue_depth,
            keys: self.max_concurrent_keys.max(self.concurrency),
            jobs: self.max_pending_jobs,
        }
    }

    pub(super) const fn policy(&self, can_abort: bool) -> Policy {
        Policy { timeout: self.timeout, retry: self.retry, can_abort }
    }
}

pub(super) fn check_queue_depth(jobs: usize) -> Result<(), ConfigError> {
    ConfigError::check("worker_queue_depth", jobs, 0..=WORKER_QUEUE_DEPTH_MAX)
}

pub(super) fn check_keys(keys: usize) -> Result<(), ConfigError> {
    ConfigError::check("max_concurrent_keys", keys, 1..=CONCURRENT_KEYS_MAX)
}

/// The number of processors that this process may use.
pub(super) fn cores() -> usize {
    available_parallelism().map_or(1, std::num::NonZeroUsize::get)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_presets_have_the_numbers_of_gkes() {
        let presets = [
            (SchedulerConfig::default(), 1, 1_000),
            (SchedulerConfig::compute(), 1, 1_000),
            (SchedulerConfig::fast_network(), 4, 100),
            (SchedulerConfig::slow_network(), 16, 100),
            (SchedulerConfig::wide_network(), 32, 1_000),
        ];
        for (preset, per_core, depth) in presets {
            let limits = preset.check().expect("a preset is in range").limits();
            assert_eq!(limits.concurrency, per_core * cores());
            assert_eq!((limits.queue_depth, limits.keys), (depth, 10_000.max(limits.concurrency)));
        }
    }

    #[test]
    fn a_setting_out_of_range_is_refused_by_name() {
        let ms = Duration::from_millis(1);
        let wrong = [
            (SchedulerConfig::default().concurrency(0), "concurrency"),
            (SchedulerConfig::default().worker_queue_depth(1_000_001), "worker_queue_depth"),
            (SchedulerConfig::default().max_concurrent_keys(0), "max_concurrent_keys"),
            (SchedulerConfig::default().max_pending_jobs(0), "max_pending_jobs"),
            (SchedulerConfig::default().timeout(Duration::ZERO), "timeout"),
            (SchedulerConfig::default().retries(0, ms), "retries"),
            (SchedulerConfig::default().retries(2, Duration::ZERO), "retries"),
            (SchedulerConfig::default().retries(2, ms * 5).max_backoff(ms), "max_backoff"),
        ];
        for (config, name) in wrong {
            let error = config.check().expect_err(name).to_string();
            assert!(error.contains(name), "{error}");
        }
        assert!(SchedulerConfig::default().retries(5, Duration::from_mins(5)).check().is_ok());
    }

    #[test]
    fn no_key_is_too_many_for_a_free_place() {
        let config = SchedulerConfig::default().concurrency(64).max_concurrent_keys(1);
        assert_eq!(config.limits().keys, 64);
    }
}
