//! What a global changelog lets other threads see.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::error::GlobalError;

/// Whether a global changelog is well: for a deployment's health check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GlobalState {
    /// The receiver does not have all changes yet that the topic had at the start.
    Restoring,
    /// The receiver has caught up, and follows the topic.
    Following,
    /// The receiver has caught up before, but it may lack changes that are older than
    /// [`stale_after`](super::GlobalBuilder::stale_after): the cluster is away, a partition is
    /// paused, or the receiver is too slow.
    Stale,
    /// The global changelog has failed; [`GlobalChangeLog::failure`](super::GlobalChangeLog) says
    /// why.
    Failed,
    /// The global changelog is stopped.
    Stopped,
}

/// What the driver publishes.
#[derive(Clone, Debug, Default)]
pub(super) struct Published {
    pub(super) is_caught_up: bool,
    pub(super) whole_at: Option<Instant>,
    pub(super) lags: BTreeMap<i32, i64>,
    pub(super) positions: BTreeMap<i32, i64>,
    pub(super) paused: Vec<i32>,
    /// Why the last look-up failed, if it did.
    pub(super) trouble: Option<String>,
    pub(super) batches_skipped: u64,
    /// How often the receiver has begun again.
    pub(super) begun_again: u64,
    /// The number of the last command that was carried out.
    pub(super) done: u64,
}

#[derive(Debug, Default)]
struct Shared {
    published: Published,
    /// Since when look-ups have failed.
    trouble_since: Option<Instant>,
    failure: Option<GlobalError>,
    has_ended: bool,
}

struct Inner {
    topic: String,
    stale_after: Duration,
    shared: Mutex<Shared>,
    /// For threads that wait.
    changed: Condvar,
    /// For futures that wait.
    version: watch::Sender<u64>,
    /// Called with a failure.
    listeners: Mutex<Vec<Listener>>,
}

type Listener = Box<dyn Fn(&GlobalError) + Send>;

/// A view of a global changelog that other threads have; clones share it.
#[derive(Clone)]
pub struct GlobalWatch(Arc<Inner>);

/// What a waiter waits for.
enum Waited {
    NotYet,
    Done(Result<(), GlobalError>),
}

impl GlobalWatch {
    pub(super) fn new(topic: &str, stale_after: Duration) -> Self {
        Self(Arc::new(Inner {
            topic: topic.to_owned(),
            stale_after,
            shared: Mutex::default(),
            changed: Condvar::new(),
            version: watch::Sender::new(0),
            listeners: Mutex::default(),
        }))
    }

    /// The view of rows that never change: caught up, and never stale.
    pub(super) fn of_constant() -> Self {
        let watch = Self::new("", Duration::MAX);
        let whole_at = Some(Instant::now());
        watch.publish(Published { is_caught_up: true, whole_at, ..Published::default() });
        watch
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        // Nothing panics while it holds the lock.
        self.0.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self) {
        self.0.changed.notify_all();
        self.0.version.send_modify(|version| *version += 1);
    }

    pub(super) fn publish(&self, published: Published) {
        {
            let mut shared = self.lock();
            shared.trouble_since = match (&published.trouble, shared.trouble_since) {
                (None, _) => None,
                (Some(_), since) => since.or_else(|| Some(Instant::now())),
            };
            shared.published = published;
        }
        self.changed();
    }

    pub(super) fn end(&self, failure: Option<GlobalError>) {
        {
            let mut shared = self.lock();
            shared.failure.clone_from(&failure);
            shared.has_ended = true;
        }
        self.changed();
        if let Some(failure) = failure {
            self.listeners().iter().for_each(|listener| listener(&failure));
        }
    }

    fn listeners(&self) -> MutexGuard<'_, Vec<Listener>> {
        self.0.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls `listener` when the global changelog fails, or at once if it has failed.
    pub(crate) fn on_failure(&self, listener: impl Fn(&GlobalError) + Send + 'static) {
        let mut listeners = self.listeners();
        match self.failure() {
            Some(failure) => listener(&failure),
            None => listeners.push(Box::new(listener)),
        }
    }

    pub(super) fn topic(&self) -> &str {
        &self.0.topic
    }

    pub(super) fn published(&self) -> Published {
        self.lock().published.clone()
    }

