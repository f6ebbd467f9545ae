//! What a handler sees: its partition's store, the event, and the ways out.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use super::{
    Completer, CompletionSink, EventTicket, Events, FailureReason, HandlerError, Hold, Outgoing,
    PartitionCounts, Result, Topic,
};
use crate::codec::{AsKey, CodecError, KeyCodec};
use crate::eos::PartitionId;
use crate::jobs::durable::JobIds;
use crate::jobs::{Incarnation, Life, Schedulers};
use crate::record::{Headers, OutputMark, Outputs, ProducerRecord, Record, TopicPartition};
use crate::store::{Changelog, EventSeq, FrameworkTables, StateStore};

/// A partition's store, the current event, and the ways out of it.
///
/// All that a handler forwards and all that it changes in the store is committed in one transaction
/// with the event's offset, or not at all.
pub struct EventContext<S: 'static> {
    /// The partition's state.
    pub store: S,
    topic_partition: TopicPartition,
    changelog: Arc<str>,
    assignment: PartitionId,
    incarnation: u64,
    input: Option<Record>,
    outputs: Outputs,
    counts: PartitionCounts,
    /// The current step's number: the handler's, or a finalizer's.
    event: EventSeq,
    /// The number of the event's first step, by which its completers know it.
    first_step: EventSeq,
    /// How many completers the current step has taken.
    completers: AtomicUsize,
    /// How many holds of this incarnation live.
    holds: AtomicUsize,
    /// Tells others when this incarnation is over.
    life: Life,
    /// The schedulers of the source's async handlers.
    schedulers: Schedulers,
    sink: Arc<dyn CompletionSink<S>>,
    /// The framework's own rows beside the store.
    framework: FrameworkTables,
    job_ids: JobIds,
    clock: HandlerClock,
    /// Whether outputs take over the trace headers of the input.
    propagates_traces: bool,
}

/// The time of day, as [`EventContext::now`] tells it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum HandlerClock {
    /// The machine's clock.
    Ask(fn() -> SystemTime),
    /// A time that a test has set.
    At(SystemTime),
}

impl<S: StateStore> EventContext<S> {
    /// A context for `topic_partition` with an empty store, whose changes go to `changelog`.
    pub fn new(
        topic_partition: TopicPartition,
        changelog: Arc<str>,
        sink: Arc<dyn CompletionSink<S>>,
    ) -> Self {
        let store = S::create(&topic_partition);
        Self::with_store(topic_partition, changelog, sink, store)
    }

    /// As [`EventContext::new`], with this store.
    pub(crate) fn with_store(
        topic_partition: TopicPartition,
        changelog: Arc<str>,
        sink: Arc<dyn CompletionSink<S>>,
        store: S,
    ) -> Self {
        Self {
            store,
            topic_partition,
            changelog,
            assignment: PartitionId(0),
            incarnation: 0,
            input: None,
            outputs: Outputs::default(),
            counts: PartitionCounts::default(),
            event: EventSeq::default(),
            first_step: EventSeq::default(),
            completers: AtomicUsize::new(0),
            holds: AtomicUsize::new(0),
            life: Life::default(),
            schedulers: Schedulers::default(),
            sink,
            framework: FrameworkTables::default(),
            job_ids: JobIds::default(),
            clock: HandlerClock::At(SystemTime::UNIX_EPOCH),
            propagates_traces: true,
        }
    }

    /// The partition whose event this is.
    pub const fn topic_partition(&self) -> &TopicPartition {
        &self.topic_partition
    }

    /// The record; `None` in an interjection.
    pub const fn input(&self) -> Option<&Record> {
        self.input.as_ref()
    }

    /// The record's offset; `None` in an interjection.
    pub fn offset(&self) -> Option<i64> {
        self.input.as_ref().map(Record::offset)
    }

    /// Whether the clock made this event, and not a record.
    pub const fn is_interjection(&self) -> bool {
        self.input.is_none()
    }

