//! The verified routing table, as `#[event_source]` generates it.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::{EventContext, Events, ExecutionState, HandlerError, Result};
use crate::codec::{CodecError, KeyCodec};
use crate::jobs::durable::JobTypes;
use crate::record::Record;
use crate::runtime::SourceBuilder;
use crate::store::StateStore;

/// What came of one event.
#[derive(Debug)]
pub enum Outcome {
    /// The event is done.
    Complete,
    /// A completer will complete it.
    Incomplete,
    /// The handler failed.
    Failed(HandlerError),
    /// The record's bytes are not the payload of its record type.
    Undecodable(CodecError),
    /// No handler for the record type, and no default handler.
    Unrouted,
}

/// What a handler may return.
#[diagnostic::on_unimplemented(
    message = "a handler can't return `{Self}`",
    label = "should be `Result<ExecutionState>`",
    note = "end with `Ok(Complete)` when the event is done, or `Ok(Incomplete)` when a completer \
            finishes it later"
)]
pub trait IntoOutcome {
    /// The outcome it means.
    fn into_outcome(self) -> Outcome;
}

impl IntoOutcome for ExecutionState {
    fn into_outcome(self) -> Outcome {
        match self {
            Self::Complete => Outcome::Complete,
            Self::Incomplete => Outcome::Incomplete,
        }
    }
}

impl<E: Into<HandlerError>> IntoOutcome for std::result::Result<ExecutionState, E> {
    fn into_outcome(self) -> Outcome {
        self.map_or_else(|e| Outcome::Failed(e.into()), IntoOutcome::into_outcome)
    }
}

/// One row of the routing table, as data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The record type, as it travels in the `__grt__` header; `*` for the default handler.
    pub record_type: &'static str,
    /// The record types of its older forms, newest first, which arrive in today's form.
    pub older: &'static [&'static str],
    /// The payload's type.
    pub payload: &'static str,
    /// The handler's path.
    pub handler: &'static str,
    /// The file in which the handler stands.
    pub file: &'static str,
    /// The line of its name.
    pub line: u32,
}

/// A handler that is called by the clock, once for each partition. Kafka Streams: a punctuator.
#[derive(Debug)]
pub struct Interjection<S: 'static, H: 'static = ()> {
    /// The handler's path.
    pub name: &'static str,
    /// The time between two calls.
    pub every: Duration,
    /// Each interval is longer or shorter by a random time up to this.
    pub jitter: Duration,
    /// The handler: it is called with the partition's context, what the handlers share, and the
    /// time.
    pub call: fn(&mut EventContext<S>, &Arc<H>, SystemTime) -> Outcome,
}

impl<S: 'static, H: 'static> Clone for Interjection<S, H> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S: 'static, H: 'static> Copy for Interjection<S, H> {}

/// The durable jobs of an async handler.
#[derive(Debug)]
pub struct DurableRoute<S: 'static, H: 'static = ()> {
    /// The job type, which the rows in the changelog carry.
    pub job_type: &'static str,
    /// Registers the job type.
    #[doc(hidden)]
    pub register: fn(&mut JobTypes<S>, &Arc<H>),
}

/// A verified routing table: of a store `S`, and of `H`, which all handlers share.
///
/// Displayed, it is a table to read.
#[derive(Debug)]
pub struct RoutingTable<S: 'static, H: 'static = ()> {
    /// Decodes the record and calls its handler.
    pub dispatch: fn(&mut EventContext<S>, &Arc<H>, &Record) -> Outcome,
    /// The rows, as data.
    pub routes: &'static [Route],
    /// The handler of all that has no row.
    pub default: Option<Route>,
    /// The interjections.
    pub interjections: &'static [Interjection<S, H>],
    /// The durable jobs of async handlers.
    pub durable_jobs: &'static [DurableRoute<S, H>],
}

