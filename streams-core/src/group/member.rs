//! The member's machine: join, sync, heartbeat, leave, and what each error means.
//!
//! ```text
//!  Unjoined -> Finding -> Joining -> (leader: Counting ->) Syncing -> Stable <-> heartbeat
//!      ^          ^          ^                                 |         |
//!      |          |          +------- rebalance, revoked ------+---------+
//!      +----------+------------------ errors, by the table `action` -----+
//!  any -> Leaving -> Left          any -> Failed
//! ```
//!
//! One request is in flight at a time: [`Member::poll_request`] gives it,
//! [`Member::handle_reply`] takes what came back. `now` never goes back.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::assignor::{self, STICKY, Subscription};
use super::{
    Generation, GroupConfig, GroupEvent, GroupReply, GroupRequest, JoinRequest, Partitions,
};

const BACKOFF_MIN: Duration = Duration::from_millis(20);
const BACKOFF_MAX: Duration = Duration::from_secs(1);
/// So long a leaving member waits for its coordinator.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(3);

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// No coordinator; one is looked for from then on.
    Unjoined {
        from: Instant,
    },
    Finding,
    /// JoinGroup is to be sent from then on.
    Rejoin {
        from: Instant,
    },
    Joining,
    /// The leader asks how many partitions there are.
    Counting {
        protocol: String,
        members: BTreeMap<String, Subscription>,
        asked: bool,
    },
    Syncing {
        protocol: String,
        assignments: BTreeMap<String, Partitions>,
        asked: bool,
    },
    Stable {
        heartbeat_at: Instant,
        asked: bool,
    },
    Leaving {
        until: Instant,
        asked: bool,
    },
    Left,
    Failed,
}

/// What an error of the coordinator asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Rejoin,
    /// The group went on without us.
    Lost,
    /// The same, and our member id is gone.
    LostMember,
    TakeMemberId,
    FindCoordinator,
    Retry,
    Fail(&'static str),
}

/// What each of the coordinator's errors does.
const fn action(code: i16) -> Action {
    match code {
        // REBALANCE_IN_PROGRESS: the others are joining already; our partitions stay ours.
        27 => Action::Rejoin,
        // ILLEGAL_GENERATION: there was a generation without us, so others may have our partitions.
        22 => Action::Lost,
        // UNKNOWN_MEMBER_ID: our session ended.
        25 => Action::LostMember,
        // MEMBER_ID_REQUIRED (KIP-394): join again with the id in the reply.
        79 => Action::TakeMemberId,
        // COORDINATOR_NOT_AVAILABLE, NOT_COORDINATOR: it moved.
        15 | 16 => Action::FindCoordinator,
        // COORDINATOR_LOAD_IN_PROGRESS: it has just become the coordinator.
        14 => Action::Retry,
        // FENCED_INSTANCE_ID (KIP-345)
        82 => Action::Fail("another process runs under the same instance id: give each its own"),
        // GROUP_AUTHORIZATION_FAILED
        30 => Action::Fail("the group may not be joined: grant READ on it"),
        // TOPIC_AUTHORIZATION_FAILED
        29 => Action::Fail("the topic may not be described: grant DESCRIBE and READ on it"),
        // INCONSISTENT_GROUP_PROTOCOL
        23 => Action::Fail(
            "the group's other members use other assignors: is the group another application's?",
        ),
        // INVALID_SESSION_TIMEOUT
        26 => Action::Fail(
            "the broker does not allow this `session_timeout`: it must lie between its \
             group.min.session.timeout.ms and group.max.session.timeout.ms",
        ),
        // GROUP_MAX_SIZE_REACHED
        81 => Action::Fail("the group is full: raise the broker's group.max.size"),
        // INVALID_GROUP_ID
        24 => Action::Fail("the group's name is not valid"),
        // Everything else is the broker's trouble.
        _ => Action::Retry,
    }
}

