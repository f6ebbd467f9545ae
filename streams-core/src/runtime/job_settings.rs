//! The settings of durable jobs.

use std::future::Future;
use std::sync::Arc;

use super::builder::SourceBuilder;
use super::error::SourceError;
use crate::error::ConfigError;
use crate::handler::{EventContext, EventSource, Result as HandlerResult};
use crate::jobs::JobFailure;
use crate::jobs::durable::{
    DurableJobs, Job, JobConfig, JobError, JobRun, JobRunner, JobTypes, Next, Threads, TokioRunner,
};

/// The threads of blocking jobs: at least and at most.
const BLOCKING_THREADS_MIN: usize = 16;
const BLOCKING_THREADS_MAX: usize = 512;

/// Durable jobs.
impl<A: EventSource, Missing: 'static> SourceBuilder<A, Missing> {
    /// Registers a type of durable jobs, which handlers
    /// [`schedule`](crate::EventContext::schedule): `run` is the job, an `async fn` that runs on a
    /// runtime of the source; `finalize` takes its result in the partition's thread, in a
    /// transaction of its own, and says what becomes of the job.
    ///
    /// The effects of `finalize` happen exactly once. What `run` does outside of Kafka may happen
    /// again after a crash, and after the partition has moved
    /// ([`JobRun::idempotency_key`](JobRun::idempotency_key)). The guide is in
    /// [`jobs::durable`](crate::jobs::durable).
    #[must_use]
    pub fn durable_job<J, R, E, P, T, F>(mut self, config: JobConfig, run: P, finalize: F) -> Self
    where
        J: Job,
        R: Send + 'static,
        E: JobFailure,
        P: Fn(J, JobRun) -> T + Send + Sync + 'static,
        T: Future<Output = Result<R, E>> + Send + 'static,
        F: Fn(&mut EventContext<A::Store>, J, &Result<R, JobError>) -> HandlerResult<Next>,
        F: Send + Sync + 'static,
    {
        self.jobs.add_async(config, run, finalize);
        self
    }

    /// As [`SourceBuilder::durable_job`], for a job that blocks: each occupies a thread while it
    /// runs.
    #[must_use]
    pub fn blocking_durable_job<J, R, E, P, F>(
        mut self,
        config: JobConfig,
        run: P,
        finalize: F,
    ) -> Self
    where
        J: Job,
        R: Send + 'static,
        E: JobFailure,
        P: Fn(J, JobRun) -> Result<R, E> + Send + Sync + 'static,
        F: Fn(&mut EventContext<A::Store>, J, &Result<R, JobError>) -> HandlerResult<Next>,
        F: Send + Sync + 'static,
    {
        self.jobs.add_threaded((config, Threads::Blocking), run, finalize);
        self
    }

    /// As [`SourceBuilder::durable_job`], for a job that computes: as many run at a time as there
    /// are cores.
    #[must_use]
    pub fn compute_durable_job<J, R, E, P, F>(
        mut self,
        config: JobConfig,
        run: P,
        finalize: F,
    ) -> Self
    where
        J: Job,
        R: Send + 'static,
        E: JobFailure,
        P: Fn(J, JobRun) -> Result<R, E> + Send + Sync + 'static,
        F: Fn(&mut EventContext<A::Store>, J, &Result<R, JobError>) -> HandlerResult<Next>,
        F: Send + Sync + 'static,
    {
        self.jobs.add_threaded((config, Threads::Compute), run, finalize);
        self
    }

    /// Sets the bounds of the durable jobs of each partition.
    #[must_use]
    pub const fn durable_jobs(mut self, bounds: DurableJobs) -> Self {
        self.jobs.bounds = bounds;
        self
    }

    pub(super) fn check_jobs(&self) -> Result<(), ConfigError> {
        let durable = A::TABLE.durable_jobs.iter().map(|route| route.job_type);
        self.jobs.check(&durable.collect::<Vec<_>>())
    }

    /// The job types, with those of durable handlers.
    pub(super) fn job_types(&self) -> JobTypes<A::Store> {
        let mut jobs = self.jobs.clone();
        if !A::TABLE.durable_jobs.is_empty() {
            let shared = self.shared_by_all();
            A::TABLE.durable_jobs.iter().for_each(|route| (route.register)(&mut jobs, &shared));
        }
        jobs
    }

    /// What runs the jobs; `None` if the source has no job type.
    pub(super) fn job_runner(&self) -> Result<Option<Arc<dyn JobRunner>>, SourceError> {
        if self.jobs.is_empty() && A::TABLE.durable_jobs.is_empty() {
            return Ok(None);
        }
        let threads =
            self.jobs.bounds.concurrency.clamp(BLOCKING_THREADS_MIN, BLOCKING_THREADS_MAX);
        let runner = TokioRunner::new(threads).map_err(|e| SourceError::Thread(e.to_string()))?;
        Ok(Some(Arc::new(runner)))
    }
}
