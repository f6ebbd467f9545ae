//! How long a store that follows its changelog may fall behind.
//!
//! Compaction removes a tombstone `delete.retention.ms` after it was written. A store that has the
//! row, and reads the changelog's end only later, never learns that the row is gone.

use std::time::Duration;

/// Kafka's default of `delete.retention.ms`.
pub(crate) const DELETE_RETENTION: Duration = Duration::from_hours(24);
/// The part of `delete.retention.ms` for which a store may be without its changelog's end.
const SHARE: u32 = 4;
/// A store may always be without it for so long, or none could be restored.
const AGE_MIN: Duration = Duration::from_secs(10);

/// For so long a store may be without its changelog's end, if tombstones are kept for `retention`.
pub(crate) fn copy_age_max(retention: Duration) -> Duration {
    (retention / SHARE).max(AGE_MIN)
}

/// The value of `delete.retention.ms`, as a broker gives it.
pub(crate) fn parse(value: &str) -> Option<Duration> {
    value.parse().ok().map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d7_a_store_may_be_behind_for_a_quarter_of_the_time_that_tombstones_are_kept() {
        assert_eq!(copy_age_max(DELETE_RETENTION), Duration::from_hours(6));
        assert_eq!(parse("86400000").map(copy_age_max), Some(Duration::from_hours(6)));
        assert_eq!(parse("0").map(copy_age_max), Some(AGE_MIN));
        assert_eq!(parse("-1"), None);
    }
}
