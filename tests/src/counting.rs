//! An application that counts words, for tests of transactions that end in an unclear way. Its
//! outputs are `w=1`, `w=2`: a lost or repeated event shows.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use streams_core::prelude::*;

/// What the application is asked to do.
#[derive(Debug, Events)]
pub enum Step {
    /// Count the word.
    Count(String),
    /// Count `slept`, after a sleep of so many milliseconds in the handler.
    Sleep(u64),
    /// Count the word, and complete the event after the next delay of [`Shared`].
    Later(String),
}

/// What the application forwards.
#[derive(Debug, Events)]
pub enum Counted {
    /// The word and its count: `w=2`.
    Counted(String),
}

/// The counts, by word.
#[derive(Debug, StateStore)]
pub struct Counts {
    counts: Table<String, u64>,
}

/// What the handlers of one test share.
#[derive(Debug)]
pub struct Shared {
    output: Topic<Counted>,
    /// After how many milliseconds each run of a [`Step::Later`] is completed; the last one
    /// repeats.
    delays: Mutex<Vec<u64>>,
}

impl Shared {
    /// Forwards to `output`, and completes each run of a [`Step::Later`] after one of `delays`, in
    /// milliseconds; the last one repeats.
    pub fn new(output: Topic<Counted>, delays: &[u64]) -> Self {
        Self { output, delays: Mutex::new(delays.to_vec()) }
    }

    fn next_delay(&self) -> Duration {
        let mut delays = self.delays.lock().unwrap_or_else(PoisonError::into_inner);
        let next = if delays.len() > 1 { Some(delays.remove(0)) } else { delays.first().copied() };
        Duration::from_millis(next.unwrap_or(0))
    }
}

/// Counts words.
#[event_source(events = Step, store = Counts, shared = Shared)]
pub mod counts {
    use super::*;

    #[event_handler("Count")]
    fn count(
        ctx: &mut EventContext<Counts>,
        shared: &Shared,
        word: String,
    ) -> Result<ExecutionState> {
        let count = ctx.store.counts.update(word.clone(), |count| {
            *count += 1;
            *count
        });
        ctx.forward(&shared.output, "key", Counted::Counted(format!("{word}={count}")))?;
        Ok(Complete)
    }

    #[event_handler("Sleep")]
    fn sleep(
        ctx: &mut EventContext<Counts>,
        shared: &Shared,
        millis: u64,
    ) -> Result<ExecutionState> {
        std::thread::sleep(Duration::from_millis(millis));
        count(ctx, shared, "slept".to_owned())
    }

    #[event_handler("Later")]
    fn later(
        ctx: &mut EventContext<Counts>,
        shared: &Shared,
        word: String,
    ) -> Result<ExecutionState> {
        count(ctx, shared, word)?;
        let (completer, delay) = (ctx.completer(), shared.next_delay());
        std::thread::spawn(move || {
            std::thread::sleep(delay);
            completer.complete(|_| Ok(Complete));
        });
        Ok(Incomplete)
    }
}
