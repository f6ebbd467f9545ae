//! The group coordinator, as Kafka's classic one: members, generations, barriers.
//!
//! **BRK-6** A generation has one leader and one set of members; nobody gets its assignment before
//! all have joined and the leader has spoken.
//!
//! ```text
//!  Empty -> Preparing (all join) -> Completing (the leader assigns) -> Stable
//!    ^          ^                        |                               |
//!    |          +--- a member joins, leaves, expires, changes -----------+
//!    +--- the last one is gone
//! ```
//!
//! A [`Group`] is a machine of its own: it leaves its replies in `out`, and [`Group::deadline`]
//! says when it wants to see the clock.

mod admin;
mod join;
mod leave;
mod sync;

use std::collections::BTreeMap;

use bytes::Bytes;
use kafka_protocol::messages::{JoinGroupResponse, ResponseKind, SyncGroupResponse};

use super::offsets::Offsets;
use super::{Cluster, RequestId, codes};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum GroupState {
    #[default]
    Empty,
    /// All members are to join.
    Preparing(Barrier),
    /// The leader is to assign.
    Completing,
    Stable,
}

impl GroupState {
    /// As Kafka's tools name it.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::Preparing(_) => "PreparingRebalance",
            Self::Completing => "CompletingRebalance",
            Self::Stable => "Stable",
        }
    }
}

/// What ends the phase in which all join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Barrier {
    /// All members have joined; or it is that late, and those that haven't are taken out.
    All { deadline: i64 },
    /// The first generation waits for more members: until then, and again as long as new ones come
    /// and there is time left (`group.initial.rebalance.delay.ms`).
    Initial { deadline: i64, delay_ms: i64, remaining_ms: i64, joined: bool },
}

