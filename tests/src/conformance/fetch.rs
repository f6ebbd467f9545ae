//! Fetch requests: long polls, limits, addresses, sessions.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::{FetchRequest, TopicName};

use super::ctx::{Ctx, code, text};
use super::logs::{Committed, FETCH, Isolation, Uncommitted, fetch_request};
use super::records::{Batch, read};

super::named!("fetch":
    waits_for_records,
    waits_for_enough_bytes,
    gives_up_waiting,
    does_not_wait_for_what_is_there,
    does_not_wait_for_an_error,
    waits_for_a_commit,
    does_not_wait_when_told_to_need_nothing,
    the_first_batch_comes_whole,
    a_limit_for_each_partition,
    a_limit_for_all_partitions,
    limits_that_are_nothing,
    an_unknown_topic,
    an_unknown_partition,
    several_partitions,
    no_partitions,
    a_leader_epoch_that_is_not,
    an_unknown_session,
    a_session_epoch_without_a_session,
    a_first_fetch_of_a_session,
    an_empty_log,
);

fn waiting(topic: &str, isolation: Isolation, min_bytes: i32, wait_ms: i32) -> FetchRequest {
    fetch_request(topic, 0, 0, isolation).with_min_bytes(min_bytes).with_max_wait_ms(wait_ms)
}

fn say(ctx: &mut Ctx, label: &str, request: &FetchRequest) -> Result<()> {
    let response = ctx.call(FETCH, request)?;
    ctx.say(format!("{label}: {}", code(response.error_code)));
    let mut found: Vec<_> = response
        .responses
        .iter()
        .flat_map(|topic| topic.partitions.iter().map(|data| (topic.topic.to_string(), data)))
        .collect();
    found.sort_by_key(|(topic, data)| (topic.clone(), data.partition_index));
    for (_, data) in found {
        let label = format!("  partition {}", data.partition_index);
        ctx.say_fetched(&label, data)?;
    }
    Ok(())
}

/// Fetches on a connection of its own, lets `meanwhile` happen, and writes the answer.
fn parked(
    ctx: &mut Ctx,
    request: &FetchRequest,
    meanwhile: impl FnOnce(&mut Ctx) -> Result<()>,
) -> Result<()> {
    let mut connection = ctx.connect()?;
    connection.send(FETCH, request)?;
    meanwhile(ctx)?;
    let response = connection.receive::<FetchRequest>(FETCH)?;
    let topic = response.responses.first().context("no topic")?;
    let data = topic.partitions.first().context("no partition")?.clone();
    ctx.say_fetched("fetched", &data)
}

fn waits_for_records(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    parked(ctx, &waiting(&topic, Uncommitted, 1, 30_000), |ctx| {
        std::thread::sleep(Duration::from_millis(100));
        ctx.fill(&topic, 0, &Batch::of(["a"]))
    })
}

fn waits_for_enough_bytes(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    let size = i32::try_from(Batch::of(["a"]).bytes().len())?;
    parked(ctx, &waiting(&topic, Uncommitted, 2 * size, 30_000), |ctx| {
        for value in ["a", "b"] {
            std::thread::sleep(Duration::from_millis(50));
            ctx.fill(&topic, 0, &Batch::of([value]))?;
        }
        Ok(())
    })
}

fn gives_up_waiting(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    let since = Instant::now();
    say(ctx, "nothing came", &waiting(&topic, Uncommitted, 1, 300))?;
    let waited = since.elapsed() >= Duration::from_millis(290);
    ctx.say(format!("it waited: {waited}"));
    ctx.fill(&topic, 0, &Batch::of(["a"]))?;
    say(ctx, "too little came", &waiting(&topic, Uncommitted, 10_000, 300))
}

fn does_not_wait_for_what_is_there(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    ctx.fill(&topic, 0, &Batch::of(["a"]))?;
    let since = Instant::now();
    say(ctx, "there", &waiting(&topic, Uncommitted, 1, 20_000))?;
    ctx.say(format!("at once: {}", since.elapsed() < Duration::from_secs(10)));
    Ok(())
}

