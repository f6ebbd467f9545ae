//! What a worker runs at the moment: for the watch that finds a stuck worker, and for the report of
//! a panic.
//!
//! A worker writes its pulse before and after it calls the application's code. The control thread
//! reads the pulse a few times within `max_poll_interval`: a worker whose beat has not changed for
//! that long is stuck. The watch counts its own looks instead of reading a clock alone: a process
//! that was stopped (SIGSTOP) or suspended finds a long time between two looks, and no worker could
//! beat in that time.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::error::{CodePlace, SourceError, UserCode};
use crate::record::TopicPartition;

/// An offset that no record has: the code is not called for a record.
const NO_OFFSET: i64 = -1;

/// How often the watch looks within the bound.
const LOOKS: u32 = 10;
const LOOK_MIN: Duration = Duration::from_millis(10);
const LOOK_MAX: Duration = Duration::from_secs(1);

/// A worker's pulse, as its watch reads it.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    /// Grows with each step, and with each call of the application's code.
    beat: AtomicU64,
    /// The worker sleeps until something comes, or it has ended.
    rests: AtomicBool,
    /// The worker is in the application's code: that of `place`, for the record at `offset`.
    is_inside: AtomicBool,
    offset: AtomicI64,
    place: Mutex<Option<Place>>,
}

/// The part of a worker's place that seldom changes from one call to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    code: UserCode,
    partition: TopicPartition,
    name: String,
}

impl Pulse {
    /// The application's code that the worker is in, if it is in any.
    pub(crate) fn inside(&self) -> Option<CodePlace> {
        if !self.is_inside.load(Ordering::Acquire) {
            return None;
        }
        let place = self.place.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        let offset = self.offset.load(Ordering::Relaxed);
        let Place { code, partition, name } = place;
        Some(CodePlace { code, partition, offset: (offset != NO_OFFSET).then_some(offset), name })
    }
}

/// The worker's own end of its pulse: only the worker writes it.
#[derive(Debug)]
pub(crate) struct PulseWriter {
    shared: Arc<Pulse>,
    beat: u64,
    /// What `shared` says: a lock for each event would cost more than the comparison.
    place: Option<Place>,
}

impl PulseWriter {
    pub(crate) const fn new(shared: Arc<Pulse>) -> Self {
        Self { shared, beat: 0, place: None }
    }

    /// The worker begins a step, or continues it.
    pub(crate) fn beat(&mut self) {
        self.beat += 1;
        self.shared.beat.store(self.beat, Ordering::Release);
    }

    /// The worker sleeps, or has ended: its beat need not advance.
    pub(crate) fn rest(&self, rests: bool) {
        self.shared.rests.store(rests, Ordering::Release);
    }

    /// The application's code is called next.
    pub(crate) fn enter(
        &mut self,
        code: UserCode,
        partition: &TopicPartition,
        offset: Option<i64>,
        name: &str,
    ) {
        let is_known = self.place.as_ref().is_some_and(|place| {
            place.code == code && place.partition == *partition && place.name == name
        });
        if !is_known {
            set(&mut self.place, code, partition, name);
            let mut shared = self.shared.place.lock().unwrap_or_else(PoisonError::into_inner);
            set(&mut shared, code, partition, name);
        }
        self.shared.offset.store(offset.unwrap_or(NO_OFFSET), Ordering::Relaxed);
        self.shared.is_inside.store(true, Ordering::Release);
        self.beat();
    }

    /// The application's code has returned, or panicked.
    pub(crate) fn leave(&self) {
        self.shared.is_inside.store(false, Ordering::Release);
    }

    /// Runs a piece of the application's code, which may panic.
    pub(crate) fn guard<T>(
        &mut self,
        code: UserCode,
        partition: &TopicPartition,
        offset: Option<i64>,
        name: &str,
        run: impl FnOnce() -> T,
    ) -> Result<T, SourceError> {
        self.enter(code, partition, offset, name);
        let done = catch_unwind(AssertUnwindSafe(run));
        self.leave();
        done.map_err(|panic| {
            let at = CodePlace { offset, ..CodePlace::new(code, partition, name) };
            SourceError::CodePanicked { at, message: panic_text(&*panic) }
        })
    }
}

/// Record types alternate: their names share one allocation.
fn set(place: &mut Option<Place>, code: UserCode, partition: &TopicPartition, name: &str) {
    match place {
        Some(place) => {
            (place.code, place.partition) = (code, partition.clone());
            place.name.clear();
            place.name.push_str(name);
        }
        None => {
            *place = Some(Place { code, partition: partition.clone(), name: name.to_owned() });
        }
    }
}

