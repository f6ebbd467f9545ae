//! [`Lanes`] beside a simple reference: a list of jobs that is searched from one end to the other.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;

const MS: Duration = Duration::from_millis(1);
const KEYS: u64 = 4;
const GROUPS: u64 = 3;

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Waiting,
    Running {
        deadline: Option<Instant>,
        timed_out: bool,
    },
    /// Over or cancelled, and its attempt has not ended.
    Ending,
}

#[derive(Clone, Debug)]
struct Known {
    id: JobId,
    key: u64,
    group: u64,
    due: Instant,
    attempt: u32,
    state: State,
}

/// The reference: each question is answered by a search through all jobs, in the order of their
/// addition.
struct Reference {
    now: Instant,
    limits: Limits,
    policy: Policy,
    jobs: Vec<Known>,
}

impl Reference {
    fn of(&self, key: u64) -> impl Iterator<Item = &Known> {
        self.jobs.iter().filter(move |job| job.key == key)
    }

    fn is_busy(&self, key: u64) -> bool {
        self.of(key).any(|job| job.state != State::Waiting)
    }

    /// The key's next job: one that has failed, else the one that is due first.
    fn next(&self, key: u64) -> Option<&Known> {
        let waiting = || self.of(key).filter(|job| job.state == State::Waiting);
        waiting().find(|job| job.attempt > 0).or_else(|| waiting().min_by_key(|job| job.due))
    }

    fn startable(&self, key: u64) -> bool {
        !self.is_busy(key) && self.next(key).is_some_and(|job| job.due <= self.now)
    }

    fn running(&self) -> usize {
        self.jobs.iter().filter(|job| job.state != State::Waiting).count()
    }

    fn not_over(&self) -> usize {
        self.jobs.iter().filter(|job| job.state != State::Ending).count()
    }

    fn keys(&self) -> usize {
        (0..KEYS).filter(|key| self.of(*key).count() > 0).count()
    }

    fn timeout(&self) -> Option<Instant> {
        let running = self.jobs.iter().filter_map(|job| match job.state {
            State::Running { deadline, timed_out: false } => deadline,
            _ => None,
        });
        let idle = (0..KEYS).filter(|key| !self.is_busy(*key));
        let due = idle.filter_map(|key| self.next(key)).map(|job| job.due);
        running.chain(due.filter(|due| *due > self.now)).min()
    }

    fn position(&self, id: JobId) -> usize {
        self.jobs.iter().position(|job| job.id == id).expect("a job that the reference knows")
    }

    fn start(&mut self, id: JobId, attempt: Attempt) {
        assert!(self.running() < self.limits.concurrency, "more jobs run than `concurrency`");
        let key = self.jobs[self.position(id)].key;
        assert!(!self.is_busy(key), "a second job of key {key} started");
        let next = self.next(key).expect("a waiting job");
        assert_eq!(next.id, id, "another job of key {key} comes first");
        assert!(next.due <= self.now, "the job is not due");
        assert_eq!(attempt.0, next.attempt + 1);
        let deadline = self.policy.timeout.map(|timeout| self.now + timeout);
        let place = self.position(id);
        let job = &mut self.jobs[place];
        job.attempt += 1;
        job.state = State::Running { deadline, timed_out: false };
    }

    fn abort(&mut self, id: JobId) {
        let place = self.position(id);
        let (now, job) = (self.now, &mut self.jobs[place]);
        match &mut job.state {
            State::Ending => {}
            State::Running { deadline, timed_out } => {
                assert!(deadline.is_some_and(|at| at <= now), "aborted before its timeout");
                *timed_out = true;
            }
            State::Waiting => panic!("aborted, and not running"),
        }
    }

    fn timed_out(&mut self, key: u64) {
        let now = self.now;
        let is_late = |job: &&mut Known| {
            let late = |at: Instant| at <= now;
            let deadline = match job.state {
                State::Running { deadline, .. } => deadline,
                _ => None,
            };
            job.key == key && deadline.is_some_and(late)
        };
        let job = self.jobs.iter_mut().find(is_late).expect("a job past its timeout");
        job.state = State::Ending;
    }

