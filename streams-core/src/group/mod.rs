//! Membership in the consumer group: which partitions are ours, and under which generation.
//!
//! The guarantees, by the names that asserts, tests and commits use:
//!
//! - **GRP-1** A partition has at most one owner in a generation.
//! - **GRP-2** None is unowned while an active member exists; unowned ones are assigned at once.
//!   (One that its owner has been told to give up is unowned for the round in which it does so.)
//! - **GRP-3** Warm-ups in flight never exceed the budget, `active_transitions`. (Standbys are no
//!   warm-ups: nobody waits for them.)
//! - **GRP-4** The same input gives the same plan: sorted maps, ties broken by member id, no
//!   randomness.
//!
//! [`Member`] is the machine and [`assignor`] pure functions; [`run`] drives them over a
//! [`GroupTransport`]. librdkafka has no interface for an assignor, so the member is ours.
//!
//! # The life of a moved partition
//!
//! ```text
//!  round   owner A                     leader's plan           receiver B
//!    1     is told that it is going    B is to prepare         restores a copy, follows the log
//!          goes on                                             the copy has caught up: joins again
//!          hears that B joins: begins
//!          nothing more of it, commits,
//!          releases it in its JoinGroup
//!    2     (may stay as a standby)     B is ready, and A has   goes on from its copy
//!                                      released it: it is B's
//! ```
//!
//! It stands still while A commits what it has begun, and for one round: the peers hear of it by
//! heartbeats, which come every 4 ms while a partition is prepared. Everything else goes on. Round
//! 2 prepares the next partition. If B is not ready (somebody else began the round), A has it again
//! and goes on. If A could not commit in time, it is told to give it up in round 2, joins again
//! once that is done, and B has it in round 3. A standby has its copy already, and the partition
//! goes the same way all the same, so that A is told: B joins again at once. If A dies meanwhile, B
//! has it at once; if B dies, fails or is not needed any more, A just goes on. If a third member
//! has just died, its session is waited for: a released partition stands still so long, as all do
//! that the dead member has. All of this is in what members say when they join, so every member can
//! lead.
//!
//! A member that wants to leave ([`GroupCommand::Drain`]) has its partitions moved in the same way,
//! before anything else is, and may leave when it has none ([`GroupEvent::Drained`]).
//!
//! # Moving a group from one assignor to another
//!
//! The coordinator takes an assignor that all members offer. So a group of other clients that use
//! `range`, `roundrobin` or `cooperative-sticky` takes in members that offer that beside
//! `incr_coop`; when the last of the old ones is gone, `incr_coop` wins, and with it warm copies
//! and drains. And back. While an eager assignor is in force, every rebalance stops all partitions
//! for a round, as it does in the other clients.
//!
//! What each of the coordinator's errors does is a table in `member/errors.rs`.

pub mod assignor;
pub(crate) mod budget;
mod driver;
#[cfg(test)]
mod histories;
mod member;
pub mod user_data;
mod view;
mod view_wire;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

pub use self::assignor::Assignor;
pub use self::driver::{GroupCommand, run};
pub use self::member::Member;
pub use self::view::{
    GroupView, MemberStatus, MemberView, MoveReason, Moved, Readiness, Step, Transition,
};
use crate::error::{ConfigError, OUTAGE_TIMEOUT};
use assignor::{Assignment, Subscription};

/// Partitions, by topic and number, in order.
pub type Partitions = BTreeSet<(String, i32)>;

/// A member's standing in its group: what every offset commit carries (EOS-7, KIP-447).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generation {
    /// The group.
    pub group_id: Arc<str>,
    /// The member, as the coordinator named it.
    pub member_id: Arc<str>,
    /// The generation.
    pub generation_id: i32,
    /// The static member's name, if it has one (KIP-345).
    pub instance_id: Option<Arc<str>>,
}

/// The member's settings.
#[derive(Clone, Debug)]
pub struct GroupConfig {
    /// The group's name.
    pub group_id: String,
    /// `group.instance.id` (KIP-345): a restart takes the old member's place at once.
    pub instance_id: Option<String>,
    /// The topics whose partitions are shared.
    pub topics: Vec<String>,
    /// How many partitions each of them has, as far as it is known. The plan counts on these while
    /// no broker knows the topic.
    pub partitions: BTreeMap<String, i32>,
    /// Without a heartbeat for this time, the coordinator takes the partitions away.
    pub session_timeout: Duration,
    /// How long the coordinator waits for a member that has to give partitions up and join again.
    pub rebalance_timeout: Duration,
    /// The longest time between two heartbeats; after a rebalance they come faster.
    pub heartbeat_interval: Duration,
    /// The assignors that are offered, the preferred one first. The group uses one that all its
    /// members know, so several are offered while a group moves from one to another.
    pub assignors: Vec<Assignor>,
    /// How many partitions may be on their way from one member to another (GRP-3).
    pub active_transitions: usize,
    /// How many warm copies of each partition are kept on other members all the time.
    pub standby_replicas: usize,
    /// Where this member runs: copies are kept in other racks first.
    pub rack: Option<String>,
    /// How long the member waits out an outage of its coordinator.
    pub outage_timeout: Duration,
    /// Spreads the retries of several members.
    pub seed: u64,
}

