//! A group's coordinator, as small as it can be and still be Kafka's: join, sync, heartbeat,
//! leave, sessions. Every round that its leader plans is checked on the way through.
//!
//! As in Kafka, a dynamic member that is late for a generation is removed. A static member stays,
//! and the leader plans with the metadata of the static member's last JoinGroup; if the static
//! member does not ask for its assignment within another rebalance timeout, it is removed too.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::check::Round;
use crate::group::assignor::{Assignment, Assignor, PlanSettings, Subscription};
use crate::group::{Generation, GroupReply, GroupRequest, JoinRequest};

const MEMBER_ID_REQUIRED: i16 = 79;
const UNKNOWN_MEMBER_ID: i16 = 25;
const ILLEGAL_GENERATION: i16 = 22;
const REBALANCE_IN_PROGRESS: i16 = 27;
const FENCED_INSTANCE_ID: i16 = 82;

/// Which client, and which of its requests.
pub(super) type Call = (usize, u64);

#[derive(Debug)]
struct Known {
    join: JoinRequest,
    session_ends: Instant,
    joining: Option<Call>,
    syncing: Option<Call>,
    /// It has not asked for the assignment of the last generation yet.
    is_unsynced: bool,
    /// The last generation began without its JoinGroup.
    is_late: bool,
    assignment: Assignment,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Empty,
    Preparing { until: Instant },
    Completing,
    Stable,
}

#[derive(Debug)]
pub(super) struct Coordinator {
    partitions: i32,
    pub(super) settings: PlanSettings,
    members: BTreeMap<String, Known>,
    /// Ids that were given out, to members that have not joined yet.
    promised: BTreeSet<String>,
    state: State,
    generation: i32,
    /// Then the members that have not asked for their assignment are removed.
    sync_by: Option<Instant>,
    leader: String,
    protocol: String,
    next_id: u32,
    replies: Vec<(Call, GroupReply)>,
    /// The rounds that were planned.
    pub(super) rounds: Vec<Round>,
}

impl Known {
    /// A member whose JoinGroup waits.
    fn new(now: Instant, call: Call, join: JoinRequest, assignment: Assignment) -> Self {
        let session_ends = now + join.session_timeout;
        let (joining, syncing) = (Some(call), None);
        let (is_unsynced, is_late) = (false, false);
        Self { join, session_ends, joining, syncing, is_unsynced, is_late, assignment }
    }
}

impl Coordinator {
    pub(super) fn new(partitions: i32, settings: PlanSettings) -> Self {
        Self {
            partitions,
            settings,
            members: BTreeMap::new(),
            promised: BTreeSet::new(),
            state: State::Empty,
            generation: 0,
            sync_by: None,
            leader: String::new(),
            protocol: String::new(),
            next_id: 0,
            replies: Vec::new(),
            rounds: Vec::new(),
        }
    }

    pub(super) fn take_replies(&mut self) -> Vec<(Call, GroupReply)> {
        std::mem::take(&mut self.replies)
    }

    /// As Kafka does: in each state, of a member, in its generation.
    pub(super) fn takes_commits(&self, of: &Generation) -> bool {
        self.check(&of.member_id, of.instance_id.as_deref(), of.generation_id) == 0
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let waits = |known: &&Known| known.joining.is_none() && known.syncing.is_none();
        let sessions = self.members.values().filter(waits).map(|known| known.session_ends);
        let round = match self.state {
            State::Preparing { until } => Some(until),
            _ => None,
        };
        sessions.chain(round).chain(self.sync_by).min()
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        let gone = |known: &Known| {
            known.joining.is_none() && known.syncing.is_none() && now >= known.session_ends
        };
        let gone: Vec<String> =
            self.members.iter().filter(|(_, k)| gone(k)).map(|(id, _)| id.clone()).collect();
        for id in gone {
            self.remove(now, &id);
        }
        if matches!(self.state, State::Preparing { until } if now >= until) {
            let is_static = |known: &Known| known.join.instance_id.is_some();
            self.members.retain(|_, known| known.joining.is_some() || is_static(known));
            self.complete_join(now);
        }
        if self.sync_by.take_if(|by| *by <= now).is_some() {
            let late = self.members.iter().filter(|(_, known)| known.is_unsynced);
            let late: Vec<String> = late.map(|(id, _)| id.clone()).collect();
            late.iter().for_each(|id| self.remove(now, id));
        }
    }

