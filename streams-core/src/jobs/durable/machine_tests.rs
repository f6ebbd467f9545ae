//! The machine against a model that looks at all jobs each time.

use std::collections::BTreeMap;

use super::*;

fn job(key: &[u8]) -> Option<PendingJob<'_>> {
    Some(PendingJob { key, due_ms: None, holds_key: false })
}

fn timer(key: &[u8], due_ms: i64, holds_key: bool) -> Option<PendingJob<'_>> {
    Some(PendingJob { key, due_ms: Some(due_ms), holds_key })
}

/// Starts all that may run.
fn start(machine: &mut JobMachine<&'static str>) -> Vec<(u64, RunId)> {
    let start = || machine.start(|_, _| true).map(|(id, _, run)| (id.0, run));
    std::iter::from_fn(start).collect()
}

fn ids(started: &[(u64, RunId)]) -> Vec<u64> {
    started.iter().map(|(id, _)| *id).collect()
}

#[test]
fn jobs_of_a_key_run_one_after_the_other_and_keys_side_by_side() {
    let mut machine = JobMachine::new(10);
    for (id, key) in [(1, b"a"), (2, b"a"), (3, b"b"), (4, b"a")] {
        machine.committed(JobId(id), job(key));
    }
    let first = start(&mut machine);
    assert_eq!(ids(&first), [1, 3]);
    assert!(machine.finished(JobId(1), first[0].1, "done"));
    assert!(start(&mut machine).is_empty(), "job 1 is not committed");
    let (id, key) = machine.next_finalizer(|_, _| true).expect("job 1 has ended");
    assert_eq!((id, &*key), (JobId(1), &b"a"[..]));
    let result = machine.take_result(JobId(1)).expect("a result");
    machine.finalized(JobId(1), result);
    assert!(start(&mut machine).is_empty(), "the effects of job 1 are not committed");
    machine.committed(JobId(1), job(b"a"));
    assert_eq!(ids(&start(&mut machine)), [1], "the next step of job 1 comes before job 2");
    machine.committed(JobId(1), None);
    assert_eq!(machine.take_cancelled().len(), 1, "job 1 runs, and is gone");
    assert_eq!(ids(&start(&mut machine)), [2]);
}

#[test]
fn an_abort_keeps_the_result_for_the_finalizer() {
    let mut machine = JobMachine::new(10);
    machine.committed(JobId(7), job(b"a"));
    let [(_, run)] = start(&mut machine)[..] else { panic!("one job") };
    assert!(machine.finished(JobId(7), run, "result"));
    assert!(!machine.finished(JobId(7), run, "again"), "a run ends once");
    let result = machine.take_result(JobId(7)).expect("a result");
    machine.finalized(JobId(7), result);
    assert!(machine.next_finalizer(|_, _| true).is_none());
    machine.rewound();
    assert!(machine.next_finalizer(|_, _| true).is_some());
    assert_eq!(machine.take_result(JobId(7)), Some("result"));
}

#[test]
fn a_job_that_is_not_due_holds_up_none_but_an_attempt_does() {
    let mut machine = JobMachine::new(10);
    machine.advance(100);
    machine.committed(JobId(1), timer(b"a", 200, false));
    machine.committed(JobId(2), job(b"a"));
    machine.committed(JobId(3), timer(b"b", 300, true));
    machine.committed(JobId(4), job(b"b"));
    assert_eq!(machine.next_due(), Some(200));
    let started = start(&mut machine);
    assert_eq!(ids(&started), [2]);
    machine.advance(200);
    assert!(start(&mut machine).is_empty(), "job 2 of the same key runs");
    machine.committed(JobId(2), None);
    assert_eq!(ids(&start(&mut machine)), [1]);
    machine.advance(300);
    assert_eq!(ids(&start(&mut machine)), [3], "it comes before job 4, which has waited");
    assert_eq!(machine.next_due(), None);
}

