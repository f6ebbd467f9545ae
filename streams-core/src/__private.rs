//! What the macros' output names. No promises.

use std::time::{Duration, SystemTime};

pub use schemars::{Schema, SchemaGenerator};

use crate::codec::{Codec, CodecError, Encoded, EventCodec};
pub use crate::codec::{Json as json, RawBytes as bytes, Text as text};
use crate::handler::Outcome;
use crate::record::Record;
use crate::store::{Change, Changelog, EventSeq, StoreField};

/// The contract's variants by place, so that generated code never repeats a payload's type.
pub trait Variant<const INDEX: usize> {
    type Payload<'record>: EventCodec<'record>;
    const RECORD_TYPE: &'static str;
}

/// How the payload of the `I`th variant becomes bytes.
type Via<'record, E, const I: usize> =
    <<E as Variant<I>>::Payload<'record> as EventCodec<'record>>::Via;

pub fn decode<'record, E: Variant<I>, const I: usize>(
    record: &'record Record,
) -> Result<E::Payload<'record>, CodecError> {
    Via::<'record, E, I>::decode(Encoded::from(record))
}

pub fn encode<E: Variant<I>, const I: usize>(
    payload: &E::Payload<'_>,
    out: &mut Vec<u8>,
) -> Result<(), CodecError> {
    Via::<'_, E, I>::encode(payload, out)
}

pub fn schema<E: Variant<I>, const I: usize>(generator: &mut SchemaGenerator) -> Schema {
    <Via<'static, E, I> as Codec<'static, E::Payload<'static>>>::schema(generator)
}

/// The store's fields by place.
pub trait Field<const INDEX: usize> {
    type Table: StoreField;
}

pub fn create_field<S: Field<I>, const I: usize>(name: &'static str) -> S::Table {
    S::Table::create(name)
}

pub fn drain_field<S: Field<I>, const I: usize>(
    table: &mut S::Table,
    event: EventSeq,
    changelog: &mut Changelog<'_>,
) -> Result<(), CodecError> {
    table.drain_changes(event, changelog)
}

pub fn undo_field<S: Field<I>, const I: usize>(table: &mut S::Table, event: EventSeq) {
    table.undo_from(event);
}

pub fn commit_field<S: Field<I>, const I: usize>(table: &mut S::Table, event: EventSeq) {
    table.commit_before(event);
}

pub fn restore_field<S: Field<I>, const I: usize>(
    table: &mut S::Table,
    key: &[u8],
    change: Change<'_>,
) -> Result<(), CodecError> {
    table.restore(key, change.value)
}

pub fn unknown_table(change: &Change<'_>, table: &[u8], known: &[&str]) -> CodecError {
    CodecError::decode::<Change<'_>>(format_args!(
        "the changelog's record at offset {} belongs to the table `{}`, and the store has \
         {known:?}: keep the table in the store until its records are gone, or use another \
         changelog topic",
        change.offset,
        String::from_utf8_lossy(table),
    ))
}

pub trait Handler {
    type Context;
    type Payload<'record>;
    fn call(ctx: &mut Self::Context, payload: Self::Payload<'_>) -> Outcome;
}

pub trait InterjectionHandler {
    type Context;
    const EVERY: Duration;
    const JITTER: Duration;
    fn call(ctx: &mut Self::Context, at: SystemTime) -> Outcome;
}

pub trait DefaultHandler {
    type Context;
    fn call(ctx: &mut Self::Context, record: &Record) -> Outcome;
}

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
