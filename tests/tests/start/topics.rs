//! The topics of a source: what is missing or unsuitable is an error that names it.

use std::time::{Duration, Instant};

use streams_core::{ChangelogMissing, CreateTopics, OnUndecodable, SourceError};

use crate::app::{CHANGELOG, PATIENCE, World, end, failure};

#[test]
fn d3_a_changelog_that_is_deleted_by_age_is_refused() {
    for policy in ["delete", "compact,delete"] {
        let world = World::new();
        world.create_topic(CHANGELOG, 1, policy);
        let error = failure(world.words());
        assert!(error.contains("`changes`") && error.contains("cleanup.policy"), "{error}");
        assert!(error.contains(&format!("`{policy}`")), "{error}");
    }
}

/// A group that has counted `a` twice.
fn counted() -> World {
    let world = World::new();
    world.say(&["a", "a"]);
    let source = world.words().start().unwrap();
    assert_eq!(world.outputs(2), ["a=1", "a=2"]);
    end(source);
    world
}

#[test]
fn d3_a_deleted_changelog_is_not_created_anew_in_silence() {
    let world = counted();
    world.delete_topic(CHANGELOG);
    world.say(&["a"]);
    let error = failure(world.words());
    assert!(error.contains("the changelog `changes` does not exist"), "{error}");
    assert!(error.contains("group `g` has committed offsets"), "{error}");
}

#[test]
fn d3_a_group_of_another_client_gets_a_changelog() {
    let world = World::new();
    world.say(&["a", "b"]);
    world.commit(1, "node-7");
    let source = world.words().start().unwrap();
    assert_eq!(world.outputs(1), ["b=1"]);
    end(source);
    end(world.words().start().unwrap());
}

#[test]
fn d3_a_misspelt_changelog_is_not_created() {
    let world = counted();
    world.say(&["a"]);
    let error = failure(world.words().changelog("chnages"));
    assert!(error.contains("the changelog `chnages` does not exist"), "{error}");
}

#[test]
fn d3_a_changelog_that_was_created_anew_is_refused() {
    let world = counted();
    world.delete_topic(CHANGELOG);
    world.create_topic(CHANGELOG, 1, "compact");
    world.say(&["a"]);
    let error = failure(world.words());
    assert!(error.contains("the changelog `changes` is not the topic"), "{error}");
}

#[test]
fn d3_an_accepted_loss_of_the_changelog_continues_from_the_offsets() {
    let world = counted();
    world.delete_topic(CHANGELOG);
    world.say(&["a"]);
    let source = world.words().changelog_missing(ChangelogMissing::Accept).start().unwrap();
    assert!(source.wait_for_active(1, PATIENCE));
    assert_eq!(world.outputs(3), ["a=1", "a=2", "a=1"], "the third event, with an empty store");
    end(source);
    // Accepted once: the offsets belong to the new topic now.
    let source = world.words().start().unwrap();
    world.say(&["a"]);
    assert_eq!(world.outputs(4)[3], "a=2");
    end(source);
}

#[test]
fn d3_a_changelog_created_anew_is_accepted_before_an_event_comes() {
    let world = counted();
    world.delete_topic(CHANGELOG);
    world.create_topic(CHANGELOG, 1, "compact");
    let source = world.words().changelog_missing(ChangelogMissing::Accept).start().unwrap();
    assert!(source.wait_for_active(1, PATIENCE));
    end(source);
    end(world.words().start().unwrap());
}

#[test]
fn one_error_lists_all_topics_that_are_missing_or_unsuitable() {
    let world = World::new();
    world.create_topic(CHANGELOG, 2, "delete");
    let builder = world.words().create_topics(CreateTopics::Never).output("out-1").output("output");
    let dead = OnUndecodable::DeadLetter("dead".to_owned());
    let error = builder.output("out-2").partitions(3).on_undecodable(dead).start().unwrap_err();
    let SourceError::Topics(problems) = &error else { panic!("{error}") };
    assert_eq!(problems.len(), 6, "{error}");
    let text = error.to_string();
    for says in [
        "topic `input` has 1 partitions, and the application asks for 3",
        "topic `input` has 1 partitions, and its changelog `changes` has 2",
        "the changelog `changes` has the `cleanup.policy` `delete`",
        "the output topic `out-1` does not exist: create it with 1 partitions",
        "the output topic `out-2` does not exist",
        "the output topic `dead` does not exist",
    ] {
        assert!(text.contains(says), "{says}: {text}");
    }
}

#[test]
fn a_source_that_may_create_no_topic_creates_none() {
    let world = World::new();
    let builder = || world.words().topic("in").create_topics(CreateTopics::Never);
    let text = builder().start().unwrap_err().to_string();
    assert!(text.contains("the source topic `in` does not exist: create it, or let"), "{text}");
    let says = "the changelog `changes` does not exist: create it with cleanup.policy=compact,";
    assert!(text.contains(says), "{text}");
    world.create_topic("in", 2, "delete");
    let text = builder().start().unwrap_err().to_string();
    let says = "`changes` does not exist: create it with 2 partitions and cleanup.policy=compact,";
    assert!(text.contains(says), "{text}");
    world.create_topic(CHANGELOG, 2, "compact");
    end(builder().start().unwrap());
}

#[test]
fn a_source_is_created_and_deleted_apart_from_its_start() {
    let world = World::new();
    let words = || world.words().group("apart").topic("apart").changelog("log").partitions(3);
    let topics = words().create().unwrap();
    assert_eq!((topics.topic.as_str(), topics.changelog.as_str()), ("apart", "log"));
    assert_eq!((topics.group.as_str(), topics.partitions), ("apart", Some(3)));
    assert_eq!(words().create().unwrap(), topics, "what exists is checked");

    let source = words().create_topics(CreateTopics::Never).start().unwrap();
    let deadline = Instant::now() + PATIENCE;
    while source.active_partitions().len() < 3 {
        assert!(Instant::now() < deadline, "the source owns {:?}", source.active_partitions());
        std::thread::sleep(Duration::from_millis(5));
    }
    let error = words().delete().unwrap_err().to_string();
    assert!(error.contains("deleting group `apart`"), "{error}");
    assert!(error.contains("NON_EMPTY_GROUP"), "{error}");
    end(source);

    assert_eq!(words().delete().unwrap(), ["apart", "apart", "log"], "the group, and two topics");
    assert_eq!(words().delete().unwrap(), Vec::<String>::new());
    let error = failure(words().create_topics(CreateTopics::Never));
    assert!(error.contains("`apart`") && error.contains("`log`"), "{error}");
}
