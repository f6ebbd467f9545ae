//! Histories of one reader's positions.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::positions::{Fetch, Missed, OutOfRange, Patience, Positions, Verdict};
use crate::error::{ACCESS_REFUSED_MAX, Cause};

fn ends(ends: &[i64]) -> BTreeMap<i32, i64> {
    (0..).zip(ends.iter().copied()).collect()
}

/// Two partitions of five records each.
fn reader() -> Positions {
    let mut positions = Positions::new(Instant::now(), None);
    assert_eq!(positions.add(0, 0, 5), Some(Fetch::Begin { partition: 0, offset: 0 }));
    assert_eq!(positions.add(1, 0, 5), Some(Fetch::Begin { partition: 1, offset: 0 }));
    positions
}

fn read(positions: &mut Positions, partition: i32, offsets: std::ops::Range<i64>) {
    for offset in offsets {
        assert!(positions.take_record(partition, offset), "{partition}@{offset} was dropped");
    }
}

#[test]
fn a_reader_has_caught_up_once_it_has_reached_each_end_of_the_start() {
    let mut positions = reader();
    read(&mut positions, 0, 0..5);
    assert!(!positions.is_caught_up(), "partition 1 has five more");
    read(&mut positions, 1, 0..4);
    assert!(!positions.is_caught_up());
    read(&mut positions, 1, 4..5);
    assert!(positions.is_caught_up());
    positions.checked(Instant::now(), &ends(&[9, 5]));
    assert!(positions.is_caught_up(), "new records do not end that");
    assert_eq!(positions.lags(), ends(&[4, 0]));
}

#[test]
fn a_marker_at_the_end_is_no_record_and_the_end_counts() {
    let mut positions = reader();
    read(&mut positions, 0, 0..5);
    read(&mut positions, 1, 0..4);
    positions.end_reached(1, 5);
    assert!(positions.is_caught_up());
}

#[test]
fn compaction_leaves_gaps() {
    let mut positions = reader();
    assert!(positions.take_record(0, 3));
    assert!(!positions.take_record(0, 2), "behind the position");
    assert_eq!(positions.nexts(), ends(&[4, 0]));
}

#[test]
fn an_empty_topic_is_caught_up_at_once() {
    let mut positions = Positions::new(Instant::now(), None);
    positions.add(0, 0, 0);
    assert!(positions.is_caught_up());
    assert_eq!(positions.whole_at(), None);
    let now = Instant::now();
    positions.checked(now, &ends(&[0]));
    assert_eq!(positions.whole_at(), Some(now));
}

#[test]
fn a_reader_is_as_old_as_the_last_look_up_whose_ends_it_has_reached() {
    let mut positions = reader();
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    positions.checked(at(1), &ends(&[5, 5]));
    assert_eq!(positions.whole_at(), None);
    // Under a constant load: each look-up finds more.
    read(&mut positions, 0, 0..5);
    positions.checked(at(2), &ends(&[9, 5]));
    read(&mut positions, 1, 0..5);
    positions.settle(Instant::now());
    assert_eq!(positions.whole_at(), Some(at(1)), "the first one's ends, and no later ones'");
    positions.checked(at(3), &ends(&[9, 5]));
    assert_eq!(positions.whole_at(), Some(at(1)));
    read(&mut positions, 0, 5..9);
    positions.settle(Instant::now());
    assert_eq!(positions.whole_at(), Some(at(3)));
}

#[test]
fn a_paused_partition_receives_nothing_and_resumes_where_it_was() {
    let mut positions = reader();
    read(&mut positions, 0, 0..2);
    assert_eq!(positions.pause(0), Some(Fetch::End { partition: 0 }));
    assert_eq!(positions.pause(0), None, "it is paused");
    assert!(!positions.take_record(0, 2), "it was on its way");
    positions.end_reached(0, 5);
    assert_eq!(positions.nexts(), ends(&[2, 0]), "the end was on its way too");
    assert_eq!(positions.paused(), [0]);
    assert_eq!(positions.resume(0), Some(Fetch::Begin { partition: 0, offset: 2 }));
    assert_eq!(positions.resume(0), None);
    read(&mut positions, 0, 2..5);
}

