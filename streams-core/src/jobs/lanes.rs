//! Keyed queues of jobs: the jobs of one key run in their order, and keys run in parallel.
//!
//! [`Lanes`] is a machine: it reads no clock and starts no thread. The driver adds jobs
//! ([`Lanes::push`]), executes commands ([`Lanes::poll`]), reports the end of each attempt
//! ([`Lanes::end`]), and polls again at [`Lanes::poll_timeout`] at the latest.
//!
//! ```text
//!          push                 due, and a place is free
//! driver --------> waiting -----------------------------> running ---> over: payload to the driver
//!                    ^                                       |
//!                    +------- failed, attempts are left -----+
//!                      (back-off, ahead of its key's queue)
//! ```
//!
//! A key's *lane* holds its jobs, ordered by due time and then by [`Lanes::push`]. At most one job
//! of a lane runs. A job in back-off keeps its lane, so no later job of the key overtakes it. A
//! job whose due time is to come holds up no job that is due before it: so a lane has timers too.
//!
//! The machine accepts each job, because the caller cannot block. [`Lanes::exceeded`] names the
//! limit that a key exceeds; the caller then holds its input back until [`Lanes::has_room`].

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::hash::Hash;
use std::time::{Duration, Instant};

use crate::planted::{self, Bug};

/// The number of a job, unique within its [`Lanes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId {
    lane: LaneId,
    number: u64,
}

/// The number of an attempt of a job; the first one is 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attempt(pub u32);

/// The number of a lane. A key that gets its next job after its last one ended has another lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct LaneId(u64);

/// The limits of [`Lanes`]; they can change at any time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How many jobs run at the same time.
    pub concurrency: usize,
    /// How many jobs of one key may wait.
    pub queue_depth: usize,
    /// How many keys may have jobs.
    pub keys: usize,
    /// How many jobs may wait or run, of all keys.
    pub jobs: usize,
}

/// When a failed job runs again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// How many attempts a job has, the first one included.
    pub attempts: u32,
    /// The time before the second attempt; it doubles with each further one.
    pub backoff: Duration,
    /// The longest time between two attempts.
    pub backoff_max: Duration,
}

impl Retry {
    /// No second attempt.
    pub const NEVER: Self =
        Self { attempts: 1, backoff: Duration::ZERO, backoff_max: Duration::ZERO };

    /// Returns the time before the attempt after `attempt`: a random one between half of the
    /// doubled back-off and all of it, so that jobs that failed together do not retry together.
    fn delay(&self, attempt: Attempt, random: u64) -> Duration {
        let doubled = 2_u32.saturating_pow(attempt.0.saturating_sub(1));
        let longest = self.backoff.saturating_mul(doubled).min(self.backoff_max);
        let half = longest / 2;
        let spread = u64::try_from(half.as_nanos()).unwrap_or(u64::MAX);
        half + Duration::from_nanos(if spread == 0 { 0 } else { random % (spread + 1) })
    }
}

/// How the attempts of jobs end and repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How long an attempt may take.
    pub timeout: Option<Duration>,
    /// When a failed attempt is repeated.
    pub retry: Retry,
    /// Whether the driver can abort an attempt. If it cannot, a job that exceeds its timeout is
    /// over at once, and its lane waits for the end of the attempt.
    pub can_abort: bool,
}

/// What the driver has to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Command<K, T> {
    /// Start this attempt; [`Lanes::job`] has its key and payload.
    Start {
        /// The job.
        id: JobId,
        /// Which attempt it is.
        attempt: Attempt,
    },
    /// Abort this attempt, and report its end by [`Lanes::end`].
    Abort {
        /// The job.
        id: JobId,
        /// Which attempt it is.
        attempt: Attempt,
    },
    /// The job is over: it has exceeded its timeout, and the driver cannot abort it.
    TimedOut {
        /// The job's key.
        key: K,
        /// The job.
        payload: T,
    },
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With a result.
    Succeeded,
    /// With an error that another attempt may not meet.
    Failed,
    /// With an error that each attempt would meet: a panic.
    FailedForGood,
    /// Without a result: the driver has aborted it, or could not start it.
    Aborted,
}

/// What follows from the end of an attempt.
#[derive(Debug, PartialEq, Eq)]
pub enum Next<K, T> {
    /// The job is over, with the outcome that the driver reported.
    Over {
        /// The job's key.
        key: K,
        /// The job.
        payload: T,
    },
    /// The job is over: its last attempt has exceeded the timeout.
    TimedOut {
        /// The job's key.
        key: K,
        /// The job.
        payload: T,
    },
    /// The job runs again at this time, or later if all places are taken.
    Again(Instant),
    /// Nothing: the job was over or cancelled before.
    Nothing,
}

