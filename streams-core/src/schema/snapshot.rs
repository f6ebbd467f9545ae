//! A contract's schema in a file of the repository, and what to say when it changes.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::rows::KEYS;
use super::{Break, Breaks, check_compatible};

/// `accept`, or `accept-breaking`.
const ACCEPT: &str = "STREAMS_SNAPSHOT";

/// Why a contract is not the one in its snapshot.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// There is no snapshot yet.
    #[error(
        "there is no snapshot {0}: write it, `STREAMS_SNAPSHOT=accept cargo test`, and commit it"
    )]
    Missing(String),
    /// The contract has changed, and reads all old records.
    #[error(
        "the contract has changed since {path}, and still reads all old records: accept it, \
         `STREAMS_SNAPSHOT=accept cargo test`, and commit the file\n{changed}"
    )]
    Changed {
        /// The file.
        path: String,
        /// The lines that changed.
        changed: String,
    },
    /// The contract has changed, and breaks readers.
    #[error(
        "the contract has changed since {path} in a way that breaks its readers:\n{breaks}\n\
         Leave the old form as it is and give the new one a record type of its own: {advice}. \
         If no record of the old form is left and no reader of it: \
         `STREAMS_SNAPSHOT=accept-breaking cargo test`"
    )]
    Breaking {
        /// The file.
        path: String,
        /// What breaks.
        breaks: String,
        /// The attributes that give the new forms record types of their own.
        advice: String,
    },
    /// The tables of a store have changed, and all old rows are still restored.
    #[error(
        "the store's tables have changed since {path}, and still take all old rows: accept it, \
         `STREAMS_SNAPSHOT=accept cargo test`, and commit the file\n{changed}"
    )]
    ChangedRows {
        /// The file.
        path: String,
        /// The lines that changed.
        changed: String,
    },
    /// The tables of a store have changed, and old rows can't be restored.
    #[error(
        "the store's tables have changed since {path}, and can't take the rows that the changelog \
         has:\n{breaks}\n\
         Name the former type of the rows, `#[table(upcast = FormerRow)]`, with an \
         `impl From<FormerRow>` for today's. If no changelog has such a row any more: \
         `STREAMS_SNAPSHOT=accept-breaking cargo test`"
    )]
    BreakingRows {
        /// The file.
        path: String,
        /// What breaks.
        breaks: String,
    },
    /// The file can't be read or written.
    #[error("the snapshot {path}: {reason}")]
    File {
        /// The file.
        path: String,
        /// What is wrong.
        reason: String,
    },
}

/// Compares a contract's schema with the one in a file: see
/// [`assert_schema_snapshot!`](crate::assert_schema_snapshot). Descriptions don't count.
///
/// # Errors
/// If they differ, there is no file, or it can't be read.
pub fn check_snapshot(path: &Path, schema: &Value) -> Result<(), SnapshotError> {
    let accept = std::env::var(ACCEPT).unwrap_or_default();
    check_with(path, schema, &accept)
}

pub(super) fn check_with(path: &Path, schema: &Value, accept: &str) -> Result<(), SnapshotError> {
    let name = path.display().to_string();
    let mut schema = schema.clone();
    strip(&mut schema);
    let file = |path: &str, reason: String| SnapshotError::File { path: path.to_owned(), reason };
    let mut text =
        serde_json::to_string_pretty(&schema).map_err(|error| file(&name, error.to_string()))?;
    text.push('\n');
    let may_write = |is_breaking: bool| match accept {
        "accept-breaking" => true,
        "accept" => !is_breaking,
        _ => false,
    };
    let write = || {
        let folder = path.parent().map_or(Ok(()), fs::create_dir_all);
        folder.and_then(|()| fs::write(path, &text)).map_err(|error| file(&name, error.to_string()))
    };
    let former = match fs::read_to_string(path) {
        Ok(former) => former,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return if may_write(false) { write() } else { Err(SnapshotError::Missing(name)) };
        }
        Err(error) => return Err(file(&name, error.to_string())),
    };
    let mut old: Value =
        serde_json::from_str(&former).map_err(|error| file(&name, error.to_string()))?;
    strip(&mut old);
    if old == schema {
        return Ok(());
    }
    let is_store = schema.get(KEYS).is_some();
    match check_compatible(&old, &schema) {
        Ok(()) if may_write(false) => write(),
        Err(_) if may_write(true) => write(),
        Ok(()) if is_store => {
            Err(SnapshotError::ChangedRows { path: name, changed: changed_lines(&former, &text) })
        }
        Ok(()) => {
            Err(SnapshotError::Changed { path: name, changed: changed_lines(&former, &text) })
        }
        Err(breaks) => {
            let advice = advice(&old, &breaks);
            let breaks = breaks.0.iter().fold(String::new(), |mut text, found| {
                let _ = writeln!(text, "  - {found}");
                text
            });
            if is_store {
                return Err(SnapshotError::BreakingRows { path: name, breaks });
            }
            Err(SnapshotError::Breaking { path: name, breaks, advice })
        }
    }
}

/// The record types that break, each with the attribute of its next version.
fn advice(old: &Value, breaks: &Breaks) -> String {
    // A place is the record type, and then the field; a record type may have dots of its own.
    let record_type = |found: &Break| {
        let types = old["properties"].as_object().into_iter().flat_map(|types| types.keys());
        let begins = |name: &&String| {
            let rest = found.at.strip_prefix(name.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        types.filter(begins).max_by_key(|name| name.len())
    };
    let types: BTreeSet<_> = breaks.0.iter().filter_map(record_type).collect();
    let attributes = types.iter().map(|name| format!("`#[event(\"{}\")]`", next(name)));
    attributes.collect::<Vec<_>>().join(", ")
}

/// The name of a record type's next version: `order.placed.v2` after `order.placed.v1`, and after
/// `order.placed`.
fn next(record_type: &str) -> String {
    let versioned = record_type.rsplit_once(".v").and_then(|(name, version)| {
        let version: u32 = version.parse().ok()?;
        Some(format!("{name}.v{}", version.checked_add(1)?))
    });
    versioned.unwrap_or_else(|| format!("{record_type}.v2"))
}

/// Takes away what is for people only.
fn strip(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            let is_text = |name: &str, value: &Value| {
                matches!(name, "description" | "examples") && !value.is_object()
            };
            fields.retain(|name, value| !is_text(name, value));
            fields.values_mut().for_each(strip);
        }
        Value::Array(items) => items.iter_mut().for_each(strip),
        _ => {}
    }
}

/// The lines that only one of the two has, by their content: enough to see what it is about.
fn changed_lines(old: &str, new: &str) -> String {
    let only = |lines: &str, others: &str, sign: char| {
        let others: Vec<&str> = others.lines().map(|line| line.trim_end_matches(',')).collect();
        let is_new = |line: &&str| !others.contains(&line.trim_end_matches(','));
        lines.lines().filter(is_new).fold(String::new(), |mut text, line| {
            let _ = writeln!(text, "  {sign}{line}");
            text
        })
    };
    only(old, new, '-') + &only(new, old, '+')
}
