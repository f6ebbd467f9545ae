//! Who gets which partition: four pure functions of what the members say.
//!
//! GRP-4: members and partitions are sorted, ties go to the lesser member id, and there is no
//! randomness: the same input gives the same plan, whoever leads.
//!
//! [`Assignor::IncrCoop`] is ours and GKES's; the others let a group of other clients be led by us
//! and us by them, while it moves to this framework member by member, or back.

mod balance;
mod incr_coop;
mod model;
mod publish;
mod range;
mod round_robin;
mod standby;
mod sticky;

use std::collections::BTreeMap;

use bytes::Bytes;

use super::Partitions;
use super::view::GroupView;

/// How partitions are shared out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Assignor {
    /// `incr_coop`, as GKES calls it: partitions move one by one, to members that are warm.
    IncrCoop,
    /// `cooperative-sticky`, of other clients: a partition that moves stops for two rounds.
    CooperativeSticky,
    /// `range`, of other clients: all give up everything at each rebalance.
    Range,
    /// `roundrobin`, of other clients: the same.
    RoundRobin,
}

impl Assignor {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::IncrCoop, Self::CooperativeSticky, Self::Range, Self::RoundRobin];

    /// Its name in the group protocol.
    pub const fn name(self) -> &'static str {
        match self {
            Self::IncrCoop => "incr_coop",
            Self::CooperativeSticky => "cooperative-sticky",
            Self::Range => "range",
            Self::RoundRobin => "roundrobin",
        }
    }

    /// The one of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|assignor| assignor.name() == name)
    }

    /// Whether members keep their partitions while they join again.
    pub const fn is_cooperative(self) -> bool {
        matches!(self, Self::IncrCoop | Self::CooperativeSticky)
    }
}

/// What a member wants and has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subscription {
    /// The topics it consumes.
    pub topics: Vec<String>,
    /// The partitions it has.
    pub owned: Partitions,
    /// The generation it has them from.
    pub generation: i32,
    /// What the assignor adds of its own.
    pub user_data: Option<Bytes>,
    /// Where it runs.
    pub rack: Option<String>,
    /// The static member's name, which the coordinator adds. (KIP-345)
    pub instance_id: Option<String>,
}

/// What the leader's configuration says about plans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlanSettings {
    /// How many partitions may be on their way (GRP-3).
    pub active_transitions: usize,
    /// How many warm copies are kept of each partition.
    pub standby_replicas: usize,
    /// Assigns nothing that no member claims: a member whose claims can't be read may have it.
    pub withholds_unclaimed: bool,
}

/// What one member gets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assignment {
    /// Its partitions.
    pub partitions: Partitions,
    /// What the assignor adds of its own.
    pub user_data: Option<Bytes>,
}

/// What each member gets in this generation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// By member.
    pub assignments: BTreeMap<String, Assignment>,
    /// The whole of it, for people.
    pub view: GroupView,
}

/// Shares the partitions of `topics` out among `members`, for `generation`. A claim of this
/// generation or a later one is a lie, and loses to each other claim.
pub fn plan(
    assignor: Assignor,
    generation: i32,
    members: &BTreeMap<String, Subscription>,
    topics: &BTreeMap<String, i32>,
    settings: &PlanSettings,
) -> Plan {
    let assigned = match assignor {
        Assignor::IncrCoop => {
            let plan = incr_coop::plan(generation, members, topics, settings);
            return publish::publish(&plan, generation, members);
        }
        Assignor::CooperativeSticky => sticky::assign(generation, members, topics, settings),
        Assignor::Range => range::assign(members, topics),
        Assignor::RoundRobin => round_robin::assign(members, topics),
    };
    publish::plain(assignor, generation, assigned, members)
}

/// The members in the order of Java's `MemberInfo`: static ones first, by instance id, then the
/// others by member id.
fn by_instance(members: &BTreeMap<String, Subscription>) -> Vec<&str> {
    let mut order: Vec<_> = members
        .iter()
        .map(|(id, member)| (member.instance_id.is_none(), &member.instance_id, id.as_str()))
        .collect();
    order.sort();
    order.into_iter().map(|(_, _, id)| id).collect()
}

fn zip_ids(ids: &[&str], assigned: Vec<Partitions>) -> BTreeMap<String, Partitions> {
    ids.iter().map(|id| (*id).to_owned()).zip(assigned).collect()
}

#[cfg(test)]
mod tests;
