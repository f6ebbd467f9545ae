//! Properties of the Kafka clients: a wrong one fails in `start`, with its name.

use std::time::{Duration, Instant};

use crate::app::World;

/// The error of `start`, which comes before anything is asked of the broker.
fn refused(name: &str, value: &str) -> String {
    let world = World::new();
    let started = Instant::now();
    let error = world.words().property(name, value).start().map(drop);
    let error = error.expect_err("the source started with a property that is none").to_string();
    assert!(started.elapsed() < Duration::from_secs(5), "it took {:?}", started.elapsed());
    error
}

#[test]
fn an_unknown_property_fails_in_start_with_its_name() {
    let error = refused("fetch.max.bites", "1");
    assert!(error.contains("`fetch.max.bites`"), "{error}");
}

#[test]
fn a_value_that_a_property_can_not_have_fails_in_start() {
    for name in ["fetch.error.backoff.ms", "queue.buffering.max.kbytes", "socket.timeout.ms"] {
        let error = refused(name, "many");
        assert!(error.contains(name), "{error}");
    }
}

#[test]
fn properties_that_do_not_go_together_fail_in_start() {
    // Known to both clients, and refused by one when it is made.
    let error = refused("max.in.flight.requests.per.connection", "7");
    assert!(error.contains("max.in.flight"), "the producer: {error}");
    let error = refused("fetch.max.bytes", "600");
    assert!(error.contains("fetch.max.bytes"), "the consumer: {error}");
}

#[test]
fn the_value_of_a_wrong_property_is_not_printed() {
    let error = refused("sasl.pasword", "hunter2");
    assert!(error.contains("`sasl.pasword`") && !error.contains("hunter2"), "{error}");
}
