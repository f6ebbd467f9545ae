//! What a broker says of itself.

use std::fmt;

use crate::cluster::{ClusterStatus, GroupStatus};

/// A broker's state, as it is shown on request; `Display` writes it as lines.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Status {
    /// Topics, groups, transactions.
    pub cluster: ClusterStatus,
    /// The connections that are open.
    pub connections: usize,
    /// How many there ever were.
    pub connections_accepted: u64,
    /// How many were one too many.
    pub connections_refused: u64,
    /// What the process takes of the machine's memory, in bytes, where that can be known.
    pub resident_bytes: Option<u64>,
}

/// The process's resident memory, where the system says it.
pub(crate) fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes * 1024)
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cluster = &self.cluster;
        for partition in &cluster.partitions {
            writeln!(
                f,
                "topic {}-{}: offsets {} to {}, stable to {}, {} bytes",
                partition.topic,
                partition.partition,
                partition.start,
                partition.end,
                partition.stable,
                partition.size_bytes
            )?;
        }
        for group in &cluster.groups {
            let GroupStatus { id, state, generation, members } = group;
            writeln!(f, "group {id}: {state}, generation {generation}, {members} members")?;
        }
        for id in &cluster.open_transactions {
            writeln!(f, "transaction {id}: open")?;
        }
        writeln!(
            f,
            "connections: {} open, {} accepted, {} refused",
            self.connections, self.connections_accepted, self.connections_refused
        )?;
        write!(f, "memory: {} bytes of records", cluster.records_bytes)?;
        match self.resident_bytes {
            Some(bytes) => write!(f, ", {bytes} bytes resident"),
            None => Ok(()),
        }
    }
}
