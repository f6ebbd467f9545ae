//! A plan in numbers becomes what members get and what people see.

use std::collections::BTreeMap;

use super::incr_coop::{self, Move};
use super::model::Claim;
use super::{Assignment, Assignor, Plan, Subscription};
use crate::group::Partitions;
use crate::group::user_data::{Instructions, MemberMeta, encode_instructions};
use crate::group::view::{GroupView, MemberStatus, MemberView, Moved, Readiness, Step, Transition};
use crate::group::view_wire::WireView;

/// The plan of `incr_coop`.
pub(super) fn publish(
    plan: &incr_coop::Plan<'_>,
    generation: i32,
    members: &BTreeMap<String, Subscription>,
) -> Plan {
    let assigned = plan.model.assignments(&plan.homes);
    let instructions = instructions(plan, &assigned);
    let view = view(plan, generation, members, &assigned, &instructions);
    let wire = WireView::of(&view);
    let assignment = |((partitions, meta), instructions): ((Partitions, &MemberMeta), &_)| {
        let prepare = new_copies(meta, instructions);
        let user_data = encode_instructions(instructions, &prepare, wire.as_ref());
        Assignment { partitions, user_data: Some(user_data) }
    };
    let each = assigned.into_iter().zip(&plan.metas).zip(&instructions).map(assignment);
    let assignments = plan.model.ids.iter().map(|id| (*id).to_owned()).zip(each).collect();
    Plan { assignments, view }
}

/// The plan of an assignor that knows no copies.
pub(super) fn plain(
    assignor: Assignor,
    generation: i32,
    assigned: BTreeMap<String, Partitions>,
    members: &BTreeMap<String, Subscription>,
) -> Plan {
    let member = |(id, owned): (&String, &Partitions)| {
        let rack = members.get(id).and_then(|member| member.rack.clone());
        (id.clone(), MemberView { rack, owned: owned.clone(), ..MemberView::default() })
    };
    let view = GroupView {
        generation,
        protocol: assignor.name().to_owned(),
        members: assigned.iter().map(member).collect(),
        ..GroupView::default()
    };
    let assignment = |(id, partitions)| (id, Assignment { partitions, user_data: None });
    Plan { assignments: assigned.into_iter().map(assignment).collect(), view }
}

fn instructions(plan: &incr_coop::Plan<'_>, assigned: &[Partitions]) -> Vec<Instructions> {
    let mut all: Vec<Instructions> = plan
        .drained
        .iter()
        .map(|drained| Instructions {
            is_complete: true,
            is_drained: *drained,
            ..Instructions::default()
        })
        .collect();
    let partitions = |unit| plan.model.parts(unit).map(|(partition, _)| partition);
    for Move { unit, from, to, is_ready, .. } in &plan.moves {
        all[*to].transitions.extend(partitions(*unit));
        if !is_ready {
            all[*from].outgoing.extend(partitions(*unit));
        }
    }
    for Move { unit, to, .. } in &plan.handed_over {
        let parts = plan.model.parts(*unit);
        let released = parts.filter(|(_, claim)| matches!(claim, Claim::Released(_)));
        all[*to].handed_over.extend(released.map(|(partition, _)| partition));
    }
    // What its new owner can't have yet, because others must give it up first, stays warm.
    for copy in plan.copies.iter().filter(|copy| plan.homes[copy.unit] == Some(copy.member)) {
        let waits = partitions(copy.unit).filter(|p| !assigned[copy.member].contains(p));
        all[copy.member].transitions.extend(waits);
    }
    for (unit, member) in &plan.standbys {
        all[*member].standbys.extend(partitions(*unit));
    }
    for (member, (instructions, meta)) in all.iter_mut().zip(&plan.metas).enumerate() {
        let is_wanted = |partition: &(String, i32)| {
            instructions.transitions.contains(partition)
                || instructions.standbys.contains(partition)
                || assigned[member].contains(partition)
        };
        let has = meta.preparing.union(&meta.ready);
        instructions.forget = has.filter(|partition| !is_wanted(partition)).cloned().collect();
    }
    all
}

/// What GKES's members have to be told: they keep what they were told before.
fn new_copies(meta: &MemberMeta, instructions: &Instructions) -> Partitions {
    let has = |partition: &&(String, i32)| {
        meta.preparing.contains(*partition) || meta.ready.contains(*partition)
    };
    instructions.transitions.iter().filter(|partition| !has(partition)).cloned().collect()
}

fn view(
    plan: &incr_coop::Plan<'_>,
    generation: i32,
    members: &BTreeMap<String, Subscription>,
    assigned: &[Partitions],
    instructions: &[Instructions],
) -> GroupView {
    let id = |member: usize| plan.model.ids[member].to_owned();
    let mut view = GroupView {
        generation,
        protocol: Assignor::IncrCoop.name().to_owned(),
        ..GroupView::default()
    };
    for (member, subscription) in members.values().enumerate() {
        let owned = assigned[member].clone();
        let status = match plan.metas[member].status {
            MemberStatus::Active => MemberStatus::Active,
            _ if owned.is_empty() => MemberStatus::Defunct,
            _ => MemberStatus::Inactive,
        };
        let readiness = |partition: &(String, i32)| {
            let unit = plan.model.unit_of(&partition.0, partition.1);
            let copy = unit.and_then(|unit| plan.copy(unit, member));
            let is_ready = copy.is_some_and(|copy| copy.is_ready);
            (partition.clone(), if is_ready { Readiness::Ready } else { Readiness::Preparing })
        };
        let told = &instructions[member];
        let warm = told.transitions.iter().chain(&told.standbys).map(readiness).collect();
        let rack = subscription.rack.clone();
        view.members.insert(id(member), MemberView { status, rack, owned, warm });
    }
    for one in &plan.moves {
        let step = if one.is_ready { Step::HandingOver } else { Step::Preparing };
        view.transitions.extend(plan.model.parts(one.unit).map(|(partition, _)| Transition {
            partition,
            from: id(one.from),
            to: id(one.to),
            step,
            reason: one.reason,
        }));
    }
    for (unit, home) in plan.homes.iter().enumerate() {
        let receiver = plan.moves.iter().find(|one| one.unit == unit).map(|one| one.to);
        for (partition, claim) in plan.model.parts(unit) {
            let from = claim.member();
            if !home.is_some_and(|home| from == Some(home) || claim.is_free()) {
                view.unowned.insert(partition.clone());
            }
            if let Some(reason) = incr_coop::reason(plan, unit, claim) {
                let (from, to) = (from.map(id), home.or(receiver).map(id));
                view.moved.push(Moved { partition, from, to, reason });
            }
        }
    }
    view
}
