//! What the macros' output names besides the public types. No promises: it changes with the macros.

#![allow(missing_docs, reason = "only generated code calls it")]

pub use std::option::Option;
pub use std::result::Result;
pub use std::sync::Arc;
pub use std::time::{Duration, SystemTime};
pub use std::vec::Vec;

pub use schemars::{Schema, SchemaGenerator};
pub use serde_json::Value;
pub use streams_derive::__routing_table as routing_table;

pub use crate::codec::part::composite_schema;
use crate::codec::{Codec, CodecSchema, EventCodec, KeyCodec};
pub use crate::codec::{CodecError, Encoded};
use crate::handler::Events;
pub use crate::handler::{EventContext, Interjection, NoDeclaredKey, Outcome, Route, RoutingTable};
pub use crate::record::{Record, TopicPartition};
pub use crate::schema::{Described, DescribedStore, TableSchema};
pub use crate::store::{Change, Changelog, EventSeq, NoStore, StateStore, split_table_key};
use crate::store::{DescribedRows, StoreField, TypedRows};

/// The contract's variants by place, so that generated code never repeats a payload's type: this is
/// where it is asked for its codec, and all that follows takes it for granted.
pub trait Variant<const INDEX: usize> {
    type Payload<'record>: EventCodec<'record>;

    /// Whatever form the record has, as long as it is one of this variant's.
    #[inline]
    fn decode(record: &Record) -> Result<Self::Payload<'_>, CodecError> {
        crate::codec::decode(record.into())
    }
}

#[inline]
pub fn decode<E: Variant<I>, const I: usize>(
    record: &Record,
) -> Result<E::Payload<'_>, CodecError> {
    E::decode(record)
}

/// The payload of a record; `None` if it is a tombstone, which its codec does not read.
#[inline]
pub fn payload<E: Variant<I>, const I: usize>(
    record: &Record,
) -> Result<Option<E::Payload<'_>>, CodecError> {
    match E::decode(record) {
        Ok(payload) => Ok(Some(payload)),
        Err(error) if record.value().is_some() => Err(error),
        Err(_) => Ok(None),
    }
}

/// What becomes of a tombstone whose handler takes no `Option`: it goes to the default handler, if
/// there is one.
pub fn tombstone(default: impl FnOnce() -> Outcome) -> Outcome {
    match default() {
        Outcome::Unrouted => Outcome::Undecodable(CodecError::Tombstone),
        outcome => outcome,
    }
}

/// The newest form of a payload, past [`Variant::decode`].
#[inline]
pub fn decode_newest<E: Variant<I>, const I: usize>(
    record: &Record,
) -> Result<E::Payload<'_>, CodecError> {
    crate::codec::decode(record.into())
}

/// An older form of a variant's payload: the newest of them is of age 1.
pub trait Older<const INDEX: usize, const AGE: usize> {
    type Newer<'record>;
    type Payload<'record>: EventCodec<'record> + UpcastTo<Self::Newer<'record>>;
}

#[inline]
pub fn decode_older<E: Older<I, AGE>, const I: usize, const AGE: usize>(
    record: &Record,
) -> Result<E::Payload<'_>, CodecError> {
    crate::codec::decode(record.into())
}

#[inline]
pub fn upcast<'record, E: Older<I, AGE>, const I: usize, const AGE: usize>(
    payload: E::Payload<'record>,
) -> E::Newer<'record> {
    payload.upcast()
}

#[diagnostic::on_unimplemented(
    message = "`{Self}` can't become `{Newer}`",
    label = "can't become `{Newer}`",
    note = "write `impl From<{Self}> for {Newer}`; older forms are listed newest first, and each \
            becomes the one before it"
)]
pub trait UpcastTo<Newer> {
    fn upcast(self) -> Newer;
}

#[diagnostic::do_not_recommend]
impl<Old: Into<Newer>, Newer> UpcastTo<Newer> for Old {
    fn upcast(self) -> Newer {
        self.into()
    }
}

#[inline]
pub fn encode<'record, E: Variant<I>, const I: usize>(
    payload: &E::Payload<'record>,
    out: &mut Vec<u8>,
) -> Result<(), CodecError> {
    crate::codec::encode(payload, out)
}

pub fn content_type<E: Variant<I>, const I: usize>() -> Option<&'static str> {
    <<E::Payload<'static> as EventCodec<'static>>::Via as Codec<'static, _>>::CONTENT_TYPE
}

pub fn schema<E: VariantSchema<'static, I>, const I: usize>(
    generator: &mut SchemaGenerator,
) -> Schema {
    E::schema(generator)
}

