//! Transactional ids: no two groups share one, and a take-over touches no stranger's.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use streams_broker::{ApiKey, Fault, FaultKind};
use streams_core::EventSource;
use streams_core::client::wire::{Admin, Endpoint};

use crate::app::{PATIENCE, World, block_on, end, words};

/// A transactional producer of another application, with a record in an open transaction.
fn open_transaction(world: &World, transactional_id: &str, topic: &str) -> BaseProducer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", world.broker.bootstrap());
    let producer: BaseProducer = config.set("transactional.id", transactional_id).create().unwrap();
    producer.init_transactions(PATIENCE).unwrap();
    producer.begin_transaction().unwrap();
    producer.send(BaseRecord::<str, str>::to(topic).payload("a stranger's")).unwrap();
    producer.flush(PATIENCE).unwrap();
    producer
}

#[test]
fn c6_two_groups_whose_names_run_together_do_not_fence_each_other() {
    let world = World::new();
    let source = |group: &str, instance: &str| {
        let builder = world.words().group(group).instance(instance).changelog(group);
        let builder = builder.session_timeout(Duration::from_secs(1));
        builder.heartbeat_interval(Duration::from_millis(100)).start().unwrap()
    };
    let first = source("orders", "eu-1");
    assert!(first.wait_for_active(1, PATIENCE));
    let second = source("orders-eu", "1");
    assert!(second.wait_for_active(1, PATIENCE));
    for round in 1..=4 {
        world.say(&["a"]);
        world.outputs(2 * round);
        // Longer than a session together: by then a fence would have stopped one of them.
        std::thread::sleep(Duration::from_millis(400));
    }
    assert_eq!(world.outputs(8).len(), 8);
    end(first);
    end(second);
}

#[test]
fn c7_a_stranger_whose_id_begins_with_the_group_keeps_its_transaction() {
    let world = World::new();
    world.broker.create_topic("z", 1).unwrap();
    let stranger = open_transaction(&world, "g-tx-0", "z");
    let source = world.words().start().unwrap();
    assert!(source.wait_for_active(1, PATIENCE));
    // The take-over runs beside the start.
    std::thread::sleep(Duration::from_millis(500));
    stranger.commit_transaction(PATIENCE).expect("the stranger's commit");
    end(source);
}

/// The transaction of a crashed member.
fn left_by_a_crashed_member(world: &World, instance: &str) -> BaseProducer {
    open_transaction(world, &format!("g~streams~{instance}~0"), "output")
}

#[test]
fn u2_one_refused_id_does_not_end_the_look_for_the_others() {
    let world = World::new();
    let left = ["pod-7", "pod-8"].map(|instance| left_by_a_crashed_member(&world, instance));
    let refused = FaultKind::Error(53);
    world.broker.inject(Fault {
        api: ApiKey::DescribeTransactions,
        skip: 0,
        times: 1,
        kind: refused,
    });
    let source = world.words().start().unwrap();
    assert!(source.wait_for_active(1, PATIENCE));
    std::thread::sleep(Duration::from_secs(1));
    // One look describes both ids, and one of them is refused.
    let aborted = left.iter().filter(|left| left.commit_transaction(PATIENCE).is_err()).count();
    assert!(aborted >= 1, "the look ended with the id that was refused");
    end(source);
}

#[test]
fn u2_an_open_transaction_of_a_crashed_member_with_a_dash_in_its_name_is_aborted() {
    let world = World::new();
    let left = left_by_a_crashed_member(&world, "pod-7");
    let source = world.echo().start().unwrap();
    assert!(source.wait_for_active(1, PATIENCE));
    std::thread::sleep(Duration::from_millis(500));
    left.commit_transaction(PATIENCE).expect_err("it is aborted");
    end(source);
}

#[test]
fn an_instance_that_kafka_refuses_is_refused_with_its_name() {
    let world = World::new();
    for name in ["a~b", "", "a b", ".."] {
        let error = world.words().instance(name).start().unwrap_err().to_string();
        assert!(error.contains(&format!("`instance` is `{name}`")), "{error}");
    }
}

/// A source without an instance's name runs once. Returns the name that its member has.
fn unnamed_run(world: &World) -> String {
    let builder = words::Source::builder().bootstrap(world.broker.bootstrap()).group("g");
    let source = builder.topic("input").start().unwrap();
    assert!(source.wait_for_active(1, PATIENCE));
    let mut admin = Admin::new(&Endpoint::plaintext(&world.broker.bootstrap()));
    let members = block_on(admin.group_members("g")).unwrap();
    end(source);
    members[0].client_id.clone()
}

#[test]
fn u7_restarts_without_an_instance_use_the_same_transactional_ids() {
    let world = World::new();
    // The name that other members know is the one in the transactional ids.
    let names = [(); 3].map(|()| unnamed_run(&world));
    assert!(names.iter().all(|name| *name == names[0]), "each start has new ids: {names:?}");
}
