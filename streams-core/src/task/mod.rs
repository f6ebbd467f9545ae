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
//! half of them are done; and while the partition waits for an event that failed (`retry.rs`). A
//! [`Hold`](crate::handler::Hold) keeps a task from taking events, too, and so does a bound of
//! durable jobs that is reached.

mod asked;
mod parking;
mod restore;
mod retry;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::time::Instant;

pub(crate) use self::asked::Asked;
pub use self::asked::Interject;
pub use self::parking::{Parking, ParkingBounds};
pub use self::restore::{Moment, Restore, RestoreProgress, WARM_LAG_MAX, WarmCopy};
pub use self::retry::{Retries, Turn, Verdict};
use crate::eos::{IN_FLIGHT_EVENTS_MAX, PartitionId, Snapshot, Window};
use crate::handler::{EventContext, EventTicket};
use crate::jobs::durable::{DurableJobs, TaskJobs};
use crate::record::{Record, TopicPartition};
use crate::runtime::{CommittedWith, InterjectError};
use crate::store::{EventSeq, StateStore};

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

/// How many fetched records a held task keeps before it pauses its fetch. A resumed fetch takes a
/// round trip, so a task that is held for a moment does not pause.
pub const HELD_RECORDS_MAX: usize = 256;

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
    /// A record that was parked: its offset is committed.
    Parked(Record),
    /// A scheduled interjection.
    Scheduled {
        /// Its place in the schedule.
        which: usize,
        /// When it runs again, in milliseconds since the Unix epoch.
        next_ms: i64,
    },
    /// An interjection that a caller asked for.
    Once,
}

impl Input {
    /// The record, if it is one.
    pub const fn record(&self) -> Option<&Record> {
        match self {
            Self::Record(record) | Self::Parked(record) => Some(record),
            Self::Scheduled { .. } | Self::Once => None,
        }
    }