/// A contract's variant whose payload can be described. A contract that asks for it at any lifetime
/// is judged when it is described, and not before.
pub trait VariantSchema<'record, const INDEX: usize> {
    fn schema(generator: &mut SchemaGenerator) -> Schema;
}

impl<'record, const INDEX: usize, E: Variant<INDEX>> VariantSchema<'record, INDEX> for E
where
    <E::Payload<'record> as EventCodec<'record>>::Via: CodecSchema<'record, E::Payload<'record>>,
{
    fn schema(generator: &mut SchemaGenerator) -> Schema {
        <<E::Payload<'record> as EventCodec<'record>>::Via as CodecSchema<
            'record,
            E::Payload<'record>,
        >>::schema(generator)
    }
}

/// A payload with one field, whose codec it takes.
pub trait Newtype<'record> {
    type Inner: EventCodec<'record>;

    fn wrap(inner: Self::Inner) -> Self;

    fn inner(&self) -> &Self::Inner;
}

/// The codec of a [`Newtype`].
#[derive(Debug)]
pub enum Transparent {}

impl<'record, T: Newtype<'record>> Codec<'record, T> for Transparent {
    fn encode(value: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
        crate::codec::encode(value.inner(), out)
    }

    fn decode(encoded: Encoded<'record>) -> Result<T, CodecError> {
        crate::codec::decode(encoded).map(T::wrap)
    }

    const CONTENT_TYPE: Option<&'static str> =
        <<T::Inner as EventCodec<'record>>::Via as Codec<'record, T::Inner>>::CONTENT_TYPE;
}

impl<'record, T: Newtype<'record>> CodecSchema<'record, T> for Transparent
where
    <T::Inner as EventCodec<'record>>::Via: CodecSchema<'record, T::Inner>,
{
    fn schema(generator: &mut SchemaGenerator) -> Schema {
        <<T::Inner as EventCodec<'record>>::Via as CodecSchema<'record, T::Inner>>::schema(
            generator,
        )
    }
}

/// The codec of a payload whose own is wrong: the derive said so.
#[derive(Debug)]
pub enum Broken {}

impl<T> Codec<'_, T> for Broken {
    fn encode(_: &T, _: &mut Vec<u8>) -> Result<(), CodecError> {
        Err(CodecError::encode::<T>("its derive did not compile"))
    }

    fn decode(_: Encoded<'_>) -> Result<T, CodecError> {
        Err(CodecError::decode::<T>("its derive did not compile"))
    }
}

impl<T> CodecSchema<'_, T> for Broken {
    fn schema(_: &mut SchemaGenerator) -> Schema {
        Schema::default()
    }
}

/// The contract of a source whose own is wrong: the attribute said so.
#[derive(Debug)]
pub enum NoEvents {}

impl Events for NoEvents {
    type At<'record> = Self;
    const NAME: &'static str = "NoEvents";
    const RECORD_TYPES: &'static [&'static str] = &[];

    fn record_type(&self) -> &'static str {
        match *self {}
    }

    fn encode(&self, _: &mut Vec<u8>) -> Result<(), CodecError> {
        match *self {}
    }

    fn decode(_: &Record) -> Result<Option<Self>, CodecError> {
        Ok(None)
    }
}

impl Described for NoEvents {
    fn payload_schemas(_: &mut SchemaGenerator) -> Vec<(&'static str, Schema)> {
        vec![]
    }
}

/// The fields of a derived key by place: this is where each is asked to be a key.
pub trait KeyPartAt<const INDEX: usize> {
    type Part: KeyCodec;
}

pub fn encode_part<K: KeyPartAt<I>, const I: usize>(part: &K::Part, out: &mut Vec<u8>) {
    part.encode_part(out);
}

pub fn decode_part<K: KeyPartAt<I>, const I: usize>(
    bytes: &mut &[u8],
) -> Result<K::Part, CodecError> {
    K::Part::decode_part(bytes)
}

pub fn encode_only_part<K: KeyPartAt<0>>(part: &K::Part, out: &mut Vec<u8>) {
    part.encode_key(out);
}

pub fn decode_only_part<K: KeyPartAt<0>>(bytes: &[u8]) -> Result<K::Part, CodecError> {
    K::Part::decode_key(bytes)
}

/// A key of several parts, and nothing after them.
pub fn decode_whole<K: KeyCodec>(mut bytes: &[u8]) -> Result<K, CodecError> {
    let key = K::decode_part(&mut bytes)?;
    crate::codec::part::ends::<K>(bytes)?;
    Ok(key)
}