const SESSION_TIMEOUT_MIN: Duration = Duration::from_secs(1);
const SESSION_TIMEOUT_MAX: Duration = Duration::from_secs(1_800);
const HEARTBEAT_MIN: Duration = Duration::from_millis(10);
const TRANSITIONS_MAX: usize = 1_000;
const STANDBYS_MAX: usize = 10;
/// Each member tells its rack to the leader, and the leader's view all racks to each member.
const RACK_BYTES_MAX: usize = 249;

impl GroupConfig {
    /// The defaults: session timeout 10 s, rebalance timeout 60 s, heartbeat every 150 ms.
    pub fn new(group_id: impl Into<String>, topics: Vec<String>) -> Self {
        Self {
            group_id: group_id.into(),
            instance_id: None,
            topics,
            partitions: BTreeMap::new(),
            session_timeout: Duration::from_secs(10),
            rebalance_timeout: Duration::from_secs(60),
            heartbeat_interval: Duration::from_millis(150),
            assignors: vec![Assignor::IncrCoop],
            active_transitions: 1,
            standby_replicas: 0,
            rack: None,
            outage_timeout: OUTAGE_TIMEOUT,
            seed: 0,
        }
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// If one is out of range; three heartbeats must fit into a session.
    pub fn check(&self) -> Result<(), ConfigError> {
        let sessions = SESSION_TIMEOUT_MIN..=SESSION_TIMEOUT_MAX;
        ConfigError::check_duration("session_timeout", self.session_timeout, sessions)?;
        let heartbeats = HEARTBEAT_MIN..=self.session_timeout / 3;
        ConfigError::check_duration("heartbeat_interval", self.heartbeat_interval, heartbeats)?;
        let rebalances = SESSION_TIMEOUT_MIN..=SESSION_TIMEOUT_MAX;
        ConfigError::check_duration("rebalance_timeout", self.rebalance_timeout, rebalances)?;
        ConfigError::check("active_transitions", self.active_transitions, 1..=TRANSITIONS_MAX)?;
        ConfigError::check("standby_replicas", self.standby_replicas, 0..=STANDBYS_MAX)?;
        let rack_bytes = self.rack.as_ref().map_or(0, String::len);
        ConfigError::check("rack (bytes)", rack_bytes, 0..=RACK_BYTES_MAX)?;
        self.check_assignors()
    }

    fn check_assignors(&self) -> Result<(), ConfigError> {
        if self.assignors.is_empty() {
            let hint = "name at least one, as `incr_coop`";
            return Err(ConfigError::Missing { name: "assignors", hint });
        }
        for (index, assignor) in self.assignors.iter().enumerate() {
            if self.assignors[..index].contains(assignor) {
                let value = assignor.name().to_owned();
                let hint = "it is there twice".to_owned();
                return Err(ConfigError::Invalid { name: "assignors", value, hint });
            }
        }
        Ok(())
    }
}

/// What the group says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupEvent {
    /// A JoinGroup is about to be sent, and the generation will change: begin no commit until
    /// `Waiting`, `Begun` or `Lost`, and say when none is on its way ([`GroupCommand::Held`]).
    Rejoining {
        /// Which hold this is: `Held` says it again.
        hold: u64,
        /// Ours that others prepare for: begin no event of one until it is in a `Waiting` or a
        /// `Joined`, and say with `Held` which have nothing in a transaction any more. Those are
        /// given on without a rebalance more, if their new owner is ready.
        outgoing: Partitions,
    },
    /// JoinGroup goes out, and other members are waited for: commit, for the generation goes on. A
    /// commit that is on its way when the last one comes is refused (ILLEGAL_GENERATION), and its
    /// events are replayed.
    Waiting {
        /// What of ours goes on: the outgoing that are not released.
        resumed: Partitions,
    },
    /// The generation is another one, and what we had in the one before is still ours: commit.
    /// `Joined` follows, and says what is assigned and revoked.
    Begun {
        /// What every commit carries from now on.
        generation: Generation,
        /// What of ours goes on, as in `Waiting`.
        resumed: Partitions,
    },
    /// The generation's assignment is there.
    Joined {
        /// As in `Begun`.
        generation: Generation,
        /// Ours from now on.
        assigned: Partitions,
        /// Of those: what their former owner has released. Nothing of them is in a transaction.
        handed_over: Partitions,
        /// Not ours any more: finish what has begun, then acknowledge.
        revoked: Partitions,
        /// All that are ours, without the revoked. Those that stand still go on.
        owned: Partitions,
        /// Not ours, but a warm copy of each is to be kept from now on: it is being prepared for
        /// us, or we are its standby. What is in here no longer is forgotten; one that moves from
        /// here to `assigned` goes on from its copy.
        warm: Partitions,
    },
    /// Not ours any more, in the same generation: finish what has begun, then acknowledge. Eager
    /// assignors (range, roundrobin) want everything given up before the next generation.
    Revoked {
        /// The partitions.
        partitions: Partitions,
    },
    /// What the group looks like; comes after `Joined`.
    View(Box<GroupView>),
    /// After `Drain`: nothing is left that could be moved away. Leave now.
    Drained,
    /// The group went on without us: all partitions are lost, and nothing may be committed. The
    /// member joins anew by itself. Warm copies stay until the next `Joined` says otherwise.
    Lost {
        /// Why.
        reason: String,
    },
    /// The answer to [`GroupCommand::Confirm`]: the coordinator has accepted a request that this
    /// member sent after the question, so the member was in its generation then.
    Confirmed {
        /// The question's number.
        question: u64,
    },
    /// The member can't go on.
    Failed {
        /// Why, and what to do.
        reason: String,
    },
    /// The member left.
    Left,
}

