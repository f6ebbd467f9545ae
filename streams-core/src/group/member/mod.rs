//! The member's machine: join, sync, heartbeat, leave, and what each error means.
//!
//! ```text
//!  Unjoined -> Finding -> Rejoin -> Holding -> Joining -> Counting -> Syncing -> Stable
//!      ^          |         ^     (if it owns           (the leader)     |        |
//!      |          |         |         any)                               |        |
//!      |          |         +-- rebalance, given up, warmed, drain ------+--------+
//!      |          +------------ coordinator moved: on in the generation --------->+
//!      +----------------------- errors, by the table in `errors` --------+--------+
//!  any -> Leaving -> Left          any -> Failed
//! ```
//!
//! One request is in flight at a time: [`Member::poll_request`] gives it,
//! [`Member::handle_reply`] takes what came back. `now` never goes back.
//!
//! *The member's own clock.* The coordinator has heard of us no earlier than when we sent what it
//! answered. When that is `session_timeout` ago, our partitions may be others' already, so they are
//! `Lost` before anything else is looked at: a process that was stopped finds out by itself, also
//! if an old reply lay in its socket.
//!
//! *Commits while a generation changes.* The coordinator takes a commit of the generation that it
//! is in: the old one as long as it waits for somebody's JoinGroup, the new one from then on, also
//! before SyncGroup (of a transaction; `ClassicGroup.validateOffsetCommit` in Kafka). So commits
//! are held only from JoinGroup until it is clear that others are waited for who don't come soon,
//! or until its reply. Otherwise a commit of generation 3 could be on its way when JoinGroup, the
//! last one that the group waits for, begins generation 4: it is refused, and its events are
//! processed again. While others are waited for this can happen all the same, and costs less than
//! to commit nothing for so long; who begins a rebalance knows from the first how soon they hear
//! (`pace`). What we claim we still own when the reply comes: nobody else gets it in that
//! generation (GRP-1).
//!
//! *A generation that the member missed* takes all partitions from it (`missed`).
//!
//! *Released partitions* change their owner in one generation instead of two (`release`).
//!
//! *Eager assignors* (range, roundrobin) share everything out anew, without a look at who has what.
//! While one is in force, all is given up before the next JoinGroup. If the group falls back to one
//! while we hold partitions, they are `Lost`: others may have them as soon as we know.

mod assignment;
mod confirm;
mod copies;
mod counting;
mod errors;
mod missed;
mod pace;
mod patience;
mod release;
mod subscription;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use self::confirm::Confirmations;
use self::copies::Copies;
use self::counting::Counts;
use self::errors::{Action, action};
use self::pace::Pace;
use self::patience::Patience;
use super::assignor::{Assignment, Assignor, Subscription};
use super::user_data::MemberMeta;
use super::view::{GroupView, MemberStatus};
use super::{Generation, GroupConfig, GroupEvent, GroupReply, GroupRequest, Partitions};

const BACKOFF_MIN: Duration = Duration::from_millis(20);
const BACKOFF_MAX: Duration = Duration::from_secs(1);
/// So long a leaving member waits for its coordinator.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(3);
/// Copies that catch up within this time cost one rebalance together.
const WARMED_DELAY: Duration = Duration::from_millis(20);
/// So long JoinGroup waits for commits that are on their way: longer than one takes, far shorter
/// than a session. What takes longer is refused, and replayed.
const HOLD_MAX: Duration = Duration::from_millis(200);

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// No coordinator; one is looked for from then on. With `resume` the generation goes on.
    Unjoined {
        from: Instant,
        resume: bool,
    },
    Finding {
        resume: bool,
    },
    /// JoinGroup is to be sent from then on.
    Rejoin {
        from: Instant,
    },
    /// Commits are on their way: JoinGroup is to be sent when they have arrived, and then at the
    /// latest.
    Holding {
        until: Instant,
    },
    /// JoinGroup is sent. With `patience`, commits are held until then.
    Joining {
        patience: Option<Instant>,
    },
    /// The leader asks how many partitions there are.
    Counting {
        members: BTreeMap<String, Subscription>,
        /// Members whose subscription can't be read.
        unreadable: BTreeSet<String>,
        from: Instant,
        asked: bool,
    },
    Syncing {
        assignments: BTreeMap<String, Assignment>,
        asked: bool,
    },
    /// `held` is an assignment that came so late that a heartbeat must confirm it.
    Stable {
        heartbeat_at: Instant,
        asked: bool,
        held: Option<Assignment>,
    },
    Leaving {
        until: Instant,
        asked: bool,
    },
    Left,
    Failed,
}

