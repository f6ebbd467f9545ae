//! Which pending job of a partition runs next: the jobs of one key one at a time, in the order of
//! their numbers; keys beside each other.
//!
//! The machine knows the committed rows only, so no job begins for an event that is not committed.
//! A job that is not due yet holds up no other one, unless it is a further attempt.
//!
//! Pure: no async, no clock, no threads. `R` is the result of a job.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use super::row::JobId;

/// One run of a job. A result of an earlier run has no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RunId(u64);

#[derive(Debug)]
enum State<R> {
    /// It waits for its due time or for its turn.
    Waits,
    Runs(RunId),
    /// It has a result, and waits for its finalizer.
    Finished(R),
    /// Its finalizer has run, and is not committed.
    Finalized(R),
}

#[derive(Debug)]
struct Job<R> {
    key: Arc<[u8]>,
    /// `None` once it is due.
    due_ms: Option<i64>,
    state: State<R>,
}

/// The jobs of one key.
#[derive(Debug, Default)]
struct Lane {
    /// The jobs that wait for their turn: all but the busy one and those that are not due.
    waiting: BTreeSet<JobId>,
    /// The job that runs, or whose effects are not committed.
    busy: Option<JobId>,
    /// The job that may run next.
    ready: Option<JobId>,
}

/// What the machine has to know of a row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PendingJob<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) due_ms: Option<i64>,
    /// Later jobs of the key wait until it is due.
    pub(crate) holds_key: bool,
}

/// The pending jobs of one partition.
#[derive(Debug)]
pub(crate) struct JobMachine<R> {
    concurrency: usize,
    jobs: BTreeMap<JobId, Job<R>>,
    lanes: HashMap<Arc<[u8]>, Lane>,
    /// The next job of each key that may run now.
    ready: BTreeSet<JobId>,
    timers: BTreeSet<(i64, JobId)>,
    finished: VecDeque<JobId>,
    running: usize,
    /// How many jobs run, or have effects that are not committed.
    busy: usize,
    next_run: u64,
    cancelled: Vec<RunId>,
    now_ms: i64,
}

impl<R> JobMachine<R> {
    /// A machine without jobs that lets `concurrency` jobs run at a time.
    pub(crate) fn new(concurrency: usize) -> Self {
        Self {
            concurrency,
            jobs: BTreeMap::new(),
            lanes: HashMap::new(),
            ready: BTreeSet::new(),
            timers: BTreeSet::new(),
            finished: VecDeque::new(),
            running: 0,
            busy: 0,
            next_run: 0,
            cancelled: vec![],
            now_ms: 0,
        }
    }

    /// Returns true if no job is pending, and none has to be cancelled.
    pub(crate) fn is_idle(&self) -> bool {
        self.jobs.is_empty() && self.cancelled.is_empty()
    }

    /// Returns true if the machine knows the job.
    pub(crate) fn knows(&self, id: JobId) -> bool {
        self.jobs.contains_key(&id)
    }

    /// The row of `id` is committed as it is: new, replaced by its next step, or gone. A run of
    /// what it was before is cancelled.
    pub(crate) fn committed(&mut self, id: JobId, row: Option<PendingJob<'_>>) {
        self.remove(id);
        let Some(PendingJob { key, due_ms, holds_key }) = row else {
            return;
        };
        let key = match self.lanes.get_key_value(key) {
            Some((known, _)) => Arc::clone(known),
            None => Arc::from(key),
        };
        let due_ms = due_ms.filter(|due| *due > self.now_ms);
        if let Some(due) = due_ms {
            self.timers.insert((due, id));
        }
        self.jobs.insert(id, Job { key: Arc::clone(&key), due_ms, state: State::Waits });
        let lane = self.lanes.entry(Arc::clone(&key)).or_default();
        if due_ms.is_none() || holds_key {
            lane.waiting.insert(id);
        }
        self.choose(&key);
    }

    fn remove(&mut self, id: JobId) {
        let Some(job) = self.jobs.remove(&id) else {
            return;
        };
        match job.state {
            State::Waits => {}
            State::Runs(run) => {
                self.cancelled.push(run);
                self.running -= 1;
            }
            State::Finished(_) => self.finished.retain(|other| *other != id),
            State::Finalized(_) => {}
        }
        if let Some(due) = job.due_ms {
            self.timers.remove(&(due, id));
        }
        if let Some(lane) = self.lanes.get_mut(&job.key) {
            lane.waiting.remove(&id);
            if lane.busy == Some(id) {
                lane.busy = None;
                self.busy -= 1;
            }
        }
        self.choose(&job.key);
    }

