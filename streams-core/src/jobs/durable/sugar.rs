//! What the twin of an async handler calls whose jobs are durable.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use super::{Job, JobConfig, JobTypes, Next};
use crate::__private::{DurableHandler, Newtype, Transparent};
use crate::codec::{EventCodec, KeyCodec};
use crate::handler::{EventContext, HandlerError, Outcome, Result};
use crate::jobs::JobResult;
use crate::jobs::sugar::JobReturn;
use crate::store::StateStore;

/// A finalizer of the durable handler whose twin is `T`.
pub type DurableFinalizer<S, T> = fn(
    &mut EventContext<S>,
    <T as DurableHandler>::Payload,
    &JobResult<<<T as DurableHandler>::Returned as JobReturn>::Value>,
) -> Result<Next>;

/// The payload of a durable handler.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be the payload of a durable handler",
    label = "must be owned and `Send`, with an event codec",
    note = "the changelog keeps the payload until the job is done"
)]
pub trait DurablePayload: for<'record> EventCodec<'record> + Send + 'static {}

#[diagnostic::do_not_recommend]
impl<T: for<'record> EventCodec<'record> + Send + 'static> DurablePayload for T {}

/// A payload as the job of its handler.
struct PayloadOf<T: DurableHandler>(T::Payload);

impl<'record, T: DurableHandler> Newtype<'record> for PayloadOf<T> {
    type Inner = T::Payload;

    fn wrap(inner: T::Payload) -> Self {
        Self(inner)
    }

    fn inner(&self) -> &T::Payload {
        &self.0
    }
}

impl<'record, T: DurableHandler> EventCodec<'record> for PayloadOf<T> {
    type Via = Transparent;
}

impl<T: DurableHandler> Job for PayloadOf<T> {
    const TYPE: &'static str = T::TYPE;
}

/// A wrong key is an error where the user names it.
pub fn durable_key<K: KeyCodec>(key: K) -> K {
    key
}

/// Schedules a job of the durable handler whose twin is `T`.
pub fn schedule_durable<T: DurableHandler, S: StateStore, K: KeyCodec>(
    ctx: &mut EventContext<S>,
    key: &K,
    payload: T::Payload,
) -> Outcome {
    match ctx.schedule::<K, _>(key, PayloadOf::<T>(payload)) {
        Ok(_) => Outcome::Complete,
        Err(error) => Outcome::Failed(error),
    }
}

/// Registers the jobs of the durable handler whose twin is `T`.
pub fn register_durable<T, S, H, F>(
    jobs: &mut JobTypes<S>,
    shared: &Arc<H>,
    job: impl Fn(Arc<H>, T::Payload) -> F + Send + Sync + 'static,
    timeout_ms: Option<u64>,
    finalizer: DurableFinalizer<S, T>,
) where
    T: DurableHandler,
    S: StateStore,
    H: Send + Sync + 'static,
    F: Future<Output = T::Returned> + Send + 'static,
{
    let timeout = timeout_ms.map(Duration::from_millis);
    let config = timeout.map_or_else(JobConfig::default, |time| JobConfig::default().timeout(time));
    let shared = Arc::clone(shared);
    let run = move |PayloadOf(payload): PayloadOf<T>, _| {
        let job = job(Arc::clone(&shared), payload);
        async move { job.await.into_result() }
    };
    let finalize = move |ctx: &mut EventContext<S>,
                         PayloadOf(payload): PayloadOf<T>,
                         result: &_| { finalizer(ctx, payload, result) };
    jobs.add_async(config, run, finalize);
}

/// The finalizer of a durable handler that names none: the job is done, or fails the source.
pub fn complete_durable<S: 'static, V, R>(
    _: &mut EventContext<S>,
    _: V,
    result: &JobResult<R>,
) -> Result<Next> {
    match result {
        Ok(_) => Ok(Next::Done),
        Err(error) => Err(HandlerError::fail(error.to_string())),
    }
}
