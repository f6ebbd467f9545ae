//! The job types of a source: how a job of each type runs, and what its finalizer does.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::{DurableJobs, Job, JobConfig, JobError, JobRun, Next};
use crate::codec::{CodecError, Encoded, decode};
use crate::error::ConfigError;
use crate::handler::{EventContext, Result as HandlerResult};
use crate::jobs::JobFailure;
use crate::record::Headers;
use crate::runtime::pulse::panic_text;

/// A job's `Result<R, JobError>`; only its handler knows the type.
pub(crate) type JobOutcome = Box<dyn Any + Send>;

/// Makes the outcome of a job that has run for too long.
pub(crate) type OnTimeout = fn(Duration) -> JobOutcome;

/// A job that is about to run.
pub(crate) enum Work {
    /// On the runtime of jobs.
    Async {
        run: Pin<Box<dyn Future<Output = JobOutcome> + Send>>,
        timeout: Option<(Duration, OnTimeout)>,
    },
    /// On a thread of its own.
    Blocking(Box<dyn FnOnce() -> JobOutcome + Send>),
    /// On a thread, as many at a time as there are cores.
    Compute(Box<dyn FnOnce() -> JobOutcome + Send>),
}

/// What a source does with the jobs of one type.
trait HandleJob<S: 'static>: Send + Sync {
    fn begin(&self, payload: &[u8], run: JobRun) -> Result<Work, CodecError>;

    fn finalize(
        &self,
        ctx: &mut EventContext<S>,
        payload: &[u8],
        outcome: &JobOutcome,
    ) -> HandlerResult<Next>;
}

type Begin<J> = Box<dyn Fn(J, JobRun) -> Work + Send + Sync>;

struct Handler<J, R, F> {
    begin: Begin<J>,
    finalize: F,
    result: PhantomData<fn() -> R>,
}

fn decoded<J: Job>(payload: &[u8]) -> Result<J, CodecError> {
    decode(Encoded { value: Some(payload), headers: &Headers::default() })
}

impl<S, J, R, F> HandleJob<S> for Handler<J, R, F>
where
    S: 'static,
    J: Job,
    R: Send + 'static,
    F: Fn(&mut EventContext<S>, J, &Result<R, JobError>) -> HandlerResult<Next> + Send + Sync,
{
    fn begin(&self, payload: &[u8], run: JobRun) -> Result<Work, CodecError> {
        Ok((self.begin)(decoded(payload)?, run))
    }

    fn finalize(
        &self,
        ctx: &mut EventContext<S>,
        payload: &[u8],
        outcome: &JobOutcome,
    ) -> HandlerResult<Next> {
        match outcome.downcast_ref::<Result<R, JobError>>() {
            Some(result) => (self.finalize)(ctx, decoded(payload)?, result),
            None => unreachable!("a job's outcome goes to the handler that began the job"),
        }
    }
}

/// Where the jobs of a type run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Threads {
    Blocking,
    Compute,
}

/// The job types of a source, and the bounds of its jobs.
pub struct JobTypes<S: 'static> {
    handlers: BTreeMap<&'static str, Arc<dyn HandleJob<S>>>,
    pub(crate) bounds: DurableJobs,
    /// What is wrong with the settings, until they are checked.
    wrong: Option<ConfigError>,
}

impl<S: 'static> Clone for JobTypes<S> {
    fn clone(&self) -> Self {
        let Self { handlers, bounds, wrong } = self;
        Self { handlers: handlers.clone(), bounds: *bounds, wrong: wrong.clone() }
    }
}

impl<S: 'static> Default for JobTypes<S> {
    fn default() -> Self {
        Self { handlers: BTreeMap::new(), bounds: DurableJobs::default(), wrong: None }
    }
}

impl<S: 'static> fmt::Debug for JobTypes<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let types: Vec<_> = self.names().collect();
        f.debug_struct("JobTypes")
            .field("types", &types)
            .field("bounds", &self.bounds)
            .finish_non_exhaustive()
    }
}

/// The longest job type: its length in a row has two bytes.
const TYPE_BYTES_MAX: usize = 255;