/// A member of a group.
#[derive(Clone, Debug)]
pub struct Member {
    config: GroupConfig,
    state: State,
    member_id: String,
    generation: Option<Generation>,
    /// The assignor in force.
    assignor: Option<Assignor>,
    /// Ours, the revoked included until they are acknowledged.
    owned: Partitions,
    /// The generation that gave us what we have.
    confirmed: i32,
    /// The last generation that this member has joined, as far as the coordinator can't have
    /// forgotten it: it keeps a generation once its assignment is there.
    joined_in: i32,
    /// How often commits were held.
    holds: u64,
    /// Being given up.
    revoking: Partitions,
    /// Not ours any more, and not acknowledged yet: nobody waits for that, but they can't be ours
    /// again before.
    closing: Partitions,
    /// The generation in which each became ours.
    assigned_in: BTreeMap<(String, i32), i32>,
    /// Ours that others prepare for.
    outgoing: Partitions,
    /// Ours that stand still, and can be anybody's in the generation of the JoinGroup that says so.
    released: Partitions,
    /// What the last JoinGroup claimed, and was lost when its generation began.
    forfeited: Partitions,
    copies: Copies,
    counts: Counts,
    /// What we said of ourselves in the last JoinGroup.
    told: MemberMeta,
    /// Something was given up since.
    gave_up: bool,
    /// Since when we want to leave, in milliseconds of the Unix epoch.
    left_at_ms: Option<i64>,
    said_drained: bool,
    /// The leader's own plan, for itself.
    planned: Option<GroupView>,
    rejoin_at: Option<Instant>,
    /// The coordinator has said that a rebalance has begun.
    called: bool,
    pace: Pace,
    patience: Patience,
    confirmations: Confirmations,
    asked_at: Instant,
    last_contact: Option<Instant>,
    backoff: Duration,
    random: u64,
    events: VecDeque<GroupEvent>,
}

impl Member {
    /// A member that has not joined yet.
    pub fn new(now: Instant, config: GroupConfig) -> Self {
        let random = config.seed | 1;
        let pace = Pace::new(now, config.heartbeat_interval);
        let counts = Counts::new(&config);
        let patience = Patience::new(now, config.outage_timeout);
        Self {
            config,
            state: State::Unjoined { from: now, resume: false },
            member_id: String::new(),
            generation: None,
            assignor: None,
            owned: Partitions::new(),
            confirmed: -1,
            joined_in: -1,
            holds: 0,
            revoking: Partitions::new(),
            closing: Partitions::new(),
            assigned_in: BTreeMap::new(),
            outgoing: Partitions::new(),
            released: Partitions::new(),
            forfeited: Partitions::new(),
            copies: Copies::default(),
            counts,
            told: MemberMeta::default(),
            gave_up: false,
            left_at_ms: None,
            said_drained: false,
            planned: None,
            rejoin_at: None,
            called: false,
            pace,
            patience,
            confirmations: Confirmations::default(),
            asked_at: now,
            last_contact: None,
            backoff: BACKOFF_MIN,
            random,
            events: VecDeque::new(),
        }
    }

    /// The request to send now, if one is due and none is in flight.
    pub fn poll_request(&mut self, now: Instant) -> Option<GroupRequest> {
        self.handle_timeout(now);
        let request = self.next_request(now)?;
        self.asked_at = now;
        self.confirmations.sent();
        Some(request)
    }