/// Returns the text of a panic, if it has one.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "no message".to_owned())
}

/// Finds workers whose beat does not advance.
#[derive(Debug)]
pub(crate) struct Watch {
    bound: Duration,
    looked_at: Instant,
    seen: Vec<Seen>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    beat: u64,
    still_for: Duration,
}

impl Watch {
    pub(crate) fn new(now: Instant, bound: Duration, workers: usize) -> Self {
        Self { bound, looked_at: now, seen: vec![Seen::default(); workers] }
    }

    /// The time between two looks.
    pub(crate) fn every(&self) -> Duration {
        (self.bound / LOOKS).clamp(LOOK_MIN, LOOK_MAX)
    }

    /// Looks at the workers' pulses. Returns those that have just been found stuck, each with the
    /// time for which its beat has not changed.
    pub(crate) fn look<'p>(
        &mut self,
        now: Instant,
        pulses: impl Iterator<Item = &'p Pulse>,
    ) -> Vec<(usize, Duration)> {
        // A process that was stopped itself has watched no worker meanwhile.
        let watched = now.saturating_duration_since(self.looked_at).min(self.every() * 2);
        self.looked_at = now;
        let bound = self.bound;
        let look = |(worker, (seen, pulse)): (usize, (&mut Seen, &Pulse))| {
            let beat = pulse.beat.load(Ordering::Acquire);
            if beat != seen.beat || pulse.rests.load(Ordering::Acquire) {
                *seen = Seen { beat, still_for: Duration::ZERO };
                return None;
            }
            let before = seen.still_for;
            seen.still_for += watched;
            (before < bound && seen.still_for >= bound).then_some((worker, seen.still_for))
        };
        self.seen.iter_mut().zip(pulses).enumerate().filter_map(look).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: Duration = Duration::from_secs(10);

    fn place() -> CodePlace {
        CodePlace {
            code: UserCode::Handler,
            partition: TopicPartition::new("in", 3),
            offset: Some(42),
            name: "Add".to_owned(),
        }
    }

    fn look_for(watch: &mut Watch, pulse: &Pulse, now: &mut Instant, time: Duration) -> usize {
        let mut found = 0;
        let until = *now + time;
        while *now < until {
            *now += watch.every();
            found += watch.look(*now, std::iter::once(pulse)).len();
        }
        found
    }

    #[test]
    fn s4_a_worker_without_a_beat_is_found_once_and_its_place_is_known() {
        let (mut now, pulse) = (Instant::now(), Arc::new(Pulse::default()));
        let mut watch = Watch::new(now, BOUND, 1);
        let mut writer = PulseWriter::new(Arc::clone(&pulse));
        let CodePlace { code, partition, offset, name } = place();
        writer.enter(code, &partition, offset, &name);
        assert_eq!(look_for(&mut watch, &pulse, &mut now, BOUND), 0);
        assert_eq!(look_for(&mut watch, &pulse, &mut now, BOUND), 1, "once");
        assert_eq!(pulse.inside(), Some(place()));
        writer.leave();
        assert_eq!(pulse.inside(), None);
    }

    #[test]
    fn s4_a_worker_that_beats_or_rests_is_not_stuck() {
        let (mut now, pulse) = (Instant::now(), Arc::new(Pulse::default()));
        let mut watch = Watch::new(now, BOUND, 1);
        let mut writer = PulseWriter::new(Arc::clone(&pulse));
        for _ in 0..5 {
            writer.beat();
            assert_eq!(look_for(&mut watch, &pulse, &mut now, BOUND * 9 / 10), 0);
        }
        writer.rest(true);
        assert_eq!(look_for(&mut watch, &pulse, &mut now, BOUND * 3), 0, "it sleeps");
    }

    #[test]
    fn s4_a_process_that_stood_still_has_no_stuck_worker() {
        let (now, pulse) = (Instant::now(), Pulse::default());
        let mut watch = Watch::new(now, BOUND, 1);
        assert!(watch.look(now + BOUND * 100, std::iter::once(&pulse)).is_empty());
    }

    #[test]
    fn c9_a_panic_has_its_place_and_its_text() {
        let mut writer = PulseWriter::new(Arc::default());
        let CodePlace { code, partition, offset, name } = place();
        let boom = || panic!("boom {}", 7);
        let failed = writer.guard(code, &partition, offset, &name, boom).map(|(): ()| ());
        let text = failed.map_err(|error| error.to_string());
        let expected = "the handler of record in-3@42 (type `Add`) panicked: boom 7";
        assert!(text.as_ref().is_err_and(|text| text.contains(expected)), "{text:?}");
    }
}