impl<S: 'static> JobTypes<S> {
    /// Adds a type whose jobs are futures.
    pub(crate) fn add_async<J, R, E, P, T, F>(&mut self, config: JobConfig, run: P, finalize: F)
    where
        J: Job,
        R: Send + 'static,
        E: JobFailure,
        P: Fn(J, JobRun) -> T + Send + Sync + 'static,
        T: Future<Output = Result<R, E>> + Send + 'static,
        F: Fn(&mut EventContext<S>, J, &Result<R, JobError>) -> HandlerResult<Next>,
        F: Send + Sync + 'static,
    {
        let timed_out: fn(Duration) -> JobOutcome =
            |after| Box::new(Err::<R, _>(JobError::TimedOut { timeout: after }));
        let begin = move |job: J, job_run: JobRun| {
            // Calling the function may panic as well as the future that it returns.
            let attempt = job_run.attempt();
            let future = catch_unwind(AssertUnwindSafe(|| run(job, job_run)));
            let future = async move {
                let ended = match future {
                    Ok(future) => CatchPanic(Box::pin(future)).await,
                    Err(panic) => Err(panic),
                };
                outcome(ended, attempt)
            };
            let timeout = config.timeout.map(|after| (after, timed_out));
            Work::Async { run: Box::pin(future), timeout }
        };
        self.add::<J, R, F>(config.check(true), Box::new(begin), finalize);
    }

    /// Adds a type whose jobs occupy a thread.
    pub(crate) fn add_threaded<J, R, E, P, F>(
        &mut self,
        (config, threads): (JobConfig, Threads),
        run: P,
        finalize: F,
    ) where
        J: Job,
        R: Send + 'static,
        E: JobFailure,
        P: Fn(J, JobRun) -> Result<R, E> + Send + Sync + 'static,
        F: Fn(&mut EventContext<S>, J, &Result<R, JobError>) -> HandlerResult<Next>,
        F: Send + Sync + 'static,
    {
        let run = Arc::new(run);
        let begin = move |job: J, job_run: JobRun| {
            let run = Arc::clone(&run);
            let attempt = job_run.attempt();
            let run = move || {
                let ended = catch_unwind(AssertUnwindSafe(|| run(job, job_run)));
                outcome(ended, attempt)
            };
            match threads {
                Threads::Blocking => Work::Blocking(Box::new(run)),
                Threads::Compute => Work::Compute(Box::new(run)),
            }
        };
        self.add::<J, R, F>(config.check(false), Box::new(begin), finalize);
    }

    fn add<J, R, F>(&mut self, checked: Result<(), ConfigError>, begin: Begin<J>, finalize: F)
    where
        J: Job,
        R: Send + 'static,
        F: Fn(&mut EventContext<S>, J, &Result<R, JobError>) -> HandlerResult<Next>,
        F: Send + Sync + 'static,
    {
        let checked = match J::TYPE.len() {
            0 | TYPE_BYTES_MAX.. => {
                Err(invalid(J::TYPE, "the name of a job type has 1 to 254 bytes"))
            }
            _ => checked,
        };
        let handler = Handler { begin, finalize, result: PhantomData::<fn() -> R> };
        let former = self.handlers.insert(J::TYPE, Arc::new(handler));
        let twice = former.map(|_| invalid(J::TYPE, TYPE_TWICE));
        let wrong = checked.err().or(twice);
        self.wrong = self.wrong.take().or(wrong);
    }

    /// Checks the settings, together with the types of durable handlers, which are registered when
    /// the source starts.
    pub(crate) fn check(&self, declared: &[&'static str]) -> Result<(), ConfigError> {
        self.wrong.clone().map_or(Ok(()), Err)?;
        for (place, name) in declared.iter().enumerate() {
            if self.knows(name) || declared[..place].contains(name) {
                return Err(invalid(name, TYPE_TWICE));
            }
        }
        self.bounds.check().map(drop)
    }

    /// Returns true if the source has no job type.
    pub(crate) fn is_empty(&self) -> bool {
        self.handlers.is_empty()
    }

    /// Returns the names of the types.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.handlers.keys().copied()
    }

    pub(crate) fn knows(&self, job_type: &str) -> bool {
        self.handlers.contains_key(job_type)
    }

    /// Makes the run of a job; `None` if its type is unknown.
    pub(crate) fn begin(
        &self,
        job_type: &str,
        payload: &[u8],
        run: JobRun,
    ) -> Option<Result<Work, CodecError>> {
        self.handlers.get(job_type).map(|handler| handler.begin(payload, run))
    }

    /// Runs the finalizer of a job; `None` if its type is unknown.
    pub(crate) fn finalize(
        &self,
        ctx: &mut EventContext<S>,
        (job_type, payload): (&str, &[u8]),
        outcome: &JobOutcome,
    ) -> Option<HandlerResult<Next>> {
        self.handlers.get(job_type).map(|handler| handler.finalize(ctx, payload, outcome))
    }
}

const TYPE_TWICE: &str = "two job types of the source have this name: give one of them another";

fn invalid(job_type: &str, hint: &str) -> ConfigError {
    let (value, hint) = (job_type.to_owned(), hint.to_owned());
    ConfigError::Invalid { name: "Job::TYPE", value, hint }
}

/// What a run has ended with, or its panic.
fn outcome<R, E>(ended: std::thread::Result<Result<R, E>>, attempts: u32) -> JobOutcome
where
    R: Send + 'static,
    E: JobFailure,
{
    Box::new(match ended {
        Ok(result) => {
            result.map_err(|error| JobError::Failed { attempts, source: error.into_source() })
        }
        Err(panic) => Err(JobError::Panicked { message: panic_text(&*panic) }),
    })
}

/// A future whose panic is its result.
struct CatchPanic<T>(Pin<Box<T>>);

impl<T: Future> Future for CatchPanic<T> {
    type Output = std::thread::Result<T::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match catch_unwind(AssertUnwindSafe(|| self.0.as_mut().poll(cx))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
            Err(panic) => Poll::Ready(Err(panic)),
        }
    }
}