    pub(super) fn handle(&mut self, now: Instant, call: Call, request: GroupRequest) {
        match request {
            GroupRequest::FindCoordinator { .. } => self.reply(call, GroupReply::Coordinator),
            GroupRequest::Partitions { topics } => {
                let partitions = topics.into_iter().map(|t| (t, Ok(self.partitions))).collect();
                self.reply(call, GroupReply::Partitions { partitions });
            }
            GroupRequest::Join(join) => self.join(now, call, *join),
            GroupRequest::Sync { standing, assignments, .. } => {
                let id = standing.member_id.to_string();
                let code = match (self.check_standing(&standing), self.state) {
                    (0, State::Empty | State::Preparing { .. }) => REBALANCE_IN_PROGRESS,
                    (code, _) => code,
                };
                if code != 0 {
                    let assignment = Assignment::default();
                    return self.reply(call, GroupReply::Synced { code, assignment });
                }
                self.sync(now, call, &id, assignments);
            }
            GroupRequest::Heartbeat { standing } => {
                let id = standing.member_id.to_string();
                let code = match (self.check_standing(&standing), self.state) {
                    (0, State::Preparing { .. }) => REBALANCE_IN_PROGRESS,
                    (code, _) => code,
                };
                if let Some(known) = self.members.get_mut(&id)
                    && matches!(code, 0 | REBALANCE_IN_PROGRESS)
                {
                    known.session_ends = now + known.join.session_timeout;
                }
                self.reply(call, GroupReply::Heartbeat { code });
            }
            GroupRequest::Leave { standing } => {
                let (id, instance) = (&*standing.member_id, standing.instance_id.as_deref());
                let code = self.check(id, instance, self.generation);
                if code == 0 {
                    self.remove(now, id);
                }
                self.reply(call, GroupReply::Left { code });
            }
        }
    }

    /// Kafka's answer to a member that says this of itself, or 0.
    fn check(&self, id: &str, instance: Option<&str>, generation: i32) -> i16 {
        let holder = instance.map(|instance| self.holder_of(instance));
        match holder {
            Some(None) => UNKNOWN_MEMBER_ID,
            Some(Some(holder)) if holder != id => FENCED_INSTANCE_ID,
            _ if !self.members.contains_key(id) => UNKNOWN_MEMBER_ID,
            _ if generation != self.generation => ILLEGAL_GENERATION,
            _ => 0,
        }
    }

    fn check_standing(&self, standing: &Generation) -> i16 {
        self.check(&standing.member_id, standing.instance_id.as_deref(), standing.generation_id)
    }

    /// The member that has this instance id.
    fn holder_of(&self, instance: &str) -> Option<&str> {
        let has = |known: &Known| known.join.instance_id.as_deref() == Some(instance);
        self.members.iter().find(|(_, known)| has(known)).map(|(id, _)| id.as_str())
    }

    fn next_id(&mut self) -> String {
        self.next_id += 1;
        format!("m{:04}", self.next_id - 1)
    }

    fn reply(&mut self, call: Call, reply: GroupReply) {
        self.replies.push((call, reply));
    }

    fn refuse_join(&mut self, call: Call, code: i16, member_id: String) {
        self.reply(
            call,
            GroupReply::Joined {
                code,
                generation: -1,
                member_id,
                leader: false,
                protocol: String::new(),
                members: BTreeMap::new(),
            },
        );
    }

    fn join(&mut self, now: Instant, call: Call, join: JoinRequest) {
        let mut id = join.member_id.clone();
        match (id.is_empty(), join.instance_id.as_deref()) {
            (true, None) => {
                let id = self.next_id();
                self.promised.insert(id.clone());
                return self.refuse_join(call, MEMBER_ID_REQUIRED, id);
            }
            (true, Some(instance)) => {
                let former = self.holder_of(instance).map(str::to_owned);
                id = self.next_id();
                if let Some(former) = former {
                    return self.replace(now, call, &former, id, join);
                }
            }
            (false, instance) => {
                let code = self.check(&id, instance, self.generation);
                if code != 0 && !self.promised.remove(&id) {
                    return self.refuse_join(call, code, id);
                }
            }
        }
        let same = self.members.get(&id).is_some_and(|k| k.join.protocols == join.protocols);
        let assignment = self.members.get(&id).map(|k| k.assignment.clone()).unwrap_or_default();
        self.members.insert(id.clone(), Known::new(now, call, join, assignment));
        match self.state {
            State::Preparing { .. } => {}
            State::Stable if same && id != self.leader => return self.reply_join(now, &id),
            State::Completing if same => return self.reply_join(now, &id),
            State::Stable | State::Completing | State::Empty => self.prepare(now),
        }
        self.complete_if_all(now);
    }

    /// KIP-345: a process with the instance id of a former one takes its place, and the former one
    /// is fenced. If the protocol stays the same, the generation goes on.
    fn replace(&mut self, now: Instant, call: Call, former: &str, id: String, join: JoinRequest) {
        let Some(old) = self.members.remove(former) else {
            return;
        };
        if let Some(call) = old.joining {
            self.refuse_join(call, FENCED_INSTANCE_ID, former.to_owned());
        }
        if let Some(call) = old.syncing {
            let (code, assignment) = (FENCED_INSTANCE_ID, Assignment::default());
            self.reply(call, GroupReply::Synced { code, assignment });
        }
        if self.leader == former {
            self.leader.clone_from(&id);
        }
        self.members.insert(id.clone(), Known::new(now, call, join, old.assignment));
        match self.state {
            // It is not told that it leads: the assignments are there.
            State::Stable if self.choose_protocol() == self.protocol => {
                self.reply_join_as(now, &id, false);
            }
            State::Stable | State::Completing => {
                self.prepare(now);
                self.complete_if_all(now);
            }
            State::Preparing { .. } | State::Empty => self.complete_if_all(now),
        }
    }

