//! How long flushes and commits take, so that a transaction takes events for as long as that costs
//! nothing.
//!
//! While one transaction commits, the next can't, and whatever it took by then waits. Sealed when
//! that commit begins, it would commit a commit later without the events in between, and those
//! would wait for the one after. Sealed when the commit ends, its outputs would be flushed while
//! nothing commits. So it is sealed a flush before the expected end.

use std::time::Duration;

/// A new measurement counts for one part in so many.
const WEIGHT: u32 = 8;

/// Moving means of what the broker takes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    flush: Option<Duration>,
    commit: Option<Duration>,
}

impl Pace {
    /// A flush took so long.
    pub(super) fn flushed(&mut self, took: Duration) {
        self.flush = Some(mean(self.flush, took));
    }

    /// The offsets and the commit took so long.
    pub(super) fn committed(&mut self, took: Duration) {
        self.commit = Some(mean(self.commit, took));
    }

    /// So long after a commit has begun the next transaction is sealed, to be flushed when the
    /// commit ends; at once as long as nothing is known.
    pub(super) fn seal_after(&self) -> Duration {
        let commit = self.commit.unwrap_or_default();
        commit.saturating_sub(self.flush.unwrap_or_default())
    }
}

fn mean(known: Option<Duration>, took: Duration) -> Duration {
    known.map_or(took, |known| (known * (WEIGHT - 1) + took) / WEIGHT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_seals_a_flush_before_the_end() {
        let mut pace = Pace::default();
        assert_eq!(pace.seal_after(), Duration::ZERO);
        pace.committed(Duration::from_millis(20));
        assert_eq!(pace.seal_after(), Duration::from_millis(20));
        pace.flushed(Duration::from_millis(5));
        assert_eq!(pace.seal_after(), Duration::from_millis(15));
        pace.committed(Duration::from_millis(100));
        assert_eq!(pace.seal_after(), Duration::from_millis(25), "one in eight");
        pace.flushed(Duration::from_secs(1));
        assert_eq!(pace.seal_after(), Duration::ZERO, "flushes longer than commits");
    }
}
