//! How far a partition is: what is delivered, what is done, and what may be committed.
//!
//! Events complete in any order, and the offset that Kafka keeps is one number. So the offset is
//! one past the highest *contiguously* completed event (EOS-3), and the events that are done beyond
//! it travel in the metadata of the offset commit. A replay from that offset skips them: their
//! outputs are committed already.

use std::collections::VecDeque;
use std::fmt::Write;

/// The form of the metadata. Another one is another consumer's, and says nothing to us.
const METADATA_PREFIX: &str = "s1:";

/// What a partition has committed, or would commit now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// One past the highest contiguously completed event.
    pub offset: i64,
    /// The offsets beyond it whose events are done, ascending.
    pub done: Vec<i64>,
}

impl Snapshot {
    /// Everything before `offset` is done, nothing after it.
    pub const fn at(offset: i64) -> Self {
        Self { offset, done: Vec::new() }
    }

    /// The metadata that goes with the offset: `s1:1-3,7#tag`.
    ///
    /// Runs of distances from the offset (here the four events at 1, 2, 3 and 7 beyond it), and a
    /// tag of the transaction: after a lost reply it tells whether this very commit happened, also
    /// where the offset did not move.
    pub fn metadata(&self, tag: &str) -> String {
        let mut text = String::from(METADATA_PREFIX);
        for (place, run) in self.done.chunk_by(|a, b| a + 1 == *b).enumerate() {
            let comma = if place == 0 { "" } else { "," };
            let (first, last) = (run[0] - self.offset, run[run.len() - 1] - self.offset);
            let written = if first == last {
                write!(text, "{comma}{first}")
            } else {
                write!(text, "{comma}{first}-{last}")
            };
            written.expect("writing to a string can't fail");
        }
        text + "#" + tag
    }

    /// Reads what [`Snapshot::metadata`] wrote. Metadata of another form is another consumer's, and
    /// means that nothing is done beyond `offset`.
    ///
    /// # Errors
    /// If it begins as ours does and can't be read.
    pub fn parse(offset: i64, metadata: &str) -> Result<Self, String> {
        let Some(runs) = metadata.strip_prefix(METADATA_PREFIX) else {
            return Ok(Self::at(offset));
        };
        let runs = runs.split_once('#').map_or(runs, |(runs, _)| runs);
        let mut done = Vec::new();
        for run in runs.split(',').filter(|_| !runs.is_empty()) {
            let (first, last) = run.split_once('-').unwrap_or((run, run));
            let (first, last) = first
                .parse::<i64>()
                .ok()
                .zip(last.parse::<i64>().ok())
                .filter(|(first, last)| 0 < *first && first <= last && *last < i64::MAX / 2)
                .filter(|(first, last)| last - first < COMMIT_RUN_MAX)
                .ok_or_else(|| format!("`{run}` in the offset's metadata `{metadata}`"))?;
            if done.last().is_some_and(|end| *end >= offset.saturating_add(first)) {
                return Err(format!("`{run}` is out of order in `{metadata}`"));
            }
            done.extend((first..=last).map(|distance| offset.saturating_add(distance)));
        }
        Ok(Self { offset, done })
    }
}

/// The longest run that is believed: more events than could ever be in flight.
const COMMIT_RUN_MAX: i64 = 10_000_000;

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

#[derive(Clone, Copy, Debug)]
struct InFlight {
    offset: i64,
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
    skip: VecDeque<i64>,
}

impl Progress {
    /// Goes on from what was committed.
    pub fn new(committed: &Snapshot) -> Self {
        Self {
            next: committed.offset,
            in_flight: VecDeque::new(),
            skip: committed.done.iter().copied().collect(),
        }
    }

    /// One past the last delivered event, as far as is known: where to fetch from after a rewind.
    pub fn position(&self) -> i64 {
        self.in_flight.back().map_or(self.next, |last| last.offset + 1)
    }

    /// How many events are delivered and not done.
    pub fn incomplete(&self) -> usize {
        self.in_flight.iter().filter(|event| !event.done).count()
    }