/// A limit that is exceeded.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Exceeded<K> {
    /// Too many jobs of this key wait ([`Limits::queue_depth`]).
    QueueDepth(K),
    /// Too many keys have jobs ([`Limits::keys`]).
    Keys,
    /// Too many jobs wait or run ([`Limits::jobs`]).
    Jobs,
}

#[derive(Debug)]
struct Job<T> {
    id: JobId,
    due: Instant,
    attempt: Attempt,
    payload: T,
}

#[derive(Debug)]
struct Running<T> {
    id: JobId,
    attempt: Attempt,
    timed_out: bool,
    /// `None` if the job was over or cancelled before its attempt has ended.
    job: Option<Job<T>>,
}

#[derive(Debug)]
struct Lane<K, T> {
    key: K,
    running: Option<Running<T>>,
    /// The job that failed last, until its next attempt.
    again: Option<Job<T>>,
    /// By due time, then by number.
    queue: VecDeque<Job<T>>,
    is_ready: bool,
    /// When the running attempt exceeds its timeout, or when the next job is due.
    timer: Option<Instant>,
}

impl<K, T> Lane<K, T> {
    fn waiting(&self) -> usize {
        self.queue.len() + usize::from(self.again.is_some())
    }

    fn next_due(&self) -> Option<Instant> {
        self.again.as_ref().or_else(|| self.queue.front()).map(|job| job.due)
    }

    fn take_next(&mut self) -> Option<Job<T>> {
        self.again.take().or_else(|| self.queue.pop_front())
    }
}

/// Keyed queues of jobs. The module's documentation has the rules.
#[derive(Debug)]
pub struct Lanes<K, T> {
    limits: Limits,
    policy: Policy,
    ids: HashMap<K, LaneId>,
    lanes: HashMap<LaneId, Lane<K, T>>,
    /// Lanes whose next job is due, in the order in which they became ready.
    ready: VecDeque<LaneId>,
    timers: BTreeSet<(Instant, LaneId)>,
    commands: VecDeque<Command<K, T>>,
    /// Attempts that have not ended.
    running: usize,
    /// Jobs that are not over.
    jobs: usize,
    next_lane: u64,
    next_job: u64,
    /// The latest time that the machine has seen: several threads may read the clock.
    now: Option<Instant>,
    random: u64,
}

impl<K: Clone + Eq + Hash, T> Lanes<K, T> {
    /// Creates empty queues. `seed` decides how much the times between attempts differ.
    pub fn new(limits: Limits, policy: Policy, seed: u64) -> Self {
        Self {
            limits,
            policy,
            ids: HashMap::new(),
            lanes: HashMap::new(),
            ready: VecDeque::new(),
            timers: BTreeSet::new(),
            commands: VecDeque::new(),
            running: 0,
            jobs: 0,
            next_lane: 0,
            next_job: 0,
            now: None,
            random: seed | 1,
        }
    }

    /// Adds a job behind those of its key that are due before it. Without `due`, or with one that
    /// is past, it is due now.
    pub fn push(&mut self, now: Instant, key: K, payload: T, due: Option<Instant>) -> JobId {
        let now = self.latest(now);
        let due = due.map_or(now, |due| due.max(now));
        let lane_id = match self.ids.get(&key) {
            Some(id) => *id,
            None => self.add_lane(key),
        };
        let id = JobId { lane: lane_id, number: self.next_job };
        self.next_job += 1;
        self.jobs += 1;
        if let Some(lane) = self.lanes.get_mut(&lane_id) {
            let place = match lane.queue.back() {
                Some(last) if last.due > due => lane.queue.partition_point(|job| job.due <= due),
                _ => lane.queue.len(),
            };
            lane.queue.insert(place, Job { id, due, attempt: Attempt(0), payload });
        }
        self.arrange(now, lane_id);
        id
    }

    fn add_lane(&mut self, key: K) -> LaneId {
        let id = LaneId(self.next_lane);
        self.next_lane += 1;
        self.ids.insert(key.clone(), id);
        let (running, again, queue) = (None, None, VecDeque::new());
        let lane = Lane { key, running, again, queue, is_ready: false, timer: None };
        self.lanes.insert(id, lane);
        id
    }