    fn prepare(&mut self, now: Instant) {
        let patience = self.members.values().map(|k| k.join.rebalance_timeout).max();
        self.state = State::Preparing { until: now + patience.unwrap_or(Duration::ZERO) };
        self.sync_by = None;
        let waiting: Vec<Call> =
            self.members.values_mut().filter_map(|known| known.syncing.take()).collect();
        for call in waiting {
            let (code, assignment) = (REBALANCE_IN_PROGRESS, Assignment::default());
            self.reply(call, GroupReply::Synced { code, assignment });
        }
    }

    fn remove(&mut self, now: Instant, id: &str) {
        if self.members.remove(id).is_none() {
            return;
        }
        if self.state != State::Empty && !matches!(self.state, State::Preparing { .. }) {
            self.prepare(now);
        }
        self.complete_if_all(now);
    }

    fn complete_if_all(&mut self, now: Instant) {
        if self.members.is_empty() {
            self.state = State::Empty;
        } else if self.members.values().all(|known| known.joining.is_some()) {
            self.complete_join(now);
        }
    }

    fn complete_join(&mut self, now: Instant) {
        if self.members.is_empty() {
            self.state = State::Empty;
            return;
        }
        let mut joined = self.members.iter().filter(|(_, known)| known.joining.is_some());
        let Some((first, _)) = joined.next() else {
            // Static members alone, and none of them came: no member can lead.
            return self.prepare(now);
        };
        if self.members.get(&self.leader).is_none_or(|known| known.joining.is_none()) {
            self.leader.clone_from(first);
        }
        self.generation += 1;
        self.state = State::Completing;
        self.protocol = self.choose_protocol();
        let patience = self.members.values().map(|k| k.join.rebalance_timeout).max();
        self.sync_by = patience.map(|patience| now + patience);
        for known in self.members.values_mut() {
            known.is_unsynced = true;
            known.is_late = known.joining.is_none();
        }
        for id in self.members.keys().cloned().collect::<Vec<_>>() {
            self.reply_join(now, &id);
        }
    }

    fn choose_protocol(&self) -> String {
        let offers = |name: &str| {
            self.members.values().all(|k| k.join.protocols.iter().any(|(n, _)| n == name))
        };
        let wanted = &self.members[&self.leader].join.protocols;
        let chosen = wanted.iter().map(|(name, _)| name).find(|name| offers(name));
        chosen.expect("the clients of one test have one in common").clone()
    }

    fn subscriptions(&self) -> BTreeMap<String, Subscription> {
        let of = |join: &JoinRequest| {
            let mut protocols = join.protocols.iter();
            protocols.find(|(name, _)| *name == self.protocol).map(|(_, s)| s.clone())
        };
        let all = self.members.iter().filter_map(|(id, k)| Some((id.clone(), of(&k.join)?)));
        all.collect()
    }

    fn reply_join(&mut self, now: Instant, id: &str) {
        self.reply_join_as(now, id, id == self.leader);
    }

    fn reply_join_as(&mut self, now: Instant, id: &str, leader: bool) {
        let members = match leader {
            true => self.subscriptions().into_iter().map(|(id, s)| (id, Ok(s))).collect(),
            false => BTreeMap::new(),
        };
        let (generation, protocol) = (self.generation, self.protocol.clone());
        let Some(known) = self.members.get_mut(id) else {
            return;
        };
        known.session_ends = now + known.join.session_timeout;
        if let Some(call) = known.joining.take() {
            let (code, member_id) = (0, id.to_owned());
            let reply =
                GroupReply::Joined { code, generation, member_id, leader, protocol, members };
            self.reply(call, reply);
        }
    }

    fn sync(
        &mut self,
        now: Instant,
        call: Call,
        id: &str,
        assignments: BTreeMap<String, Assignment>,
    ) {
        if let Some(known) = self.members.get_mut(id) {
            (known.syncing, known.is_unsynced) = (Some(call), false);
        }
        if self.state == State::Completing && id == self.leader {
            let assignor = Assignor::from_name(&self.protocol).expect("one of ours");
            self.rounds.push(Round {
                assignor,
                generation: self.generation,
                partitions: self.partitions,
                settings: self.settings,
                members: self.subscriptions(),
                assignments: assignments.clone(),
                has_late: self.members.values().any(|known| known.is_late),
            });
            for (id, known) in &mut self.members {
                known.assignment = assignments.get(id).cloned().unwrap_or_default();
            }
            self.state = State::Stable;
        }
        if self.members.values().all(|known| !known.is_unsynced) {
            self.sync_by = None;
        }
        if self.state == State::Stable {
            let mut ready = Vec::new();
            for known in self.members.values_mut() {
                if let Some(call) = known.syncing.take() {
                    known.session_ends = now + known.join.session_timeout;
                    ready.push((call, known.assignment.clone()));
                }
            }
            for (call, assignment) in ready {
                self.reply(call, GroupReply::Synced { code: 0, assignment });
            }
        }
    }
}
