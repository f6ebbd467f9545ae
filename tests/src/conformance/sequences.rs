//! Idempotent producers: sequences, repetitions, gaps.

use anyhow::Result;

use super::ctx::Ctx;
use super::records::Batch;

super::named!("sequences":
    go_on_batch_by_batch,
    a_repetition_is_answered_as_before,
    a_repetition_of_each_of_five_batches,
    a_repetition_older_than_five_batches,
    a_repetition_that_is_longer,
    a_gap,
    a_first_batch_that_does_not_begin_at_zero,
    a_negative_sequence,
    wrap_around,
    wrap_around_within_a_batch,
    are_counted_per_partition,
    a_higher_epoch_begins_at_zero,
    a_higher_epoch_that_does_not_begin_at_zero,
    a_lower_epoch,
    a_negative_epoch,
    a_producer_that_nobody_gave_an_id,
    two_producers_in_one_log,
);

fn go_on_batch_by_batch(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    let producer = ctx.idempotent()?;
    ctx.produce("0-1", &topic, 0, &Batch::of(["a", "b"]).by(&producer, 0))?;
    ctx.produce("2", &topic, 0, &Batch::of(["c"]).by(&producer, 2))?;
    ctx.produce("3-5", &topic, 0, &Batch::of(["d", "e", "f"]).by(&producer, 3))?;
    ctx.log("log", &topic, 0)
}

fn a_repetition_is_answered_as_before(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    let producer = ctx.idempotent()?;
    ctx.fill(&topic, 0, &Batch::of(["plain"]))?;
    let batch = Batch::of(["a", "b"]).by(&producer, 0);
    ctx.produce("first", &topic, 0, &batch)?;
    ctx.produce("again", &topic, 0, &batch)?;
    ctx.fill(&topic, 0, &Batch::of(["plain"]))?;
    ctx.produce("and again", &topic, 0, &batch)?;
    ctx.log("log", &topic, 0)
}

fn numbered(ctx: &mut Ctx, batches: i32) -> Result<(String, super::ctx::Producer)> {
    let topic = ctx.topic("t", 1)?;
    let producer = ctx.idempotent()?;
    for sequence in 0..batches {
        ctx.fill(&topic, 0, &Batch::of(["a"]).by(&producer, sequence))?;
    }
    Ok((topic, producer))
}

fn a_repetition_of_each_of_five_batches(ctx: &mut Ctx) -> Result<()> {
    let (topic, producer) = numbered(ctx, 7)?;
    for sequence in 2..7 {
        let batch = Batch::of(["a"]).by(&producer, sequence);
        ctx.produce(&format!("sequence {sequence} again"), &topic, 0, &batch)?;
    }
    ctx.produce("the next", &topic, 0, &Batch::of(["b"]).by(&producer, 7))?;
    ctx.log("log", &topic, 0)
}

fn a_repetition_older_than_five_batches(ctx: &mut Ctx) -> Result<()> {
    let (topic, producer) = numbered(ctx, 7)?;
    for sequence in 0..2 {
        let batch = Batch::of(["a"]).by(&producer, sequence);
        ctx.produce(&format!("sequence {sequence} again"), &topic, 0, &batch)?;
    }
    ctx.produce("the next", &topic, 0, &Batch::of(["b"]).by(&producer, 7))?;
    Ok(())
}

fn a_repetition_that_is_longer(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    let producer = ctx.idempotent()?;
    ctx.produce("0-1", &topic, 0, &Batch::of(["a", "b"]).by(&producer, 0))?;
    ctx.produce("0-2", &topic, 0, &Batch::of(["a", "b", "c"]).by(&producer, 0))?;
    ctx.produce("1-2", &topic, 0, &Batch::of(["b", "c"]).by(&producer, 1))?;
    ctx.produce("1", &topic, 0, &Batch::of(["b"]).by(&producer, 1))?;
    ctx.produce("2", &topic, 0, &Batch::of(["c"]).by(&producer, 2))?;
    ctx.log("log", &topic, 0)
}

fn a_gap(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    let producer = ctx.idempotent()?;
    ctx.produce("0", &topic, 0, &Batch::of(["a"]).by(&producer, 0))?;
    ctx.produce("2", &topic, 0, &Batch::of(["c"]).by(&producer, 2))?;
    ctx.produce("1", &topic, 0, &Batch::of(["b"]).by(&producer, 1))?;
    ctx.log("log", &topic, 0)
}

fn a_first_batch_that_does_not_begin_at_zero(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    let producer = ctx.idempotent()?;
    ctx.produce("7", &topic, 0, &Batch::of(["a"]).by(&producer, 7))?;
    ctx.produce("8", &topic, 0, &Batch::of(["b"]).by(&producer, 8))?;
    ctx.produce("0", &topic, 0, &Batch::of(["c"]).by(&producer, 0))?;
    ctx.log("log", &topic, 0)
}

