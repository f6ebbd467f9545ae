//! What a handler sees: its partition's store, the event, and the ways out.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Completer, CompletionSink, EventTicket, Events, HandlerError, Hold, Result, Topic};
use crate::codec::{AsKey, CodecError, KeyCodec};
use crate::eos::PartitionId;
use crate::jobs::durable::JobIds;
use crate::jobs::{Incarnation, Life};
use crate::record::{OutputMark, Outputs, ProducerRecord, Record, TopicPartition};
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
    sink: Arc<dyn CompletionSink<S>>,
    /// The framework's own rows beside the store.
    framework: FrameworkTables,
    job_ids: JobIds,
}

impl<S: StateStore> EventContext<S> {
    /// A context for `topic_partition` with an empty store, whose changes go to `changelog`.
    pub fn new(
        topic_partition: TopicPartition,
        changelog: Arc<str>,
        sink: Arc<dyn CompletionSink<S>>,
    ) -> Self {
        Self {
            store: S::create(&topic_partition),
            topic_partition,
            changelog,
            assignment: PartitionId(0),
            incarnation: 0,
            input: None,
            outputs: Outputs::default(),
            event: EventSeq::default(),
            first_step: EventSeq::default(),
            completers: AtomicUsize::new(0),
            holds: AtomicUsize::new(0),
            life: Life::default(),
            sink,
            framework: FrameworkTables::default(),
            job_ids: JobIds::default(),
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
    /// partition, as in Kafka's Java client.
    ///
    /// # Errors
    /// If the payload can't be encoded.
    pub fn forward<E: Events, K: KeyCodec>(
        &mut self,
        topic: &Topic<E, K>,
        key: &(impl AsKey<K> + ?Sized),
        event: E::At<'_>,
    ) -> Result<()> {
        Ok(topic.write(&mut self.outputs, None, key, &event)?)
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
        Ok(topic.write(&mut self.outputs, Some(partition), key, &event)?)
    }

    /// Sends a record that no contract describes, in this event's transaction.
    pub fn forward_record(&mut self, record: ProducerRecord) {
        record.write_to(&mut self.outputs);
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
    pub fn fail<T>(
        &self,
        reason: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Result<T> {
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
