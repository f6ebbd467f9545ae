//! A group in numbers: members, topics and what is claimed, by index.
//!
//! A *unit* is what moves as one: partition *p* of all topics that have the same subscribers and
//! the same number of partitions, so that co-partitioned topics stay together.

use std::collections::{BTreeMap, HashMap};

use super::Subscription;
use crate::group::Partitions;
use crate::planted::{self, Bug};

/// Who says that it has a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    Nobody,
    Member(usize),
    /// This member has it, and has drained it: it can be anybody's at once.
    Released(usize),
    /// Two members of the same generation: both must give it up.
    Conflict,
    /// Nobody, as far as the claims can be read: it is nobody's in this generation.
    Unknown,
}

impl Claim {
    /// Who has it.
    pub(super) const fn member(self) -> Option<usize> {
        match self {
            Self::Member(member) | Self::Released(member) => Some(member),
            Self::Nobody | Self::Conflict | Self::Unknown => None,
        }
    }

    /// Whether it can be given to anybody.
    pub(super) const fn is_free(self) -> bool {
        matches!(self, Self::Nobody | Self::Released(_))
    }
}

#[derive(Debug)]
pub(super) struct Topic<'m> {
    pub(super) name: &'m str,
    pub(super) partitions: usize,
    /// Where its partitions begin in `Model::claims`.
    first: usize,
    class: usize,
}

/// Topics whose partitions move together.
#[derive(Debug)]
pub(super) struct Class {
    pub(super) topics: Vec<usize>,
    /// Its first unit.
    pub(super) first: usize,
    pub(super) units: usize,
    /// By member.
    pub(super) subscribed: Vec<bool>,
}

impl Class {
    /// The partitions in one unit.
    pub(super) const fn weight(&self) -> usize {
        self.topics.len()
    }
}

#[derive(Debug)]
pub(super) struct Model<'m> {
    pub(super) ids: Vec<&'m str>,
    pub(super) topics: Vec<Topic<'m>>,
    pub(super) classes: Vec<Class>,
    /// By unit.
    class_of: Vec<usize>,
    /// By topic and partition.
    claims: Vec<Claim>,
    topic_index: HashMap<&'m str, usize>,
}

impl<'m> Model<'m> {
    /// The group's model; with `together`, co-partitioned topics are one unit.
    pub(super) fn new(
        generation: i32,
        members: &'m BTreeMap<String, Subscription>,
        topics: &'m BTreeMap<String, i32>,
        together: bool,
    ) -> Self {
        let mut model = Self {
            ids: members.keys().map(String::as_str).collect(),
            topics: Vec::new(),
            classes: Vec::new(),
            class_of: Vec::new(),
            claims: Vec::new(),
            topic_index: HashMap::new(),
        };
        for (name, partitions) in topics {
            let partitions = usize::try_from(*partitions).unwrap_or(0);
            model.topic_index.insert(name, model.topics.len());
            let first = model.claims.len();
            model.claims.resize(first + partitions, Claim::Nobody);
            model.topics.push(Topic { name, partitions, first, class: 0 });
        }
        model.classify(members, together);
        model.claim(generation, members);
        model
    }

    fn classify(&mut self, members: &BTreeMap<String, Subscription>, together: bool) {
        let mut subscribed = vec![vec![false; members.len()]; self.topics.len()];
        for (member, subscription) in members.values().enumerate() {
            for topic in subscription.topics.iter().filter_map(|t| self.topic_index.get(&**t)) {
                subscribed[*topic][member] = true;
            }
        }
        let mut classes: HashMap<(Vec<bool>, usize, usize), usize> = HashMap::new();
        for (index, subscribed) in subscribed.into_iter().enumerate() {
            let units = self.topics[index].partitions;
            let apart = if together { 0 } else { index };
            let next = self.classes.len();
            let class = *classes.entry((subscribed.clone(), units, apart)).or_insert(next);
            if class == next {
                let first = self.class_of.len();
                self.class_of.resize(first + units, class);
                self.classes.push(Class { topics: Vec::new(), first, units, subscribed });
            }
            self.classes[class].topics.push(index);
            self.topics[index].class = class;
        }
    }

