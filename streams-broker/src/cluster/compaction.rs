//! Compaction: of each key the last record stays, and of an aborted transaction nothing.
//!
//! As Kafka's cleaner: what lies before the active segment and the last stable offset is cleaned,
//! once enough of it is new (`min.cleanable.dirty.ratio`) or it is old (`max.compaction.lag.ms`).
//! Records keep their offsets. A tombstone stays for `delete.retention.ms` after the run that first
//! met it, so that a reader that is behind learns of it; a marker stays as long after the run that
//! first found its transaction empty.
//!
//! Two things are simpler than in Kafka. A batch that loses records is no longer compressed, if it
//! was. And when a tombstone's time is over, a run of its own takes it out; Kafka waits for new
//! records to clean.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use super::batch::{self, BatchHeader};
use super::configs::TopicConfig;
use super::log::{Batch, PartitionLog};

/// What a run knows of the log before it cleans.
struct Run {
    now: i64,
    delete_retention_ms: i64,
    /// The last offset of each key that is new.
    latest: HashMap<Box<[u8]>, i64>,
    /// The aborted transactions: producer and marker's offset, first offset.
    aborted: BTreeMap<(i64, i64), i64>,
    /// The producers of which a transaction's records were met, and its marker not yet.
    met: BTreeSet<i64>,
}

impl Run {
    fn is_aborted(&self, header: &BatchHeader, base: i64) -> bool {
        let of = (header.producer_id, base)..=(header.producer_id, i64::MAX);
        let next = self.aborted.range(of).next();
        header.is_transactional() && next.is_some_and(|(_, first)| *first <= base)
    }
}

impl PartitionLog {
    /// Compacts what may be compacted, if it is worth it.
    pub(crate) fn compact(&mut self, config: &TopicConfig, now: i64) {
        let Some(until) = self.cleanable_to(config, now) else {
            return;
        };
        let dirty = self.clean_to.max(self.start());
        let mut run = Run {
            now,
            delete_retention_ms: config.delete_retention_ms,
            latest: HashMap::new(),
            aborted: self.aborted.iter().map(|a| ((a.producer_id, a.last), a.first)).collect(),
            met: BTreeSet::new(),
        };
        for batch in self.batches.iter().filter(|b| b.next > dirty && b.next <= until) {
            note_keys(&mut run, batch);
        }
        let mut kept = VecDeque::with_capacity(self.batches.len());
        for batch in std::mem::take(&mut self.batches) {
            if batch.next > until {
                kept.push_back(batch);
            } else if let Some(cleaned) = clean(&mut run, &mut self.horizons, batch) {
                kept.push_back(cleaned);
            }
        }
        kept.shrink_to_fit();
        self.batches = kept;
        self.clean_to = until;
        self.settle(config, until);
    }

    /// Up to where the log can be cleaned, if it is worth it.
    fn cleanable_to(&self, config: &TopicConfig, now: i64) -> Option<i64> {
        if !config.compact {
            return None;
        }
        let active = self.segments.back()?.base;
        let dirty = self.clean_to.max(self.start());
        let ends = self.segments.iter().skip(1).map(|next| next.base);
        let young = self.segments.iter().zip(ends).find(|(segment, end)| {
            *end > dirty && now - segment.max_timestamp < config.min_compaction_lag_ms
        });
        let old_enough = young.map_or(active, |(segment, _)| segment.base);
        let until = self.stable().min(active).min(old_enough);
        let before = self.batches.iter().take_while(|batch| batch.next <= until);
        let (mut all, mut new, mut oldest) = (0, 0, None);
        for batch in before {
            all += batch.bytes.len();
            if batch.next > dirty {
                new += batch.bytes.len();
                oldest.get_or_insert(batch.max_timestamp);
            }
        }
        let much = new as f64 > all as f64 * config.min_cleanable_dirty_ratio;
        let late = oldest.is_some_and(|at| now.saturating_sub(at) > config.max_compaction_lag_ms);
        let over = self.horizons.range(..until).any(|(_, horizon)| *horizon <= now);
        ((new > 0 && much) || late || over).then_some(until.max(dirty))
    }

