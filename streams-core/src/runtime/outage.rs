//! Requests that are tried again while the cluster is away. The rule is
//! [`Patience`]'s; this module waits, and names the error.

use std::time::{Duration, Instant};

use super::error::SourceError;
use crate::patience::{Backoff, GiveUp, Patience};

pub(crate) const OUTAGE_TIMEOUT_MIN: Duration = Duration::from_secs(1);
pub(crate) const OUTAGE_TIMEOUT_MAX: Duration = Duration::from_hours(24 * 7);
const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// The attempts of one request, or of one start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retry {
    patience: Patience,
    backoff: Backoff,
    outage_timeout: Duration,
}

impl Retry {
    /// The attempts of a request since `now`, for at most `outage_timeout`.
    pub(crate) const fn new(now: Instant, outage_timeout: Duration) -> Self {
        let patience = Patience::new(outage_timeout).trying_since(now);
        Self { patience, backoff: Backoff::new(BACKOFF_MIN, BACKOFF_MAX), outage_timeout }
    }

    /// The attempts of a start since `now`: it looks for the cluster for the first time.
    pub(crate) const fn starting(now: Instant, outage_timeout: Duration) -> Self {
        let patience = Patience::starting(outage_timeout).trying_since(now);
        Self { patience, ..Self::new(now, outage_timeout) }
    }

    /// Sets whether the source has worked: then refusals are tried again for a while.
    pub(crate) const fn having_worked(mut self, has_worked: bool) -> Self {
        self.patience = self.patience.having_worked(has_worked);
        self
    }

    /// A broker has answered.
    pub(crate) const fn reached(&mut self) {
        self.patience.reached();
    }

    /// Returns how long to wait before the next attempt.
    ///
    /// # Errors
    /// If there is none: the error to report. After an outage it says for how long the source has
    /// waited.
    pub(crate) fn failed(
        &mut self,
        now: Instant,
        error: SourceError,
    ) -> Result<Duration, SourceError> {
        match self.patience.failed(now, error.cause()) {
            Ok(()) => Ok(self.backoff.after_failure()),
            Err(GiveUp::Outage) => {
                let (timeout, last) = (self.outage_timeout, error.to_string());
                Err(SourceError::Outage { timeout, last })
            }
            Err(GiveUp::Unreachable | GiveUp::Refused | GiveUp::Permanent) => Err(error),
        }
    }

    /// Waits until the next attempt is due.
    ///
    /// # Errors
    /// As [`Retry::failed`].
    pub(crate) async fn wait(&mut self, error: SourceError) -> Result<(), SourceError> {
        let reason = error.to_string();
        let backoff = self.failed(Instant::now(), error)?;
        tracing::warn!(error = reason, ?backoff, "the cluster is away: the source tries again");
        tokio::time::sleep(backoff).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::wire::ClientError;
    use crate::error::OUTAGE_TIMEOUT;

    fn silence() -> SourceError {
        let (address, reason) = ("broker:9092".to_owned(), "no reply".to_owned());
        let error = Box::new(ClientError::Connection { address, reason });
        SourceError::Client(ClientError::During { what: "creating topic `t`".to_owned(), error })
    }

    #[test]
    fn c3_an_outage_is_waited_out_with_a_growing_backoff() {
        let start = Instant::now();
        let mut retry = Retry::new(start, OUTAGE_TIMEOUT);
        let pauses: Vec<_> = (0..9)
            .map(|n| retry.failed(start + Duration::from_secs(n), silence()))
            .map(|pause| pause.unwrap_or_default().as_millis())
            .collect();
        assert_eq!(pauses, [50, 100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
        let almost = start + OUTAGE_TIMEOUT - Duration::from_secs(1);
        assert!(retry.failed(almost, silence()).is_ok());
        let error = retry.failed(start + OUTAGE_TIMEOUT, silence()).unwrap_err();
        let text = error.to_string();
        for says in ["for 3600s (`outage_timeout`)", "creating topic `t`", "broker:9092"] {
            assert!(text.contains(says), "{says}: {text}");
        }
    }

    #[test]
    fn c3_a_start_without_a_cluster_reports_what_it_found() {
        let start = Instant::now();
        let mut retry = Retry::starting(start, OUTAGE_TIMEOUT);
        let error = retry.failed(start, silence()).unwrap_err();
        assert!(matches!(error, SourceError::Client(_)), "{error}");
        retry.reached();
        assert!(retry.failed(start, silence()).is_ok());
    }
}