impl<S: 'static, H: 'static> fmt::Display for RoutingTable<S, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rows: Vec<[String; 4]> = vec![];
        for route in self.routes.iter().chain(&self.default) {
            let place = format!("{}:{}", route.file, route.line);
            let columns = [route.record_type, route.payload, route.handler];
            rows.push([columns[0].into(), columns[1].into(), columns[2].into(), place]);
            for older in route.older {
                let form = format!("older form of {}", route.record_type);
                rows.push([(*older).to_owned(), form, String::new(), String::new()]);
            }
        }
        for Interjection { name, every, jitter, .. } in self.interjections {
            let jitter = if jitter.is_zero() { String::new() } else { format!(" +-{jitter:?}") };
            let when = format!("every {every:?}{jitter}");
            rows.push([when, "SystemTime".to_owned(), (*name).to_owned(), String::new()]);
        }
        let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
        let [first, second, third] = [width(0), width(1), width(2)];
        for [what, payload, handler, place] in &rows {
            let row = format!("{what:first$}  {payload:second$}  {handler:third$}  {place}");
            writeln!(f, "{}", row.trim_end())?;
        }
        Ok(())
    }
}

/// The key of a source that declares none.
#[derive(Debug)]
pub enum NoDeclaredKey {}

/// A type of keys that a source declares.
#[diagnostic::on_unimplemented(
    message = "this source declares no type of its keys",
    label = "there is no typed key",
    note = "declare it: `#[event_source(.., key = String)]`, with a type that is `KeyCodec`; or \
            read the key as `ctx.key::<String>()?`"
)]
pub trait DeclaredKey: KeyCodec {}

#[diagnostic::do_not_recommend]
impl<K: KeyCodec> DeclaredKey for K {}

/// An application: a contract, a store, and a handler for each record type. `#[event_source]`.
pub trait EventSource: Sized + 'static {
    /// The contract of the source topic.
    type Events: Events;
    /// The state of each partition.
    type Store: StateStore;
    /// What all handlers share, in all partitions and threads: a client, a configuration. `()`
    /// unless `#[event_source(.., shared = App)]` says so.
    type Shared: Send + Sync + 'static;
    /// The type of the source topic's keys, as `#[event_source(.., key = String)]` declares it;
    /// [`NoDeclaredKey`] if it doesn't.
    type Key;
    /// The verified routing table.
    const TABLE: RoutingTable<Self::Store, Self::Shared>;

    /// Decodes the record and calls its handler.
    fn dispatch(
        ctx: &mut EventContext<Self::Store>,
        shared: &Arc<Self::Shared>,
        record: &Record,
    ) -> Outcome {
        (Self::TABLE.dispatch)(ctx, shared, record)
    }

    /// Returns the key of the event's record, in the type that `#[event_source(.., key = String)]`
    /// declares: `let id = Source::key(ctx)?;`. [`EventContext::key`] reads a key of any type, and
    /// is `None` if the record has none.
    ///
    /// # Errors
    /// If the record has no key, or its bytes are not of this type, or in an interjection.
    fn key(ctx: &EventContext<Self::Store>) -> Result<Self::Key>
    where
        Self::Key: DeclaredKey,
    {
        let Some(record) = ctx.input() else {
            return Err(HandlerError::fail("an interjection has no record, and so no key"));
        };
        match record.key() {
            Some(key) => Ok(Self::Key::decode_key(key)?),
            None => Err(HandlerError::fail(format!(
                "the record at offset {} of {} has no key, and the source declares one: let its \
                 producer send it, or read `ctx.key()`, which is `None` then",
                record.offset(),
                record.topic_partition(),
            ))),
        }
    }

    /// The settings of a source of this application; [`SourceBuilder::start`] starts it.
    fn builder() -> SourceBuilder<Self, Self::Shared> {
        SourceBuilder::new()
    }

    /// The routing table as data.
    fn routes() -> &'static [Route] {
        Self::TABLE.routes
    }
}
