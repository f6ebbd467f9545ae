//! Whether a source runs: for the application's own tasks.

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::block::block_on_until;

/// How far a source, or a part of it, is on its way to its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum RunState {
    /// It works.
    #[default]
    Running,
    /// It was asked to stop, or has failed. What has begun goes on to its end: a task that
    /// completes events should complete those it has, and take no new work.
    Stopping,
    /// It has ended: nobody takes a result any more.
    Ended,
}

/// A token that tells the application's own tasks whether the source runs. GKES: `sak.RunStatus`;
/// it works as `tokio_util`'s `CancellationToken` does, with two stages.
///
/// [`SourceHandle::run_status`](crate::SourceHandle::run_status) returns one that follows the
/// source. A [`fork`](Self::fork) follows its parent, and can be stopped by itself. A clone is the
/// same token.
///
/// # Examples
/// ```
/// use streams_core::RunStatus;
///
/// let service = RunStatus::new();
/// let request = service.fork();
/// request.stop();
/// assert!(service.is_running() && !request.is_running());
///
/// let request = service.fork();
/// let poller = std::thread::spawn({
///     let request = request.clone();
///     move || {
///         while !request.wait_stopping(std::time::Duration::from_millis(1)) {
///             // Poll another system.
///         }
///     }
/// });
/// service.stop();
/// poller.join().unwrap();
/// ```
#[derive(Clone)]
pub struct RunStatus(Arc<Node>);

struct Node {
    state: watch::Sender<RunState>,
    children: Mutex<Vec<Weak<Self>>>,
}

impl Node {
    fn advance(&self, to: RunState) {
        self.state.send_if_modified(|state| {
            let is_later = *state < to;
            *state = (*state).max(to);
            is_later
        });
        let children = self.children.lock().unwrap_or_else(PoisonError::into_inner).clone();
        children.iter().filter_map(Weak::upgrade).for_each(|child| child.advance(to));
    }
}

impl RunStatus {
    /// Creates a token that follows nothing: its owner stops it.
    pub fn new() -> Self {
        let state = watch::Sender::new(RunState::Running);
        Self(Arc::new(Node { state, children: Mutex::default() }))
    }

    /// Returns a token that stops and ends with this one, and that can be stopped by itself. GKES:
    /// `ForkRunStatus`, `RunStatus.Fork`.
    #[must_use]
    pub fn fork(&self) -> Self {
        let child = Self::new();
        {
            let children = &self.0.children;
            let mut children = children.lock().unwrap_or_else(PoisonError::into_inner);
            children.retain(|child| child.strong_count() > 0);
            children.push(Arc::downgrade(&child.0));
        }
        // A parent that stops from now on finds the child.
        child.advance(self.state());
        child
    }

    /// Returns the state.
    pub fn state(&self) -> RunState {
        *self.0.state.borrow()
    }

    /// Returns true until the stop begins.
    pub fn is_running(&self) -> bool {
        self.state() == RunState::Running
    }

    /// Stops this token and its forks; its parent goes on. GKES: `RunStatus.Halt`.
    pub fn stop(&self) {
        self.advance(RunState::Stopping);
    }

    /// Waits until the stop begins. The future borrows nothing.
    pub fn stopping(&self) -> impl Future<Output = ()> + Send + 'static {
        self.reaches(RunState::Stopping)
    }

    /// Waits until the source has ended; for a token that follows no source, for ever. The future
    /// borrows nothing.
    pub fn ended(&self) -> impl Future<Output = ()> + Send + 'static {
        self.reaches(RunState::Ended)
    }

    /// Blocks until the stop begins, for at most `timeout`. Returns true if it has begun.
    pub fn wait_stopping(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        block_on_until(self.stopping(), Some(deadline)).is_some()
    }

    pub(crate) fn advance(&self, to: RunState) {
        self.0.advance(to);
    }

    fn reaches(&self, state: RunState) -> impl Future<Output = ()> + Send + 'static {
        let mut states = self.0.state.subscribe();
        // A token that nobody holds any more tells nothing more.
        let node = Arc::clone(&self.0);
        async move {
            let reached = states.wait_for(|now| *now >= state).await.is_ok();
            drop(node);
            debug_assert!(reached, "the node lives as long as its future");
        }
    }
}

impl Default for RunStatus {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for RunStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RunStatus").field(&self.state()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_reaches_all_forks_and_no_parent() {
        let root = RunStatus::new();
        let (left, right) = (root.fork(), root.fork());
        let leaf = left.fork();
        left.stop();
        assert_eq!(leaf.state(), RunState::Stopping);
        assert!(root.is_running() && right.is_running());
        root.advance(RunState::Ended);
        assert_eq!([left.state(), right.state(), leaf.state()], [RunState::Ended; 3]);
        assert_eq!(root.fork().state(), RunState::Ended, "a fork of an ended token has ended");
        root.advance(RunState::Running);
        assert_eq!(root.state(), RunState::Ended, "the state never goes back");
    }

    #[test]
    fn forks_that_nobody_holds_are_forgotten() {
        let root = RunStatus::new();
        for _ in 0..100 {
            drop(root.fork());
        }
        let children = root.0.children.lock().expect("no panic").len();
        assert!(children <= 1, "{children}");
    }

    #[test]
    fn who_waits_hears_of_the_stop_and_not_before() {
        let root = RunStatus::new();
        let child = root.fork();
        assert!(!child.wait_stopping(Duration::from_millis(5)));
        let waits = std::thread::spawn({
            let stopping = child.stopping();
            move || super::super::block::block_on(stopping)
        });
        drop(child);
        root.stop();
        waits.join().expect("no panic");
        let ended = root.fork().ended();
        assert_eq!(block_on_until(ended, Some(Instant::now())), None, "it is not at its end");
    }
}
