//! The test driver against the embedded broker: the same scenario, the same records; and how fast
//! the driver is.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use streams_core::prelude::*;
use streams_core::record::ProducerRecord;
use streams_core::testing::TestDriver;
use streams_core::{EventProducer, OnUndecodable, SourceBuilder};
use streams_tests::broker::TestBroker;

const PARTITIONS: i32 = 4;
const PATIENCE: Duration = Duration::from_secs(60);
const INPUT: &str = "updates";
const CHANGELOG: &str = "totals-changelog";
const LETTERS: &str = "letters";
static TOTALS: Topic<Totals<'static>> = Topic::new("totals");

#[derive(EventCodec, Serialize, Deserialize, JsonSchema)]
struct Update<'a> {
    id: &'a str,
    amount: i64,
}

#[derive(Events)]
enum Updates<'a> {
    Update(Update<'a>),
    Forget(&'a str),
}

#[derive(EventCodec, Serialize, Deserialize, JsonSchema)]
struct Total<'a> {
    id: &'a str,
    count: u64,
    sum: i64,
}

#[derive(Events)]
enum Totals<'a> {
    Total(Total<'a>),
}

#[derive(EventCodec, Serialize, Deserialize, JsonSchema, Clone, Default)]
struct RunningTotal {
    count: u64,
    sum: i64,
}

#[derive(StateStore)]
struct TotalsStore {
    totals: Table<String, RunningTotal>,
}

#[event_source(events = Updates<'_>, store = TotalsStore)]
mod totals {
    use super::*;

    #[event_handler("Update")]
    fn update(ctx: &mut EventContext<TotalsStore>, update: Update<'_>) -> Result<ExecutionState> {
        let Update { id, amount } = update;
        let (count, sum) = ctx.store.totals.update(id.to_owned(), |total| {
            total.count += 1;
            total.sum += amount;
            (total.count, total.sum)
        });
        ctx.forward(&TOTALS, id, Totals::Total(Total { id, count, sum }))?;
        Ok(Complete)
    }

    #[event_handler("Forget")]
    fn forget(ctx: &mut EventContext<TotalsStore>, id: &str) -> Result<ExecutionState> {
        ctx.store.totals.remove(id);
        Ok(Complete)
    }
}

fn source() -> SourceBuilder<totals::Source> {
    totals::Source::builder()
        .topic(INPUT)
        .changelog(CHANGELOG)
        .output(TOTALS.name())
        .output(LETTERS)
        .partitions(PARTITIONS)
        .on_undecodable(OnUndecodable::DeadLetter(LETTERS.to_owned()))
}

/// Updates, removals, and what nobody can read, as records for the source.
fn scenario(ids: usize, events: usize) -> Vec<ProducerRecord> {
    let mut random = streams_tests::workload::Random::new(7);
    let mut below = move |bound: usize| usize::try_from(random.below(bound as u64)).unwrap_or(0);
    (0..events)
        .map(|_| {
            let id = format!("id-{}", below(ids));
            let record = ProducerRecord::to(INPUT).key(id.clone()).timestamp_ms(1_700_000_000_000);
            match below(20) {
                0 => record.value(id).record_type("Forget"),
                1 => record.value(&b"{"[..]).record_type("Update"),
                2 => record.value(id).record_type("Nope").header("trace", None),
                amount => {
                    let update = format!(r#"{{"id":"{id}","amount":{amount}}}"#);
                    record.value(update).record_type("Update")
                }
            }
        })
        .collect()
}

/// Key, value and headers.
type Seen = (Option<Vec<u8>>, Option<Vec<u8>>, Vec<(String, Option<Vec<u8>>)>);

/// The records of each partition, in order.
type Logs = BTreeMap<(String, i32), Vec<Seen>>;

fn on_the_driver(records: &[ProducerRecord]) -> (Logs, Vec<Option<i64>>) {
    let mut driver = source().test_driver();
    driver.latency(Duration::from_millis(2));
    for record in records {
        driver.send_record(record.clone());
    }
    let changes = (0..PARTITIONS).flat_map(|partition| driver.changelog(partition));
    let mut logs = Logs::new();
    for record in driver.outputs().into_iter().chain(changes) {
        let at = record.topic_partition();
        let headers = record.headers().iter();
        let headers = headers.map(|h| (h.name.to_owned(), h.value.map(<[u8]>::to_vec)));
        let (key, value) = (record.key().map(<[u8]>::to_vec), record.value().map(<[u8]>::to_vec));
        let log = logs.entry((at.topic().to_string(), at.partition())).or_default();
        log.push((key, value, headers.collect()));
    }
    (logs, (0..PARTITIONS).map(|partition| driver.committed(partition)).collect())
}

fn on_the_broker(records: &[ProducerRecord]) -> anyhow::Result<(Logs, Vec<Option<i64>>)> {
    let broker = TestBroker::embedded()?;
    let bootstrap = broker.bootstrap();
    broker.create_topics(&[(INPUT, PARTITIONS)])?;
    let producer =
        EventProducer::new(&bootstrap, Topic::<Updates<'static>>::named(INPUT.to_owned()))?;
    for record in records {
        producer.send_record(record.clone())?;
    }
    producer.flush(PATIENCE)?;
    let source = source().bootstrap(&bootstrap).group("totals").start()?;
    let deadline = Instant::now() + PATIENCE;
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &bootstrap)
        .set("group.id", "totals")
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true")
        .create()?;
    let committed = loop {
        let mut list = TopicPartitionList::new();
        (0..PARTITIONS).for_each(|partition| _ = list.add_partition(INPUT, partition));
        let committed = consumer.committed_offsets(list, Duration::from_secs(10))?;
        let offset = |at: &rdkafka::topic_partition_list::TopicPartitionListElem<'_>| {
            if let Offset::Offset(offset) = at.offset() { Some(offset) } else { None }
        };
        let offsets: Vec<_> = committed.elements().iter().map(offset).collect();
        if offsets.iter().flatten().sum::<i64>() == i64::try_from(records.len())? {
            break offsets;
        }
        ensure!(Instant::now() < deadline, "only {offsets:?} are committed");
        std::thread::sleep(Duration::from_millis(20));
    };
    source.stop();
    source.wait()?;
    Ok((read_logs(&consumer)?, committed))
}

