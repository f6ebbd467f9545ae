//! A task's incarnation, as those see it that work for its events in other threads.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

type OnEnd = Box<dyn FnOnce() + Send>;

/// One uninterrupted run of a task's events. When it is over, no completion of its events has an
/// effect any more, so that work for them is in vain.
#[derive(Clone)]
pub(crate) struct Incarnation(Arc<Shared>);

struct Shared {
    number: u64,
    /// What is called at the end; `None` if that was.
    on_end: Mutex<Option<Vec<OnEnd>>>,
}

impl Incarnation {
    fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self(Arc::new(Shared { number, on_end: Mutex::new(Some(Vec::new())) }))
    }

    /// Returns its number, which no other incarnation of this process has.
    pub(crate) fn number(&self) -> u64 {
        self.0.number
    }

    /// Calls `call` on the worker's thread when the incarnation is over, or now if it is.
    pub(crate) fn on_end(&self, call: impl FnOnce() + Send + 'static) {
        if let Some(calls) = &mut *self.lock() {
            return calls.push(Box::new(call));
        }
        call();
    }

    fn end(&self) {
        let calls = self.lock().take();
        for call in calls.into_iter().flatten() {
            call();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Vec<OnEnd>>> {
        self.0.on_end.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Incarnation").field(&self.number()).finish()
    }
}

/// A context's own end of its incarnation, made when somebody asks for it: an ordinary event costs
/// nothing.
#[derive(Debug, Default)]
pub(crate) struct Life(OnceLock<Incarnation>);

impl Life {
    pub(crate) fn current(&self) -> &Incarnation {
        self.0.get_or_init(Incarnation::new)
    }

    /// Ends the incarnation; the next one has another number.
    pub(crate) fn end(&mut self) {
        if let Some(incarnation) = self.0.take() {
            incarnation.end();
        }
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[test]
    fn each_end_is_told_once() {
        let told = Arc::new(AtomicUsize::new(0));
        let tell = |incarnation: &Incarnation| {
            let told = Arc::clone(&told);
            incarnation.on_end(move || {
                told.fetch_add(1, Ordering::Relaxed);
            });
        };
        let mut life = Life::default();
        let first = life.current().clone();
        tell(&first);
        life.end();
        life.end();
        assert_eq!(told.load(Ordering::Relaxed), 1);
        tell(&first);
        assert_eq!(told.load(Ordering::Relaxed), 2, "it is over already");
        assert_ne!(life.current().number(), first.number());
        tell(life.current());
        drop(life);
        assert_eq!(told.load(Ordering::Relaxed), 3, "the context is gone");
    }
}
