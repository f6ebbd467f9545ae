//! One assigned partition: its store, its place, and whether it takes more.
//!
//! ```text
//!  assigned -> Restoring -> Active -> Closing -> gone
//!                ^ |           |         ^ |
//!         Warm --+ +-----------+---------+ |   revoked; lost ones are gone at once
//!           ^                              |
//!           +----------- Retired <---------+   if a copy of it is wanted
//! ```
//!
//! A warm one is another member's: its store follows the changelog. When the partition becomes ours
//! it goes on from there: only the last changelog records are missing. The other way round, a store
//! that is whole becomes a copy, which follows from where the next owner begins to write.
//!
//! The fetch is paused while too many events are held back by an incomplete one, and goes on when
//! half of them are done.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::time::{Duration, Instant, SystemTime};

use crate::eos::{IN_FLIGHT_EVENTS_MAX, PartitionId, Snapshot, Window};
use crate::handler::{EventContext, EventTicket, ExecutionState, Result as HandlerResult};
use crate::record::{Record, TopicPartition};
use crate::runtime::CommittedWith;
use crate::store::{EventSeq, StateStore};

/// The time between two reports of a restore.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// A restore from the changelog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restore {
    /// Up to here, exclusive; everything before is decided.
    end: i64,
    /// One past the last record that was applied.
    position: i64,
    records: u64,
    bytes: u64,
    started: Instant,
    reported_at: Instant,
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
    pub fn new(now: Instant, start: i64, end: i64) -> Option<Self> {
        (start < end).then(|| Self::begin(now, start, end))
    }

    const fn begin(now: Instant, start: i64, end: i64) -> Self {
        Self { end, position: start, records: 0, bytes: 0, started: now, reported_at: now }
    }

    /// Whether everything up to its end was applied.
    pub const fn is_done(&self) -> bool {
        self.position >= self.end
    }

    /// Where to read from.
    pub const fn position(&self) -> i64 {
        self.position
    }

    /// A record was applied. Returns whether it was the last one.
    pub const fn applied(&mut self, offset: i64, bytes: usize) -> bool {
        self.records += 1;
        self.bytes += bytes as u64;
        self.position = offset + 1;
        self.position >= self.end
    }

    /// How many were applied.
    pub const fn records(&self) -> u64 {
        self.records
    }

    /// How far it is, if a report is due.
    pub fn report(&mut self, now: Instant) -> Option<RestoreProgress> {
        let due = now.saturating_duration_since(self.reported_at) >= PROGRESS_EVERY;
        due.then(|| {
            self.reported_at = now;
            self.progress(now)
        })
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
}

impl WarmCopy {
    /// A copy that reads from `start`; `end` is the changelog's end by now.
    pub const fn new(now: Instant, start: i64, end: i64) -> Self {
        let at_end = start >= end;
        Self { restore: Restore::begin(now, start, end), at_end, ready: false, paused: false }
    }

    /// Where to read on.
    pub const fn position(&self) -> i64 {
        self.restore.position()
    }

    /// How many records were applied.
    pub const fn records(&self) -> u64 {
        self.restore.records()
    }

    /// A record was applied.
    pub const fn applied(&mut self, offset: i64, bytes: usize) {
        self.at_end = false;
        self.restore.applied(offset, bytes);
    }

    /// The end was reached, as far as transactions are decided.
    pub const fn reached_end(&mut self) {
        self.at_end = true;
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

    /// The partition is ours, and its changelog ends at `end`: what is still to be restored.
    pub const fn take(&self, now: Instant, end: i64) -> Restore {
        let Restore { position, records, bytes, .. } = self.restore;
        Restore { records, bytes, ..Restore::begin(now, position, end) }
    }
}

/// Where a task is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskState {
    /// Its store follows the changelog, and its events are another member's.
    Warm(WarmCopy),
    /// Its store is read from the changelog.
    Restoring(Restore),
    /// It processes events.
    Active,
    /// It was revoked, and finishes what has begun.
    Closing,
    /// It was revoked, nothing of it is in a transaction any more, and its store is to be a copy.
    Retired,
}

impl TaskState {
    /// Whether its store is a copy, or is to be one: it is nobody's task here.
    pub const fn is_copy(&self) -> bool {
        matches!(self, Self::Warm(_) | Self::Retired)
    }
}

/// How many interjections of a task may be incomplete at a time.
pub const INCOMPLETE_INTERJECTIONS_MAX: usize = IN_FLIGHT_EVENTS_MAX;

