//! A group's coordinator, as small as it can be and still be Kafka's: join, sync, heartbeat,
//! leave, sessions. Every round that its leader plans is checked on the way through.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::check::Round;
use crate::group::assignor::{Assignment, Assignor, PlanSettings, Subscription};
use crate::group::{Generation, GroupReply, GroupRequest, JoinRequest};

const MEMBER_ID_REQUIRED: i16 = 79;
const UNKNOWN_MEMBER_ID: i16 = 25;
const ILLEGAL_GENERATION: i16 = 22;
const REBALANCE_IN_PROGRESS: i16 = 27;

/// Which client, and which of its requests.
pub(super) type Call = (usize, u64);

#[derive(Debug)]
struct Known {
    join: JoinRequest,
    session_ends: Instant,
    joining: Option<Call>,
    syncing: Option<Call>,
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
    leader: String,
    protocol: String,
    next_id: u32,
    replies: Vec<(Call, GroupReply)>,
    /// The rounds that were planned.
    pub(super) rounds: Vec<Round>,
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
        self.members.contains_key(&*of.member_id) && of.generation_id == self.generation
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let waits = |known: &&Known| known.joining.is_none() && known.syncing.is_none();
        let sessions = self.members.values().filter(waits).map(|known| known.session_ends);
        let round = match self.state {
            State::Preparing { until } => Some(until),
            _ => None,
        };
        sessions.chain(round).min()
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
            self.members.retain(|_, known| known.joining.is_some());
            self.complete_join(now);
        }
    }

    pub(super) fn handle(&mut self, now: Instant, call: Call, request: GroupRequest) {
        let known = |id: &str| self.members.contains_key(id);
        match request {
            GroupRequest::FindCoordinator { .. } => self.reply(call, GroupReply::Coordinator),
            GroupRequest::Partitions { topics } => {
                let partitions = topics.into_iter().map(|t| (t, self.partitions)).collect();
                self.reply(call, GroupReply::Partitions { partitions });
            }
            GroupRequest::Join(join) => self.join(now, call, *join),
            GroupRequest::Sync { standing, assignments, .. } => {
                let id = standing.member_id.to_string();
                let code = match self.state {
                    _ if !known(&id) => UNKNOWN_MEMBER_ID,
                    _ if standing.generation_id != self.generation => ILLEGAL_GENERATION,
                    State::Empty | State::Preparing { .. } => REBALANCE_IN_PROGRESS,
                    State::Completing | State::Stable => 0,
                };
                if code != 0 {
                    let assignment = Assignment::default();
                    return self.reply(call, GroupReply::Synced { code, assignment });
                }
                self.sync(now, call, &id, assignments);
            }
            GroupRequest::Heartbeat { standing } => {
                let id = standing.member_id.to_string();
                let code = match self.state {
                    _ if !known(&id) => UNKNOWN_MEMBER_ID,
                    _ if standing.generation_id != self.generation => ILLEGAL_GENERATION,
                    State::Preparing { .. } => REBALANCE_IN_PROGRESS,
                    _ => 0,
                };
                if let Some(known) = self.members.get_mut(&id)
                    && code != ILLEGAL_GENERATION
                {
                    known.session_ends = now + known.join.session_timeout;
                }
                self.reply(call, GroupReply::Heartbeat { code });
            }
            GroupRequest::Leave { standing } => {
                self.remove(now, &standing.member_id);
                self.reply(call, GroupReply::Left { code: 0 });
            }
        }
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
        let id = join.member_id.clone();
        if id.is_empty() {
            let id = format!("m{:04}", self.next_id);
            self.next_id += 1;
            self.promised.insert(id.clone());
            return self.refuse_join(call, MEMBER_ID_REQUIRED, id);
        }
        if !self.members.contains_key(&id) && !self.promised.remove(&id) {
            return self.refuse_join(call, UNKNOWN_MEMBER_ID, id);
        }
        let session_ends = now + join.session_timeout;
        let same = self.members.get(&id).is_some_and(|k| k.join.protocols == join.protocols);
        let assignment = self.members.get(&id).map(|k| k.assignment.clone()).unwrap_or_default();
        let (joining, syncing) = (Some(call), None);
        let known = Known { join, session_ends, joining, syncing, assignment };
        self.members.insert(id.clone(), known);
        match self.state {
            State::Preparing { .. } => {}
            State::Stable if same && id != self.leader => return self.reply_join(now, &id),
            State::Completing if same => return self.reply_join(now, &id),
            State::Stable | State::Completing | State::Empty => self.prepare(now),
        }
        self.complete_if_all(now);
    }

    fn prepare(&mut self, now: Instant) {
        let patience = self.members.values().map(|k| k.join.rebalance_timeout).max();
        self.state = State::Preparing { until: now + patience.unwrap_or(Duration::ZERO) };
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
        let Some(first) = self.members.keys().next().cloned() else {
            self.state = State::Empty;
            return;
        };
        self.generation += 1;
        self.state = State::Completing;
        if !self.members.contains_key(&self.leader) {
            self.leader = first;
        }
        let offers = |name: &str| {
            self.members.values().all(|k| k.join.protocols.iter().any(|(n, _)| n == name))
        };
        let wanted = &self.members[&self.leader].join.protocols;
        let chosen = wanted.iter().map(|(name, _)| name).find(|name| offers(name));
        self.protocol = chosen.expect("the clients of one test have one in common").clone();
        for id in self.members.keys().cloned().collect::<Vec<_>>() {
            self.reply_join(now, &id);
        }
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
        let leader = id == self.leader;
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
            known.syncing = Some(call);
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
            });
            for (id, known) in &mut self.members {
                known.assignment = assignments.get(id).cloned().unwrap_or_default();
            }
            self.state = State::Stable;
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