/// A JoinGroup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JoinRequest {
    /// The group's name.
    pub group_id: String,
    /// Our id; empty at first.
    pub member_id: String,
    /// The static member's name.
    pub instance_id: Option<String>,
    /// See [`GroupConfig`].
    pub session_timeout: Duration,
    /// See [`GroupConfig`].
    pub rebalance_timeout: Duration,
    /// The assignors we offer, the preferred one first, each with what we tell it.
    pub protocols: Vec<(String, Subscription)>,
}

/// What the member asks for, one request at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupRequest {
    /// Finds the coordinator, and connects to it.
    FindCoordinator {
        /// The group's name.
        group_id: String,
    },
    /// Joins, or joins again.
    Join(Box<JoinRequest>),
    /// The number of partitions of each topic: the leader needs it.
    Partitions {
        /// The topics.
        topics: BTreeSet<String>,
    },
    /// Waits for the assignment; the leader brings it.
    Sync {
        /// Who we are.
        standing: Generation,
        /// The assignor.
        protocol: String,
        /// Of each member; only the leader's counts.
        assignments: BTreeMap<String, Assignment>,
    },
    /// Says that we live.
    Heartbeat {
        /// Who we are.
        standing: Generation,
    },
    /// Leaves.
    Leave {
        /// Who we are.
        standing: Generation,
    },
}

/// The replies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupReply {
    /// The coordinator is found, and connected to.
    Coordinator,
    /// To `Join`.
    Joined {
        /// Kafka's error code, or 0.
        code: i16,
        /// The new generation.
        generation: i32,
        /// Our id.
        member_id: String,
        /// Whether we are to assign.
        leader: bool,
        /// The assignor that all members know.
        protocol: String,
        /// All members, to the leader alone. A subscription may be unreadable.
        members: BTreeMap<String, Result<Subscription, String>>,
    },
    /// To `Partitions`.
    Partitions {
        /// By topic; or Kafka's error code, if no broker knows the topic now.
        partitions: BTreeMap<String, Result<i32, i16>>,
    },
    /// To `Sync`.
    Synced {
        /// Kafka's error code, or 0.
        code: i16,
        /// What is assigned to us.
        assignment: Assignment,
    },
    /// To `Heartbeat`.
    Heartbeat {
        /// Kafka's error code, or 0.
        code: i16,
    },
    /// To `Leave`.
    Left {
        /// Kafka's error code, or 0.
        code: i16,
    },
    /// The request as such was refused.
    Refused {
        /// Kafka's error code.
        code: i16,
    },
}

/// Brings requests to the group's coordinator.
pub trait GroupTransport: Send {
    /// Sends a request and returns the reply; an error is one of the connection.
    fn call(
        &mut self,
        request: GroupRequest,
    ) -> impl Future<Output = Result<GroupReply, String>> + Send;
}