    /// Checks what follows from the end of an attempt.
    fn end(&mut self, id: JobId, how: Ended, next: &Next<u64, u64>) {
        let place = self.position(id);
        let Known { key, group, attempt, state, .. } = self.jobs[place].clone();
        let State::Running { timed_out, .. } = state else {
            assert_eq!(*next, Next::Nothing);
            self.jobs.remove(place);
            return;
        };
        let is_late = timed_out && how == Ended::Aborted;
        let again = is_late || how == Ended::Failed;
        if again && attempt < self.policy.retry.attempts {
            let Next::Again(at) = *next else { panic!("{next:?}, and attempts are left") };
            let longest = (self.policy.retry.backoff * (1 << (attempt - 1)))
                .min(self.policy.retry.backoff_max);
            assert!(at >= self.now + longest / 2 && at <= self.now + longest, "the back-off");
            (self.jobs[place].due, self.jobs[place].state) = (at, State::Waiting);
            return;
        }
        match is_late {
            true => assert_eq!(*next, Next::TimedOut { key, payload: group }),
            false => assert_eq!(*next, Next::Over { key, payload: group }),
        }
        self.jobs.remove(place);
    }

    fn cancel(&mut self, group: u64) -> usize {
        let before = self.not_over();
        self.jobs.retain(|job| job.group != group || job.state != State::Waiting);
        for job in self.jobs.iter_mut().filter(|job| job.group == group) {
            job.state = State::Ending;
        }
        before - self.not_over()
    }

    fn check(&self, lanes: &Lanes<u64, u64>) {
        assert_eq!(lanes.running(), self.running());
        assert_eq!(lanes.jobs(), self.not_over());
        assert_eq!(lanes.keys(), self.keys());
        assert_eq!(lanes.poll_timeout(), self.timeout());
        for key in 0..KEYS {
            let waiting = self.of(key).filter(|job| job.state == State::Waiting).count();
            assert_eq!(lanes.waiting(&key), waiting);
            let exceeded = match () {
                () if self.not_over() > self.limits.jobs => Some(Exceeded::Jobs),
                () if self.keys() > self.limits.keys => Some(Exceeded::Keys),
                () if waiting > self.limits.queue_depth => Some(Exceeded::QueueDepth(key)),
                () => None,
            };
            assert_eq!(lanes.exceeded(&key), exceeded);
        }
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    fn small(&mut self) -> usize {
        usize::try_from(self.below(6)).expect("a small number")
    }
}

struct Run {
    lanes: Lanes<u64, u64>,
    reference: Reference,
    random: Random,
    attempts: Vec<(JobId, Attempt)>,
}

impl Run {
    fn new(seed: u64, base: Instant) -> Self {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let attempts = 1 + u32::try_from(random.below(3)).expect("a small number");
        let policy = Policy {
            timeout: (random.below(3) > 0).then_some(MS * 10),
            retry: Retry { attempts, backoff: MS * 4, backoff_max: MS * 6 },
            can_abort: random.below(2) == 0,
        };
        let limits = Limits { concurrency: 2, queue_depth: 2, keys: 3, jobs: 8 };
        let reference = Reference { now: base, limits, policy, jobs: vec![] };
        let lanes = Lanes::new(limits, policy, seed);
        Self { lanes, reference, random, attempts: vec![] }
    }

    fn push(&mut self) {
        let (key, group) = (self.random.below(KEYS), self.random.below(GROUPS));
        let now = self.reference.now;
        let ms = u32::try_from(self.random.below(20)).expect("a small number");
        let due = (self.random.below(4) == 0).then(|| now + MS * ms);
        let id = self.lanes.push(now, key, group, due);
        let (due, state) = (due.unwrap_or(now), State::Waiting);
        self.reference.jobs.push(Known { id, key, group, due, attempt: 0, state });
    }

