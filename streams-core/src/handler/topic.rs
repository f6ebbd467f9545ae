//! A topic, its contract and its key type, named once.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use super::Events;
use crate::codec::{AsKey, CONTENT_TYPE_HEADER, CodecError, KeyCodec};
use crate::record::{Headers, Outputs, Partitioner, RECORD_TYPE_HEADER, Record, trace_headers};

/// A topic with its contract and its key: what may be sent there is a matter of types.
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
///     ctx.forward(&NOTIFIED, id, NotifyEvents::Notified("by mail".to_owned()))
/// }
/// # fn main() {}
/// ```
pub struct Topic<E, K = String> {
    name: Name,
    partitioner: Option<&'static dyn Partitioner>,
    types: PhantomData<fn(E, K)>,
}

/// A copy costs no allocation.
#[derive(Clone)]
enum Name {
    Static(&'static str),
    Shared(Arc<str>),
}

impl<E, K> Topic<E, K> {
    /// A topic whose name the program knows, in a `static` mostly.
    pub const fn new(name: &'static str) -> Self {
        Self { name: Name::Static(name), partitioner: None, types: PhantomData }
    }

    /// A topic whose name comes from a configuration. Handlers get it by what they
    /// [share](macro@crate::event_source#what-all-handlers-share).
    ///
    /// # Examples
    /// ```
    /// use streams_core::prelude::*;
    ///
    /// #[derive(Events)]
    /// enum Numbers {
    ///     Add(i64),
    /// }
    ///
    /// struct App {
    ///     sums: Topic<Numbers>,
    /// }
    ///
    /// #[event_source(events = Numbers, store = NoStore, shared = App)]
    /// mod numbers {
    ///     use super::*;
    ///
    ///     #[event_handler("Add")]
    ///     fn add(ctx: &mut EventContext<NoStore>, app: &App, n: i64) -> Result<ExecutionState> {
    ///         ctx.forward(&app.sums, "sum", Numbers::Add(n))?;
    ///         Ok(Complete)
    ///     }
    /// }
    ///
    /// # fn main() {
    /// let prefix = "staging";
    /// let sums = Topic::named(format!("{prefix}.sums"));
    /// let source = numbers::Source::builder().output(&sums).shared(App { sums });
    /// # drop(source);
    /// # }
    /// ```
    pub fn named(name: impl Into<Arc<str>>) -> Self {
        Self { name: Name::Shared(name.into()), partitioner: None, types: PhantomData }
    }

    /// Sets who chooses the partition of the topic's records: `forward`, and an
    /// [`EventProducer`](crate::EventProducer) of the topic. By default the key's murmur2 hash
    /// decides. GKES: `OptionalPartitioner.ForTopic`.
    ///
    /// A handler knows the number of partitions of declared outputs alone: declare the topic by
    /// [`SourceBuilder::output`](crate::SourceBuilder::output).
    ///
    /// # Examples
    /// ```
    /// use streams_core::prelude::*;
    /// use streams_core::record::RoundRobin;
    ///
    /// #[derive(Events)]
    /// enum Work {
    ///     Started(String),
    /// }
    ///
    /// static TURNS: RoundRobin = RoundRobin::new();
    /// static WORK: Topic<Work> = Topic::new("work").partitioner(&TURNS);
    /// # fn main() {}
    /// ```
    #[must_use]
    pub const fn partitioner(mut self, partitioner: &'static dyn Partitioner) -> Self {
        self.partitioner = Some(partitioner);
        self
    }

    /// Who chooses the partition of the topic's records, if it is not the key's murmur2 hash.
    pub(crate) const fn chosen_by(&self) -> Option<&'static dyn Partitioner> {
        self.partitioner
    }

    /// The topic's name.
    pub fn name(&self) -> &str {
        match &self.name {
            Name::Static(name) => name,
            Name::Shared(name) => name,
        }
    }
}

impl<E, K> Clone for Topic<E, K> {
    fn clone(&self) -> Self {
        Self { name: self.name.clone(), partitioner: self.partitioner, types: PhantomData }
    }
}

/// The topic's name: so `.topic(&CONTACTS)` and `.output(&NOTIFIED)` take a topic.
impl<E, K> From<&Topic<E, K>> for String {
    fn from(topic: &Topic<E, K>) -> Self {
        topic.name().to_owned()
    }
}

