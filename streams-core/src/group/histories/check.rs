//! What must hold for each round that a leader plans, told from what goes over the wire alone.

use std::collections::{BTreeMap, BTreeSet};

use crate::group::Partitions;
use crate::group::assignor::{self, Assignment, Assignor, PlanSettings, Subscription};
use crate::group::user_data::{Instructions, MemberMeta};
use crate::group::view::MemberStatus;

type Partition = (String, i32);

/// What the members said, and what they were told.
#[derive(Clone, Debug)]
pub(super) struct Round {
    pub(super) assignor: Assignor,
    pub(super) generation: i32,
    pub(super) partitions: i32,
    pub(super) settings: PlanSettings,
    pub(super) members: BTreeMap<String, Subscription>,
    pub(super) assignments: BTreeMap<String, Assignment>,
    /// A static member missed the round: what it said is of an earlier one.
    pub(super) has_late: bool,
}

/// What a round does, by partition.
#[derive(Debug, Default)]
pub(super) struct Effect {
    /// Claimed, and not assigned: on its way to another member.
    pub(super) given_up: BTreeSet<Partition>,
    /// Released, and assigned to another member.
    pub(super) given_on: BTreeSet<Partition>,
    /// Claimed by nobody.
    pub(super) unclaimed: BTreeSet<Partition>,
    /// How many partitions active members have, and those on their way counted for nobody.
    pub(super) loads: Vec<usize>,
    /// What members that want to leave still have.
    pub(super) leaving: usize,
    /// Who takes part, and as what.
    pub(super) cast: Vec<(String, MemberStatus)>,
}

impl Effect {
    /// The fewest moves that even the loads out: `leaving` ones, and those over or under.
    pub(super) fn moves_needed(&self) -> usize {
        let Some(members) = Some(self.loads.len()).filter(|members| *members > 0) else {
            return 0;
        };
        let given_up = self.given_up.len();
        let total = self.loads.iter().sum::<usize>() + self.leaving + given_up;
        let (low, high) = (total / members, total.div_ceil(members));
        let over: usize = self.loads.iter().map(|load| load.saturating_sub(high)).sum();
        let under: usize = self.loads.iter().map(|load| low.saturating_sub(*load)).sum();
        // What leaves, and what is on its way, fills up what is under.
        (self.leaving + given_up).max(under).max(self.leaving + given_up + over)
    }
}

impl Round {
    fn meta(&self, member: &str) -> MemberMeta {
        let subscription = &self.members[member];
        match self.assignor {
            Assignor::IncrCoop => {
                MemberMeta::decode(subscription.user_data.as_ref()).expect("our own")
            }
            _ => MemberMeta::default(),
        }
    }

    /// Whether some copy could not be made.
    pub(super) fn has_failures(&self) -> bool {
        self.members.keys().any(|id| !self.meta(id).failed.is_empty())
    }

    fn all(&self) -> Partitions {
        (0..self.partitions).map(|number| ("t".to_owned(), number)).collect()
    }

    /// Who claims what; the later generation wins.
    fn claims(&self) -> BTreeMap<Partition, &str> {
        let mut claims: BTreeMap<Partition, (i32, &str)> = BTreeMap::new();
        for (id, member) in &self.members {
            for partition in &member.owned {
                let claim = (member.generation, id.as_str());
                let best = claims.entry(partition.clone()).or_insert(claim);
                assert!(best.1 == id || best.0 != claim.0, "GRP-1: two claim {partition:?}");
                *best = claim.max(*best);
            }
        }
        claims.into_iter().map(|(partition, (_, id))| (partition, id)).collect()
    }

    /// GRP-1 to GRP-4.
    ///
    /// # Errors
    /// The guarantee that does not hold, and where.
    pub(super) fn check(&self) -> Result<Effect, String> {
        let topics = BTreeMap::from([("t".to_owned(), self.partitions)]);
        let again =
            assignor::plan(self.assignor, self.generation, &self.members, &topics, &self.settings);
        self.check_without_plan().and_then(|effect| match again.assignments == self.assignments {
            true => Ok(effect),
            false => Err("GRP-4: the same input gives another plan".to_owned()),
        })
    }

