//! What the broker says of the group: its members, and the offsets that it has committed.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::other::Background;
use super::{PATIENCE, Setting};

const TIMEOUT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(50);
const SAMPLE: Duration = Duration::from_millis(200);

/// Offsets by partition.
pub(super) type Offsets = BTreeMap<i32, i64>;

/// The group, from outside.
pub(super) struct Group {
    consumer: BaseConsumer,
    name: String,
    topic: String,
    partitions: i32,
}

impl Group {
    pub(super) fn new(setting: &Setting) -> Result<Self> {
        // With `read_committed` it would wait while a transaction is open.
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &setting.bootstrap)
            .set("group.id", &setting.name)
            .set("isolation.level", "read_uncommitted")
            .create()?;
        let topic = setting.topic("in");
        let metadata = consumer.fetch_metadata(Some(&topic), TIMEOUT)?;
        let partitions = metadata.topics().first().map_or(0, |topic| topic.partitions().len());
        let partitions = i32::try_from(partitions)?;
        Ok(Self { consumer, name: setting.name.clone(), topic, partitions })
    }

    /// What is committed; where nothing is, 0.
    pub(super) fn committed(&self) -> Result<Offsets> {
        let mut list = TopicPartitionList::new();
        for partition in 0..self.partitions {
            list.add_partition(&self.topic, partition);
        }
        let list = self.consumer.committed_offsets(list, TIMEOUT)?;
        let mut committed = Offsets::new();
        for one in list.elements() {
            one.error()?;
            let offset = match one.offset() {
                Offset::Offset(offset) => offset,
                _ => 0,
            };
            committed.insert(one.partition(), offset);
        }
        Ok(committed)
    }

    /// Where the input ends.
    pub(super) fn ends(&self) -> Result<Offsets> {
        let end = |partition| {
            let (_, end) = self.consumer.fetch_watermarks(&self.topic, partition, TIMEOUT)?;
            Ok((partition, end))
        };
        (0..self.partitions).map(end).collect()
    }

    /// Waits until it has so many members, and has agreed on how they share.
    pub(super) fn await_members(&self, count: usize, protocol: &str) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let wanted = format!("Stable {count} {protocol}");
        loop {
            let said = match self.consumer.fetch_group_list(Some(&self.name), TIMEOUT) {
                Ok(list) => list.groups().first().map_or_else(String::new, |group| {
                    format!("{} {} {}", group.state(), group.members().len(), group.protocol())
                }),
                // The coordinator may be on its way.
                Err(error) => error.to_string(),
            };
            if said == wanted {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "the group is not `{wanted}`, but `{said}`");
            std::thread::sleep(POLL);
        }
    }

    /// Looks at the committed offsets from now on: none goes back.
    pub(super) fn watch(self) -> Background {
        Background::start(move |stop| {
            let mut before = Offsets::new();
            while !stop.load(Ordering::Relaxed) {
                let committed = self.committed()?;
                for (partition, offset) in &committed {
                    let last = before.get(partition).copied().unwrap_or(0);
                    let what = format!("partition {partition}: committed was {last}");
                    ensure!(*offset >= last, "{what}, and went back to {offset}");
                }
                before = committed;
                std::thread::sleep(SAMPLE);
            }
            Ok(())
        })
    }
}