    fn next_request(&mut self, now: Instant) -> Option<GroupRequest> {
        let standing = || self.generation.clone();
        match &mut self.state {
            State::Unjoined { from, resume } if now >= *from => {
                self.state = State::Finding { resume: *resume };
                Some(GroupRequest::FindCoordinator { group_id: self.config.group_id.clone() })
            }
            State::Rejoin { from } if now >= *from => self.rejoin(now),
            State::Holding { until } if now >= *until => Some(self.join(now, true)),
            State::Counting { members, from, asked, .. } if !*asked && now >= *from => {
                *asked = true;
                let topics = members.values().flat_map(|m| &m.topics).chain(&self.config.topics);
                let topics = topics.cloned().collect();
                Some(GroupRequest::Partitions { topics })
            }
            State::Syncing { assignments, asked } if !*asked => {
                *asked = true;
                let assignments = std::mem::take(assignments);
                let protocol = self.assignor?.name().to_owned();
                Some(GroupRequest::Sync { standing: standing()?, protocol, assignments })
            }
            State::Stable { heartbeat_at, asked, .. } if !*asked && now >= *heartbeat_at => {
                *asked = true;
                Some(GroupRequest::Heartbeat { standing: standing()? })
            }
            State::Leaving { asked, .. } if !*asked => {
                *asked = true;
                Some(GroupRequest::Leave { standing: self.standing_to_leave() })
            }
            _ => None,
        }
    }

    fn rejoin(&mut self, now: Instant) -> Option<GroupRequest> {
        self.give_up_released();
        let calls_others = self.pace.has_others() && !self.called;
        if self.owned.is_empty() {
            return Some(self.join(now, false));
        }
        if calls_others && !self.pace.others_hear_soon(now) {
            self.says_waiting();
            return Some(self.join(now, false));
        }
        self.holds += 1;
        let outgoing = if calls_others { Partitions::new() } else { self.can_be_released() };
        self.events.push_back(GroupEvent::Rejoining { hold: self.holds, outgoing });
        // A commit that is on its way arrives before others have heard.
        if calls_others {
            return Some(self.join(now, true));
        }
        self.state = State::Holding { until: now + HOLD_MAX };
        None
    }

    fn join(&mut self, now: Instant, holds_commits: bool) -> GroupRequest {
        let patience = holds_commits.then(|| now + self.pace.join_patience(now));
        self.state = State::Joining { patience };
        GroupRequest::Join(Box::new(self.join_request(now)))
    }

    /// After `Rejoining`: no commit is on its way any more, and of the outgoing partitions these
    /// stand still, with nothing in a transaction. `hold` is the number that `Rejoining` had: what
    /// is said of an earlier one came too late.
    pub fn held(&mut self, now: Instant, hold: u64, released: &Partitions) {
        if let State::Holding { until } = &mut self.state
            && hold == self.holds
        {
            *until = now.min(*until);
            self.released = self.can_be_released().intersection(released).cloned().collect();
        }
    }

    /// Whether a request is in flight whose reply still counts; if not, it can be given up.
    pub const fn is_waiting(&self) -> bool {
        match &self.state {
            State::Finding { .. } | State::Joining { .. } => true,
            State::Counting { asked, .. }
            | State::Syncing { asked, .. }
            | State::Stable { asked, .. }
            | State::Leaving { asked, .. } => *asked,
            State::Unjoined { .. }
            | State::Rejoin { .. }
            | State::Holding { .. }
            | State::Left
            | State::Failed => false,
        }
    }

    /// What the group says, in order.
    pub fn poll_event(&mut self) -> Option<GroupEvent> {
        self.events.pop_front()
    }

