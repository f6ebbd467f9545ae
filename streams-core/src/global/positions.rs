//! Where each partition of a global changelog stands. Pure: time is an argument.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::error::{ACCESS_REFUSED_MAX, Cause};

/// How long the brokers may say that the topic does not exist: a broker that has just started may
/// not know it yet.
const MISSING_MAX: Duration = Duration::from_secs(10);
/// How often in a row a fetch may fail although its offset is in the log.
const FETCH_FAILURES_MAX: u32 = 10;
const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// An instruction for the fetcher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fetch {
    /// Fetch the partition from this offset on; whatever was fetched of it before does not count.
    Begin { partition: i32, offset: i64 },
    /// Fetch the partition no more.
    End { partition: i32 },
}

/// A partition whose log does not hold the offset that the reader needs next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OutOfRange {
    pub(super) partition: i32,
    pub(super) position: i64,
    pub(super) low: i64,
    pub(super) high: i64,
}

/// What a look-up tells of a failed fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Fetch again.
    Again(Fetch),
    /// The log does not hold the offset.
    OutOfRange(OutOfRange),
    /// The fetch has failed too often, for no reason that a look-up finds.
    Failed(String),
}

#[derive(Clone, Debug)]
struct Position {
    /// The offset that the reader needs next.
    next: i64,
    /// The end of the committed records, by the last look-up or fetch.
    end: i64,
    /// The end that the reader has to reach to have caught up.
    target: i64,
    paused: bool,
    /// Whether a record was received since the last instruction to begin.
    has_received: bool,
    /// The error of the last fetch, until a look-up has judged it.
    failed: Option<String>,
    failures: u32,
}

impl Position {
    const fn new(start: i64, end: i64, paused: bool) -> Self {
        let target = if end > start { end } else { start };
        Self {
            next: start,
            end: target,
            target,
            paused,
            has_received: false,
            failed: None,
            failures: 0,
        }
    }
}

/// The ends of all partitions at one time.
#[derive(Clone, Debug)]
struct Mark {
    asked_at: Instant,
    ends: BTreeMap<i32, i64>,
}

/// Whether a reader may have missed tombstones.
///
/// The broker removes a tombstone `delete.retention.ms` after it was written. A reader that has the
/// row and comes later does not learn that the row is gone. So a reader that was not whole for a
/// good part of that time begins again.
#[derive(Clone, Copy, Debug)]
struct Tombstones {
    /// For how long the reader may lack the topic's end; `None` if no tombstone matters.
    behind_max: Option<Duration>,
    /// All that was committed before this time was received, or is read from the first record.
    fresh_at: Instant,
    missed: bool,
    /// Whether the reader has begun again, and was not whole since.
    is_again: bool,
}

/// What to do about tombstones that a reader may have missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missed {
    /// None was missed.
    Nothing,
    /// Read all records again.
    BeginAgain,
    /// The reader has begun again already, and took too long once more.
    TooSlow(Duration),
}

/// The partitions of one topic, as one reader has received them.
#[derive(Debug)]
pub(super) struct Positions {
    partitions: BTreeMap<i32, Position>,
    /// Whether all partitions are paused, those included that are added later.
    all_paused: bool,
    /// The ends that are to be reached next.
    mark: Option<Mark>,
    /// Every record that was committed before this time was received.
    whole_at: Option<Instant>,
    tombstones: Tombstones,
}

impl Positions {
    /// A reader that begins now. `behind_max` is the time for which it may lack the topic's end
    /// without missing a tombstone.
    pub(super) const fn new(now: Instant, behind_max: Option<Duration>) -> Self {
        let tombstones = Tombstones { behind_max, fresh_at: now, missed: false, is_again: false };
        let partitions = BTreeMap::new();
        Self { partitions, all_paused: false, mark: None, whole_at: None, tombstones }
    }

    /// Adds a partition that is read from `start` on and ends at `end` now.
    pub(super) fn add(&mut self, partition: i32, start: i64, end: i64) -> Option<Fetch> {
        let paused = self.all_paused;
        self.partitions.insert(partition, Position::new(start, end, paused));
        (!paused).then_some(Fetch::Begin { partition, offset: start })
    }

    /// Returns true if the receiver gets this record, and counts it.
    pub(super) fn take_record(&mut self, partition: i32, offset: i64) -> bool {
        let Some(position) = self.partitions.get_mut(&partition) else {
            return false;
        };
        if position.paused || offset < position.next {
            return false;
        }
        position.next = offset + 1;
        position.end = position.end.max(offset + 1);
        position.has_received = true;
        position.failures = 0;
        true
    }

