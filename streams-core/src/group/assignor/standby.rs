//! Where warm copies are kept all the time, so that a crash is taken over without a restore.
//!
//! A member has at most its share of them, rounded up. The first choice is a rack that has neither
//! the owner nor another copy, then a member that has a copy already, then the one with the fewest.
//! A ready copy that is not the first choice any more is kept until the new one is ready. A standby
//! that is about to take over counts until it does; then its former owner's store is a copy.

use std::collections::BTreeSet;

use super::incr_coop::Plan;

/// The standbys as unit and member, in order.
pub(super) fn choose(
    plan: &Plan<'_>,
    replicas: usize,
    racks: &[Option<&str>],
) -> Vec<(usize, usize)> {
    if replicas == 0 {
        return Vec::new();
    }
    let mut chosen = BTreeSet::new();
    for class in 0..plan.model.classes.len() {
        choose_class(plan, class, replicas, racks, &mut chosen);
    }
    chosen.into_iter().collect()
}

fn choose_class(
    plan: &Plan<'_>,
    class: usize,
    replicas: usize,
    racks: &[Option<&str>],
    chosen: &mut BTreeSet<(usize, usize)>,
) {
    let of = &plan.model.classes[class];
    let takers: Vec<usize> = (0..plan.model.members())
        .filter(|member| plan.is_active(*member) && of.subscribed[*member])
        .filter(|member| plan.metas[*member].knows_standbys)
        .collect();
    let replicas = replicas.min(takers.len().saturating_sub(1));
    if replicas == 0 {
        return;
    }
    let copies = of.units * replicas;
    // Members may have one more than their share, as many as it takes.
    let (share, mut extra) = (copies / takers.len(), copies % takers.len());
    let mut loads = vec![0; plan.model.members()];
    for unit in of.first..of.first + of.units {
        let Some(owner) = future_owner(plan, unit) else {
            continue;
        };
        let receiver = plan.moves.iter().find(|one| one.unit == unit).map(|one| one.to);
        let copies = plan.copies_of(unit);
        let copy_of = |m: usize| copies.iter().find(|copy| copy.member == m);
        let ready = |m: usize| copy_of(m).is_some_and(|copy| copy.is_ready);
        let mut used = vec![racks[owner]];
        let mut picked = Vec::new();
        let stands_by = receiver.filter(|receiver| *receiver != owner && ready(*receiver));
        if let Some(receiver) = stands_by {
            loads[receiver] += 1;
            used.push(racks[receiver]);
        }
        for _ in usize::from(stands_by.is_some())..replicas {
            let best = takers
                .iter()
                .copied()
                .filter(|m| *m != owner && receiver != Some(*m) && !picked.contains(m))
                .min_by_key(|m| {
                    let is_full = loads[*m] > share || (loads[*m] == share && extra == 0);
                    let is_same_rack = racks[*m].is_some() && used.contains(&racks[*m]);
                    let has_failed = plan.has_failed(unit, *m);
                    let has_store = plan.owners[unit] == Some(*m);
                    let has = (!has_store && copy_of(*m).is_none(), !has_store && !ready(*m));
                    (has_failed, is_same_rack, is_full, has, loads[*m])
                });
            let Some(best) = best.filter(|best| !plan.has_failed(unit, *best)) else {
                break;
            };
            if loads[best] == share {
                extra = extra.saturating_sub(1);
            }
            loads[best] += 1;
            used.push(racks[best]);
            picked.push(best);
        }
        let missing = picked.iter().filter(|m| !ready(**m)).count();
        let kept = copies
            .iter()
            .filter(|copy| copy.is_ready && copy.member != owner && !picked.contains(&copy.member));
        let kept: Vec<usize> = kept.map(|copy| copy.member).take(missing).collect();
        chosen.extend(picked.into_iter().chain(kept).map(|member| (unit, member)));
    }
}

/// Who has the unit once what has begun is done.
fn future_owner(plan: &Plan<'_>, unit: usize) -> Option<usize> {
    let moving = plan.moves.iter().find(|one| one.unit == unit && one.is_ready);
    moving.map(|one| one.to).or(plan.homes[unit])
}