fn a_negative_sequence(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    let producer = ctx.idempotent()?;
    for sequence in [-1, -2] {
        let batch = Batch::of(["a"]).by(&producer, sequence);
        ctx.produce(&format!("sequence {sequence}"), &topic, 0, &batch)?;
    }
    ctx.log("log", &topic, 0)
}

fn wrap_around(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    let producer = ctx.idempotent()?;
    ctx.produce("the greatest", &topic, 0, &Batch::of(["a"]).by(&producer, i32::MAX))?;
    ctx.produce("zero", &topic, 0, &Batch::of(["b"]).by(&producer, 0))?;
    ctx.produce("the greatest again", &topic, 0, &Batch::of(["a"]).by(&producer, i32::MAX))?;
    ctx.produce("one", &topic, 0, &Batch::of(["c"]).by(&producer, 1))?;
    ctx.log("log", &topic, 0)
}

fn wrap_around_within_a_batch(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    let producer = ctx.idempotent()?;
    let across = Batch::of(["a", "b", "c"]).by(&producer, i32::MAX - 1);
    ctx.produce("across", &topic, 0, &across)?;
    ctx.produce("across, again", &topic, 0, &across)?;
    ctx.produce("zero", &topic, 0, &Batch::of(["d"]).by(&producer, 0))?;
    ctx.produce("one", &topic, 0, &Batch::of(["d"]).by(&producer, 1))?;
    ctx.log("log", &topic, 0)
}

fn are_counted_per_partition(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 2)?;
    let producer = ctx.idempotent()?;
    for partition in [0, 1] {
        let batch = Batch::of(["a"]).by(&producer, 0);
        ctx.produce(&format!("partition {partition}"), &topic, partition, &batch)?;
    }
    ctx.produce("partition 1 goes on", &topic, 1, &Batch::of(["b"]).by(&producer, 1))?;
    ctx.produce("partition 0 has a gap", &topic, 0, &Batch::of(["b"]).by(&producer, 2))?;
    Ok(())
}

fn a_higher_epoch_begins_at_zero(ctx: &mut Ctx) -> Result<()> {
    let (topic, producer) = numbered(ctx, 2)?;
    let next = producer.in_epoch(5);
    ctx.produce("epoch 5", &topic, 0, &Batch::of(["b"]).by(&next, 0))?;
    ctx.produce("epoch 0 again", &topic, 0, &Batch::of(["c"]).by(&producer, 2))?;
    ctx.log("log", &topic, 0)
}

fn a_higher_epoch_that_does_not_begin_at_zero(ctx: &mut Ctx) -> Result<()> {
    let (topic, producer) = numbered(ctx, 2)?;
    ctx.produce("epoch 1", &topic, 0, &Batch::of(["b"]).by(&producer.in_epoch(1), 2))?;
    ctx.produce("epoch 0 goes on", &topic, 0, &Batch::of(["c"]).by(&producer, 2))?;
    ctx.log("log", &topic, 0)
}

fn a_lower_epoch(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    let producer = ctx.idempotent()?;
    ctx.produce("epoch 3", &topic, 0, &Batch::of(["a"]).by(&producer.in_epoch(3), 0))?;
    ctx.produce("epoch 2", &topic, 0, &Batch::of(["b"]).by(&producer.in_epoch(2), 0))?;
    ctx.produce("epoch 2 goes on", &topic, 0, &Batch::of(["b"]).by(&producer.in_epoch(2), 1))?;
    ctx.log("log", &topic, 0)
}

fn a_negative_epoch(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    let producer = ctx.idempotent()?;
    ctx.produce("epoch -1", &topic, 0, &Batch::of(["a"]).by(&producer.in_epoch(-1), 0))?;
    ctx.log("log", &topic, 0)
}

fn a_producer_that_nobody_gave_an_id(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    let mut producer = ctx.idempotent()?;
    producer.id = 1 << 40;
    ctx.produce("an id out of the air", &topic, 0, &Batch::of(["a"]).by(&producer, 0))?;
    ctx.log("log", &topic, 0)
}

fn two_producers_in_one_log(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    let (first, second) = (ctx.idempotent()?, ctx.idempotent()?);
    for sequence in 0..2 {
        ctx.produce("first", &topic, 0, &Batch::of(["1"]).by(&first, sequence))?;
        ctx.produce("second", &topic, 0, &Batch::of(["2"]).by(&second, sequence))?;
    }
    ctx.log("log", &topic, 0)
}
