//! Partitions that are added to the source's topic while members run.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use streams_core::{
    NewPartitions, RunningSource, SourceBuilder, SourceError, SourceState, TopicProblem,
};
use streams_tests::broker::grow_topic;
use streams_tests::oracle::read_committed;

use super::app::{PATIENCE, Setup, ended, keep_log, logged, sound, wait_until};

const CHECK: Duration = Duration::from_millis(200);
const EACH: u64 = 10;

fn member(setup: &Setup) -> SourceBuilder<sound::Source> {
    setup.member::<sound::Source>().partition_check(CHECK)
}

/// Sends `EACH` updates to each of these partitions, of an id of its own.
fn send(setup: &Setup, partitions: std::ops::Range<i32>) -> Result<()> {
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", setup.broker.bootstrap()).create()?;
    let topic = setup.topic("in");
    for partition in partitions {
        let id = format!("id-{partition}");
        let value = format!(r#"{{"id":"{id}","amount":1,"ts":0}}"#);
        for _ in 0..EACH {
            let header = Header { key: "__grt__", value: Some("Update") };
            let record = BaseRecord::to(&topic)
                .partition(partition)
                .key(&id)
                .payload(&value)
                .headers(OwnedHeaders::new().insert(header));
            if let Err((error, _)) = producer.send(record) {
                bail!("sending: {error}");
            }
        }
    }
    producer.flush(PATIENCE)?;
    Ok(())
}

/// Waits until this number of updates of each partition is through, and no more.
fn check(setup: &Setup, expected: &[u64]) -> Result<()> {
    #[derive(serde::Deserialize)]
    struct Total {
        id: String,
        count: u64,
    }
    let all = usize::try_from(expected.iter().sum::<u64>())?;
    let outputs = read_committed(&setup.broker.bootstrap(), &setup.topic("out"), all, PATIENCE)?;
    ensure!(outputs.len() == all, "{} outputs, not {all}", outputs.len());
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for output in outputs {
        let total: Total = serde_json::from_slice(&output)?;
        let count = counts.entry(total.id.clone()).or_default();
        *count += 1;
        ensure!(total.count == *count, "{}: {} comes after {count}", total.id, total.count);
    }
    for (partition, expected) in expected.iter().enumerate() {
        let count = counts.get(&format!("id-{partition}")).copied().unwrap_or(0);
        ensure!(count == *expected, "partition {partition}: {count}, not {expected}");
    }
    Ok(())
}

fn active(members: &[&RunningSource<sound::Source>]) -> BTreeSet<i32> {
    members.iter().flat_map(|member| member.active_partitions()).collect()
}

#[test]
fn s5_new_partitions_are_refused_and_no_member_ends() -> Result<()> {
    keep_log();
    let setup = Setup::new("s5-refused", 3)?;
    let (first, second) = (member(&setup).start()?, member(&setup).start()?);
    wait_until("both are at work", || {
        active(&[&first, &second]).len() == 3 && !second.active_partitions().is_empty()
    })?;
    send(&setup, 0..3)?;
    check(&setup, &[EACH; 3])?;

    grow_topic(&setup.broker.bootstrap(), &setup.topic("in"), 5)?;
    wait_until("both see it", || {
        [&first, &second].iter().all(|member| member.unused_partitions() == (3..5))
    })?;
    let says = || logged(&["ERROR", "s5-refused-in", "new_partitions(NewPartitions::Use)"]);
    wait_until("they say so again and again", || says().len() >= 4)?;

    // A rebalance gives the new ones to nobody, and the old ones go on.
    second.stop();
    wait_until("it has all three", || first.active_partitions() == [0, 1, 2].into())?;
    ended(second)?;
    send(&setup, 0..5)?;
    check(&setup, &[2 * EACH, 2 * EACH, 2 * EACH])?;
    ensure!(first.state() == SourceState::Healthy);
    let view = first.group_view().context("there is a view")?;
    let owned: usize = view.members.values().map(|member| member.owned.len()).sum();
    ensure!(owned == 3, "S5: new partitions are assigned: {view:?}");

    // A member that starts now says the same, and does not start.
    match member(&setup).start() {
        Err(SourceError::Topics(problems)) => {
            let [TopicProblem::PartitionCounts { source_partitions: 5, .. }] = problems[..] else {
                bail!("{problems:?}");
            };
        }
        Err(error) => return Err(error.into()),
        Ok(_) => bail!("it starts"),
    }
    check(&setup, &[2 * EACH, 2 * EACH, 2 * EACH])?;
    first.stop();
    ended(first)?;
    Ok(())
}

#[test]
fn s5_new_partitions_are_used_if_that_is_set() -> Result<()> {
    let setup = Setup::new("s5-used", 3)?;
    let start = || member(&setup).new_partitions(NewPartitions::Use).start();
    let (first, second) = (start()?, start()?);
    wait_until("both are at work", || {
        active(&[&first, &second]).len() == 3 && !second.active_partitions().is_empty()
    })?;
    send(&setup, 0..3)?;
    check(&setup, &[EACH; 3])?;

    grow_topic(&setup.broker.bootstrap(), &setup.topic("in"), 5)?;
    wait_until("they have all five", || active(&[&first, &second]).len() == 5)?;
    send(&setup, 0..5)?;
    check(&setup, &[2 * EACH, 2 * EACH, 2 * EACH, EACH, EACH])?;
    ensure!(first.unused_partitions().is_empty() && second.unused_partitions().is_empty());

    // Their state is in the changelog, as of any other.
    first.stop();
    wait_until("it has all", || second.active_partitions().len() == 5)?;
    ended(first)?;
    send(&setup, 3..5)?;
    check(&setup, &[2 * EACH, 2 * EACH, 2 * EACH, 2 * EACH, 2 * EACH])?;
    // And at a start.
    second.stop();
    ended(second)?;
    grow_topic(&setup.broker.bootstrap(), &setup.topic("in"), 6)?;
    let third = start().context("the changelog grows at the start")?;
    ensure!(third.wait_for_active(6, PATIENCE), "{:?}", third.active_partitions());
    third.stop();
    ended(third)?;
    Ok(())
}