/// A member of a group.
#[derive(Debug)]
pub struct Member {
    config: GroupConfig,
    state: State,
    member_id: String,
    generation: Option<Generation>,
    /// Ours, the revoked included until they are acknowledged.
    owned: Partitions,
    /// Being given up.
    revoking: Partitions,
    last_contact: Option<Instant>,
    backoff: Duration,
    random: u64,
    events: VecDeque<GroupEvent>,
}

impl Member {
    /// A member that has not joined yet.
    pub fn new(now: Instant, config: GroupConfig) -> Self {
        let random = config.seed | 1;
        Self {
            config,
            state: State::Unjoined { from: now },
            member_id: String::new(),
            generation: None,
            owned: Partitions::new(),
            revoking: Partitions::new(),
            last_contact: None,
            backoff: BACKOFF_MIN,
            random,
            events: VecDeque::new(),
        }
    }

    /// The request to send now, if one is due and none is in flight.
    pub fn poll_request(&mut self, now: Instant) -> Option<GroupRequest> {
        let standing = || self.generation.clone();
        match &mut self.state {
            State::Unjoined { from } if now >= *from => {
                self.state = State::Finding;
                Some(GroupRequest::FindCoordinator { group_id: self.config.group_id.clone() })
            }
            State::Rejoin { from } if now >= *from => {
                self.state = State::Joining;
                if self.generation.is_some() {
                    self.events.push_back(GroupEvent::Rejoining);
                }
                Some(GroupRequest::Join(Box::new(self.join_request())))
            }
            State::Counting { members, asked, .. } if !*asked => {
                *asked = true;
                let topics = members.values().flat_map(|m| m.topics.iter().cloned()).collect();
                Some(GroupRequest::Partitions { topics })
            }
            State::Syncing { protocol, assignments, asked } if !*asked => {
                *asked = true;
                let (protocol, assignments) = (protocol.clone(), std::mem::take(assignments));
                Some(GroupRequest::Sync { standing: standing()?, protocol, assignments })
            }
            State::Stable { heartbeat_at, asked } if !*asked && now >= *heartbeat_at => {
                *asked = true;
                Some(GroupRequest::Heartbeat { standing: standing()? })
            }
            State::Leaving { asked, .. } if !*asked => {
                *asked = true;
                Some(GroupRequest::Leave { standing: standing()? })
            }
            _ => None,
        }
    }

    /// What the group says, in order.
    pub fn poll_event(&mut self) -> Option<GroupEvent> {
        self.events.pop_front()
    }