    /// The record's key as a `K`. `None` if the record has no key, or in an interjection.
    ///
    /// # Errors
    /// If the key's bytes are not a `K` (a `String` that is not UTF-8).
    pub fn key<K: KeyCodec>(&self) -> Result<Option<K>, CodecError> {
        self.input.as_ref().and_then(Record::key).map(K::decode_key).transpose()
    }

    /// Sends `event` to `topic`, in this event's transaction; the key's murmur2 hash decides the
    /// partition, as in Kafka's Java client, unless the topic has a
    /// [`partitioner`](Topic::partitioner).
    ///
    /// # Errors
    /// If the payload can't be encoded; or, with a partitioner, if the topic is no declared output
    /// or the partitioner chooses no partition.
    pub fn forward<E: Events, K: KeyCodec>(
        &mut self,
        topic: &Topic<E, K>,
        key: &(impl AsKey<K> + ?Sized),
        event: E::At<'_>,
    ) -> Result<()> {
        let input = self.input.as_ref().filter(|_| self.propagates_traces);
        let mark = self.outputs.mark();
        topic.write_traced(&mut self.outputs, None, key, &event, input)?;
        self.counts.place(topic, &mut self.outputs, mark)
    }

    /// Returns the number of partitions of `topic`: for handlers that choose a partition. It is
    /// known of the source's topic and of declared outputs
    /// ([`SourceBuilder::output`](crate::SourceBuilder::output)), from the start on; a topic that
    /// grows is noticed within [`partition_check`](crate::SourceBuilder::partition_check).
    ///
    /// # Errors
    /// If `topic` is not declared.
    pub fn partitions_of<E, K>(&self, topic: &Topic<E, K>) -> Result<i32> {
        self.counts.expect(topic.name())
    }

    /// As [`EventContext::forward`], to a partition of the handler's choice.
    ///
    /// # Errors
    /// If the payload can't be encoded.
    pub fn forward_to_partition<E: Events, K: KeyCodec>(
        &mut self,
        topic: &Topic<E, K>,
        partition: i32,
        key: &(impl AsKey<K> + ?Sized),
        event: E::At<'_>,
    ) -> Result<()> {
        let input = self.input.as_ref().filter(|_| self.propagates_traces);
        Ok(topic.write_traced(&mut self.outputs, Some(partition), key, &event, input)?)
    }

    /// Starts an event to `topic` that has more than a key, or no key; it is sent, in this event's
    /// transaction, by [`Outgoing::send`].
    ///
    /// # Examples
    /// ```
    /// use streams_core::prelude::*;
    ///
    /// #[derive(Events)]
    /// enum NotifyEvents {
    ///     Notified(String),
    /// }
    ///
    /// static NOTIFIED: Topic<NotifyEvents> = Topic::new("notified");
    ///
    /// fn notify(ctx: &mut EventContext<NoStore>, id: &str) -> Result<()> {
    ///     let now = ctx.now();
    ///     let event = NotifyEvents::Notified("by mail".to_owned());
    ///     ctx.outgoing(&NOTIFIED, event).key(id).header("source", "crm").timestamp(now).send()
    /// }
    /// # fn main() {
    /// # let mut ctx = streams_core::testing::context();
    /// # notify(&mut ctx, "7").unwrap();
    /// # let output = &ctx.finish().unwrap().outputs[0];
    /// # assert_eq!(output.headers().get("source"), Some(Some(&b"crm"[..])));
    /// # assert_eq!(output.timestamp(), Some(ctx.now()));
    /// # }
    /// ```
    pub fn outgoing<'c, 'e, E: Events, K: KeyCodec>(
        &'c mut self,
        topic: &'c Topic<E, K>,
        event: E::At<'e>,
    ) -> Outgoing<'c, 'e, E, K> {
        Outgoing {
            outputs: &mut self.outputs,
            input: self.input.as_ref().filter(|_| self.propagates_traces),
            topic,
            event,
            key: None,
            partition: None,
            timestamp_ms: None,
            headers: Headers::default(),
            counts: &self.counts,
        }
    }