    /// Returns the next command, if there is one. Call it until there is none.
    pub fn poll(&mut self, now: Instant) -> Option<Command<K, T>> {
        let now = self.latest(now);
        self.expire(now);
        if let Some(command) = self.commands.pop_front() {
            return Some(command);
        }
        while self.running < self.limits.concurrency {
            let id = self.ready.pop_front()?;
            if let Some(command) = self.start(now, id) {
                return Some(command);
            }
        }
        None
    }

    /// Returns when to poll again at the latest: when a job is due, or when an attempt exceeds its
    /// timeout.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Returns a running job's key and payload; `None` if the job is over.
    pub fn job(&self, id: JobId) -> Option<(&K, &T)> {
        let lane = self.lanes.get(&id.lane)?;
        let running = lane.running.as_ref().filter(|running| running.id == id)?;
        running.job.as_ref().map(|job| (&lane.key, &job.payload))
    }

    /// Reports that an attempt has ended: its lane is free for the next job of the key.
    pub fn end(&mut self, now: Instant, id: JobId, attempt: Attempt, how: Ended) -> Next<K, T> {
        let now = self.latest(now);
        let Some(lane) = self.lanes.get_mut(&id.lane) else {
            return Next::Nothing;
        };
        let is_this = |running: &mut Running<T>| running.id == id && running.attempt == attempt;
        let Some(Running { timed_out, job, .. }) = lane.running.take_if(is_this) else {
            return Next::Nothing;
        };
        self.running -= 1;
        let key = lane.key.clone();
        let next = match job {
            None => Next::Nothing,
            Some(mut job) => {
                let may_fail_again = match how {
                    Ended::Succeeded | Ended::FailedForGood => false,
                    Ended::Failed => true,
                    Ended::Aborted => timed_out,
                };
                if may_fail_again && attempt.0 < self.policy.retry.attempts {
                    self.random ^= self.random << 13;
                    self.random ^= self.random >> 7;
                    self.random ^= self.random << 17;
                    job.due = now + self.policy.retry.delay(attempt, self.random);
                    let at = job.due;
                    match planted::is(Bug::RetryBehindItsKey) {
                        true => lane.queue.push_back(job),
                        false => lane.again = Some(job),
                    }
                    Next::Again(at)
                } else {
                    self.jobs -= 1;
                    let payload = job.payload;
                    match timed_out && how == Ended::Aborted {
                        true => Next::TimedOut { key, payload },
                        false => Next::Over { key, payload },
                    }
                }
            }
        };
        self.arrange(now, id.lane);
        next
    }

    /// Cancels all jobs for which `which` returns true, and returns them. Their attempts that run
    /// are aborted if the driver can; each keeps its lane until its end.
    pub fn cancel(&mut self, now: Instant, mut which: impl FnMut(&K, &T) -> bool) -> Vec<(K, T)> {
        let now = self.latest(now);
        let mut cancelled = Vec::new();
        let mut changed = Vec::new();
        for (id, lane) in &mut self.lanes {
            let before = cancelled.len();
            let key = &lane.key;
            let mut take = |job: &mut Job<T>| which(key, &job.payload);
            if let Some(running) = &mut lane.running
                && let Some(job) = running.job.take_if(&mut take)
            {
                cancelled.push((job.id, key.clone(), job.payload));
                if let Some(timer) = lane.timer.take() {
                    self.timers.remove(&(timer, *id));
                }
                if self.policy.can_abort && !running.timed_out {
                    let (id, attempt) = (running.id, running.attempt);
                    self.commands.push_back(Command::Abort { id, attempt });
                }
            }
            if let Some(job) = lane.again.take_if(&mut take) {
                cancelled.push((job.id, key.clone(), job.payload));
            }
            for mut job in std::mem::take(&mut lane.queue) {
                match take(&mut job) {
                    true => cancelled.push((job.id, key.clone(), job.payload)),
                    false => lane.queue.push_back(job),
                }
            }
            if cancelled.len() > before {
                changed.push(*id);
            }
        }
        self.jobs -= cancelled.len();
        for id in changed {
            self.arrange(now, id);
        }
        // In the order in which they were added.
        cancelled.sort_unstable_by_key(|(id, _, _)| id.number);
        cancelled.into_iter().map(|(_, key, payload)| (key, payload)).collect()
    }