/// The value of a record that is written.
pub(super) enum Value<'d, 'e, E: Events> {
    Event(&'d E::At<'e>),
    Tombstone,
}

/// A record that is written, in parts.
pub(super) struct Draft<'d, 'e, E: Events, Q: ?Sized> {
    pub(super) key: Option<&'d Q>,
    pub(super) record_type: &'static str,
    pub(super) value: Value<'d, 'e, E>,
    pub(super) partition: Option<i32>,
    pub(super) timestamp_ms: Option<i64>,
    pub(super) headers: Option<&'d Headers>,
    /// The record whose trace context goes with it.
    pub(super) input: Option<&'d Record>,
}

impl<E: Events, K: KeyCodec> Topic<E, K> {
    /// Appends the record of `event` to `outputs`: key, record type and value.
    ///
    /// # Errors
    /// If the payload can't be encoded; nothing is appended then.
    pub fn write(
        &self,
        outputs: &mut Outputs,
        partition: Option<i32>,
        key: &(impl AsKey<K> + ?Sized),
        event: &E::At<'_>,
    ) -> Result<(), CodecError> {
        self.write_traced(outputs, partition, key, event, None)
    }

    /// As [`Topic::write`], with the trace context of `input`.
    pub(super) fn write_traced(
        &self,
        outputs: &mut Outputs,
        partition: Option<i32>,
        key: &(impl AsKey<K> + ?Sized),
        event: &E::At<'_>,
        input: Option<&Record>,
    ) -> Result<(), CodecError> {
        let draft = Draft {
            key: Some(key),
            record_type: event.record_type(),
            value: Value::Event::<E>(event),
            partition,
            timestamp_ms: None,
            headers: None,
            input,
        };
        self.write_draft(outputs, &draft)
    }

    /// Appends a record without a value.
    ///
    /// # Errors
    /// If the contract has no such record type; nothing is appended then.
    pub(crate) fn write_tombstone(
        &self,
        outputs: &mut Outputs,
        record_type: &str,
        key: &(impl AsKey<K> + ?Sized),
        input: Option<&Record>,
    ) -> Result<(), CodecError> {
        let known = E::RECORD_TYPES.iter().find(|known| **known == record_type);
        let Some(record_type) = known else {
            return Err(CodecError::Encode {
                what: E::NAME,
                reason: format!(
                    "it has no record type `{record_type}` whose tombstone could be sent: its \
                     record types are {}",
                    E::RECORD_TYPES.join(", ")
                ),
            });
        };
        let draft = Draft::<E, _> {
            key: Some(key),
            record_type,
            value: Value::Tombstone,
            partition: None,
            timestamp_ms: None,
            headers: None,
            input,
        };
        self.write_draft(outputs, &draft)
    }

    pub(super) fn write_draft<Q: AsKey<K> + ?Sized>(
        &self,
        outputs: &mut Outputs,
        draft: &Draft<'_, '_, E, Q>,
    ) -> Result<(), CodecError> {
        let mut record = match &self.name {
            Name::Static(name) => outputs.record(*name),
            Name::Shared(name) => outputs.record_to(name),
        };
        let event = match draft.value {
            Value::Event(event) => Some(event),
            Value::Tombstone => None,
        };
        let record_type = (RECORD_TYPE_HEADER, draft.record_type);
        let content_type = event.and_then(Events::content_type);
        let content_type = content_type.map(|name| (CONTENT_TYPE_HEADER, name));
        let typed = [record_type].into_iter().chain(content_type);
        let typed = typed.map(|(name, value)| (name.as_bytes(), Some(value.as_bytes())));
        let traced = trace_headers(draft.input, draft.headers);
        let traced = traced.map(|(name, value)| (name.as_bytes(), value));
        let own = draft.headers.into_iter().flat_map(|headers| headers.iter().raw());
        record.headers(typed.chain(traced).chain(own));
        if let Some(partition) = draft.partition {
            record.partition(partition);
        }
        if let Some(timestamp_ms) = draft.timestamp_ms {
            record.timestamp_ms(timestamp_ms);
        }
        if let Some(key) = draft.key {
            record.key_with(|out| {
                key.encode_as_key(out);
                Ok::<(), CodecError>(())
            })?;
        }
        if let Some(event) = event {
            record.value_with(|out| event.encode(out))?;
        }
        record.finish();
        Ok(())
    }
}

impl<E, K> fmt::Debug for Topic<E, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Topic").field(&self.name()).finish()
    }
}
