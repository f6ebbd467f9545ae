//! `incr_coop`: partitions move a few at a time, to members that have a warm copy already.
//!
//! One plan is made in five steps, each of them deterministic (GRP-4):
//!
//! 1. *Home*: what nobody has goes to a member with a copy of it, ready ones first, else to the
//!    least loaded (GRP-2). Everything else stays where it is.
//! 2. *Balance*: how many units each member should have in the end ([`super::balance`]).
//!    Members that want to leave should have none.
//! 3. *Moves*: at most `active_transitions` units that go from a member with too many to one with
//!    too few (GRP-3). Those on their way come first, then those whose receiver is a ready standby,
//!    then what the members that leave have, in the order in which they began to.
//! 4. A unit whose receiver has said that it is ready to take it over is given up by its owner; it
//!    has no home in this generation, and step 1 of the next one gives it to the receiver. For any
//!    other the receiver is told to make a copy, if it is no standby that has one, and its owner
//!    that the unit is going; the owner goes on.
//!    If its owner has *released* it, because it was told that it is going, and has drained it
//!    before it joined, the receiver gets it in this generation already; if the receiver is not
//!    ready, the owner goes on. That saves the moved partition a rebalance.
//! 5. *Standbys* ([`super::standby`]).
//!
//! What is known of the group is what its members say when they join: so any of them can lead, and
//! the leader can change at any time.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::balance::{self, Counts, Start};
use super::model::{Claim, Model};
use super::standby;
use super::{PlanSettings, Subscription};
use crate::group::user_data::MemberMeta;
use crate::group::view::{MemberStatus, MoveReason};
use crate::planted::{self, Bug};

/// A warm copy of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WarmCopy {
    pub(super) unit: usize,
    pub(super) member: usize,
    /// Made to take the unit over, not to stand by.
    pub(super) is_transition: bool,
    pub(super) is_ready: bool,
}

/// A unit on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Move {
    pub(super) unit: usize,
    pub(super) from: usize,
    pub(super) to: usize,
    /// The receiver has its copy, and the owner was told: it gives the unit up.
    pub(super) is_ready: bool,
    pub(super) reason: MoveReason,
}

/// The plan in numbers.
#[derive(Debug)]
pub(super) struct Plan<'m> {
    pub(super) model: Model<'m>,
    pub(super) metas: Vec<MemberMeta>,
    /// Of each unit, who has it now.
    pub(super) owners: Vec<Option<usize>>,
    /// Of each unit, who has it in this generation.
    pub(super) homes: Vec<Option<usize>>,
    /// By unit, then member.
    pub(super) copies: Vec<WarmCopy>,
    pub(super) moves: Vec<Move>,
    /// Moves that this generation ends: what their owners had released.
    pub(super) handed_over: Vec<Move>,
    /// By unit, then member.
    pub(super) standbys: Vec<(usize, usize)>,
    /// Members that want to leave, and have nothing that could be moved.
    pub(super) drained: Vec<bool>,
    active: Vec<bool>,
    failed: HashSet<(usize, usize)>,
}

pub(super) fn plan<'m>(
    generation: i32,
    members: &'m BTreeMap<String, Subscription>,
    topics: &'m BTreeMap<String, i32>,
    settings: &PlanSettings,
) -> Plan<'m> {
    let mut model = Model::new(generation, members, topics, true);
    let metas: Vec<MemberMeta> = members.iter().map(|(id, member)| meta(id, member)).collect();
    // A release holds for one generation: a static member that is late may have had the partition
    // again since it said so.
    let generations = members.values().map(|member| member.generation);
    let newest = generations.filter(|claimed| *claimed < generation).max();
    for (member, (said, meta)) in members.values().zip(&metas).enumerate() {
        if Some(said.generation) == newest {
            model.release(member, &meta.released);
        }
    }
    if settings.withholds_unclaimed {
        model.withhold_unclaimed();
    }
    let active: Vec<bool> = metas.iter().map(|m| m.status == MemberStatus::Active).collect();
    let owners: Vec<Option<usize>> = (0..model.units()).map(|unit| model.owner(unit)).collect();
    let failed = failed(&model, &metas);
    let mut copies = copies(&model, &metas, &owners, &active);
    // One that is tried again, where it has just failed, does not count before it is ready.
    copies.retain(|copy| copy.is_ready || !failed.contains(&(copy.unit, copy.member)));
    let mut plan = Plan {
        homes: owners.clone(),
        drained: vec![false; model.members()],
        moves: Vec::new(),
        handed_over: Vec::new(),
        standbys: Vec::new(),
        model,
        metas,
        owners,
        copies,
        active,
        failed,
    };
    let counts = plan.home();
    let room = plan.balance(&counts);
    plan.choose_moves(settings.active_transitions, &counts, &room);
    plan.hand_over();
    let racks: Vec<Option<&str>> = members.values().map(|m| m.rack.as_deref()).collect();
    plan.standbys = standby::choose(&plan, settings.standby_replicas, &racks);
    plan
}