    /// A claim from an earlier generation loses. One that nobody else makes counts whatever its
    /// generation: the member did not hear of the last one, and nobody else was given it.
    ///
    /// Who claims a generation that has not begun is not believed: it would take what it likes.
    fn claim(&mut self, generation: i32, members: &BTreeMap<String, Subscription>) {
        let mut generations = vec![i32::MIN; self.claims.len()];
        for (member, subscription) in members.values().enumerate() {
            let claimed = subscription.generation;
            let claimed = if claimed < generation { claimed } else { i32::MIN };
            for (topic, partition) in &subscription.owned {
                let Some(part) = self.part(topic, *partition) else {
                    continue;
                };
                let held = &mut generations[part];
                if self.claims[part] == Claim::Nobody || *held < claimed {
                    self.claims[part] = Claim::Member(member);
                    *held = claimed;
                } else if *held == claimed {
                    self.claims[part] = Claim::Conflict;
                }
            }
        }
    }

    /// This member has released these partitions. It does not claim them: whoever does has them.
    pub(super) fn release(&mut self, member: usize, partitions: &Partitions) {
        for (topic, partition) in partitions {
            if let Some(part) = self.part(topic, *partition)
                && self.claims[part] == Claim::Nobody
            {
                self.claims[part] = Claim::Released(member);
            }
        }
    }

    /// What nobody claims may belong to a member that can't be read.
    pub(super) fn withhold_unclaimed(&mut self) {
        for claim in self.claims.iter_mut().filter(|claim| **claim == Claim::Nobody) {
            *claim = Claim::Unknown;
        }
    }

    fn part(&self, topic: &str, partition: i32) -> Option<usize> {
        let topic = &self.topics[*self.topic_index.get(topic)?];
        let partition = usize::try_from(partition).ok()?;
        (partition < topic.partitions).then_some(topic.first + partition)
    }

    pub(super) const fn members(&self) -> usize {
        self.ids.len()
    }

    pub(super) const fn units(&self) -> usize {
        self.class_of.len()
    }

    /// The unit that a partition belongs to, if it exists.
    pub(super) fn unit_of(&self, topic: &str, partition: i32) -> Option<usize> {
        let topic = &self.topics[*self.topic_index.get(topic)?];
        let partition = usize::try_from(partition).ok()?;
        (partition < topic.partitions).then_some(self.classes[topic.class].first + partition)
    }

    pub(super) fn class_of(&self, unit: usize) -> usize {
        self.class_of[unit]
    }

    pub(super) fn class(&self, unit: usize) -> &Class {
        &self.classes[self.class_of[unit]]
    }

    pub(super) fn subscribed(&self, member: usize, unit: usize) -> bool {
        self.class(unit).subscribed[member]
    }

    /// The unit's partitions, each with who claims it.
    pub(super) fn parts(&self, unit: usize) -> impl Iterator<Item = ((String, i32), Claim)> + '_ {
        let class = self.class(unit);
        let partition = unit - class.first;
        class.topics.iter().map(move |topic| {
            let topic = &self.topics[*topic];
            let number = i32::try_from(partition).unwrap_or(i32::MAX);
            ((topic.name.to_owned(), number), self.claims[topic.first + partition])
        })
    }

    fn claims(&self, unit: usize) -> impl Iterator<Item = Claim> + '_ {
        let class = self.class(unit);
        let partition = unit - class.first;
        class.topics.iter().map(move |topic| self.claims[self.topics[*topic].first + partition])
    }

    /// Who has a unit: the subscriber that has the most of it.
    pub(super) fn owner(&self, unit: usize) -> Option<usize> {
        let mut best: Option<(usize, usize)> = None;
        for claim in self.claims(unit) {
            let Some(member) = claim.member().filter(|member| self.subscribed(*member, unit))
            else {
                continue;
            };
            let parts = self.claims(unit).filter(|other| other.member() == Some(member)).count();
            if best.is_none_or(|(most, first)| (parts, first) > (most, member)) {
                best = Some((parts, member));
            }
        }
        best.map(|(_, member)| member)
    }

    /// Whether all of the unit can be given to anybody.
    pub(super) fn is_free(&self, unit: usize) -> bool {
        self.claims(unit).all(Claim::is_free)
    }

    /// What each member gets, if each unit is for the member in `homes`.
    ///
    /// GRP-1 is kept here: a partition that somebody has is given to nobody else, however the
    /// plan was made. Its owner sees that it is not its own any more, and gives it up.
    pub(super) fn assignments(&self, homes: &[Option<usize>]) -> Vec<Partitions> {
        let mut assigned = vec![Vec::new(); self.members()];
        for (unit, home) in homes.iter().enumerate() {
            let Some(home) = *home else {
                continue;
            };
            for (partition, claim) in self.parts(unit) {
                let is_free = claim.is_free() || planted::is(Bug::TakeWhileOwned);
                if is_free || claim == Claim::Member(home) {
                    assigned[home].push(partition);
                }
            }
        }
        assigned.into_iter().map(|partitions| partitions.into_iter().collect()).collect()
    }
}
