//! Committed offsets, and what their metadata lists.

use super::*;

const LIMIT: usize = 4_096;

fn delivered(offsets: impl IntoIterator<Item = i64>) -> Progress {
    let mut progress = Progress::new(&Snapshot::at(0));
    for offset in offsets {
        assert_eq!(progress.deliver(offset), Delivery::Run);
    }
    progress
}

fn done(offset: i64, done: impl IntoIterator<Item = i64>) -> Snapshot {
    Snapshot { done: done.into_iter().collect(), ..Snapshot::at(offset) }
}

#[test]
fn eos3_an_incomplete_event_holds_the_offset_back() {
    let mut progress = delivered(0..5);
    for offset in [0, 2, 3] {
        assert!(progress.complete(offset));
    }
    assert_eq!(progress.snapshot(), done(1, [2, 3]));
    assert!(progress.complete(1));
    assert_eq!(progress.snapshot(), Snapshot::at(4));
    assert!(!progress.complete(1), "once is enough");
}

#[test]
fn eos3_gaps_in_the_log_do_not_hold_it() {
    let mut progress = delivered([0, 7, 100]);
    for offset in [100, 0] {
        progress.complete(offset);
    }
    assert_eq!(progress.snapshot(), done(1, [100]));
    progress.complete(7);
    assert_eq!(progress.snapshot(), Snapshot::at(101));
}

#[test]
fn a_replay_skips_what_was_done_beyond_the_offset() {
    let mut progress = Progress::new(&done(1, [2, 4]));
    assert_eq!(progress.deliver(1), Delivery::Run);
    assert_eq!(progress.deliver(2), Delivery::AlreadyDone);
    assert_eq!(progress.deliver(2), Delivery::Stale);
    assert_eq!(progress.deliver(3), Delivery::Run);
    // 4 is not delivered again yet, and still committed as done.
    assert_eq!(progress.snapshot(), done(1, [2, 4]));
    progress.complete(1);
    assert_eq!(progress.snapshot(), done(3, [4]));
    assert_eq!(progress.deliver(4), Delivery::AlreadyDone);
    progress.complete(3);
    assert_eq!(progress.snapshot(), Snapshot::at(5));
    assert_eq!(progress.bytes, 0, "nothing is in flight");
}

#[test]
fn metadata_round_trips_as_runs() {
    let cases = [
        (vec![], "s1:#x.1"),
        (vec![11], "s1:.1#x.1"),
        (vec![12, 13, 14, 20, 60], "s1:.2-2,6,14#x.1"),
    ];
    for (events, text) in cases {
        let snapshot = done(10, events);
        assert_eq!(snapshot.metadata("x.1"), text);
        assert_eq!(Snapshot::parse(10, text), Ok(snapshot));
    }
}

#[test]
fn metadata_of_the_former_form_is_read() {
    let cases =
        [(vec![], "s1:#x.1"), (vec![11], "s1:1#x.1"), (vec![12, 13, 14, 20], "s1:2-4,10#x.1")];
    for (events, text) in cases {
        assert_eq!(Snapshot::parse(10, text), Ok(done(10, events)), "{text}");
    }
}

#[test]
fn d9_the_schedule_travels_in_the_metadata() {
    let mut snapshot = done(10, [12]);
    snapshot.schedule.set(ScheduleKey::new("orders::sweep", 0), 1_767_225_600_000);
    let text = snapshot.metadata("x.1");
    assert_eq!(text, "s1:.2#x.1@1h83i40=mjuohs00");
    assert_eq!(Snapshot::parse(10, &text), Ok(snapshot));
}

#[test]
fn eos3_an_event_next_to_the_offset_is_not_beyond_it_before_it_is_delivered_again() {
    let mut progress = Progress::new(&done(10, [11, 12, 14]));
    assert_eq!(progress.deliver(10), Delivery::Run);
    assert!(progress.complete(10));
    let committed = progress.snapshot();
    assert_eq!(committed, done(13, [14]));
    assert_eq!(Snapshot::parse(13, &committed.metadata("x.1")), Ok(committed));
    for offset in [11, 12] {
        assert_eq!(progress.deliver(offset), Delivery::Stale, "the fetch is behind");
    }
    assert_eq!(
        (progress.deliver(13), progress.deliver(14)),
        (Delivery::Run, Delivery::AlreadyDone)
    );
    assert!(progress.complete(13));
    assert_eq!((progress.snapshot(), progress.bytes), (Snapshot::at(15), 0));
    // What earlier versions committed in such a moment.
    let former = Snapshot::parse(11, "s1:.0-1#x.1").unwrap();
    assert_eq!(former, done(11, [11, 12]));
    let mut progress = Progress::new(&former);
    assert_eq!(progress.deliver(11), Delivery::AlreadyDone);
    assert_eq!(progress.snapshot(), Snapshot::at(13));
}

#[test]
fn foreign_metadata_means_nothing_and_broken_metadata_is_an_error() {
    assert_eq!(Snapshot::parse(5, "node-7 at 12:00"), Ok(Snapshot::at(5)));
    let former = ["s1:,", "s1:x", "s1:0", "s1:3-2", "s1:4,3", "s1:-1", "s1:1-99999999999"];
    let todays = ["s1:.", "s1:.,", "s1:.1,0", "s1:.!", "s1:.1--1", "s1:.-1", "s1:.1#t@x"];
    for broken in former.into_iter().chain(todays) {
        assert!(Snapshot::parse(5, broken).is_err(), "{broken}");
    }
}

