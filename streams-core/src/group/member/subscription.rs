//! What the member says of itself when it joins.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::Member;
use crate::group::assignor::{Assignor, Subscription};
use crate::group::user_data::MemberMeta;
use crate::group::view::MemberStatus;
use crate::group::{Generation, JoinRequest, Partitions};

impl Member {
    /// What we tell the leader of `incr_coop`.
    pub(super) fn meta(&self, now: Instant) -> MemberMeta {
        let status = match self.left_at_ms {
            None => MemberStatus::Active,
            Some(_) => MemberStatus::Inactive,
        };
        let left_at_ms = self.left_at_ms.unwrap_or(0);
        let mut meta =
            MemberMeta { status, left_at_ms, knows_standbys: true, ..MemberMeta::default() };
        self.copies.report(now, &mut meta);
        meta.released.clone_from(&self.released);
        meta
    }

    /// A JoinGroup, and from now on the group is told what it says.
    pub(super) fn join_request(&mut self, now: Instant) -> JoinRequest {
        self.rejoin_at = None;
        self.called = false;
        self.gave_up = false;
        self.forfeited.clear();
        self.told = self.meta(now);
        let subscription = |assignor: &Assignor| Subscription {
            topics: self.config.topics.clone(),
            owned: match assignor.is_cooperative() {
                true => self.owned.difference(&self.released).cloned().collect(),
                false => Partitions::new(),
            },
            generation: self.confirmed,
            user_data: match assignor {
                Assignor::IncrCoop => Some(self.told.encode()),
                // Where Java's members before 3.2 look for the generation.
                Assignor::CooperativeSticky => {
                    Some(Bytes::copy_from_slice(&self.confirmed.to_be_bytes()))
                }
                Assignor::Range | Assignor::RoundRobin => None,
            },
            rack: self.config.rack.clone(),
            instance_id: self.config.instance_id.clone(),
        };
        let protocol = |assignor: &Assignor| (assignor.name().to_owned(), subscription(assignor));
        JoinRequest {
            group_id: self.config.group_id.clone(),
            member_id: self.member_id.clone(),
            instance_id: self.config.instance_id.clone(),
            session_timeout: self.config.session_timeout,
            rebalance_timeout: self.config.rebalance_timeout,
            protocols: self.config.assignors.iter().map(protocol).collect(),
        }
    }

    /// Also of one that has an id, and no generation.
    pub(super) fn standing_to_leave(&self) -> Generation {
        let text = |text: &String| Arc::from(text.as_str());
        self.generation.clone().unwrap_or_else(|| Generation {
            group_id: text(&self.config.group_id),
            member_id: text(&self.member_id),
            generation_id: -1,
            instance_id: self.config.instance_id.as_ref().map(text),
        })
    }
}