    pub(super) fn check_without_plan(&self) -> Result<Effect, String> {
        let claims = self.claims();
        let mut homes: BTreeMap<Partition, &str> = BTreeMap::new();
        for (id, assignment) in &self.assignments {
            for partition in &assignment.partitions {
                if let Some(other) = homes.insert(partition.clone(), id) {
                    return Err(format!("GRP-1: {partition:?} is given to {other} and {id}"));
                }
                let owner = claims.get(partition).filter(|owner| **owner != id.as_str());
                if let Some(owner) = owner.filter(|_| self.assignor.is_cooperative()) {
                    return Err(format!("GRP-1: {partition:?} of {owner} is given to {id}"));
                }
            }
        }
        let metas: BTreeMap<&str, MemberMeta> =
            self.members.keys().map(|id| (id.as_str(), self.meta(id))).collect();
        let newest = self.members.values().map(|member| member.generation).max();
        let is_current = |id: &str| Some(self.members[id].generation) == newest;
        let active = |id: &str| metas[id].status == MemberStatus::Active;
        let mut effect = Effect::default();
        let mut loads: BTreeMap<&str, usize> =
            metas.keys().filter(|id| active(id)).map(|id| (*id, 0)).collect();
        for partition in self.all() {
            let has_released = |(id, meta): &(&&str, &MemberMeta)| {
                is_current(id) && meta.released.contains(&partition)
            };
            let released = metas.iter().find(has_released);
            let home = homes.get(&partition);
            let is_claimed = claims.contains_key(&partition);
            let goes_on = released.is_some_and(|(id, _)| home.is_some_and(|home| home != id));
            if goes_on && !is_claimed {
                effect.given_on.insert(partition.clone());
            }
            if !is_claimed && released.is_none() {
                effect.unclaimed.insert(partition.clone());
            }
            match (home, is_claimed) {
                (Some(home), _) => match loads.get_mut(home) {
                    Some(load) => *load += 1,
                    None => effect.leaving += 1,
                },
                (None, true) => drop(effect.given_up.insert(partition)),
                (None, false) if loads.is_empty() => {}
                (None, false) => return Err(format!("GRP-2: nobody gets {partition:?}")),
            }
        }
        effect.loads = loads.into_values().collect();
        effect.cast = metas.iter().map(|(id, meta)| ((*id).to_owned(), meta.status)).collect();
        if self.assignor == Assignor::IncrCoop {
            self.check_transitions(&metas, &effect)?;
        }
        Ok(effect)
    }

    fn check_transitions(
        &self,
        metas: &BTreeMap<&str, MemberMeta>,
        effect: &Effect,
    ) -> Result<(), String> {
        let mut moving = effect.given_up.clone();
        for (id, assignment) in &self.assignments {
            let told = Instructions::decode(assignment.user_data.as_ref())?;
            for partition in told.transitions.union(&told.standbys) {
                if assignment.partitions.contains(partition) {
                    return Err(format!("{id} is to copy its own {partition:?}"));
                }
            }
            moving.extend(told.transitions);
        }
        if moving.len() > self.settings.active_transitions {
            return Err(format!("GRP-3: {moving:?} are on their way"));
        }
        for partition in effect.given_up.union(&effect.given_on) {
            let is_ready = |(id, meta): (&&str, &MemberMeta)| {
                let gets = self.assignments[*id].partitions.contains(partition);
                meta.status == MemberStatus::Active
                    && (gets || effect.given_up.contains(partition))
                    && (meta.ready.contains(partition) || meta.standby.contains(partition))
            };
            if !metas.iter().any(is_ready) {
                return Err(format!("{partition:?} is given up, and nobody is ready for it"));
            }
        }
        Ok(())
    }
}
