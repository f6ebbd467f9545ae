//! Record batches: which are taken, and how they come back.

use anyhow::Result;

use super::connection::Closed;
use super::ctx::{Ctx, code};
use super::logs::{PRODUCE, Uncommitted, produce_bytes};
use super::records::{Batch, t0};

super::named!("batches":
    come_back_as_sent,
    keep_keys_and_nulls,
    get_offset_and_leader_epoch_from_the_broker,
    two_in_one_request,
    with_a_wrong_checksum,
    of_an_old_magic,
    of_an_unknown_magic,
    that_are_empty,
    that_hold_no_records,
    that_are_cut_off,
    with_a_wrong_count,
    with_a_wrong_last_offset,
    with_the_control_bit,
    with_the_transactional_bit_alone,
    without_a_key_on_a_compacted_topic,
    too_large,
    of_every_compression,
    with_a_negative_timestamp,
);

fn come_back_as_sent(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    ctx.produce("first", &topic, 0, &Batch::of(["a", "b", "c"]))?;
    ctx.produce("second", &topic, 0, &Batch::of(["d"]))?;
    ctx.log("log", &topic, 0)?;
    ctx.read("from the middle of a batch", &topic, 0, 1, Uncommitted)?;
    ctx.read("from the end", &topic, 0, 4, Uncommitted)?;
    ctx.read("from beyond the end", &topic, 0, 5, Uncommitted)?;
    ctx.read("from a negative offset", &topic, 0, -1, Uncommitted)
}

fn keep_keys_and_nulls(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    let rows = vec![
        (Some("k".to_owned()), Some("v".to_owned())),
        (Some("k".to_owned()), None),
        (None, None),
        (Some(String::new()), Some(String::new())),
    ];
    ctx.produce("batch", &topic, 0, &Batch::rows(rows))?;
    ctx.log("log", &topic, 0)
}

fn get_offset_and_leader_epoch_from_the_broker(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    let mut batch = Batch::of(["a", "b"]);
    batch.leader_epoch = 7;
    ctx.produce("a leader epoch of its own", &topic, 0, &batch)?;
    batch.base_offset = 40;
    ctx.produce("a base offset of its own", &topic, 0, &batch)?;
    ctx.log("log", &topic, 0)
}

/// Sends bytes as they are, and writes the answer.
fn send(ctx: &mut Ctx, label: &str, topic: &str, bytes: bytes::Bytes) -> Result<()> {
    let answer = ctx.send_records(PRODUCE, &produce_bytes(topic, 0, bytes));
    if let Err(error) = &answer
        && !error.is::<Closed>()
    {
        return answer.map(drop);
    }
    ctx.outcome(label, &answer, |answer| {
        format!(
            "{} at {}, {} record errors",
            code(answer.error_code),
            answer.base_offset,
            answer.record_errors.len()
        )
    });
    Ok(())
}

fn two_in_one_request(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    let mut both = Batch::of(["a"]).bytes().to_vec();
    both.extend_from_slice(&Batch::of(["b"]).bytes());
    send(ctx, "two batches", &topic, both.into())?;
    ctx.log("log", &topic, 0)
}

fn with_a_wrong_checksum(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    let mut bytes = Batch::of(["a"]).bytes().to_vec();
    bytes[17] ^= 1;
    send(ctx, "batch", &topic, bytes.into())?;
    ctx.log("log", &topic, 0)
}

fn of_an_old_magic(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    for magic in [0, 1] {
        let mut batch = Batch::of(["a"]);
        batch.magic = magic;
        send(ctx, &format!("magic {magic}"), &topic, batch.bytes())?;
    }
    ctx.log("log", &topic, 0)
}

fn of_an_unknown_magic(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    let mut batch = Batch::of(["a"]);
    batch.magic = 3;
    send(ctx, "magic 3", &topic, batch.bytes())?;
    ctx.log("log", &topic, 0)
}

fn that_are_empty(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    send(ctx, "no bytes", &topic, bytes::Bytes::new())?;
    ctx.log("log", &topic, 0)
}

fn that_hold_no_records(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    send(ctx, "no records", &topic, Batch::of([]).bytes())?;
    ctx.log("log", &topic, 0)
}

fn that_are_cut_off(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    let whole = Batch::of(["a", "b"]).bytes();
    for left in [11, 30, whole.len() - 1] {
        send(ctx, &format!("{left} bytes"), &topic, whole.slice(..left))?;
    }
    ctx.log("log", &topic, 0)
}

fn with_a_wrong_count(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    for count in [1, 3, -1] {
        let mut batch = Batch::of(["a", "b"]);
        batch.count = Some(count);
        send(ctx, &format!("count {count}"), &topic, batch.bytes())?;
    }
    ctx.log("log", &topic, 0)
}

fn with_a_wrong_last_offset(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    for delta in [0, 5, -1] {
        let mut batch = Batch::of(["a", "b"]);
        batch.last_offset_delta = Some(delta);
        send(ctx, &format!("last offset delta {delta}"), &topic, batch.bytes())?;
    }
    ctx.log("log", &topic, 0)
}

fn with_the_control_bit(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    send(ctx, "control", &topic, Batch::of(["a"]).with(0x20).bytes())?;
    ctx.log("log", &topic, 0)
}

fn with_the_transactional_bit_alone(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    send(ctx, "transactional, without a producer", &topic, Batch::of(["a"]).with(0x10).bytes())?;
    ctx.log("log", &topic, 0)
}

fn without_a_key_on_a_compacted_topic(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic_with("t", 1, &[("cleanup.policy", "compact")])?;
    send(ctx, "without a key", &topic, Batch::of(["a", "b"]).bytes())?;
    send(ctx, "with a key", &topic, Batch::keyed([("k", "v")]).bytes())?;
    ctx.log("log", &topic, 0)
}

fn too_large(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic_with("t", 1, &[("max.message.bytes", "100")])?;
    let row = |value: usize| (None, Some("x".repeat(value)));
    // 61 bytes of batch and 7 of record.
    for size in [32, 33, 200] {
        let batch = Batch::rows(vec![row(size)]).bytes();
        let length = batch.len();
        send(ctx, &format!("{length} bytes"), &topic, batch)?;
    }
    ctx.log("log", &topic, 0)
}

fn of_every_compression(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    for (codec, attributes) in [("gzip", 1), ("snappy", 2), ("lz4", 3), ("zstd", 4), ("none", 5)] {
        let batch = Batch::of(["a"]).with(attributes);
        send(ctx, &format!("what is not {codec}"), &topic, batch.bytes())?;
    }
    ctx.log("log", &topic, 0)
}

fn with_a_negative_timestamp(ctx: &mut Ctx) -> Result<()> {
    // The broker looks every half second for records that are older than their retention.
    let topic = ctx.topic_with("t", 1, &[("retention.ms", "-1")])?;
    for time in [-1, -2, 0, t0()] {
        ctx.produce("batch", &topic, 0, &Batch::of(["a"]).at(time))?;
    }
    ctx.log("log", &topic, 0)
}
