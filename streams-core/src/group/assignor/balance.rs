//! How many units of each class each member should have in the end.
//!
//! Repeatedly one unit goes from the member with the most partitions to the one with the fewest,
//! as long as they are more than that unit apart. For members that want the same topics no other
//! way to an even spread moves fewer; where members want different topics, the loads of any two
//! that share a topic end no further apart than one unit.

use super::model::Model;

/// By class, then member.
pub(super) type Counts = Vec<Vec<usize>>;

/// What the spread starts from.
pub(super) struct Start<'s> {
    /// The units of active members.
    pub(super) counts: Counts,
    /// The units of each class that must find a new home.
    pub(super) homeless: Vec<usize>,
    /// Who takes units.
    pub(super) active: &'s [bool],
    /// Moves on their way to and from members decide between equals, so that they are kept.
    pub(super) incoming: Vec<usize>,
    pub(super) outgoing: Vec<usize>,
}

/// The partitions of each member.
pub(super) fn loads(model: &Model<'_>, counts: &Counts) -> Vec<usize> {
    let mut loads = vec![0; model.members()];
    for (class, counts) in model.classes.iter().zip(counts) {
        for (load, count) in loads.iter_mut().zip(counts) {
            *load += count * class.weight();
        }
    }
    loads
}

pub(super) fn spread(model: &Model<'_>, start: Start<'_>) -> Counts {
    let Start { mut counts, homeless, active, mut incoming, mut outgoing } = start;
    let mut loads = loads(model, &counts);
    for (class, homeless) in homeless.into_iter().enumerate() {
        for _ in 0..homeless {
            let Some(low) = lowest(model, class, active, &loads, &incoming) else {
                break;
            };
            counts[class][low] += 1;
            loads[low] += model.classes[class].weight();
            incoming[low] = incoming[low].saturating_sub(1);
        }
    }
    loop {
        let pairs = (0..counts.len()).filter_map(|class| {
            let low = lowest(model, class, active, &loads, &incoming)?;
            let high = highest(class, active, &counts, &loads, &outgoing)?;
            let apart = loads[high].saturating_sub(loads[low]);
            (apart > model.classes[class].weight()).then_some((apart, class, high, low))
        });
        // The widest first; of several, the first class.
        let Some((_, class, high, low)) = pairs.reduce(|a, b| if b.0 > a.0 { b } else { a }) else {
            return counts;
        };
        counts[class][high] -= 1;
        counts[class][low] += 1;
        loads[high] -= model.classes[class].weight();
        loads[low] += model.classes[class].weight();
        incoming[low] = incoming[low].saturating_sub(1);
        outgoing[high] = outgoing[high].saturating_sub(1);
    }
}

fn lowest(
    model: &Model<'_>,
    class: usize,
    active: &[bool],
    loads: &[usize],
    incoming: &[usize],
) -> Option<usize> {
    let subscribed = &model.classes[class].subscribed;
    (0..loads.len())
        .filter(|m| active[*m] && subscribed[*m])
        .min_by_key(|m| (loads[*m], incoming[*m] == 0))
}

fn highest(
    class: usize,
    active: &[bool],
    counts: &Counts,
    loads: &[usize],
    outgoing: &[usize],
) -> Option<usize> {
    (0..loads.len())
        .rev()
        .filter(|m| active[*m] && counts[class][*m] > 0)
        .max_by_key(|m| (loads[*m], outgoing[*m] > 0))
}
