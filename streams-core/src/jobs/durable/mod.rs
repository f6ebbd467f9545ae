//! Durable jobs: work that survives crashes and moves, because its partition's changelog has it.
//!
//! [`EventContext::schedule`](crate::EventContext::schedule) writes a job into the changelog, in
//! the event's own transaction. Once that is committed, the job runs outside of the worker's
//! thread. Its *finalizer* then runs in the worker's thread, in a transaction that applies its
//! effects and removes the job, or replaces it by its next step.
//!
//! # Examples
//! ```
//! use std::time::Duration;
//!
//! use serde::{Deserialize, Serialize};
//! use streams_core::jobs::durable::{JobConfig, JobError, JobRun, Next};
//! use streams_core::prelude::*;
//! use streams_core::testing::TestDriver;
//!
//! #[derive(Job, EventCodec, Serialize, Deserialize)]
//! #[job("send-mail")]
//! struct SendMail {
//!     address: String,
//! }
//!
//! #[derive(Events)]
//! enum Orders {
//!     Placed(String),
//! }
//!
//! #[derive(StateStore)]
//! struct Shop {
//!     notified: Table<String, u64>,
//! }
//!
//! #[event_source(events = Orders, store = Shop)]
//! mod shop {
//!     use super::*;
//!
//!     #[event_handler("Placed")]
//!     fn placed(ctx: &mut EventContext<Shop>, address: String) -> Result<ExecutionState> {
//!         ctx.schedule(&address.clone(), SendMail { address })?;
//!         Ok(Complete)
//!     }
//! }
//!
//! async fn send_mail(mail: SendMail, _run: JobRun) -> std::io::Result<usize> {
//!     // A mail server, and its answer.
//!     Ok(mail.address.len())
//! }
//!
//! fn mail_sent(
//!     ctx: &mut EventContext<Shop>,
//!     mail: SendMail,
//!     result: &Result<usize, JobError>,
//! ) -> Result<Next> {
//!     if result.is_err() {
//!         return Ok(Next::Retry(Duration::from_secs(60)));
//!     }
//!     ctx.store.notified.update(mail.address, |count| *count += 1);
//!     Ok(Next::Done)
//! }
//!
//! # fn main() {
//! let source = shop::Source::builder().durable_job(JobConfig::default(), send_mail, mail_sent);
//! let mut driver: TestDriver<shop::Source> = source.test_driver();
//! driver.send("1", Orders::Placed("billy@bob.com".to_owned()));
//! assert_eq!(driver.store(0).notified.get("billy@bob.com"), Some(&1));
//! # }
//! ```

mod config;
mod context;
mod handlers;
mod machine;
mod pending;
mod row;
mod runner;
pub(crate) mod sugar;

use std::fmt;
use std::time::{Duration, SystemTime};

pub use self::config::{DurableJobs, JobConfig};
pub(crate) use self::context::JobIds;
#[doc(hidden)]
pub use self::handlers::JobTypes;
pub(crate) use self::handlers::{JobOutcome, Threads, Work};
pub(crate) use self::machine::{JobMachine, PendingJob, RunId};
pub(crate) use self::pending::{ResumeError, TaskJobs};
pub use self::row::JobId;
pub(crate) use self::row::{JOBS, JobRow, row_key};
pub(crate) use self::runner::{Cancel, JobRunner, Report, TokioRunner};
use crate::codec::{CodecError, EventCodec};
pub use crate::jobs::JobError;

/// A job: a value with a codec, and a name that its rows in the changelog carry. Derive it:
/// `#[derive(Job, EventCodec, Serialize, Deserialize)]`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a durable job",
    label = "has no job type",
    note = "derive it: `#[derive(Job, EventCodec, Serialize, Deserialize)]` on `{Self}`"
)]
pub trait Job: for<'a> EventCodec<'a> + Send + 'static {
    /// The job's type in the changelog: a stable name, which no other job of the source has. A job
    /// that is pending under a name that the program does not know stops the source.
    const TYPE: &'static str;
}

/// One run of a job, as the job is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobRun {
    pub(crate) partition: i32,
    pub(crate) id: JobId,
    pub(crate) step: u32,
    pub(crate) attempt: u32,
}

impl JobRun {
    /// Returns the partition of the source.
    pub const fn partition(&self) -> i32 {
        self.partition
    }

    /// Returns the job's number in its partition.
    pub const fn id(&self) -> JobId {
        self.id
    }

    /// Returns how many steps the job has completed before this one.
    pub const fn step(&self) -> u32 {
        self.step
    }

    /// Returns the attempt of this step, from 1: [`Next::Retry`] counts it up. A run that a crash
    /// or a move repeats has the same attempt.
    pub const fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Returns a name of this step of this job: the same in each repetition, and of no other step
    /// in this source. A service that is given it can tell a repetition from new work.
    pub fn idempotency_key(&self) -> String {
        format!("{}-{}-{}", self.partition, self.id, self.step)
    }
}

/// What becomes of a job once its finalizer has run. It is decided in the same transaction.
#[derive(Debug)]
#[non_exhaustive]
pub enum Next {
    /// The job is done: it is removed.
    Done,
    /// The job is replaced by its next step: [`Next::then`], [`Next::then_at`].
    Then(NextStep),
    /// The job runs again after this time; later jobs of its key wait for it.
    Retry(Duration),
}

impl Next {
    /// Replaces the job by `job`, which runs before all later jobs of the key.
    pub fn then<J: Job>(job: J) -> Self {
        Self::Then(NextStep::new(&job, None))
    }

    /// Replaces the job by `job`, which runs at `when` or later. Later jobs of the key don't wait
    /// for it.
    pub fn then_at<J: Job>(job: J, when: SystemTime) -> Self {
        Self::Then(NextStep::new(&job, Some(unix_ms(when))))
    }
}

/// The next step of a job: another job, of the same type or another one.
pub struct NextStep {
    pub(crate) job_type: &'static str,
    pub(crate) payload: Result<Vec<u8>, CodecError>,
    pub(crate) due_ms: Option<i64>,
}

impl NextStep {
    fn new<J: Job>(job: &J, due_ms: Option<i64>) -> Self {
        Self { job_type: J::TYPE, payload: encoded(job), due_ms }
    }
}

impl fmt::Debug for NextStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { job_type, due_ms, .. } = self;
        f.debug_struct("NextStep")
            .field("job_type", job_type)
            .field("due_ms", due_ms)
            .finish_non_exhaustive()
    }
}

fn encoded<J: Job>(job: &J) -> Result<Vec<u8>, CodecError> {
    let mut payload = vec![];
    crate::codec::encode(job, &mut payload)?;
    Ok(payload)
}

/// Milliseconds since the Unix epoch, rounded up, so that nothing is due early.
fn unix_ms(at: SystemTime) -> i64 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let ms = since.as_nanos().div_ceil(1_000_000);
    i64::try_from(ms).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