    /// Returns the limit that the jobs of `key` exceed.
    pub fn exceeded(&self, key: &K) -> Option<Exceeded<K>> {
        let all = [Exceeded::Jobs, Exceeded::Keys, Exceeded::QueueDepth(key.clone())];
        all.into_iter().find(|limit| !self.has_room(limit))
    }

    /// Returns true if this limit is exceeded no more.
    pub fn has_room(&self, limit: &Exceeded<K>) -> bool {
        match limit {
            Exceeded::QueueDepth(key) => self.waiting(key) <= self.limits.queue_depth,
            Exceeded::Keys => self.lanes.len() <= self.limits.keys,
            Exceeded::Jobs => self.jobs <= self.limits.jobs,
        }
    }

    /// Returns the limits.
    pub const fn limits(&self) -> Limits {
        self.limits
    }

    /// Changes the limits. Running attempts go on; a lower concurrency holds until enough of them
    /// have ended.
    pub const fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Returns how many jobs of `key` wait.
    pub fn waiting(&self, key: &K) -> usize {
        let lane = self.ids.get(key).and_then(|id| self.lanes.get(id));
        lane.map_or(0, Lane::waiting)
    }

    /// Returns how many jobs are not over.
    pub const fn jobs(&self) -> usize {
        self.jobs
    }

    /// Returns how many attempts have not ended.
    pub const fn running(&self) -> usize {
        self.running
    }

    /// Returns how many keys have a job, or an attempt that has not ended.
    pub fn keys(&self) -> usize {
        self.lanes.len()
    }

    fn latest(&mut self, now: Instant) -> Instant {
        let latest = self.now.map_or(now, |known| known.max(now));
        self.now = Some(latest);
        latest
    }

    /// Attempts exceed their timeouts, and jobs become due.
    fn expire(&mut self, now: Instant) {
        while let Some((at, id)) = self.timers.first().copied()
            && at <= now
        {
            self.timers.pop_first();
            let Some(lane) = self.lanes.get_mut(&id) else {
                continue;
            };
            lane.timer = None;
            let Some(running) = &mut lane.running else {
                self.arrange(now, id);
                continue;
            };
            let (id, attempt) = (running.id, running.attempt);
            match running.job.take() {
                None => {}
                job if self.policy.can_abort => {
                    (running.timed_out, running.job) = (true, job);
                    self.commands.push_back(Command::Abort { id, attempt });
                }
                Some(job) => {
                    self.jobs -= 1;
                    let (key, payload) = (lane.key.clone(), job.payload);
                    self.commands.push_back(Command::TimedOut { key, payload });
                }
            }
        }
    }

    /// Puts a lane where it belongs: it is removed, becomes ready, or waits for its next job.
    fn arrange(&mut self, now: Instant, id: LaneId) {
        let Some(lane) = self.lanes.get_mut(&id) else {
            return;
        };
        if lane.running.is_some() && !planted::is(Bug::LaneRunsTwo) {
            return;
        }
        if let Some(timer) = lane.timer.take() {
            self.timers.remove(&(timer, id));
        }
        match lane.next_due() {
            None => {
                if let Some(lane) = self.lanes.remove(&id) {
                    self.ids.remove(&lane.key);
                    if lane.is_ready {
                        self.ready.retain(|ready| *ready != id);
                    }
                }
            }
            Some(due) if due <= now => {
                if !std::mem::replace(&mut lane.is_ready, true) {
                    self.ready.push_back(id);
                }
            }
            Some(due) => {
                lane.timer = Some(due);
                self.timers.insert((due, id));
            }
        }
    }

    /// Starts the next job of a ready lane.
    fn start(&mut self, now: Instant, lane_id: LaneId) -> Option<Command<K, T>> {
        let lane = self.lanes.get_mut(&lane_id)?;
        lane.is_ready = false;
        // A cancellation may have left a job that is not due.
        if lane.next_due().is_none_or(|due| due > now) {
            self.arrange(now, lane_id);
            return None;
        }
        let mut job = lane.take_next()?;
        job.attempt.0 += 1;
        let (id, attempt) = (job.id, job.attempt);
        lane.running = Some(Running { id, attempt, timed_out: false, job: Some(job) });
        self.running += 1;
        if let Some(timeout) = self.policy.timeout.filter(|_| !planted::is(Bug::NoTimeout)) {
            lane.timer = Some(now + timeout);
            self.timers.insert((now + timeout, lane_id));
        }
        Some(Command::Start { id, attempt })
    }
}

#[cfg(test)]
#[path = "lanes_tests.rs"]
mod tests;