pub fn part_schema<K: KeyPartAt<I>, const I: usize>() -> Value {
    K::Part::key_schema()
}

/// The fields of a derived store by place: this is where each is asked to be a table.
pub trait TableAt<const INDEX: usize> {
    type Table: StoreField;
}

pub fn create_table<S: TableAt<I>, const I: usize>(name: &'static str) -> S::Table {
    S::Table::create(name)
}

pub fn drain_table<S: TableAt<I>, const I: usize>(
    table: &mut S::Table,
    event: EventSeq,
    changelog: &mut Changelog<'_>,
) -> Result<(), CodecError> {
    table.drain_changes(event, changelog)
}

pub fn undo_table<S: TableAt<I>, const I: usize>(table: &mut S::Table, event: EventSeq) {
    table.undo_from(event);
}

pub fn commit_table<S: TableAt<I>, const I: usize>(table: &mut S::Table, event: EventSeq) {
    table.commit_before(event);
}

pub fn restore_table<S: TableAt<I>, const I: usize>(
    table: &mut S::Table,
    name: &'static str,
    key: &[u8],
    change: &Change<'_>,
) -> Result<(), CodecError> {
    table
        .restore(key, change.value)
        .map_err(|error| change.error(format_args!("not a row of the table `{name}`: {error}")))
}

/// A type that the rows of a table had before.
pub trait OlderRowAt<const INDEX: usize, const AGE: usize>:
    TableAt<INDEX, Table: TypedRows>
{
    type Old: for<'a> EventCodec<'a>
        + UpcastRow<<<Self as TableAt<INDEX>>::Table as TypedRows>::Row>;
}

#[diagnostic::on_unimplemented(
    message = "`{Self}` can't become `{Row}`, which is the type of the table's rows today",
    label = "can't become `{Row}`",
    note = "write `impl From<{Self}> for {Row}`"
)]
pub trait UpcastRow<Row> {
    fn upcast_row(self) -> Row;
}

#[diagnostic::do_not_recommend]
impl<Old: Into<Row>, Row> UpcastRow<Row> for Old {
    fn upcast_row(self) -> Row {
        self.into()
    }
}

/// Restores a row that is none in today's form, `error`, from an older form.
pub fn restore_older<S: OlderRowAt<I, AGE>, const I: usize, const AGE: usize>(
    table: &mut S::Table,
    key: &[u8],
    change: &Change<'_>,
    error: CodecError,
) -> Result<(), CodecError> {
    let encoded = Encoded { value: change.value, headers: change.headers };
    let Ok(old) = crate::codec::decode::<S::Old>(encoded) else {
        return Err(error);
    };
    let mut row = vec![];
    crate::codec::encode(&old.upcast_row(), &mut row)?;
    table.restore(key, Some(&row)).map_err(|_| error)
}

/// A store's table that can be described; judged when the store is described, and not before.
pub trait RowSchemaAt<'any, const INDEX: usize> {
    fn key_schema() -> Value;
    fn row_schema(generator: &mut SchemaGenerator) -> Schema;
}

impl<'any, const INDEX: usize, S> RowSchemaAt<'any, INDEX> for S
where
    S: TableAt<INDEX, Table: DescribedRows<'any>>,
{
    fn key_schema() -> Value {
        S::Table::key_schema()
    }

    fn row_schema(generator: &mut SchemaGenerator) -> Schema {
        S::Table::row_schema(generator)
    }
}

/// As [`RowSchemaAt`], for an older form.
pub trait OlderRowSchemaAt<'any, const INDEX: usize, const AGE: usize> {
    fn row_schema(generator: &mut SchemaGenerator) -> Schema;
}

impl<'any, const INDEX: usize, const AGE: usize, S> OlderRowSchemaAt<'any, INDEX, AGE> for S
where
    S: OlderRowAt<INDEX, AGE>,
    <S::Old as EventCodec<'any>>::Via: CodecSchema<'any, S::Old>,
{
    fn row_schema(generator: &mut SchemaGenerator) -> Schema {
        <<S::Old as EventCodec<'any>>::Via as CodecSchema<'any, S::Old>>::schema(generator)
    }
}

