//! What is read before, while and after transactions are decided.

use anyhow::Result;

use super::ctx::Ctx;
use super::logs::{Committed, EARLIEST, LATEST, Uncommitted};
use super::records::Batch;

super::named!("isolation":
    an_open_transaction_is_hidden,
    a_committed_one_is_seen,
    an_aborted_one_is_listed,
    plain_records_behind_an_open_one_wait,
    the_oldest_open_one_holds_the_rest,
    transactions_that_interleave,
    aborted_ones_are_listed_where_they_matter,
    a_reader_who_sees_all_gets_no_list,
    latest_depends_on_isolation,
    a_reader_at_the_last_stable_offset,
    a_reader_beyond_the_last_stable_offset,
    an_empty_transaction_leaves_a_marker,
    a_transaction_over_partitions,
);

fn an_open_transaction_is_hidden(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    let producer = ctx.transactional("id")?;
    ctx.fill(&topic, 0, &Batch::of(["before"]))?;
    ctx.begin(&producer, &topic, &[0])?;
    ctx.produce("in the transaction", &topic, 0, &Batch::of(["a", "b"]).by(&producer, 0))?;
    ctx.read("committed", &topic, 0, 0, Committed)?;
    ctx.read("uncommitted", &topic, 0, 0, Uncommitted)
}

fn a_committed_one_is_seen(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    let producer = ctx.transactional("id")?;
    ctx.begin(&producer, &topic, &[0])?;
    ctx.fill(&topic, 0, &Batch::of(["a", "b"]).by(&producer, 0))?;
    ctx.end("commit", &producer, true)?;
    ctx.settle(&topic, 0)?;
    ctx.read("committed", &topic, 0, 0, Committed)
}

fn an_aborted_one_is_listed(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    let producer = ctx.transactional("id")?;
    ctx.begin(&producer, &topic, &[0])?;
    ctx.fill(&topic, 0, &Batch::of(["a", "b"]).by(&producer, 0))?;
    ctx.end("abort", &producer, false)?;
    ctx.settle(&topic, 0)?;
    ctx.read("committed", &topic, 0, 0, Committed)
}

fn plain_records_behind_an_open_one_wait(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    let producer = ctx.transactional("id")?;
    ctx.begin(&producer, &topic, &[0])?;
    ctx.fill(&topic, 0, &Batch::of(["a"]).by(&producer, 0))?;
    ctx.fill(&topic, 0, &Batch::of(["plain"]))?;
    ctx.read("while it is open", &topic, 0, 0, Committed)?;
    ctx.end("commit", &producer, true)?;
    ctx.settle(&topic, 0)?;
    ctx.read("after", &topic, 0, 0, Committed)
}

fn the_oldest_open_one_holds_the_rest(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    let (first, second) = (ctx.transactional("first")?, ctx.transactional("second")?);
    for (producer, value) in [(&first, "1"), (&second, "2")] {
        ctx.begin(producer, &topic, &[0])?;
        ctx.fill(&topic, 0, &Batch::of([value]).by(producer, 0))?;
    }
    ctx.end("the second commits", &second, true)?;
    super::ctx::wait("the second's marker", || {
        let end = ctx.offset_at(&topic, 0, LATEST, Uncommitted)?;
        Ok((end.offset == 3).then_some(()))
    })?;
    ctx.read("the first is open", &topic, 0, 0, Committed)?;
    ctx.end("the first aborts", &first, false)?;
    ctx.settle(&topic, 0)?;
    ctx.read("all are decided", &topic, 0, 0, Committed)
}

fn transactions_that_interleave(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    let (first, second) = (ctx.transactional("first")?, ctx.transactional("second")?);
    ctx.begin(&first, &topic, &[0])?;
    ctx.begin(&second, &topic, &[0])?;
    ctx.fill(&topic, 0, &Batch::of(["1a"]).by(&first, 0))?;
    ctx.fill(&topic, 0, &Batch::of(["2a"]).by(&second, 0))?;
    ctx.fill(&topic, 0, &Batch::of(["1b"]).by(&first, 1))?;
    ctx.fill(&topic, 0, &Batch::of(["2b"]).by(&second, 1))?;
    ctx.end("the first aborts", &first, false)?;
    super::ctx::wait("the first's marker", || {
        let stable = ctx.offset_at(&topic, 0, LATEST, Committed)?;
        Ok((stable.offset == 1).then_some(()))
    })?;
    ctx.read("the second is open", &topic, 0, 0, Committed)?;
    ctx.end("the second aborts", &second, false)?;
    ctx.settle(&topic, 0)?;
    ctx.read("all are decided", &topic, 0, 0, Committed)
}