fn meta(id: &str, member: &Subscription) -> MemberMeta {
    MemberMeta::decode(member.user_data.as_ref()).unwrap_or_else(|reason| {
        tracing::warn!(member = id, reason, "unreadable user data: taken as an active member");
        MemberMeta::default()
    })
}

/// The copies of active members that don't own the unit. One of several topics' partitions is
/// ready when all of them are.
fn copies(
    model: &Model<'_>,
    metas: &[MemberMeta],
    owners: &[Option<usize>],
    active: &[bool],
) -> Vec<WarmCopy> {
    let mut found: HashMap<(usize, usize), (usize, bool)> = HashMap::new();
    for (member, meta) in metas.iter().enumerate().filter(|(member, _)| active[*member]) {
        let lists = [
            (&meta.ready, true, 1),
            (&meta.preparing, true, 0),
            (&meta.standby, false, 1),
            (&meta.restoring, false, 0),
        ];
        for (partitions, is_transition, ready) in lists {
            for (topic, partition) in partitions {
                let Some(unit) = model.unit_of(topic, *partition) else {
                    continue;
                };
                if owners[unit] != Some(member) && model.subscribed(member, unit) {
                    let copy = found.entry((unit, member)).or_default();
                    copy.0 += ready;
                    copy.1 |= is_transition;
                }
            }
        }
    }
    let mut copies: Vec<WarmCopy> = found
        .into_iter()
        .map(|((unit, member), (ready, is_transition))| {
            let is_ready = ready >= model.class(unit).weight();
            WarmCopy { unit, member, is_transition, is_ready }
        })
        .collect();
    copies.sort_unstable_by_key(|copy| (copy.unit, copy.member));
    copies
}

fn failed(model: &Model<'_>, metas: &[MemberMeta]) -> HashSet<(usize, usize)> {
    let mut failed = HashSet::new();
    for (member, meta) in metas.iter().enumerate() {
        let units = meta.failed.keys().filter_map(|(topic, p)| model.unit_of(topic, *p));
        failed.extend(units.map(|unit| (unit, member)));
    }
    failed
}

