//! Retention by size and time, and DeleteRecords: the log loses its front.
//!
//! A segment goes as a whole, when all of it is too old or too much. The active one goes by age
//! only, and an empty one takes its place. How long a record stays is thus also a matter of
//! `segment.bytes` and `segment.ms`, as in Kafka.

use super::configs::TopicConfig;
use super::log::PartitionLog;

impl PartitionLog {
    /// Deletes the segments that the topic no longer wants.
    pub(crate) fn expire_segments(&mut self, config: &TopicConfig, now: i64) {
        if !config.delete {
            return;
        }
        if let Some(limit) = config.retention_bytes {
            let held: usize = self.segments.iter().map(|segment| segment.bytes).sum();
            let mut over = (held as u64).saturating_sub(limit);
            while self.segments.len() > 1
                && let Some(oldest) = self.segments.front()
                && over >= oldest.bytes as u64
            {
                over -= oldest.bytes as u64;
                self.drop_oldest_segment();
            }
        }
        if let Some(age_ms) = config.retention_ms {
            while let Some(oldest) = self.segments.front()
                && (oldest.bytes > 0 || self.segments.len() > 1)
                && now.saturating_sub(oldest.max_timestamp) > age_ms
            {
                self.drop_oldest_segment();
            }
        }
    }

    fn drop_oldest_segment(&mut self) {
        let end = self.segments.get(1).map_or_else(|| self.end(), |next| next.base);
        self.advance_start(end);
        if self.segments.is_empty() {
            self.roll();
        }
    }

    /// Moves the first offset on; what is before it is gone.
    pub(crate) fn advance_start(&mut self, start: i64) {
        assert!(start <= self.end(), "BRK-1: the log starts before its end");
        self.start = self.start.max(start);
        let gone = self.index_of(self.start);
        for batch in self.batches.drain(..gone) {
            self.size_bytes -= batch.size();
            while self.segments.get(1).is_some_and(|next| next.base <= batch.base) {
                self.segments.pop_front();
            }
            if let Some(oldest) = self.segments.front_mut() {
                oldest.bytes -= batch.bytes.len();
            }
        }
        while self.segments.get(1).is_some_and(|next| next.base <= self.start) {
            self.segments.pop_front();
        }
        if self.batches.capacity() > 4 * self.batches.len().max(64) {
            self.batches.shrink_to_fit();
        }
        self.aborted.retain(|aborted| aborted.last >= self.start);
        self.horizons = self.horizons.split_off(&self.start);
        self.clean_to = self.clean_to.max(self.start);
    }
}
