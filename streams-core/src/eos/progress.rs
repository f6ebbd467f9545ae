//! How far a partition is: what is delivered, what is done, and what may be committed.
//!
//! Events complete in any order, and the offset that Kafka keeps is one number. So the offset is
//! one past the highest *contiguously* completed event (EOS-3), and the events that are done beyond
//! it travel in the metadata of the offset commit. A replay from that offset skips them: their
//! outputs are committed already.
//!
//! A broker refuses metadata above a limit (`offset.metadata.max.bytes`), and the refusal would
//! stop the source. So a partition takes another event only if its metadata stays below the limit
//! whichever of its events are done by then.

use std::collections::VecDeque;

use super::schedule::{Schedule, ScheduleKey, base36};

/// The form of the metadata. Another one is another consumer's, and says nothing to us.
const METADATA_PREFIX: &str = "s1:";
/// What stands before runs in today's form. A member that knows the former form alone refuses it.
const DELTAS_PREFIX: char = '.';
/// What stands before the transaction's tag.
const TAG_PREFIX: char = '#';
/// What stands before the schedule, behind the tag, where members that know the former form alone
/// look at nothing.
const SCHEDULE_PREFIX: char = '@';
/// What stands before the changelog topic's tag, in the transaction's tag.
pub const CHANGELOG_PREFIX: char = '~';
/// The longest tag of a transaction: three numbers of 64 bits, two dots, the changelog's tag.
const TAG_BYTES_MAX: usize = 16 + 1 + 16 + 1 + 20 + 1 + 8;
/// The metadata without runs and without the entries of a schedule.
const FRAME_BYTES_MAX: usize = METADATA_PREFIX.len() + 3 + TAG_BYTES_MAX;
/// What one more event takes in the metadata at most: a distance in base 36, and a comma.
const EVENT_BYTES_MAX: usize = 13 + 1;

/// How many events may be delivered and held back by an incomplete one, by default.
pub const IN_FLIGHT_EVENTS_MAX: usize = 1_000;
/// The highest setting of that limit.
pub const IN_FLIGHT_EVENTS_LIMIT: usize = 100_000;
/// How many done events metadata may list: as many as a member writes. A foreign hand's metadata
/// could ask for gigabytes otherwise.
const DONE_EVENTS_MAX: i64 = IN_FLIGHT_EVENTS_LIMIT as i64;
/// How much of metadata that can't be read an error shows.
const SHOWN_MAX: usize = 80;

/// The bytes of metadata with so many scheduled interjections, and without events.
pub const fn metadata_bytes_min(interjections: usize) -> usize {
    FRAME_BYTES_MAX + Schedule::bytes_max(interjections) + EVENT_BYTES_MAX
}

/// What a partition has committed, or would commit now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// One past the highest contiguously completed event.
    pub offset: i64,
    /// The offsets beyond it whose events are done, ascending.
    pub done: Vec<i64>,
    /// When the scheduled interjections run next.
    pub schedule: Schedule,
}

impl Snapshot {
    /// Everything before `offset` is done, nothing after it.
    pub const fn at(offset: i64) -> Self {
        Self { offset, done: Vec::new(), schedule: Schedule::EMPTY }
    }

    /// The metadata that goes with the offset: `s1:.1-2,4#tag@key=time`.
    ///
    /// - Runs of done events, in base 36: the distance from the end of the run before, or from the
    ///   offset, and by how many events a run is longer than one. Here these are the events at 1,
    ///   2, 3 and 7 beyond the offset.
    /// - A tag of the transaction: after a lost reply it tells whether this very commit happened,
    ///   also where the offset did not move. It ends with a tag of the changelog topic.
    /// - The schedule of the interjections, if there are any.
    pub fn metadata(&self, tag: &str) -> String {
        let mut text = String::from(METADATA_PREFIX);
        let mut end = self.offset;
        for run in self.done.chunk_by(|a, b| a + 1 == *b) {
            text.push(if end == self.offset { DELTAS_PREFIX } else { ',' });
            let last = run[run.len() - 1];
            base36(&mut text, run[0].abs_diff(end));
            if last > run[0] {
                text.push('-');
                base36(&mut text, last.abs_diff(run[0]));
            }
            end = last;
        }
        text.push(TAG_PREFIX);
        text.push_str(tag);
        if !self.schedule.is_empty() {
            text.push(SCHEDULE_PREFIX);
            self.schedule.write(&mut text);
        }
        text
    }

