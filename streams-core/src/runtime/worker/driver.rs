//! The thread around a worker: it reads the clock, steps the worker, and sleeps until its mailbox
//! or its fetcher has something, or a timer is due.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant, SystemTime};

use super::{Clock, FromWorker, Next, ToWorker, Worker, WorkerParts};
use crate::client::{Fetcher, Reads, TxnProducer};
use crate::handler::{EventSource, HandlerClock};
use crate::runtime::error::SourceError;
use crate::runtime::mailbox::Mailbox;
use crate::runtime::pulse::panic_text;
use crate::runtime::slot::Slot;

/// The longest sleep: nothing depends on it, it bounds the harm of a lost wake-up.
const SLEEP_MAX: Duration = Duration::from_secs(1);

/// The machine's own clock.
struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn wall_clock(&self) -> SystemTime {
        SystemTime::now()
    }

    fn handler_clock(&self) -> HandlerClock {
        HandlerClock::Ask(SystemTime::now)
    }
}

impl<A: EventSource, P: TxnProducer, F: Fetcher> Worker<A, P, F> {
    /// Runs a worker in this thread until it is stopped.
    pub(crate) fn run(
        parts: WorkerParts<A, P, F>,
        mailbox: Mailbox<ToWorker<A::Store, P>>,
        inbox: Receiver<ToWorker<A::Store, P>>,
    ) {
        mailbox.waker().wake_me();
        let index = parts.index;
        let fetcher = match (parts.make_fetcher)(Reads::Source) {
            Ok(fetcher) => fetcher,
            Err(error) => return end(&parts, error.into()),
        };
        let slots = match Self::spawn_slots(&parts, &mailbox) {
            Ok(slots) => slots,
            Err(error) => return end(&parts, error),
        };
        let mut worker = Self::new(parts, fetcher, slots, mailbox, inbox);
        // A bug of ours must not leave the application waiting for ever.
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| worker.step_until_ended())) {
            let inside = worker.parts.pulse.inside();
            let inside = inside.map_or_else(String::new, |place| format!(" in {place}"));
            let message = panic_text(&*panic);
            let error = format!("worker {index} panicked{inside}: {message}");
            end(&worker.parts, SourceError::Thread(error));
        }
    }

    fn spawn_slots(
        parts: &WorkerParts<A, P, F>,
        mailbox: &Mailbox<ToWorker<A::Store, P>>,
    ) -> Result<Vec<Slot<P>>, SourceError> {
        let spawn = |slot: usize| {
            let mailbox = mailbox.clone();
            let reply = move |reply| mailbox.send(ToWorker::Slot(slot, reply));
            Slot::spawn(slot, Arc::clone(&parts.make_producer), reply)
                .map_err(|error| SourceError::Thread(error.to_string()))
        };
        (0..parts.eos.pool_size).map(spawn).collect()
    }

    /// The thread: steps, and sleeps between them.
    fn step_until_ended(&mut self) {
        loop {
            let due = match self.step(&SystemClock) {
                Next::Again => continue,
                Next::Wait(due) => due,
                Next::Ended => break,
            };
            let now = Instant::now();
            let until = |due: Instant| due.saturating_duration_since(now).min(SLEEP_MAX);
            let sleep = due.map_or(SLEEP_MAX, until);
            if !sleep.is_zero() {
                self.pulse.rest(true);
                std::thread::park_timeout(sleep);
                self.pulse.rest(false);
            }
        }
        self.pulse.rest(true);
        self.slots.iter_mut().for_each(Slot::join);
        self.closer.wait();
        (self.parts.report)(FromWorker::Ended(self.parts.index));
    }
}

/// A worker's last words, if it can't go on.
fn end<A: EventSource, P, F>(parts: &WorkerParts<A, P, F>, error: SourceError) {
    (parts.report)(FromWorker::Failed(error));
    (parts.report)(FromWorker::Ended(parts.index));
}