#[test]
fn a_paused_partition_makes_the_reader_older() {
    let mut positions = reader();
    read(&mut positions, 0, 0..5);
    read(&mut positions, 1, 0..5);
    let start = Instant::now();
    positions.checked(start, &ends(&[5, 5]));
    positions.pause(0);
    positions.checked(start + Duration::from_secs(1), &ends(&[6, 5]));
    positions.settle(Instant::now());
    assert_eq!(positions.whole_at(), Some(start));
}

#[test]
fn a_partition_resumes_at_an_offset_and_catches_up_again() {
    let mut positions = reader();
    read(&mut positions, 0, 0..5);
    read(&mut positions, 1, 0..5);
    assert_eq!(positions.resume_at(0, 1), Some(Fetch::Begin { partition: 0, offset: 1 }));
    assert!(!positions.is_caught_up());
    positions.checked(Instant::now(), &ends(&[5, 5]));
    assert_eq!(positions.whole_at(), None, "1 to 4 are missing");
    read(&mut positions, 0, 1..5);
    positions.settle(Instant::now());
    assert!(positions.is_caught_up());
    assert!(positions.whole_at().is_some());
    assert_eq!(positions.resume_at(7, 0), None, "there is no such partition");
}

#[test]
fn partitions_that_are_added_while_all_are_paused_are_paused_too() {
    let mut positions = reader();
    positions.pause(1);
    let ended = positions.pause_all();
    assert_eq!(ended, [Fetch::End { partition: 0 }]);
    assert_eq!(positions.add(2, 0, 1), None);
    assert_eq!(positions.count(), 3);
    let begun: Vec<Fetch> = positions.resume_all();
    assert_eq!(begun.len(), 3);
    assert_eq!(positions.add(3, 0, 1), Some(Fetch::Begin { partition: 3, offset: 0 }));
}

#[test]
fn a_failed_fetch_is_judged_by_the_log() {
    let mut positions = reader();
    read(&mut positions, 0, 0..2);
    assert!(positions.fetch_failed(Some(0), "OFFSET_OUT_OF_RANGE"));
    assert!(!positions.fetch_failed(Some(9), "UNKNOWN_PARTITION"));
    assert!(positions.has_failed());
    let out = OutOfRange { partition: 0, position: 2, low: 3, high: 5 };
    assert_eq!(positions.judge(&ends(&[3, 0]), &ends(&[5, 5])), [Verdict::OutOfRange(out)]);
    assert!(!positions.has_failed());
    assert_eq!(positions.skip_to(0, 3), Some(Fetch::Begin { partition: 0, offset: 3 }));
    // The topic was created again, or an unclean election has cut the log.
    positions.fetch_failed(Some(0), "OFFSET_OUT_OF_RANGE");
    let out = OutOfRange { partition: 0, position: 3, low: 0, high: 1 };
    assert_eq!(positions.judge(&ends(&[0, 0]), &ends(&[1, 5])), [Verdict::OutOfRange(out)]);
}

#[test]
fn a_fetch_that_fails_for_no_reason_is_tried_again_a_few_times() {
    let mut positions = reader();
    for _ in 0..10 {
        positions.fetch_failed(Some(1), "UNKNOWN_TOPIC_OR_PARTITION");
        let verdicts = positions.judge(&ends(&[0, 0]), &ends(&[5, 5]));
        assert_eq!(verdicts, [Verdict::Again(Fetch::Begin { partition: 1, offset: 0 })]);
    }
    positions.fetch_failed(None, "UNKNOWN_TOPIC_OR_PARTITION");
    let verdicts = positions.judge(&ends(&[0, 0]), &ends(&[5, 5]));
    let reason = "UNKNOWN_TOPIC_OR_PARTITION".to_owned();
    let again = Verdict::Again(Fetch::Begin { partition: 0, offset: 0 });
    assert_eq!(verdicts, [again, Verdict::Failed(reason)]);
}

