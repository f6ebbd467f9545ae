//! How an attempt of a job runs: as a future on tokio, or in a thread.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::Poll;

use tokio::runtime::{Builder, Handle, Runtime};

use super::error::{JobError, JobFailure};
use super::pool::Pool;
use crate::handler::{EventContext, ExecutionState, Result};
use crate::runtime::pulse::panic_text;

/// A job's result, with what is left to do with it on the partition's thread.
pub(super) type Finish<S, K, V> =
    Box<dyn FnOnce(&mut EventContext<S>, K, V) -> Result<ExecutionState> + Send>;

/// What an attempt returns: the error is without the number of attempts.
pub(super) type Attempted<S, K, V> = Result<Finish<S, K, V>, JobError>;

pub(super) type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

type Start<K, V, T> = Arc<dyn Fn(K, V) -> T + Send + Sync>;

/// What runs the attempts of a scheduler.
pub(super) enum Work<S: 'static, K, V> {
    /// Futures on the scheduler's runtime.
    Async(Start<K, V, BoxFuture<Attempted<S, K, V>>>),
    /// Functions in threads.
    Threads(Pool, Start<K, V, Attempted<S, K, V>>),
}

pub(super) type Finalizer<S, K, V, R> =
    dyn Fn(&mut EventContext<S>, K, V, Result<R, JobError>) -> Result<ExecutionState> + Send + Sync;

/// A job's result becomes what its finalizer does with it.
pub(super) fn attempted<S: 'static, K, V, R, E>(
    result: std::result::Result<R, E>,
    finalizer: &Arc<Finalizer<S, K, V, R>>,
) -> Attempted<S, K, V>
where
    K: 'static,
    V: 'static,
    R: Send + 'static,
    E: JobFailure,
{
    let result =
        result.map_err(|error| JobError::Failed { attempts: 0, source: error.into_source() })?;
    let finalizer = Arc::clone(finalizer);
    Ok(Box::new(move |ctx, key, value| finalizer(ctx, key, value, Ok(result))))
}

/// Runs a part of a job; a panic is its error.
pub(super) fn guarded<T>(run: impl FnOnce() -> Result<T, JobError>) -> Result<T, JobError> {
    catch_unwind(AssertUnwindSafe(run))
        .unwrap_or_else(|panic| Err(JobError::Panicked { message: panic_text(&*panic) }))
}

/// Runs the future that `start` returns; a panic of either is an error.
pub(super) async fn guarded_future<T>(
    start: impl FnOnce() -> BoxFuture<Result<T, JobError>>,
) -> Result<T, JobError> {
    let mut future = guarded(|| Ok(start()))?;
    std::future::poll_fn(|cx| {
        let poll = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx)));
        poll.unwrap_or_else(|panic| {
            Poll::Ready(Err(JobError::Panicked { message: panic_text(&*panic) }))
        })
    })
    .await
}

/// The runtime of all schedulers of this process that were made outside of a tokio runtime: a
/// thread for each processor.
///
/// # Errors
/// If the operating system starts no threads.
pub(super) fn own_runtime() -> std::io::Result<Handle> {
    static OWN: OnceLock<Runtime> = OnceLock::new();
    if let Some(runtime) = OWN.get() {
        return Ok(runtime.handle().clone());
    }
    let made = Builder::new_multi_thread().thread_name("streams-jobs").enable_all().build()?;
    // Two threads may come here at the same time: one runtime stays, and the other is shut down.
    if let Err(spare) = OWN.set(made) {
        spare.shutdown_background();
    }
    let own = OWN.get().map(|runtime| runtime.handle().clone());
    own.ok_or_else(|| std::io::Error::other("the runtime is gone"))
}
