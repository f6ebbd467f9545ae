//! The oracle of exactly-once: it reads only committed output, and believes nobody.
//!
//! Per id the running count is 1..n, in order, and the last count and sum are what the input adds
//! up to. Per partition the ticks are 1..n.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde::Deserialize;

use crate::workload::Totals;

/// A committed output of `running_totals`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Total {
    /// The id.
    pub id: String,
    /// The running count.
    pub count: u64,
    /// The running sum.
    pub sum: i64,
    /// The update's time, in microseconds.
    pub ts: i64,
}

/// A committed tick of `running_totals`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Tick {
    /// The partition.
    pub partition: i32,
    /// The running count.
    pub n: u64,
}

/// A record, and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
    /// The value.
    pub payload: Vec<u8>,
}

/// Reads `topic` with `read_committed` until there are `at_least` records, and then to the end of
/// all partitions, so that what is too much is seen too.
///
/// # Errors
/// If there are not so many after `patience`.
pub fn read_committed(
    bootstrap: &str,
    topic: &str,
    at_least: usize,
    patience: Duration,
) -> Result<Vec<Vec<u8>>> {
    let placed = read_placed(bootstrap, topic, at_least, patience)?;
    Ok(placed.into_iter().map(|record| record.payload).collect())
}

/// As [`read_committed`], with the place of each record.
///
/// # Errors
/// As [`read_committed`].
pub fn read_placed(
    bootstrap: &str,
    topic: &str,
    at_least: usize,
    patience: Duration,
) -> Result<Vec<Placed>> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "oracle")
        .set("enable.auto.commit", "false")
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true")
        .set("fetch.wait.max.ms", "50")
        .create()?;
    let deadline = Instant::now() + patience;
    let partitions = loop {
        let metadata = consumer.fetch_metadata(Some(topic), Duration::from_secs(10))?;
        let described = metadata.topics().first().context("no topic described")?;
        if !described.partitions().is_empty() {
            break i32::try_from(described.partitions().len())?;
        }
        if Instant::now() >= deadline {
            bail!("there is no topic {topic}");
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    let mut list = TopicPartitionList::new();
    for partition in 0..partitions {
        list.add_partition_offset(topic, partition, Offset::Beginning)?;
    }
    consumer.assign(&list)?;
    let mut records = Vec::new();
    let mut at_end = vec![false; usize::try_from(partitions)?];
    loop {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                at_end[usize::try_from(message.partition())?] = false;
                records.push(Placed {
                    partition: message.partition(),
                    offset: message.offset(),
                    payload: message.payload().unwrap_or_default().to_vec(),
                });
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                at_end[usize::try_from(partition)?] = true;
            }
            Some(Err(error)) => eprintln!("oracle: {error}"),
            None => {}
        }
        if records.len() >= at_least && at_end.iter().all(|end| *end) {
            return Ok(records);
        }
        if Instant::now() >= deadline {
            bail!("{topic} has {} of {at_least} records after {patience:?}", records.len());
        }
    }
}

/// Checks the running totals, in the order in which they were read.
///
/// # Errors
/// What is wrong first, with its id.
pub fn check_totals(records: &[Vec<u8>], expected: &Totals) -> Result<()> {
    let mut seen: BTreeMap<String, (u64, i64)> = BTreeMap::new();
    for record in records {
        let total: Total = serde_json::from_slice(record)
            .with_context(|| format!("no total: {}", String::from_utf8_lossy(record)))?;
        let last = seen.entry(total.id.clone()).or_default();
        match total.count {
            count if count == last.0 + 1 => *last = (total.count, total.sum),
            count if count <= last.0 => {
                bail!(
                    "{}: count {count} again, after {} (a duplicate, or disorder)",
                    total.id,
                    last.0
                )
            }
            count => bail!("{}: count {count} after {} (a gap)", total.id, last.0),
        }
    }
    for (id, total) in expected {
        let last = seen.get(id).copied().unwrap_or_default();
        if last != *total {
            bail!("{id}: ended with (count, sum) {last:?}, and the input adds up to {total:?}");
        }
    }
    if let Some(id) = seen.keys().find(|id| !expected.contains_key(*id)) {
        bail!("{id} is in the output and not in the input");
    }
    Ok(())
}

/// How far committed totals differ from what the input adds up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Committed totals.
    pub records: u64,
    /// Running counts that are missing.
    pub lost: u64,
    /// Totals whose running count came before already, or belongs to an id that the input lacks.
    pub doubled: u64,
    /// Updates that the input has more often than they were sent.
    pub sent_twice: u64,
}

#[derive(Deserialize)]
struct Update {
    id: String,
    amount: i64,
    ts: i64,
}

/// Adds up what the input topic has. Returns the totals, and the places of updates that it has
/// twice: each update has a time of its own.
///
/// # Errors
/// If a record is no update.
pub fn add_up(input: &[Placed]) -> Result<(Totals, Vec<String>)> {
    let (mut totals, mut twice) = (Totals::new(), Vec::new());
    let mut first: BTreeMap<(String, i64), &Placed> = BTreeMap::new();
    for record in input {
        let update: Update = serde_json::from_slice(&record.payload)
            .with_context(|| format!("no update: {}", String::from_utf8_lossy(&record.payload)))?;
        let total = totals.entry(update.id.clone()).or_default();
        total.0 += 1;
        total.1 += update.amount;
        let Placed { partition, offset, .. } = record;
        if let Some(first) = first.insert((update.id.clone(), update.ts), record) {
            let before = first.offset;
            twice.push(format!("{} at {partition}@{before} and @{offset}", update.id));
        }
    }
    Ok((totals, twice))
}