#[test]
fn an_outage_is_waited_out_and_refused_credentials_for_a_minute() {
    let (mut patience, start) = (Patience::default(), Instant::now());
    let at = |seconds| start + Duration::from_secs(seconds);
    let waits: Vec<u128> = (0..9)
        .map(|hour| patience.failed(at(hour * 3_600), Cause::Outage).expect("again").as_millis())
        .collect();
    assert_eq!(waits, [50, 100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
    assert!(patience.succeeded(), "the outage is over");
    assert!(!patience.succeeded());
    assert!(patience.failed(at(0), Cause::Access).is_some());
    assert!(patience.failed(at(0) + ACCESS_REFUSED_MAX, Cause::Access).is_none());
    assert!(Patience::default().failed(start, Cause::Transaction).is_none());
}

#[test]
fn a_topic_is_gone_when_no_broker_knows_it_for_ten_seconds() {
    let (mut patience, start) = (Patience::default(), Instant::now());
    assert!(patience.missing(start).is_some());
    assert!(patience.missing(start + Duration::from_secs(9)).is_some());
    assert!(patience.missing(start + Duration::from_secs(10)).is_none());
}

#[test]
fn a_reader_that_was_behind_for_too_long_may_have_missed_tombstones_and_begins_again() {
    let (start, max) = (Instant::now(), Duration::from_secs(10));
    let at = |seconds| start + Duration::from_secs(seconds);
    let mut positions = Positions::new(start, Some(max));
    positions.add(0, 2, 5);
    positions.checked(start, &ends(&[5]));
    read(&mut positions, 0, 2..5);
    positions.settle(at(1));
    assert_eq!((positions.missed(), positions.whole_at()), (Missed::Nothing, Some(start)));
    positions.pause(0);
    positions.checked(at(9), &ends(&[7]));
    positions.resume(0);
    read(&mut positions, 0, 5..7);
    positions.settle(at(10));
    assert_eq!(positions.missed(), Missed::Nothing, "within the time");
    positions.checked(at(11), &ends(&[8]));
    read(&mut positions, 0, 7..8);
    positions.settle(at(20));
    assert_eq!(positions.missed(), Missed::BeginAgain, "since 9");
    assert_eq!(positions.whole_at(), Some(at(9)), "it may have a row that is gone");
    let begun = positions.begin_again(at(21), &ends(&[2]));
    assert_eq!(begun, [Fetch::Begin { partition: 0, offset: 2 }]);
    assert!(!positions.is_caught_up());
    assert_eq!(positions.missed(), Missed::Nothing);
    read(&mut positions, 0, 2..8);
    positions.checked(at(25), &ends(&[8]));
    assert_eq!((positions.missed(), positions.whole_at()), (Missed::Nothing, Some(at(25))));
    assert!(positions.is_caught_up());
    // The next time that it is behind it may begin again.
    positions.checked(at(50), &ends(&[8]));
    assert_eq!(positions.missed(), Missed::BeginAgain);
}

#[test]
fn a_reader_that_begins_again_and_is_too_slow_once_more_gives_up() {
    let (start, max) = (Instant::now(), Duration::from_secs(10));
    let at = |seconds| start + Duration::from_secs(seconds);
    let mut positions = Positions::new(start, Some(max));
    positions.add(0, 0, 1);
    read(&mut positions, 0, 0..1);
    positions.checked(at(11), &ends(&[1]));
    assert_eq!(positions.missed(), Missed::BeginAgain, "the first restore took too long");
    positions.begin_again(at(12), &ends(&[0]));
    read(&mut positions, 0, 0..1);
    positions.checked(at(23), &ends(&[1]));
    assert_eq!(positions.missed(), Missed::TooSlow(max));
    positions.ignore_missed();
    assert_eq!((positions.missed(), positions.whole_at()), (Missed::Nothing, Some(at(23))));
}

#[test]
fn a_paused_partition_begins_again_when_it_resumes() {
    let mut positions = Positions::new(Instant::now(), Some(Duration::from_secs(10)));
    positions.add(0, 0, 5);
    read(&mut positions, 0, 0..5);
    positions.pause(0);
    assert_eq!(positions.begin_again(Instant::now(), &ends(&[0])), []);
    assert_eq!(positions.resume(0), Some(Fetch::Begin { partition: 0, offset: 0 }));
}
