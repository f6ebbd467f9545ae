//! Partitioners under `forward`, producers without a broker, and batch producers under virtual
//! time.

use streams_core::prelude::*;
use streams_core::producer::{BatchProducer, ProduceError, Producer};
use streams_core::record::{Manual, Partitioner, ProducerRecord, RoundRobin, partition_for_key};
use streams_core::testing::{ContextBuilder, MockProducer, TestDriver, context};

#[derive(Events)]
enum Order {
    Turn(i64),
    Count(i64),
    Manual(i64),
    Undeclared(i64),
    Batch(i64),
}

#[derive(Debug)]
struct Wrong;

impl Partitioner for Wrong {
    fn partition(&self, _: &str, _: Option<&[u8]>, partitions: i32) -> i32 {
        partitions
    }
}

static TURNS: RoundRobin = RoundRobin::new();
static IN_TURN: Topic<Order> = Topic::new("in-turn").partitioner(&TURNS);
static MANUAL: Topic<Order> = Topic::new("manual").partitioner(&Manual);
static WRONG: Topic<Order> = Topic::new("wrong").partitioner(&Wrong);
static BY_KEY: Topic<Order> = Topic::new("by-key");

#[derive(StateStore)]
struct Results {
    results: Table<String, String>,
}

struct App {
    other: BatchProducer<Results>,
}

#[event_source(events = Order, store = Results, shared = App)]
mod orders {
    use super::*;

    #[event_handler("Turn")]
    fn turn(ctx: &mut EventContext<Results>, _: &App, n: i64) -> Result<ExecutionState> {
        ctx.forward(&IN_TURN, "key", Order::Turn(n))?;
        Ok(Complete)
    }

    #[event_handler("Count")]
    fn count(ctx: &mut EventContext<Results>, _: &App, n: i64) -> Result<ExecutionState> {
        let last = ctx.partitions_of(&BY_KEY)? - 1;
        ctx.forward_to_partition(&BY_KEY, last, "key", Order::Count(n))?;
        Ok(Complete)
    }

    #[event_handler("Manual")]
    fn manual(ctx: &mut EventContext<Results>, _: &App, n: i64) -> Result<ExecutionState> {
        ctx.forward_to_partition(&MANUAL, 1, "key", Order::Manual(n))?;
        Ok(Complete)
    }

    #[event_handler("Undeclared")]
    fn undeclared(ctx: &mut EventContext<Results>, _: &App, n: i64) -> Result<ExecutionState> {
        ctx.forward(&WRONG, "key", Order::Undeclared(n))?;
        Ok(Complete)
    }

    #[event_handler("Batch")]
    fn batch(ctx: &mut EventContext<Results>, app: &App, n: i64) -> Result<ExecutionState> {
        let records = (0..n).map(|n| ProducerRecord::to("other").value(n.to_string()));
        app.other.produce(ctx, records, |ctx, produced| {
            for one in produced {
                let name =
                    String::from_utf8(one.record.value_bytes().unwrap_or_default().to_vec())?;
                let result = one.result.map(|at| at.offset.to_string());
                let result = result.unwrap_or_else(|error| error.to_string());
                ctx.store.results.put(name, result);
            }
            Ok(Complete)
        })
    }
}

fn driver() -> (TestDriver<orders::Source>, MockProducer) {
    let (producer, mock) = MockProducer::untyped("other");
    let app = App { other: BatchProducer::new(producer) };
    (orders::Source::builder().partitions(3).shared(app).test_driver(), mock)
}

#[test]
fn a_topics_partitioner_decides_where_its_records_go() {
    let (mut driver, _) = driver();
    for n in 0..4 {
        driver.send("key", Order::Turn(n));
    }
    driver.run_pending();
    let outputs = driver.outputs();
    let mut turns: Vec<i32> =
        outputs.iter().map(|record| record.topic_partition().partition()).collect();
    turns.sort_unstable();
    assert_eq!(turns, [0, 0, 1, 2]);
}

#[test]
fn a_handler_knows_the_number_of_partitions() {
    let (mut driver, _) = driver();
    driver.send("key", Order::Count(1)).send("key", Order::Manual(1)).run_pending();
    let partitions: Vec<_> = driver.outputs().iter().map(|r| r.topic_partition().clone()).collect();
    let of = |topic: &str| {
        let found = partitions.iter().find(|at| **at.topic() == *topic);
        found.map(streams_core::record::TopicPartition::partition)
    };
    assert_eq!((of("by-key"), of("manual")), (Some(2), Some(1)));
}