    fn poll(&mut self) {
        while let Some(command) = self.lanes.poll(self.reference.now) {
            match command {
                Command::Start { id, attempt } => {
                    self.reference.start(id, attempt);
                    let known = &self.reference.jobs[self.reference.position(id)];
                    assert_eq!(self.lanes.job(id), Some((&known.key, &known.group)));
                    self.attempts.push((id, attempt));
                }
                Command::Abort { id, .. } => {
                    assert!(self.reference.policy.can_abort);
                    self.reference.abort(id);
                }
                Command::TimedOut { key, .. } => {
                    assert!(!self.reference.policy.can_abort);
                    self.reference.timed_out(key);
                }
            }
        }
        let is_full = self.reference.running() >= self.reference.limits.concurrency;
        let startable = (0..KEYS).find(|key| self.reference.startable(*key));
        assert!(is_full || startable.is_none(), "key {startable:?} could have started");
    }

    fn end(&mut self) {
        if self.attempts.is_empty() {
            return;
        }
        let which = usize::try_from(self.random.below(1 << 20)).expect("a small number");
        let (id, attempt) = self.attempts.swap_remove(which % self.attempts.len());
        let ways = [Ended::Succeeded, Ended::Failed, Ended::FailedForGood, Ended::Aborted];
        let how = ways[which % ways.len()];
        let next = self.lanes.end(self.reference.now, id, attempt, how);
        self.reference.end(id, how, &next);
        let twice = self.lanes.end(self.reference.now, id, attempt, how);
        assert_eq!(twice, Next::Nothing, "an attempt ends once");
    }

    fn step(&mut self) {
        match self.random.below(12) {
            0..=4 => self.push(),
            5..=8 => self.end(),
            9 => {
                let ms = u32::try_from(self.random.below(8)).expect("a small number");
                self.reference.now += MS * ms;
            }
            10 => {
                let group = self.random.below(GROUPS);
                let cancelled = self.lanes.cancel(self.reference.now, |_, of| *of == group);
                assert!(cancelled.iter().all(|(_, of)| *of == group));
                assert_eq!(cancelled.len(), self.reference.cancel(group));
            }
            _ => {
                let (concurrency, jobs) = (self.random.small(), self.random.small());
                let (queue_depth, keys) = (self.random.small(), self.random.small());
                let limits = Limits { concurrency, queue_depth, keys, jobs };
                self.lanes.set_limits(limits);
                self.reference.limits = limits;
            }
        }
        self.poll();
        self.reference.check(&self.lanes);
    }

