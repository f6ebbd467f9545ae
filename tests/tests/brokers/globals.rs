//! Global tables: compaction, tombstones, transactions, pauses, growth, a broker that restarts.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};
use streams_core::global::{GlobalChangeLog, GlobalState, GlobalTable};
use streams_core::record::Record;
use streams_tests::broker::{TestBroker, create_compacted_topics, create_topics, grow_topic};
use streams_tests::kafka::Kafka;

const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);

type Model = BTreeMap<String, i64>;

fn producer(bootstrap: &str) -> Result<BaseProducer> {
    Ok(ClientConfig::new().set("bootstrap.servers", bootstrap).set("linger.ms", "1").create()?)
}

/// Sends a row, or a tombstone, and notes it in the model.
fn put(
    producer: &BaseProducer,
    topic: &str,
    model: &mut Model,
    key: &str,
    value: Option<i64>,
) -> Result<()> {
    let bytes = value.map(i64::to_be_bytes);
    let mut record = BaseRecord::<str, [u8]>::to(topic).key(key);
    record.payload = bytes.as_ref().map(|bytes| &bytes[..]);
    producer.send(record).map_err(|(error, _)| error)?;
    producer.poll(Duration::ZERO);
    match value {
        Some(value) => drop(model.insert(key.to_owned(), value)),
        None => drop(model.remove(key)),
    }
    Ok(())
}

fn table(bootstrap: &str, topic: &str) -> Result<GlobalTable<String, i64>> {
    let table = GlobalTable::builder().bootstrap(bootstrap).topic(topic);
    Ok(table.check_interval(Duration::from_millis(200)).start()?)
}

fn rows(table: &GlobalTable<String, i64>) -> Model {
    table.read().iter().map(|(key, value)| (key.clone(), *value)).collect()
}

fn await_rows(table: &GlobalTable<String, i64>, model: &Model) -> Result<()> {
    await_that("the rows", || match rows(table) == *model {
        true => Ok(true),
        false => table.failure().map_or(Ok(false), |error| Err(error.into())),
    })
    .with_context(|| format!("{table:?} has {:?}, not {model:?}", rows(table)))
}

fn await_that(what: &str, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !is_so()? {
        ensure!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(POLL);
    }
    Ok(())
}

/// Counts the records that the topic still has in its first partition.
fn count(bootstrap: &str, topic: &str) -> Result<usize> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "count")
        .set("enable.partition.eof", "true")
        .create()?;
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, Offset::Beginning)?;
    consumer.assign(&list)?;
    let mut count = 0;
    loop {
        match consumer.poll(PATIENCE).context("no end of the partition")? {
            Ok(message) => {
                ensure!(message.topic() == topic, "another topic");
                count += 1;
            }
            Err(rdkafka::error::KafkaError::PartitionEOF(_)) => return Ok(count),
            Err(error) => return Err(error.into()),
        }
    }
}

/// A table has the last value of each key: before the log is compacted, while it follows the log,
/// and when it reads a log that was compacted.
pub(crate) fn compacted(broker: &TestBroker, topic: &str) -> Result<()> {
    let bootstrap = broker.bootstrap();
    let first = GlobalTable::<String, i64>::builder()
        .bootstrap(&bootstrap)
        .topic(topic)
        .create_topic(1)
        .topic_config("segment.ms", "100")
        .topic_config("min.cleanable.dirty.ratio", "0.01")
        .topic_config("delete.retention.ms", "0")
        .start()?;
    first.wait_caught_up(PATIENCE)?;
    ensure!(first.is_empty() && first.lags() == BTreeMap::from([(0, 0)]), "{first:?}");
    let (producer, mut model) = (producer(&bootstrap)?, Model::new());
    let mut sent = 0;
    for round in 0..4_i64 {
        for key in 0..25_i64 {
            let value = (key % 5 != round).then_some(round * 100 + key);
            put(&producer, topic, &mut model, &format!("key-{key}"), value)?;
            sent += 1;
        }
        producer.flush(PATIENCE)?;
        await_rows(&first, &model)?;
        // The next round begins another segment.
        std::thread::sleep(Duration::from_millis(250));
    }
    await_that("the log is compacted", || {
        // An append makes the broker close the segment before it.
        put(&producer, topic, &mut model, "last", Some(1))?;
        sent += 1;
        producer.flush(PATIENCE)?;
        std::thread::sleep(Duration::from_millis(250));
        Ok(count(&bootstrap, topic)? < sent / 2)
    })?;
    let second = table(&bootstrap, topic)?;
    second.wait_caught_up(PATIENCE)?;
    ensure!(rows(&second) == model, "{:?}, not {model:?}", rows(&second));
    await_rows(&first, &model)?;
    ensure!(second.state() == GlobalState::Following, "{second:?}");
    Ok(())
}

