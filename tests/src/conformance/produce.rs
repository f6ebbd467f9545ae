//! Produce requests as such: acknowledgements, addresses, several at once.

use anyhow::Result;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{ProduceRequest, TopicName};

use super::ctx::{Ctx, code, text, wait};
use super::logs::{LATEST, PRODUCE, Uncommitted, produce_request};
use super::records::Batch;

super::named!("produce":
    acknowledgements,
    without_acknowledgement,
    without_acknowledgement_and_wrong,
    to_an_unknown_topic,
    to_an_unknown_partition,
    to_an_invalid_topic,
    to_several_partitions,
    one_of_several_is_wrong,
    to_the_same_partition_twice,
    nothing,
    with_a_negative_timeout,
    a_large_batch,
    pipelined,
    with_log_append_time,
    larger_than_the_broker_takes,
);

fn acknowledgements(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    for acks in [1, -1, 2, -2] {
        let request = produce_request(&topic, 0, &Batch::of(["a"])).with_acks(acks);
        let answer = ctx.send_records(PRODUCE, &request)?;
        let (answer, base) = (code(answer.error_code), answer.base_offset);
        ctx.say(format!("acks {acks}: {answer} at {base}"));
    }
    Ok(())
}

fn without_acknowledgement(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    let mut connection = ctx.connect()?;
    let request = produce_request(&topic, 0, &Batch::of(["a"])).with_acks(0);
    for _ in 0..2 {
        connection.send(PRODUCE, &request)?;
    }
    wait("both records", || {
        let end = ctx.offset_at(&topic, 0, LATEST, Uncommitted)?;
        Ok((end.offset == 2).then_some(()))
    })?;
    ctx.log("log", &topic, 0)
}

fn without_acknowledgement_and_wrong(ctx: &mut Ctx) -> Result<()> {
    let nowhere = ctx.name("nowhere");
    let mut connection = ctx.connect()?;
    let request = produce_request(&nowhere, 0, &Batch::of(["a"])).with_acks(0);
    connection.send(PRODUCE, &request)?;
    let answer = connection.receive_frame();
    ctx.outcome("an unknown topic", &answer, |_| "a reply".to_owned());
    Ok(())
}

fn to_an_unknown_topic(ctx: &mut Ctx) -> Result<()> {
    let nowhere = ctx.name("nowhere");
    ctx.produce("produce", &nowhere, 0, &Batch::of(["a"])).map(drop)
}

fn to_an_unknown_partition(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    for partition in [1, -1] {
        let label = format!("partition {partition}");
        ctx.produce(&label, &topic, partition, &Batch::of(["a"]))?;
    }
    Ok(())
}

fn to_an_invalid_topic(ctx: &mut Ctx) -> Result<()> {
    for name in ["", "a b", "..", "__consumer_offsets"] {
        ctx.produce(&format!("`{name}`"), name, 99, &Batch::of(["a"]))?;
    }
    Ok(())
}

/// Sends batches to partitions of one topic in one request, and writes the answers.
fn several(ctx: &mut Ctx, label: &str, topic: &str, to: &[(i32, &Batch)]) -> Result<()> {
    let data = |(partition, batch): &(i32, &Batch)| {
        PartitionProduceData::default().with_index(*partition).with_records(Some(batch.bytes()))
    };
    let data = TopicProduceData::default()
        .with_name(TopicName(text(topic)))
        .with_partition_data(to.iter().map(data).collect());
    let request =
        ProduceRequest::default().with_acks(-1).with_timeout_ms(10_000).with_topic_data(vec![data]);
    let response = ctx.call(PRODUCE, &request)?;
    let mut answers: Vec<String> = Vec::new();
    for answer in response.responses.iter().flat_map(|topic| &topic.partition_responses) {
        let (index, base) = (answer.index, answer.base_offset);
        answers.push(format!("{index} {} at {base}", code(answer.error_code)));
    }
    answers.sort();
    ctx.say(format!("{label}: {}", answers.join(", ")));
    Ok(())
}