    /// All jobs end, each once, and nothing is left.
    fn drain(&mut self) {
        self.reference.limits.concurrency = 2;
        self.lanes.set_limits(self.reference.limits);
        for _ in 0..10_000 {
            self.reference.now += MS;
            self.poll();
            self.end();
            if self.reference.jobs.is_empty() {
                break;
            }
        }
        self.reference.check(&self.lanes);
        assert_eq!((self.lanes.jobs(), self.lanes.keys(), self.lanes.running()), (0, 0, 0));
        assert!(self.lanes.ready.is_empty() && self.lanes.timers.is_empty());
    }
}

fn all_runs() {
    let base = Instant::now();
    for seed in 0..150 {
        let mut run = Run::new(seed, base);
        (0..300).for_each(|_| run.step());
        run.drain();
    }
}

#[test]
fn lanes_agree_with_the_reference() {
    all_runs();
}

#[test]
fn the_reference_finds_each_planted_bug() {
    for bug in [Bug::LaneRunsTwo, Bug::RetryBehindItsKey, Bug::NoTimeout] {
        planted::plant(Some(bug));
        let found = catch_unwind(AssertUnwindSafe(all_runs));
        planted::plant(None);
        assert!(found.is_err(), "{bug:?} was not found");
    }
}

const ONE_AT_A_TIME: Limits = Limits { concurrency: 1, queue_depth: 10, keys: 10, jobs: 100 };
const SIMPLE: Policy = Policy { timeout: None, retry: Retry::NEVER, can_abort: true };

fn start(lanes: &mut Lanes<&'static str, u64>, now: Instant) -> Option<(JobId, Attempt, u64)> {
    let Command::Start { id, attempt } = lanes.poll(now)? else { panic!("a start") };
    lanes.job(id).map(|(_, payload)| (id, attempt, *payload))
}

/// Ends each job as soon as it has started. Returns the payloads in the order of their starts.
fn order(lanes: &mut Lanes<&'static str, u64>, now: Instant) -> Vec<u64> {
    let mut order = vec![];
    while let Some((id, attempt, payload)) = start(lanes, now) {
        lanes.end(now, id, attempt, Ended::Succeeded);
        order.push(payload);
    }
    order
}

#[test]
fn a_key_with_many_jobs_does_not_starve_the_others() {
    let now = Instant::now();
    let mut lanes = Lanes::new(ONE_AT_A_TIME, SIMPLE, 1);
    for (key, job) in [("a", 1), ("a", 2), ("a", 3), ("b", 11), ("b", 12), ("c", 21)] {
        lanes.push(now, key, job, None);
    }
    assert_eq!(order(&mut lanes, now), [1, 11, 21, 2, 12, 3]);
}

#[test]
fn a_job_that_is_due_later_holds_up_no_job_of_its_key() {
    let now = Instant::now();
    let mut lanes = Lanes::new(ONE_AT_A_TIME, SIMPLE, 1);
    lanes.push(now, "a", 1, Some(now + MS * 60));
    lanes.push(now, "a", 2, Some(now + MS * 30));
    lanes.push(now, "a", 3, None);
    assert_eq!(order(&mut lanes, now), [3]);
    assert_eq!(lanes.poll_timeout(), Some(now + MS * 30));
    lanes.push(now + MS * 40, "a", 4, None);
    assert_eq!(order(&mut lanes, now + MS * 40), [2, 4]);
    assert_eq!(order(&mut lanes, now + MS * 59), [0; 0]);
    assert_eq!(order(&mut lanes, now + MS * 60), [1]);
    assert_eq!((lanes.keys(), lanes.poll_timeout()), (0, None));
}

#[test]
fn a_clock_that_two_threads_read_does_not_turn_jobs_round() {
    let now = Instant::now();
    let mut lanes = Lanes::new(ONE_AT_A_TIME, SIMPLE, 1);
    lanes.push(now + MS, "a", 1, None);
    lanes.push(now, "a", 2, None);
    assert_eq!(order(&mut lanes, now + MS), [1, 2]);
}

#[test]
fn a_failed_job_keeps_its_key_and_frees_its_place() {
    let now = Instant::now();
    let retry = Retry { attempts: 3, backoff: MS * 10, backoff_max: MS * 10 };
    let mut lanes = Lanes::new(ONE_AT_A_TIME, Policy { retry, ..SIMPLE }, 1);
    lanes.push(now, "a", 1, None);
    lanes.push(now, "a", 2, None);
    lanes.push(now, "b", 3, None);
    let (id, attempt, _) = start(&mut lanes, now).expect("a job");
    assert!(matches!(lanes.end(now, id, attempt, Ended::Failed), Next::Again(_)));
    assert_eq!(order(&mut lanes, now), [3], "another key runs meanwhile");
    assert_eq!(order(&mut lanes, now + MS * 10), [1, 2]);
}

#[test]
fn a_lane_whose_attempt_cannot_be_aborted_waits_for_its_end() {
    let now = Instant::now();
    let policy = Policy { timeout: Some(MS * 10), can_abort: false, ..SIMPLE };
    let mut lanes = Lanes::new(Limits { concurrency: 2, ..ONE_AT_A_TIME }, policy, 1);
    lanes.push(now, "a", 1, None);
    lanes.push(now, "a", 2, None);
    let (id, attempt, _) = start(&mut lanes, now).expect("a job");
    let late = now + MS * 10;
    assert_eq!(lanes.poll(late), Some(Command::TimedOut { key: "a", payload: 1 }));
    assert_eq!(lanes.poll(late), None, "the second job of the key waits");
    assert_eq!(lanes.end(late, id, attempt, Ended::Succeeded), Next::Nothing);
    assert_eq!(order(&mut lanes, late), [2]);
}