fn does_not_wait_for_an_error(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    let since = Instant::now();
    let mut request = waiting(&topic, Uncommitted, 1, 20_000);
    request.topics[0].partitions[0].fetch_offset = 9;
    say(ctx, "out of range", &request)?;
    let nowhere = ctx.name("nowhere");
    say(ctx, "an unknown topic", &waiting(&nowhere, Uncommitted, 1, 20_000))?;
    ctx.say(format!("at once: {}", since.elapsed() < Duration::from_secs(10)));
    Ok(())
}

fn waits_for_a_commit(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    let producer = ctx.transactional("id")?;
    ctx.begin(&producer, &topic, &[0])?;
    ctx.fill(&topic, 0, &Batch::of(["a"]).by(&producer, 0))?;
    parked(ctx, &waiting(&topic, Committed, 1, 30_000), |ctx| {
        std::thread::sleep(Duration::from_millis(100));
        ctx.end("commit", &producer, true).map(drop)
    })
}

fn does_not_wait_when_told_to_need_nothing(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    let since = Instant::now();
    say(ctx, "no bytes needed", &waiting(&topic, Uncommitted, 0, 20_000))?;
    say(ctx, "no time given", &waiting(&topic, Uncommitted, 1, 0))?;
    say(ctx, "a negative time", &waiting(&topic, Uncommitted, 1, -1))?;
    ctx.say(format!("at once: {}", since.elapsed() < Duration::from_secs(10)));
    Ok(())
}

fn filled(ctx: &mut Ctx, partitions: i32) -> Result<String> {
    let topic = ctx.topic("t", partitions)?;
    for partition in 0..partitions {
        for value in ["a", "b", "c"] {
            ctx.fill(&topic, partition, &Batch::of([value]))?;
        }
    }
    Ok(topic)
}

fn the_first_batch_comes_whole(ctx: &mut Ctx) -> Result<()> {
    let topic = filled(ctx, 1)?;
    let mut request = fetch_request(&topic, 0, 0, Uncommitted);
    request.topics[0].partitions[0].partition_max_bytes = 1;
    say(ctx, "one byte of the partition", &request)?;
    let request = fetch_request(&topic, 0, 1, Uncommitted).with_max_bytes(1);
    say(ctx, "one byte of all", &request)
}

/// How many whole batches each partition gives.
fn counts(ctx: &mut Ctx, label: &str, request: &FetchRequest) -> Result<()> {
    let response = ctx.call(FETCH, request)?;
    let mut counts = Vec::new();
    for data in response.responses.iter().flat_map(|topic| &topic.partitions) {
        let batches = read(data.records.clone().unwrap_or_default())?.len();
        counts.push(format!("{}:{batches}", data.partition_index));
    }
    ctx.say(format!("{label}: {}", counts.join(" ")));
    Ok(())
}

fn a_limit_for_each_partition(ctx: &mut Ctx) -> Result<()> {
    let topic = filled(ctx, 1)?;
    let size = i32::try_from(Batch::of(["a"]).bytes().len())?;
    for bytes in [size - 1, size, size + 1, 2 * size - 1, 2 * size, 3 * size] {
        let mut request = fetch_request(&topic, 0, 0, Uncommitted);
        request.topics[0].partitions[0].partition_max_bytes = bytes;
        counts(ctx, &format!("{} bytes more than a batch", bytes - size), &request)?;
    }
    Ok(())
}

fn a_limit_for_all_partitions(ctx: &mut Ctx) -> Result<()> {
    let topic = filled(ctx, 2)?;
    let size = i32::try_from(Batch::of(["a"]).bytes().len())?;
    for bytes in [1, size, 3 * size, 4 * size, 6 * size] {
        let mut request = fetch_request(&topic, 0, 0, Uncommitted).with_max_bytes(bytes);
        let second = request.topics[0].partitions[0].clone().with_partition(1);
        request.topics[0].partitions.push(second);
        counts(ctx, &format!("{bytes} bytes"), &request)?;
    }
    Ok(())
}

