//! Restores and warm copies: where they end, and how old they get.

use std::time::{Duration, Instant, SystemTime};

use super::{Moment, Restore, WarmCopy};

const AGE_MAX: Duration = Duration::from_secs(800);

fn start() -> Moment {
    Moment { now: Instant::now(), wall: SystemTime::UNIX_EPOCH }
}

fn later(at: Moment, seconds: u64) -> Moment {
    let time = Duration::from_secs(seconds);
    Moment { now: at.now + time, wall: at.wall + time }
}

#[test]
fn an_empty_changelog_needs_no_restore() {
    assert_eq!(Restore::new(start(), 7, 7), None);
}

#[test]
fn a_warm_copy_is_ready_once_and_goes_on_where_it_was() {
    let at = start();
    let mut copy = WarmCopy::new(at, 0, 5_000);
    assert!(!copy.becomes_ready(None), "it has read nothing yet");
    assert_eq!(
        [copy.flow(true), copy.flow(true), copy.flow(false)],
        [Some(true), None, Some(false)]
    );
    copy.applied(at, 4_200, 10, || None);
    assert_eq!(copy.lag(Some(9_000)), 4_799, "the changelog goes on");
    assert!(copy.becomes_ready(None));
    assert!(!copy.becomes_ready(None), "once");
    assert_eq!(copy.flow(true), None, "there is little to read");
    copy.reached_end(at, 4_202);
    assert_eq!(copy.lag(Some(9_000)), 0, "what is behind it are no records");
    let rest = copy.take(at, (0, 4_204));
    assert_eq!((rest.position(), rest.records(), rest.is_done()), (4_202, 1, false));
    assert!(copy.take(at, (0, 4_202)).is_done());
}

#[test]
fn a_warm_copy_of_a_short_changelog_is_ready_once_something_was_read() {
    let at = start();
    let mut copy = WarmCopy::new(at, 0, 10);
    assert!(!copy.becomes_ready(Some(10)), "it may be one that can't be made");
    copy.applied(at, 0, 5, || None);
    assert!(copy.becomes_ready(Some(10)));
    let mut hidden = WarmCopy::new(at, 0, 10);
    hidden.reached_end(at, 10);
    assert!(hidden.becomes_ready(Some(10)), "there are no records in it");
    assert!(WarmCopy::new(at, 7, 7).becomes_ready(None), "nor here");
}

#[test]
fn d5_a_restore_ends_at_its_end_though_the_last_records_are_hidden_and_never_earlier() {
    let at = start();
    let mut restore = Restore::new(at, 0, 10).unwrap();
    assert!(!restore.applied(3, 5));
    assert!(restore.report(at.now).is_none());
    let later = at.now + Duration::from_secs(1);
    let report = restore.report(later).unwrap();
    assert_eq!((report.records, report.bytes, report.remaining), (1, 5, 6));
    assert!(!restore.reached(7), "a replica that lags behind ends there");
    assert!(restore.clone().applied(9, 5));
    assert!(restore.reached(10));
}

#[test]
fn d7_a_copy_that_follows_stays_young_and_one_that_lags_gets_old() {
    let mut at = start();
    let mut copy = WarmCopy::new(at, 0, 10);
    for offset in 0..100 {
        at = later(at, 60);
        copy.applied(at, offset, 1, || Some(offset + 5));
        assert!(copy.age(at) < AGE_MAX, "{:?}", copy.age(at));
    }
    for offset in 100..120 {
        at = later(at, 60);
        copy.applied(at, offset, 1, || Some(1_000_000));
    }
    assert!(copy.age(at) > AGE_MAX, "its records come, and never the end");
}

#[test]
fn d7_a_copy_whose_changelog_is_silent_asks_for_its_end_and_gets_old_without() {
    let mut at = start();
    let mut copy = WarmCopy::new(at, 10, 10);
    let mut asked = 0;
    while copy.age(at) < AGE_MAX * 4 {
        if copy.asks_for_end(at, AGE_MAX) {
            asked += 1;
            if asked <= 10 {
                copy.reached_end(at, 10);
                assert_eq!(copy.age(at), Duration::ZERO);
            }
        }
        at = later(at, 10);
    }
    assert!((20..100).contains(&asked), "{asked} times");
}

#[test]
fn d7_a_suspended_machine_counts_by_its_wall_clock() {
    let at = start();
    let copy = WarmCopy::new(at, 0, 0);
    let woken = Moment { wall: at.wall + AGE_MAX * 2, ..at };
    assert!(copy.age(woken) > AGE_MAX);
    let rest = copy.take(woken, (0, 5));
    assert!(rest.age(woken) > AGE_MAX, "a store that becomes active is as old as its copy");
    let again = rest.again(woken).unwrap();
    assert_eq!((again.position(), again.age(woken)), (0, Duration::ZERO));
    assert_eq!(again.again(woken), None, "it would take as long as before");
}