/// Counts what [`check_totals`] refuses, in the order in which it was read.
///
/// # Errors
/// If a record is no total.
pub fn tally(records: &[Vec<u8>], expected: &Totals) -> Result<Tally> {
    let mut tally = Tally::default();
    let mut last: BTreeMap<String, u64> = BTreeMap::new();
    for record in records {
        let total: Total = serde_json::from_slice(record)
            .with_context(|| format!("no total: {}", String::from_utf8_lossy(record)))?;
        tally.records += 1;
        let last = last.entry(total.id).or_default();
        match total.count > *last {
            true => {
                tally.lost += total.count - *last - 1;
                *last = total.count;
            }
            false => tally.doubled += 1,
        }
    }
    for (id, (count, _)) in expected {
        tally.lost += count.saturating_sub(last.get(id).copied().unwrap_or(0));
    }
    for (id, seen) in last {
        tally.doubled += seen.saturating_sub(expected.get(&id).map_or(0, |total| total.0));
    }
    Ok(tally)
}

/// Checks the ticks: 1..n for each partition.
///
/// # Errors
/// What is wrong first, with its partition.
pub fn check_ticks(records: &[Vec<u8>], partitions: usize) -> Result<()> {
    let mut seen: BTreeMap<i32, u64> = BTreeMap::new();
    for record in records {
        let tick: Tick = serde_json::from_slice(record)
            .with_context(|| format!("no tick: {}", String::from_utf8_lossy(record)))?;
        let last = seen.entry(tick.partition).or_default();
        if tick.n != *last + 1 {
            bail!("partition {}: tick {} after {last}", tick.partition, tick.n);
        }
        *last = tick.n;
    }
    if seen.len() != partitions {
        bail!("ticks of {} partitions, not of {partitions}", seen.len());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn total(id: &str, count: u64, sum: i64) -> Vec<u8> {
        format!(r#"{{"id":"{id}","name":"n","count":{count},"sum":{sum},"ts":0}}"#).into_bytes()
    }

    fn says(records: &[Vec<u8>]) -> String {
        let expected = Totals::from([("a".to_owned(), (2, 5)), ("b".to_owned(), (1, 1))]);
        check_totals(records, &expected).map_or_else(|e| e.to_string(), |()| "ok".to_owned())
    }

    #[test]
    fn each_kind_of_fault_is_caught() {
        let (a1, a2, b1) = (total("a", 1, 2), total("a", 2, 5), total("b", 1, 1));
        assert_eq!(says(&[a1.clone(), b1.clone(), a2.clone()]), "ok");
        let duplicate = says(&[a1.clone(), a1.clone(), a2.clone(), b1.clone()]);
        assert!(duplicate.contains("a duplicate"), "{duplicate}");
        assert!(says(&[a2.clone(), b1.clone()]).contains("a gap"));
        assert!(says(&[a2.clone(), a1.clone(), b1.clone()]).contains("a gap"), "disorder");
        assert!(says(&[a1.clone(), b1.clone()]).contains("ended with"), "one is missing");
        assert!(says(&[a1.clone(), total("a", 2, 6), b1.clone()]).contains("ended with"), "sum");
        assert!(says(&[a1, a2, b1, total("c", 1, 1)]).contains("not in the input"));
    }

    #[test]
    fn lost_and_doubled_totals_are_counted() {
        let expected = Totals::from([("a".to_owned(), (3, 9)), ("b".to_owned(), (1, 1))]);
        let count = |records: &[Vec<u8>]| tally(records, &expected).expect("totals");
        let (a1, a2, a3, b1) =
            (total("a", 1, 2), total("a", 2, 5), total("a", 3, 9), total("b", 1, 1));
        let all = [a1.clone(), a2.clone(), a3.clone(), b1.clone()];
        assert_eq!(count(&all), Tally { records: 4, lost: 0, doubled: 0, sent_twice: 0 });
        let again = [a1.clone(), a2.clone(), a2, a3.clone(), b1.clone()];
        assert_eq!(count(&again), Tally { records: 5, lost: 0, doubled: 1, sent_twice: 0 });
        assert_eq!(count(&[a1, a3, b1]), Tally { records: 3, lost: 1, doubled: 0, sent_twice: 0 });
        assert_eq!(
            count(&[total("c", 1, 1)]),
            Tally { records: 1, lost: 4, doubled: 1, sent_twice: 0 }
        );
    }

    #[test]
    fn an_update_that_the_input_has_twice_is_found() {
        let update = |offset: i64, ts: i64| Placed {
            partition: 3,
            offset,
            payload: format!(r#"{{"id":"a","name":"n","amount":2,"ts":{ts}}}"#).into_bytes(),
        };
        let (totals, twice) = add_up(&[update(5, 1), update(6, 2), update(9, 1)]).expect("updates");
        assert_eq!(totals, Totals::from([("a".to_owned(), (3, 6))]));
        assert_eq!(twice, ["a at 3@5 and @9"]);
    }

    #[test]
    fn ticks_have_no_gap_and_no_repetition() {
        let tick = |p: i32, n: u64| format!(r#"{{"partition":{p},"n":{n}}}"#).into_bytes();
        assert!(check_ticks(&[tick(0, 1), tick(1, 1), tick(0, 2)], 2).is_ok());
        assert!(check_ticks(&[tick(0, 1), tick(0, 1)], 1).is_err());
        assert!(check_ticks(&[tick(0, 2)], 1).is_err());
        assert!(check_ticks(&[tick(0, 1)], 2).is_err());
    }
}
