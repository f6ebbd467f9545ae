//! Applications under test, without Kafka, threads or a clock.
//!
//! [`context`] is what a single handler is called with. [`Partition`] is a whole application on one
//! partition: it takes events and the time, and shows store, outputs and changelog.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, mpsc};
use std::time::SystemTime;

use crate::codec::{AsKey, CodecError, KeyCodec};
use crate::handler::{
    Completion, CompletionSink, EventContext, EventSource, Events, ExecutionState, HandlerError,
    IntoOutcome, Outcome, Result, Topic,
};
use crate::record::{Headers, OutputRef, Outputs, Record, TopicPartition};
use crate::store::{Change, EventSeq, StateStore};

const CHANGELOG: &str = "test-changelog";

/// A context with an empty store, to call one handler with.
///
/// # Examples
/// ```
/// use streams_core::prelude::*;
///
/// fn add(ctx: &mut EventContext<NoStore>, number: i64) -> Result<ExecutionState> {
///     Ok(if number > 0 { Complete } else { Incomplete })
/// }
///
/// let mut ctx = streams_core::testing::context();
/// assert_eq!(add(&mut ctx, 3).unwrap(), Complete);
/// ```
pub fn context<S: StateStore>() -> EventContext<S> {
    let (sink, _) = completions();
    EventContext::new(TopicPartition::new("test", 0), CHANGELOG.into(), sink)
}

/// The record that sends `event` to `topic`.
///
/// # Errors
/// If the payload can't be encoded.
#[expect(clippy::needless_pass_by_value, reason = "an event is sent once, as by `forward`")]
pub fn record<E: Events, K: KeyCodec>(
    topic: &Topic<E, K>,
    key: &(impl AsKey<K> + ?Sized),
    event: E::At<'_>,
) -> Result<Record, CodecError> {
    let mut outputs = Outputs::default();
    topic.write(&mut outputs, None, key, &event)?;
    let output = outputs.iter().next().expect("it was written just now");
    Ok(to_record(&output, 0, 0))
}

fn to_record(output: &OutputRef<'_>, partition: i32, offset: i64) -> Record {
    let headers = output.headers().map(|header| (header.name, header.value));
    let mut record = Record::new(TopicPartition::new(output.topic, partition), offset)
        .with_headers(Headers::from_pairs(headers));
    if let Some(key) = output.key {
        record = record.with_key(key.to_vec());
    }
    if let Some(value) = output.value {
        record = record.with_value(value.to_vec());
    }
    record
}

/// An application on one partition.
///
/// What an event forwards and logs is kept if it completes or goes on elsewhere, and undone if it
/// fails, as in a transaction of its own.
///
/// # Examples
/// ```
/// use streams_core::prelude::*;
/// use streams_core::testing::Partition;
///
/// #[derive(Events)]
/// enum Numbers {
///     Add(i64),
/// }
///
/// #[derive(StateStore)]
/// struct Sums {
///     sums: Table<String, i64>,
/// }
///
/// #[event_source(events = Numbers, store = Sums)]
/// mod sums {
///     use super::*;
///
///     #[event_handler("Add")]
///     fn add(ctx: &mut EventContext<Sums>, number: i64) -> Result<ExecutionState> {
///         let Some(key) = ctx.key()? else { return ctx.fail("no key") };
///         ctx.store.sums.update(key, |sum| *sum += number);
///         Ok(Complete)
///     }
/// }
///
/// static NUMBERS: Topic<Numbers> = Topic::new("numbers");
///
/// # fn main() {
/// let mut partition = Partition::<sums::Source>::new();
/// assert_eq!(partition.send(&NUMBERS, "a", Numbers::Add(3)).unwrap(), Complete);
/// assert_eq!(partition.send(&NUMBERS, "a", Numbers::Add(4)).unwrap(), Complete);
/// assert_eq!(partition.store().sums.get("a"), Some(&7));
///
/// let restarted = partition.restarted().unwrap();
/// assert_eq!(restarted.store().sums.get("a"), Some(&7));
/// # }
/// ```
pub struct Partition<A: EventSource> {
    context: EventContext<A::Store>,
    next_offset: i64,
    completions: mpsc::Receiver<Completion<A::Store>>,
    /// The inputs of the events that a completer will complete.
    waiting: BTreeMap<EventSeq, Option<Record>>,
    /// What the events forwarded, without the changelog.
    outputs: Vec<Record>,
    changelog: Vec<Record>,
}

impl<A: EventSource> Partition<A> {
    /// Partition 0, with an empty store.
    pub fn new() -> Self {
        let (sink, completions) = completions();
        let partition = TopicPartition::new("test", 0);
        let context = EventContext::new(partition, CHANGELOG.into(), sink);
        Self {
            context,
            next_offset: 0,
            completions,
            waiting: BTreeMap::new(),
            outputs: vec![],
            changelog: vec![],
        }
    }

    /// The state, after all events so far.
    pub const fn store(&self) -> &A::Store {
        &self.context.store
    }

    /// All that the events forwarded, in order, as the records of the topics they went to. Their
    /// partition is 0 unless the handler chose one.
    pub fn outputs(&self) -> &[Record] {
        &self.outputs
    }

    /// All changes of the store, in order. A value of `None` is a removal.
    pub fn changelog(&self) -> &[Record] {
        &self.changelog
    }

