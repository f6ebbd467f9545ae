//! Settings of the topics that a source creates.

use crate::app::{CHANGELOG, World, end};

#[test]
fn the_replication_factor_goes_to_the_topics_that_are_created() {
    let world = World::new();
    let error = world.words().replication_factor(3).start().unwrap_err().to_string();
    assert!(error.contains("creating topic `changes`"), "{error}");
    assert!(error.contains("INVALID_REPLICATION_FACTOR"), "{error}");
    end(world.words().replication_factor(1).start().unwrap());
}

#[test]
fn a_topic_config_goes_to_the_topics_that_are_created() {
    let world = World::new();
    let builder = world.words().output("made").topic_config("segment.ms", "123456");
    end(builder.start().unwrap());
    for topic in [CHANGELOG, "made"] {
        assert_eq!(world.config(topic, "segment.ms"), "123456", "{topic}");
    }
    assert_ne!(world.config("input", "segment.ms"), "123456", "the topic existed");
    assert_eq!(world.config(CHANGELOG, "cleanup.policy"), "compact");
    assert_eq!(world.config("made", "cleanup.policy"), "delete");
}

#[test]
fn a_topic_config_that_is_none_is_refused_with_its_name() {
    let world = World::new();
    let builder = world.words().topic_config("segment.mss", "1");
    let error = builder.start().unwrap_err().to_string();
    assert!(error.contains("segment.mss"), "{error}");
}
