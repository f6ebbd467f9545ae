//! What the twin of an async handler calls.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::{AsyncJobScheduler, JobFailure, JobResult, SchedulerConfig};
use crate::__private::AsyncHandler;
use crate::error::ConfigError;
use crate::handler::{EventContext, ExecutionState, IntoOutcome, Outcome, Result};
use crate::record::Record;
use crate::store::StateStore;

/// The schedulers of a source's async handlers, one each, made at its first event.
#[derive(Clone, Default)]
pub(crate) struct Schedulers(Arc<Mutex<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>>);

impl Schedulers {
    /// Returns the scheduler of the async handler whose twin is `T`.
    fn get<T: 'static, J: Any + Clone + Send + Sync>(
        &self,
        make: impl FnOnce() -> Result<J, ConfigError>,
    ) -> Result<J, ConfigError> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let scheduler = known.get(&TypeId::of::<T>());
        if let Some(scheduler) = scheduler.and_then(|scheduler| scheduler.downcast_ref::<J>()) {
            return Ok(scheduler.clone());
        }
        let scheduler = make()?;
        known.insert(TypeId::of::<T>(), Arc::new(scheduler.clone()));
        Ok(scheduler)
    }
}

impl fmt::Debug for Schedulers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Schedulers").finish_non_exhaustive()
    }
}

/// The options of an async handler.
#[derive(Clone, Copy, Debug)]
pub struct JobSettings {
    pub concurrency: Option<u64>,
    pub timeout_ms: Option<u64>,
    pub retries: Option<u64>,
    pub backoff_ms: Option<u64>,
}

/// The time before the second attempt, if only their number is given.
const BACKOFF: Duration = Duration::from_millis(100);

impl JobSettings {
    fn config(self) -> SchedulerConfig {
        let mut config = SchedulerConfig::slow_network();
        if let Some(jobs) = self.concurrency {
            config = config.concurrency(usize::try_from(jobs).unwrap_or(usize::MAX));
        }
        if let Some(timeout) = self.timeout_ms {
            config = config.timeout(Duration::from_millis(timeout));
        }
        if let Some(attempts) = self.retries {
            let backoff = self.backoff_ms.map_or(BACKOFF, Duration::from_millis);
            config = config.retries(u32::try_from(attempts).unwrap_or(u32::MAX), backoff);
        }
        config
    }
}

/// A finalizer of the async handler whose twin is `T`.
pub type Finalizer<S, T> = fn(
    &mut EventContext<S>,
    <T as AsyncHandler>::Payload,
    JobResult<<<T as AsyncHandler>::Returned as JobReturn>::Value>,
) -> Result<ExecutionState>;

/// The payload of an async handler.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be the payload of an async handler",
    label = "must be `Clone`, `Send` and owned",
    note = "derive `Clone` on it: the finalizer gets the payload too, and so does a second attempt"
)]
pub trait JobPayload: Clone + Send + 'static {}

#[diagnostic::do_not_recommend]
impl<T: Clone + Send + 'static> JobPayload for T {}

/// What an async handler returns.
#[diagnostic::on_unimplemented(
    message = "an async handler can't return `{Self}`",
    label = "should be `Result<Value, Error>`",
    note = "the finalizer gets the value, or why there is none; any error will do"
)]
pub trait JobReturn {
    type Value: Send + 'static;
    type Error: JobFailure + 'static;

    fn into_result(self) -> Result<Self::Value, Self::Error>;
}

#[diagnostic::do_not_recommend]
impl<R, E> JobReturn for Result<R, E>
where
    R: Send + 'static,
    E: JobFailure + 'static,
{
    type Value = R;
    type Error = E;

    fn into_result(self) -> Self {
        self
    }
}

/// The key of an async handler's jobs.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no key of jobs",
    label = "must be `Clone`, `Eq`, `Hash` and `Send`",
    note = "jobs of one key run in order: derive the traits, or name a field of type `String`"
)]
pub trait JobKey: Clone + Eq + Hash + Send + 'static {}

#[diagnostic::do_not_recommend]
impl<K: Clone + Eq + Hash + Send + 'static> JobKey for K {}

/// A wrong key is an error where the user names it.
pub fn job_key<K: JobKey>(key: K) -> K {
    key
}

/// The record's own key, which orders the jobs of an async handler that names none.
pub fn record_key<S: StateStore>(ctx: &EventContext<S>) -> Vec<u8> {
    ctx.input().and_then(Record::key).unwrap_or_default().to_vec()
}

/// Schedules a job of the async handler whose twin is `T`.
pub fn schedule<T, S, H, K, F>(
    ctx: &mut EventContext<S>,
    shared: &Arc<H>,
    payload: T::Payload,
    finalizer: Finalizer<S, T>,
    settings: JobSettings,
    key: K,
    job: impl Fn(Arc<H>, T::Payload) -> F + Send + Sync + 'static,
) -> Outcome
where
    T: AsyncHandler,
    S: StateStore,
    H: Send + Sync + 'static,
    K: JobKey,
    F: Future<Output = T::Returned> + Send + 'static,
{
    let make = || {
        AsyncJobScheduler::<S, K, (Arc<H>, T::Payload)>::new(
            settings.config(),
            move |_, (shared, payload)| {
                let job = job(shared, payload);
                async move { job.await.into_result() }
            },
            move |ctx, _, (_, payload), result| finalizer(ctx, payload, result),
        )
    };
    match ctx.schedulers().get::<T, _>(make) {
        Ok(jobs) => jobs.schedule(ctx, key, (Arc::clone(shared), payload)).into_outcome(),
        Err(error) => Outcome::Failed(error.into()),
    }
}

/// The finalizer of an async handler that names none.
pub fn complete_job<S: 'static, V, R>(
    _: &mut EventContext<S>,
    _: V,
    result: JobResult<R>,
) -> Result<ExecutionState> {
    result?;
    Ok(ExecutionState::Complete)
}