#[test]
fn no_more_jobs_run_than_allowed_and_results_are_bounded_too() {
    let mut machine = JobMachine::new(2);
    for id in 0..10 {
        machine.committed(JobId(id), job(&[u8::try_from(id).expect("small")]));
    }
    let first = start(&mut machine);
    assert_eq!(ids(&first), [0, 1]);
    first.iter().for_each(|(id, run)| assert!(machine.finished(JobId(*id), *run, "")));
    let second = start(&mut machine);
    assert_eq!(ids(&second), [2, 3]);
    second.iter().for_each(|(id, run)| assert!(machine.finished(JobId(*id), *run, "")));
    assert!(start(&mut machine).is_empty(), "four results wait for their transaction");
    machine.committed(JobId(2), None);
    assert_eq!(ids(&start(&mut machine)), [4]);
}

#[test]
fn a_job_that_an_uncommitted_event_has_cancelled_waits() {
    let mut machine = JobMachine::<&str>::new(10);
    machine.committed(JobId(1), job(b"a"));
    machine.committed(JobId(2), job(b"b"));
    let started = machine.start(|_, id| id != JobId(1)).map(|(id, _, _)| id);
    assert_eq!(started, Some(JobId(2)));
    assert!(machine.start(|_, id| id != JobId(1)).is_none());
    let (_, _, run) = machine.start(|_, _| true).expect("the event was aborted");
    assert!(machine.finished(JobId(1), run, "result"));
    assert!(machine.next_finalizer(|_, _| false).is_none());
    machine.committed(JobId(1), None);
    assert!(machine.next_finalizer(|_, _| true).is_none());
}

/// A job, as the model sees it.
#[derive(Clone, Copy, Debug)]
struct Known {
    key: u8,
    due_ms: i64,
    holds_key: bool,
    busy: bool,
}

/// The job that may start next: of each key that has no busy one the first that is due, unless one
/// that holds the key comes before it.
fn model(known: &BTreeMap<u64, Known>, now_ms: i64) -> Option<u64> {
    let may_start = |(id, job): &(&u64, &Known)| {
        let same = || known.iter().filter(|(_, other)| other.key == job.key);
        let waits_for = |(other_id, other): (&u64, &Known)| {
            let is_first = other_id < id && (other.due_ms <= now_ms || other.holds_key);
            other.busy || is_first
        };
        job.due_ms <= now_ms && !same().any(waits_for)
    };
    known.iter().find(may_start).map(|(id, _)| *id)
}

#[test]
fn the_machine_starts_what_the_model_starts() {
    for seed in 1..60_u64 {
        let mut random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut below = |bound: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            (random >> 16) % bound
        };
        let mut machine = JobMachine::new(1_000);
        let (mut known, mut runs) = (BTreeMap::<u64, Known>::new(), BTreeMap::new());
        let (mut next_id, mut now_ms) = (0, 0);
        for _ in 0..400 {
            let any = known.keys().copied().nth(usize::try_from(below(8)).expect("small"));
            match (below(5), any) {
                (0 | 1, id) => {
                    // A new job, or the next form of one that has a result.
                    let id = id.filter(|id| known[id].busy).unwrap_or(next_id);
                    next_id = next_id.max(id + 1);
                    let key = known.get(&id).map_or_else(|| below(3) as u8, |job| job.key);
                    let due_ms = if below(2) == 0 { 0 } else { now_ms + below(20) as i64 };
                    let holds_key = below(3) == 0;
                    machine.committed(JobId(id), timer(&[key], due_ms, holds_key));
                    let holds_key = holds_key || due_ms <= now_ms;
                    known.insert(id, Known { key, due_ms, holds_key, busy: false });
                    runs.remove(&id);
                }
                (2, Some(id)) => {
                    machine.committed(JobId(id), None);
                    known.remove(&id);
                    runs.remove(&id);
                }
                (3, _) => {
                    now_ms += below(10) as i64;
                    machine.advance(now_ms);
                }
                (_, Some(id)) => {
                    if let Some(run) = runs.remove(&id) {
                        assert!(machine.finished(JobId(id), run, ()), "seed {seed}");
                    }
                }
                _ => {}
            }
            if below(3) == 0 {
                let expected = model(&known, now_ms);
                let started = machine.start(|_, _| true);
                assert_eq!(started.as_ref().map(|(id, _, _)| id.0), expected, "seed {seed}");
                if let Some((id, _, run)) = started {
                    known.entry(id.0).and_modify(|job| job.busy = true);
                    runs.insert(id.0, run);
                }
            }
        }
    }
}