#[test]
fn a_topic_that_is_not_declared_or_a_partition_that_is_none_fails_the_event() {
    let mut unknown = context::<Results>();
    let error = unknown.forward(&IN_TURN, "key", Order::Turn(1)).unwrap_err().to_string();
    assert!(error.contains("`.output(\"in-turn\")`"), "{error}");
    assert!(unknown.partitions_of(&BY_KEY).is_err());
    unknown.forward(&BY_KEY, "key", Order::Turn(1)).unwrap();
    let declared = ContextBuilder::<Results>::new().partitions_of("wrong", 3);
    let mut ctx = declared.partitions_of("manual", 3).build();
    let error = ctx.forward(&WRONG, "key", Order::Turn(1)).unwrap_err().to_string();
    assert!(
        error.contains("chose partition 3, and the topic has 0 to 2: correct Wrong"),
        "{error}"
    );
    let error = ctx.forward(&MANUAL, "key", Order::Turn(1)).unwrap_err().to_string();
    assert!(error.contains("`forward_to_partition`"), "{error}");
    ctx.forward_to_partition(&MANUAL, 2, "key", Order::Turn(1)).unwrap();
    let outputs = ctx.finish().unwrap().outputs;
    let [sent] = &outputs[..] else { panic!("a failed forward leaves no trace: {outputs:?}") };
    assert_eq!(sent.topic_partition().partition(), 2);
}

#[test]
fn a_batch_ends_its_event_when_each_record_has_ended() {
    let (mut driver, mock) = driver();
    mock.fail_next("NOT_ENOUGH_REPLICAS");
    driver.send("key", Order::Batch(3)).run_pending();
    assert_eq!(mock.sent().len(), 2);
    let partition = partition_for_key(b"key", 3);
    assert_eq!(driver.committed(partition), Some(1));
    let results = &driver.store(partition).results;
    let failed = "can't send to topic `other`: NOT_ENOUGH_REPLICAS";
    assert_eq!(results.get("0").map(String::as_str), Some(failed), "in the order of the batch");
    assert_eq!(results.get("1").map(String::as_str), Some("0"));
    assert_eq!(results.get("2").map(String::as_str), Some("1"));
    driver.send("key", Order::Batch(0)).run_pending();
    assert_eq!(driver.committed(partition), Some(2), "a batch without records is done at once");
}

#[test]
fn a_mock_fails_on_request_in_each_form_of_sending() {
    let (producer, mock) = MockProducer::untyped("audit");
    let record = || ProducerRecord::to_default_topic().value("x");
    mock.fail_all(Some("TOPIC_AUTHORIZATION_FAILED"));
    let error = producer.produce(record()).unwrap_err();
    assert!(matches!(&error, ProduceError::Refused { topic, .. } if topic == "audit"), "{error}");
    let (sender, told) = std::sync::mpsc::channel();
    producer.produce_with(record(), move |result| drop(sender.send(result))).unwrap();
    assert!(told.recv().unwrap().is_err());
    producer.send(record()).unwrap();
    let waits = std::time::Duration::ZERO;
    assert!(producer.flush(waits).is_err(), "what `send` has queued");
    assert!(producer.flush(waits).is_ok(), "once");
    mock.fail_all(None);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let at = runtime.block_on(producer.produce_async(record())).unwrap();
    assert_eq!((&**at.topic_partition.topic(), at.offset), ("audit", 0));
    assert_eq!(mock.sent().len(), 1);
}

#[test]
fn a_producer_without_a_cluster_or_a_topic_says_so() {
    let error = Producer::builder().build().unwrap_err().to_string();
    assert!(error.contains("`bootstrap` is missing"), "{error}");
    let nowhere = Producer::builder().bootstrap("127.0.0.1:1").build().unwrap();
    let error = nowhere.send(ProducerRecord::to_default_topic()).unwrap_err();
    assert!(matches!(error, ProduceError::NoTopic), "{error}");
    let bad = Producer::builder().bootstrap("127.0.0.1:1").property("linger.ns", "1").build();
    let error = bad.unwrap_err().to_string();
    assert!(error.contains("`linger.ns`"), "{error}");
}
