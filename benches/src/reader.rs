//! A consumer that reads what is committed of a topic, from its beginning.

use anyhow::Result;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

/// The settings of a reader.
pub fn config(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "bench-reader")
        .set("enable.auto.commit", "false")
        .set("isolation.level", "read_committed")
        // At its default of one second, a full queue pauses a partition for that long.
        .set("fetch.queue.backoff.ms", "1");
    config
}

/// The beginning of each partition.
///
/// # Errors
/// If the topic's name is none.
pub fn beginning(topic: &str, partitions: i32) -> Result<TopicPartitionList> {
    let mut list = TopicPartitionList::new();
    for partition in 0..partitions {
        list.add_partition_offset(topic, partition, Offset::Beginning)?;
    }
    Ok(list)
}
