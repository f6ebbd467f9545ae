//! `roundrobin`: all partitions of all topics are dealt out in turn.

use std::collections::{BTreeMap, HashSet};

use super::{Subscription, by_instance};
use crate::group::Partitions;

/// Assigns as Java's `RoundRobinAssignor` and librdkafka's `roundrobin` do.
pub(super) fn assign(
    members: &BTreeMap<String, Subscription>,
    topics: &BTreeMap<String, i32>,
) -> BTreeMap<String, Partitions> {
    let mut assigned: BTreeMap<String, Partitions> =
        members.keys().map(|member| (member.clone(), Partitions::new())).collect();
    let order = by_instance(members);
    let wants: Vec<HashSet<&str>> = order
        .iter()
        .map(|member| members[*member].topics.iter().map(String::as_str).collect())
        .collect();
    let mut next = 0;
    for (topic, partitions) in topics {
        if !wants.iter().any(|topics| topics.contains(topic.as_str())) {
            continue;
        }
        for partition in 0..*partitions {
            while !wants[next].contains(topic.as_str()) {
                next = (next + 1) % order.len();
            }
            let of = assigned.entry(order[next].to_owned()).or_default();
            of.insert((topic.clone(), partition));
            next = (next + 1) % order.len();
        }
    }
    assigned
}