    pub(super) fn is_caught_up(&self) -> bool {
        self.lock().published.is_caught_up
    }

    pub(super) fn failure(&self) -> Option<GlobalError> {
        self.lock().failure.clone()
    }

    pub(super) fn state(&self, now: Instant) -> GlobalState {
        let shared = self.lock();
        let age = shared.published.whole_at.map(|whole_at| now.saturating_duration_since(whole_at));
        match (&shared.failure, shared.has_ended, age) {
            (Some(_), ..) => GlobalState::Failed,
            (None, true, _) => GlobalState::Stopped,
            (.., None) => GlobalState::Restoring,
            (.., Some(age)) if age > self.0.stale_after => GlobalState::Stale,
            _ if !shared.published.is_caught_up => GlobalState::Restoring,
            _ => GlobalState::Following,
        }
    }

    pub(super) fn staleness(&self, now: Instant) -> Option<Duration> {
        let whole_at = self.lock().published.whole_at?;
        Some(now.saturating_duration_since(whole_at))
    }

    /// What a waiter learns from `shared`, if `is_done` says what it waits for.
    fn waited(&self, shared: &Shared, is_done: impl Fn(&Published) -> bool) -> Waited {
        if let Some(failure) = &shared.failure {
            return Waited::Done(Err(failure.clone()));
        }
        if shared.has_ended {
            let topic = self.topic().to_owned();
            return Waited::Done(Err(GlobalError::Stopped { topic }));
        }
        match is_done(&shared.published) {
            true => Waited::Done(Ok(())),
            false => Waited::NotYet,
        }
    }

    fn not_caught_up(&self, shared: &Shared, within: Duration) -> GlobalError {
        let Published { lags, trouble, .. } = &shared.published;
        let (topic, lag) = (self.topic().to_owned(), lags.values().sum());
        GlobalError::NotCaughtUp { topic, within, lag, trouble: trouble.clone() }
    }

    /// Blocks until the receiver has caught up, at most for `timeout`.
    pub(super) fn wait_caught_up(&self, timeout: Duration) -> Result<(), GlobalError> {
        let started = Instant::now();
        self.wait(|published| published.is_caught_up, |_| started.elapsed() < timeout)
            .unwrap_or_else(|shared| Err(self.not_caught_up(&shared, timeout)))
    }

    /// Blocks until the receiver has caught up; gives up once the cluster has been away for
    /// `outage_timeout` without a break.
    pub(crate) fn wait_restored(&self, outage_timeout: Duration) -> Result<(), GlobalError> {
        let is_patient = |shared: &Shared| {
            shared.trouble_since.is_none_or(|since| since.elapsed() < outage_timeout)
        };
        self.wait(|published| published.is_caught_up, is_patient)
            .unwrap_or_else(|shared| Err(self.not_caught_up(&shared, outage_timeout)))
    }

    /// Blocks until the command of this number is carried out.
    pub(super) fn wait_done(&self, command: u64) -> Result<(), GlobalError> {
        let done = self.wait(|published| published.done >= command, |_| true);
        done.unwrap_or(Ok(()))
    }

    /// Blocks until `is_done`, or gives the lock back when `is_patient` says no.
    fn wait(
        &self,
        is_done: impl Fn(&Published) -> bool,
        is_patient: impl Fn(&Shared) -> bool,
    ) -> Result<Result<(), GlobalError>, MutexGuard<'_, Shared>> {
        /// How often the patience is looked at, while nothing changes.
        const LOOK: Duration = Duration::from_millis(20);
        let mut shared = self.lock();
        loop {
            if let Waited::Done(result) = self.waited(&shared, &is_done) {
                return Ok(result);
            }
            if !is_patient(&shared) {
                return Err(shared);
            }
            let waited = self.0.changed.wait_timeout(shared, LOOK);
            shared = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits until the receiver has caught up.
    pub(super) async fn caught_up(self) -> Result<(), GlobalError> {
        let mut version = self.0.version.subscribe();
        loop {
            version.borrow_and_update();
            let waited = self.waited(&self.lock(), |published| published.is_caught_up);
            if let Waited::Done(result) = waited {
                return result;
            }
            // The sender lives as long as `self`.
            let _ = version.changed().await;
        }
    }
}

impl fmt::Debug for GlobalWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("GlobalWatch").field(&self.0.topic).finish()
    }
}