    /// The fetcher has reached the end of the partition: no committed record before it is missing.
    pub(super) fn end_reached(&mut self, partition: i32, offset: i64) {
        if let Some(position) = self.partitions.get_mut(&partition).filter(|of| !of.paused) {
            position.next = position.next.max(offset);
            position.end = position.end.max(offset);
            position.failures = 0;
        }
    }

    /// A look-up that was asked at `asked_at` has found these ends.
    pub(super) fn checked(&mut self, asked_at: Instant, ends: &BTreeMap<i32, i64>) {
        for (partition, end) in ends {
            if let Some(position) = self.partitions.get_mut(partition) {
                position.end = position.next.max(*end);
            }
        }
        // An older mark stays: under a constant load each new one would be reached a little later.
        self.mark.get_or_insert_with(|| Mark { asked_at, ends: ends.clone() });
        self.settle(asked_at);
    }

    /// Notes whether the mark is reached; to be called after each round of records.
    pub(super) fn settle(&mut self, now: Instant) {
        let reached = |(partition, end): (&i32, &i64)| {
            self.partitions.get(partition).is_some_and(|position| position.next >= *end)
        };
        if let Some(mark) = &self.mark
            && mark.ends.iter().all(reached)
        {
            let tombstones = &mut self.tombstones;
            let behind = now.saturating_duration_since(tombstones.fresh_at);
            tombstones.missed |= tombstones.behind_max.is_some_and(|max| behind > max);
            tombstones.fresh_at = mark.asked_at;
            if !tombstones.missed {
                self.whole_at = Some(mark.asked_at);
                tombstones.is_again = false;
            }
            self.mark = None;
        }
    }

    /// Says what to do about tombstones that the reader may have missed.
    pub(super) fn missed(&self) -> Missed {
        match (self.tombstones.missed, self.tombstones.is_again, self.tombstones.behind_max) {
            (true, true, Some(max)) => Missed::TooSlow(max),
            (true, ..) => Missed::BeginAgain,
            (false, ..) => Missed::Nothing,
        }
    }

    /// The receiver does not care for tombstones that it may have missed.
    pub(super) fn ignore_missed(&mut self) {
        self.tombstones.missed = false;
        self.tombstones.behind_max = None;
        self.whole_at = Some(self.tombstones.fresh_at);
    }

    /// Reads all partitions again, from their first offsets.
    pub(super) fn begin_again(&mut self, now: Instant, lows: &BTreeMap<i32, i64>) -> Vec<Fetch> {
        let tombstones = &mut self.tombstones;
        (tombstones.missed, tombstones.is_again, tombstones.fresh_at) = (false, true, now);
        self.mark = None;
        let mut fetches = Vec::new();
        for (partition, low) in lows {
            if let Some(position) = self.partitions.get_mut(partition) {
                position.next = *low;
                position.target = position.end.max(*low);
                if !position.paused {
                    fetches.push(Self::begin(*partition, position));
                }
            }
        }
        fetches
    }

    /// Returns true if the reader has received all that the topic had when it began to read, and
    /// all that a resumed or an added partition had.
    pub(super) fn is_caught_up(&self) -> bool {
        self.partitions.values().all(|position| position.next >= position.target)
    }

    /// Every record that was committed before this time was received; `None` before the first time
    /// that this is known.
    pub(super) const fn whole_at(&self) -> Option<Instant> {
        self.whole_at
    }

    /// How many offsets each partition is behind its end.
    pub(super) fn lags(&self) -> BTreeMap<i32, i64> {
        let lag = |position: &Position| position.end - position.next;
        self.partitions.iter().map(|(partition, position)| (*partition, lag(position))).collect()
    }

    /// The next offset of each partition.
    pub(super) fn nexts(&self) -> BTreeMap<i32, i64> {
        self.partitions.iter().map(|(partition, position)| (*partition, position.next)).collect()
    }

    /// The paused partitions.
    pub(super) fn paused(&self) -> Vec<i32> {
        let paused = self.partitions.iter().filter(|(_, position)| position.paused);
        paused.map(|(partition, _)| *partition).collect()
    }

    /// The number of partitions: they are numbered from 0.
    pub(super) fn count(&self) -> i32 {
        i32::try_from(self.partitions.len()).unwrap_or(i32::MAX)
    }

    /// Returns true if the topic has this partition.
    pub(super) fn has(&self, partition: i32) -> bool {
        self.partitions.contains_key(&partition)
    }

    /// Pauses a partition.
    pub(super) fn pause(&mut self, partition: i32) -> Option<Fetch> {
        let position = self.partitions.get_mut(&partition).filter(|position| !position.paused)?;
        position.paused = true;
        position.failed = None;
        Some(Fetch::End { partition })
    }