    /// Chooses the job of a key that may run next.
    fn choose(&mut self, key: &Arc<[u8]>) {
        let Some(lane) = self.lanes.get_mut(key) else {
            return;
        };
        if let Some(former) = lane.ready.take() {
            self.ready.remove(&former);
        }
        let first = lane.waiting.first().copied().filter(|_| lane.busy.is_none());
        let is_due = |id: &JobId| self.jobs.get(id).is_some_and(|job| job.due_ms.is_none());
        lane.ready = first.filter(is_due);
        self.ready.extend(lane.ready);
        // The lane of a job that is not due yet is made again when it is.
        if lane.waiting.is_empty() && lane.busy.is_none() {
            self.lanes.remove(key);
        }
    }

    /// The time has come to `now_ms`.
    pub(crate) fn advance(&mut self, now_ms: i64) {
        self.now_ms = now_ms;
        while let Some((due, id)) = self.timers.first().copied().filter(|(due, _)| *due <= now_ms) {
            self.timers.remove(&(due, id));
            if let Some(job) = self.jobs.get_mut(&id) {
                job.due_ms = None;
                let key = Arc::clone(&job.key);
                self.lanes.entry(Arc::clone(&key)).or_default().waiting.insert(id);
                self.choose(&key);
            }
        }
    }

    /// Returns when the next job is due, in milliseconds since the Unix epoch.
    pub(crate) fn next_due(&self) -> Option<i64> {
        self.timers.first().map(|(due, _)| *due)
    }

    /// Starts the next job that may run and whose row is there; `exists` tells, because an event
    /// that is not committed yet may have cancelled it.
    pub(crate) fn start(
        &mut self,
        exists: impl Fn(&[u8], JobId) -> bool,
    ) -> Option<(JobId, Arc<[u8]>, RunId)> {
        // Results that wait for their transaction are bounded too.
        if self.running >= self.concurrency || self.busy >= 2 * self.concurrency {
            return None;
        }
        let exists = |id: &&JobId| self.jobs.get(id).is_some_and(|job| exists(&job.key, **id));
        let id = self.ready.iter().find(exists).copied()?;
        let job = self.jobs.get_mut(&id)?;
        let (run, key) = (RunId(self.next_run), Arc::clone(&job.key));
        self.next_run += 1;
        job.state = State::Runs(run);
        self.running += 1;
        self.busy += 1;
        let lane = self.lanes.entry(Arc::clone(&key)).or_default();
        lane.waiting.remove(&id);
        lane.busy = Some(id);
        self.choose(&key);
        Some((id, key, run))
    }

    /// A run has ended with `result`. Returns false if the job has been cancelled, or runs again.
    pub(crate) fn finished(&mut self, id: JobId, run: RunId, result: R) -> bool {
        match self.jobs.get_mut(&id) {
            Some(job) if matches!(job.state, State::Runs(known) if known == run) => {
                job.state = State::Finished(result);
                self.running -= 1;
                self.finished.push_back(id);
                true
            }
            _ => false,
        }
    }

    /// Returns the next job whose finalizer may run, with its key; `exists` as in [`Self::start`].
    pub(crate) fn next_finalizer(
        &self,
        exists: impl Fn(&[u8], JobId) -> bool,
    ) -> Option<(JobId, Arc<[u8]>)> {
        let job = |id: &JobId| {
            let key = &self.jobs.get(id)?.key;
            exists(key, *id).then(|| (*id, Arc::clone(key)))
        };
        self.finished.iter().find_map(job)
    }

    /// Takes the result of a finished job for its finalizer.
    pub(crate) fn take_result(&mut self, id: JobId) -> Option<R> {
        let job = self.jobs.get_mut(&id)?;
        match std::mem::replace(&mut job.state, State::Waits) {
            State::Finished(result) => {
                let place = self.finished.iter().position(|other| *other == id);
                place.map(|place| self.finished.remove(place));
                Some(result)
            }
            other => {
                job.state = other;
                None
            }
        }
    }

    /// The finalizer of the job has run; its result is kept until the effects are committed.
    pub(crate) fn finalized(&mut self, id: JobId, result: R) {
        if let Some(job) = self.jobs.get_mut(&id) {
            job.state = State::Finalized(result);
        }
    }

    /// All that is not committed is undone: finalizers run again, with the results that are kept.
    pub(crate) fn rewound(&mut self) {
        let mut again = VecDeque::new();
        for (id, job) in &mut self.jobs {
            job.state = match std::mem::replace(&mut job.state, State::Waits) {
                State::Finalized(result) => {
                    again.push_back(*id);
                    State::Finished(result)
                }
                state => state,
            };
        }
        again.append(&mut self.finished);
        self.finished = again;
    }

    /// Takes the runs that have to be cancelled.
    pub(crate) fn take_cancelled(&mut self) -> Vec<RunId> {
        std::mem::take(&mut self.cancelled)
    }

    /// Forgets all jobs.
    pub(crate) fn clear(&mut self) {
        let (next_run, now_ms) = (self.next_run, self.now_ms);
        *self = Self { next_run, now_ms, ..Self::new(self.concurrency) };
    }
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
