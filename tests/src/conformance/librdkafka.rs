//! The same through librdkafka: what a user's client makes of the broker.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::ctx::{Ctx, PATIENCE, wait};
use super::records::t0;

const TIMEOUT: Duration = Duration::from_secs(20);

super::named!("librdkafka":
    a_record_with_everything,
    each_compression,
    an_idempotent_producer,
    a_transaction_is_committed,
    a_transaction_is_aborted,
    offsets_in_a_transaction,
    a_fenced_producer,
    a_group_of_two,
    a_group_goes_on_where_it_was,
    offsets_for_times,
    a_reset_to_the_beginning,
    a_reset_to_the_end,
    metadata_and_watermarks,
);

fn producer(ctx: &Ctx, settings: &[(&str, &str)]) -> Result<BaseProducer> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", ctx.bootstrap()).set("log_level", "0").set("linger.ms", "0");
    settings.iter().for_each(|(key, value)| {
        config.set(*key, *value);
    });
    Ok(config.create()?)
}

fn transactional(ctx: &Ctx, word: &str) -> Result<BaseProducer> {
    let id = ctx.name(word);
    let producer = producer(ctx, &[("transactional.id", &id), ("retry.backoff.ms", "1")])?;
    producer.init_transactions(TIMEOUT)?;
    Ok(producer)
}

fn send(producer: &BaseProducer, topic: &str, partition: i32, values: &[&str]) -> Result<()> {
    for value in values {
        let record = BaseRecord::<(), str>::to(topic).partition(partition).payload(value);
        producer.send(record).map_err(|(error, _)| error)?;
    }
    settle(producer)
}

fn settle(producer: &BaseProducer) -> Result<()> {
    wait("the deliveries", || {
        producer.poll(Duration::ZERO);
        Ok((producer.in_flight_count() == 0).then_some(()))
    })
}

fn consumer(ctx: &Ctx, group: &str, settings: &[(&str, &str)]) -> Result<BaseConsumer> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", ctx.bootstrap())
        .set("log_level", "0")
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest")
        .set("heartbeat.interval.ms", "200")
        .set("enable.partition.eof", "true");
    settings.iter().for_each(|(key, value)| {
        config.set(*key, *value);
    });
    Ok(config.create()?)
}

/// What a reader of partition 0 sees from `offset` up to the end.
fn read(ctx: &Ctx, topic: &str, offset: Offset, isolation: &str) -> Result<Vec<String>> {
    let reader = consumer(ctx, &ctx.name("reader"), &[("isolation.level", isolation)])?;
    let mut places = TopicPartitionList::new();
    places.add_partition_offset(topic, 0, offset)?;
    reader.assign(&places)?;
    let mut found = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        match reader.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                let value = message.payload().map(String::from_utf8_lossy).unwrap_or_default();
                found.push(format!("{}:{value}", message.offset()));
            }
            Some(Err(rdkafka::error::KafkaError::PartitionEOF(_))) => return Ok(found),
            Some(Err(error)) => return Err(error.into()),
            None => {}
        }
    }
    bail!("the end of the partition was not reached")
}

fn say_read(ctx: &mut Ctx, topic: &str) -> Result<()> {
    for isolation in ["read_committed", "read_uncommitted"] {
        let found = read(ctx, topic, Offset::Beginning, isolation)?;
        ctx.say(format!("{isolation}: {}", found.join(" ")));
    }
    Ok(())
}

fn a_record_with_everything(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    let producer = producer(ctx, &[])?;
    let headers = OwnedHeaders::new()
        .insert(Header { key: "h", value: Some("1") })
        .insert(Header { key: "h", value: Some("2") })
        .insert(Header::<&str> { key: "none", value: None });
    let record = BaseRecord::to(&topic).key("k").payload("v").timestamp(t0()).headers(headers);
    producer.send(record).map_err(|(error, _)| error)?;
    settle(&producer)?;
    let reader = consumer(ctx, &ctx.name("reader"), &[])?;
    let mut places = TopicPartitionList::new();
    places.add_partition_offset(&topic, 0, Offset::Beginning)?;
    reader.assign(&places)?;
    let message = wait("the record", || match reader.poll(Duration::from_millis(100)) {
        Some(Ok(message)) => Ok(Some(message.detach())),
        Some(Err(error)) => Err(error.into()),
        None => Ok(None),
    })?;
    let text =
        |bytes: Option<&[u8]>| bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    ctx.say(format!("{:?} {:?}", text(message.key()), text(message.payload())));
    for header in message.headers().into_iter().flat_map(|headers| headers.iter()) {
        ctx.say(format!("{} {:?}", header.key, text(header.value)));
    }
    let since = message.timestamp().to_millis().unwrap_or_default() - t0();
    ctx.say(format!("T0+{since}, offset {}", message.offset()));
    Ok(())
}

