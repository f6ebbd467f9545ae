//! A pending job as a row of the partition's changelog.
//!
//! Key: the length of the job's key (4 bytes, big-endian), the job's key, the job's number (8
//! bytes, big-endian). So the rows of one key lie side by side, in the order in which the jobs run.
//!
//! Value: version 1, flags (1: has a due time; 2: holds its key until then), step and attempt (4
//! bytes each), the due time (8 bytes, milliseconds since the Unix epoch, if flag 1), the length of
//! the job type (2 bytes), the job type, the job.

use std::fmt;

use crate::store::FrameworkTable;

/// The pending jobs.
pub(crate) const JOBS: FrameworkTable = FrameworkTable("jobs");
/// One row with an empty key: all numbers below its value may have been given to jobs.
pub(crate) const JOB_IDS: FrameworkTable = FrameworkTable("jobs.ids");

const VERSION: u8 = 1;
const HAS_DUE_TIME: u8 = 1;
const HOLDS_KEY: u8 = 2;

/// The number of a job in its partition: a job that is scheduled later has a greater one. A job
/// keeps its number in each step, in each attempt, and wherever its partition moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub(crate) u64);

impl JobId {
    /// Returns the number.
    pub const fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Returns what the keys of all rows of `key` begin with.
pub(crate) fn key_prefix(key: &[u8]) -> Vec<u8> {
    let mut prefix = Vec::with_capacity(key.len() + 12);
    prefix.extend_from_slice(&u32::try_from(key.len()).unwrap_or(u32::MAX).to_be_bytes());
    prefix.extend_from_slice(key);
    prefix
}

/// Returns the key of the row of job `id` of `key`.
pub(crate) fn row_key(key: &[u8], id: JobId) -> Vec<u8> {
    let mut row_key = key_prefix(key);
    row_key.extend_from_slice(&id.0.to_be_bytes());
    row_key
}

/// Returns the job's key and its number.
pub(crate) fn split_row_key(row_key: &[u8]) -> Option<(&[u8], JobId)> {
    let (length, rest) = row_key.split_first_chunk::<4>()?;
    let (key, id) = rest.split_last_chunk::<8>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    (key.len() == length).then_some((key, JobId(u64::from_be_bytes(*id))))
}

/// A row's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct JobRow<'a> {
    /// How many steps the job has completed.
    pub(crate) step: u32,
    /// The attempt of this step, from 1.
    pub(crate) attempt: u32,
    /// When the job runs at the earliest, in milliseconds since the Unix epoch.
    pub(crate) due_ms: Option<i64>,
    /// Returns true if later jobs of the key wait until the job is due.
    pub(crate) holds_key: bool,
    pub(crate) job_type: &'a str,
    pub(crate) payload: &'a [u8],
}

impl<'a> JobRow<'a> {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut value = Vec::with_capacity(24 + self.job_type.len() + self.payload.len());
        let has_due_time = if self.due_ms.is_some() { HAS_DUE_TIME } else { 0 };
        let holds_key = if self.holds_key { HOLDS_KEY } else { 0 };
        value.extend_from_slice(&[VERSION, has_due_time | holds_key]);
        value.extend_from_slice(&self.step.to_be_bytes());
        value.extend_from_slice(&self.attempt.to_be_bytes());
        if let Some(due_ms) = self.due_ms {
            value.extend_from_slice(&due_ms.to_be_bytes());
        }
        let length = u16::try_from(self.job_type.len()).unwrap_or(u16::MAX);
        value.extend_from_slice(&length.to_be_bytes());
        value.extend_from_slice(self.job_type.as_bytes());
        value.extend_from_slice(self.payload);
        value
    }

    /// Reads a row; `None` if the bytes are no row of this version.
    pub(crate) fn decode(value: &'a [u8]) -> Option<Self> {
        let ([version, flags], rest) = value.split_first_chunk::<2>()?;
        if *version != VERSION {
            return None;
        }
        let (step, rest) = rest.split_first_chunk::<4>()?;
        let (attempt, mut rest) = rest.split_first_chunk::<4>()?;
        let mut due_ms = None;
        if flags & HAS_DUE_TIME != 0 {
            let (due, after) = rest.split_first_chunk::<8>()?;
            (due_ms, rest) = (Some(i64::from_be_bytes(*due)), after);
        }
        let (length, rest) = rest.split_first_chunk::<2>()?;
        let (job_type, payload) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
        Some(Self {
            step: u32::from_be_bytes(*step),
            attempt: u32::from_be_bytes(*attempt),
            due_ms,
            holds_key: flags & HOLDS_KEY != 0,
            job_type: std::str::from_utf8(job_type).ok()?,
            payload,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_as_they_were() {
        for (due_ms, holds_key) in [(None, false), (Some(-5), true), (Some(i64::MAX), false)] {
            let job_type = "mail.send";
            let row = JobRow { step: 2, attempt: 7, due_ms, holds_key, job_type, payload: b"\0{}" };
            assert_eq!(JobRow::decode(&row.encode()), Some(row));
            let bytes = row.encode();
            let shortest = bytes.len() - row.payload.len();
            for end in 0..shortest {
                assert_eq!(JobRow::decode(&bytes[..end]), None, "{end} bytes of {shortest}");
            }
        }
        assert_eq!(JobRow::decode(&[2; 40]), None, "a newer version's row");
    }

    #[test]
    fn rows_of_a_key_lie_side_by_side_in_the_order_of_their_numbers() {
        let mut keys: Vec<_> = [(&b"ab"[..], 300), (b"a", 2), (b"ab", 2), (b"a", 256), (b"", 1)]
            .map(|(key, id)| row_key(key, JobId(id)))
            .into();
        keys.sort();
        let split: Vec<_> = keys.iter().map(|key| split_row_key(key).expect("a row")).collect();
        let expected = [(&b""[..], 1), (b"a", 2), (b"a", 256), (b"ab", 2), (b"ab", 300)];
        assert_eq!(split, expected.map(|(key, id)| (key, JobId(id))));
        assert!(keys[1].starts_with(&key_prefix(b"a")) && !keys[3].starts_with(&key_prefix(b"a")));
        assert_eq!(split_row_key(b"\0\0\0\x02a\0\0\0\0\0\0\0\x01"), None);
    }
}