    /// How many are delivered and held back by the first that is not done.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// A record at `offset` was fetched.
    pub fn deliver(&mut self, offset: i64) -> Delivery {
        if offset < self.position() {
            return Delivery::Stale;
        }
        while self.skip.front().is_some_and(|done| *done < offset) {
            // Compaction or retention took the record away since it was done.
            self.skip.pop_front();
        }
        let done = self.skip.front() == Some(&offset);
        self.in_flight.push_back(InFlight { offset, done });
        if done {
            self.skip.pop_front();
            self.advance();
            return Delivery::AlreadyDone;
        }
        Delivery::Run
    }

    /// The event at `offset` is done. `false` if it is not in flight.
    pub fn complete(&mut self, offset: i64) -> bool {
        let Ok(place) = self.in_flight.binary_search_by_key(&offset, |event| event.offset) else {
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
            if let Some(event) = self.in_flight.pop_front() {
                debug_assert!(event.offset >= self.next, "EOS-3: the offset never goes back");
                self.next = event.offset + 1;
            }
        }
    }

    /// What may be committed now.
    pub fn snapshot(&self) -> Snapshot {
        let done = self.in_flight.iter().filter(|event| event.done).map(|event| event.offset);
        Snapshot { offset: self.next, done: done.chain(self.skip.iter().copied()).collect() }
    }

    /// Everything since `committed` is undone, and will be delivered again.
    pub fn rewind(&mut self, committed: &Snapshot) {
        *self = Self::new(committed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivered(offsets: impl IntoIterator<Item = i64>) -> Progress {
        let mut progress = Progress::new(&Snapshot::at(0));
        for offset in offsets {
            assert_eq!(progress.deliver(offset), Delivery::Run);
        }
        progress
    }

    #[test]
    fn eos3_an_incomplete_event_holds_the_offset_back() {
        let mut progress = delivered(0..5);
        for offset in [0, 2, 3] {
            assert!(progress.complete(offset));
        }
        assert_eq!(progress.snapshot(), Snapshot { offset: 1, done: vec![2, 3] });
        assert!(progress.complete(1));
        assert_eq!(progress.snapshot(), Snapshot::at(4));
        assert!(!progress.complete(1), "once is enough");
    }

    #[test]
    fn eos3_gaps_in_the_log_do_not_hold_it() {
        let mut progress = delivered([0, 7, 100]);
        for offset in [100, 0] {
            progress.complete(offset);
        }
        assert_eq!(progress.snapshot(), Snapshot { offset: 1, done: vec![100] });
        progress.complete(7);
        assert_eq!(progress.snapshot(), Snapshot::at(101));
    }

    #[test]
    fn a_replay_skips_what_was_done_beyond_the_offset() {
        let mut progress = Progress::new(&Snapshot { offset: 1, done: vec![2, 4] });
        assert_eq!(progress.deliver(1), Delivery::Run);
        assert_eq!(progress.deliver(2), Delivery::AlreadyDone);
        assert_eq!(progress.deliver(2), Delivery::Stale);
        assert_eq!(progress.deliver(3), Delivery::Run);
        // 4 is not delivered again yet, and still committed as done.
        assert_eq!(progress.snapshot(), Snapshot { offset: 1, done: vec![2, 4] });
        progress.complete(1);
        assert_eq!(progress.snapshot(), Snapshot { offset: 3, done: vec![4] });
        assert_eq!(progress.deliver(4), Delivery::AlreadyDone);
        progress.complete(3);
        assert_eq!(progress.snapshot(), Snapshot::at(5));
    }

    #[test]
    fn metadata_round_trips_as_runs() {
        let cases =
            [(vec![], "s1:#x.1"), (vec![11], "s1:1#x.1"), (vec![12, 13, 14, 20], "s1:2-4,10#x.1")];
        for (done, text) in cases {
            let snapshot = Snapshot { offset: 10, done };
            assert_eq!(snapshot.metadata("x.1"), text);
            assert_eq!(Snapshot::parse(10, text), Ok(snapshot));
        }
    }

    #[test]
    fn foreign_metadata_means_nothing_and_broken_metadata_is_an_error() {
        assert_eq!(Snapshot::parse(5, "node-7 at 12:00"), Ok(Snapshot::at(5)));
        for broken in ["s1:,", "s1:x", "s1:0", "s1:3-2", "s1:4,3", "s1:1-99999999999"] {
            assert!(Snapshot::parse(5, broken).is_err(), "{broken}");
        }
    }
}