/// A table shows no record of a transaction before it is committed, and none of an aborted one.
pub(crate) fn transactions(broker: &TestBroker, topic: &str) -> Result<()> {
    let bootstrap = broker.bootstrap();
    create_compacted_topics(&bootstrap, &[(topic, 2)])?;
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", &bootstrap)
        .set("transactional.id", topic)
        .create()?;
    let (mut model, mut aborted) = (Model::new(), Model::new());
    producer.init_transactions(PATIENCE)?;
    producer.begin_transaction()?;
    for key in ["a", "b", "c"] {
        put(&producer, topic, &mut model, key, Some(1))?;
    }
    producer.commit_transaction(PATIENCE)?;
    let table = table(&bootstrap, topic)?;
    table.wait_caught_up(PATIENCE)?;
    // Kafka answers a commit before it has written the markers.
    await_rows(&table, &model)?;
    producer.begin_transaction()?;
    for key in ["a", "b", "c"] {
        put(&producer, topic, &mut aborted, key, Some(2))?;
    }
    producer.flush(PATIENCE)?;
    std::thread::sleep(Duration::from_millis(300));
    ensure!(rows(&table) == model, "an open transaction shows: {:?}", rows(&table));
    producer.abort_transaction(PATIENCE)?;
    producer.begin_transaction()?;
    put(&producer, topic, &mut model, "d", Some(3))?;
    producer.commit_transaction(PATIENCE)?;
    await_rows(&table, &model)?;
    await_that("the end is reached", || Ok(table.lags().values().all(|lag| *lag == 0)))
}

#[derive(Clone, Default)]
struct Received(Arc<Mutex<Vec<(i32, i64)>>>);

impl Received {
    fn all(&self) -> Vec<(i32, i64)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn await_all(&self, expected: &[(i32, i64)]) -> Result<()> {
        let sorted = || {
            let mut all = self.all();
            all.sort_unstable();
            all
        };
        await_that("the records", || Ok(sorted() == expected))
            .with_context(|| format!("received {:?}, not {expected:?}", self.all()))
    }
}

fn send_to(producer: &BaseProducer, topic: &str, partition: i32) -> Result<()> {
    let record = BaseRecord::<str, str>::to(topic).partition(partition).key("k").payload("v");
    producer.send(record).map_err(|(error, _)| error)?;
    Ok(producer.flush(PATIENCE)?)
}

/// A paused partition receives nothing; it resumes where it was, or at an offset; a partition that
/// is added is read from its first record.
pub(crate) fn paused(broker: &TestBroker, topic: &str) -> Result<()> {
    let bootstrap = broker.bootstrap();
    create_topics(&bootstrap, &[(topic, 2)])?;
    let producer = producer(&bootstrap)?;
    send_to(&producer, topic, 0)?;
    let received = Received::default();
    let receives = received.clone();
    let log = GlobalChangeLog::builder(move |record: &Record| {
        let at = (record.topic_partition().partition(), record.offset());
        receives.0.lock().unwrap_or_else(PoisonError::into_inner).push(at);
        Ok(())
    });
    let log = log.bootstrap(&bootstrap).topic(topic).check_interval(Duration::from_millis(200));
    let log = log.start()?;
    log.wait_caught_up(PATIENCE)?;
    received.await_all(&[(0, 0)])?;
    log.pause(0)?;
    send_to(&producer, topic, 0)?;
    send_to(&producer, topic, 1)?;
    received.await_all(&[(0, 0), (1, 0)])?;
    await_that("the lag shows", || Ok(log.lags() == BTreeMap::from([(0, 1), (1, 0)])))?;
    ensure!(log.paused() == [0], "{:?}", log.paused());
    log.resume(0)?;
    received.await_all(&[(0, 0), (0, 1), (1, 0)])?;
    log.resume_at(0, 0)?;
    log.wait_caught_up(PATIENCE)?;
    received.await_all(&[(0, 0), (0, 0), (0, 1), (0, 1), (1, 0)])?;
    log.pause_all()?;
    grow_topic(&bootstrap, topic, 3)?;
    await_that("the partition is found", || Ok(log.paused() == [0, 1, 2]))?;
    let grown: BaseProducer = ClientConfig::new().set("bootstrap.servers", &bootstrap).create()?;
    send_to(&grown, topic, 2)?;
    std::thread::sleep(Duration::from_millis(300));
    ensure!(received.all().len() == 5, "{:?}", received.all());
    log.resume_all()?;
    received.await_all(&[(0, 0), (0, 0), (0, 1), (0, 1), (1, 0), (2, 0)])?;
    let error = log.pause(3).expect_err("there is no such partition");
    ensure!(error.to_string().contains("no partition 3"), "{error}");
    Ok(log.stop()?)
}

/// While Apache Kafka is away the rows stay and the table says that it is stale; it follows the
/// topic again when Kafka is back.
pub(crate) fn kafka_restarts() -> Result<()> {
    let (mut kafka, topic) = (Kafka::start()?, "customers");
    let bootstrap = kafka.bootstrap();
    create_compacted_topics(&bootstrap, &[(topic, 3)])?;
    let (producer, mut model) = (producer(&bootstrap)?, Model::new());
    for key in 0..50 {
        put(&producer, topic, &mut model, &format!("key-{key}"), Some(key))?;
    }
    producer.flush(PATIENCE)?;
    let table = GlobalTable::<String, i64>::builder().bootstrap(&bootstrap).topic(topic);
    let table = table.check_interval(Duration::from_millis(200));
    let table = table.stale_after(Duration::from_secs(2)).start()?;
    table.wait_caught_up(PATIENCE)?;
    let watcher = table.clone();
    let watch = std::thread::spawn(move || {
        await_that("the table says that it is stale", || {
            Ok(watcher.state() == GlobalState::Stale && watcher.len() == 50)
        })
    });
    kafka.restart(Duration::from_secs(4))?;
    watch.join().map_err(|_| anyhow::anyhow!("the watcher panicked"))??;
    put(&producer, topic, &mut model, "key-0", None)?;
    put(&producer, topic, &mut model, "key-50", Some(50))?;
    producer.flush(PATIENCE)?;
    await_rows(&table, &model)?;
    await_that("it follows again", || Ok(table.state() == GlobalState::Following))
}