    /// Brings the rest of the log's state in line with its batches.
    fn settle(&mut self, config: &TopicConfig, until: i64) {
        self.size_bytes = self.batches.iter().map(Batch::size).sum();
        let there = |offset: i64| {
            let found = self.batches.get(self.index_of(offset));
            found.is_some_and(|batch| batch.base <= offset)
        };
        let aborted = self.aborted.iter().filter(|aborted| there(aborted.last)).copied();
        let aborted = aborted.collect();
        let horizons = self.horizons.iter().filter(|(base, _)| there(**base));
        let horizons = horizons.map(|(base, horizon)| (*base, *horizon)).collect();
        (self.aborted, self.horizons) = (aborted, horizons);
        // Segments that have shrunk become one, up to the size of a segment.
        let mut merged: VecDeque<super::log::Segment> = VecDeque::new();
        let ends: Vec<i64> = self.segments.iter().skip(1).map(|next| next.base).collect();
        for (number, segment) in self.segments.iter().enumerate() {
            let end = ends.get(number).copied().unwrap_or(i64::MAX);
            let held = self.batches.range(self.index_of(segment.base)..);
            let held = held.take_while(|batch| batch.base < end);
            let mut segment = *segment;
            segment.bytes = held.map(|batch| batch.bytes.len()).sum();
            match merged.back_mut() {
                Some(last)
                    if end <= until
                        && (last.bytes + segment.bytes) as u64 <= config.segment_bytes =>
                {
                    last.bytes += segment.bytes;
                    last.max_timestamp = last.max_timestamp.max(segment.max_timestamp);
                }
                _ => merged.push_back(segment),
            }
        }
        self.segments = merged;
    }
}

/// Takes note of the keys of a batch that counts.
fn note_keys(run: &mut Run, batch: &Batch) {
    let Some(header) = batch::header(&batch.bytes) else {
        return;
    };
    if header.is_control() || run.is_aborted(&header, batch.base) {
        return;
    }
    let Some(expanded) = batch::expand(&header, &batch.bytes) else {
        return;
    };
    for record in batch::records(&header, &expanded).map_while(Result::ok) {
        if let Some(key) = record.key {
            run.latest.insert(key.into(), batch.base + i64::from(record.offset_delta));
        }
    }
}

/// What stays of a batch.
fn clean(run: &mut Run, horizons: &mut BTreeMap<i64, i64>, batch: Batch) -> Option<Batch> {
    // What can't be read was checked when it came, and stays.
    let Some(header) = batch::header(&batch.bytes) else {
        return Some(batch);
    };
    let horizon = horizons.get(&batch.base).copied();
    let over = horizon.is_some_and(|at| at <= run.now);
    if header.is_control() {
        let empty = !run.met.remove(&header.producer_id);
        if empty {
            horizons.entry(batch.base).or_insert(run.now + run.delete_retention_ms);
        }
        return (!(empty && over)).then_some(batch);
    }
    if header.is_transactional() {
        run.met.insert(header.producer_id);
    }
    if run.is_aborted(&header, batch.base) {
        return None;
    }
    let Some(expanded) = batch::expand(&header, &batch.bytes) else {
        return Some(batch);
    };
    let (mut bytes, mut count, mut latest, mut tombstone) = (Vec::new(), 0, i64::MIN, false);
    for record in batch::records(&header, &expanded).map_while(Result::ok) {
        let offset = batch.base + i64::from(record.offset_delta);
        let last = |key: &[u8]| run.latest.get(key).is_none_or(|last| *last <= offset);
        let stays = record.key.is_some_and(last) && (record.has_value || !over);
        if stays {
            bytes.extend_from_slice(record.bytes);
            count += 1;
            tombstone |= !record.has_value;
            latest = latest.max(header.base_timestamp.wrapping_add(record.timestamp_delta));
        }
    }
    if over {
        horizons.remove(&batch.base);
    } else if tombstone {
        horizons.entry(batch.base).or_insert(run.now + run.delete_retention_ms);
    }
    if count == header.count {
        return Some(batch);
    }
    if count == 0 {
        return None;
    }
    let max_timestamp = if header.is_log_append_time() { batch.max_timestamp } else { latest };
    let bytes = batch::retain(&batch.bytes, &bytes, count, max_timestamp);
    Some(Batch { bytes, max_timestamp, ..batch })
}