impl Plan<'_> {
    pub(super) fn copies_of(&self, unit: usize) -> &[WarmCopy] {
        let first = self.copies.partition_point(|copy| copy.unit < unit);
        let length = self.copies[first..].partition_point(|copy| copy.unit == unit);
        &self.copies[first..first + length]
    }

    pub(super) fn copy(&self, unit: usize, member: usize) -> Option<WarmCopy> {
        self.copies_of(unit).iter().copied().find(|copy| copy.member == member)
    }

    pub(super) fn is_active(&self, member: usize) -> bool {
        self.active[member]
    }

    /// Whether it needs not be given up first.
    fn is_free(&self, unit: usize) -> bool {
        self.owners[unit].is_none() || self.model.is_free(unit)
    }

    /// Whether the unit is its receiver's in this generation already: it is not on its way.
    fn moves_at_once(&self, unit: usize, is_ready: bool) -> bool {
        is_ready && self.is_free(unit)
    }

    pub(super) fn has_failed(&self, unit: usize, member: usize) -> bool {
        // Asked for each pair of them, and true for hardly any.
        !self.failed.is_empty() && self.failed.contains(&(unit, member))
    }

    /// Gives every unit that nobody has to somebody (GRP-2), and counts what active members have.
    fn home(&mut self) -> Counts {
        let members = self.model.members();
        let mut counts: Counts = vec![vec![0; members]; self.model.classes.len()];
        let mut loads = vec![0; members];
        for (unit, owner) in self.owners.iter().enumerate() {
            if let Some(owner) = *owner
                && self.active[owner]
            {
                counts[self.model.class_of(unit)][owner] += 1;
                loads[owner] += self.model.class(unit).weight();
            }
        }
        for unit in 0..self.homes.len() {
            if self.homes[unit].is_some() {
                continue;
            }
            let home = self.taker(unit, &loads);
            self.homes[unit] = home;
            if let Some(home) = home {
                counts[self.model.class_of(unit)][home] += 1;
                loads[home] += self.model.class(unit).weight();
            }
        }
        counts
    }

    /// Who takes a unit that nobody has: whoever is warm, else the least loaded.
    fn taker(&self, unit: usize, loads: &[usize]) -> Option<usize> {
        let warm = self.copies_of(unit).iter().min_by_key(|copy| {
            (!copy.is_ready, !copy.is_transition, loads[copy.member], copy.member)
        });
        warm.map(|copy| copy.member).or_else(|| self.least_loaded(unit, loads))
    }

    fn least_loaded(&self, unit: usize, loads: &[usize]) -> Option<usize> {
        let class = self.model.class(unit);
        (0..self.model.members())
            .filter(|member| self.active[*member] && class.subscribed[*member])
            .min_by_key(|member| (self.has_failed(unit, *member), loads[*member]))
    }

    /// How many units each active member should have.
    fn balance(&self, counts: &Counts) -> Counts {
        let mut homeless = vec![0; self.model.classes.len()];
        for (unit, owner) in self.owners.iter().enumerate() {
            if owner.is_some_and(|owner| !self.active[owner]) {
                homeless[self.model.class_of(unit)] += 1;
            }
        }
        let mut incoming = vec![0; self.model.members()];
        let mut outgoing = incoming.clone();
        for copy in self.copies.iter().filter(|copy| copy.is_transition) {
            if let Some(owner) = self.homes[copy.unit].filter(|home| *home != copy.member) {
                incoming[copy.member] += 1;
                outgoing[owner] += 1;
            }
        }
        let (counts, active) = (counts.clone(), &*self.active);
        balance::spread(&self.model, Start { counts, homeless, active, incoming, outgoing })
    }

    /// Whoever is ready gets the unit in the next generation; at once, if its owner has released
    /// it, or nobody had it.
    fn hand_over(&mut self) {
        for one in std::mem::take(&mut self.moves) {
            let is_free = self.is_free(one.unit) || planted::is(Bug::TakeWhileOwned);
            if one.is_ready || planted::is(Bug::HandOverUnready) {
                self.homes[one.unit] = is_free.then_some(one.to);
            }
            match is_free && one.is_ready {
                true => self.handed_over.push(one),
                false => self.moves.push(one),
            }
        }
    }

    fn choose_moves(&mut self, budget: usize, counts: &Counts, target: &Counts) {
        let mut chooser = Chooser::new(self, budget, counts, target);
        chooser.keep(|copy| copy.is_transition && copy.is_ready);
        chooser.keep(|copy| copy.is_transition && !copy.is_ready);
        chooser.keep(|copy| !copy.is_transition && copy.is_ready);
        chooser.begin();
        let (moves, has_budget_left) = (chooser.moves, chooser.budget > 0);
        let takes_time = |one: &&Move| !self.moves_at_once(one.unit, one.is_ready);
        let moving: HashSet<usize> = moves.iter().filter(takes_time).map(|one| one.from).collect();
        let mut owns = vec![false; self.model.members()];
        self.owners.iter().flatten().for_each(|owner| owns[*owner] = true);
        for (member, owns) in owns.into_iter().enumerate() {
            let is_stuck = has_budget_left && !moving.contains(&member);
            self.drained[member] = !self.active[member] && (!owns || is_stuck);
        }
        self.moves = moves;
    }
}

/// Chooses the moves within the budget.
struct Chooser<'p, 'm> {
    plan: &'p Plan<'m>,
    budget: usize,
    /// By class and member: how many units too many, or too few.
    surplus: Counts,
    deficit: Counts,
    loads: Vec<usize>,
    moves: Vec<Move>,
    taken: BTreeSet<usize>,
}

impl<'p, 'm> Chooser<'p, 'm> {
    fn new(plan: &'p Plan<'m>, budget: usize, counts: &Counts, target: &Counts) -> Self {
        let zip = |more: &Counts, less: &Counts| -> Counts {
            let rows = more.iter().zip(less);
            rows.map(|(more, less)| {
                more.iter().zip(less).map(|(m, l)| m.saturating_sub(*l)).collect()
            })
            .collect()
        };
        let mut surplus = zip(counts, target);
        for (unit, owner) in plan.owners.iter().enumerate() {
            if let Some(owner) = owner.filter(|owner| !plan.active[*owner]) {
                surplus[plan.model.class_of(unit)][owner] += 1;
            }
        }
        Self {
            plan,
            budget,
            surplus,
            deficit: zip(target, counts),
            loads: balance::loads(&plan.model, counts),
            moves: Vec::new(),
            taken: BTreeSet::new(),
        }
    }

