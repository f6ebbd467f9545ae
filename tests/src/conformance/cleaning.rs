//! What a log loses by itself: superseded keys, tombstones, what is too old.

use std::time::Duration;

use anyhow::{Context, Result};

use super::ctx::{Ctx, wait};
use super::logs::{Committed, EARLIEST, FETCH, LATEST, Uncommitted, fetch_request};
use super::records::{Batch, read, t0};

super::named!("cleaning":
    superseded_keys_go,
    offsets_stay,
    tombstones_go_after_a_while,
    aborted_records_go,
    old_records_go,
    the_youngest_records_stay,
);

const COMPACT: [(&str, &str); 4] = [
    ("cleanup.policy", "compact"),
    ("segment.ms", "100"),
    ("min.cleanable.dirty.ratio", "0.01"),
    ("delete.retention.ms", "100"),
];

/// The log's records, without markers: offset, key, value.
fn records(ctx: &mut Ctx, topic: &str) -> Result<Vec<String>> {
    let response = ctx.call(FETCH, &fetch_request(topic, 0, 0, Uncommitted))?;
    let topic = response.responses.first().context("no topic")?;
    let data = topic.partitions.first().context("no partition")?;
    let mut found = Vec::new();
    for batch in read(data.records.clone().unwrap_or_default())? {
        for record in batch.records.iter().filter(|_| !batch.is_control()) {
            let show = |bytes: &Option<bytes::Bytes>| {
                let text = bytes.as_ref().map(|bytes| String::from_utf8_lossy(bytes).into_owned());
                text.unwrap_or_else(|| "-".to_owned())
            };
            found.push(format!("{}:{}={}", record.offset, show(&record.key), show(&record.value)));
        }
    }
    Ok(found)
}

/// Begins new segments until the log is as it should be; what is in the newest is never cleaned.
fn cleaned(ctx: &mut Ctx, topic: &str, done: impl Fn(&[String]) -> bool) -> Result<Vec<String>> {
    let mut round = 0;
    wait("the cleaner", || {
        std::thread::sleep(Duration::from_millis(150));
        round += 1;
        // Kafka begins a segment by the records' time.
        let tick = Batch::keyed([("tick", "1")]).at(t0() + 1_000 * round);
        ctx.fill(topic, 0, &tick)?;
        let found = records(ctx, topic)?;
        let mut rest: Vec<String> = found;
        rest.retain(|record| !record.contains(":tick="));
        Ok(done(&rest).then_some(rest))
    })
}

fn superseded_keys_go(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic_with("t", 1, &COMPACT)?;
    ctx.fill(&topic, 0, &Batch::keyed([("a", "1"), ("b", "1"), ("a", "2")]))?;
    ctx.fill(&topic, 0, &Batch::keyed([("c", "1"), ("a", "3")]))?;
    let left = cleaned(ctx, &topic, |left| left.len() == 3)?;
    ctx.say(left.join(" "));
    Ok(())
}

fn offsets_stay(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic_with("t", 1, &COMPACT)?;
    for value in ["1", "2", "3"] {
        ctx.fill(&topic, 0, &Batch::keyed([("a", value)]))?;
    }
    let left = cleaned(ctx, &topic, |left| left.len() == 1)?;
    ctx.say(left.join(" "));
    ctx.offset("earliest", &topic, 0, EARLIEST, Uncommitted)?;
    let response = ctx.call(FETCH, &fetch_request(&topic, 0, 1, Uncommitted))?;
    let topic = response.responses.first().context("no topic")?;
    let data = topic.partitions.first().context("no partition")?;
    let batches = read(data.records.clone().unwrap_or_default())?;
    let first = batches.iter().flat_map(|b| &b.records).find(|record| record.offset >= 1);
    ctx.say(format!("from a gap: {:?}", first.map(|record| record.offset)));
    Ok(())
}

fn tombstones_go_after_a_while(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic_with("t", 1, &COMPACT)?;
    ctx.fill(&topic, 0, &Batch::keyed([("a", "1"), ("b", "1"), ("a", "-")]))?;
    let left = cleaned(ctx, &topic, |left| left.len() == 1)?;
    ctx.say(left.join(" "));
    Ok(())
}

fn aborted_records_go(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic_with("t", 1, &COMPACT)?;
    let producer = ctx.transactional("id")?;
    ctx.fill(&topic, 0, &Batch::keyed([("a", "1")]))?;
    ctx.begin(&producer, &topic, &[0])?;
    ctx.fill(&topic, 0, &Batch::keyed([("a", "2"), ("b", "2")]).by(&producer, 0))?;
    ctx.end("abort", &producer, false)?;
    ctx.settle(&topic, 0)?;
    let left = cleaned(ctx, &topic, |left| left.len() == 1)?;
    ctx.say(left.join(" "));
    Ok(())
}

fn old_records_go(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic_with("t", 1, &[("retention.ms", "1000"), ("segment.ms", "100")])?;
    ctx.fill(&topic, 0, &Batch::of(["a", "b"]))?;
    wait("retention", || {
        let first = ctx.offset_at(&topic, 0, EARLIEST, Uncommitted)?;
        Ok((first.offset == 2).then_some(()))
    })?;
    ctx.offset("latest", &topic, 0, LATEST, Committed)?;
    ctx.produce("produce", &topic, 0, &Batch::of(["c"]).at(t0() + 3_600_000))?;
    ctx.read("from 0", &topic, 0, 0, Uncommitted)
}

fn the_youngest_records_stay(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic_with("t", 1, &[("retention.ms", "1800000"), ("segment.ms", "100")])?;
    ctx.fill(&topic, 0, &Batch::of(["old"]))?;
    std::thread::sleep(Duration::from_millis(150));
    ctx.fill(&topic, 0, &Batch::of(["young"]).at(t0() + 3_600_000))?;
    wait("retention", || {
        let first = ctx.offset_at(&topic, 0, EARLIEST, Uncommitted)?;
        Ok((first.offset == 1).then_some(()))
    })?;
    ctx.read("from 1", &topic, 0, 1, Uncommitted)
}