fn to_several_partitions(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 3)?;
    let (one, two) = (Batch::of(["a"]), Batch::of(["b", "c"]));
    several(ctx, "three", &topic, &[(0, &one), (1, &two), (2, &one)])?;
    several(ctx, "again", &topic, &[(2, &one), (1, &two)])
}

fn one_of_several_is_wrong(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 2)?;
    let mut wrong = Batch::of(["a"]);
    wrong.count = Some(9);
    several(ctx, "a bad batch", &topic, &[(0, &wrong), (1, &Batch::of(["b"]))])?;
    several(ctx, "an unknown partition", &topic, &[(7, &wrong), (1, &Batch::of(["b"]))])?;
    ctx.log("log", &topic, 1)
}

fn to_the_same_partition_twice(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    let (one, two) = (Batch::of(["a"]), Batch::of(["b"]));
    several(ctx, "twice", &topic, &[(0, &one), (0, &two)])?;
    let end = ctx.offset_at(&topic, 0, LATEST, Uncommitted)?;
    ctx.say(format!("end {}", end.offset));
    Ok(())
}

fn nothing(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    several(ctx, "no partitions", &topic, &[])?;
    let request = ProduceRequest::default().with_acks(-1).with_timeout_ms(1_000);
    let response = ctx.call(PRODUCE, &request)?;
    ctx.say(format!("no topics: {} answers", response.responses.len()));
    Ok(())
}

fn with_a_negative_timeout(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    for timeout in [0, -1] {
        let request = produce_request(&topic, 0, &Batch::of(["a"])).with_timeout_ms(timeout);
        let answer = ctx.send_records(PRODUCE, &request)?;
        ctx.say(format!("{timeout} ms: {} at {}", code(answer.error_code), answer.base_offset));
    }
    Ok(())
}

fn a_large_batch(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    // 61 bytes of batch and 11 of record, up to Kafka's 1,048,588.
    for size in [1_048_588 - 72, 1_048_588 - 71] {
        let batch = Batch::rows(vec![(None, Some("x".repeat(size)))]);
        let length = batch.bytes().len();
        ctx.produce(&format!("{length} bytes"), &topic, 0, &batch)?;
    }
    let end = ctx.offset_at(&topic, 0, LATEST, Uncommitted)?;
    ctx.say(format!("end {}", end.offset));
    Ok(())
}

fn pipelined(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    let producer = ctx.idempotent()?;
    let mut connection = ctx.connect()?;
    for sequence in 0..5 {
        let batch = Batch::of(["a"]).by(&producer, sequence);
        connection.send(PRODUCE, &produce_request(&topic, 0, &batch))?;
    }
    for _ in 0..5 {
        let response = connection.receive::<ProduceRequest>(PRODUCE)?;
        let answer = &response.responses[0].partition_responses[0];
        ctx.say(format!("{} at {}", code(answer.error_code), answer.base_offset));
    }
    Ok(())
}

fn with_log_append_time(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic_with("t", 1, &[("message.timestamp.type", "LogAppendTime")])?;
    let request = produce_request(&topic, 0, &Batch::of(["a"]).at(5));
    let answer = ctx.send_records(PRODUCE, &request)?;
    let when = if answer.log_append_time_ms > 1_000_000 { "now" } else { "not now" };
    ctx.say(format!("{} at {}, {when}", code(answer.error_code), answer.base_offset));
    let at = ctx.offset_at(&topic, 0, 1_000_000, Uncommitted)?;
    ctx.say(format!("later than 1970: offset {}", at.offset));
    ctx.log("log", &topic, 0)
}

fn larger_than_the_broker_takes(ctx: &mut Ctx) -> Result<()> {
    let mut connection = ctx.connect()?;
    connection.write(&(200 * 1024 * 1024_i32).to_be_bytes())?;
    let answer = connection.receive_frame();
    ctx.outcome("a frame of 200 MiB", &answer, |_| "a reply".to_owned());
    let mut connection = ctx.connect()?;
    connection.write(&(-1_i32).to_be_bytes())?;
    let answer = connection.receive_frame();
    ctx.outcome("a frame of -1 bytes", &answer, |_| "a reply".to_owned());
    Ok(())
}