/// An incomplete event: it waits for its completers.
#[derive(Debug)]
pub struct Waiting {
    /// What the event is.
    pub input: Input,
    /// Whether it has had effects already.
    pub pinned: bool,
    /// How many of its completers have not completed yet.
    pub completers: usize,
}

/// What an event is.
#[derive(Clone, Debug)]
pub enum Input {
    /// A record.
    Record(Record),
    /// A scheduled interjection.
    Scheduled {
        /// Its place in the schedule.
        which: usize,
        /// When it runs again, in milliseconds since the Unix epoch.
        next_ms: i64,
    },
    /// An interjection that somebody asked for.
    Once,
}

impl Input {
    /// The record, if it is one.
    pub const fn record(&self) -> Option<&Record> {
        match self {
            Self::Record(record) => Some(record),
            Self::Scheduled { .. } | Self::Once => None,
        }
    }

    const fn scheduled(&self) -> Option<usize> {
        match self {
            Self::Scheduled { which, .. } => Some(*which),
            Self::Record(_) | Self::Once => None,
        }
    }
}

/// An interjection at any time, by `RunningSource::interject`.
pub type Interject<S> =
    Box<dyn FnMut(&mut EventContext<S>, SystemTime) -> HandlerResult<ExecutionState> + Send>;

/// An interjection that has effects or is incomplete, and is not committed: an abort runs it again.
struct Uncommitted<S: 'static> {
    run: Interject<S>,
    /// Its last step, once it is complete.
    last_step: Option<EventSeq>,
}

impl<S> fmt::Debug for Uncommitted<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Uncommitted").field("last_step", &self.last_step).finish_non_exhaustive()
    }
}

/// Whether the group knows the schedule of a task's interjections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ScheduleState {
    /// It travels with the commits that there are anyway.
    #[default]
    Known,
    /// The next owner would begin it anew: a transaction of its own is to commit it.
    Unknown,
    /// It is in a transaction.
    Committing,
}

/// The partition's first event, which commits the start position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Opening {
    /// It runs before any other event.
    Due,
    /// It has run, as this event, and is not committed.
    Sent(EventSeq),
    /// The group has committed an offset that belongs to the changelog.
    #[default]
    Done,
}

/// What the changelog had for the partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Changes of the store.
    pub records: u64,
    /// Whether there was the record of the partition's first event.
    pub opened: bool,
}

/// One assigned partition.
#[derive(Debug)]
pub struct Task<S: StateStore> {
    /// This assignment's number.
    pub id: PartitionId,
    /// Where it is.
    pub state: TaskState,
    /// Its store, and its way out.
    pub context: EventContext<S>,
    /// What was committed when it was assigned; `None` if nothing was.
    pub committed: Option<Snapshot>,
    /// The changelog topic that the committed offset belongs to.
    pub(crate) committed_with: CommittedWith,
    /// What its changelog had.
    pub restored: Restored,
    /// Its first event.
    pub opening: Opening,
    /// Where it starts.
    pub start: Snapshot,
    /// Fetched while it takes no more.
    pub backlog: VecDeque<Record>,
    /// Incomplete events, by the number of their first step.
    waiting: BTreeMap<EventSeq, Waiting>,
    /// How many of them are interjections.
    incomplete_interjections: usize,
    /// The scheduled interjections among those.
    incomplete_runs: BTreeSet<usize>,
    /// When each interjection runs next.
    pub interjections: Vec<Instant>,
    /// Whether the group knows that.
    pub schedule: ScheduleState,
    /// Interjections that ran once and are not committed, by their first steps.
    uncommitted: BTreeMap<EventSeq, Uncommitted<S>>,
    /// Whether its store is to be a copy when it is closed.
    pub retires: bool,
    /// Whether it begins nothing, because the group may give it to another member.
    pub suspended: bool,
    paused: bool,
}

impl<S: StateStore> Task<S> {
    /// A task that restores first, if there is something to restore.
    pub fn new(
        id: PartitionId,
        mut context: EventContext<S>,
        committed: Option<Snapshot>,
        start: Snapshot,
        restore: Option<Restore>,
    ) -> Self {
        context.set_assignment(id);
        Self {
            id,
            state: restore.map_or(TaskState::Active, TaskState::Restoring),
            context,
            committed,
            committed_with: CommittedWith::default(),
            restored: Restored::default(),
            opening: Opening::default(),
            start,
            backlog: VecDeque::new(),
            waiting: BTreeMap::new(),
            incomplete_interjections: 0,
            incomplete_runs: BTreeSet::new(),
            interjections: Vec::new(),
            schedule: ScheduleState::Known,
            uncommitted: BTreeMap::new(),
            retires: false,
            suspended: false,
            paused: false,
        }
    }