fn each_compression(ctx: &mut Ctx) -> Result<()> {
    let value = "a".repeat(1_000);
    for codec in ["none", "gzip", "snappy", "lz4"] {
        let topic = ctx.topic(codec, 1)?;
        let producer = producer(ctx, &[("compression.codec", codec), ("linger.ms", "20")])?;
        send(&producer, &topic, 0, &[&value, &value, &value])?;
        let found = read(ctx, &topic, Offset::Beginning, "read_uncommitted")?;
        let whole = found.iter().filter(|record| record.ends_with(&value)).count();
        ctx.say(format!("{codec}: {whole} of {}", found.len()));
    }
    Ok(())
}

fn an_idempotent_producer(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    let producer = producer(ctx, &[("enable.idempotence", "true")])?;
    for _ in 0..20 {
        send(&producer, &topic, 0, &["a"])?;
    }
    let found = read(ctx, &topic, Offset::Beginning, "read_committed")?;
    ctx.say(format!("{} records, {:?}", found.len(), found.last()));
    Ok(())
}

fn a_transaction_is_committed(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    let producer = transactional(ctx, "id")?;
    for value in ["a", "b"] {
        producer.begin_transaction()?;
        send(&producer, &topic, 0, &[value])?;
        producer.commit_transaction(TIMEOUT)?;
    }
    ctx.settle(&topic, 0)?;
    say_read(ctx, &topic)
}

fn a_transaction_is_aborted(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    let producer = transactional(ctx, "id")?;
    for commit in [false, true] {
        producer.begin_transaction()?;
        send(&producer, &topic, 0, &[if commit { "kept" } else { "lost" }])?;
        match commit {
            true => producer.commit_transaction(TIMEOUT)?,
            false => producer.abort_transaction(TIMEOUT)?,
        }
    }
    ctx.settle(&topic, 0)?;
    say_read(ctx, &topic)
}

fn offsets_in_a_transaction(ctx: &mut Ctx) -> Result<()> {
    let (topic, group) = (ctx.topic("t", 1)?, ctx.name("g"));
    let producer = transactional(ctx, "id")?;
    let reader = consumer(ctx, &group, &[])?;
    let metadata = reader.group_metadata().ok_or_else(|| anyhow!("no group"))?;
    for (offset, commit) in [(3, true), (9, false)] {
        producer.begin_transaction()?;
        send(&producer, &topic, 0, &["a"])?;
        let mut places = TopicPartitionList::new();
        places.add_partition_offset(&topic, 0, Offset::Offset(offset))?;
        producer.send_offsets_to_transaction(&places, &metadata, TIMEOUT)?;
        match commit {
            true => producer.commit_transaction(TIMEOUT)?,
            false => producer.abort_transaction(TIMEOUT)?,
        }
        ctx.settle_offsets(&group, &topic, 0)?;
        ctx.committed("committed", &group, &topic, 0, true)?;
    }
    Ok(())
}

fn a_fenced_producer(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    let first = transactional(ctx, "id")?;
    first.begin_transaction()?;
    send(&first, &topic, 0, &["zombie"])?;
    let second = transactional(ctx, "id")?;
    let commit = first.commit_transaction(TIMEOUT);
    let fenced = matches!(&commit, Err(error) if error.to_string().contains("fenced"));
    ctx.say(format!("the first one's commit is fenced: {fenced}"));
    second.begin_transaction()?;
    send(&second, &topic, 0, &["owner"])?;
    second.commit_transaction(TIMEOUT)?;
    ctx.settle(&topic, 0)?;
    let found = read(ctx, &topic, Offset::Beginning, "read_committed")?;
    let values: Vec<&str> = found.iter().filter_map(|record| record.split(':').nth(1)).collect();
    ctx.say(values.join(" "));
    Ok(())
}

fn owned(consumer: &BaseConsumer) -> Result<usize> {
    // Heartbeats and rebalances are served by a poll.
    if let Some(Err(error)) = consumer.poll(Duration::from_millis(20))
        && !matches!(error, rdkafka::error::KafkaError::PartitionEOF(_))
    {
        return Err(error.into());
    }
    Ok(consumer.assignment()?.count())
}

