//! A context for one handler alone.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, mpsc::Sender};
use std::time::{Duration, SystemTime};

use super::driver::START;
use super::to_record;
use crate::codec::{AsKey, CodecError, KeyCodec};
use crate::eos::PartitionId;
use crate::handler::{
    Completer, Completion, CompletionSink, EventContext, EventTicket, ExecutionState, HandlerClock,
    PartitionCounts, Result,
};
use crate::record::{Headers, RECORD_TYPE_HEADER, Record, TopicPartition};
use crate::store::{EventSeq, StateStore};

const TOPIC: &str = "test";
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
pub fn context<S: StateStore>() -> TestContext<S> {
    ContextBuilder::new().build()
}

type Fill<S> = Box<dyn FnOnce(&mut S)>;

/// The parts of a [`TestContext`]: where the event stands, its key, its headers, the store.
///
/// # Examples
/// ```
/// use streams_core::prelude::*;
/// use streams_core::testing::ContextBuilder;
///
/// #[derive(StateStore)]
/// struct Sums {
///     sums: Table<String, i64>,
/// }
///
/// fn add(ctx: &mut EventContext<Sums>, number: i64) -> Result<ExecutionState> {
///     let Some(key) = ctx.key::<String>()? else { return ctx.fail("no key") };
///     ctx.store.sums.update(key, |sum| *sum += number);
///     Ok(Complete)
/// }
///
/// # fn main() {
/// let mut ctx = ContextBuilder::<Sums>::new()
///     .partition("numbers", 3)
///     .offset(7)
///     .key("a")
///     .store(|store| drop(store.sums.put("a".to_owned(), 1)))
///     .build();
/// assert_eq!(add(&mut ctx, 3).unwrap(), Complete);
/// assert_eq!(ctx.store.sums.get("a"), Some(&4));
/// assert_eq!(ctx.finish().unwrap().changes.len(), 1);
/// # }
/// ```
pub struct ContextBuilder<S: StateStore> {
    partition: TopicPartition,
    offset: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Headers,
    timestamp_ms: Option<i64>,
    is_interjection: bool,
    now: SystemTime,
    create: Option<S>,
    partitions: BTreeMap<String, i32>,
    fill: Vec<Fill<S>>,
}

impl<S: StateStore> ContextBuilder<S> {
    /// The first record of partition 0, without a key, and an empty store.
    pub fn new() -> Self {
        Self {
            partition: TopicPartition::new(TOPIC, 0),
            offset: 0,
            key: None,
            value: None,
            headers: Headers::default(),
            timestamp_ms: None,
            is_interjection: false,
            now: SystemTime::UNIX_EPOCH + START,
            create: None,
            partitions: BTreeMap::new(),
            fill: vec![],
        }
    }

    /// The partition.
    #[must_use]
    pub fn partition(mut self, topic: &str, partition: i32) -> Self {
        self.partition = TopicPartition::new(topic, partition);
        self
    }

    /// The record's offset.
    #[must_use]
    pub const fn offset(mut self, offset: i64) -> Self {
        self.offset = offset;
        self
    }

    /// The record's key.
    #[must_use]
    pub fn key<K: KeyCodec>(mut self, key: &(impl AsKey<K> + ?Sized)) -> Self {
        let mut bytes = vec![];
        key.encode_as_key(&mut bytes);
        self.key = Some(bytes);
        self
    }

    /// The record's value, in wire form: what the handler's payload was decoded from.
    #[must_use]
    pub fn value(mut self, value: impl Into<Vec<u8>>) -> Self {
        self.value = Some(value.into());
        self
    }

    /// A header of the record.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push(name, Some(value.as_ref()));
        self
    }

    /// The record's type.
    #[must_use]
    pub fn record_type(self, record_type: &str) -> Self {
        self.header(RECORD_TYPE_HEADER, record_type)
    }

    /// The record's timestamp.
    #[must_use]
    pub fn timestamp(mut self, at: SystemTime) -> Self {
        let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.timestamp_ms = i64::try_from(since.as_millis()).ok();
        self
    }

    /// What [`EventContext::now`] returns; by default 2026-01-01 00:00 UTC, where the time of a
    /// [`TestDriver`](super::TestDriver) begins too.
    #[must_use]
    pub const fn now(mut self, now: SystemTime) -> Self {
        self.now = now;
        self
    }

    /// The clock makes this event, and not a record.
    #[must_use]
    pub const fn interjection(mut self) -> Self {
        self.is_interjection = true;
        self
    }

    /// Uses this store instead of one by [`StateStore::create`].
    #[must_use]
    pub fn with_store(mut self, store: S) -> Self {
        self.create = Some(store);
        self
    }

    /// The number of partitions of a topic: of a declared output, say.
    #[must_use]
    pub fn partitions_of(mut self, topic: impl Into<String>, partitions: i32) -> Self {
        self.partitions.insert(topic.into(), partitions);
        self
    }

    /// Fills the store; what is in it then is no change of the handler's.
    #[must_use]
    pub fn store(mut self, fill: impl FnOnce(&mut S) + 'static) -> Self {
        self.fill.push(Box::new(fill));
        self
    }

    /// The context.
    ///
    /// # Panics
    /// If what fills the store can't be encoded.
    #[track_caller]
    pub fn build(self) -> TestContext<S> {
        let (sink, completions) = completions();
        let store = self.create.unwrap_or_else(|| S::create(&self.partition));
        let mut context =
            EventContext::with_store(self.partition.clone(), CHANGELOG.into(), sink, store);
        context.set_clock(HandlerClock::At(self.now));
        let counts = PartitionCounts::default();
        counts.learn(self.partitions);
        context.set_counts(counts);
        context.begin(None);
        let mark = context.mark();
        self.fill.into_iter().for_each(|fill| fill(&mut context.store));
        if let Err(error) = context.seal(mark) {
            panic!("what fills the store: {error}");
        }
        context.outputs_mut().clear();
        context.store.commit_before(context.event().next());
        let mut record = Record::new(self.partition, self.offset).with_headers(self.headers);
        if let Some(key) = self.key {
            record = record.with_key(key);
        }
        if let Some(value) = self.value {
            record = record.with_value(value);
        }
        if let Some(timestamp_ms) = self.timestamp_ms {
            record = record.with_timestamp_ms(timestamp_ms);
        }
        context.begin((!self.is_interjection).then_some(record));
        TestContext { context, completions }
    }
}

