//! How fast heartbeats come, and so how soon the others hear of a rebalance.
//!
//! They come fast after a rebalance, and slower by and by: what is given up is given on in another
//! one that follows at once, and the moved partition stands still until all have heard. If the plan
//! says that one has been given up, they don't get slower for a second. If it says that one is to
//! move soon, they stay so fast for ten seconds that commits can be held until all have heard. All
//! members go by the same rule, so each knows what the others do.

use std::time::{Duration, Instant};

/// The first heartbeat after a rebalance.
const HEARTBEAT_FIRST: Duration = Duration::from_millis(2);
/// A generation's age by the time to its next heartbeat.
const HEARTBEATS_BY_AGE: u32 = 8;
/// While partitions move, for each member: the coordinator gets no more from many.
const HEARTBEAT_BY_MEMBERS: Duration = Duration::from_micros(500);
/// So long it is believed that one that was given up is given on.
const MOVE_MAX: Duration = Duration::from_secs(1);
/// So long it is believed that one is about to move.
const PREPARE_MAX: Duration = Duration::from_secs(10);
/// Commits are held for others that hear of a rebalance within this time, and no longer.
const HEAR_SOON: Duration = Duration::from_millis(4);
/// So long those have to join. They have heard long before; one that does not come is not waited
/// for, and a commit that is refused costs about as much.
const OTHERS_MAX: Duration = Duration::from_millis(100);
/// A JoinGroup that takes longer than two heartbeats, within these bounds, waits for others.
pub(super) const JOIN_PATIENCE_MIN: Duration = Duration::from_millis(2);
const JOIN_PATIENCE_MAX: Duration = Duration::from_millis(20);

/// What a generation's plan says of moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moving {
    /// Nothing moves, or it is not known.
    Nothing,
    /// Some member prepares for a partition.
    Soon,
    /// A partition was given up, and is given on in the next generation.
    Now,
}

/// A generation, as far as it says how fast its heartbeats come.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    interval: Duration,
    /// When its assignment came.
    settled_at: Instant,
    /// How many members it began with; none if the plan does not say.
    members: u32,
    moving: Moving,
    /// What the last heartbeat took.
    round_trip: Duration,
}

impl Pace {
    /// No generation yet; `interval` is the longest time between heartbeats.
    pub(super) const fn new(now: Instant, interval: Duration) -> Self {
        Self {
            interval,
            settled_at: now,
            members: 0,
            moving: Moving::Nothing,
            round_trip: JOIN_PATIENCE_MAX,
        }
    }

    /// A heartbeat took so long.
    pub(super) const fn measured(&mut self, round_trip: Duration) {
        self.round_trip = round_trip;
    }

    /// A generation's assignment came.
    pub(super) const fn settled(&mut self, now: Instant) {
        self.settled_at = now;
    }

    /// What its plan says; no members if that is not known.
    pub(super) const fn planned(&mut self, members: u32, moving: Moving) {
        (self.members, self.moving) = (members, moving);
    }

    /// The time from one heartbeat to the next, of any member.
    pub(super) fn rest(&self, now: Instant) -> Duration {
        let age = now - self.settled_at;
        let by_members = HEARTBEAT_BY_MEMBERS * self.members;
        let longest = match self.moving {
            Moving::Now if age < MOVE_MAX => by_members.max(HEARTBEAT_FIRST),
            Moving::Soon if age < PREPARE_MAX => by_members.max(HEAR_SOON),
            _ => Duration::MAX,
        };
        let longest = longest.min(self.interval);
        (age / HEARTBEATS_BY_AGE).clamp(HEARTBEAT_FIRST.min(longest), longest)
    }

    /// Whether there are others.
    pub(super) const fn has_others(&self) -> bool {
        self.members > 1
    }

    /// Whether they hear so soon that commits can be held until then.
    pub(super) fn others_hear_soon(&self, now: Instant) -> bool {
        self.rest(now) <= HEAR_SOON
    }

    /// A JoinGroup that takes longer than this waits for somebody who does not come soon.
    pub(super) fn join_patience(&self, now: Instant) -> Duration {
        let others = match self.others_hear_soon(now) {
            true => self.rest(now) + OTHERS_MAX,
            false => Duration::ZERO,
        };
        (2 * self.round_trip).clamp(JOIN_PATIENCE_MIN, JOIN_PATIENCE_MAX) + others
    }
}