    /// Sends a tombstone of `record_type` to `topic`, in this event's transaction: a record with a
    /// key and no value, by which a compacted topic forgets the key.
    ///
    /// # Errors
    /// If the contract has no such record type.
    pub fn forward_tombstone<E: Events, K: KeyCodec>(
        &mut self,
        topic: &Topic<E, K>,
        record_type: &str,
        key: &(impl AsKey<K> + ?Sized),
    ) -> Result<()> {
        let input = self.input.as_ref().filter(|_| self.propagates_traces);
        let mark = self.outputs.mark();
        topic.write_tombstone(&mut self.outputs, record_type, key, input)?;
        self.counts.place(topic, &mut self.outputs, mark)
    }

    /// Sends a record that no contract describes, in this event's transaction.
    pub fn forward_record(&mut self, record: ProducerRecord) {
        let input = self.input.as_ref().filter(|_| self.propagates_traces);
        record.write_traced(&mut self.outputs, input);
    }

    /// Returns the time of day, by the clock of the worker: the machine's in production, and
    /// virtual in a [`TestDriver`] and in [`testing::context`]. A deadline that a handler computes
    /// from it can be tested; a deadline from the standard library's clock can't. Kafka Streams:
    /// `currentSystemTimeMs`.
    ///
    /// Each call reads the clock. An event that is processed again after an abort gets another
    /// time; the record's own time is [`Record::timestamp`].
    ///
    /// [`TestDriver`]: crate::testing::TestDriver
    /// [`testing::context`]: crate::testing::context
    pub fn now(&self) -> SystemTime {
        match self.clock {
            HandlerClock::Ask(now) => now(),
            HandlerClock::At(now) => now,
        }
    }

    /// Takes a completer, with which any thread completes this event later; return
    /// [`ExecutionState::Incomplete`](super::ExecutionState::Incomplete) then.
    ///
    /// An event can have several completers. A finalizer can take another one for a further step,
    /// and return `Incomplete` again. An event that is incomplete and has no completer left fails.
    pub fn completer(&self) -> Completer<S> {
        self.completers.fetch_add(1, Ordering::Relaxed);
        Completer::new(self.ticket(), Arc::clone(&self.sink))
    }

    /// Holds the partition's later events back until the returned [`Hold`] is dropped, in any
    /// thread: so a queue that events fill can stay within its bound without blocking the worker.
    ///
    /// The current event, completions and interjections go on. An abort and a revocation end the
    /// hold as well.
    pub fn hold(&self) -> Hold<S> {
        self.holds.fetch_add(1, Ordering::Relaxed);
        Hold::new(self.ticket(), Arc::clone(&self.sink))
    }

    /// Fails this event: `return ctx.fail("..")` stops the application in good order.
    ///
    /// # Errors
    /// Always.
    pub fn fail<T>(&self, reason: impl FailureReason) -> Result<T> {
        Err(HandlerError::fail(reason))
    }

    fn ticket(&self) -> EventTicket {
        EventTicket {
            topic_partition: self.topic_partition.clone(),
            offset: self.offset(),
            event: self.first_step,
            assignment: self.assignment,
            incarnation: self.incarnation,
        }
    }
}

/// What the task does with its context.
impl<S: StateStore> EventContext<S> {
    /// Sets the clock that the handlers see.
    pub(crate) const fn set_clock(&mut self, clock: HandlerClock) {
        self.clock = clock;
    }

    /// Sets whether outputs take over the trace headers of the input.
    pub(crate) const fn propagate_traces(&mut self, propagates: bool) {
        self.propagates_traces = propagates;
    }

    /// Begins an event: a record's, or with `None` an interjection's.
    pub(crate) fn begin(&mut self, input: Option<Record>) {
        self.input = input;
        self.event = self.event.next();
        self.first_step = self.event;
        *self.completers.get_mut() = 0;
    }

    /// Begins a further step of the event that began with `first_step`.
    pub(crate) fn begin_step(&mut self, input: Option<Record>, first_step: EventSeq) {
        self.begin(input);
        self.first_step = first_step;
    }

    /// How many completers the current step has taken.
    pub(crate) fn completers_taken(&mut self) -> usize {
        *self.completers.get_mut()
    }