fn aborted_ones_are_listed_where_they_matter(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    let producer = ctx.transactional("id")?;
    for (round, commit) in [(0, false), (1, true), (2, false)] {
        ctx.begin(&producer, &topic, &[0])?;
        ctx.fill(&topic, 0, &Batch::of(["a"]).by(&producer, round))?;
        ctx.end("end", &producer, commit)?;
        ctx.settle(&topic, 0)?;
    }
    for offset in 0..=6 {
        ctx.read(&format!("from {offset}"), &topic, 0, offset, Committed)?;
    }
    Ok(())
}

fn a_reader_who_sees_all_gets_no_list(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    let producer = ctx.transactional("id")?;
    ctx.begin(&producer, &topic, &[0])?;
    ctx.fill(&topic, 0, &Batch::of(["a"]).by(&producer, 0))?;
    ctx.end("abort", &producer, false)?;
    ctx.settle(&topic, 0)?;
    ctx.log("uncommitted", &topic, 0)?;
    let empty = ctx.topic("empty", 1)?;
    ctx.read("uncommitted, an empty log", &empty, 0, 0, Uncommitted)?;
    ctx.read("committed, an empty log", &empty, 0, 0, Committed)
}

fn latest_depends_on_isolation(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    let producer = ctx.transactional("id")?;
    ctx.fill(&topic, 0, &Batch::of(["before"]))?;
    ctx.begin(&producer, &topic, &[0])?;
    ctx.fill(&topic, 0, &Batch::of(["a", "b"]).by(&producer, 0))?;
    ctx.offset("latest, uncommitted", &topic, 0, LATEST, Uncommitted)?;
    ctx.offset("latest, committed", &topic, 0, LATEST, Committed)?;
    ctx.offset("earliest, committed", &topic, 0, EARLIEST, Committed)?;
    ctx.end("commit", &producer, true)?;
    ctx.settle(&topic, 0)?;
    ctx.offset("latest, committed, after", &topic, 0, LATEST, Committed)
}

fn a_reader_at_the_last_stable_offset(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    let producer = ctx.transactional("id")?;
    ctx.fill(&topic, 0, &Batch::of(["before"]))?;
    ctx.begin(&producer, &topic, &[0])?;
    ctx.fill(&topic, 0, &Batch::of(["a"]).by(&producer, 0))?;
    ctx.read("at the last stable offset", &topic, 0, 1, Committed)
}

fn a_reader_beyond_the_last_stable_offset(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    let producer = ctx.transactional("id")?;
    ctx.begin(&producer, &topic, &[0])?;
    ctx.fill(&topic, 0, &Batch::of(["a", "b", "c"]).by(&producer, 0))?;
    for offset in [2, 3, 4] {
        ctx.read(&format!("from {offset}"), &topic, 0, offset, Committed)?;
    }
    Ok(())
}

fn an_empty_transaction_leaves_a_marker(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    let producer = ctx.transactional("id")?;
    for commit in [true, false] {
        ctx.begin(&producer, &topic, &[0])?;
        ctx.end("end", &producer, commit)?;
    }
    super::ctx::wait("both markers", || {
        let end = ctx.offset_at(&topic, 0, LATEST, Uncommitted)?;
        Ok((end.offset == 2).then_some(()))
    })?;
    ctx.read("committed", &topic, 0, 0, Committed)
}

fn a_transaction_over_partitions(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 3)?;
    let producer = ctx.transactional("id")?;
    ctx.begin(&producer, &topic, &[0, 2])?;
    for partition in [0, 2] {
        ctx.fill(&topic, partition, &Batch::of(["a"]).by(&producer, 0))?;
    }
    ctx.end("commit", &producer, true)?;
    for partition in 0..3 {
        ctx.settle(&topic, partition)?;
        ctx.read(&format!("partition {partition}"), &topic, partition, 0, Committed)?;
    }
    Ok(())
}
