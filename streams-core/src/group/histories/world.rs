//! Several members, the coordinator, a network and a clock, all in one thread.
//!
//! A client is a [`Member`] and what a runtime would do for it: process what is owned, drain what
//! is revoked, make warm copies (slowly, or in vain), leave when it is drained. Clients crash, are
//! stopped and go on, lose their connection, or a single request or reply; the coordinator moves.
//! In half of the worlds most clients are static members; in half the session is longer than the
//! rebalance timeout.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant, SystemTime};

use super::check::Effect;
use super::coordinator::{Call, Coordinator};
use crate::group::assignor::{Assignor, PlanSettings};
use crate::group::{
    Generation, GroupConfig, GroupEvent, GroupReply, GroupRequest, Member, Partitions,
};

type Partition = (String, i32);

pub(super) fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Xorshift, seeded.
#[derive(Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self((seed + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n.max(1)
    }

    pub(super) fn pick<'t, T>(&mut self, of: &'t [T]) -> &'t T {
        &of[self.index(of.len())]
    }

    pub(super) fn index(&mut self, n: usize) -> usize {
        usize::try_from(self.below(n as u64)).expect("less than a usize")
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Copy {
    Restoring { until: Instant, fails: bool },
    Ready,
    Failed,
}

#[derive(Debug)]
pub(super) struct Client {
    pub(super) member: Member,
    pub(super) instance: Option<String>,
    /// Another process has its instance id, and whichever of the two joins last is the member.
    has_twin: bool,
    /// A packet of this kind does not arrive, after so many that do.
    loses: Option<(Loss, u64)>,
    pub(super) is_alive: bool,
    pub(super) is_leaving: bool,
    /// A process that is stopped.
    stopped_until: Option<Instant>,
    /// Nothing goes out or comes in.
    cut_until: Option<Instant>,
    call: u64,
    /// The call in flight breaks then, if nothing comes back.
    call_breaks: Option<Instant>,
    /// What it works on.
    processing: Partitions,
    /// What its commits carry.
    standing: Option<Generation>,
    /// It is to join, and its last commit arrives then.
    commits_until: Option<Instant>,
    /// What it is to release, and what of that stands still.
    outgoing: Partitions,
    hold: u64,
    suspended: Partitions,
    draining: BTreeMap<Partition, Instant>,
    copies: BTreeMap<Partition, Copy>,
    generation: i32,
}

/// A packet that the network swallows, without a word to either side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    JoinRequest,
    JoinReply,
    SyncRequest,
    SyncReply,
}

impl Loss {
    pub(super) const ALL: [Self; 4] =
        [Self::JoinRequest, Self::JoinReply, Self::SyncRequest, Self::SyncReply];

    const fn of_request(request: &GroupRequest) -> Option<Self> {
        match request {
            GroupRequest::Join(_) => Some(Self::JoinRequest),
            GroupRequest::Sync { .. } => Some(Self::SyncRequest),
            _ => None,
        }
    }

    const fn of_reply(reply: &GroupReply) -> Option<Self> {
        match reply {
            GroupReply::Joined { .. } => Some(Self::JoinReply),
            GroupReply::Synced { .. } => Some(Self::SyncReply),
            _ => None,
        }
    }
}

#[derive(Debug)]
enum Packet {
    Request(Call, GroupRequest),
    Reply(Call, GroupReply),
}

/// How the world behaves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Temper {
    /// Of a hundred copies, so many fail.
    pub(super) failing_percent: u64,
    pub(super) copy_ms_max: u64,
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) now: Instant,
    pub(super) random: Random,
    pub(super) coordinator: Coordinator,
    pub(super) clients: Vec<Client>,
    pub(super) temper: Temper,
    /// What clients offer beside `incr_coop`, or alone: a group that is being migrated.
    base: Option<Assignor>,
    pub(super) has_static: bool,
    session: Duration,
    network: BTreeMap<(Instant, u64), Packet>,
    packets: u64,
    /// Until then the coordinator answers nothing but that it is another one.
    moves_until: Option<Instant>,
    pub(super) joins: u64,
    pub(super) last_join: Instant,
    /// Moves since the group last changed, and how many it needed then.
    moves: usize,
    moves_needed: Option<usize>,
    cast: Vec<(String, crate::group::MemberStatus)>,
    given_up: BTreeSet<Partition>,
    /// Who worked on it last.
    workers: BTreeMap<Partition, usize>,
    pub(super) effect: Effect,
}

