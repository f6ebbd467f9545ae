//! A former owner that commits while the next one takes its partition over.

use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};
use streams_tests::oracle::read_committed;
use streams_tests::workload::Workload;

use super::app::{PATIENCE, Setup, ended, sound, wait_until};

/// Far longer than a take-over takes, if nothing is open.
const WAITS: Duration = Duration::from_millis(500);

fn client(setup: &Setup) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", setup.broker.bootstrap()).set("group.id", "late-commit");
    config.set("enable.partition.eof", "true");
    config
}

/// The changelog's last record.
fn last_change(consumer: &BaseConsumer, changelog: &str) -> Result<rdkafka::message::OwnedMessage> {
    let mut from = TopicPartitionList::new();
    from.add_partition_offset(changelog, 0, Offset::Beginning)?;
    consumer.assign(&from)?;
    let mut last = None;
    loop {
        match consumer.poll(PATIENCE).context("no end of the changelog")? {
            Ok(message) => last = Some(message.detach()),
            Err(KafkaError::PartitionEOF(_)) => return last.context("the changelog is empty"),
            Err(error) => return Err(error.into()),
        }
    }
}

/// The next owner has read the committed offset, and waits for the changelog: the transaction that
/// it waits for commits offsets too.
#[test]
fn d2_a_take_over_starts_from_what_was_committed_meanwhile() -> Result<()> {
    let setup = Setup::new("late-commit", 1)?;
    let send = |seed| {
        Workload { records: 5, ids: 1, rate: 0, seed }
            .send(&setup.broker.bootstrap(), &setup.topic("in"))
    };
    let first = setup.member::<sound::Source>().start()?;
    ensure!(first.wait_for_active(1, PATIENCE));
    send(1)?;
    let outputs = |at_least| {
        read_committed(&setup.broker.bootstrap(), &setup.topic("out"), at_least, PATIENCE)
    };
    ensure!(outputs(5)?.len() == 5);
    first.stop();
    ended(first)?;

    let consumer: BaseConsumer = client(&setup).create()?;
    let change = last_change(&consumer, &setup.topic("changelog"))?;
    let zombie: BaseProducer = client(&setup).set("transactional.id", "stranger").create()?;
    zombie.init_transactions(PATIENCE)?;
    zombie.begin_transaction()?;
    let changelog = setup.topic("changelog");
    let mut record = BaseRecord::to(&changelog).partition(0);
    record.key = change.key();
    record.payload = change.payload();
    record.headers = change.headers().cloned();
    zombie.send(record).map_err(|(error, _)| anyhow!("sending: {error}"))?;
    zombie.flush(PATIENCE)?;

    send(2)?;
    let second = setup.member::<sound::Source>().start()?;
    wait_until("it has the partition", || second.group_view().is_some())?;
    std::thread::sleep(WAITS);
    ensure!(second.active_partitions().is_empty(), "it does not wait for the changelog");
    let mut offsets = TopicPartitionList::new();
    offsets.add_partition_offset(&setup.topic("in"), 0, Offset::Offset(8))?;
    let group = consumer.group_metadata().context("it has a group")?;
    zombie.send_offsets_to_transaction(&offsets, &group, PATIENCE)?;
    zombie.commit_transaction(PATIENCE)?;

    ensure!(second.wait_for_active(1, PATIENCE));
    outputs(7)?;
    std::thread::sleep(WAITS);
    let all = outputs(7)?;
    ensure!(all.len() == 7, "D2: records 5 to 7 were processed twice: {} outputs", all.len());
    second.stop();
    ended(second)?;
    Ok(())
}
