//! Producers and destinations on the embedded broker.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::sync::mpsc;
use std::time::{Duration, Instant};

use streams_broker::Broker;
use streams_core::error::Cause;
use streams_core::prelude::*;
use streams_core::producer::{
    Acknowledged, BatchProducer, Destination, ProduceError, Producer, SendEventError,
};
use streams_core::record::{Manual, Partitioner, ProducerRecord, RoundRobin};
use streams_tests::broker::grow_topic;
use streams_tests::oracle::read_committed;

const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Events)]
enum Word {
    Say(String),
    Batch(i64),
}

fn say(word: &str) -> Word {
    Word::Say(word.to_owned())
}

fn broker() -> Broker {
    Broker::builder().topic("words", 3).topic("out", 3).topic("audit", 1).start().unwrap()
}

fn at(acknowledged: &Acknowledged) -> (&str, i32, i64) {
    (acknowledged.topic_partition.topic(), acknowledged.partition(), acknowledged.offset)
}

#[test]
fn each_form_of_sending_tells_partition_and_offset() {
    let broker = broker();
    let producer = EventProducer::new(&broker.bootstrap(), Topic::<Word>::new("audit")).unwrap();
    assert_eq!(at(&producer.produce("k", &say("a")).unwrap()), ("audit", 0, 0));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let futures = ["b", "c"].map(|word| producer.produce_async("k", &say(word)));
    let [first, second] = futures.map(|future| runtime.block_on(future).unwrap());
    assert_eq!((at(&first), at(&second)), (("audit", 0, 1), ("audit", 0, 2)));
    let (sender, told) = mpsc::channel();
    producer.produce_with("k", &say("d"), move |result| drop(sender.send(result))).unwrap();
    let told = told.recv_timeout(PATIENCE).unwrap().unwrap();
    assert_eq!(at(&told), ("audit", 0, 3));
    // A future that nobody awaits.
    drop(producer.produce_async("k", &say("e")));
    producer.flush(PATIENCE).unwrap();
    let read = read_committed(&broker.bootstrap(), "audit", 5, PATIENCE).unwrap();
    assert_eq!(read, [b"a", b"b", b"c", b"d", b"e"]);
}

#[test]
fn a_record_may_name_its_partition_and_carry_headers() {
    let broker = broker();
    let producer = EventProducer::new(&broker.bootstrap(), Topic::<Word>::new("words")).unwrap();
    for partition in [2, 0, 1] {
        let record = producer.record("k", &say("a")).unwrap();
        let record = record.partition(partition).header("source", Some(b"test"));
        assert_eq!(at(&producer.produce_record(record).unwrap()), ("words", partition, 0));
    }
    let record = producer.record("k", &say("a")).unwrap().partition(7);
    let error = producer.produce_record(record).unwrap_err();
    assert!(matches!(error, ProduceError::Refused { .. }), "{error}");
    assert!(error.to_string().contains("`words`"), "{error}");
}

#[test]
fn failures_are_typed_and_go_to_whoever_sent_the_record() {
    let broker = Broker::builder().topic("audit", 1).max_message_bytes(2_000).start().unwrap();
    let bootstrap = broker.bootstrap();
    let producer = Producer::builder().bootstrap(&bootstrap).topic("audit").build().unwrap();
    let record = || ProducerRecord::to_default_topic().value("x");
    let (sender, told) = mpsc::channel();
    let too_large = record().value(vec![7; 5_000]);
    producer.produce_with(too_large.clone(), move |result| drop(sender.send(result))).unwrap();
    let error = told.recv_timeout(PATIENCE).unwrap().unwrap_err();
    assert!(matches!(&error, ProduceError::Refused { cause: Cause::Transaction, .. }), "{error}");
    producer.flush(PATIENCE).unwrap();
    producer.send(too_large).unwrap();
    let error = producer.flush(PATIENCE).unwrap_err();
    assert!(matches!(&error, ProduceError::Refused { .. }), "{error}");

    let nowhere = producer.produce(record().with_topic("nowhere")).unwrap_err();
    assert!(nowhere.to_string().contains("`nowhere`"), "{nowhere}");
    assert!(matches!(nowhere, ProduceError::Refused { .. }), "{nowhere}");
    let large = EventProducer::<Word>::new(&bootstrap, Topic::new("audit")).unwrap();
    let error = large.produce("k", &say(&"a".repeat(2_000_000))).unwrap_err();
    assert!(matches!(&error, SendEventError::Produce(ProduceError::Refused { .. })), "{error}");
}

