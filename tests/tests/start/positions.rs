//! Where a partition starts: committed at once, and never decided anew in silence.

use std::time::Duration;

use streams_core::{OffsetsMissing, SourceError, StartFrom};

use crate::app::{PATIENCE, World, end, failure};

#[test]
fn d4_a_record_that_comes_after_the_start_is_not_lost_by_a_restart() {
    let world = World::new();
    world.say(&["before"]);
    let source = world.words().start_from(StartFrom::Latest).start().unwrap();
    assert!(source.wait_for_active(1, PATIENCE));
    end(source);
    world.say(&["after"]);
    let source = world.words().start_from(StartFrom::Latest).start().unwrap();
    assert!(source.wait_for_active(1, PATIENCE));
    world.say(&["later"]);
    assert_eq!(world.outputs(2), ["after=1", "later=1"]);
    end(source);
}

#[test]
fn d4_an_active_partition_has_a_committed_offset() {
    let world = World::new();
    world.say(&["before", "before"]);
    let source = world.words().start_from(StartFrom::Latest).start().unwrap();
    assert!(source.wait_for_active(1, PATIENCE));
    // As kill -9: nothing is finished.
    source.stop_now();
    assert_eq!(world.committed(), rdkafka::Offset::Offset(2));
}

#[test]
fn latest_leaves_out_what_was_there_and_earliest_does_not() {
    let world = World::new();
    world.say(&["a", "b"]);
    let source = world.echo().start_from(StartFrom::Latest).start().unwrap();
    assert!(source.wait_for_active(1, PATIENCE));
    world.say(&["c"]);
    assert_eq!(world.outputs(1), ["c"]);
    end(source);
    let other = world.echo().group("h").changelog("h").start().unwrap();
    assert_eq!(world.outputs(4), ["c", "a", "b", "c"]);
    end(other);
}

#[test]
fn d8_expired_offsets_of_a_source_without_state_are_an_error() {
    let world = World::new();
    world.say(&["a", "b", "c"]);
    let source = world.echo().start().unwrap();
    assert_eq!(world.outputs(3), ["a", "b", "c"]);
    end(source);
    world.expire_offsets();
    let error = failure(world.echo());
    let says = "the changelog of input-0 shows that the partition was processed, but group `g` has \
                no committed offset for it: the offset expired or the group was deleted";
    assert!(error.contains(says), "{error}");
    assert_eq!(world.outputs(3).len(), 3);
}

#[test]
fn expired_offsets_of_a_source_with_state_are_an_error() {
    let world = World::new();
    world.say(&["a", "b", "c"]);
    let source = world.words().start().unwrap();
    assert_eq!(world.outputs(3).len(), 3);
    end(source);
    world.expire_offsets();
    let source = world.words().start().unwrap();
    let error = source.wait().expect_err("it stops");
    assert!(matches!(error, SourceError::OffsetMissing { .. }), "{error}");
    let text = error.to_string();
    let says = "the changelog of input-0 has 3 records, but group `g` has no committed offset for";
    assert!(text.contains(says), "{text}");
    assert_eq!(world.outputs(3).len(), 3);
}

#[test]
fn an_offset_outside_of_the_log_is_an_error() {
    let world = World::new();
    world.say(&["a", "b"]);
    world.commit(7, "");
    let error = failure(world.words());
    let says = "group `g` committed offset 7 for input-0, but the log holds offsets 0 to 2";
    assert!(error.contains(says), "{error}");
    assert!(error.contains("kafka-consumer-groups.sh --reset-offsets"), "{error}");
}

#[test]
fn offsets_of_an_earlier_version_are_accepted() {
    let world = World::new();
    world.say(&["a", "b", "c"]);
    world.create_topic("changes", 1, "compact");
    world.commit(1, "s1:1#5eed.0.7");
    let source = world.echo().start().unwrap();
    assert_eq!(world.outputs(1), ["b"], "the event at 2 is done");
    world.await_committed(3);
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(world.outputs(1).len(), 1);
    end(source);
}

#[test]
fn d8_a_source_starts_over_without_offsets_if_the_user_has_chosen_so() {
    let world = World::new();
    world.say(&["a", "b"]);
    let source = world.echo().start().unwrap();
    assert_eq!(world.outputs(2), ["a", "b"]);
    end(source);
    world.expire_offsets();
    let again = world.echo().offsets_missing(OffsetsMissing::StartFrom).start().unwrap();
    assert_eq!(world.outputs(4), ["a", "b", "a", "b"]);
    end(again);
    world.expire_offsets();
    let builder = world.echo().offsets_missing(OffsetsMissing::StartFrom);
    let latest = builder.start_from(StartFrom::Latest).start().unwrap();
    assert!(latest.wait_for_active(1, PATIENCE));
    world.say(&["c"]);
    assert_eq!(world.outputs(5)[4], "c");
    end(latest);
}

#[test]
fn a_committed_offset_names_the_changelog_that_it_belongs_to() {
    let world = World::new();
    let source = world.words().start().unwrap();
    assert!(source.wait_for_active(1, PATIENCE));
    let first = world.metadata();
    let (_, tag) = first.rsplit_once('~').unwrap();
    world.say(&["a"]);
    world.await_committed(1);
    assert!(world.metadata().ends_with(tag), "{first} and {}", world.metadata());
    end(source);
}