/// At one moment no more than this can happen.
const STEPS_AT_ONCE_MAX: u32 = 1_000;
const SESSION: Duration = Duration::from_secs(4);
const REBALANCE: Duration = Duration::from_secs(8);
/// With it a static member can miss a generation, and come back.
const SESSION_LONG: Duration = Duration::from_secs(25);

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let partitions = i32::try_from(1 + random.below(24)).expect("few");
        let settings = PlanSettings {
            active_transitions: 1 + random.index(3),
            standby_replicas: random.index(6).saturating_sub(3),
            withholds_unclaimed: false,
        };
        let bases = [Assignor::CooperativeSticky, Assignor::Range, Assignor::RoundRobin];
        let base = bases.get(random.index(9)).copied();
        let has_static = random.below(2) == 0;
        let session = if random.below(2) == 0 { SESSION } else { SESSION_LONG };
        let now = Instant::now();
        Self {
            base,
            has_static,
            session,
            now,
            random,
            coordinator: Coordinator::new(partitions, settings),
            clients: Vec::new(),
            temper: Temper { failing_percent: 10, copy_ms_max: 5_000 },
            network: BTreeMap::new(),
            packets: 0,
            moves_until: None,
            joins: 0,
            last_join: now,
            moves: 0,
            moves_needed: None,
            cast: Vec::new(),
            given_up: BTreeSet::new(),
            workers: BTreeMap::new(),
            effect: Effect::default(),
        }
    }

    /// Starts a client, and returns which it is.
    pub(super) fn start(&mut self) -> usize {
        let is_static = self.has_static && self.random.below(4) > 0;
        let instance = is_static.then(|| format!("i{}", self.clients.len()));
        self.start_as(instance);
        self.clients.len() - 1
    }

    /// Starts a process with the instance id of this one, which may be gone, stopped or cut off.
    pub(super) fn restart(&mut self, client: usize) {
        let instance = self.clients[client].instance.clone();
        self.start_as(instance);
        for twin in [client, self.clients.len() - 1] {
            self.clients[twin].has_twin = true;
        }
    }

    fn start_as(&mut self, instance: Option<String>) {
        let mut config = GroupConfig::new("g", vec!["t".to_owned()]);
        config.session_timeout = self.session;
        config.instance_id.clone_from(&instance);
        config.heartbeat_interval = ms(1_000);
        config.rebalance_timeout = REBALANCE;
        config.active_transitions = self.coordinator.settings.active_transitions;
        config.standby_replicas = self.coordinator.settings.standby_replicas;
        config.rack = Some(format!("r{}", self.random.below(3)));
        config.assignors = match self.base {
            None => vec![Assignor::IncrCoop],
            Some(base) if self.random.below(2) == 0 => vec![base],
            Some(base) => vec![Assignor::IncrCoop, base],
        };
        config.seed = self.random.below(u64::MAX);
        self.clients.push(Client {
            member: Member::new(self.now, config),
            instance,
            has_twin: false,
            loses: None,
            is_alive: true,
            is_leaving: false,
            stopped_until: None,
            cut_until: None,
            call: 0,
            call_breaks: None,
            processing: Partitions::new(),
            standing: None,
            commits_until: None,
            outgoing: Partitions::new(),
            hold: 0,
            suspended: Partitions::new(),
            draining: BTreeMap::new(),
            copies: BTreeMap::new(),
            generation: -1,
        });
    }

    /// The clients that run, stopped or not.
    pub(super) fn alive(&self) -> Vec<usize> {
        (0..self.clients.len()).filter(|client| self.clients[*client].is_alive).collect()
    }

    pub(super) fn crash(&mut self, client: usize) {
        self.clients[client].is_alive = false;
        self.clients[client].processing.clear();
    }

    pub(super) fn drain(&mut self, client: usize) {
        let (now, at) = (self.now, SystemTime::UNIX_EPOCH + ms(self.packets));
        self.clients[client].is_leaving = true;
        self.clients[client].member.drain(now, at);
        self.events(client);
    }

    pub(super) fn leave(&mut self, client: usize) {
        self.clients[client].is_leaving = true;
        self.clients[client].processing.clear();
        self.clients[client].member.leave(self.now);
    }

    pub(super) fn stop(&mut self, client: usize, time: Duration) {
        self.clients[client].stopped_until = Some(self.now + time);
    }

    pub(super) fn cut(&mut self, client: usize, time: Duration) {
        self.clients[client].cut_until = Some(self.now + time);
    }

    pub(super) fn lose(&mut self, client: usize, loss: Loss, skip: u64) {
        self.clients[client].loses = Some((loss, skip));
    }

    pub(super) fn move_coordinator(&mut self, time: Duration) {
        self.moves_until = Some(self.now + time);
    }

    /// Runs until `until`.
    pub(super) fn run(&mut self, until: Instant) {
        let mut steps = 0;
        while let Some(next) = self.next_time().filter(|next| *next <= until) {
            steps = if next <= self.now { steps + 1 } else { 0 };
            assert!(steps < STEPS_AT_ONCE_MAX, "time stands still: {:?}", self.clients);
            self.now = next.max(self.now);
            self.step();
        }
        self.now = until.max(self.now);
    }

    fn next_time(&self) -> Option<Instant> {
        let clients = self.clients.iter().filter(|client| client.is_alive);
        let clients = clients.flat_map(|client| match client.stopped_until {
            Some(until) => [Some(until), None, None],
            None => [client.member.poll_timeout(), client.call_breaks, client.next_work()],
        });
        let packet = self.network.first_key_value().map(|((at, _), _)| *at);
        clients.chain([packet, self.coordinator.next_timeout()]).flatten().min()
    }

    fn step(&mut self) {
        while let Some(entry) = self.network.first_entry().filter(|e| e.key().0 <= self.now) {
            match entry.remove() {
                Packet::Request(call, request) => self.arrive(call, request),
                Packet::Reply(call, reply) => self.answer(call, Ok(reply)),
            }
        }
        self.coordinator.handle_timeout(self.now);
        self.send_replies();
        self.check_rounds();
        for client in self.alive() {
            self.step_client(client);
        }
        self.check_owners();
    }

    fn step_client(&mut self, index: usize) {
        let now = self.now;
        let client = &mut self.clients[index];
        if client.stopped_until.is_some_and(|until| now < until) {
            return;
        }
        client.stopped_until = None;
        client.cut_until = client.cut_until.filter(|until| now < *until);
        client.member.handle_timeout(now);
        self.events(index);
        if self.clients[index].call_breaks.is_some_and(|at| now >= at) {
            let call = (index, self.clients[index].call);
            self.answer(call, Err("the connection broke".to_owned()));
        }
        self.work(index);
        while let Some(request) = self.clients[index].member.poll_request(now) {
            self.events(index);
            self.send(index, request);
        }
        self.events(index);
    }

    fn send(&mut self, index: usize, request: GroupRequest) {
        if matches!(request, GroupRequest::Join(_)) {
            self.joins += 1;
            self.last_join = self.now;
        }
        let (now, latency) = (self.now, ms(1 + self.random.below(4)));
        let client = &mut self.clients[index];
        client.call += 1;
        let call = (index, client.call);
        // A JoinGroup or SyncGroup may wait for others; a cut connection is noticed earlier.
        let patience = match (&request, client.cut_until) {
            (_, Some(_)) => ms(500),
            (GroupRequest::Join(_) | GroupRequest::Sync { .. }, None) => REBALANCE + ms(5_000),
            _ => ms(2_000),
        };
        client.call_breaks = Some(now + patience);
        let is_lost = client.loses_next(Loss::of_request(&request));
        if client.cut_until.is_none() && !is_lost {
            self.post(latency, Packet::Request(call, request));
        }
    }

    fn post(&mut self, latency: Duration, packet: Packet) {
        self.packets += 1;
        self.network.insert((self.now + latency, self.packets), packet);
    }

    fn arrive(&mut self, call: Call, request: GroupRequest) {
        if self.moves_until.is_some_and(|until| self.now < until) {
            let latency = ms(1);
            return self.post(latency, Packet::Reply(call, GroupReply::Refused { code: 16 }));
        }
        self.coordinator.handle(self.now, call, request);
        self.send_replies();
    }

    fn send_replies(&mut self) {
        for (call, reply) in self.coordinator.take_replies() {
            let latency = ms(1 + self.random.below(4));
            let client = &mut self.clients[call.0];
            let is_lost = client.loses_next(Loss::of_reply(&reply));
            if client.cut_until.is_none() && !is_lost {
                self.post(latency, Packet::Reply(call, reply));
            }
        }
    }

    fn answer(&mut self, (index, call): Call, reply: Result<GroupReply, String>) {
        let now = self.now;
        let client = &mut self.clients[index];
        if !client.is_alive || client.call != call || client.call_breaks.is_none() {
            return;
        }
        if let Some(until) = client.stopped_until.filter(|until| now < *until) {
            // It lies in the socket until the process goes on.
            if let Ok(reply) = reply {
                client.call_breaks = Some(until + ms(1_000));
                self.post(until - now, Packet::Reply((index, call), reply));
            }
            return;
        }
        client.call_breaks = None;
        client.member.handle_reply(now, reply);
        self.events(index);
    }

    fn events(&mut self, index: usize) {
        while let Some(event) = self.clients[index].member.poll_event() {
            self.event(index, event);
        }
        let client = &mut self.clients[index];
        client.member.check_invariants();
        if !client.member.is_waiting() {
            client.call_breaks = None;
        }
        if client.member.is_ended() {
            client.is_alive = false;
        }
    }

    fn event(&mut self, index: usize, event: GroupEvent) {
        let now = self.now;
        match event {
            GroupEvent::Joined { generation, assigned, revoked, owned, warm, .. } => {
                self.begin_drains(index, &revoked);
                let client = &mut self.clients[index];
                client.generation = generation.generation_id;
                assert_eq!(client.standing, Some(generation), "it began before");
                assert!(warm.is_disjoint(&owned), "a copy of what is owned");
                client.copies.retain(|partition, _| warm.contains(partition));
                self.workers.extend(assigned.iter().map(|partition| (partition.clone(), index)));
                client.processing.extend(assigned);
                let suspended = std::mem::take(&mut client.suspended);
                let resumed = suspended.intersection(&owned);
                let others = resumed.clone().find(|p| self.workers.get(*p) != Some(&index));
                assert_eq!(others, None, "GRP-1: taken back, and another has worked on it");
                client.processing.extend(resumed.cloned());
                assert!(owned.is_subset(&client.processing), "{owned:?} {:?}", client.processing);
                for partition in warm {
                    let again = !matches!(
                        client.copies.get(&partition),
                        Some(Copy::Ready | Copy::Restoring { .. })
                    );
                    if again {
                        let until = now + ms(1 + self.random.below(self.temper.copy_ms_max));
                        let fails = self.random.below(100) < self.temper.failing_percent;
                        client.copies.insert(partition, Copy::Restoring { until, fails });
                    }
                }
            }
            GroupEvent::Rejoining { hold, outgoing } => {
                // Longer than the member waits for it, from time to time.
                let slow = self.random.below(4) == 0;
                let commit = ms(self.random.below(if slow { 300 } else { 30 }));
                self.clients[index].commits_until = Some(now + commit);
                self.clients[index].outgoing = outgoing;
                self.clients[index].hold = hold;
            }
            GroupEvent::Waiting { resumed } => self.clients[index].resume(&resumed),
            GroupEvent::Begun { generation, resumed } => {
                self.clients[index].resume(&resumed);
                self.check_kept(index, &generation);
                self.clients[index].standing = Some(generation);
            }
            GroupEvent::Revoked { partitions } => self.begin_drains(index, &partitions),
            GroupEvent::Lost { .. } => {
                self.clients[index].standing = None;
                self.clients[index].processing.clear();
                self.clients[index].suspended.clear();
                self.clients[index].draining.clear();
            }
            GroupEvent::View(view) => {
                assert_eq!(view.generation, self.clients[index].generation);
            }
            GroupEvent::Drained => {
                let client = &mut self.clients[index];
                assert!(client.is_leaving);
                client.processing.clear();
                client.member.leave(now);
            }
            GroupEvent::Failed { reason } => {
                let has_twin = self.clients[index].has_twin;
                assert!(has_twin && reason.contains("FENCED_INSTANCE_ID"), "{reason}");
            }
            GroupEvent::Confirmed { .. } | GroupEvent::Left => {}
        }
    }

    fn begin_drains(&mut self, index: usize, revoked: &Partitions) {
        for partition in revoked {
            let until = self.now + ms(1 + self.random.below(300));
            self.clients[index].draining.entry(partition.clone()).or_insert(until);
        }
    }

    /// What the runtime has got done.
    fn work(&mut self, index: usize) {
        let now = self.now;
        let client = &mut self.clients[index];
        if client.commits_until.take_if(|at| *at <= now).is_some() {
            // Events of some take too long.
            let outgoing = std::mem::take(&mut client.outgoing);
            let released: Partitions =
                outgoing.into_iter().filter(|_| self.random.below(4) > 0).collect();
            client.processing.retain(|partition| !released.contains(partition));
            client.suspended.extend(released.iter().cloned());
            client.member.held(now, client.hold, &released);
        }
        let drained: Partitions =
            client.draining.extract_if(.., |_, at| *at <= now).map(|(p, _)| p).collect();
        if !drained.is_empty() {
            client.processing.retain(|partition| !drained.contains(partition));
            client.member.acknowledge_revoked(now, &drained, client.generation);
        }
        let (mut warmed, mut failed) = (Partitions::new(), Partitions::new());
        for (partition, copy) in &mut client.copies {
            if let Copy::Restoring { until, fails } = *copy
                && until <= now
            {
                *copy = if fails { Copy::Failed } else { Copy::Ready };
                if fails { &mut failed } else { &mut warmed }.insert(partition.clone());
            }
        }
        if !warmed.is_empty() {
            client.member.warmed(now, &warmed);
        }
        if !failed.is_empty() {
            client.member.warm_failed(now, &failed, "it was to fail");
        }
        self.events(index);
    }

    /// GRP-1 as the world sees it: nothing is worked on by two processes whose commits the
    /// coordinator takes. (One that is stopped may have sent one before.)
    fn check_owners(&self) {
        let mut owners: BTreeMap<&Partition, usize> = BTreeMap::new();
        for (index, client) in self.clients.iter().enumerate() {
            let takes = |standing| self.coordinator.takes_commits(standing);
            if client.is_alive && client.standing.as_ref().is_some_and(takes) {
                for partition in &client.processing {
                    if let Some(other) = owners.insert(partition, index) {
                        panic!("GRP-1: {partition:?} is processed by {other} and {index}");
                    }
                }
            }
        }
    }

    /// GRP-1 from one generation to the next: what a member keeps, and so commits, no other has
    /// worked on meanwhile. (An old reply may have lain in the socket: its commits are refused.)
    fn check_kept(&self, index: usize, generation: &Generation) {
        if !self.coordinator.takes_commits(generation) {
            return;
        }
        let client = &self.clients[index];
        for partition in &client.processing {
            let last = self.workers.get(partition);
            assert!(
                last == Some(&index),
                "GRP-1: {index} keeps {partition:?}, which {last:?} has worked on since"
            );
        }
    }

    fn check_rounds(&mut self) {
        for round in std::mem::take(&mut self.coordinator.rounds) {
            let effect = match round.check() {
                Ok(effect) => effect,
                Err(broken) => panic!("{broken}\n{round:#?}"),
            };
            let failed = round.has_failures() || round.has_late;
            // Given to somebody, who was still closing it and could not take it: nobody's again.
            let refused = !effect.unclaimed.is_subset(&self.given_up);
            // That, another cast, or a copy that can't be made may need other moves.
            if effect.cast != self.cast || failed || refused {
                self.cast.clone_from(&effect.cast);
                self.moves = 0;
                self.moves_needed = None;
            }
            let begun = effect.given_up.difference(&self.given_up).count() + effect.given_on.len();
            match self.moves_needed {
                None => self.moves_needed = Some(effect.moves_needed()),
                Some(needed) => {
                    self.moves += begun;
                    assert!(self.moves <= needed, "{} moves, not {needed}", self.moves);
                }
            }
            self.given_up.clone_from(&effect.given_up);
            self.effect = effect;
        }
    }
}

impl Client {
    /// Whether another process may have its instance id: not one that leaves, which is waited for.
    pub(super) const fn can_be_replaced(&self) -> bool {
        self.instance.is_some() && !self.is_leaving && !self.has_twin
    }

    /// Whether this packet is the one that does not arrive.
    fn loses_next(&mut self, packet: Option<Loss>) -> bool {
        match &mut self.loses {
            Some((loss, skip)) if Some(*loss) == packet && *skip > 0 => {
                *skip -= 1;
                false
            }
            loses => loses.take_if(|(loss, _)| Some(*loss) == packet).is_some(),
        }
    }

    fn resume(&mut self, partitions: &Partitions) {
        let resumed = self.suspended.extract_if(.., |partition| partitions.contains(partition));
        self.processing.extend(resumed);
    }

    fn next_work(&self) -> Option<Instant> {
        let copies = self.copies.values().filter_map(|copy| match copy {
            Copy::Restoring { until, .. } => Some(*until),
            Copy::Ready | Copy::Failed => None,
        });
        self.draining.values().copied().chain(copies).chain(self.commits_until).min()
    }
}
