//! The leader's plan: how many partitions there are, and which members can be planned for.
//!
//! *Partitions.* A broker may not know a topic for a moment, or not all of its partitions. The plan
//! never covers fewer partitions than the member has seen: else it would take everything from
//! everybody. Partitions that are added later are found by the runtime, which looks from time to
//! time; the leader begins a rebalance for them.
//!
//! *Unreadable subscriptions.* A member whose subscription can't be read gets nothing. It may have
//! partitions all the same, and commits in this generation before it hears that it has lost them.
//! So in the first generation in which the leader meets it, what no other member claims is assigned
//! to nobody. The leader begins another generation after that, in which everything is assigned. (An
//! eager assignor need not wait: all members have given everything up before they join.)

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::errors::{Action, action};
use super::{Member, State};
use crate::client::wire::{UNKNOWN_TOPIC_OR_PARTITION, error_name};
use crate::group::GroupConfig;
use crate::group::assignor::{self, Assignment, PlanSettings};

/// How long a member whose subscription can't be read has to give up what it may have.
const UNREADABLE_DELAY: Duration = Duration::from_secs(1);

/// What the member knows of its topics, and of members that it can't plan for.
#[derive(Clone, Debug)]
pub(super) struct Counts {
    /// The most partitions that each of the member's topics was seen with.
    partitions: BTreeMap<String, i32>,
    /// Whether the member plans this generation.
    pub(super) is_leader: bool,
    /// More partitions than that: how many, and the last generation when they were first seen.
    grown: Option<(i32, i32)>,
    /// Members that get nothing in the plan that is being made.
    getting_nothing: BTreeSet<String>,
    /// Members that were told that they have nothing, and in which generation.
    told_nothing: (i32, BTreeSet<String>),
}

impl Counts {
    pub(super) fn new(config: &GroupConfig) -> Self {
        Self {
            partitions: config.partitions.clone(),
            is_leader: false,
            grown: None,
            getting_nothing: BTreeSet::new(),
            told_nothing: (-1, BTreeSet::new()),
        }
    }

    /// The generation's assignment was delivered.
    pub(super) fn assigned(&mut self, generation_id: i32) {
        self.told_nothing = (generation_id, std::mem::take(&mut self.getting_nothing));
    }
}

impl Member {
    /// The brokers have said how many partitions there are: the plan can be made.
    pub(super) fn counted(&mut self, now: Instant, reported: &BTreeMap<String, Result<i32, i16>>) {
        for topic in self.config.topics.clone() {
            let reported = reported.get(&topic).copied();
            let known = self.counts.partitions.get(&topic).copied();
            let count = match (reported.unwrap_or(Err(UNKNOWN_TOPIC_OR_PARTITION)), known) {
                (Ok(count), known) => count.max(known.unwrap_or(0)),
                (Err(code), known) => {
                    let name = error_name(code);
                    if let Action::Denied(hint) = action(code)
                        && !self.patience.has_worked()
                    {
                        return self.fail(&format!("{name}: {hint}: topic `{topic}`"));
                    }
                    tracing::warn!(topic, code, name, ?known, "no broker describes the topic now");
                    let Some(known) = known else {
                        return self.retry(now);
                    };
                    known
                }
            };
            self.counts.partitions.insert(topic, count);
        }
        // Topics of other applications' members; they may not exist, or be theirs alone to see.
        let others =
            reported.iter().filter_map(|(topic, count)| Some((topic.clone(), (*count).ok()?)));
        let mut topics: BTreeMap<String, i32> = others.collect();
        topics.extend(self.counts.partitions.clone());
        self.plan(now, &topics);
    }

    fn plan(&mut self, now: Instant, topics: &BTreeMap<String, i32>) {
        let (State::Counting { members, unreadable, .. }, Some(assignor), Some(generation)) =
            (&mut self.state, self.assignor, &self.generation)
        else {
            return;
        };
        let (members, unreadable) = (std::mem::take(members), std::mem::take(unreadable));
        let id = generation.generation_id;
        let (told_in, told) = &self.counts.told_nothing;
        let has_been_told = |member: &String| *told_in == id - 1 && told.contains(member);
        let withholds_unclaimed =
            assignor.is_cooperative() && !unreadable.iter().all(has_been_told);
        let settings = PlanSettings {
            active_transitions: self.config.active_transitions,
            standby_replicas: self.config.standby_replicas,
            withholds_unclaimed,
        };
        let mut plan = assignor::plan(assignor, id, &members, topics, &settings);
        let nothing = unreadable.iter().map(|member| (member.clone(), Assignment::default()));
        plan.assignments.extend(nothing);
        self.counts.getting_nothing = unreadable;
        self.planned = Some(plan.view);
        self.state = State::Syncing { assignments: plan.assignments, asked: false };
        if withholds_unclaimed {
            self.rejoin_by(now + UNREADABLE_DELAY);
        }
    }

    /// The topic has so many partitions that can be used. If the plan does not know them, the
    /// leader begins a rebalance; another member does if a generation has not begun since it was
    /// first told.
    pub fn grown(&mut self, now: Instant, topic: &str, count: i32) {
        let counts = &mut self.counts;
        let is_planned = counts
            .grown
            .is_some_and(|(seen, in_generation)| seen == count && in_generation < self.confirmed);
        if is_planned {
            let known = counts.partitions.entry(topic.to_owned()).or_default();
            *known = count.max(*known);
        }
        if counts.partitions.get(topic).is_some_and(|known| count <= *known) {
            counts.grown = None;
            return;
        }
        let seen = (count, self.confirmed);
        let is_due = counts.is_leader || counts.grown == Some(seen);
        counts.grown = Some(seen);
        if is_due && self.generation.is_some() {
            self.rejoin_by(now);
        }
    }
}

#[cfg(test)]
#[path = "counting_tests.rs"]
mod tests;
