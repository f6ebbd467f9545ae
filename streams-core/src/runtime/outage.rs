//! Requests that are tried again while the cluster is away.

use std::time::{Duration, Instant};

use crate::client::wire::ClientError;
use crate::error::{ACCESS_REFUSED_MAX, Cause};

pub(crate) const OUTAGE_TIMEOUT_MIN: Duration = Duration::from_secs(1);
pub(crate) const OUTAGE_TIMEOUT_MAX: Duration = Duration::from_hours(24 * 7);
const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// Says how often a request is tried again, and for how long.
#[derive(Debug)]
pub(crate) struct Retry {
    timeout: Duration,
    since: Instant,
    refused_since: Option<Instant>,
    backoff: Duration,
}

impl Retry {
    /// Retries of one request, for at most `outage_timeout`.
    pub(crate) fn new(outage_timeout: Duration) -> Self {
        let since = Instant::now();
        Self { timeout: outage_timeout, since, refused_since: None, backoff: BACKOFF_MIN }
    }

    /// Waits until the request is due again.
    ///
    /// # Errors
    /// The error itself, if it does not pass, or lasts for too long.
    pub(crate) async fn wait(&mut self, error: ClientError) -> Result<(), ClientError> {
        let backoff = self.backoff_after(Instant::now(), error.cause()).ok_or_else(|| {
            tracing::warn!(%error, timeout = ?self.timeout, "the cluster does not answer");
            error.clone()
        })?;
        tracing::debug!(%error, ?backoff, "the request is tried again");
        tokio::time::sleep(backoff).await;
        Ok(())
    }

    fn backoff_after(&mut self, now: Instant, cause: Cause) -> Option<Duration> {
        let access = self.refused_since.filter(|_| cause == Cause::Access);
        self.refused_since = (cause == Cause::Access).then(|| access.unwrap_or(now));
        let (since, bound) = match (cause, self.refused_since) {
            (Cause::Access, Some(since)) => (since, ACCESS_REFUSED_MAX.min(self.timeout)),
            (Cause::Transaction, _) => return None,
            _ => (self.since, self.timeout),
        };
        let backoff = self.backoff;
        self.backoff = (backoff * 2).min(BACKOFF_MAX);
        (now.saturating_duration_since(since) < bound).then_some(backoff)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::OUTAGE_TIMEOUT;

    #[test]
    fn c3_an_outage_is_waited_out_with_a_growing_backoff() {
        let mut retry = Retry::new(OUTAGE_TIMEOUT);
        let start = retry.since;
        let millis: Vec<_> = (0..9)
            .map(|n| retry.backoff_after(start + Duration::from_secs(n), Cause::Outage))
            .map(|backoff| backoff.unwrap_or_default().as_millis())
            .collect();
        assert_eq!(millis, [50, 100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
        let almost = start + OUTAGE_TIMEOUT - Duration::from_secs(1);
        assert!(retry.backoff_after(almost, Cause::Outage).is_some());
        assert_eq!(retry.backoff_after(start + OUTAGE_TIMEOUT, Cause::Outage), None);
    }

    #[test]
    fn c3_refused_credentials_are_no_outage() {
        let mut retry = Retry::new(OUTAGE_TIMEOUT);
        let later = retry.since + Duration::from_mins(10);
        assert!(retry.backoff_after(later, Cause::Access).is_some());
        assert!(retry.backoff_after(later + ACCESS_REFUSED_MAX / 2, Cause::Outage).is_some());
        let refused = later + ACCESS_REFUSED_MAX;
        assert!(retry.backoff_after(refused, Cause::Access).is_some(), "not in a row");
        assert_eq!(retry.backoff_after(refused + ACCESS_REFUSED_MAX, Cause::Access), None);
        assert_eq!(Retry::new(OUTAGE_TIMEOUT).backoff_after(later, Cause::Transaction), None);
    }
}
