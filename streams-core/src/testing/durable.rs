//! Durable jobs in a test driver: they run to their end when the driver steps, one after the other.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::TestDriver;
use crate::handler::EventSource;
use crate::jobs::durable::{Cancel, JobOutcome, JobRunner, Report, Work};

/// A job that has begun, and has not been run.
struct Begun {
    number: u64,
    work: Work,
    report: Report,
}

#[derive(Default)]
struct Queue {
    begun: VecDeque<Begun>,
    next: u64,
    /// Jobs wait until they are run one by one.
    holds: bool,
}

/// Jobs that have begun wait here until the driver runs them.
#[derive(Clone, Default)]
pub(crate) struct StepRunner(Arc<Mutex<Queue>>);

impl StepRunner {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on jobs wait until they are run one by one; or they don't any more.
    pub(super) fn hold(&self, holds: bool) {
        self.lock().holds = holds;
    }

    fn holds(&self) -> bool {
        self.lock().holds
    }

    /// Forgets the jobs that have begun: their process has ended.
    pub(super) fn clear(&self) {
        self.lock().begun.clear();
    }

    /// Runs the jobs that have begun, unless they are held. Returns true if there was one.
    pub(super) fn run_all(&self) -> bool {
        let mut has_run = false;
        // The lock is not held while a job runs.
        while !self.holds() && self.run(0) {
            has_run = true;
        }
        has_run
    }

    /// How many jobs have begun and have not been run.
    pub(crate) fn len(&self) -> usize {
        self.lock().begun.len()
    }

    /// Runs the job at `place` to its end. Returns false if there is none.
    pub(crate) fn run(&self, place: usize) -> bool {
        self.take(place).map(|run| run()).is_some()
    }

    /// Takes the job at `place`: it can't be cancelled any more, and runs when it is called.
    pub(crate) fn take(&self, place: usize) -> Option<impl FnOnce() + use<>> {
        let Begun { work, report, .. } = self.lock().begun.remove(place)?;
        Some(move || report(run_to_its_end(work)))
    }
}

fn run_to_its_end(work: Work) -> JobOutcome {
    match work {
        Work::Blocking(run) | Work::Compute(run) => run(),
        Work::Async { run, timeout } => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = match runtime {
                Ok(runtime) => runtime,
                Err(error) => panic!("no runtime for the jobs of the test: {error}"),
            };
            runtime.block_on(async {
                match timeout {
                    None => run.await,
                    Some((after, timed_out)) => {
                        let ended = tokio::time::timeout(after, run).await;
                        ended.unwrap_or_else(|_| timed_out(after))
                    }
                }
            })
        }
    }
}

impl JobRunner for StepRunner {
    fn run(&self, work: Work, report: Report) -> Cancel {
        let mut queue = self.lock();
        let number = queue.next;
        queue.next += 1;
        queue.begun.push_back(Begun { number, work, report });
        let queue = self.clone();
        Box::new(move || queue.lock().begun.retain(|begun| begun.number != number))
    }
}

/// Durable jobs. Each runs to its end once it has begun, in the driver's thread and in real time.
impl<A: EventSource> TestDriver<A> {
    /// From now on durable jobs wait for [`TestDriver::run_job`] once they have begun.
    pub fn hold_jobs(&mut self) -> &mut Self {
        self.jobs.hold(true);
        self
    }

    /// From now on durable jobs run when they begin, and those that wait run now.
    ///
    /// # Panics
    /// If the source stops or has stopped.
    #[track_caller]
    pub fn release_jobs(&mut self) -> &mut Self {
        self.jobs.hold(false);
        self.run_pending()
    }

    /// Returns how many durable jobs have begun and wait for [`TestDriver::run_job`].
    pub fn held_jobs(&self) -> usize {
        self.jobs.len()
    }

    /// Runs the `place`th of the durable jobs that wait.
    ///
    /// # Panics
    /// If there is none at `place`, or the source stops or has stopped.
    #[track_caller]
    pub fn run_job(&mut self, place: usize) -> &mut Self {
        let count = self.jobs.len();
        assert!(self.jobs.run(place), "no job waits at {place}: there are {count}");
        self.run_pending()
    }
}