#[test]
fn an_outage_ends_a_record_with_its_cause() {
    let broker = broker();
    let bootstrap = broker.bootstrap();
    let producer = Producer::builder().bootstrap(&bootstrap).topic("audit");
    let producer = producer.property("delivery.timeout.ms", "1500").build().unwrap();
    let record = || ProducerRecord::to_default_topic().value("x");
    producer.produce(record()).unwrap();
    drop(broker);
    let error = producer.produce(record()).unwrap_err();
    assert!(matches!(&error, ProduceError::Refused { cause: Cause::Outage, .. }), "{error}");
}

#[test]
fn a_full_queue_is_waited_for_by_each_form() {
    let broker = broker();
    let producer = Producer::builder().bootstrap(broker.bootstrap()).topic("audit");
    let producer = producer.property("queue.buffering.max.messages", "10").build().unwrap();
    let record = |n: i32| ProducerRecord::to_default_topic().value(n.to_string());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let futures: Vec<_> = (0..100).map(|n| producer.produce_async(record(n))).collect();
        for future in futures {
            future.await.unwrap();
        }
    });
    for n in 0..100 {
        producer.send(record(n)).unwrap();
    }
    producer.flush(PATIENCE).unwrap();
    let read = read_committed(&broker.bootstrap(), "audit", 200, PATIENCE).unwrap();
    assert_eq!(read.len(), 200);
}

static TURNS: RoundRobin = RoundRobin::new();

#[derive(Debug)]
struct Wrong;

impl Partitioner for Wrong {
    fn partition(&self, _: &str, _: Option<&[u8]>, partitions: i32) -> i32 {
        partitions
    }
}

#[test]
fn partitioners_decide_for_the_producer_of_their_topic() {
    let broker = broker();
    let bootstrap = broker.bootstrap();
    let in_turn = Topic::<Word>::new("words").partitioner(&TURNS);
    let producer = EventProducer::new(&bootstrap, in_turn).unwrap();
    let mut chosen = [(); 3].map(|()| producer.produce("k", &say("a")).unwrap().partition());
    chosen.sort_unstable();
    assert_eq!(chosen, [0, 1, 2]);
    let manual = Topic::<Word>::new("words").partitioner(&Manual);
    let producer = EventProducer::new(&bootstrap, manual).unwrap();
    let error = producer.produce("k", &say("a")).unwrap_err();
    assert!(error.to_string().contains("and Manual chooses none"), "{error}");
    let wrong = Producer::builder().bootstrap(&bootstrap).topic("out").partitioner(&Wrong);
    let wrong = wrong.property("delivery.timeout.ms", "60000").build().unwrap();
    let started = Instant::now();
    let error = wrong.produce(ProducerRecord::to_default_topic().key("k")).unwrap_err();
    assert!(matches!(error, ProduceError::Refused { .. }), "{error}");
    assert!(started.elapsed() < PATIENCE, "at once, and not when the time is over");
    let record = producer.record("k", &say("a")).unwrap().partition(1);
    assert_eq!(producer.produce_record(record).unwrap().partition(), 1);
    // Without a key librdkafka would choose by itself.
    static KEYLESS: RoundRobin = RoundRobin::new();
    let keyless = Producer::builder().bootstrap(&bootstrap).topic("out").partitioner(&KEYLESS);
    let keyless = keyless.build().unwrap();
    let record = || ProducerRecord::to_default_topic().value("x");
    let mut chosen = [(); 3].map(|()| keyless.produce(record()).unwrap().partition());
    chosen.sort_unstable();
    assert_eq!(chosen, [0, 1, 2]);
}

