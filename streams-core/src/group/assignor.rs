//! Who gets which partition: sticky, cooperative, and the same for the same input.
//!
//! GRP-1: a partition that must move is given to nobody until its owner has given it up. GRP-2: one
//! that nobody owns is assigned at once. GRP-4: members and partitions are sorted, ties go to the
//! lesser member id.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::Partitions;

/// The assignor's name in the group protocol.
pub const STICKY: &str = "streams-sticky";

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
    /// Its name in the group protocol.
    pub const fn name(self) -> &'static str {
        match self {
            Self::IncrCoop => "incr_coop",
            Self::CooperativeSticky => "cooperative-sticky",
            Self::Range => "range",
            Self::RoundRobin => "roundrobin",
        }
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
}

/// What each member gets in this generation, and what it will get once others have given it up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Assigned now.
    pub assigned: BTreeMap<String, Partitions>,
    /// To be given up by its owner, for another member in the next generation.
    pub moving: Partitions,
}

type Partition = (String, i32);

/// Assigns the partitions of `topics` to `members`.
pub fn assign(members: &BTreeMap<String, Subscription>, topics: &BTreeMap<String, i32>) -> Plan {
    let owners = owners(members, topics);
    let mut target = target(members, topics, &owners);
    let mut plan = Plan::default();
    for (member, partitions) in &mut target {
        let (now, later): (Partitions, Partitions) = std::mem::take(partitions)
            .into_iter()
            .partition(|partition| owners.get(partition).is_none_or(|owner| owner == member));
        plan.moving.extend(later);
        plan.assigned.insert(member.clone(), now);
    }
    plan
}

/// Who has what. A claim from an earlier generation loses; two of the same one both count as having
/// it, so that both have to give it up.
fn owners<'m>(
    members: &'m BTreeMap<String, Subscription>,
    topics: &BTreeMap<String, i32>,
) -> BTreeMap<Partition, &'m str> {
    let mut claims: BTreeMap<Partition, (i32, &str)> = BTreeMap::new();
    for (member, subscription) in members {
        for (topic, partition) in &subscription.owned {
            let exists = topics.get(topic).is_some_and(|count| partition < count);
            if !exists || !subscription.topics.contains(topic) {
                continue;
            }
            let claim = (subscription.generation, member.as_str());
            let held = claims.entry((topic.clone(), *partition)).or_insert(claim);
            if held.0 < claim.0 {
                *held = claim;
            }
        }
    }
    claims.into_iter().map(|(partition, (_, member))| (partition, member)).collect()
}

/// Where each partition belongs in the end: with its owner, if that is balanced.
fn target(
    members: &BTreeMap<String, Subscription>,
    topics: &BTreeMap<String, i32>,
    owners: &BTreeMap<Partition, &str>,
) -> BTreeMap<String, Partitions> {
    let mut target: BTreeMap<String, Partitions> =
        members.keys().map(|member| (member.clone(), Partitions::new())).collect();
    let mut unowned = Vec::new();
    for partition in
        topics.iter().flat_map(|(topic, count)| (0..*count).map(|p| (topic.clone(), p)))
    {
        match owners.get(&partition).and_then(|owner| target.get_mut(*owner)) {
            Some(partitions) => drop(partitions.insert(partition)),
            None => unowned.push(partition),
        }
    }
    for partition in unowned {
        if let Some(member) = least_loaded(members, &target, &partition.0) {
            target.entry(member).or_default().insert(partition);
        }
    }
    while let Some((from, to, partition)) = next_move(members, &target, owners) {
        target.entry(from).or_default().remove(&partition);
        target.entry(to).or_default().insert(partition);
    }
    target
}

fn least_loaded(
    members: &BTreeMap<String, Subscription>,
    target: &BTreeMap<String, Partitions>,
    topic: &str,
) -> Option<String> {
    target
        .iter()
        .filter(|(member, _)| members[*member].topics.iter().any(|t| t == topic))
        .min_by_key(|(member, partitions)| (partitions.len(), *member))
        .map(|(member, _)| member.clone())
}