    /// The source's partition.
    pub const fn topic_partition(&self) -> &TopicPartition {
        self.context.topic_partition()
    }

    /// Whether it begins events and interjections, and ends those that wait for completers.
    pub const fn begins(&self) -> bool {
        matches!(self.state, TaskState::Active) && !self.suspended
    }

    /// Whether it takes another event.
    pub const fn takes_more(&self, window: Window) -> bool {
        self.begins() && !matches!(window, Window::Full)
    }

    /// Whether to pause (`Some(true)`) or to resume (`Some(false)`) the fetch now.
    pub fn flow(&mut self, window: Window) -> Option<bool> {
        let waits = self.suspended && self.backlog.len() >= IN_FLIGHT_EVENTS_MAX;
        let pause = !self.backlog.is_empty() && (window == Window::Full || waits);
        let resume = self.backlog.is_empty() && window == Window::Wide;
        match self.paused {
            false if pause => self.paused = true,
            true if resume => self.paused = false,
            _ => return None,
        }
        Some(self.paused)
    }

    /// The incomplete events that have had effects: they hold their transaction open.
    pub fn pinning(&self) -> impl Iterator<Item = &Input> {
        let pinning = self.waiting.values().filter(|waiting| waiting.pinned);
        pinning.map(|waiting| &waiting.input)
    }

    /// Takes the incomplete event that `ticket` belongs to, if there is one.
    pub fn take_waiting(&mut self, ticket: &EventTicket) -> Option<Waiting> {
        let waiting = self.waiting.get(&ticket.event)?;
        if waiting.input.record().map(Record::offset) != ticket.offset {
            return None;
        }
        let waiting = self.waiting.remove(&ticket.event)?;
        self.incomplete_interjections -= usize::from(waiting.input.record().is_none());
        if let Some(which) = waiting.input.scheduled() {
            self.incomplete_runs.remove(&which);
        }
        Some(waiting)
    }

    /// Keeps an incomplete event until a completion takes it.
    pub fn keep_waiting(&mut self, first_step: EventSeq, waiting: Waiting) {
        self.incomplete_interjections += usize::from(waiting.input.record().is_none());
        self.incomplete_runs.extend(waiting.input.scheduled());
        self.waiting.insert(first_step, waiting);
    }

    /// Keeps an interjection that ran once until its effects are committed: `last_step` is its last
    /// step, if it is complete.
    pub fn keep_uncommitted(
        &mut self,
        first_step: EventSeq,
        run: Interject<S>,
        last_step: Option<EventSeq>,
    ) {
        self.uncommitted.insert(first_step, Uncommitted { run, last_step });
    }

    /// An interjection that ran once is complete: `last_step` is `None` if it had no effects.
    pub fn completed_once(&mut self, first_step: EventSeq, last_step: Option<EventSeq>) {
        match (last_step, self.uncommitted.get_mut(&first_step)) {
            (Some(_), Some(known)) => known.last_step = last_step,
            _ => drop(self.uncommitted.remove(&first_step)),
        }
    }

    /// The effects of all steps up to `last` are committed, and the schedule with them.
    pub fn committed_through(&mut self, last: EventSeq) {
        self.context.store.commit_before(last.next());
        self.uncommitted.retain(|_, once| once.last_step.is_none_or(|step| step > last));
        if self.schedule == ScheduleState::Committing {
            self.schedule = ScheduleState::Known;
        }
    }

    /// Returns true if another interjection may begin.
    pub const fn takes_interjection(&self) -> bool {
        self.begins() && self.incomplete_interjections < INCOMPLETE_INTERJECTIONS_MAX
    }

    /// When each scheduled interjection runs next, with its place in the schedule. One that is
    /// incomplete runs again only when it is complete.
    pub fn due(&self) -> impl Iterator<Item = (usize, Instant)> {
        let may_begin = self.takes_interjection();
        let all = self.interjections.iter().copied().enumerate();
        all.filter(move |(which, _)| may_begin && !self.incomplete_runs.contains(which))
    }

    /// Gives the task another assignment's number: completers of the former one have no effect.
    pub const fn renumber(&mut self, id: PartitionId) {
        self.id = id;
        self.context.set_assignment(id);
    }

    /// Returns true while the fetch is paused.
    pub const fn is_paused(&self) -> bool {
        self.paused
    }