    /// Reads what [`Snapshot::metadata`] wrote, and the former form `s1:1-3,7#tag`, whose runs are
    /// decimal distances from the offset. Metadata of another form is another consumer's, and means
    /// that nothing is done beyond `offset`.
    ///
    /// # Errors
    /// If it begins as ours does and can't be read, or lists more events than a member writes.
    pub fn parse(offset: i64, metadata: &str) -> Result<Self, String> {
        let Some(text) = metadata.strip_prefix(METADATA_PREFIX) else {
            return Ok(Self::at(offset));
        };
        let (runs, tail) = text.split_once(TAG_PREFIX).unwrap_or((text, ""));
        let schedule = tail.split_once(SCHEDULE_PREFIX).map_or("", |(_, schedule)| schedule);
        let read = || {
            let done = match runs.strip_prefix(DELTAS_PREFIX) {
                Some(deltas) => read_runs(offset, deltas, Runs::Deltas)?,
                None => read_runs(offset, runs, Runs::Distances)?,
            };
            Ok(Self { offset, done, schedule: Schedule::parse(schedule)? })
        };
        read().map_err(|reason: String| {
            let shown: String = metadata.chars().take(SHOWN_MAX).collect();
            format!("{reason} (the metadata begins with `{shown}`)")
        })
    }
}

/// A form of runs of done events.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Runs {
    /// In base 36: from the end of the run before, and the length beyond one.
    Deltas,
    /// In decimals: first and last, from the offset.
    Distances,
}

fn read_runs(offset: i64, runs: &str, form: Runs) -> Result<Vec<i64>, String> {
    let mut done: Vec<i64> = Vec::new();
    for run in runs.split(',').filter(|_| !runs.is_empty() || form == Runs::Deltas) {
        let end = done.last().copied().unwrap_or(offset);
        let (first, last) = read_run(offset, end, run, form)
            .filter(|(first, last)| first <= last && *last < i64::MAX)
            // Earlier versions could list the event at the offset itself.
            .filter(|(first, _)| {
                end < *first || (end == *first && done.is_empty() && form == Runs::Deltas)
            })
            .ok_or_else(|| format!("`{run}` is no run of events that are done"))?;
        let listed = i64::try_from(done.len()).unwrap_or(i64::MAX);
        if last - first >= DONE_EVENTS_MAX - listed {
            return Err(format!(
                "`{run}` lists more events than the {DONE_EVENTS_MAX} of a member"
            ));
        }
        done.extend(first..=last);
    }
    Ok(done)
}

fn read_run(offset: i64, end: i64, run: &str, form: Runs) -> Option<(i64, i64)> {
    match form {
        Runs::Deltas => {
            let (first, more) = run.split_once('-').unwrap_or((run, "0"));
            let first = end.checked_add(i64::from_str_radix(first, 36).ok()?)?;
            Some((first, first.checked_add(i64::from_str_radix(more, 36).ok()?)?))
        }
        Runs::Distances => {
            let (first, last) = run.split_once('-').unwrap_or((run, run));
            let first = offset.checked_add(first.parse().ok()?)?;
            Some((first, offset.checked_add(last.parse().ok()?)?))
        }
    }
}

/// Returns true if a source of this framework has written the metadata, and no tool or other
/// client.
pub fn is_ours(metadata: &str) -> bool {
    metadata.starts_with(METADATA_PREFIX)
}

/// The changelog's tag in metadata of our form: it is the end of the transaction's tag.
pub fn changelog_tag(metadata: &str) -> Option<&str> {
    let (_, tail) = metadata.strip_prefix(METADATA_PREFIX)?.split_once(TAG_PREFIX)?;
    let tag = tail.split(SCHEDULE_PREFIX).next().unwrap_or(tail);
    tag.split_once(CHANGELOG_PREFIX).map(|(_, changelog)| changelog)
}

/// What to do with a record that was fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Process it.
    Run,
    /// Its event was done before a restart or an abort: its effects are committed.
    AlreadyDone,
    /// It was delivered before: a fetch that an earlier position asked for.
    Stale,
}

/// How many more events a partition takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// At least half of it is free: a paused fetch resumes.
    Wide,
    /// It takes events.
    Narrow,
    /// It takes none: too many events are held back by an incomplete one.
    Full,
}

/// An event, and what it takes in the metadata at most.
#[derive(Clone, Copy, Debug)]
struct Place {
    offset: i64,
    bytes: usize,
}

impl Place {
    /// The event at `offset`, the next one after an event at `end` or the position `end`.
    const fn after(end: i64, offset: i64) -> Self {
        let (mut rest, mut bytes) = (offset.saturating_sub(end), 2);
        while rest >= 36 {
            rest /= 36;
            bytes += 1;
        }
        Self { offset, bytes }
    }
}

#[derive(Clone, Copy, Debug)]
struct InFlight {
    place: Place,
    done: bool,
}