    /// Pauses all partitions, those included that are added later.
    pub(super) fn pause_all(&mut self) -> Vec<Fetch> {
        self.all_paused = true;
        let partitions: Vec<i32> = self.partitions.keys().copied().collect();
        partitions.into_iter().filter_map(|partition| self.pause(partition)).collect()
    }

    /// Resumes a partition where it was paused.
    pub(super) fn resume(&mut self, partition: i32) -> Option<Fetch> {
        let position = self.partitions.get_mut(&partition).filter(|position| position.paused)?;
        position.paused = false;
        position.target = position.end;
        Some(Self::begin(partition, position))
    }

    /// Resumes all partitions.
    pub(super) fn resume_all(&mut self) -> Vec<Fetch> {
        self.all_paused = false;
        let partitions: Vec<i32> = self.partitions.keys().copied().collect();
        partitions.into_iter().filter_map(|partition| self.resume(partition)).collect()
    }

    /// Reads a partition from `offset` on, paused before or not. Records that were received before
    /// are received again.
    pub(super) fn resume_at(&mut self, partition: i32, offset: i64) -> Option<Fetch> {
        let position = self.partitions.get_mut(&partition)?;
        position.paused = false;
        position.next = offset;
        position.target = position.end;
        Some(Self::begin(partition, position))
    }

    fn begin(partition: i32, position: &mut Position) -> Fetch {
        (position.has_received, position.failed) = (false, None);
        Fetch::Begin { partition, offset: position.next }
    }

    /// A fetch has failed. Returns true if a look-up has to judge it.
    pub(super) fn fetch_failed(&mut self, partition: Option<i32>, reason: &str) -> bool {
        let mut counts = false;
        for (number, position) in &mut self.partitions {
            if !position.paused && partition.is_none_or(|partition| partition == *number) {
                position.failed = Some(reason.to_owned());
                counts = true;
            }
        }
        counts
    }

    /// Returns true if a failed fetch has not been judged.
    pub(super) fn has_failed(&self) -> bool {
        self.partitions.values().any(|position| position.failed.is_some())
    }

    /// Judges the failed fetches by the first offsets and the ends of the logs.
    pub(super) fn judge(
        &mut self,
        lows: &BTreeMap<i32, i64>,
        ends: &BTreeMap<i32, i64>,
    ) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        for (partition, position) in &mut self.partitions {
            let (Some(low), Some(high)) = (lows.get(partition), ends.get(partition)) else {
                continue;
            };
            let Some(reason) = position.failed.take() else {
                continue;
            };
            position.failures += 1;
            let (partition, low, high) = (*partition, *low, *high);
            let verdict = if (low..=high).contains(&position.next) {
                match position.failures > FETCH_FAILURES_MAX {
                    true => Verdict::Failed(reason),
                    false => Verdict::Again(Self::begin(partition, position)),
                }
            } else {
                let position = position.next;
                Verdict::OutOfRange(OutOfRange { partition, position, low, high })
            };
            verdicts.push(verdict);
        }
        verdicts
    }

    /// Continues a partition at an offset behind records that are not there any more.
    pub(super) fn skip_to(&mut self, partition: i32, offset: i64) -> Option<Fetch> {
        let position = self.partitions.get_mut(&partition)?;
        position.next = offset;
        position.end = position.end.max(offset);
        Some(Self::begin(partition, position))
    }
}

/// How long a reader puts up with look-ups that fail.
#[derive(Debug, Default)]
pub(super) struct Patience {
    failures: u32,
    refused_since: Option<Instant>,
    missing_since: Option<Instant>,
}

impl Patience {
    /// A look-up has succeeded. Returns true if the one before had failed.
    pub(super) fn succeeded(&mut self) -> bool {
        std::mem::take(self).failures > 0
    }

    /// A look-up has failed. Returns the time until the next one; `None` if no further one helps.
    pub(super) fn failed(&mut self, now: Instant, cause: Cause) -> Option<Duration> {
        let refused = self.refused_since.take();
        if cause == Cause::Access {
            let since = *self.refused_since.insert(refused.unwrap_or(now));
            if now.saturating_duration_since(since) >= ACCESS_REFUSED_MAX {
                return None;
            }
        }
        (cause != Cause::Transaction).then(|| self.back_off())
    }

    /// The brokers do not know the topic. Returns the time until the next look-up; `None` if the
    /// topic is gone.
    pub(super) fn missing(&mut self, now: Instant) -> Option<Duration> {
        let since = *self.missing_since.get_or_insert(now);
        (now.saturating_duration_since(since) < MISSING_MAX).then(|| self.back_off())
    }

    fn back_off(&mut self) -> Duration {
        let backoff = BACKOFF_MIN.saturating_mul(1 << self.failures.min(10));
        self.failures += 1;
        backoff.min(BACKOFF_MAX)
    }
}