#[test]
fn a_destination_is_created_and_tells_its_partitions() {
    let broker = broker();
    let bootstrap = broker.bootstrap();
    let made = Destination::new("made").bootstrap(&bootstrap).partitions(5);
    let made = made.min_in_sync(1).replication_factor(1).create().unwrap();
    assert_eq!((made.topic(), made.num_partitions()), ("made", Some(5)));
    let again = Destination::new("made").bootstrap(&bootstrap).partitions(2).create().unwrap();
    assert_eq!(again.num_partitions(), Some(5), "what is there stays");
    let by_default = Destination::new("default").bootstrap(&bootstrap).create().unwrap();
    assert_eq!(by_default.num_partitions(), Some(1));
    let producer = made.producer().build().unwrap();
    let record = ProducerRecord::to_default_topic().key("k").value("v").partition(4);
    assert_eq!(at(&producer.produce(record).unwrap()), ("made", 4, 0));
    let error = Destination::new("").bootstrap(&bootstrap).create().unwrap_err().to_string();
    assert!(error.contains("`topic` is missing"), "{error}");
    let error = Destination::new("no such name!").bootstrap(&bootstrap).create().unwrap_err();
    assert!(error.to_string().contains("`no such name!`"), "{error}");
    // Inside of a runtime too.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let made = runtime.block_on(async { Destination::new("async").bootstrap(&bootstrap).create() });
    assert!(made.is_ok(), "{made:?}");
}

static OUT_TURNS: RoundRobin = RoundRobin::new();
static OUT: Topic<Word> = Topic::new("out").partitioner(&OUT_TURNS);

struct App {
    audit: BatchProducer<NoStore>,
    told: mpsc::Sender<Vec<i64>>,
}

#[event_source(events = Word, store = NoStore, shared = App)]
mod words {
    use super::*;

    #[event_handler("Say")]
    fn say(ctx: &mut EventContext<NoStore>, _: &App, word: String) -> Result<ExecutionState> {
        let partitions = ctx.partitions_of(&OUT)?;
        ctx.forward(&OUT, "k", Word::Say(format!("{word} of {partitions}")))?;
        Ok(Complete)
    }

    #[event_handler("Batch")]
    fn batch(ctx: &mut EventContext<NoStore>, app: &App, records: i64) -> Result<ExecutionState> {
        let records = (0..records).map(|n| ProducerRecord::to("audit").value(n.to_string()));
        let told = app.told.clone();
        app.audit.produce(ctx, records, move |_, produced| {
            let offset = |one: streams_core::producer::Produced| Ok(one.result?.offset);
            let offsets = produced.into_iter().map(offset);
            told.send(offsets.collect::<std::result::Result<_, ProduceError>>()?)?;
            Ok(Complete)
        })
    }
}

#[test]
fn a_source_forwards_by_partitioners_and_produces_batches() {
    let broker = broker();
    let bootstrap = broker.bootstrap();
    let (told, batches) = mpsc::channel();
    let audit = Destination::new("audit").bootstrap(&bootstrap).producer().build().unwrap();
    let builder = words::Source::builder().bootstrap(&bootstrap).group("g").topic("words");
    let builder = builder.output("out").partition_check(Duration::from_millis(100));
    let producer = builder.as_destination().producer().build().unwrap();
    assert_eq!(builder.as_destination().topic(), "words");
    let app = App { audit: BatchProducer::new(audit), told };
    let source = builder.shared(app).start().unwrap();
    let send = |record_type: &str, value: Vec<u8>| {
        let record = ProducerRecord::to_default_topic().key("k").record_type(record_type);
        producer.produce(record.value(value)).unwrap();
    };
    for _ in 0..3 {
        send("Say", b"hello".to_vec());
    }
    let read = read_committed(&bootstrap, "out", 3, PATIENCE).unwrap();
    assert_eq!(read, [b"hello of 3", b"hello of 3", b"hello of 3"]);
    assert_eq!(partitions_with_records(&bootstrap, "out"), [0, 1, 2]);
    send("Batch", 3_i64.to_be_bytes().to_vec());
    assert_eq!(batches.recv_timeout(PATIENCE).unwrap(), [0, 1, 2]);

    grow_topic(&bootstrap, "out", 5).unwrap();
    let deadline = Instant::now() + PATIENCE;
    let mut said = 3;
    loop {
        send("Say", b"hello".to_vec());
        said += 1;
        let read = read_committed(&bootstrap, "out", said, PATIENCE).unwrap();
        if read.iter().any(|word| word == b"hello of 5") {
            break;
        }
        assert!(Instant::now() < deadline, "the handler does not learn of new partitions");
    }
    source.stop();
    source.wait().unwrap();
}

fn partitions_with_records(bootstrap: &str, topic: &str) -> Vec<i32> {
    use rdkafka::consumer::{BaseConsumer, Consumer};
    let consumer: BaseConsumer = rdkafka::ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "ends")
        .create()
        .unwrap();
    let has =
        |partition: &i32| consumer.fetch_watermarks(topic, *partition, PATIENCE).unwrap().1 > 0;
    (0..3).filter(has).collect()
}