    /// When to call [`Member::handle_timeout`] and [`Member::poll_request`] at the latest.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let request = match &self.state {
            State::Unjoined { from } | State::Rejoin { from } => Some(*from),
            State::Stable { heartbeat_at, asked: false } => Some(*heartbeat_at),
            State::Leaving { until, .. } => Some(*until),
            _ => None,
        };
        request.into_iter().chain(self.session_end()).min()
    }

    /// Whether the machine has come to its end.
    pub const fn is_ended(&self) -> bool {
        matches!(self.state, State::Left | State::Failed)
    }

    /// When the coordinator will have taken our partitions away, if it does not hear of us.
    fn session_end(&self) -> Option<Instant> {
        let waits = matches!(
            self.state,
            State::Unjoined { .. } | State::Finding | State::Rejoin { .. } | State::Stable { .. }
        );
        let contact = self.last_contact.filter(|_| waits && self.generation.is_some())?;
        Some(contact + self.config.session_timeout)
    }

    /// Looks at the clock.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.session_end().is_some_and(|end| now >= end) {
            let timeout = self.config.session_timeout;
            self.lose(format!("the coordinator was not reached for {timeout:?}"));
            self.member_id.clear();
            if matches!(self.state, State::Stable { .. } | State::Rejoin { .. }) {
                self.state = State::Unjoined { from: now };
            }
        }
        if matches!(self.state, State::Leaving { until, .. } if now >= until) {
            self.left();
        }
    }

    /// The reply to the request in flight, or the connection's error.
    pub fn handle_reply(&mut self, now: Instant, reply: Result<GroupReply, String>) {
        if self.is_ended() {
            return;
        }
        if let State::Leaving { .. } = self.state {
            return self.left();
        }
        match reply {
            Err(reason) => {
                tracing::debug!(group = self.config.group_id, reason, "no reply");
                let from = now + self.next_backoff();
                self.state = State::Unjoined { from };
            }
            Ok(GroupReply::Refused { code }) => self.refused(now, code, None),
            Ok(GroupReply::Coordinator) => self.state = State::Rejoin { from: now },
            Ok(GroupReply::Joined {
                code: 0,
                generation,
                member_id,
                leader,
                protocol,
                members,
            }) => {
                self.contact(now);
                self.joined(generation, member_id, leader, protocol, members);
            }
            Ok(GroupReply::Joined { code, member_id, .. }) => {
                self.refused(now, code, Some(member_id));
            }
            Ok(GroupReply::Partitions { partitions }) => self.counted(&partitions),
            Ok(GroupReply::Synced { code: 0, partitions }) => {
                self.contact(now);
                self.synced(now, partitions);
            }
            Ok(GroupReply::Heartbeat { code: 0 }) => {
                self.contact(now);
                self.rest(now);
            }
            Ok(GroupReply::Heartbeat { code } | GroupReply::Synced { code, .. }) => {
                self.refused(now, code, None);
            }
            Ok(GroupReply::Left { .. }) => self.left(),
        }
    }

    /// The revoked partitions are drained: nothing of them is in an open transaction (EOS-6). Now
    /// they can be given to others, in the next generation.
    pub fn acknowledge_revoked(&mut self, now: Instant, partitions: &Partitions) {
        let before = self.revoking.len();
        self.revoking.retain(|partition| !partitions.contains(partition));
        self.owned.retain(|partition| !partitions.contains(partition));
        let done = before > 0 && self.revoking.is_empty();
        if done && matches!(self.state, State::Stable { asked: false, .. }) {
            self.state = State::Rejoin { from: now };
        }
    }

    /// These warm copies have caught up.
    pub fn warmed(&mut self, _now: Instant, _partitions: &Partitions) {}

    /// These copies can't be made here.
    pub fn warm_failed(&mut self, _now: Instant, _partitions: &Partitions, _reason: &str) {}

    /// Begins to give all partitions away, to members that are warm; `Drained` follows. The
    /// members that began earlier come first.
    pub fn drain(&mut self, _now: Instant, _at: SystemTime) {
        self.events.push_back(GroupEvent::Drained);
    }

    /// Leaves the group; `Left` follows. The partitions should be drained before.
    pub fn leave(&mut self, now: Instant) {
        if self.is_ended() {
            return;
        }
        match &self.generation {
            Some(_) => {
                self.state = State::Leaving { until: now + LEAVE_TIMEOUT, asked: false };
            }
            None => self.left(),
        }
    }

    fn contact(&mut self, now: Instant) {
        self.last_contact = Some(now);
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

    fn rest(&mut self, now: Instant) {
        let heartbeat_at = now + self.config.heartbeat_interval;
        self.state = State::Stable { heartbeat_at, asked: false };
    }

    fn join_request(&self) -> JoinRequest {
        let generation = self.generation.as_ref().map_or(-1, |g| g.generation_id);
        JoinRequest {
            group_id: self.config.group_id.clone(),
            member_id: self.member_id.clone(),
            instance_id: self.config.instance_id.clone(),
            session_timeout: self.config.session_timeout,
            rebalance_timeout: self.config.rebalance_timeout,
            protocols: vec![STICKY.to_owned()],
            subscription: Subscription {
                topics: self.config.topics.clone(),
                owned: self.owned.clone(),
                generation,
                user_data: None,
            },
        }
    }

    fn joined(
        &mut self,
        generation_id: i32,
        member_id: String,
        leader: bool,
        protocol: String,
        members: BTreeMap<String, Result<Subscription, String>>,
    ) {
        self.generation = Some(Generation {
            group_id: Arc::from(self.config.group_id.as_str()),
            member_id: Arc::from(member_id.as_str()),
            generation_id,
            instance_id: self.config.instance_id.as_deref().map(Arc::from),
        });
        self.member_id = member_id;
        if !leader {
            let assignments = BTreeMap::new();
            self.state = State::Syncing { protocol, assignments, asked: false };
            return;
        }
        let mut readable = BTreeMap::new();
        for (id, subscription) in members {
            match subscription {
                Ok(subscription) => drop(readable.insert(id, subscription)),
                Err(reason) => tracing::warn!(member = id, reason, "unreadable subscription"),
            }
        }
        self.state = State::Counting { protocol, members: readable, asked: false };
    }

    fn counted(&mut self, partitions: &BTreeMap<String, i32>) {
        if let State::Counting { protocol, members, .. } = &mut self.state {
            let plan = assignor::assign(members, partitions);
            let protocol = std::mem::take(protocol);
            let assignments = plan.assigned;
            self.state = State::Syncing { protocol, assignments, asked: false };
        }
    }

    fn synced(&mut self, now: Instant, partitions: Partitions) {
        let Some(generation) = self.generation.clone() else {
            return;
        };
        let assigned: Partitions = partitions.difference(&self.owned).cloned().collect();
        let revoked: Partitions = self.owned.difference(&partitions).cloned().collect();
        // One that is being given up and comes back is given up all the same: its task is closing.
        let returning: Partitions = partitions.intersection(&self.revoking).cloned().collect();
        self.revoking = revoked.union(&returning).cloned().collect();
        self.owned.extend(partitions);
        let owned = self.owned.difference(&self.revoking).cloned().collect();
        let revoked = self.revoking.clone();
        self.rest(now);
        let warm = Partitions::new();
        self.events.push_back(GroupEvent::Joined { generation, assigned, revoked, owned, warm });
    }

    fn refused(&mut self, now: Instant, code: i16, member_id: Option<String>) {
        let name = crate::client::wire::error_name(code);
        tracing::debug!(group = self.config.group_id, code, name, "refused by the coordinator");
        match action(code) {
            Action::Rejoin => self.state = State::Rejoin { from: now },
            Action::Lost => {
                self.lose(name);
                self.state = State::Rejoin { from: now };
            }
            Action::LostMember => {
                self.lose(name);
                self.member_id.clear();
                self.state = State::Rejoin { from: now };
            }
            Action::TakeMemberId => {
                self.member_id = member_id.unwrap_or_default();
                self.state = State::Rejoin { from: now };
            }
            Action::FindCoordinator => {
                let from = now + self.next_backoff();
                self.state = State::Unjoined { from };
            }
            Action::Retry => {
                let from = now + self.next_backoff();
                self.state = match self.state {
                    State::Stable { .. } => State::Stable { heartbeat_at: from, asked: false },
                    State::Finding => State::Unjoined { from },
                    _ => State::Rejoin { from },
                };
            }
            Action::Fail(hint) => {
                let group = &self.config.group_id;
                let reason = format!("group `{group}`: {name}: {hint}");
                self.state = State::Failed;
                self.events.push_back(GroupEvent::Failed { reason });
            }
        }
    }

    fn lose(&mut self, reason: String) {
        self.owned.clear();
        self.revoking.clear();
        if self.generation.take().is_some() {
            self.events.push_back(GroupEvent::Lost { reason });
        }
    }

    fn left(&mut self) {
        self.state = State::Left;
        self.generation = None;
        self.events.push_back(GroupEvent::Left);
    }

    /// Checks what must always hold; the tests call it after each step.
    ///
    /// # Panics
    /// If something doesn't.
    pub fn check_invariants(&self) {
        assert!(self.revoking.is_subset(&self.owned), "what is given up is owned until then");
        if self.generation.is_none() {
            assert!(self.owned.is_empty(), "GRP-1: nothing is owned without a generation");
        }
        if matches!(self.state, State::Stable { .. } | State::Syncing { .. }) {
            assert!(self.generation.is_some(), "a stable member has a generation");
        }
    }
}

#[cfg(test)]
mod tests;