fn a_group_of_two(ctx: &mut Ctx) -> Result<()> {
    let (topic, group) = (ctx.topic("t", 4)?, ctx.name("g"));
    let session = [("session.timeout.ms", "6000")];
    let first = consumer(ctx, &group, &session)?;
    first.subscribe(&[&topic])?;
    wait("all partitions", || Ok((owned(&first)? == 4).then_some(())))?;
    ctx.say("one has 4");
    let second = consumer(ctx, &group, &session)?;
    second.subscribe(&[&topic])?;
    wait("a share for each", || Ok(((owned(&first)?, owned(&second)?) == (2, 2)).then_some(())))?;
    ctx.say("two have 2 each");
    second.unsubscribe();
    drop(second);
    wait("all partitions again", || Ok((owned(&first)? == 4).then_some(())))?;
    ctx.say("one has 4 again");
    Ok(())
}

fn a_group_goes_on_where_it_was(ctx: &mut Ctx) -> Result<()> {
    let (topic, group) = (ctx.topic("t", 1)?, ctx.name("g"));
    let producer = producer(ctx, &[])?;
    send(&producer, &topic, 0, &["a", "b", "c"])?;
    for take in [2, 1] {
        let member = consumer(ctx, &group, &[("session.timeout.ms", "6000")])?;
        member.subscribe(&[&topic])?;
        for _ in 0..take {
            let message = wait("a record", || match member.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => Ok(Some(message.detach())),
                _ => Ok(None),
            })?;
            let value = message.payload().map(String::from_utf8_lossy).unwrap_or_default();
            ctx.say(format!("{}:{value}", message.offset()));
            let mut places = TopicPartitionList::new();
            places.add_partition_offset(&topic, 0, Offset::Offset(message.offset() + 1))?;
            member.commit(&places, rdkafka::consumer::CommitMode::Sync)?;
        }
        member.unsubscribe();
    }
    ctx.committed("committed", &group, &topic, 0, false)
}

fn offsets_for_times(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    let producer = producer(ctx, &[])?;
    for after in [0, 100, 200] {
        let record = BaseRecord::<(), str>::to(&topic).payload("a").timestamp(t0() + after);
        producer.send(record).map_err(|(error, _)| error)?;
        settle(&producer)?;
    }
    let reader = consumer(ctx, &ctx.name("reader"), &[])?;
    for after in [0, 50, 200, 201] {
        let mut places = TopicPartitionList::new();
        places.add_partition_offset(&topic, 0, Offset::Offset(t0() + after))?;
        let found = reader.offsets_for_times(places, TIMEOUT)?;
        let offset = found.elements().first().map(|place| place.offset());
        ctx.say(format!("T0+{after}: {offset:?}"));
    }
    Ok(())
}

/// What a new group reads first, with this policy, of a log of three records.
fn reset(ctx: &mut Ctx, policy: &str) -> Result<()> {
    let (topic, group) = (ctx.topic("t", 1)?, ctx.name("g"));
    let producer = producer(ctx, &[])?;
    send(&producer, &topic, 0, &["a", "b", "c"])?;
    let settings = [("auto.offset.reset", policy), ("session.timeout.ms", "6000")];
    let member = consumer(ctx, &group, &settings)?;
    member.subscribe(&[&topic])?;
    let mut sent = false;
    let first = wait("a record", || match member.poll(Duration::from_millis(50)) {
        Some(Ok(message)) => Ok(Some(message.offset())),
        Some(Err(rdkafka::error::KafkaError::PartitionEOF(_))) if !sent => {
            sent = true;
            send(&producer, &topic, 0, &["d"]).map(|()| None)
        }
        _ => Ok(None),
    })?;
    ctx.say(format!("{policy}: the first record is at {first}"));
    member.unsubscribe();
    Ok(())
}

fn a_reset_to_the_beginning(ctx: &mut Ctx) -> Result<()> {
    reset(ctx, "earliest")
}

fn a_reset_to_the_end(ctx: &mut Ctx) -> Result<()> {
    reset(ctx, "latest")
}

fn metadata_and_watermarks(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 2)?;
    let producer = producer(ctx, &[])?;
    send(&producer, &topic, 1, &["a", "b"])?;
    let metadata = producer.client().fetch_metadata(Some(&topic), TIMEOUT)?;
    let brokers = metadata.brokers().len();
    for found in metadata.topics() {
        let (name, partitions) = (found.name().to_owned(), found.partitions().len());
        ctx.say(format!("{name}: {partitions} partitions, {brokers} broker"));
    }
    for partition in [0, 1] {
        let marks = producer.client().fetch_watermarks(&topic, partition, TIMEOUT)?;
        ctx.say(format!("partition {partition}: {marks:?}"));
    }
    Ok(())
}
