//! Interjections with results: what a caller asks for, and the handle that it gets.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::oneshot;

use super::block::{block_on, block_on_until};
use super::pulse::panic_text;
use super::running::SharedState;
use crate::ExecutionState;
use crate::handler::{EventContext, HandlerError, Outcome, Result as HandlerResult};
use crate::task::{Asked, Interject};

/// Why an interjection has no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InterjectError {
    /// The group has assigned the partition to another member, or to none. GKES:
    /// `ErrPartitionNotAssigned`.
    #[error(
        "the interjection did not run: partition {partition} is not assigned to this member; ask \
         its owner, which `group_view` names"
    )]
    PartitionNotAssigned {
        /// The partition.
        partition: i32,
    },
    /// The partition is assigned to this member, and its store is being restored. GKES:
    /// `ErrPartitionNotReady`.
    #[error(
        "the interjection did not run: the store of partition {partition} is being restored; try \
         again when `active_partitions` has the partition"
    )]
    PartitionNotReady {
        /// The partition.
        partition: i32,
    },
    /// The closure returned an error, or its changes have no form in their codec. Its effects are
    /// undone, and the source goes on.
    #[error("the interjection of partition {partition} failed: {error}; its effects are undone")]
    Failed {
        /// The partition.
        partition: i32,
        /// The closure's error.
        error: HandlerError,
    },
    /// The closure panicked. A query's panic does no more. Another interjection's panic stops the
    /// source, as a handler's does: the store may be half changed.
    #[error("the interjection of partition {partition} panicked: {message}")]
    Panicked {
        /// The partition.
        partition: i32,
        /// The panic's message.
        message: String,
    },
    /// The member lost or revoked the partition before the effects were known to be committed.
    ///
    /// If the interjection had begun and the partition was lost, its effects may be committed:
    /// whoever asks again looks first.
    #[error(
        "this member has given partition {partition} up before the interjection was committed; \
         ask the partition's new owner"
    )]
    Lost {
        /// The partition.
        partition: i32,
    },
    /// As many interjections of this worker wait, or are not committed, as
    /// [`interjection_queue`](crate::SourceBuilder::interjection_queue) allows.
    #[error(
        "the interjection of partition {partition} did not run: {limit} interjections of its \
         worker wait already (`interjection_queue`); ask more slowly, or raise the limit"
    )]
    QueueFull {
        /// The partition.
        partition: i32,
        /// The limit.
        limit: usize,
    },
    /// The source stops, or has ended.
    #[error("the source stops or has ended: nobody runs the interjection of partition {partition}")]
    Stopped {
        /// The partition.
        partition: i32,
    },
}

/// Where an asynchronous interjection puts its result:
/// [`SourceHandle::interject_async`](crate::SourceHandle::interject_async). A clone is the same
/// place.
pub struct Answer<R>(Arc<Mutex<Option<R>>>);

impl<R> Answer<R> {
    /// Sets the result that the caller gets once the interjection is complete and committed. The
    /// last one counts.
    pub fn set(&self, result: R) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
    }

    fn take(&self) -> Option<R> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl<R> Default for Answer<R> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<R> Clone for Answer<R> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<R> fmt::Debug for Answer<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").finish_non_exhaustive()
    }
}

/// The result of an interjection, once it is there: a future, or [`wait`](Self::wait) for threads.
///
/// A result promises that the effects of the interjection (changes, forwarded events) are
/// committed. An interjection without effects is answered as soon as it ran: it may have seen
/// changes that are not committed yet.
///
/// Whoever drops the handle does not want the result: the interjection runs all the same, and an
/// error of it is logged.
#[must_use = "an interjection may fail: wait for its result, or `drop` it"]
pub struct Interjected<R> {
    partition: i32,
    result: oneshot::Receiver<Result<R, InterjectError>>,
    /// The source's end: a worker that is stuck answers nothing.
    ended: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl<R> Interjected<R> {
    /// Returns the partition that was asked.
    pub const fn partition(&self) -> i32 {
        self.partition
    }

    /// Blocks until the result is there.
    ///
    /// A handler, an interjection or a callback must not wait here: it would wait for itself. In
    /// asynchronous code, `.await` the handle instead.
    ///
    /// # Errors
    /// If there is no result: why.
    pub fn wait(self) -> Result<R, InterjectError> {
        block_on(self)
    }

    /// Blocks until the result is there, for at most `timeout`.
    ///
    /// # Errors
    /// The handle, if the result is not there in time. The interjection goes on.
    pub fn wait_timeout(mut self, timeout: Duration) -> Result<Result<R, InterjectError>, Self> {
        let deadline = Instant::now() + timeout;
        block_on_until(&mut self, Some(deadline)).ok_or(self)
    }

    /// Returns the result if it is there.
    pub(crate) fn try_take(&mut self) -> Option<Result<R, InterjectError>> {
        self.result.try_recv().ok()
    }
}

impl<R> Future for Interjected<R> {
    type Output = Result<R, InterjectError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let stopped = Err(InterjectError::Stopped { partition: self.partition });
        match Pin::new(&mut self.result).poll(context) {
            Poll::Ready(Ok(result)) => Poll::Ready(result),
            Poll::Ready(Err(_)) => Poll::Ready(stopped),
            Poll::Pending => self.ended.as_mut().poll(context).map(|()| stopped),
        }
    }
}

