//! Chaos: members of a stateful source under load, on a cluster of three nodes that die.
//!
//! ```sh
//! cargo build --examples
//! cargo run -p streams-tests --bin chaos -- --minutes 10   # rounds of faults, then the outage
//! cargo run -p streams-tests --bin chaos -- --short        # each fault once, shorter bounds
//! cargo run -p streams-tests --bin chaos -- --minutes 30 --rate 1000 --members 3 --seed 7
//! ```
//!
//! The members are processes of the example `running_totals`. All topics have three replicas, of
//! which two must be in sync. The program kills (SIGKILL) the leader of a partition of the source,
//! the leader of a partition of the changelog, the coordinator of one of the members' transactional
//! ids, and the coordinator of the group. It starts each node again, and waits until all replicas
//! are in sync and the members have caught up. At last it kills two nodes at once, which leaves no
//! majority, and starts them again after three minutes (`--outage`).
//!
//! The program prints a line for each fault. At the end it asks the oracle: the running count of
//! each key is 1..n in the committed output, in order. No member may have stopped, each must be
//! healthy at the end, and the program counts how often one was stalled. The oracle adds
//! up what the input topic has: librdkafka's idempotent producer, which sends the load, writes a
//! few updates twice when a leader dies (2 of 153,681 in one run, 3 of 123,407 in another).
//!
//! *Pause*: the longest time without committed output, of all partitions together, and of the
//! slowest partition. *Latency*: from when an update was due until its committed total was read.
//! Neither counts what was due during the outage, which has a line of its own.
//!
//! `STREAMS_KAFKA_VERSION` selects Kafka's version, and `STREAMS_TEST_LOG` what the members log
//! (`target/test-logs/`). The seed chooses the victims and the updates.

pub mod cluster;
mod health;
pub mod pauses;
mod report;
mod run;

use std::time::Duration;

pub use health::Health;
pub use report::{FaultReport, Report};
pub use run::run;

/// Settings of a run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The number of members.
    pub members: usize,
    /// Updates per second.
    pub rate: u64,
    /// The seed of the updates and of the choice of victims.
    pub seed: u64,
    /// How long the load lasts at least; rounds of faults fill the time before the outage.
    pub duration: Duration,
    /// How long a killed node stays away.
    pub away: Duration,
    /// How long two nodes stay away at the end.
    pub outage: Duration,
    /// The nodes' `broker.session.timeout.ms`; Kafka's default is nine seconds.
    pub broker_session: Duration,
    /// Properties of the members' Kafka clients, as `NAME=VALUE`.
    pub properties: Vec<String>,
}

impl Settings {
    /// The long form: Kafka's own bounds, and three minutes without a majority.
    pub const fn long(minutes: u64) -> Self {
        Self {
            members: 2,
            rate: 500,
            seed: 1,
            duration: Duration::from_secs(minutes * 60),
            away: Duration::from_secs(20),
            outage: Duration::from_secs(180),
            broker_session: Duration::from_secs(9),
            properties: Vec::new(),
        }
    }

    /// The short form: each fault once, and nodes that are declared dead sooner.
    pub fn short() -> Self {
        Self {
            away: Duration::from_secs(6),
            outage: Duration::from_secs(20),
            broker_session: Duration::from_secs(3),
            ..Self::long(0)
        }
    }
}

/// A fault: which nodes the program kills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The leader of a partition of the source topic.
    SourceLeader,
    /// The leader of a partition of the changelog.
    ChangelogLeader,
    /// The coordinator of one of the members' transactional ids.
    TransactionCoordinator,
    /// The coordinator of the group.
    GroupCoordinator,
    /// Two nodes at once: no majority is left.
    Outage,
}

/// A round: the faults that leave a majority.
pub const ROUND: [Fault; 4] = [
    Fault::SourceLeader,
    Fault::ChangelogLeader,
    Fault::TransactionCoordinator,
    Fault::GroupCoordinator,
];