/// How far a partition is.
#[derive(Clone, Debug)]
pub struct Progress {
    /// One past the highest contiguously completed event.
    next: i64,
    /// Delivered from `next` on, ascending; the first one is not done.
    in_flight: VecDeque<InFlight>,
    /// Done before a restart or an abort and not delivered again yet, ascending.
    skip: VecDeque<Place>,
    /// What the events of `in_flight` and `skip` take in the metadata at most, whichever of them
    /// are done.
    bytes: usize,
    /// When the scheduled interjections run next.
    schedule: Schedule,
}

impl Progress {
    /// Goes on from what was committed.
    pub fn new(committed: &Snapshot) -> Self {
        let mut end = committed.offset;
        let place = |offset: &i64| Place::after(std::mem::replace(&mut end, *offset), *offset);
        let skip: VecDeque<Place> = committed.done.iter().map(place).collect();
        Self {
            next: committed.offset,
            in_flight: VecDeque::new(),
            bytes: skip.iter().map(|done| done.bytes).sum(),
            skip,
            schedule: committed.schedule.clone(),
        }
    }

    /// One past the last delivered event, as far as is known: where to fetch from after a rewind.
    pub fn position(&self) -> i64 {
        self.in_flight.back().map_or(self.next, |last| last.place.offset + 1)
    }

    /// How many events are delivered and not done.
    pub fn incomplete(&self) -> usize {
        self.in_flight.iter().filter(|event| !event.done).count()
    }

    /// How many are delivered and held back by the first that is not done.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// How many more events it takes, if `events_max` may be in flight and the metadata may have
    /// `bytes_max` bytes.
    ///
    /// However few those are, one event at a time can be in flight: it needs none.
    pub fn window(&self, events_max: usize, bytes_max: usize) -> Window {
        let events = self.in_flight.len();
        let frame = FRAME_BYTES_MAX + Schedule::bytes_max(self.schedule.len());
        let free = bytes_max.saturating_sub(frame);
        let is_full = events >= events_max || self.bytes + EVENT_BYTES_MAX > free;
        let is_wide = events <= events_max / 2 && self.bytes <= free / 2;
        match events {
            0 => Window::Wide,
            _ if is_full => Window::Full,
            _ if is_wide => Window::Wide,
            _ => Window::Narrow,
        }
    }

    /// Sets when a scheduled interjection runs next.
    pub fn set_due(&mut self, key: ScheduleKey, at_ms: i64) {
        self.schedule.set(key, at_ms);
    }

    /// Removes a scheduled interjection.
    pub fn remove_due(&mut self, key: ScheduleKey) {
        let _ = self.schedule.remove(key);
    }

    /// A record at `offset` was fetched.
    pub fn deliver(&mut self, offset: i64) -> Delivery {
        if offset < self.position() {
            return Delivery::Stale;
        }
        while let Some(gone) = self.skip.pop_front_if(|done| done.offset < offset) {
            // Compaction or retention took the record away since it was done.
            self.bytes -= gone.bytes;
        }
        let place = Place::after(self.position() - 1, offset);
        let done = self.skip.pop_front_if(|done| done.offset == offset);
        self.bytes += place.bytes;
        self.in_flight.push_back(InFlight { place, done: done.is_some() });
        if let Some(done) = done {
            self.bytes -= done.bytes;
            self.advance();
            return Delivery::AlreadyDone;
        }
        Delivery::Run
    }

    /// The event at `offset` is done. `false` if it is not in flight.
    pub fn complete(&mut self, offset: i64) -> bool {
        let Ok(place) = self.in_flight.binary_search_by_key(&offset, |event| event.place.offset)
        else {
            return false;
        };
        let event = &mut self.in_flight[place];
        if event.done {
            return false;
        }
        event.done = true;
        self.advance();
        true
    }

    fn advance(&mut self) {
        while self.in_flight.front().is_some_and(|event| event.done) {
            if let Some(InFlight { place, .. }) = self.in_flight.pop_front() {
                debug_assert!(place.offset >= self.next, "EOS-3: the offset never goes back");
                self.next = place.offset + 1;
                self.bytes -= place.bytes;
            }
        }
        // The fetch may not have delivered them again yet: what is done next to the offset is not
        // beyond it.
        while self.in_flight.is_empty()
            && let Some(done) = self.skip.pop_front_if(|done| done.offset == self.next)
        {
            self.next = done.offset + 1;
            self.bytes -= done.bytes;
        }
    }

    /// What may be committed now.
    pub fn snapshot(&self) -> Snapshot {
        let done = self.in_flight.iter().filter(|event| event.done).map(|event| event.place);
        let done = done.chain(self.skip.iter().copied()).map(|place| place.offset).collect();
        Snapshot { offset: self.next, done, schedule: self.schedule.clone() }
    }

    /// Everything since `committed` is undone, and will be delivered again.
    pub fn rewind(&mut self, committed: &Snapshot) {
        *self = Self::new(committed);
    }
}

#[cfg(test)]
mod tests;