impl<R> fmt::Debug for Interjected<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interjected").field("partition", &self.partition).finish_non_exhaustive()
    }
}

/// The results of an interjection in all active partitions: a future of the map that
/// [`wait`](Self::wait) returns. Iterated, it gives each partition's handle, in any executor's
/// `FuturesUnordered`, say.
#[must_use = "an interjection may fail: wait for its results, or `drop` them"]
#[derive(Debug)]
pub struct InterjectedAll<R> {
    waiting: Vec<Interjected<R>>,
    results: BTreeMap<i32, Result<R, InterjectError>>,
}

impl<R> InterjectedAll<R> {
    pub(crate) const fn new(waiting: Vec<Interjected<R>>) -> Self {
        Self { waiting, results: BTreeMap::new() }
    }

    /// Blocks until each partition has answered. Returns the results by partition.
    ///
    /// Not for handlers, as [`Interjected::wait`].
    pub fn wait(self) -> BTreeMap<i32, Result<R, InterjectError>> {
        block_on(self)
    }
}

// Results are moved out, never pinned.
impl<R> Unpin for InterjectedAll<R> {}

impl<R> Future for InterjectedAll<R> {
    type Output = BTreeMap<i32, Result<R, InterjectError>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { waiting, results } = &mut *self;
        waiting.retain_mut(|one| match Pin::new(&mut *one).poll(context) {
            Poll::Ready(result) => {
                results.insert(one.partition, result);
                false
            }
            Poll::Pending => true,
        });
        match waiting.is_empty() {
            true => Poll::Ready(std::mem::take(results)),
            false => Poll::Pending,
        }
    }
}

impl<R> IntoIterator for InterjectedAll<R> {
    type Item = Interjected<R>;
    type IntoIter = std::vec::IntoIter<Interjected<R>>;

    fn into_iter(self) -> Self::IntoIter {
        self.waiting.into_iter()
    }
}

/// How many interjections of one worker wait, or are not committed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Queue(Arc<AtomicUsize>);

impl Queue {
    fn enter(&self, limit: usize) -> Option<Place> {
        let enter = |taken| (taken < limit).then_some(taken + 1);
        let entered = self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, enter);
        entered.ok().map(|_| Place(Arc::clone(&self.0)))
    }
}

/// An interjection's place in the queue, until its caller is answered.
struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

type Call<S, R> = Box<dyn FnMut(&mut EventContext<S>, &Answer<R>) -> CallResult + Send>;

/// How a call ended.
type CallResult = Result<ExecutionState, CallError>;

enum CallError {
    /// The closure says so.
    Failed(HandlerError),
    /// A query panicked.
    Panicked(String),
}

/// What is to run, and what its result promises.
pub(crate) struct Question<S: 'static, R> {
    call: Call<S, R>,
    reads_committed: bool,
}

impl<S: 'static, R: Send + 'static> Question<S, R> {
    /// A closure that returns its result.
    pub(crate) fn new(
        mut run: impl FnMut(&mut EventContext<S>) -> HandlerResult<R> + Send + 'static,
    ) -> Self {
        let call = move |ctx: &mut EventContext<S>, answer: &Answer<R>| match run(ctx) {
            Ok(result) => {
                answer.set(result);
                Ok(ExecutionState::Complete)
            }
            Err(error) => Err(CallError::Failed(error)),
        };
        Self { call: Box::new(call), reads_committed: false }
    }

    /// A closure that may be incomplete, and sets its result.
    pub(crate) fn asynchronous(
        mut run: impl FnMut(&mut EventContext<S>, Answer<R>) -> HandlerResult<ExecutionState>
        + Send
        + 'static,
    ) -> Self {
        let call = move |ctx: &mut EventContext<S>, answer: &Answer<R>| {
            run(ctx, answer.clone()).map_err(CallError::Failed)
        };
        Self { call: Box::new(call), reads_committed: false }
    }

    /// A closure that reads the store, and nothing else: its panic does no harm.
    pub(crate) fn query(
        reads_committed: bool,
        mut run: impl FnMut(&S) -> R + Send + 'static,
    ) -> Self {
        let call = move |ctx: &mut EventContext<S>, answer: &Answer<R>| match catch_unwind(
            AssertUnwindSafe(|| run(&ctx.store)),
        ) {
            Ok(result) => {
                answer.set(result);
                Ok(ExecutionState::Complete)
            }
            Err(panic) => Err(CallError::Panicked(panic_text(&*panic))),
        };
        Self { call: Box::new(call), reads_committed }
    }

