//! How far a store has been read from its changelog.

use std::time::{Duration, Instant, SystemTime};

/// The time between two reports of a restore.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// A time, by both clocks: the monotonic one stands still while a machine is suspended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// By the monotonic clock.
    pub now: Instant,
    /// By the wall clock.
    pub wall: SystemTime,
}

impl Moment {
    /// The time since `earlier`, by the clock that counts more.
    pub fn since(self, earlier: Self) -> Duration {
        let monotonic = self.now.saturating_duration_since(earlier.now);
        monotonic.max(self.wall.duration_since(earlier.wall).unwrap_or_default())
    }
}

/// When a store was known to have all that its changelog had.
///
/// The broker removes a tombstone `delete.retention.ms` after it was written. A reader that has the
/// row and comes later does not learn that the row is gone. So a store that was not whole for a
/// good part of that time is read again from the beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Freshness {
    /// Everything that was there at this time has been read.
    whole_at: Moment,
    /// The changelog's end at `target_at`: it is read next.
    target: i64,
    target_at: Moment,
}

impl Freshness {
    const fn new(at: Moment, target: i64) -> Self {
        Self { whole_at: at, target, target_at: at }
    }

    /// A record was read; `end` tells where the changelog ends by now.
    fn read_to(&mut self, at: Moment, position: i64, end: impl FnOnce() -> Option<i64>) {
        if position >= self.target {
            self.whole_at = self.target_at;
            (self.target, self.target_at) = (end().unwrap_or(position).max(position), at);
        }
    }
}

/// A restore from the changelog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restore {
    /// The changelog's first offset.
    low: i64,
    /// Up to here, exclusive; everything before is decided.
    end: i64,
    /// One past the last offset that was read.
    position: i64,
    records: u64,
    bytes: u64,
    started: Instant,
    reported_at: Instant,
    fresh: Freshness,
    /// Whether it has begun again from the first offset.
    is_again: bool,
}

/// How far a restore is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RestoreProgress {
    /// Records applied.
    pub records: u64,
    /// Their keys, values and headers.
    pub bytes: u64,
    /// Records a second.
    pub rate: f64,
    /// Offsets still to go: no more records than that.
    pub remaining: i64,
}

impl Restore {
    /// A restore of the records from `start` to `end`; `None` if there are none.
    pub fn new(at: Moment, start: i64, end: i64) -> Option<Self> {
        (start < end).then(|| Self::begin(at, start, end))
    }

    const fn begin(at: Moment, start: i64, end: i64) -> Self {
        Self {
            low: start,
            end,
            position: start,
            records: 0,
            bytes: 0,
            started: at.now,
            reported_at: at.now,
            fresh: Freshness::new(at, end),
            is_again: false,
        }
    }

    /// The same restore, from the first offset; `None` if it has begun again before.
    pub fn again(&self, at: Moment) -> Option<Self> {
        let again = Self { is_again: true, ..Self::begin(at, self.low, self.end) };
        (!self.is_again).then_some(again)
    }

    /// Whether everything up to its end was applied.
    pub const fn is_done(&self) -> bool {
        self.position >= self.end
    }

    /// Where to read from.
    pub const fn position(&self) -> i64 {
        self.position
    }

    /// Where it ends.
    pub const fn end(&self) -> i64 {
        self.end
    }

    /// A record was applied. Returns whether it was the last one.
    pub const fn applied(&mut self, offset: i64, bytes: usize) -> bool {
        self.records += 1;
        self.bytes += bytes as u64;
        self.position = offset + 1;
        self.is_done()
    }

    /// The end of the partition was reached at `offset`: no record is before it that was not read.
    /// Returns whether that is the restore's end.
    ///
    /// A replica that lags behind, or has just become the leader, ends before the restore does.
    pub fn reached(&mut self, offset: i64) -> bool {
        self.position = self.position.max(offset);
        self.is_done()
    }

    /// How many were applied.
    pub const fn records(&self) -> u64 {
        self.records
    }

    /// For how long the store has not been whole.
    pub fn age(&self, at: Moment) -> Duration {
        at.since(self.fresh.whole_at)
    }

    /// How far it is, if a report is due.
    pub fn report(&mut self, now: Instant) -> Option<RestoreProgress> {
        let due = now.saturating_duration_since(self.reported_at) >= PROGRESS_EVERY;
        due.then(|| {
            self.reported_at = now;
            self.progress(now)
        })
    }

