//! The pauses and the latency of committed output.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::observer::Seen;

/// The longest times in which no committed output appeared, within a span of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pauses {
    /// The longest time without output of any partition.
    pub whole: Duration,
    /// The longest time without output of one partition, the slowest one.
    pub partition: Duration,
}

/// A span of time, in microseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// When it begins.
    pub from_us: i64,
    /// When it ends.
    pub to_us: i64,
}

impl Span {
    /// Returns true if the time lies in the span.
    pub const fn contains(self, time_us: i64) -> bool {
        self.from_us <= time_us && time_us < self.to_us
    }

    /// Returns how long the span is.
    pub fn length(self) -> Duration {
        micros(self.to_us - self.from_us)
    }
}

fn micros(us: i64) -> Duration {
    Duration::from_micros(u64::try_from(us).unwrap_or(0))
}

/// Returns the longest part of the span that lies between two of the times.
fn longest(times: impl IntoIterator<Item = i64>, span: Span) -> Duration {
    let mut times: Vec<i64> =
        times.into_iter().map(|time| time.clamp(span.from_us, span.to_us)).collect();
    times.extend([span.from_us, span.to_us]);
    times.sort_unstable();
    micros(times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0))
}

impl Pauses {
    /// Measures the pauses of the outputs within a span. A partition that has output neither in
    /// the span nor before it does not count.
    pub fn measure(seen: &[Seen], span: Span) -> Self {
        let mut partitions: BTreeMap<i32, Vec<i64>> = BTreeMap::new();
        for one in seen {
            partitions.entry(one.partition).or_default().push(one.at_us);
        }
        let whole = longest(seen.iter().map(|one| one.at_us), span);
        let slowest = partitions.into_values().map(|times| longest(times, span)).max();
        Self { whole, partition: slowest.unwrap_or(whole) }
    }

    /// Returns the longer of both, each.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self { whole: self.whole.max(other.whole), partition: self.partition.max(other.partition) }
    }
}

/// Returns the latency of each share in `quantiles` of the outputs.
pub fn latencies<'s, const N: usize>(
    seen: impl IntoIterator<Item = &'s Seen>,
    quantiles: [f64; N],
) -> [Duration; N] {
    let mut sorted: Vec<Duration> = seen.into_iter().map(Seen::latency).collect();
    sorted.sort_unstable();
    quantiles.map(|share| {
        #[expect(clippy::cast_precision_loss, reason = "a run has fewer outputs than 2^52")]
        let place = (sorted.len().saturating_sub(1) as f64 * share).round();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a place in the slice"
        )]
        sorted.get(place as usize).copied().unwrap_or_default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(partition: i32, due_ms: i64, at_ms: i64) -> Seen {
        Seen { partition, due_us: due_ms * 1_000, at_us: at_ms * 1_000, payload: Vec::new() }
    }

    #[test]
    fn a_pause_of_one_partition_is_not_hidden_by_the_others() {
        let seen = [seen(0, 0, 10), seen(1, 0, 20), seen(0, 0, 100), seen(0, 0, 190)];
        let span = Span { from_us: 0, to_us: 200_000 };
        let pauses = Pauses::measure(&seen, span);
        assert_eq!(pauses.whole, Duration::from_millis(90));
        assert_eq!(pauses.partition, Duration::from_millis(180), "until the end of the span");
        let later = Span { from_us: 150_000, to_us: 200_000 };
        assert_eq!(Pauses::measure(&seen, later).partition, Duration::from_millis(50));
    }

    #[test]
    fn latencies_are_from_when_an_update_was_due() {
        let seen: Vec<Seen> = (0..=100).map(|n| seen(0, 1_000, 1_000 + n)).collect();
        let [median, most, none] = latencies(&seen, [0.5, 0.99, 1.0]);
        assert_eq!((median.as_millis(), most.as_millis(), none.as_millis()), (50, 99, 100));
        assert_eq!(latencies(&[], [0.5]), [Duration::ZERO]);
    }
}
