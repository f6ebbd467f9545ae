//! Jobs of an application under test: tokio's clock and the driver's go on together.

use std::time::{Duration, Instant};

use super::TestDriver;
use crate::handler::EventSource;

/// How far both clocks go on at a time: tokio's timers have this resolution.
const STEP: Duration = Duration::from_millis(1);
/// So often without news the tasks of the runtime have nothing to do at this time.
const QUIET_YIELDS: u32 = 4;

impl<A: EventSource> TestDriver<A> {
    /// Moves tokio's clock and the driver's on together, in steps of a millisecond: jobs run on the
    /// test's runtime, their completions and all else that becomes due run at its time.
    ///
    /// Make the scheduler in the test, so that its jobs run on the test's runtime, and pause
    /// tokio's clock: `#[tokio::test(start_paused = true)]`, with tokio's feature `test-util`. Then
    /// a test of hours takes milliseconds and always runs in the same way. With a clock that is
    /// not paused the time goes by.
    ///
    /// # Examples
    /// ```
    /// # use std::time::Duration;
    /// use streams_core::jobs::{AsyncJobScheduler, SchedulerConfig, complete};
    /// use streams_core::prelude::*;
    ///
    /// #[derive(Events)]
    /// enum Calls {
    ///     Call(String),
    /// }
    ///
    /// struct App {
    ///     calls: AsyncJobScheduler<NoStore, String, ()>,
    /// }
    ///
    /// #[event_source(events = Calls, store = NoStore, shared = App)]
    /// mod calls {
    ///     use super::*;
    ///
    ///     #[event_handler("Call")]
    ///     fn call(
    ///         ctx: &mut EventContext<NoStore>,
    ///         app: &App,
    ///         to: String,
    ///     ) -> Result<ExecutionState> {
    ///         app.calls.schedule(ctx, to, ())
    ///     }
    /// }
    ///
    /// async fn ring(_: String, (): ()) -> Result<(), std::io::Error> {
    ///     tokio::time::sleep(Duration::from_secs(30)).await;
    ///     Ok(())
    /// }
    ///
    /// # fn main() {
    /// # let mut runtime = tokio::runtime::Builder::new_current_thread();
    /// # let runtime = runtime.enable_time().start_paused(true).build().unwrap();
    /// # runtime.block_on(async {
    /// // #[tokio::test(start_paused = true)]
    /// let calls = AsyncJobScheduler::new(SchedulerConfig::default(), ring, complete).unwrap();
    /// let mut driver = calls::Source::builder().shared(App { calls }).test_driver();
    /// driver.send("k", Calls::Call("555-0100".to_owned()));
    /// driver.advance_async(Duration::from_secs(29)).await;
    /// assert_eq!(driver.committed(0), Some(0));
    /// driver.advance_async(Duration::from_secs(2)).await;
    /// assert_eq!(driver.committed(0), Some(1));
    /// # });
    /// # }
    /// ```
    ///
    /// # Panics
    /// If the source stops or has stopped, or outside of a tokio runtime.
    pub async fn advance_async(&mut self, time: Duration) -> &mut Self {
        self.run_jobs().await;
        let base = tokio::time::Instant::now();
        let mut elapsed = Duration::ZERO;
        while elapsed < time && self.failure().is_none() {
            let step = STEP.min(time - elapsed);
            elapsed += step;
            tokio::time::sleep_until(base + elapsed).await;
            self.take_news();
            self.run_for(step);
            self.run_jobs().await;
        }
        self.assert_runs();
        self
    }

    /// Runs the jobs that need no time, and what they complete.
    async fn run_jobs(&mut self) {
        let mut quiet = 0;
        while quiet < QUIET_YIELDS {
            tokio::task::yield_now().await;
            quiet = if self.take_news() { 0 } else { quiet + 1 };
            self.settle();
        }
    }

    /// Waits until `is_done` returns true, at most for `limit` in real time: for jobs in threads of
    /// their own. Returns whether it did.
    ///
    /// # Panics
    /// If the source stops or has stopped.
    #[track_caller]
    pub fn wait_until(&mut self, limit: Duration, is_done: impl Fn(&Self) -> bool) -> bool {
        let end = Instant::now() + limit;
        loop {
            self.settle();
            self.assert_runs();
            match is_done(self) {
                true => return true,
                false if Instant::now() >= end => return false,
                false => std::thread::sleep(STEP),
            }
        }
    }
}
