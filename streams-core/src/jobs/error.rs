//! Why a job has no result, and finalizers for those who need none of their own.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::handler::{EventContext, ExecutionState, HandlerError, Result};

/// Why a job has no result. Its finalizer receives the error and decides what becomes of the event:
/// `result?` fails it, and with it the source.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// The job returned an error: of an [`AsyncJobScheduler`](super::AsyncJobScheduler) in its last
    /// attempt.
    #[error("the job failed in attempt {attempts}: {source}")]
    Failed {
        /// How many attempts there were.
        attempts: u32,
        /// What the job returned.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The job took longer than its timeout: of an [`AsyncJobScheduler`](super::AsyncJobScheduler)
    /// in its last attempt.
    #[error(
        "the job took longer than {timeout:?}: make it faster, or raise `SchedulerConfig::timeout` \
         (`JobConfig::timeout` of a durable job)"
    )]
    TimedOut {
        /// The timeout.
        timeout: Duration,
    },
    /// The job panicked. A panic is not retried.
    #[error("the job panicked: {message}")]
    Panicked {
        /// What the job panicked with.
        message: String,
    },
    /// The job was cancelled: by [`cancel_key`](super::AsyncJobScheduler::cancel_key), or because
    /// the tokio runtime of the scheduler was shut down.
    #[error("the job was cancelled, or its tokio runtime was shut down, before it ended")]
    Cancelled,
}

impl JobError {
    /// Returns the job's own error, if the job returned an `E`.
    pub fn failure<E: Error + 'static>(&self) -> Option<&E> {
        match self {
            Self::Failed { source, .. } => source.downcast_ref().or_else(|| {
                let of_batch = source.downcast_ref::<OfBatch>();
                of_batch.and_then(|of_batch| of_batch.0.failure())
            }),
            Self::TimedOut { .. } | Self::Panicked { .. } | Self::Cancelled => None,
        }
    }
}

/// The error of a batch, as each of its items has it.
#[derive(Clone, Debug)]
pub(super) struct OfBatch(pub(super) Arc<JobError>);

impl fmt::Display for OfBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            JobError::Failed { source, .. } => source.fmt(f),
            other => other.fmt(f),
        }
    }
}

impl Error for OfBatch {}

/// What a job may return as its error: everything that becomes a `Box<dyn Error + Send + Sync>`,
/// and a [`HandlerError`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be the error of a job",
    label = "no `Error` that is `Send + Sync`",
    note = "implement `std::error::Error` for it, or return `error.to_string()`"
)]
pub trait JobFailure {
    /// Returns the error in one form.
    fn into_source(self) -> Box<dyn Error + Send + Sync>;
}

#[diagnostic::do_not_recommend]
impl<E: Into<Box<dyn Error + Send + Sync>>> JobFailure for E {
    fn into_source(self) -> Box<dyn Error + Send + Sync> {
        self.into()
    }
}

impl JobFailure for HandlerError {
    fn into_source(self) -> Box<dyn Error + Send + Sync> {
        Self::into_source(self)
    }
}

/// What a finalizer receives: the job's result, or why there is none.
pub type JobResult<R> = Result<R, JobError>;

/// A finalizer that completes the event, or fails it with the job's error.
///
/// # Errors
/// If the job has no result.
pub fn complete<S: 'static, K, V, R>(
    _: &mut EventContext<S>,
    _: K,
    _: V,
    result: Result<R, JobError>,
) -> Result<ExecutionState> {
    result?;
    Ok(ExecutionState::Complete)
}

/// A finalizer that completes the event, whatever the job returns, and logs an error. GKES: a `nil`
/// finalizer.
///
/// # Errors
/// Never.
pub fn complete_always<S: 'static, K, V, R>(
    _: &mut EventContext<S>,
    _: K,
    _: V,
    result: Result<R, JobError>,
) -> Result<ExecutionState> {
    if let Err(error) = result {
        tracing::warn!(%error, "the scheduler completes an event although its job failed");
    }
    Ok(ExecutionState::Complete)
}
