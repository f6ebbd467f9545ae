//! ListOffsets and OffsetForLeaderEpoch: where things are in a log.

use anyhow::{Context, Result};
use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kafka_protocol::messages::{OffsetForLeaderEpochRequest, TopicName};

use super::ctx::{Ctx, code, text};
use super::logs::{Committed, EARLIEST, LATEST, Uncommitted, list_offsets_request};
use super::records::{Batch, t0};

super::named!("places":
    of_an_empty_log,
    the_ends_of_a_log,
    by_time,
    by_time_within_a_batch,
    by_time_where_times_go_back,
    by_time_in_an_open_transaction,
    of_the_latest_timestamp,
    of_the_latest_timestamp_in_an_empty_log,
    of_times_that_mean_something_else,
    of_an_unknown_topic_or_partition,
    with_a_leader_epoch,
    of_several_partitions,
    of_the_same_partition_twice,
    a_leader_epochs_end,
    a_leader_epochs_end_of_an_unknown_partition,
    after_records_were_deleted,
);

fn of_an_empty_log(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    ctx.offset("earliest", &topic, 0, EARLIEST, Uncommitted)?;
    ctx.offset("latest", &topic, 0, LATEST, Uncommitted)?;
    ctx.offset("by time", &topic, 0, t0(), Uncommitted)
}

fn the_ends_of_a_log(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    ctx.fill(&topic, 0, &Batch::of(["a", "b", "c"]))?;
    ctx.offset("earliest", &topic, 0, EARLIEST, Uncommitted)?;
    ctx.offset("latest", &topic, 0, LATEST, Uncommitted)?;
    ctx.offset("latest, committed", &topic, 0, LATEST, Committed)
}

fn by_time(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    for (value, after) in [("a", 0), ("b", 100), ("c", 200)] {
        ctx.fill(&topic, 0, &Batch::of([value]).at(t0() + after))?;
    }
    for after in [-1, 0, 1, 100, 101, 200, 201] {
        ctx.offset(&format!("T0+{after}"), &topic, 0, t0() + after, Uncommitted)?;
    }
    ctx.offset("time 0", &topic, 0, 0, Uncommitted)
}

fn by_time_within_a_batch(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    ctx.fill(&topic, 0, &Batch::of(["a", "b", "c"]))?;
    ctx.fill(&topic, 0, &Batch::of(["d", "e"]).at(t0() + 10))?;
    for after in [0, 1, 2, 3, 10, 11, 12] {
        ctx.offset(&format!("T0+{after}"), &topic, 0, t0() + after, Uncommitted)?;
    }
    Ok(())
}

fn by_time_where_times_go_back(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    for after in [100, 0, 50, 200] {
        ctx.fill(&topic, 0, &Batch::of(["a"]).at(t0() + after))?;
    }
    for after in [0, 50, 100, 101] {
        ctx.offset(&format!("T0+{after}"), &topic, 0, t0() + after, Uncommitted)?;
    }
    Ok(())
}

fn by_time_in_an_open_transaction(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    let producer = ctx.transactional("id")?;
    ctx.fill(&topic, 0, &Batch::of(["a"]))?;
    ctx.begin(&producer, &topic, &[0])?;
    ctx.fill(&topic, 0, &Batch::of(["b"]).by(&producer, 0).at(t0() + 10))?;
    for isolation in [Uncommitted, Committed] {
        ctx.offset(&format!("{isolation:?} T0"), &topic, 0, t0(), isolation)?;
        ctx.offset(&format!("{isolation:?} T0+5"), &topic, 0, t0() + 5, isolation)?;
    }
    ctx.offset("earliest, committed", &topic, 0, EARLIEST, Committed)
}

/// ListOffsets in version 7 and above, for times that older ones don't know.
fn newer(ctx: &mut Ctx, label: &str, version: i16, topic: &str, time: i64) -> Result<()> {
    let request = list_offsets_request(topic, 0, time, Uncommitted);
    let response = ctx.call(version, &request);
    let at = |time: i64| match time {
        -1 => "-1".to_owned(),
        time => format!("T0+{}", time - t0()),
    };
    ctx.outcome(label, &response, |response| {
        let answer = &response.topics[0].partitions[0];
        format!(
            "{} offset {} time {}",
            code(answer.error_code),
            answer.offset,
            at(answer.timestamp)
        )
    });
    Ok(())
}

fn of_the_latest_timestamp(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    for after in [0, 200, 100] {
        ctx.fill(&topic, 0, &Batch::of(["a", "b"]).at(t0() + after))?;
    }
    newer(ctx, "version 7", 7, &topic, -3)?;
    newer(ctx, "version 9", 9, &topic, -3)
}

fn of_the_latest_timestamp_in_an_empty_log(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    newer(ctx, "version 7", 7, &topic, -3)
}

fn of_times_that_mean_something_else(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    ctx.fill(&topic, 0, &Batch::of(["a"]))?;
    newer(ctx, "-3 in version 6", 6, &topic, -3)?;
    newer(ctx, "-4 in version 8", 8, &topic, -4)?;
    newer(ctx, "-4 in version 7", 7, &topic, -4)?;
    newer(ctx, "-5 in version 9", 9, &topic, -5)?;
    newer(ctx, "-6 in version 9", 9, &topic, -6)?;
    newer(ctx, "-100 in version 9", 9, &topic, -100)
}