#[test]
fn u10_foreign_metadata_does_not_expand_without_bound() {
    let runs =
        (0..400_i64).map(|n| format!("{}-{}", n * 10_000_000 + 1, n * 10_000_000 + 9_999_999));
    let cases = [
        "s1:1-9999999".to_owned(),
        format!("s1:{}", runs.collect::<Vec<_>>().join(",")),
        "s1:.1-1zzzz".to_owned(),
        "s1:.1-zzzzzzzzzzzzzzzzzzzzzz".to_owned(),
        format!("s1:{}", i64::MAX),
        format!("s1:{}-{}", i64::MAX / 2 - 3, i64::MAX / 2 - 1),
    ];
    for text in cases {
        let error = Snapshot::parse(i64::MAX - 10, &text).unwrap_err();
        assert!(error.len() < 300, "{error}");
    }
    let error = Snapshot::parse(5, "s1:1-9999999").unwrap_err();
    assert!(error.contains("`1-9999999` lists more events"), "{error}");
    let most = format!("s1:1-{DONE_EVENTS_MAX}");
    assert_eq!(Snapshot::parse(5, &most).unwrap().done.len(), 100_000);
}

/// The first event is incomplete, all others are done.
fn longest(distance: i64) -> (usize, usize) {
    let mut progress = Progress::new(&Snapshot::at(7));
    let mut offset = 7;
    while progress.window(IN_FLIGHT_EVENTS_MAX, LIMIT) != Window::Full {
        assert_eq!(progress.deliver(offset), Delivery::Run);
        offset += distance;
    }
    let events = progress.in_flight();
    for place in 1..events {
        assert!(progress.complete(7 + distance * i64::try_from(place).unwrap()));
    }
    let tag = "f".repeat(TAG_BYTES_MAX);
    let text = progress.snapshot().metadata(&tag);
    assert_eq!(Snapshot::parse(7, &text), Ok(progress.snapshot()));
    assert!(progress.complete(7));
    assert_eq!((progress.window(IN_FLIGHT_EVENTS_MAX, LIMIT), progress.bytes), (Window::Wide, 0));
    (events, text.len())
}

#[test]
fn c4_offset_metadata_stays_below_the_limit_whatever_the_gaps() {
    let cases =
        [(1, 1_000), (2, 1_000), (36, 1_000), (1_000, 1_000), (10_000_000, 670), (1 << 50, 366)];
    for (distance, expected) in cases {
        let (events, bytes) = longest(distance);
        assert_eq!(events, expected, "at a distance of {distance}");
        assert!(bytes <= LIMIT, "{bytes} at a distance of {distance}");
    }
}

/// At random: which events there are, which of them are done, and when the partition moves.
#[test]
fn c4_the_metadata_never_exceeds_what_was_reserved() {
    let tag = "f".repeat(TAG_BYTES_MAX);
    for seed in 1..=300_u64 {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut below = |bound: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % bound
        };
        let limit = 100 + usize::try_from(below(400)).unwrap();
        let spread = 1 + below(100_000);
        let mut log = vec![];
        let mut offset = 0;
        for _ in 0..500 {
            offset += 1 + i64::try_from(below(spread)).unwrap();
            log.push(offset);
        }
        let mut progress = Progress::new(&Snapshot::at(0));
        let mut incomplete: Vec<i64> = vec![];
        let mut position = 0;
        for _ in 0..2_000 {
            let which = usize::try_from(below(incomplete.len().max(1) as u64)).unwrap();
            match below(20) {
                0 => {
                    let committed = progress.snapshot();
                    let text = committed.metadata(&tag);
                    progress = Progress::new(&Snapshot::parse(committed.offset, &text).unwrap());
                    incomplete.clear();
                    position = log.partition_point(|offset| *offset < committed.offset);
                }
                1..=9 if !incomplete.is_empty() => {
                    assert!(progress.complete(incomplete.swap_remove(which)));
                }
                _ if progress.window(IN_FLIGHT_EVENTS_MAX, limit) == Window::Full => {}
                _ => {
                    let Some(offset) = log.get(position) else { continue };
                    position += 1;
                    if progress.deliver(*offset) == Delivery::Run {
                        incomplete.push(*offset);
                    }
                }
            }
            let text = progress.snapshot().metadata(&tag);
            assert!(text.len() <= FRAME_BYTES_MAX + progress.bytes, "seed {seed}: {text}");
            assert!(text.len() <= limit.max(FRAME_BYTES_MAX), "seed {seed}: {}", text.len());
        }
    }
}

#[test]
fn the_changelogs_tag_is_found_behind_the_transactions() {
    let key = ScheduleKey::new("sweep", 0);
    for has_schedule in [false, true] {
        let mut snapshot = done(10, [11]);
        if has_schedule {
            snapshot.schedule.set(key, 1_767_225_600_000);
        }
        let metadata = snapshot.metadata("5eed.0.7~c0ffee00");
        assert_eq!(Snapshot::parse(10, &metadata), Ok(snapshot));
        assert_eq!(changelog_tag(&metadata), Some("c0ffee00"), "{metadata}");
    }
    for other in ["s1:1#5eed.0.7", "s1:.1#5eed.0.7@k=1~2", "node#7~12:00", ""] {
        assert_eq!(changelog_tag(other), None, "{other}");
        assert_eq!(is_ours(other), other.starts_with("s1"), "{other}");
    }
}