    /// Undoes all that is not committed: the events will be delivered again. Returns the
    /// interjections that ran once and have to run again, in their order.
    pub fn rewind(&mut self) -> Vec<Interject<S>> {
        self.context.store.undo_from(EventSeq(0));
        self.context.outputs_mut().clear();
        self.context.next_incarnation();
        if matches!(self.opening, Opening::Sent(_)) {
            self.opening = Opening::Due;
        }
        self.backlog.clear();
        self.waiting.clear();
        self.incomplete_interjections = 0;
        self.incomplete_runs.clear();
        self.paused = false;
        if self.schedule == ScheduleState::Committing {
            self.schedule = ScheduleState::Unknown;
        }
        std::mem::take(&mut self.uncommitted).into_values().map(|once| once.run).collect()
    }
}

/// The partitions of a worker's tasks.
pub type TaskPartitions = BTreeSet<TopicPartition>;

#[cfg(test)]
mod store_tests;

#[cfg(test)]
mod tests {
    use super::*;

    struct Nobody;

    impl crate::handler::CompletionSink<crate::NoStore> for Nobody {
        fn complete(&self, _: crate::handler::Completion<crate::NoStore>) {}
    }

    #[test]
    fn the_fetch_is_paused_while_too_many_wait_and_goes_on_at_half() {
        let partition = TopicPartition::new("t", 0);
        let context = EventContext::new(partition.clone(), "c".into(), std::sync::Arc::new(Nobody));
        let mut task = Task::new(PartitionId(0), context, None, Snapshot::at(0), None);
        assert!(task.takes_more(Window::Narrow));
        assert!(!task.takes_more(Window::Full));
        assert_eq!(task.flow(Window::Full), None, "nothing was fetched in vain");
        task.backlog.push_back(Record::new(partition, 7));
        assert_eq!(task.flow(Window::Full), Some(true));
        assert_eq!(task.flow(Window::Full), None, "once");
        assert_eq!(task.flow(Window::Wide), None, "the backlog comes first");
        task.backlog.clear();
        assert_eq!(task.flow(Window::Narrow), None, "only half of it is done");
        assert_eq!(task.flow(Window::Wide), Some(false));
    }

    #[test]
    fn an_empty_changelog_needs_no_restore() {
        assert_eq!(Restore::new(Instant::now(), 7, 7), None);
    }

    #[test]
    fn a_warm_copy_is_ready_once_and_goes_on_where_it_was() {
        let now = Instant::now();
        let mut copy = WarmCopy::new(now, 0, 5_000);
        assert!(!copy.becomes_ready(None), "it has read nothing yet");
        assert_eq!(
            [copy.flow(true), copy.flow(true), copy.flow(false)],
            [Some(true), None, Some(false)]
        );
        copy.applied(4_200, 10);
        assert_eq!(copy.lag(Some(9_000)), 4_799, "the changelog goes on");
        assert!(copy.becomes_ready(None));
        assert!(!copy.becomes_ready(None), "once");
        assert_eq!(copy.flow(true), None, "there is little to read");
        copy.reached_end();
        assert_eq!(copy.lag(Some(9_000)), 0, "what is behind it are no records");
        let rest = copy.take(now, 4_203);
        assert_eq!((rest.position(), rest.records(), rest.is_done()), (4_201, 1, false));
        assert!(copy.take(now, 4_201).is_done());
    }

    #[test]
    fn a_warm_copy_of_a_short_changelog_is_ready_once_something_was_read() {
        let mut copy = WarmCopy::new(Instant::now(), 0, 10);
        assert!(!copy.becomes_ready(Some(10)), "it may be one that can't be made");
        copy.applied(0, 5);
        assert!(copy.becomes_ready(Some(10)));
        let mut hidden = WarmCopy::new(Instant::now(), 0, 10);
        hidden.reached_end();
        assert!(hidden.becomes_ready(Some(10)), "there are no records in it");
        assert!(WarmCopy::new(Instant::now(), 7, 7).becomes_ready(None), "nor here");
    }

    #[test]
    fn a_restore_ends_at_its_end_though_the_last_records_are_hidden() {
        let now = Instant::now();
        let mut restore = Restore::new(now, 0, 10).unwrap();
        assert!(!restore.applied(3, 5));
        assert!(restore.report(now).is_none());
        let later = now + PROGRESS_EVERY;
        let report = restore.report(later).unwrap();
        assert_eq!((report.records, report.bytes, report.remaining), (1, 5, 6));
        assert!(restore.applied(9, 5));
    }
}