    /// Returns the time since the start, and the records and bytes applied.
    pub fn totals(&self, now: Instant) -> (Duration, u64, u64) {
        (now.saturating_duration_since(self.started), self.records, self.bytes)
    }

    /// How far it is.
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    pub fn progress(&self, now: Instant) -> RestoreProgress {
        let seconds = now.saturating_duration_since(self.started).as_secs_f64().max(1e-3);
        RestoreProgress {
            records: self.records,
            bytes: self.bytes,
            rate: self.records as f64 / seconds,
            remaining: (self.end - self.position).max(0),
        }
    }
}

/// A warm copy is ready when it lags by fewer changelog offsets: about a transaction's.
pub const WARM_LAG_MAX: i64 = 1_000;

/// A copy of another member's store, which follows the changelog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WarmCopy {
    restore: Restore,
    /// Everything that was there has been applied.
    at_end: bool,
    /// It was said to be ready.
    ready: bool,
    paused: bool,
    /// When the changelog's end was asked for last.
    asked: Option<Moment>,
}

impl WarmCopy {
    /// A copy that reads from `start`; `end` is the changelog's end by now.
    pub const fn new(at: Moment, start: i64, end: i64) -> Self {
        let at_end = start >= end;
        let restore = Restore::begin(at, start, end);
        Self { restore, at_end, ready: false, paused: false, asked: None }
    }

    /// Where to read on.
    pub const fn position(&self) -> i64 {
        self.restore.position()
    }

    /// How many records were applied.
    pub const fn records(&self) -> u64 {
        self.restore.records()
    }

    /// A record was applied; `end` tells where the changelog ends by now.
    pub fn applied(
        &mut self,
        at: Moment,
        offset: i64,
        bytes: usize,
        end: impl FnOnce() -> Option<i64>,
    ) {
        self.at_end = false;
        self.restore.applied(offset, bytes);
        self.restore.fresh.read_to(at, self.restore.position, end);
    }

    /// The end was reached at `offset`, as far as transactions are decided.
    pub fn reached_end(&mut self, at: Moment, offset: i64) {
        self.at_end = true;
        self.restore.reached(offset);
        self.restore.fresh = Freshness::new(at, self.restore.position);
        self.asked = None;
    }

    /// For how long the copy has not been whole.
    pub fn age(&self, at: Moment) -> Duration {
        self.restore.age(at)
    }

    /// Whether to ask for the changelog's end now, because no fetch has told it for half of the
    /// time that a copy may be without it: an end is told once, and no more while nothing is
    /// written.
    pub fn asks_for_end(&mut self, at: Moment, age_max: Duration) -> bool {
        let is_old = !self.paused && self.age(at) >= age_max / 2;
        let asks = is_old && self.asked.is_none_or(|asked| at.since(asked) >= age_max / 8);
        if asks {
            self.asked = Some(at);
        }
        asks
    }

    /// So many changelog offsets are missing at most, if the changelog ends at `end`.
    pub fn lag(&self, end: Option<i64>) -> i64 {
        if self.at_end {
            return 0;
        }
        let end = end.map_or(self.restore.end, |end| end.max(self.restore.end));
        (end - self.restore.position).max(0)
    }

    /// Whether it has just become ready: that is said once. However little there is to read, some
    /// of it has been: one that can't be made shows it before its owner is asked to give it up.
    pub fn becomes_ready(&mut self, end: Option<i64>) -> bool {
        let has_read = self.at_end || self.restore.records > 0;
        let becomes = !self.ready && has_read && self.lag(end) < WARM_LAG_MAX;
        self.ready |= becomes;
        becomes
    }

    /// Whether to pause (`Some(true)`) or to resume (`Some(false)`) its fetch now: while a
    /// partition of ours is restored, a copy that is far behind waits. One that is ready has little
    /// to read.
    pub fn flow(&mut self, restoring: bool) -> Option<bool> {
        let pause = restoring && !self.ready;
        (std::mem::replace(&mut self.paused, pause) != pause).then_some(pause)
    }

    /// The partition is ours, and its changelog goes from `low` to `end`: what is still to be
    /// restored.
    pub const fn take(&self, at: Moment, (low, end): (i64, i64)) -> Restore {
        let Restore { position, records, bytes, fresh, .. } = self.restore;
        Restore { low, records, bytes, fresh, ..Restore::begin(at, position, end) }
    }
}
