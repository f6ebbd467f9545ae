//! Where durable jobs run: outside of the workers' threads.

use std::io;
use std::sync::Arc;

use tokio::runtime::Runtime;
use tokio::sync::Semaphore;

use super::{JobOutcome, Work};

/// The threads of asynchronous jobs, at most.
const ASYNC_THREADS_MAX: usize = 4;

/// What becomes of a run's outcome.
pub(crate) type Report = Box<dyn FnOnce(JobOutcome) + Send>;

/// Cancels a run. Its outcome may be reported all the same.
pub(crate) type Cancel = Box<dyn FnOnce() + Send>;

/// Runs jobs.
pub(crate) trait JobRunner: Send + Sync {
    /// Begins `work`, and returns at once; `report` is called with what comes of it.
    fn run(&self, work: Work, report: Report) -> Cancel;
}

/// Runs jobs on a runtime of their own.
pub(crate) struct TokioRunner {
    /// `None` once it is dropped.
    runtime: Option<Runtime>,
    /// One permit for each core.
    cores: Arc<Semaphore>,
}

impl TokioRunner {
    /// Starts the runtime's threads.
    pub(crate) fn new(blocking_threads: usize) -> io::Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(cores.min(ASYNC_THREADS_MAX))
            .max_blocking_threads(blocking_threads)
            .thread_name("streams-jobs")
            .enable_all()
            .build()?;
        Ok(Self { runtime: Some(runtime), cores: Arc::new(Semaphore::new(cores)) })
    }
}

impl JobRunner for TokioRunner {
    fn run(&self, work: Work, report: Report) -> Cancel {
        let Some(runtime) = &self.runtime else {
            return Box::new(|| {});
        };
        let cancel = match work {
            Work::Async { run, timeout: None } => {
                runtime.spawn(async move { report(run.await) }).abort_handle()
            }
            Work::Async { run, timeout: Some((after, timed_out)) } => {
                let run = async move {
                    let ended = tokio::time::timeout(after, run).await;
                    report(ended.unwrap_or_else(|_| timed_out(after)));
                };
                runtime.spawn(run).abort_handle()
            }
            Work::Blocking(run) => runtime.spawn_blocking(move || report(run())).abort_handle(),
            Work::Compute(run) => {
                let cores = Arc::clone(&self.cores);
                let run = async move {
                    // The semaphore is never closed. A run that is cancelled keeps its core.
                    let core = cores.acquire_owned().await;
                    let run = move || {
                        report(run());
                        drop(core);
                    };
                    let _ = tokio::task::spawn_blocking(run).await;
                };
                runtime.spawn(run).abort_handle()
            }
        };
        Box::new(move || cancel.abort())
    }
}

impl Drop for TokioRunner {
    fn drop(&mut self) {
        // Nobody waits for a blocking job: nothing of it can be committed any more.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
