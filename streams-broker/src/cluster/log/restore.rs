//! A log out into a store, and in again.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Buf, Bytes};
use serde::{Deserialize, Serialize};

use super::super::batch;
use super::super::configs::TopicConfig;
use super::super::producers::Producers;
use super::{Aborted, Batch, PartitionLog, Segment};

/// What does not follow from the batches, or no longer.
#[derive(Deserialize, Serialize)]
struct State {
    start: i64,
    end: i64,
    clean_to: i64,
    segments: VecDeque<Segment>,
    horizons: BTreeMap<i64, i64>,
    aborted: Vec<Aborted>,
    producers: Producers,
}

/// The first offset; where it is compacted to; and in how many places it was.
pub(crate) type Shape = (i64, i64, usize);

/// Where the type of a marker is: behind the header, the lengths and the version.
const MARKER_TYPE_AT: usize = 69;

/// Splits what was stored into batches; a rest that is none is left out.
fn split(mut batches: Bytes) -> Vec<Bytes> {
    let mut all = Vec::new();
    while let Some(length) = batches.get(8..12) {
        let length = { length }.get_i32();
        let length = usize::try_from(length).ok().and_then(|length| length.checked_add(12));
        let Some(length) = length.filter(|length| *length <= batches.len()) else {
            break;
        };
        all.push(batches.split_to(length));
    }
    all
}

/// One past the last offset of batches.
pub(crate) fn end_of(batches: &Bytes) -> i64 {
    let last = split(batches.clone()).pop();
    last.and_then(|last| {
        let header = batch::header(&last)?;
        Some(last.slice(..8).get_i64() + header.offsets)
    })
    .unwrap_or(0)
}

/// One past the last offset of a log with that state.
pub(crate) fn end_of_state(state: &[u8]) -> i64 {
    serde_json::from_slice(state).map_or(0, |state: State| state.end)
}

impl PartitionLog {
    /// Another one when something before the end has changed.
    pub(crate) fn shape(&self) -> Shape {
        (self.start, self.clean_to, self.horizons.len())
    }

    /// What does not follow from the batches.
    pub(crate) fn state(&self) -> Vec<u8> {
        let state = State {
            start: self.start,
            end: self.end,
            clean_to: self.clean_to,
            segments: self.segments.clone(),
            horizons: self.horizons.clone(),
            aborted: self.aborted.clone(),
            producers: self.producers.clone(),
        };
        serde_json::to_vec(&state).unwrap_or_default()
    }

    /// The batches from an offset on.
    pub(crate) fn batches_from(&self, offset: i64) -> impl Iterator<Item = &Bytes> {
        self.batches.range(self.index_of(offset)..).map(|batch| &batch.bytes)
    }

    /// A log with that state and these batches.
    ///
    /// # Errors
    /// What can't be read.
    pub(crate) fn from_state(state: &[u8], batches: Bytes) -> Result<Self, String> {
        let state: State = serde_json::from_slice(state).map_err(|error| error.to_string())?;
        let mut log = Self {
            start: state.start,
            end: state.end,
            clean_to: state.clean_to,
            segments: state.segments,
            horizons: state.horizons,
            aborted: state.aborted,
            producers: state.producers,
            ..Self::default()
        };
        for bytes in split(batches) {
            let header = batch::header(&bytes).ok_or("a batch without a header")?;
            let base = bytes.slice(..8).get_i64();
            let next = base + header.offsets;
            let batch = Batch { base, next, max_timestamp: header.max_timestamp, bytes };
            log.size_bytes += batch.size();
            log.batches.push_back(batch);
        }
        Ok(log)
    }

    /// Appends what was appended before.
    ///
    /// # Errors
    /// What can't be read, or does not follow what is there.
    pub(crate) fn restore(&mut self, batches: Bytes, config: &TopicConfig) -> Result<(), String> {
        for bytes in split(batches) {
            let header = batch::header(&bytes).ok_or("a batch without a header")?;
            let base = bytes.slice(..8).get_i64();
            if base != self.end {
                return Err(format!("offset {base} where {} was to follow", self.end));
            }
            let producer = (header.producer_id, header.producer_epoch);
            let commit = bytes.get(MARKER_TYPE_AT) == Some(&1);
            let timestamp = header.max_timestamp;
            if !header.is_control() {
                self.roll_if_due(bytes.len(), timestamp, config);
            }
            self.push(header.offsets, timestamp, bytes);
            if header.is_control() {
                let first = self.producers.end(producer, timestamp);
                if let (Some(first), false) = (first, commit) {
                    self.aborted.push(Aborted { producer_id: producer.0, first, last: base });
                }
            } else if header.producer_id >= 0 {
                self.producers.append(&header, base, timestamp);
            }
        }
        Ok(())
    }
}