impl<S: StateStore> Default for ContextBuilder<S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: StateStore> fmt::Debug for ContextBuilder<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = (&self.partition, self.offset);
        f.debug_struct("ContextBuilder").field("at", &at).finish_non_exhaustive()
    }
}

/// An [`EventContext`] to call one handler with: `create(&mut ctx, contact)`.
pub struct TestContext<S: 'static> {
    context: EventContext<S>,
    completions: Receiver<Completion<S>>,
}

/// What a handler has done.
#[derive(Debug)]
pub struct Effects {
    /// What it forwarded, in order. Where it did not choose a partition, it is 0.
    pub outputs: Vec<Record>,
    /// The changes of the store, as the changelog gets them.
    pub changes: Vec<Record>,
}

impl<S: StateStore> TestContext<S> {
    /// Moves the clock on that [`EventContext::now`] shows.
    pub fn advance(&mut self, time: Duration) {
        let now = self.context.now();
        self.context.set_clock(HandlerClock::At(now + time));
    }

    /// Ends the event: what the handler forwarded, and what it changed.
    ///
    /// # Errors
    /// If a change of the store can't be encoded.
    pub fn finish(&mut self) -> Result<Effects, CodecError> {
        let mark = self.context.mark();
        self.context.seal(mark)?;
        let mut effects = Effects { outputs: vec![], changes: vec![] };
        let outputs = std::mem::take(self.context.outputs_mut());
        for output in outputs.iter() {
            let is_change = output.topic == CHANGELOG;
            let records = if is_change { &mut effects.changes } else { &mut effects.outputs };
            let offset = i64::try_from(records.len()).unwrap_or(i64::MAX);
            records.push(to_record(&output, output.partition.unwrap_or(0), offset));
        }
        Ok(effects)
    }

    /// Runs the next completion that a completer of this context has handed over, as the event goes
    /// on there. `None` if there is none yet.
    pub fn run_completion(&mut self) -> Option<Result<ExecutionState>> {
        let completion = self.completions.try_recv().ok()?;
        Some((completion.finalize)(&mut self.context))
    }
}

impl<S: 'static> Deref for TestContext<S> {
    type Target = EventContext<S>;

    fn deref(&self) -> &EventContext<S> {
        &self.context
    }
}

impl<S: 'static> DerefMut for TestContext<S> {
    fn deref_mut(&mut self) -> &mut EventContext<S> {
        &mut self.context
    }
}

impl<S: fmt::Debug> fmt::Debug for TestContext<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.context, f)
    }
}

/// A completer without a source, to test what it is handed to.
///
/// # Examples
/// ```
/// use streams_core::handler::Completer;
/// use streams_core::prelude::*;
/// use streams_core::testing::{MockCompleter, context};
///
/// fn mail_server_answers(completer: Completer<NoStore>) {
///     completer.complete(|_| Ok(Complete));
/// }
///
/// let (completer, mock) = MockCompleter::new();
/// mail_server_answers(completer);
/// assert_eq!(mock.finalize(&mut context()).unwrap().unwrap(), Complete);
/// ```
#[derive(Debug)]
pub struct MockCompleter<S: 'static>(Receiver<Completion<S>>);

impl<S: StateStore> MockCompleter<S> {
    /// A completer, and what hears of it.
    pub fn new() -> (Completer<S>, Self) {
        let (sink, completions) = completions();
        let ticket = EventTicket {
            topic_partition: TopicPartition::new(TOPIC, 0),
            offset: Some(0),
            event: EventSeq(1),
            assignment: PartitionId(0),
            incarnation: 0,
        };
        (Completer::new(ticket, sink), Self(completions))
    }

    /// Runs what the completer was completed with; `None` if it wasn't. One that was dropped gives
    /// the error that its event fails with.
    pub fn finalize(&self, context: &mut EventContext<S>) -> Option<Result<ExecutionState>> {
        let completion = self.0.try_recv().ok()?;
        Some((completion.finalize)(context))
    }
}

/// Completions wait in a channel until the test runs them.
struct Waiting<S: 'static>(Sender<Completion<S>>);

impl<S: 'static> CompletionSink<S> for Waiting<S> {
    fn complete(&self, completion: Completion<S>) {
        // Without a receiver the context is gone, and so is its event.
        drop(self.0.send(completion));
    }
}

fn completions<S: 'static>() -> (Arc<dyn CompletionSink<S>>, Receiver<Completion<S>>) {
    let (sender, receiver) = channel();
    (Arc::new(Waiting(sender)), receiver)
}
