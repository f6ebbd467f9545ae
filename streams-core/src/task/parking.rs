//! The bounds of a partition's parked events, and the retries of those that are unparked.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::handler::parked::{PARKED, UNPARKED};
use crate::store::FrameworkTables;

/// How many events of a partition may be parked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParkingBounds {
    pub(crate) max_rows: usize,
    pub(crate) max_bytes: usize,
}

impl Default for ParkingBounds {
    fn default() -> Self {
        Self { max_rows: 10_000, max_bytes: 64 * 1024 * 1024 }
    }
}

/// An unparked event that failed, and runs again later.
#[derive(Debug)]
struct Failed {
    offset: i64,
    attempts: u32,
    due: Instant,
}

/// A partition's parked events, as far as they are no rows.
#[derive(Debug, Default)]
pub struct Parking {
    bounds: ParkingBounds,
    /// By key.
    failed: BTreeMap<Vec<u8>, Failed>,
}

impl Parking {
    /// The parking of a partition with these bounds.
    pub const fn new(bounds: ParkingBounds) -> Self {
        Self { bounds, failed: BTreeMap::new() }
    }

    /// Returns true if the partition takes no more records until events are unparked.
    pub(crate) fn is_full(&self, rows: &FrameworkTables) -> bool {
        rows.len(PARKED) >= self.bounds.max_rows || rows.bytes(PARKED) >= self.bounds.max_bytes
    }

    /// Returns the number of the unparked event's attempt that runs or has just failed.
    pub fn attempt(&self, key: &[u8], offset: i64) -> u32 {
        let failed = self.failed.get(key).filter(|failed| failed.offset == offset);
        failed.map_or(0, |failed| failed.attempts).saturating_add(1)
    }

    /// The unparked event has failed: it runs again in `after`.
    pub fn retry(&mut self, now: Instant, key: &[u8], offset: i64, after: Duration) {
        let attempts = self.attempt(key, offset);
        self.failed.insert(key.to_vec(), Failed { offset, attempts, due: now + after });
    }

    /// The unparked event has ended, or its key is parked again.
    pub fn ended(&mut self, key: &[u8]) {
        self.failed.remove(key);
    }

    /// The partition is given up.
    pub fn clear(&mut self) {
        self.failed.clear();
    }

    /// Returns true if the next event of the key may run.
    pub fn is_due(&self, now: Instant, key: &[u8]) -> bool {
        self.failed.get(key).is_none_or(|failed| failed.due <= now)
    }

    /// Returns when an unparked event that failed runs again.
    pub(crate) fn next_due(&self, rows: &FrameworkTables) -> Option<Instant> {
        if rows.len(UNPARKED) == 0 {
            return None;
        }
        self.failed.values().map(|failed| failed.due).min()
    }
}