    /// Goes on with moves to members that have a copy.
    fn keep(&mut self, which: impl Fn(&WarmCopy) -> bool) {
        let plan = self.plan;
        let is_leaving = |unit: usize| plan.owners[unit].is_some_and(|owner| !plan.active[owner]);
        let mut copies: Vec<&WarmCopy> = plan.copies.iter().filter(|copy| which(copy)).collect();
        copies.sort_by_key(|copy| !is_leaving(copy.unit));
        for copy in copies {
            let Some(owner) = plan.homes[copy.unit].filter(|home| *home != copy.member) else {
                continue;
            };
            let class = plan.model.class_of(copy.unit);
            let wanted = self.surplus[class][owner] > 0 && self.deficit[class][copy.member] > 0;
            let wanted = wanted || planted::is(Bug::MoveTooMany);
            // What a leaving member has goes on to whoever prepares for it, though it be one that
            // has enough, as long as nobody who should have more can take it.
            let last = copy.is_transition
                && is_leaving(copy.unit)
                && self.receiver(copy.unit, true).is_none_or(|m| self.deficit[class][m] == 0);
            if wanted || last {
                self.push(copy.unit, owner, copy.member, Some(*copy));
            }
        }
    }

    /// Begins new moves.
    fn begin(&mut self) {
        let plan = self.plan;
        let mut donors: Vec<usize> = (0..plan.model.members())
            .filter(|member| self.surplus.iter().any(|class| class[*member] > 0))
            .collect();
        donors.sort_by_key(|member| {
            let left_at = (!plan.active[*member]).then_some(plan.metas[*member].left_at_ms);
            (plan.active[*member], left_at, Reverse(self.loads[*member]))
        });
        let mut units: HashMap<usize, Vec<usize>> = HashMap::new();
        for (unit, owner) in plan.homes.iter().enumerate() {
            if let Some(owner) = owner {
                units.entry(*owner).or_default().push(unit);
            }
        }
        for donor in donors {
            for unit in units.remove(&donor).unwrap_or_default() {
                if self.budget == 0 {
                    return;
                }
                let class = plan.model.class_of(unit);
                if self.surplus[class][donor] == 0 || self.taken.contains(&unit) {
                    continue;
                }
                if let Some(receiver) = self.receiver(unit, !plan.active[donor]) {
                    self.push(unit, donor, receiver, plan.copy(unit, receiver));
                }
            }
        }
    }

    /// The emptiest member that should have more; if the owner leaves, anybody who can.
    fn receiver(&self, unit: usize, is_leaving: bool) -> Option<usize> {
        let plan = self.plan;
        let class = plan.model.class(unit);
        let deficit = &self.deficit[plan.model.class_of(unit)];
        (0..plan.model.members())
            .filter(|m| plan.active[*m] && class.subscribed[*m] && !plan.has_failed(unit, *m))
            .filter(|m| is_leaving || deficit[*m] > 0)
            .min_by_key(|m| (deficit[*m] == 0, self.loads[*m]))
    }

    fn push(&mut self, unit: usize, from: usize, to: usize, copy: Option<WarmCopy>) {
        // Nobody was told yet that a standby is to take over: told first, the owner releases it.
        let told = |copy: &WarmCopy| copy.is_transition || self.plan.is_free(unit);
        let is_ready = copy.filter(told).is_some_and(|copy| copy.is_ready);
        let cost = usize::from(!self.plan.moves_at_once(unit, is_ready));
        if self.budget < cost || !self.taken.insert(unit) {
            return;
        }
        self.budget -= cost;
        let (class, weight) =
            (self.plan.model.class_of(unit), self.plan.model.class(unit).weight());
        self.surplus[class][from] = self.surplus[class][from].saturating_sub(1);
        self.deficit[class][to] = self.deficit[class][to].saturating_sub(1);
        self.loads[to] += weight;
        let is_leaving = !self.plan.active[from];
        let reason = if is_leaving { MoveReason::Drain } else { MoveReason::Balance };
        self.moves.push(Move { unit, from, to, is_ready, reason });
    }
}

/// Why a partition has another owner in this generation than it says itself, or none.
pub(super) fn reason(plan: &Plan<'_>, unit: usize, claim: Claim) -> Option<MoveReason> {
    let home = plan.homes[unit];
    let mut moves = plan.moves.iter().filter(|one| one.is_ready).chain(&plan.handed_over);
    let given_up = moves.find(|one| one.unit == unit);
    match (claim, home) {
        (Claim::Conflict | Claim::Unknown, _) => Some(MoveReason::Conflict),
        (Claim::Nobody, None) => None,
        (Claim::Nobody, Some(home)) => {
            let is_warm = plan.copy(unit, home).is_some_and(|copy| copy.is_ready);
            Some(if is_warm { MoveReason::UnownedWarm } else { MoveReason::UnownedCold })
        }
        (Claim::Member(member) | Claim::Released(member), Some(home)) if member == home => None,
        (Claim::Member(_) | Claim::Released(_), _) => {
            Some(given_up.map_or(MoveReason::Reunited, |one| one.reason))
        }
    }
}
