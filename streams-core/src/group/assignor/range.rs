//! `range`: of each topic, each subscriber gets a run of neighbours; the first ones get one more.

use std::collections::BTreeMap;

use super::{Subscription, by_instance};
use crate::group::Partitions;

/// Assigns as Java's `RangeAssignor` and librdkafka's `range` do.
pub(super) fn assign(
    members: &BTreeMap<String, Subscription>,
    topics: &BTreeMap<String, i32>,
) -> BTreeMap<String, Partitions> {
    let mut assigned: BTreeMap<String, Partitions> =
        members.keys().map(|member| (member.clone(), Partitions::new())).collect();
    let order = by_instance(members);
    for (topic, partitions) in topics {
        let subscribers: Vec<&str> = order
            .iter()
            .copied()
            .filter(|member| members[*member].topics.contains(topic))
            .collect();
        let count = i32::try_from(subscribers.len()).unwrap_or(i32::MAX);
        let mut next = 0;
        for (index, member) in (0..count).zip(subscribers) {
            let run = partitions / count + i32::from(index < partitions % count);
            let of = assigned.entry(member.to_owned()).or_default();
            of.extend((next..next + run).map(|partition| (topic.clone(), partition)));
            next += run;
        }
    }
    assigned
}
