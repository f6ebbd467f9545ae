//! Records as people read them: in the messages of failed assertions.

use std::fmt::Write;

use crate::record::{RECORD_TYPE_HEADER, Record};

/// So many characters of a value are shown.
const VALUE_CHARS_MAX: usize = 400;

/// `SendMail key="123" value="billy@bob.com"`
pub(super) fn record(record: &Record) -> String {
    let mut text = match record.record_type() {
        "" => "(no record type)".to_owned(),
        record_type => record_type.to_owned(),
    };
    let key = record.key().map_or_else(|| "null".to_owned(), bytes);
    let value = record.value().map_or_else(|| "null".to_owned(), bytes);
    let _ = write!(text, " key={key} value={value}");
    for header in record.headers() {
        if header.name != RECORD_TYPE_HEADER {
            let value = header.value.map_or_else(|| "null".to_owned(), bytes);
            let _ = write!(text, " {}={value}", header.name);
        }
    }
    text
}

/// Text if it is text, else hexadecimal.
pub(super) fn bytes(bytes: &[u8]) -> String {
    let is_text = |text: &&str| text.chars().all(|c| !c.is_control() || c.is_whitespace());
    let mut shown = match std::str::from_utf8(bytes).ok().filter(is_text) {
        Some(text) if text.starts_with(['{', '[']) => text.to_owned(),
        Some(text) => format!("{text:?}"),
        None => bytes.iter().fold("0x".to_owned(), |text, byte| format!("{text}{byte:02x}")),
    };
    if let Some((cut, _)) = shown.char_indices().nth(VALUE_CHARS_MAX) {
        shown.truncate(cut);
        shown.push_str("..");
    }
    shown
}

/// Two lists, side by side where they agree, and both where they don't.
pub(super) fn difference(expected: &[String], actual: &[String]) -> String {
    let mut text = String::new();
    for place in 0..expected.len().max(actual.len()) {
        let _ = match (expected.get(place), actual.get(place)) {
            (Some(expected), Some(actual)) if expected == actual => {
                writeln!(text, "    {actual}")
            }
            (expected, actual) => {
                let none = "(nothing)".to_owned();
                let expected = expected.unwrap_or(&none);
                let actual = actual.unwrap_or(&none);
                writeln!(text, "  - expected: {expected}\n  + actual:   {actual}")
            }
        };
    }
    text
}
