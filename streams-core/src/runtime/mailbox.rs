//! A worker's mailbox: whoever has something for the worker puts it in and wakes the thread.
//!
//! Not bounded by itself, because each sender is: a producer thread answers one command at a time,
//! a completer completes one event of the in-flight window, a partition runs
//! `DurableJobs::concurrency` durable jobs at a time, the control thread speaks once for each
//! change of the group, and handles ask for `interjection_queue` interjections at a time.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;

/// Wakes one thread.
#[derive(Clone, Debug, Default)]
pub(crate) struct Waker(Arc<OnceLock<Thread>>);

impl Waker {
    /// The thread to wake is this one. It looks for work after this call and before it parks.
    pub(crate) fn wake_me(&self) {
        let _ = self.0.set(std::thread::current());
    }

    /// Wakes it. A thread that has not said who it is has not parked either.
    pub(crate) fn wake(&self) {
        if let Some(thread) = self.0.get() {
            thread.unpark();
        }
    }
}

/// The sending end.
#[derive(Debug)]
pub(crate) struct Mailbox<M> {
    sender: Sender<M>,
    waker: Waker,
}

impl<M> Clone for Mailbox<M> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone(), waker: self.waker.clone() }
    }
}

impl<M> Mailbox<M> {
    /// A mailbox, and its worker's end.
    pub(crate) fn new() -> (Self, Receiver<M>) {
        let (sender, receiver) = channel();
        (Self { sender, waker: Waker::default() }, receiver)
    }

    /// Puts `message` in. A worker that is gone needs nothing more.
    pub(crate) fn send(&self, message: M) {
        let _ = self.sender.send(message);
        self.waker.wake();
    }

    pub(crate) const fn waker(&self) -> &Waker {
        &self.waker
    }
}
