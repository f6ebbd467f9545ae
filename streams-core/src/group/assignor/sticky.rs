//! `cooperative-sticky`: everybody keeps what it has, as far as that is balanced.
//!
//! What must move is given to nobody in this generation; its owner gives it up and joins again,
//! and then it has no owner. Valid for Java's and librdkafka's members, though not partition by
//! partition what their own assignors would plan.

use std::collections::BTreeMap;

use super::balance::{self, Counts, Start};
use super::model::Model;
use super::{PlanSettings, Subscription, zip_ids};
use crate::group::Partitions;

/// Assigns what can be assigned in this generation.
pub(super) fn assign(
    generation: i32,
    members: &BTreeMap<String, Subscription>,
    topics: &BTreeMap<String, i32>,
    settings: &PlanSettings,
) -> BTreeMap<String, Partitions> {
    let mut model = Model::new(generation, members, topics, false);
    if settings.withholds_unclaimed {
        model.withhold_unclaimed();
    }
    let active = vec![true; model.members()];
    let mut counts: Counts = vec![vec![0; model.members()]; model.classes.len()];
    let mut homeless = vec![0; model.classes.len()];
    let owners: Vec<Option<usize>> = (0..model.units()).map(|unit| model.owner(unit)).collect();
    for (unit, owner) in owners.iter().enumerate() {
        match owner {
            Some(owner) => counts[model.class_of(unit)][*owner] += 1,
            None => homeless[model.class_of(unit)] += 1,
        }
    }
    let none = vec![0; model.members()];
    let (incoming, outgoing) = (none.clone(), none);
    let start = Start { counts, homeless, active: &active, incoming, outgoing };
    let mut room = balance::spread(&model, start);
    // Everybody keeps its first ones; the rest fills the room that is left.
    let mut homes = vec![None; model.units()];
    for (unit, owner) in owners.iter().enumerate() {
        if let Some(owner) = *owner
            && let Some(left) = room[model.class_of(unit)][owner].checked_sub(1)
        {
            room[model.class_of(unit)][owner] = left;
            homes[unit] = Some(owner);
        }
    }
    for unit in 0..homes.len() {
        let room = &mut room[model.class_of(unit)];
        if homes[unit].is_none()
            && let Some(member) = room.iter().position(|left| *left > 0)
        {
            room[member] -= 1;
            homes[unit] = Some(member);
        }
    }
    zip_ids(&model.ids, model.assignments(&homes))
}