    /// The number of the current step. The changes of the store belong to it.
    pub(crate) const fn event(&self) -> EventSeq {
        self.event
    }

    /// Where the outputs of the current event begin.
    pub(crate) const fn mark(&self) -> OutputMark {
        self.outputs.mark()
    }

    /// Ends the event: its changes follow its outputs. Returns whether it had any effect.
    pub(crate) fn seal(&mut self, since: OutputMark) -> Result<bool, CodecError> {
        let partition = self.topic_partition.partition();
        let mut changelog = Changelog::new(&mut self.outputs, &self.changelog, partition);
        self.store.drain_changes(self.event, &mut changelog)?;
        self.framework.drain_changes(self.event, &mut changelog)?;
        Ok(self.outputs.mark() != since)
    }

    /// Takes back the outputs since `since`, and the changes of the current event.
    pub(crate) fn undo_event(&mut self, since: OutputMark) {
        self.outputs.truncate(since);
        self.framework.undo_from(self.event, |_, _, _| {});
        self.store.undo_from(self.event);
    }

    /// The framework's rows of the partition.
    pub(crate) const fn framework(&self) -> &FrameworkTables {
        &self.framework
    }

    /// The framework's rows of the partition; their changes belong to the current event.
    pub(crate) const fn framework_mut(&mut self) -> &mut FrameworkTables {
        &mut self.framework
    }

    /// The numbers of the partition's next durable jobs.
    pub(crate) const fn job_ids(&self) -> &JobIds {
        &self.job_ids
    }

    /// The numbers of the partition's next durable jobs.
    pub(crate) const fn job_ids_mut(&mut self) -> &mut JobIds {
        &mut self.job_ids
    }

    /// What was forwarded and logged and is not sent yet.
    pub(crate) const fn outputs_mut(&mut self) -> &mut Outputs {
        &mut self.outputs
    }

    /// Tells the context the numbers of partitions that its handlers may know.
    pub(crate) fn set_counts(&mut self, counts: PartitionCounts) {
        self.counts = counts;
    }

    /// Tells the context which assignment its task has. Completions of earlier ones have no effect.
    pub(crate) fn set_assignment(&mut self, assignment: PartitionId) {
        self.end_incarnation();
        self.assignment = assignment;
        self.incarnation = 0;
    }

    /// Starts another incarnation after a rewind. Completions of earlier ones have no effect.
    pub(crate) fn next_incarnation(&mut self) {
        self.end_incarnation();
        self.incarnation += 1;
    }

    /// Ends the incarnation: work for its events is in vain from now on.
    pub(crate) fn end_incarnation(&mut self) {
        self.life.end();
        *self.holds.get_mut() = 0;
    }

    /// Returns the current incarnation, which tells when it is over.
    pub(crate) fn incarnation(&self) -> &Incarnation {
        self.life.current()
    }

    /// Gives the context the schedulers of its source.
    pub(crate) fn set_schedulers(&mut self, schedulers: &Schedulers) {
        self.schedulers = schedulers.clone();
    }

    /// Returns the schedulers of the source's async handlers.
    pub(crate) fn schedulers(&self) -> Schedulers {
        self.schedulers.clone()
    }

    /// Returns true while a [`Hold`] of this incarnation lives.
    pub(crate) fn is_held(&self) -> bool {
        self.holds.load(Ordering::Relaxed) > 0
    }

    /// A hold was dropped; one of an earlier incarnation has no effect.
    pub(crate) fn release(&mut self, ticket: &EventTicket) {
        if self.issued(ticket) {
            let holds = self.holds.get_mut();
            *holds = holds.saturating_sub(1);
        }
    }

    /// Returns true if the ticket's event began in this assignment and this incarnation.
    pub(crate) fn issued(&self, ticket: &EventTicket) -> bool {
        (ticket.assignment, ticket.incarnation) == (self.assignment, self.incarnation)
    }
}

impl<S: fmt::Debug> fmt::Debug for EventContext<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventContext")
            .field("topic_partition", &self.topic_partition)
            .field("input", &self.input)
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}