    /// Gives the question a place in the queue. Returns what the worker gets, unless the queue is
    /// full, and the caller's handle.
    pub(crate) fn ask(
        self,
        partition: i32,
        (queue, limit): (&Queue, usize),
        state: &SharedState,
    ) -> (Option<Interject<S>>, Interjected<R>) {
        let (to, result) = oneshot::channel();
        let ended = Box::pin(state.ended());
        let handle = Interjected { partition, result, ended };
        let Some(place) = queue.enter(limit) else {
            let _ = to.send(Err(InterjectError::QueueFull { partition, limit }));
            return (None, handle);
        };
        let Self { call, reads_committed } = self;
        let (answer, failure) = (Answer::default(), None);
        let asking = Asking { partition, call, answer, failure, reads_committed, to, place };
        (Some(Interject::new(asking)), handle)
    }
}

/// A question on its way to its answer.
struct Asking<S: 'static, R> {
    partition: i32,
    call: Call<S, R>,
    answer: Answer<R>,
    failure: Option<InterjectError>,
    reads_committed: bool,
    to: oneshot::Sender<Result<R, InterjectError>>,
    place: Place,
}

/// Why a complete interjection has no result.
const WITHOUT_ANSWER: &str =
    "it completed without a result: call `set` of its `Answer` before it returns `Complete`";

impl<S: 'static, R: Send + 'static> Asked<S> for Asking<S, R> {
    fn run(&mut self, ctx: &mut EventContext<S>, _: SystemTime) -> Outcome {
        // What an aborted run has set, or sets later, is not this run's.
        self.answer = Answer::default();
        match (self.call)(ctx, &self.answer) {
            Ok(ExecutionState::Complete) => Outcome::Complete,
            Ok(ExecutionState::Incomplete) => Outcome::Incomplete,
            Err(CallError::Failed(error)) => Outcome::Failed(error),
            Err(CallError::Panicked(message)) => {
                let error = HandlerError::fail(message.clone());
                let partition = self.partition;
                self.failure = Some(InterjectError::Panicked { partition, message });
                Outcome::Failed(error)
            }
        }
    }

    fn take_failure(&mut self) -> Option<InterjectError> {
        self.failure.take()
    }

    fn reads_committed(&self) -> bool {
        self.reads_committed
    }

    fn resolve(self: Box<Self>, end: Result<(), InterjectError>) {
        let Self { partition, call, answer, to, place, .. } = *self;
        // The caller who asks again at once finds the place free.
        drop((call, place));
        let without = || {
            let error = HandlerError::fail(WITHOUT_ANSWER);
            InterjectError::Failed { partition, error }
        };
        let result = end.and_then(|()| answer.take().ok_or_else(without));
        if let Err(Err(error)) = to.send(result) {
            tracing::warn!(partition, %error, "an interjection without a caller failed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_has_a_bound_and_a_place_is_free_again_when_it_is_answered() {
        let queue = Queue::default();
        let places: Vec<_> = std::iter::from_fn(|| queue.enter(3)).collect();
        assert_eq!(places.len(), 3);
        drop(places);
        assert!(queue.enter(1).is_some());
    }

    #[test]
    fn a_question_that_no_worker_takes_is_answered() {
        let state = SharedState::default();
        let queue = Queue::default();
        let question = || Question::<(), ()>::new(|_| Ok(()));
        let (asked, handle) = question().ask(7, (&queue, 1), &state);
        let (none, full) = question().ask(7, (&queue, 1), &state);
        assert!(none.is_none());
        let full = full.wait().expect_err("one is the limit");
        assert!(matches!(full, InterjectError::QueueFull { partition: 7, limit: 1 }), "{full}");
        let handle = handle.wait_timeout(Duration::ZERO).expect_err("nobody has answered");
        drop(asked);
        let stopped = handle.wait().expect_err("the worker is gone");
        assert!(matches!(stopped, InterjectError::Stopped { partition: 7 }), "{stopped}");
    }

    #[test]
    fn the_end_of_the_source_answers_what_a_stuck_worker_does_not() {
        let state = SharedState::default();
        let (_asked, handle) =
            Question::<(), ()>::new(|_| Ok(())).ask(0, (&Queue::default(), 1), &state);
        state.end(None);
        assert!(matches!(handle.wait(), Err(InterjectError::Stopped { .. })));
    }

    #[test]
    fn all_results_come_together() {
        let state = SharedState::default();
        let ask = |partition| {
            Question::<(), i32>::new(move |_| Ok(partition * 10)).ask(
                partition,
                (&Queue::default(), 9),
                &state,
            )
        };
        let (asked, handles): (Vec<_>, Vec<_>) = (0..3).map(ask).unzip();
        for (place, asked) in asked.into_iter().flatten().enumerate() {
            let lost = InterjectError::Lost { partition: 0 };
            asked.resolve(if place == 0 { Err(lost) } else { Ok(()) });
        }
        let results = InterjectedAll::new(handles).wait();
        assert_eq!(results.len(), 3);
        assert!(matches!(results[&0], Err(InterjectError::Lost { .. })));
        assert!(matches!(results[&1], Err(InterjectError::Failed { .. })), "it has not run");
    }
}
