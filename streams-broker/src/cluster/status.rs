//! The cluster's state, as people want to see it.

use super::Cluster;

/// A partition, as people want to see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionStatus {
    /// Its topic.
    pub topic: String,
    /// Its number.
    pub partition: usize,
    /// The first offset.
    pub start: i64,
    /// One past the last offset.
    pub end: i64,
    /// The last stable offset.
    pub stable: i64,
    /// What its batches take, in bytes.
    pub size_bytes: usize,
}

/// A group, as people want to see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupStatus {
    /// Its id.
    pub id: String,
    /// Its state, by Kafka's name.
    pub state: &'static str,
    /// Its generation.
    pub generation: i32,
    /// How many members it has.
    pub members: usize,
}

/// The cluster's state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterStatus {
    /// All partitions, by topic and number.
    pub partitions: Vec<PartitionStatus>,
    /// All groups, by id.
    pub groups: Vec<GroupStatus>,
    /// The transactional ids with an open transaction.
    pub open_transactions: Vec<String>,
    /// What all records take, in bytes.
    pub records_bytes: usize,
}

impl Cluster {
    /// The state, as people want to see it.
    pub fn status(&self) -> ClusterStatus {
        let partitions = self.topics.iter().flat_map(|(name, topic)| {
            topic.partitions.iter().enumerate().map(|(partition, log)| PartitionStatus {
                topic: name.clone(),
                partition,
                start: log.start(),
                end: log.end(),
                stable: log.stable(),
                size_bytes: log.size_bytes(),
            })
        });
        let partitions: Vec<PartitionStatus> = partitions.collect();
        let groups = self.groups.iter().map(|(id, group)| GroupStatus {
            id: id.clone(),
            state: group.state.name(),
            generation: group.generation,
            members: group.members.len(),
        });
        ClusterStatus {
            records_bytes: partitions.iter().map(|partition| partition.size_bytes).sum(),
            partitions,
            groups: groups.collect(),
            open_transactions: self.transactions.open_ids(),
        }
    }
}
