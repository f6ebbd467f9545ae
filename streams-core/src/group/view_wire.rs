//! The group's view in JSON, short enough to go to every member of the largest group.
//!
//! Kafka keeps all members' assignments in one record of its own, so what each member gets of the
//! view is bounded by what all get. A view that is too large loses first what moved, then who has
//! which copy, then who owns what, and says that it is partial.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Partitions;
use super::budget::Budget;
use super::user_data::Ranges;
use super::view::{
    GroupView, MemberStatus, MemberView, MoveReason, Moved, Readiness, Step, Transition,
};

/// The view's bytes in all assignments of a group together.
const VIEW_BYTES_MAX: usize = 256 * 1024;
/// The view's bytes in one assignment.
const VIEW_BYTES_EACH_MAX: usize = 32 * 1024;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct WireView {
    generation: i32,
    protocol: String,
    members: Vec<WireMember>,
    #[serde(skip_serializing_if = "Ranges::is_empty")]
    unowned: Ranges,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    transitions: Vec<WireMove>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    moved: Vec<WireMove>,
    partial: bool,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct WireMember {
    id: String,
    status: MemberStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    rack: Option<String>,
    #[serde(skip_serializing_if = "Ranges::is_empty")]
    owned: Ranges,
    #[serde(skip_serializing_if = "Ranges::is_empty")]
    preparing: Ranges,
    #[serde(skip_serializing_if = "Ranges::is_empty")]
    ready: Ranges,
}

/// A partition that moves, or has moved; members by their place in the list.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WireMove {
    topic: String,
    partition: i32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    from: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    to: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    step: Option<Step>,
    reason: MoveReason,
}

impl WireView {
    /// The view for each of the group's members, or nothing if it is far too large.
    pub(super) fn of(view: &GroupView) -> Option<Self> {
        let index: BTreeMap<&str, usize> =
            view.members.keys().enumerate().map(|(index, id)| (id.as_str(), index)).collect();
        let place = |id: &String| index.get(id.as_str()).copied();
        let member = |(id, member): (&String, &MemberView)| {
            let (ready, preparing) = split(&member.warm);
            WireMember {
                id: id.clone(),
                status: member.status,
                rack: member.rack.clone(),
                owned: Ranges::of(&member.owned),
                preparing: Ranges::of(&preparing),
                ready: Ranges::of(&ready),
            }
        };
        let transition = |transition: &Transition| WireMove {
            topic: transition.partition.0.clone(),
            partition: transition.partition.1,
            from: place(&transition.from),
            to: place(&transition.to),
            step: Some(transition.step),
            reason: transition.reason,
        };
        let moved = |moved: &Moved| WireMove {
            topic: moved.partition.0.clone(),
            partition: moved.partition.1,
            from: moved.from.as_ref().and_then(place),
            to: moved.to.as_ref().and_then(place),
            step: None,
            reason: moved.reason,
        };
        let wire = Self {
            generation: view.generation,
            protocol: view.protocol.clone(),
            members: view.members.iter().map(member).collect(),
            unowned: Ranges::of(&view.unowned),
            transitions: view.transitions.iter().map(transition).collect(),
            moved: view.moved.iter().map(moved).collect(),
            partial: view.is_partial,
        };
        let bytes_max = VIEW_BYTES_EACH_MAX.min(VIEW_BYTES_MAX / view.members.len().max(1));
        wire.shorten(bytes_max)
    }

    fn shorten(mut self, bytes_max: usize) -> Option<Self> {
        let steps: [fn(&mut Self); 3] = [
            |view| view.moved.clear(),
            |view| {
                for member in &mut view.members {
                    (member.preparing, member.ready) = (Ranges::default(), Ranges::default());
                }
            },
            |view| {
                view.unowned = Ranges::default();
                view.members.iter_mut().for_each(|member| member.owned = Ranges::default());
            },
        ];
        for step in steps {
            if self.bytes() <= bytes_max {
                return Some(self);
            }
            step(&mut self);
            self.partial = true;
        }
        (self.bytes() <= bytes_max).then_some(self)
    }

    fn bytes(&self) -> usize {
        serde_json::to_vec(self).map_or(usize::MAX, |bytes| bytes.len())
    }

    /// The view as the leader's member sees it too.
    pub(super) fn read(self, budget: &mut Budget) -> Result<GroupView, String> {
        let ids: Vec<String> = self.members.iter().map(|member| member.id.clone()).collect();
        let id = |place: Option<usize>| place.and_then(|place| ids.get(place).cloned());
        // Each move has its members' ids.
        let moves = self.transitions.iter().chain(&self.moved);
        let named = moves.flat_map(|one| [one.from, one.to]).flatten();
        let bytes = named.filter_map(|place| ids.get(place)).map(String::len);
        budget.pay(bytes.fold(0, usize::saturating_add))?;
        let mut members = BTreeMap::new();
        for member in self.members {
            let ready = member.ready.read(budget)?.into_iter().map(|p| (p, Readiness::Ready));
            let warm =
                member.preparing.read(budget)?.into_iter().map(|p| (p, Readiness::Preparing));
            let view = MemberView {
                status: member.status,
                rack: member.rack,
                owned: member.owned.read(budget)?,
                warm: warm.chain(ready).collect(),
            };
            members.insert(member.id, view);
        }
        let transition = |one: &WireMove| {
            Some(Transition {
                partition: (one.topic.clone(), one.partition),
                from: id(one.from)?,
                to: id(one.to)?,
                step: one.step?,
                reason: one.reason,
            })
        };
        let moved = |one: &WireMove| Moved {
            partition: (one.topic.clone(), one.partition),
            from: id(one.from),
            to: id(one.to),
            reason: one.reason,
        };
        Ok(GroupView {
            generation: self.generation,
            protocol: self.protocol,
            transitions: self.transitions.iter().filter_map(transition).collect(),
            moved: self.moved.iter().map(moved).collect(),
            unowned: self.unowned.read(budget)?,
            members,
            is_partial: self.partial,
        })
    }
}

fn split(warm: &BTreeMap<(String, i32), Readiness>) -> (Partitions, Partitions) {
    let (ready, preparing): (Vec<_>, Vec<_>) =
        warm.iter().partition(|(_, readiness)| **readiness == Readiness::Ready);
    let keys = |list: Vec<(&(String, i32), &Readiness)>| {
        list.into_iter().map(|(partition, _)| partition.clone()).collect()
    };
    (keys(ready), keys(preparing))
}
