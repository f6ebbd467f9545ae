//! Threads that drop large stores and clients, so that a worker's events do not wait for it.

use std::thread::JoinHandle;

/// The most threads at a time; beyond that the worker's own thread drops.
const THREADS_MAX: usize = 8;

/// The threads of one worker.
#[derive(Debug, Default)]
pub(super) struct Closer {
    threads: Vec<JoinHandle<()>>,
}

impl Closer {
    /// Drops a value on a thread of its own; if there is none to be had, on this one.
    pub(super) fn drop(&mut self, value: impl Send + 'static) {
        self.threads.retain(|thread| !thread.is_finished());
        if self.threads.len() < THREADS_MAX {
            let name = "streams-close".to_owned();
            let thread = std::thread::Builder::new().name(name).spawn(move || drop(value));
            self.threads.extend(thread);
        }
    }

    /// Waits until all values are dropped.
    pub(super) fn wait(&mut self) {
        for thread in self.threads.drain(..) {
            // A value whose drop panicked is gone too.
            let _ = thread.join();
        }
    }
}
