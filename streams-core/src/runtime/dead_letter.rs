//! A record that was sent away because its event failed: a dead letter.
//!
//! It has the key, the value and the headers of the record, and the headers of KIP-1034, which
//! tools for the dead letters of Kafka Streams read. A letter that is processed again and fails
//! again has the headers of its last failure only.

use super::failure::EventFailure;
use crate::record::{ProducerRecord, Record};

/// The header with the kind of the error and its text: `HandlerFailed: no such account`.
pub const EXCEPTION_HEADER: &str = "__streams.errors.exception";
/// The header with the text of the error.
pub const MESSAGE_HEADER: &str = "__streams.errors.message";
/// The header with the error and its sources, one a line. Rust keeps no trace of the stack.
pub const STACKTRACE_HEADER: &str = "__streams.errors.stacktrace";
/// The header with the topic of the record.
pub const TOPIC_HEADER: &str = "__streams.errors.topic";
/// The header with the partition of the record, in decimals.
pub const PARTITION_HEADER: &str = "__streams.errors.partition";
/// The header with the offset of the record, in decimals.
pub const OFFSET_HEADER: &str = "__streams.errors.offset";

const HEADERS: [&str; 6] = [
    EXCEPTION_HEADER,
    MESSAGE_HEADER,
    STACKTRACE_HEADER,
    TOPIC_HEADER,
    PARTITION_HEADER,
    OFFSET_HEADER,
];

/// The letter that is sent to `topic` in place of the record's event.
///
/// Its timestamp is the time of the failure: with the record's own, the retention of the topic
/// could delete a letter as soon as it is there.
pub(crate) fn dead_letter(
    topic: String,
    record: &Record,
    failure: &EventFailure,
) -> ProducerRecord {
    let mut letter = ProducerRecord::to(topic);
    if let Some(key) = record.key() {
        letter = letter.key(key.to_vec());
    }
    if let Some(value) = record.value() {
        letter = letter.value(value.to_vec());
    }
    let is_new = |name: &[u8]| HEADERS.iter().all(|header| header.as_bytes() != name);
    for (name, value) in record.headers().iter().raw().filter(|(name, _)| is_new(name)) {
        letter = letter.header(name, value);
    }
    let message = failure.error().to_string();
    let at = record.topic_partition();
    let values = [
        format!("{}: {message}", failure.kind()),
        message,
        trace(failure),
        at.topic().to_string(),
        at.partition().to_string(),
        record.offset().to_string(),
    ];
    for (name, value) in HEADERS.into_iter().zip(values) {
        letter = letter.header(name, Some(value.as_bytes()));
    }
    letter
}

fn trace(failure: &EventFailure) -> String {
    let first = failure.error();
    let mut text = format!("{}: {first}", failure.kind());
    let mut source = first.source();
    while let Some(error) = source {
        text.push_str("\nCaused by: ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
