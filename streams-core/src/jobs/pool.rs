//! Bounded pools of threads, for jobs that block or compute.
//!
//! A pool starts a thread when a task finds none idle, up to its bound; a thread that has been idle
//! for [`IDLE_MAX`] ends.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use super::config::cores;

type Task = Box<dyn FnOnce() + Send>;

/// How long a thread waits for its next task before it ends.
const IDLE_MAX: Duration = Duration::from_secs(10);

/// A pool of at most so many threads.
#[derive(Clone)]
pub(super) struct Pool(Arc<Shared>);

struct Shared {
    name: &'static str,
    threads_max: usize,
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    /// Bounded by those who add tasks: a scheduler adds as many as it runs at the same time.
    tasks: VecDeque<Task>,
    threads: usize,
    idle: usize,
}

impl Pool {
    pub(super) fn new(name: &'static str, threads_max: usize) -> Self {
        let (state, wake) = (Mutex::default(), Condvar::new());
        Self(Arc::new(Shared { name, threads_max: threads_max.max(1), state, wake }))
    }

    /// The pool of all computing jobs of this process: a thread for each processor.
    pub(super) fn compute() -> Self {
        static COMPUTE: OnceLock<Pool> = OnceLock::new();
        COMPUTE.get_or_init(|| Self::new("streams-compute", cores())).clone()
    }

    /// Runs `task` in a thread of the pool, when one is free.
    ///
    /// # Errors
    /// If the pool has no thread and the operating system starts none; the task is dropped.
    pub(super) fn run(&self, task: Task) -> io::Result<()> {
        let mut state = self.0.lock();
        state.tasks.push_back(task);
        if state.idle >= state.tasks.len() {
            self.0.wake.notify_one();
            return Ok(());
        }
        if state.threads >= self.0.threads_max {
            return Ok(());
        }
        state.threads += 1;
        drop(state);
        let shared = Arc::clone(&self.0);
        let thread = std::thread::Builder::new().name(self.0.name.to_owned());
        let Err(error) = thread.spawn(move || shared.serve()) else {
            return Ok(());
        };
        let mut state = self.0.lock();
        state.threads -= 1;
        // Another thread takes the task.
        if state.threads > 0 {
            return Ok(());
        }
        let tasks = std::mem::take(&mut state.tasks);
        drop(state);
        drop(tasks);
        Err(error)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self) {
        let mut state = self.lock();
        loop {
            if let Some(task) = state.tasks.pop_front() {
                drop(state);
                // A task reports its own panics; one while its parts are dropped ends no thread.
                drop(catch_unwind(AssertUnwindSafe(task)));
                state = self.lock();
                continue;
            }
            state.idle += 1;
            let waited = self.wake.wait_timeout(state, IDLE_MAX);
            let (locked, waited) = waited.unwrap_or_else(PoisonError::into_inner);
            state = locked;
            state.idle -= 1;
            if waited.timed_out() && state.tasks.is_empty() {
                state.threads -= 1;
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn tasks_share_a_bounded_number_of_threads() {
        let pool = Pool::new("test", 2);
        let (done, ends) = channel();
        for task in 0..50 {
            let done = done.clone();
            let run = move || {
                std::thread::sleep(Duration::from_millis(1));
                let _ = done.send((task, std::thread::current().id()));
                assert!(task % 10 != 0, "a panic ends no thread");
            };
            pool.run(Box::new(run)).expect("a thread");
        }
        let ends: Vec<_> = ends.iter().take(50).collect();
        let mut tasks: Vec<i32> = ends.iter().map(|(task, _)| *task).collect();
        tasks.sort_unstable();
        assert_eq!(tasks, (0..50).collect::<Vec<_>>());
        let threads: std::collections::HashSet<_> = ends.iter().map(|(_, id)| *id).collect();
        assert_eq!(threads.len(), 2);
        assert_eq!(pool.0.lock().threads, 2);
    }
}