    const fn scheduled(&self) -> Option<usize> {
        match self {
            Self::Scheduled { which, .. } => Some(*which),
            Self::Record(_) | Self::Parked(_) | Self::Once => None,
        }
    }
}

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
    /// Events that failed, and events that wait behind them.
    pub retries: Retries,
    /// Its parked events, as far as they are no rows.
    pub parking: Parking,
    /// Incomplete events, by the number of their first step.
    waiting: BTreeMap<EventSeq, Waiting>,
    /// How many of them are interjections.
    incomplete_interjections: usize,
    /// The scheduled interjections among those.
    incomplete_runs: BTreeSet<usize>,
    /// When each interjection runs next; `None` for one that is cancelled.
    pub interjections: Vec<Option<Instant>>,
    /// Whether the group knows that.
    pub schedule: ScheduleState,
    /// Interjections that ran once and are not committed, by their first steps.
    uncommitted: BTreeMap<EventSeq, Uncommitted<S>>,
    /// Whether its store is to be a copy when it is closed.
    pub retires: bool,
    /// Whether it begins nothing, because the group may give it to another member.
    pub suspended: bool,
    /// Whether it has waited for an incomplete event in this assignment.
    pub has_waited: bool,
    /// Its durable jobs.
    pub(crate) jobs: TaskJobs,
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
            retries: Retries::default(),
            parking: Parking::default(),
            waiting: BTreeMap::new(),
            incomplete_interjections: 0,
            incomplete_runs: BTreeSet::new(),
            interjections: Vec::new(),
            schedule: ScheduleState::Known,
            uncommitted: BTreeMap::new(),
            retires: false,
            suspended: false,
            has_waited: false,
            jobs: TaskJobs::new(DurableJobs::default()),
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

    /// Whether it begins the events of records: no event's hold lives.
    pub fn begins_events(&self) -> bool {
        self.begins() && !self.context.is_held()
    }

    /// Whether it takes another event.
    pub fn takes_more(&self, window: Window) -> bool {
        let is_full = window == Window::Full || self.has_too_many_rows();
        self.begins_events() && !is_full && !self.retries.blocks_partition()
    }

    /// Returns true if durable jobs have to end, or parked events, before the task takes another
    /// record.
    fn has_too_many_rows(&self) -> bool {
        let rows = self.context.framework();
        self.jobs.is_full(rows) || self.parking.is_full(rows)
    }

    /// Whether it takes no records on purpose: it is suspended, an event's hold lives, or too many
    /// events are held back by an incomplete one.
    pub fn is_held_back(&self) -> bool {
        self.suspended || self.paused || self.context.is_held()
    }

    /// Whether to pause (`Some(true)`) or to resume (`Some(false)`) the fetch now.
    pub fn flow(&mut self, window: Window) -> Option<bool> {
        let is_held = self.context.is_held();
        let waits = self.suspended && self.backlog.len() >= IN_FLIGHT_EVENTS_MAX;
        let waits = waits || (is_held && self.backlog.len() >= HELD_RECORDS_MAX);
        let is_full = window == Window::Full || self.has_too_many_rows();
        let is_blocked = self.retries.blocks_partition();
        let pause = is_blocked || !self.backlog.is_empty() && (is_full || waits);
        let resume = !is_blocked
            && self.backlog.is_empty()
            && window == Window::Wide
            && !is_held
            && !is_full;
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

    /// Returns the oldest incomplete event of a record: it holds back the offset.
    pub fn oldest_incomplete(&self) -> Option<&Input> {
        let mut waiting = self.waiting.values().map(|waiting| &waiting.input);
        waiting.find(|input| input.record().is_some())
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

    /// An interjection that ran once is complete: `last_step` is `None` if it had no effects. Then
    /// its caller is answered.
    pub fn completed_once(&mut self, first_step: EventSeq, last_step: Option<EventSeq>) {
        match (last_step, self.uncommitted.get_mut(&first_step)) {
            (Some(_), Some(known)) => known.last_step = last_step,
            (None, Some(_)) => {
                let known = self.uncommitted.remove(&first_step);
                known.into_iter().for_each(|once| once.run.resolve(Ok(())));
            }
            (_, None) => {}
        }
    }

    /// Takes an interjection that ran once and is not committed.
    pub fn take_uncommitted(&mut self, first_step: EventSeq) -> Option<Interject<S>> {
        self.uncommitted.remove(&first_step).map(|once| once.run)
    }

    /// The task ends: nothing that is not committed will be, and the callers are told why.
    pub fn end_uncommitted(&mut self, why: impl Fn() -> InterjectError) {
        for once in std::mem::take(&mut self.uncommitted).into_values() {
            once.run.resolve(Err(why()));
        }
    }

    /// Returns true if a run of the scheduled interjection is incomplete.
    pub fn is_incomplete(&self, which: usize) -> bool {
        self.incomplete_runs.contains(&which)
    }

    /// The effects of all steps up to `last` are committed, and the schedule with them: whoever
    /// asked for an interjection among them is answered.
    pub fn committed_through(&mut self, last: EventSeq) {
        let is_committed =
            |_: &EventSeq, once: &mut Uncommitted<S>| once.last_step.is_some_and(|s| s <= last);
        for (_, once) in self.uncommitted.extract_if(.., is_committed) {
            once.run.resolve(Ok(()));
        }
        if self.schedule == ScheduleState::Committing {
            self.schedule = ScheduleState::Known;
        }
        let jobs = &mut self.jobs;
        let committed =
            |table: &str, key: &[u8], now: Option<&[u8]>| jobs.committed(table, key, now);
        self.context.framework_mut().commit_before(last.next(), committed);
        self.context.store.commit_before(last.next());
    }

    /// Returns true if another interjection may begin.
    pub const fn takes_interjection(&self) -> bool {
        self.begins() && self.incomplete_interjections < INCOMPLETE_INTERJECTIONS_MAX
    }

    /// When each scheduled interjection runs next, with its place in the schedule. One that is
    /// incomplete runs again only when it is complete.
    pub fn due(&self) -> impl Iterator<Item = (usize, Instant)> {
        let may_begin = self.takes_interjection();
        let all = self.interjections.iter().enumerate();
        let all = all.filter_map(|(which, at)| Some((which, (*at)?)));
        all.filter(move |(which, _)| may_begin && !self.incomplete_runs.contains(which))
    }

    /// Gives the task another assignment's number: completers of the former one have no effect.
    pub fn renumber(&mut self, id: PartitionId) {
        (self.id, self.has_waited) = (id, false);
        self.context.set_assignment(id);
    }

    /// Returns true while the fetch is paused.
    pub const fn is_paused(&self) -> bool {
        self.paused
    }

    /// Undoes all that is not committed: the events will be delivered again. Returns the
    /// interjections that ran once and have to run again, in their order.
    ///
    /// The store, which may panic, comes last.
    pub fn rewind(&mut self) -> Vec<Interject<S>> {
        self.context.outputs_mut().clear();
        self.context.next_incarnation();
        if matches!(self.opening, Opening::Sent(_)) {
            self.opening = Opening::Due;
        }
        self.backlog.clear();
        self.retries.rewind();
        self.waiting.clear();
        self.incomplete_interjections = 0;
        self.incomplete_runs.clear();
        self.paused = false;
        if self.schedule == ScheduleState::Committing {
            self.schedule = ScheduleState::Unknown;
        }
        let once = std::mem::take(&mut self.uncommitted).into_values();
        let runs = once.map(|once| once.run).collect();
        let jobs = &mut self.jobs;
        let undone =
            |table: &str, key: &[u8], former: Option<&[u8]>| jobs.undone(table, key, former);
        self.context.framework_mut().undo_from(EventSeq(0), undone);
        self.jobs.machine.rewound();
        self.context.store.undo_from(EventSeq(0));
        runs
    }
}

/// The partitions of a worker's tasks.
pub type TaskPartitions = BTreeSet<TopicPartition>;

#[cfg(test)]
mod restore_tests;
#[cfg(test)]
mod store_tests;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::RetryOrder;

    struct Nobody;

    impl crate::handler::CompletionSink<crate::NoStore> for Nobody {
        fn complete(&self, _: crate::handler::Completion<crate::NoStore>) {}
    }

    fn task(partition: &TopicPartition) -> Task<crate::NoStore> {
        let context = EventContext::new(partition.clone(), "c".into(), std::sync::Arc::new(Nobody));
        Task::new(PartitionId(0), context, None, Snapshot::at(0), None)
    }

    #[test]
    fn the_fetch_is_paused_while_the_partition_waits_for_a_retry() {
        let (partition, now) = (TopicPartition::new("t", 0), Instant::now());
        let (mut task, record) = (task(&partition), Record::new(partition, 7));
        let (after, order) = (std::time::Duration::from_secs(1), RetryOrder::Partition);
        task.retries.retry(now, record.clone(), after, order);
        assert!(!task.takes_more(Window::Wide), "a record that is fetched already waits too");
        assert_eq!(task.flow(Window::Wide), Some(true));
        assert_eq!(task.flow(Window::Wide), None, "once");
        assert!(task.retries.take(now + after).is_some());
        task.retries.ended(now, &record);
        assert!(task.takes_more(Window::Wide));
        assert_eq!(task.flow(Window::Wide), Some(false));
    }

    #[test]
    fn the_fetch_is_paused_while_too_many_wait_and_goes_on_at_half() {
        let partition = TopicPartition::new("t", 0);
        let mut task = task(&partition);
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
    fn a_held_task_takes_nothing_and_pauses_its_fetch_behind_a_few_records() {
        let partition = TopicPartition::new("t", 0);
        let context = EventContext::new(partition.clone(), "c".into(), std::sync::Arc::new(Nobody));
        let mut task = Task::new(PartitionId(0), context, None, Snapshot::at(0), None);
        let hold = task.context.hold();
        let ticket = task.context.completer().ticket().clone();
        assert!(!task.takes_more(Window::Wide) && task.is_held_back());
        for offset in (0..).take(HELD_RECORDS_MAX) {
            assert_eq!(task.flow(Window::Wide), None);
            task.backlog.push_back(Record::new(partition.clone(), offset));
        }
        assert_eq!(task.flow(Window::Wide), Some(true));
        task.backlog.clear();
        assert_eq!(task.flow(Window::Wide), None, "the hold lives");
        task.context.release(&ticket);
        assert!(task.takes_more(Window::Wide));
        assert_eq!(task.flow(Window::Wide), Some(false));
        drop(hold);
    }

    #[test]
    fn a_rewind_ends_a_hold_and_its_release_frees_no_later_one() {
        let partition = TopicPartition::new("t", 0);
        let context = EventContext::new(partition.clone(), "c".into(), std::sync::Arc::new(Nobody));
        let mut task = Task::new(PartitionId(0), context, None, Snapshot::at(0), None);
        let stale = task.context.hold();
        let ticket = task.context.completer().ticket().clone();
        drop(task.rewind());
        assert!(task.takes_more(Window::Wide));
        let current = task.context.hold();
        task.context.release(&ticket);
        assert!(!task.takes_more(Window::Wide), "the hold of the new incarnation lives");
        task.renumber(PartitionId(1));
        assert!(task.takes_more(Window::Wide));
        drop((stale, current));
    }
}
