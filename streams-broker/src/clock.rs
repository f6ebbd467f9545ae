//! The time that a broker lives in: the system's, or a test's.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;

/// A clock that stands still until it is advanced.
///
/// ```
/// use std::time::Duration;
/// let clock = streams_broker::ManualClock::new(1_000);
/// let broker = streams_broker::Broker::builder().clock(clock.clone()).start()?;
/// clock.advance(Duration::from_secs(60)); // sessions end, transactions time out
/// # Ok::<(), streams_broker::BrokerError>(())
/// ```
#[derive(Clone, Debug)]
pub struct ManualClock {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    now_ms: AtomicI64,
    advanced: Notify,
}

impl ManualClock {
    /// A clock at a time, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn new(now_ms: i64) -> Self {
        let shared = Shared { now_ms: AtomicI64::new(now_ms), advanced: Notify::new() };
        Self { shared: Arc::new(shared) }
    }

    /// Lets time pass; the broker looks at what is due.
    pub fn advance(&self, by: Duration) {
        let ms = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        self.shared.now_ms.fetch_add(ms, Ordering::SeqCst);
        self.shared.advanced.notify_one();
    }

    /// The time, in milliseconds since the Unix epoch.
    pub fn now_ms(&self) -> i64 {
        self.shared.now_ms.load(Ordering::SeqCst)
    }
}

/// Where a broker has its time from.
#[derive(Clone, Debug, Default)]
pub(crate) enum Clock {
    #[default]
    System,
    Manual(ManualClock),
}

impl Clock {
    pub(crate) fn now_ms(&self) -> i64 {
        match self {
            Self::System => {
                let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
                i64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(i64::MAX)
            }
            Self::Manual(clock) => clock.now_ms(),
        }
    }

    /// Returns when it is that late; never without a time.
    pub(crate) async fn wait_until(&self, at_ms: Option<i64>) {
        let Some(at_ms) = at_ms else {
            return std::future::pending().await;
        };
        loop {
            let left = at_ms.saturating_sub(self.now_ms());
            let Some(left) = u64::try_from(left).ok().filter(|left| *left > 0) else {
                return;
            };
            match self {
                // The wall clock may be set: look again within the hour.
                Self::System => {
                    tokio::time::sleep(Duration::from_millis(left.min(3_600_000))).await;
                }
                Self::Manual(clock) => clock.shared.advanced.notified().await,
            }
        }
    }
}