fn read_logs(consumer: &BaseConsumer) -> anyhow::Result<Logs> {
    let mut list = TopicPartitionList::new();
    for topic in [TOTALS.name(), CHANGELOG, LETTERS] {
        for partition in 0..PARTITIONS {
            list.add_partition_offset(topic, partition, Offset::Beginning)?;
        }
    }
    consumer.assign(&list)?;
    let (mut logs, mut ends) = (Logs::new(), 0);
    while ends < list.count() {
        match consumer.poll(PATIENCE).context("nothing comes")? {
            // The record of the partition's first event is no change of the store.
            Ok(message) if message.key().is_some_and(|key| key.starts_with(b"\0streams.")) => {}
            Ok(message) => {
                let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
                let headers = headers.map(|h| (h.key.to_owned(), h.value.map(<[u8]>::to_vec)));
                let key = message.key().map(<[u8]>::to_vec);
                let value = message.payload().map(<[u8]>::to_vec);
                let log = logs.entry((message.topic().to_owned(), message.partition()));
                log.or_default().push((key, value, headers.collect()));
            }
            Err(rdkafka::error::KafkaError::PartitionEOF(_)) => ends += 1,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(logs)
}

#[test]
fn the_same_scenario_gives_the_same_records_as_on_the_broker() -> anyhow::Result<()> {
    let records = scenario(50, 2_000);
    let (driver, driver_committed) = on_the_driver(&records);
    let (broker, broker_committed) = on_the_broker(&records)?;
    assert_eq!(driver_committed, broker_committed);
    let places: Vec<_> = driver.keys().collect();
    assert_eq!(places, broker.keys().collect::<Vec<_>>());
    let count: usize = driver.values().map(Vec::len).sum();
    assert!(count > 3_500 && places.len() == 12, "{count} records in {places:?}");
    for (place, records) in &driver {
        for (at, (record, other)) in records.iter().zip(&broker[place]).enumerate() {
            assert_eq!(record, other, "{place:?}, the {at}th record");
        }
        assert_eq!(records.len(), broker[place].len(), "{place:?}");
    }
    Ok(())
}

/// The figure is printed; the bound is what even an unoptimised build on a busy machine keeps.
#[test]
fn the_driver_is_fast() {
    const EVENTS: i64 = 100_000;
    let mut driver = TestDriver::<totals::Source>::new();
    let ids: Vec<String> = (0..1_000).map(|id| format!("id-{id}")).collect();
    let start = Instant::now();
    driver.send_all((0..EVENTS).map(|number| {
        let id = &ids[usize::try_from(number % 1_000).unwrap_or(0)];
        (id, Updates::Update(Update { id, amount: number }))
    }));
    let took = start.elapsed();
    assert_eq!(driver.committed(0), Some(EVENTS));
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate = EVENTS as f64 / took.as_secs_f64();
    println!("{rate:.0} events/s");
    assert!(took < PATIENCE, "{took:?}");
}