/// A move that makes the loads more even: at least two apart, or it would only swap them.
///
/// Each move lessens the sum of the squared loads, so there is a last one.
fn next_move(
    members: &BTreeMap<String, Subscription>,
    target: &BTreeMap<String, Partitions>,
    owners: &BTreeMap<Partition, &str>,
) -> Option<(String, String, Partition)> {
    let mut by_load: Vec<_> = target.iter().map(|(m, p)| (p.len(), m)).collect();
    by_load.sort();
    for (high, from) in by_load.iter().rev() {
        for (low, to) in &by_load {
            if high < &(low + 2) {
                break;
            }
            let wanted: BTreeSet<&String> = members[*to].topics.iter().collect();
            let movable = target[*from].iter().filter(|(topic, _)| wanted.contains(topic));
            // One that its owner has not got yet moves without anybody giving it up.
            let choice = movable.max_by_key(|partition| {
                (owners.get(*partition) != Some(&from.as_str()), *partition)
            });
            if let Some(partition) = choice {
                return Some(((*from).clone(), (*to).clone(), partition.clone()));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topics(partitions: i32) -> BTreeMap<String, i32> {
        BTreeMap::from([("t".to_owned(), partitions)])
    }

    fn member(owned: impl IntoIterator<Item = i32>, generation: i32) -> Subscription {
        let owned = owned.into_iter().map(|p| ("t".to_owned(), p)).collect();
        Subscription { topics: vec!["t".to_owned()], owned, generation, user_data: None }
    }

    fn group(members: &[(&str, &[i32])]) -> BTreeMap<String, Subscription> {
        let of =
            |(id, owned): &(&str, &[i32])| ((*id).to_owned(), member(owned.iter().copied(), 1));
        members.iter().map(of).collect()
    }

    fn show(plan: &Plan) -> String {
        let list =
            |p: &Partitions| p.iter().map(|(_, n)| n.to_string()).collect::<Vec<_>>().join(" ");
        let of = |(id, p): (&String, &Partitions)| format!("{id}: {}", list(p));
        let members: Vec<_> = plan.assigned.iter().map(of).collect();
        format!("{} | moving: {}", members.join(", "), list(&plan.moving))
    }

    #[test]
    fn plans() {
        let check = |members: &[(&str, &[i32])], partitions, plan: &str| {
            assert_eq!(show(&assign(&group(members), &topics(partitions))), plan);
        };
        check(&[("a", &[])], 3, "a: 0 1 2 | moving: ");
        check(&[("a", &[]), ("b", &[])], 4, "a: 0 2, b: 1 3 | moving: ");
        check(&[("a", &[0, 1, 2, 3]), ("b", &[])], 4, "a: 0 1, b:  | moving: 2 3");
        check(&[("a", &[0, 1]), ("b", &[])], 4, "a: 0 1, b: 2 3 | moving: ");
        check(&[("a", &[0, 1]), ("b", &[2])], 3, "a: 0 1, b: 2 | moving: ");
        check(&[("a", &[0, 9]), ("b", &[])], 2, "a: 0, b: 1 | moving: ");
    }

    #[test]
    fn grp1_a_claim_from_an_earlier_generation_loses() {
        let mut members = group(&[("a", &[0, 1]), ("b", &[])]);
        members.insert("b".to_owned(), member([0, 1], 2));
        let plan = assign(&members, &topics(2));
        assert_eq!(show(&plan), "a: , b: 0 | moving: 1");
    }

    /// A generator of histories: xorshift, seeded.
    struct Random(u64);

    impl Random {
        fn below(&mut self, n: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            usize::try_from(self.0 % u64::try_from(n).unwrap()).unwrap()
        }
    }

    /// Joins, leaves and crashes at random: the invariants hold after each step, and it settles.
    #[test]
    fn grp_1_2_4_hold_through_random_histories() {
        for seed in 1..300_u64 {
            let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
            let partitions = i32::try_from(1 + random.below(24)).unwrap();
            let mut members = BTreeMap::new();
            for step in 0..30 {
                match random.below(3) {
                    0 | 1 if members.len() < 8 => {
                        members.insert(format!("m{:02}", random.below(50)), member([], -1));
                    }
                    _ => {
                        let victim =
                            members.keys().nth(random.below(members.len().max(1))).cloned();
                        victim.map(|id| members.remove(&id));
                    }
                }
                settle(&mut members, partitions, step * 10 + 10, seed);
            }
        }
    }

    fn settle(
        members: &mut BTreeMap<String, Subscription>,
        partitions: i32,
        start: i32,
        seed: u64,
    ) {
        if members.is_empty() {
            return;
        }
        for round in 0.. {
            assert!(round < 4, "seed {seed}: it settles");
            let before: usize = members.values().map(|m| m.owned.len()).sum();
            let plan = assign(members, &topics(partitions));
            assert_eq!(plan, assign(members, &topics(partitions)), "GRP-4");
            let given: Vec<_> = plan.assigned.values().flatten().collect();
            let distinct: BTreeSet<_> = given.iter().collect();
            assert_eq!(given.len(), distinct.len(), "GRP-1, seed {seed}");
            let all = usize::try_from(partitions).unwrap();
            assert_eq!(given.len() + plan.moving.len(), all, "GRP-2, seed {seed}");
            let even = all.div_ceil(members.len());
            let excess: usize =
                members.values().map(|m| m.owned.len().saturating_sub(all / members.len())).sum();
            assert!(plan.moving.len() <= excess, "no move without need, seed {seed}");
            for (id, member) in members.iter_mut() {
                for partition in &plan.assigned[id] {
                    assert!(!plan.moving.contains(partition), "GRP-1");
                }
                member.owned = plan.assigned[id].clone();
                member.generation = start + round;
            }
            if plan.moving.is_empty() {
                assert!(members.values().all(|m| m.owned.len() <= even), "balanced, seed {seed}");
                assert!(members.values().all(|m| m.owned.len() >= all / members.len()));
                return;
            }
            assert!(before > 0);
        }
    }
}