    /// When to call [`Member::handle_timeout`] and [`Member::poll_request`] at the latest.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let request = match &self.state {
            State::Unjoined { from, .. }
            | State::Rejoin { from }
            | State::Counting { from, asked: false, .. } => Some(*from),
            State::Stable { heartbeat_at, asked: false, .. } => {
                let news_at = match self.rejoin_at {
                    Some(at) => Some(at).filter(|_| !self.must_give_up_first()),
                    None if self.assignor == Some(Assignor::IncrCoop) => {
                        self.copies.next_expiry(&self.told)
                    }
                    None => None,
                };
                news_at.into_iter().chain([*heartbeat_at]).min()
            }
            State::Leaving { until, .. } | State::Holding { until } => Some(*until),
            State::Joining { patience } => *patience,
            _ => None,
        };
        request.into_iter().chain(self.session_end()).min()
    }

    /// Whether the machine has come to its end.
    pub const fn is_ended(&self) -> bool {
        matches!(self.state, State::Left | State::Failed)
    }

    /// When the coordinator will have taken our partitions away, if it does not hear of us. While
    /// it keeps a JoinGroup or SyncGroup waiting, it does not count, and what came of that late is
    /// confirmed first.
    fn session_end(&self) -> Option<Instant> {
        let counts = matches!(
            self.state,
            State::Unjoined { .. }
                | State::Finding { .. }
                | State::Rejoin { .. }
                | State::Holding { .. }
                | State::Stable { held: None, .. }
        );
        let contact = self.last_contact.filter(|_| counts && self.generation.is_some())?;
        Some(contact + self.config.session_timeout)
    }

    /// Looks at the clock.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.session_end().is_some_and(|end| now >= end) {
            let timeout = self.config.session_timeout;
            self.lose(&format!("the coordinator has not heard of us for {timeout:?}"));
            self.member_id.clear();
            let stays = matches!(self.state, State::Unjoined { .. } | State::Finding { .. });
            if !stays {
                self.state = State::Unjoined { from: now, resume: false };
            }
        }
        if matches!(self.state, State::Leaving { until, .. } if now >= until) {
            self.left();
        }
        if let State::Joining { patience } = &mut self.state
            && patience.take_if(|at| now >= *at).is_some()
        {
            self.says_waiting();
        }
        self.copies.handle_timeout(now);
        if let State::Stable { asked: false, held: None, .. } = self.state {
            if self.rejoin_at.is_none() && self.has_news(now) {
                self.rejoin_at = Some(now);
            }
            if self.rejoin_at.is_some_and(|at| now >= at) {
                self.begin_rejoin(now);
            }
        }
    }

    /// Joins again, with an eager assignor once everything is given up. Until then the heartbeats
    /// go on; the coordinator waits for as long as the rebalance timeout.
    fn begin_rejoin(&mut self, now: Instant) {
        if !self.must_give_up_first() {
            self.state = State::Rejoin { from: now };
            return;
        }
        let partitions: Partitions = self.owned.difference(&self.revoking).cloned().collect();
        if !partitions.is_empty() {
            self.revoking = self.owned.clone();
            self.events.push_back(GroupEvent::Revoked { partitions });
        }
    }

    fn must_give_up_first(&self) -> bool {
        !self.owned.is_empty() && self.assignor.is_some_and(|a| !a.is_cooperative())
    }

    fn rejoin_by(&mut self, at: Instant) {
        self.rejoin_at = Some(self.rejoin_at.map_or(at, |before| before.min(at)));
    }

    /// Whether the group waits for something that we have not said yet.
    fn has_news(&self, now: Instant) -> bool {
        let incr_coop = self.assignor == Some(Assignor::IncrCoop);
        let is_leaving = self.told.status == MemberStatus::Active && self.left_at_ms.is_some();
        (self.gave_up && self.revoking.is_empty())
            || (incr_coop && (is_leaving || self.copies.has_news(now, &self.told)))
    }

    /// The reply to the request in flight, or the connection's error.
    pub fn handle_reply(&mut self, now: Instant, reply: Result<GroupReply, String>) {
        if !self.is_waiting() {
            return;
        }
        if let State::Leaving { .. } = self.state {
            return self.left();
        }
        if let State::Joining { patience } = &mut self.state
            && !matches!(reply, Ok(GroupReply::Joined { code: 0, .. }))
            && patience.take().is_some()
        {
            self.says_waiting();
        }
        if let Ok(GroupReply::Heartbeat { .. }) = reply {
            self.pace.measured(now - self.asked_at);
        }
        match reply {
            Err(reason) => {
                tracing::debug!(group = self.config.group_id, reason, "no reply");
                if !self.has_waited_too_long(now, &reason) {
                    self.find_coordinator(now);
                }
            }
            Ok(GroupReply::Refused { code }) => self.refused(now, code, None),
            Ok(GroupReply::Coordinator) => self.found(now),
            Ok(GroupReply::Joined {
                code: 0,
                generation,
                member_id,
                leader,
                protocol,
                members,
            }) => {
                self.contact(now);
                self.joined(now, generation, member_id, leader, &protocol, members);
                self.confirmed();
            }
            Ok(GroupReply::Joined { code, member_id, .. }) => {
                self.refused(now, code, Some(member_id));
            }
            Ok(GroupReply::Partitions { partitions }) => self.counted(now, &partitions),
            Ok(GroupReply::Synced { code: 0, assignment }) => {
                self.confirmed();
                self.synced(now, assignment);
            }
            Ok(GroupReply::Heartbeat { code: 0 }) => {
                self.contact(self.asked_at);
                self.confirmed();
                self.heard(now);
            }
            Ok(GroupReply::Heartbeat { code } | GroupReply::Synced { code, .. }) => {
                self.refused(now, code, None);
            }
            Ok(GroupReply::Left { .. }) => self.left(),
        }
        self.handle_timeout(now);
    }

    fn found(&mut self, now: Instant) {
        if let State::Finding { resume } = self.state {
            self.state = match resume && self.generation.is_some() {
                true => State::Stable { heartbeat_at: now, asked: false, held: None },
                false => State::Rejoin { from: now },
            };
        }
    }

    fn find_coordinator(&mut self, now: Instant) {
        let resume = match &self.state {
            State::Stable { held, .. } => held.is_none(),
            State::Finding { resume } => *resume,
            _ => false,
        };
        let from = now + self.next_backoff();
        self.joined_in = self.confirmed;
        self.state = State::Unjoined { from, resume };
    }

    /// The revoked partitions are drained: nothing of them is in an open transaction (EOS-6). Now
    /// they can be given to others, in the next generation. `generation` is the last one that was
    /// heard of: what became ours later is not meant.
    pub fn acknowledge_revoked(&mut self, now: Instant, partitions: &Partitions, generation: i32) {
        let since = &self.assigned_in;
        let is_meant = |p: &(String, i32)| {
            partitions.contains(p) && since.get(p).is_none_or(|since| *since <= generation)
        };
        let before = self.revoking.len();
        self.revoking.retain(|partition| !is_meant(partition));
        self.owned.retain(|partition| !is_meant(partition));
        self.closing.retain(|partition| !is_meant(partition));
        self.released.retain(|partition| !is_meant(partition));
        self.gave_up |= self.revoking.len() < before;
        if self.gave_up && self.revoking.is_empty() {
            self.rejoin_by(now);
        }
        self.say_drained(false);
    }

    /// These warm copies have caught up. Several of about the same moment cost one rebalance.
    pub fn warmed(&mut self, now: Instant, partitions: &Partitions) {
        self.copies.warmed(partitions);
        if self.has_news(now) {
            self.rejoin_by(now + WARMED_DELAY);
        }
    }

    /// These copies can't be made here: the group is told, and asks another member.
    pub fn warm_failed(&mut self, now: Instant, partitions: &Partitions, reason: &str) {
        self.copies.failed(now, partitions, reason);
        if self.has_news(now) {
            self.rejoin_by(now + WARMED_DELAY);
        }
    }

    /// Begins to give all partitions away, to members that are warm; `Drained` follows. Of several
    /// members, the one that began first goes first.
    pub fn drain(&mut self, now: Instant, at: SystemTime) {
        if self.left_at_ms.is_some() || self.is_ended() {
            return;
        }
        let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.left_at_ms = Some(i64::try_from(since.as_millis()).unwrap_or(i64::MAX));
        let moves_away = self.assignor == Some(Assignor::IncrCoop);
        self.say_drained(!moves_away || self.generation.is_none());
        if moves_away {
            self.rejoin_by(now);
        }
    }

    /// After [`Member::drain`]: says so once, when nothing is left, or nothing can be done.
    fn say_drained(&mut self, anyway: bool) {
        let is_drained = self.left_at_ms.is_some() && (anyway || self.owned.is_empty());
        if is_drained && !self.said_drained {
            self.said_drained = true;
            self.events.push_back(GroupEvent::Drained);
        }
    }

    /// Leaves the group; `Left` follows. The partitions should be drained before.
    pub fn leave(&mut self, now: Instant) {
        if self.is_ended() || matches!(self.state, State::Leaving { .. }) {
            return;
        }
        // A member whose first JoinGroup is under way may be in the group already.
        match self.member_id.is_empty() {
            false => self.state = State::Leaving { until: now + LEAVE_TIMEOUT, asked: false },
            true => self.left(),
        }
    }

    fn contact(&mut self, at: Instant) {
        self.last_contact = Some(self.last_contact.map_or(at, |before| before.max(at)));
        self.patience.answered(at);
        self.backoff = BACKOFF_MIN;
    }

    fn next_backoff(&mut self) -> Duration {
        let backoff = self.backoff;
        self.backoff = (backoff * 2).min(BACKOFF_MAX);
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        // Between half and all of it.
        let percent = u32::try_from(50 + self.random % 51).unwrap_or(100);
        backoff * percent / 100
    }

    fn joined(
        &mut self,
        now: Instant,
        generation_id: i32,
        member_id: String,
        leader: bool,
        protocol: &str,
        members: BTreeMap<String, Result<Subscription, String>>,
    ) {
        let Some(assignor) = Assignor::from_name(protocol) else {
            return self.fail(&format!("the coordinator chose `{protocol}`, which is not offered"));
        };
        if !self.owned.is_empty() {
            let eager = (!assignor.is_cooperative()).then(|| {
                format!(
                    "the group fell back to the eager assignor `{protocol}`, which gives our \
                     partitions to others without asking"
                )
            });
            let missed = self.missed(generation_id, assignor).filter(|_| eager.is_none());
            if missed.is_some() {
                self.forfeited.clone_from(&self.owned);
            }
            if let Some(reason) = eager.or(missed) {
                self.lose(&reason);
            }
        }
        self.joined_in = generation_id;
        self.assignor = Some(assignor);
        self.generation = Some(Generation {
            group_id: Arc::from(self.config.group_id.as_str()),
            member_id: Arc::from(member_id.as_str()),
            generation_id,
            instance_id: self.config.instance_id.as_deref().map(Arc::from),
        });
        let resumed = self.resumed();
        let begun = |generation| GroupEvent::Begun { generation, resumed };
        self.events.extend(self.generation.clone().map(begun));
        self.member_id = member_id;
        self.planned = None;
        self.counts.is_leader = leader;
        if !leader {
            self.state = State::Syncing { assignments: BTreeMap::new(), asked: false };
            return;
        }
        let mut readable = BTreeMap::new();
        let mut unreadable = BTreeSet::new();
        for (id, subscription) in members {
            match subscription {
                Ok(subscription) => drop(readable.insert(id, subscription)),
                Err(reason) => {
                    tracing::warn!(member = id, reason, "unreadable subscription: no partitions");
                    unreadable.insert(id);
                }
            }
        }
        self.state = State::Counting { members: readable, unreadable, from: now, asked: false };
    }

    fn refused(&mut self, now: Instant, code: i16, member_id: Option<String>) {
        let name = crate::client::wire::error_name(code);
        tracing::debug!(group = self.config.group_id, code, name, "refused by the coordinator");
        match action(code) {
            Action::FindCoordinator | Action::Retry if self.has_waited_too_long(now, &name) => {}
            Action::Denied(hint) => self.access_refused(now, &name, hint),
            Action::Rejoin => {
                self.confirmed();
                self.join_again(now);
            }
            Action::Lost => {
                self.lose(&name);
                self.join_again(now);
            }
            Action::LostMember => {
                self.lose(&name);
                self.member_id.clear();
                self.join_again(now);
            }
            Action::TakeMemberId => {
                let is_first = self.member_id.is_empty();
                self.member_id = member_id.unwrap_or_default();
                let wait = if is_first { Duration::ZERO } else { self.next_backoff() };
                self.state = State::Rejoin { from: now + wait };
            }
            Action::FindCoordinator => self.find_coordinator(now),
            Action::Retry => self.retry(now),
            Action::Fail(hint) => self.fail(&format!("{name}: {hint}")),
        }
    }

    /// A JoinGroup that is refused again and again is not repeated without a pause.
    fn join_again(&mut self, now: Instant) {
        match &self.state {
            State::Stable { .. } => {
                self.rest(now);
                self.called = true;
                self.rejoin_by(now);
                if self.generation.is_none() {
                    self.state = State::Rejoin { from: now };
                }
            }
            State::Joining { .. } => {
                let from = now + self.next_backoff();
                self.state = State::Rejoin { from };
            }
            _ => {
                self.called = true;
                self.state = State::Rejoin { from: now };
            }
        }
    }

    fn retry(&mut self, now: Instant) {
        let from = now + self.next_backoff();
        self.state = match &mut self.state {
            State::Stable { held, .. } => {
                State::Stable { heartbeat_at: from, asked: false, held: held.take() }
            }
            State::Finding { resume } => State::Unjoined { from, resume: *resume },
            State::Counting { members, unreadable, .. } => State::Counting {
                members: std::mem::take(members),
                unreadable: std::mem::take(unreadable),
                from,
                asked: false,
            },
            _ => State::Rejoin { from },
        };
    }

    fn fail(&mut self, reason: &str) {
        let reason = format!("group `{}`: {reason}", self.config.group_id);
        if matches!(self.state, State::Joining { patience: Some(_) }) {
            self.says_waiting();
        }
        self.state = State::Failed;
        self.events.push_back(GroupEvent::Failed { reason });
    }

    fn lose(&mut self, reason: &str) {
        self.owned.clear();
        self.revoking.clear();
        self.outgoing.clear();
        self.released.clear();
        self.closing.clear();
        self.assigned_in.clear();
        self.confirmations.clear();
        self.gave_up = false;
        self.confirmed = -1;
        self.assignor = None;
        if self.generation.take().is_some() {
            self.events.push_back(GroupEvent::Lost { reason: reason.to_owned() });
        }
        self.say_drained(false);
    }

    fn left(&mut self) {
        self.state = State::Left;
        self.generation = None;
        self.owned.clear();
        self.revoking.clear();
        self.released.clear();
        self.events.push_back(GroupEvent::Left);
    }

    /// Checks what must always hold; the tests call it after each step.
    ///
    /// # Panics
    /// If something doesn't.
    pub fn check_invariants(&self) {
        assert!(self.revoking.is_subset(&self.owned), "what is given up is owned until then");
        assert!(self.released.is_subset(&self.owned), "what is released is owned until it is not");
        assert!(self.closing.is_disjoint(&self.released), "what is closing does not stand still");
        assert!(self.released.is_disjoint(&self.revoking), "given up, or released");
        if self.generation.is_none() {
            assert!(self.owned.is_empty(), "GRP-1: nothing is owned without a generation");
        }
        if matches!(self.state, State::Stable { .. } | State::Syncing { .. }) {
            assert!(self.generation.is_some(), "a stable member has a generation");
        }
    }
}

#[cfg(test)]
mod missed_tests;
#[cfg(test)]
mod release_tests;
#[cfg(test)]
mod tests;
