//! What schedulers and batchers have in common: a timer on tokio, and a loop that is not nested.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Instant;

use tokio::runtime::Handle;
use tokio::sync::Notify;

/// A machine behind a lock, which is polled when something is due.
pub(super) trait Timed: Send + Sync + 'static {
    /// Returns when the machine is polled next; without, the timer ends and is started again.
    fn next_due(&self) -> Option<Instant>;

    /// Polls the machine.
    fn pump(self: &Arc<Self>);

    /// Something is due earlier than the timer knows.
    fn sooner(&self) -> &Notify;

    /// The runtime is shut down: nothing will be due any more.
    fn runtime_is_gone(&self);
}

/// Polls when something is due. It lives as long as something is.
struct Timer<T: Timed> {
    timed: Arc<T>,
    has_ended: bool,
}

/// Starts the timer. Call it without the machine's lock: a runtime that is shut down drops the
/// timer at once.
pub(super) fn start<T: Timed>(runtime: &Handle, timed: Arc<T>) {
    let timer = Timer { timed, has_ended: false };
    drop(runtime.spawn(timer.run()));
}

impl<T: Timed> Timer<T> {
    async fn run(mut self) {
        while let Some(due) = self.timed.next_due() {
            tokio::select! {
                () = tokio::time::sleep_until(due.into()) => self.timed.pump(),
                () = self.timed.sooner().notified() => {}
            }
        }
        self.has_ended = true;
    }
}

impl<T: Timed> Drop for Timer<T> {
    fn drop(&mut self) {
        if !self.has_ended {
            self.timed.runtime_is_gone();
        }
    }
}

/// Sees to it that a timer polls at `due`, and notes it in `timer`. Returns true if the timer has
/// to be started.
pub(super) fn arm(timer: &mut Option<Instant>, due: Option<Instant>, sooner: &Notify) -> bool {
    match (*timer, due) {
        (_, None) => false,
        (None, Some(due)) => {
            *timer = Some(due);
            true
        }
        (Some(at), Some(due)) => {
            if due < at {
                *timer = Some(due);
                sooner.notify_one();
            }
            false
        }
    }
}

thread_local! {
    static PUMPING: Cell<Pumping> = const { Cell::new(Pumping::No) };
}

#[derive(Clone, Copy, PartialEq)]
enum Pumping {
    No,
    Yes,
    /// And a call has come meanwhile.
    Again,
}

/// The thread pumps no more, even if a clone of a key or a value panics.
struct EndPumping;

impl Drop for EndPumping {
    fn drop(&mut self) {
        PUMPING.set(Pumping::No);
    }
}

/// Calls `step`, and again as long as a call comes from within: a runtime that is shut down ends a
/// job while it is being started, and a thousand such ends must not be nested.
pub(super) fn pump_unnested(mut step: impl FnMut()) {
    if PUMPING.get() != Pumping::No {
        return PUMPING.set(Pumping::Again);
    }
    let _pumping = EndPumping;
    loop {
        PUMPING.set(Pumping::Yes);
        step();
        if PUMPING.get() != Pumping::Again {
            return;
        }
    }
}