fn of_an_unknown_topic_or_partition(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    let nowhere = ctx.name("nowhere");
    ctx.offset("an unknown topic", &nowhere, 0, LATEST, Uncommitted)?;
    ctx.offset("partition 1", &topic, 1, LATEST, Uncommitted)?;
    ctx.offset("partition -1", &topic, -1, LATEST, Uncommitted)
}

fn with_a_leader_epoch(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    for epoch in [-1, 0, 1] {
        let mut request = list_offsets_request(&topic, 0, LATEST, Uncommitted);
        request.topics[0].partitions[0].current_leader_epoch = epoch;
        let response = ctx.call(6, &request)?;
        let answer = &response.topics[0].partitions[0];
        let (offset, epoch_given) = (answer.offset, answer.leader_epoch);
        let answer = code(answer.error_code);
        ctx.say(format!("epoch {epoch}: {answer} offset {offset} epoch {epoch_given}"));
    }
    Ok(())
}

fn of_several_partitions(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 3)?;
    ctx.fill(&topic, 1, &Batch::of(["a", "b"]))?;
    let mut request = list_offsets_request(&topic, 1, LATEST, Uncommitted);
    for (partition, time) in [(0, LATEST), (2, EARLIEST), (7, LATEST)] {
        let asked = request.topics[0].partitions[0].clone();
        let asked = asked.with_partition_index(partition).with_timestamp(time);
        request.topics[0].partitions.push(asked);
    }
    let mut response = ctx.call(6, &request)?;
    response.topics[0].partitions.sort_by_key(|partition| partition.partition_index);
    for answer in &response.topics[0].partitions {
        let (index, offset) = (answer.partition_index, answer.offset);
        ctx.say(format!("{index}: {} offset {offset}", code(answer.error_code)));
    }
    Ok(())
}

fn of_the_same_partition_twice(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    ctx.fill(&topic, 0, &Batch::of(["a"]))?;
    let mut request = list_offsets_request(&topic, 0, LATEST, Uncommitted);
    let again = request.topics[0].partitions[0].clone().with_timestamp(EARLIEST);
    request.topics[0].partitions.push(again);
    let response = ctx.call(6, &request)?;
    for answer in &response.topics[0].partitions {
        ctx.say(format!("{} offset {}", code(answer.error_code), answer.offset));
    }
    Ok(())
}

pub(super) fn epoch_request(
    topic: &str,
    partition: i32,
    epoch: i32,
) -> OffsetForLeaderEpochRequest {
    let asked = OffsetForLeaderPartition::default()
        .with_partition(partition)
        .with_current_leader_epoch(-1)
        .with_leader_epoch(epoch);
    let topic = OffsetForLeaderTopic::default()
        .with_topic(TopicName(text(topic)))
        .with_partitions(vec![asked]);
    OffsetForLeaderEpochRequest::default().with_replica_id((-1).into()).with_topics(vec![topic])
}

fn say_epoch(
    ctx: &mut Ctx,
    label: &str,
    version: i16,
    request: &OffsetForLeaderEpochRequest,
) -> Result<()> {
    let response = ctx.call(version, request)?;
    let topic = response.topics.first().context("no topic")?;
    let answer = topic.partitions.first().context("no partition")?;
    let (end, epoch) = (answer.end_offset, answer.leader_epoch);
    ctx.say(format!("{label}: {} end {end} epoch {epoch}", code(answer.error_code)));
    Ok(())
}

fn a_leader_epochs_end(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    say_epoch(ctx, "an empty log", 4, &epoch_request(&topic, 0, 0))?;
    ctx.fill(&topic, 0, &Batch::of(["a", "b"]))?;
    for epoch in [0, 1, -1, -2] {
        say_epoch(ctx, &format!("epoch {epoch}"), 4, &epoch_request(&topic, 0, epoch))?;
    }
    for current in [0, 1] {
        let mut request = epoch_request(&topic, 0, 0);
        request.topics[0].partitions[0].current_leader_epoch = current;
        say_epoch(ctx, &format!("while the leader's is {current}"), 4, &request)?;
    }
    for version in 2..=3 {
        say_epoch(ctx, &format!("version {version}"), version, &epoch_request(&topic, 0, 0))?;
    }
    Ok(())
}

fn a_leader_epochs_end_of_an_unknown_partition(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    say_epoch(ctx, "an unknown partition", 4, &epoch_request(&topic, 5, 0))?;
    let nowhere = ctx.name("nowhere");
    say_epoch(ctx, "an unknown topic", 4, &epoch_request(&nowhere, 0, 0))
}

fn after_records_were_deleted(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    for after in [0, 100, 200] {
        ctx.fill(&topic, 0, &Batch::of(["a", "b"]).at(t0() + after))?;
    }
    ctx.delete_records("delete", &topic, 0, 3)?;
    ctx.offset("earliest", &topic, 0, EARLIEST, Uncommitted)?;
    ctx.offset("latest", &topic, 0, LATEST, Uncommitted)?;
    ctx.offset("T0", &topic, 0, t0(), Uncommitted)?;
    ctx.offset("T0+150", &topic, 0, t0() + 150, Uncommitted)?;
    ctx.read("from 3", &topic, 0, 3, Uncommitted)?;
    ctx.read("from 2", &topic, 0, 2, Uncommitted)?;
    ctx.produce("produce", &topic, 0, &Batch::of(["c"])).map(drop)
}