    /// Sends an event, as another application would.
    ///
    /// # Errors
    /// What [`Partition::process`] returns, or if the payload can't be encoded.
    pub fn send<E: Events, K: KeyCodec>(
        &mut self,
        topic: &Topic<E, K>,
        key: &(impl AsKey<K> + ?Sized),
        event: E::At<'_>,
    ) -> Result<ExecutionState> {
        let record = record(topic, key, event)?;
        self.process(&record)
    }

    /// Processes a record; its place is the partition's next offset, wherever it says it stands.
    ///
    /// # Errors
    /// What the handler returned, if it failed; if there is none; if the record is not its payload;
    /// or if a change of the store can't be encoded. The event is undone then.
    pub fn process(&mut self, record: &Record) -> Result<ExecutionState> {
        let mut input = Record::new(self.context.topic_partition().clone(), self.next_offset)
            .with_headers(record.headers().clone());
        self.next_offset += 1;
        if let Some(key) = record.key() {
            input = input.with_key(key.to_vec());
        }
        if let Some(value) = record.value() {
            input = input.with_value(value.to_vec());
        }
        if let Some(timestamp_ms) = record.timestamp_ms() {
            input = input.with_timestamp_ms(timestamp_ms);
        }
        self.run(None, Some(input.clone()), |context| A::dispatch(context, &input))
    }

    /// Calls the interjection whose function is `name` (`sweep`, or its whole path), at `at`.
    ///
    /// # Errors
    /// What the interjection returned, if it failed.
    ///
    /// # Panics
    /// If there is no such interjection.
    pub fn interject(&mut self, name: &str, at: SystemTime) -> Result<ExecutionState> {
        let is_named = |path: &str| path == name || path.rsplit("::").next() == Some(name);
        let interjection = A::TABLE.interjections.iter().find(|i| is_named(i.name));
        let Some(interjection) = interjection else {
            let known: Vec<_> = A::TABLE.interjections.iter().map(|i| i.name).collect();
            panic!("no interjection `{name}`: there are {known:?}");
        };
        self.run(None, None, |context| (interjection.call)(context, at))
    }

    /// Runs what the completers handed over so far, in order, and returns how far each event is.
    /// One whose event isn't incomplete is ignored.
    ///
    /// # Errors
    /// What the first that failed returned; the later ones wait for the next call.
    pub fn run_completions(&mut self) -> Result<Vec<ExecutionState>> {
        let mut states = vec![];
        while let Ok(completion) = self.completions.try_recv() {
            let Completion { ticket, finalize } = completion;
            let Some(input) = self.waiting.remove(&ticket.event) else { continue };
            let run = |context: &mut EventContext<_>| finalize(context).into_outcome();
            states.push(self.run(Some(ticket.event), input, run)?);
        }
        Ok(states)
    }

    /// The partition after a restart: a new store, restored from the changelog.
    ///
    /// # Errors
    /// If the store doesn't take its own changelog.
    pub fn restarted(&self) -> Result<Self, CodecError> {
        let mut restarted = Self { next_offset: self.next_offset, ..Self::new() };
        for (offset, record) in (0..).zip(&self.changelog) {
            restarted.context.store.restore(Change {
                offset,
                key: record.key().unwrap_or_default(),
                value: record.value(),
                headers: record.headers(),
            })?;
        }
        restarted.changelog.clone_from(&self.changelog);
        Ok(restarted)
    }

    /// Runs one event: `continued` if it is one that was incomplete.
    fn run(
        &mut self,
        continued: Option<EventSeq>,
        input: Option<Record>,
        event: impl FnOnce(&mut EventContext<A::Store>) -> Outcome,
    ) -> Result<ExecutionState> {
        self.context.begin(input.clone());
        let mark = self.context.mark();
        let ended = match event(&mut self.context) {
            Outcome::Complete => Ok(ExecutionState::Complete),
            Outcome::Incomplete => Ok(ExecutionState::Incomplete),
            Outcome::Failed(error) => Err(error),
            Outcome::Undecodable(error) => Err(error.into()),
            Outcome::Unrouted => Err(HandlerError::fail("no handler, and no default handler")),
        };
        let ended = ended.and_then(|state| Ok(self.context.seal(mark).map(|_| state)?));
        match ended {
            Ok(ExecutionState::Complete) => {}
            Ok(ExecutionState::Incomplete) => {
                let event = continued.unwrap_or_else(|| self.context.event());
                self.waiting.insert(event, input);
            }
            Err(_) => self.context.undo_event(mark),
        }
        let outputs = std::mem::take(self.context.outputs_mut());
        for output in outputs.iter() {
            let records =
                if output.topic == CHANGELOG { &mut self.changelog } else { &mut self.outputs };
            let offset = i64::try_from(records.len()).expect("fewer than there are offsets");
            records.push(to_record(&output, output.partition.unwrap_or(0), offset));
        }
        ended
    }
}

impl<A: EventSource> Default for Partition<A> {
    fn default() -> Self {
        Self::new()
    }
}

impl<A: EventSource> fmt::Debug for Partition<A>
where
    A::Store: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Partition").field("context", &self.context).finish_non_exhaustive()
    }
}

/// Completions wait in a channel until the test runs them.
struct Waiting<S: 'static>(mpsc::Sender<Completion<S>>);

impl<S: 'static> CompletionSink<S> for Waiting<S> {
    fn complete(&self, completion: Completion<S>) {
        // Without a receiver the partition is gone, and so is its event.
        drop(self.0.send(completion));
    }
}

fn completions<S: 'static>() -> (Arc<dyn CompletionSink<S>>, mpsc::Receiver<Completion<S>>) {
    let (sender, receiver) = mpsc::channel();
    (Arc::new(Waiting(sender)), receiver)
}