impl Barrier {
    const fn deadline(&self) -> i64 {
        match self {
            Self::All { deadline } | Self::Initial { deadline, .. } => *deadline,
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct GroupMember {
    pub(super) instance_id: Option<String>,
    pub(super) client_id: String,
    pub(super) client_host: String,
    session_timeout_ms: i64,
    rebalance_timeout_ms: i64,
    pub(super) protocols: Vec<(String, Bytes)>,
    pub(super) assignment: Bytes,
    /// When its session ends, unless it is heard of before.
    expires: i64,
    /// It has not been answered yet: it does not know its id, and can't beat.
    new: bool,
    /// Its JoinGroup that waits, and the version.
    joining: Option<(RequestId, i16)>,
    /// Its SyncGroup that waits.
    syncing: Option<RequestId>,
    /// It was told of the generation, and hasn't asked for its assignment.
    unsynced: bool,
}

impl GroupMember {
    const fn waits(&self) -> bool {
        self.joining.is_some() || self.syncing.is_some()
    }

    /// A member that waits for us is alive; a new one may be gone without a word.
    fn deadline(&self) -> Option<i64> {
        (self.new || !self.waits()).then_some(self.expires)
    }

    const fn heard(&mut self, now: i64) {
        self.expires = now + self.session_timeout_ms;
    }

    fn offers(&self, protocol: &str) -> bool {
        self.protocols.iter().any(|(name, _)| name == protocol)
    }

    pub(super) fn metadata(&self, protocol: &str) -> Bytes {
        let offered = self.protocols.iter().find(|(name, _)| name == protocol);
        offered.map(|(_, metadata)| metadata.clone()).unwrap_or_default()
    }
}

/// A group.
#[derive(Clone, Debug, Default)]
pub(super) struct Group {
    pub(super) state: GroupState,
    pub(super) generation: i32,
    pub(super) protocol_type: Option<String>,
    pub(super) protocol: Option<String>,
    pub(super) leader: Option<String>,
    pub(super) members: BTreeMap<String, GroupMember>,
    /// Ids given out that have not joined yet, with their ends (KIP-394).
    promised: BTreeMap<String, i64>,
    /// Who has not asked for its assignment until then is taken out.
    sync_deadline: Option<i64>,
    pub(super) offsets: Offsets,
    out: Vec<(RequestId, ResponseKind)>,
}

impl Group {
    /// When it wants to see the clock.
    pub(super) fn deadline(&self) -> Option<i64> {
        let sessions = self.members.values().filter_map(GroupMember::deadline);
        let barrier = match &self.state {
            GroupState::Preparing(barrier) => Some(barrier.deadline()),
            _ => None,
        };
        sessions.chain(barrier).chain(self.sync_deadline).chain(self.promised_until()).min()
    }

    fn promised_until(&self) -> Option<i64> {
        self.promised.values().min().copied()
    }

    /// Whether the member is one, and not fenced by a later one of its instance id.
    pub(super) fn check_member(&self, member: &str, instance: Option<&str>) -> Result<(), i16> {
        if let Some(instance) = instance {
            match self.holder_of(instance) {
                None => return Err(codes::UNKNOWN_MEMBER_ID),
                Some(holder) if holder != member => return Err(codes::FENCED_INSTANCE_ID),
                Some(_) => {}
            }
        }
        let known = self.members.contains_key(member);
        if known { Ok(()) } else { Err(codes::UNKNOWN_MEMBER_ID) }
    }

    /// Whether this member may speak for this generation.
    pub(super) fn check(
        &self,
        (member_id, instance_id): (&str, Option<&str>),
        generation: i32,
    ) -> Result<(), i16> {
        self.check_member(member_id, instance_id)?;
        if generation == self.generation { Ok(()) } else { Err(codes::ILLEGAL_GENERATION) }
    }

    /// A member was heard of: its session begins anew.
    pub(super) fn heard_of(&mut self, now: i64, member: &str) {
        if let Some(member) = self.members.get_mut(member) {
            member.heard(now);
        }
    }

    /// The member that has this instance id.
    fn holder_of(&self, instance: &str) -> Option<&str> {
        let has = |member: &&GroupMember| member.instance_id.as_deref() == Some(instance);
        self.members.iter().find(|(_, member)| has(member)).map(|(id, _)| id.as_str())
    }

    fn is_leader(&self, member: &str) -> bool {
        self.leader.as_deref() == Some(member)
    }

    fn rebalance_timeout_ms(&self) -> i64 {
        self.members.values().map(|member| member.rebalance_timeout_ms).max().unwrap_or(0)
    }

    fn have_all_joined(&self) -> bool {
        self.promised.is_empty() && self.members.values().all(|member| member.joining.is_some())
    }

    /// Whether a member with these protocols shares one with all the others.
    fn supports(&self, protocol_type: &str, protocols: &[(String, Bytes)]) -> bool {
        if self.state == GroupState::Empty {
            return !protocol_type.is_empty() && !protocols.is_empty();
        }
        let shared = |name: &str| self.members.values().all(|member| member.offers(name));
        self.protocol_type.as_deref() == Some(protocol_type)
            && protocols.iter().any(|(name, _)| shared(name))
    }

    /// Each member votes for its first choice among those that all have.
    fn choose_protocol(&self) -> Option<String> {
        let common = |name: &str| self.members.values().all(|member| member.offers(name));
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for member in self.members.values() {
            if let Some((name, _)) = member.protocols.iter().find(|(name, _)| common(name)) {
                *votes.entry(name).or_default() += 1;
            }
        }
        votes.into_iter().max_by_key(|(_, count)| *count).map(|(name, _)| name.to_owned())
    }

    fn answer_join(&mut self, request: RequestId, response: JoinGroupResponse) {
        self.out.push((request, ResponseKind::JoinGroup(response)));
    }

    fn answer_sync(&mut self, request: RequestId, response: SyncGroupResponse) {
        self.out.push((request, ResponseKind::SyncGroup(response)));
    }

    /// Takes a member out. One whose JoinGroup waits is told, so that it comes again.
    fn remove(&mut self, member_id: &str) -> bool {
        let promised = self.promised.remove(member_id).is_some();
        let Some(member) = self.members.remove(member_id) else {
            return promised;
        };
        if let Some((request, version)) = member.joining {
            let refusal = join::refusal(version, codes::UNKNOWN_MEMBER_ID, "");
            self.answer_join(request, refusal);
        }
        if let Some(request) = member.syncing {
            let refusal = SyncGroupResponse::default().with_error_code(codes::UNKNOWN_MEMBER_ID);
            self.answer_sync(request, refusal);
        }
        if self.is_leader(member_id) {
            self.leader = self.members.keys().next().cloned();
        }
        true
    }

    /// Looks at the clock.
    fn handle_timeout(&mut self, now: i64, initial_delay_ms: i64) {
        // What is due may make something else due, at the same time.
        while self.deadline().is_some_and(|deadline| deadline <= now) {
            let over = |end: &i64| *end <= now;
            if self.promised_until().as_ref().is_some_and(over) {
                self.promised.retain(|_, end| *end > now);
                self.complete_if_all_joined(now);
                continue;
            }
            let is_due = |member: &GroupMember| member.deadline().as_ref().is_some_and(over);
            let expired = self.members.iter().find(|(_, member)| is_due(member));
            if let Some(expired) = expired.map(|(id, _)| id.clone()) {
                self.remove(&expired);
                match self.state {
                    GroupState::Preparing(_) => self.complete_if_all_joined(now),
                    _ => self.prepare_rebalance(now, initial_delay_ms),
                }
                continue;
            }
            match &mut self.state {
                GroupState::Preparing(Barrier::Initial {
                    deadline,
                    delay_ms,
                    remaining_ms,
                    joined,
                }) if *deadline <= now && *joined && *remaining_ms != 0 => {
                    *joined = false;
                    let next = initial_delay_ms.min(*remaining_ms);
                    *remaining_ms = (*remaining_ms - *delay_ms).max(0);
                    *delay_ms = next;
                    *deadline = now + next;
                }
                GroupState::Preparing(barrier) if barrier.deadline() <= now => {
                    self.complete_join(now);
                }
                _ => self.expire_syncs(now, initial_delay_ms),
            }
        }
    }

    /// Takes out who was told of the generation and never asked for its assignment.
    fn expire_syncs(&mut self, now: i64, initial_delay_ms: i64) {
        if self.sync_deadline.take_if(|deadline| *deadline <= now).is_none() {
            return;
        }
        let late = self.members.iter().filter(|(_, member)| member.unsynced);
        let late: Vec<String> = late.map(|(id, _)| id.clone()).collect();
        if !late.is_empty() {
            for member in &late {
                self.remove(member);
            }
            self.prepare_rebalance(now, initial_delay_ms);
        }
    }

    pub(super) fn check_invariants(&self) {
        assert!(self.out.is_empty(), "what a group says is sent at once");
        let leader = self.leader.as_ref();
        assert_eq!(leader.is_none(), self.members.is_empty(), "a group with members has a leader");
        assert!(leader.is_none_or(|id| self.members.contains_key(id)), "it is one of them");
        if self.state == GroupState::Stable {
            let waits = self.members.values().any(GroupMember::waits);
            assert!(!waits, "BRK-6: in a stable group nobody waits");
            assert!(self.protocol.is_some(), "BRK-6: a generation has a protocol");
        }
        if self.state == GroupState::Empty {
            assert!(self.members.is_empty(), "an empty group has no members");
        }
        self.offsets.check_invariants();
    }
}

impl Cluster {
    /// Lets a group do something, and sends what it says.
    fn with_group<R>(
        &mut self,
        group_id: &str,
        act: impl FnOnce(&mut Group, i64, &super::Settings) -> R,
    ) -> Option<R> {
        let group = self.groups.get_mut(group_id)?;
        let result = act(group, self.now, &self.settings);
        let said = group.out.drain(..);
        let reply = |(id, response)| (id, super::Reply::Response(Box::new(response)));
        self.replies.extend(said.map(reply));
        Some(result)
    }

    pub(super) fn expire_members(&mut self) {
        let now = self.now;
        let due = |group: &Group| group.deadline().is_some_and(|deadline| deadline <= now);
        let ids: Vec<String> =
            self.groups.iter().filter(|(_, g)| due(g)).map(|(id, _)| id.clone()).collect();
        for id in ids {
            self.with_group(&id, |group, now, settings| {
                group.handle_timeout(now, settings.group_initial_rebalance_delay_ms);
            });
        }
    }
}