pub fn table_schema<S: for<'any> RowSchemaAt<'any, I>, const I: usize>(
    name: &'static str,
    older: &[fn(&mut SchemaGenerator) -> Schema],
    generator: &mut SchemaGenerator,
) -> TableSchema {
    TableSchema {
        name,
        key: <S as RowSchemaAt<'static, I>>::key_schema(),
        row: <S as RowSchemaAt<'static, I>>::row_schema(generator),
        older: older.iter().map(|schema| schema(generator)).collect(),
    }
}

pub fn older_row_schema<S, const I: usize, const AGE: usize>(
    generator: &mut SchemaGenerator,
) -> Schema
where
    S: for<'any> OlderRowSchemaAt<'any, I, AGE>,
{
    <S as OlderRowSchemaAt<'static, I, AGE>>::row_schema(generator)
}

/// The changelog has a table that the store has not.
pub fn unknown_table(
    table: &[u8],
    known: &[&'static str],
    change: &Change<'_>,
) -> Result<(), CodecError> {
    let table = String::from_utf8_lossy(table);
    let known: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    Err(change.error(format_args!(
        "of a table `{table}`, and the store's tables are {known}: if the field was renamed, give \
         it its former name, `#[table(\"{table}\")]`; if it was removed, keep it until the \
         changelog has no record of it; if it never was, the topic is another application's"
    )))
}

/// The twin of an event handler. What it shares with others is `()` if it doesn't ask for it.
pub trait Handler {
    type Context;
    type Shared;
    type Payload<'record>;
    const FILE: &'static str;
    const LINE: u32;

    fn call(ctx: &mut Self::Context, shared: &Self::Shared, payload: Self::Payload<'_>) -> Outcome;
}

pub use crate::jobs::sugar::{
    Finalizer, JobKey, JobPayload, JobReturn, JobSettings, complete_job, job_key, record_key,
    schedule,
};

/// The twin of an interjection.
pub trait InterjectionHandler {
    type Context;
    type Shared;
    const EVERY: Duration;
    const JITTER: Duration;

    fn call(ctx: &mut Self::Context, shared: &Self::Shared, at: SystemTime) -> Outcome;
}

/// The twin of a default handler.
pub trait DefaultHandler {
    type Context;
    type Shared;
    const FILE: &'static str;
    const LINE: u32;

    fn call(ctx: &mut Self::Context, shared: &Self::Shared, record: &Record) -> Outcome;
}

/// The twin of an async handler.
pub trait AsyncHandler: Sized + 'static {
    type Shared: 'static;
    type Payload: JobPayload;
    type Returned: JobReturn;
    const FILE: &'static str;
    const LINE: u32;

    /// Schedules a job for the event; `take` yields what the handler shares with others.
    fn schedule<S: StateStore, H: Send + Sync + 'static>(
        ctx: &mut EventContext<S>,
        shared: &Arc<H>,
        take: fn(&Arc<H>) -> &Self::Shared,
        payload: Self::Payload,
        finalizer: Finalizer<S, Self>,
    ) -> Outcome;
}

/// The twin of an async handler whose jobs are durable.
pub trait DurableHandler: Sized + 'static {
    type Shared: 'static;
    type Payload: DurablePayload;
    type Returned: JobReturn;
    const TYPE: &'static str;
    const FILE: &'static str;
    const LINE: u32;

    /// Schedules a job for the event.
    fn schedule<S: StateStore>(ctx: &mut EventContext<S>, payload: Self::Payload) -> Outcome;

    /// Registers the job type; `take` yields what the handler shares with others.
    fn register<S: StateStore, H: Send + Sync + 'static>(
        jobs: &mut JobTypes<S>,
        shared: &Arc<H>,
        take: fn(&Arc<H>) -> &Self::Shared,
        finalizer: DurableFinalizer<S, Self>,
    );
}

pub use crate::handler::DurableRoute;
pub use crate::jobs::durable::JobTypes;
pub use crate::jobs::durable::sugar::{
    DurableFinalizer, DurablePayload, complete_durable, durable_key, register_durable,
    schedule_durable,
};
#[diagnostic::on_unimplemented(
    message = "an interjection is told the time as `SystemTime`",
    label = "should be `SystemTime`, not `{Self}`"
)]
pub trait IsTime {
    fn from_system(at: SystemTime) -> Self;
}

impl IsTime for SystemTime {
    fn from_system(at: SystemTime) -> Self {
        at
    }
}

#[diagnostic::on_unimplemented(
    message = "a default handler takes the raw record",
    label = "should be `Record`, not `{Self}`"
)]
pub trait IsRecord {
    fn from_record(record: &Record) -> &Self;
}

impl IsRecord for Record {
    fn from_record(record: &Record) -> &Self {
        record
    }
}
