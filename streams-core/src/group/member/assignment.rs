//! What a generation gives the member, and what the leader tells it beside.

use std::time::Instant;

use bytes::Bytes;

use super::pace::Moving;
use super::{Member, State, WARMED_DELAY};
use crate::group::assignor::{Assignment, Assignor};
use crate::group::user_data::Instructions;
use crate::group::view::{GroupView, MemberView, Readiness};
use crate::group::{Generation, GroupEvent, Partitions};

impl Member {
    pub(super) fn synced(&mut self, now: Instant, assignment: Assignment) {
        // The reply may have lain in our socket while we were stopped: a heartbeat tells, while
        // there is enough of the session left for it.
        if now - self.asked_at >= self.config.session_timeout / 2 {
            self.state = State::Stable { heartbeat_at: now, asked: false, held: Some(assignment) };
            return;
        }
        self.contact(self.asked_at);
        self.pace.settled(now);
        self.rest(now);
        self.follow(now, assignment);
    }

    pub(super) fn rest(&mut self, now: Instant) {
        let heartbeat_at = now + self.pace.rest(now);
        self.state = State::Stable { heartbeat_at, asked: false, held: None };
    }

    pub(super) fn heard(&mut self, now: Instant) {
        let held = match &mut self.state {
            State::Stable { held, .. } => held.take(),
            _ => None,
        };
        self.rest(now);
        if let Some(assignment) = held {
            self.follow(now, assignment);
        }
    }

    /// A generation begins.
    fn follow(&mut self, now: Instant, assignment: Assignment) {
        let Some(generation) = self.generation.clone() else {
            return;
        };
        let Assignment { partitions, user_data } = assignment;
        // The plan waits for this member to give up what it claimed and has lost since.
        self.gave_up |= !std::mem::take(&mut self.forfeited).is_subset(&partitions);
        let is_first = self.confirmed < 0;
        self.patience.worked();
        self.counts.assigned(generation.generation_id);
        self.confirmed = generation.generation_id;
        let is_new = |p: &&(String, i32)| !self.owned.contains(*p) && !self.closing.contains(*p);
        let assigned: Partitions = partitions.iter().filter(is_new).cloned().collect();
        let mut revoked: Partitions = self.owned.difference(&partitions).cloned().collect();
        // One that is being given up and comes back is given up all the same: its task is closing.
        let closing = self.revoking.union(&self.closing);
        revoked.extend(closing.filter(|partition| partitions.contains(*partition)).cloned());
        // What was released has its next owner already: nobody waits for an acknowledgement.
        let released = std::mem::take(&mut self.released);
        let given_on: Partitions = released.difference(&partitions).cloned().collect();
        self.owned.retain(|partition| !given_on.contains(partition));
        self.owned.extend(partitions);
        self.revoking = revoked.difference(&given_on).cloned().collect();
        self.closing.retain(|partition| !self.revoking.contains(partition));
        self.closing.extend(given_on);
        self.assigned_in.retain(|partition, _| self.owned.contains(partition));
        let since = assigned.iter().map(|p| (p.clone(), self.confirmed));
        self.assigned_in.extend(since);
        let owned: Partitions = self.owned.difference(&revoked).cloned().collect();
        let instructions = self.instructions(user_data.as_ref());
        self.outgoing.clone_from(&instructions.outgoing);
        self.copies.follow(now, &instructions, &owned, &self.told);
        let warm = self.copies.partitions();
        let view = self.view(&generation, instructions.view, &owned);
        let members = u32::try_from(view.members.len()).unwrap_or(u32::MAX);
        // A static member that takes its former self's place begins no generation. If its former
        // self was to give a partition up, no other member will begin one for it.
        self.gave_up |= is_first && self.config.instance_id.is_some() && !view.unowned.is_empty();
        match view.is_partial {
            true => self.pace.planned(0, Moving::Nothing),
            false if !view.unowned.is_empty() => self.pace.planned(members, Moving::Now),
            false if !view.transitions.is_empty() => self.pace.planned(members, Moving::Soon),
            false => self.pace.planned(members, Moving::Nothing),
        }
        // A static member's successor is told what its predecessor was told, who has worked since.
        let handed_over = match is_first {
            true => Partitions::new(),
            false => instructions.handed_over.intersection(&assigned).cloned().collect(),
        };
        self.events.push_back(GroupEvent::Joined {
            generation,
            assigned,
            handed_over,
            revoked,
            owned,
            warm,
        });
        self.events.push_back(GroupEvent::View(Box::new(view)));
        let moves_away = self.assignor == Some(Assignor::IncrCoop);
        self.say_drained(!moves_away || instructions.is_drained);
        if self.has_news(now) {
            self.rejoin_by(now + WARMED_DELAY);
        }
    }

    fn instructions(&self, user_data: Option<&Bytes>) -> Instructions {
        let none = || Instructions { is_complete: true, ..Instructions::default() };
        if self.assignor != Some(Assignor::IncrCoop) {
            return none();
        }
        Instructions::decode(user_data).unwrap_or_else(|reason| {
            tracing::warn!(reason, "unreadable instructions of the group's leader");
            none()
        })
    }

    /// The leader's view, else our part of it.
    fn view(
        &mut self,
        generation: &Generation,
        told: Option<GroupView>,
        owned: &Partitions,
    ) -> GroupView {
        if let Some(view) = self.planned.take().or(told) {
            return view;
        }
        let meta = self.told.status;
        let warm = self.copies.partitions().into_iter().map(|p| (p, Readiness::Preparing));
        let member = MemberView {
            status: meta,
            rack: self.config.rack.clone(),
            owned: owned.clone(),
            warm: warm.collect(),
        };
        GroupView {
            generation: generation.generation_id,
            protocol: self.assignor.map_or("", Assignor::name).to_owned(),
            members: [(generation.member_id.to_string(), member)].into(),
            is_partial: true,
            ..GroupView::default()
        }
    }
}