fn limits_that_are_nothing(ctx: &mut Ctx) -> Result<()> {
    let topic = filled(ctx, 1)?;
    for bytes in [0, -1] {
        let request = fetch_request(&topic, 0, 0, Uncommitted).with_max_bytes(bytes);
        counts(ctx, &format!("{bytes} bytes of all"), &request)?;
        let mut request = fetch_request(&topic, 0, 0, Uncommitted);
        request.topics[0].partitions[0].partition_max_bytes = bytes;
        counts(ctx, &format!("{bytes} bytes of the partition"), &request)?;
    }
    Ok(())
}

fn an_unknown_topic(ctx: &mut Ctx) -> Result<()> {
    let nowhere = ctx.name("nowhere");
    say(ctx, "fetch", &fetch_request(&nowhere, 0, 0, Uncommitted))?;
    say(ctx, "no name", &fetch_request("", 0, 0, Uncommitted))
}

fn an_unknown_partition(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    for partition in [1, -1] {
        say(ctx, "fetch", &fetch_request(&topic, partition, 0, Uncommitted))?;
    }
    Ok(())
}

fn several_partitions(ctx: &mut Ctx) -> Result<()> {
    let (one, two) = (filled(ctx, 2)?, ctx.topic("two", 1)?);
    let asked = |partition: i32, offset: i64| {
        FetchPartition::default()
            .with_partition(partition)
            .with_fetch_offset(offset)
            .with_partition_max_bytes(1 << 20)
    };
    let mut request = fetch_request(&one, 0, 0, Uncommitted);
    request.topics[0].partitions = vec![asked(1, 2), asked(0, 1), asked(5, 0)];
    let topic = FetchTopic::default().with_topic(TopicName(text(&two)));
    request.topics.push(topic.with_partitions(vec![asked(0, 0)]));
    say(ctx, "four partitions, one of them unknown", &request)
}

fn no_partitions(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    let mut request = fetch_request(&topic, 0, 0, Uncommitted);
    request.topics[0].partitions.clear();
    say(ctx, "no partitions", &request)?;
    request.topics.clear();
    say(ctx, "no topics", &request)
}

fn a_leader_epoch_that_is_not(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    for epoch in [-1, 0, 1] {
        let mut request = fetch_request(&topic, 0, 0, Uncommitted);
        request.topics[0].partitions[0].current_leader_epoch = epoch;
        say(ctx, &format!("epoch {epoch}"), &request)?;
    }
    Ok(())
}

fn an_unknown_session(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    for epoch in [1, 5] {
        let request = fetch_request(&topic, 0, 0, Uncommitted)
            .with_session_id(123_456)
            .with_session_epoch(epoch);
        say(ctx, &format!("session epoch {epoch}"), &request)?;
    }
    Ok(())
}

fn a_session_epoch_without_a_session(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    let request = fetch_request(&topic, 0, 0, Uncommitted).with_session_epoch(3);
    say(ctx, "session epoch 3", &request)
}

fn a_first_fetch_of_a_session(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    ctx.fill(&topic, 0, &Batch::of(["a"]))?;
    let request = fetch_request(&topic, 0, 0, Uncommitted).with_session_epoch(0);
    say(ctx, "session epoch 0", &request)?;
    // A broker may refuse to keep sessions: its answer then has session 0.
    let response = ctx.call(FETCH, &request)?;
    let mut next = fetch_request(&topic, 0, 1, Uncommitted)
        .with_session_id(response.session_id)
        .with_session_epoch(i32::from(response.session_id != 0));
    ctx.fill(&topic, 0, &Batch::of(["b"]))?;
    say(ctx, "the next fetch", &next)?;
    next.session_epoch = -1;
    say(ctx, "the last fetch", &next)
}

fn an_empty_log(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    for offset in [0, 1] {
        say(ctx, &format!("from {offset}"), &fetch_request(&topic, 0, offset, Uncommitted))?;
    }
    Ok(())
}
