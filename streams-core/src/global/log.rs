//! The handle of a running global changelog.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::builder::{GlobalBuilder, GlobalSettings};
use super::driver::{Command, Driver, Parts, ToLog};
use super::error::GlobalError;
use super::lookup;
use super::receiver::ChangeLogReceiver;
use super::state::{GlobalState, GlobalWatch};
use crate::client::wire::{Admin, Endpoint};
use crate::error::ConfigError;

/// A topic that this process reads whole: every record of all partitions goes to one
/// [`ChangeLogReceiver`]. GKES: `GlobalChangeLog`.
///
/// Each process reads the whole topic for itself: there is no group, and no offset is committed. So
/// a global changelog suits data that every process needs and that fits into its memory. For rows
/// with keys there is [`GlobalTable`](super::GlobalTable).
///
/// The receiver gets committed records only (`read_committed`), on a thread of its own. Dropping
/// the last handle stops it.
///
/// # Examples
/// ```no_run
/// use std::time::Duration;
///
/// use streams_core::global::GlobalChangeLog;
/// use streams_core::record::Record;
///
/// # fn main() -> Result<(), streams_core::global::GlobalError> {
/// let print = |record: &Record| {
///     println!("{}@{}", record.topic_partition(), record.offset());
///     Ok(())
/// };
/// let log = GlobalChangeLog::builder(print).bootstrap("localhost:9092").topic("flags").start()?;
/// log.wait_caught_up(Duration::from_secs(30))?;
/// log.pause(0)?;
/// log.resume_at(0, 0)?; // reads partition 0 once more
/// # Ok(())
/// # }
/// ```
pub struct GlobalChangeLog {
    watch: GlobalWatch,
    inbox: Sender<ToLog>,
    wake: Arc<Notify>,
    /// The number of the last command.
    commands: Mutex<u64>,
    thread: Option<JoinHandle<()>>,
}

/// Tells the watch that the log has ended, also if its thread panics.
struct AtEnd(GlobalWatch);

impl Drop for AtEnd {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let topic = self.0.topic().to_owned();
            let reason = "it panicked".to_owned();
            self.0.end(Some(GlobalError::Thread { topic, reason }));
        }
    }
}

impl GlobalChangeLog {
    /// Returns the settings of a global changelog whose records go to `receiver`. GKES:
    /// `NewGlobalChangeLog`.
    pub fn builder<R: ChangeLogReceiver>(receiver: R) -> GlobalBuilder<R> {
        GlobalBuilder::new(receiver)
    }

    pub(super) fn start(
        settings: GlobalSettings,
        receiver: impl ChangeLogReceiver,
    ) -> Result<Self, GlobalError> {
        let endpoint = settings.check()?;
        let watch = GlobalWatch::new(&settings.topic, settings.stale_after);
        let wake = Arc::new(Notify::new());
        let (inbox, received) = channel();
        let (ready, started) = channel();
        let topic = settings.topic.clone();
        let thread_failed = |reason| GlobalError::Thread { topic: topic.clone(), reason };
        let channels = Channels { watch: watch.clone(), wake: Arc::clone(&wake), received, ready };
        let sender = inbox.clone();
        let run = move || run(settings, &endpoint, receiver, channels, sender);
        let thread = std::thread::Builder::new().name("streams-global".to_owned()).spawn(run);
        let thread = thread.map_err(|error| thread_failed(error.to_string()))?;
        match started.recv() {
            Ok(Ok(())) => {
                Ok(Self { watch, inbox, wake, commands: Mutex::new(0), thread: Some(thread) })
            }
            Ok(Err(error)) => Err(error),
            Err(_) => Err(thread_failed("it did not start".to_owned())),
        }
    }

    /// The topic's name.
    pub fn topic(&self) -> &str {
        self.watch.topic()
    }

    /// Returns true if the receiver has all records that the topic had at the start, and all that a
    /// resumed or an added partition had when the global changelog began to read it.
    pub fn is_caught_up(&self) -> bool {
        self.watch.is_caught_up()
    }

    /// Blocks until the receiver has caught up, at most for `timeout`.
    ///
    /// # Errors
    /// If the time is over ([`GlobalError::NotCaughtUp`]), or the global changelog has failed or is
    /// stopped.
    pub fn wait_caught_up(&self, timeout: Duration) -> Result<(), GlobalError> {
        self.watch.wait_caught_up(timeout)
    }

    /// Waits until the receiver has caught up. The future holds nothing of the global changelog
    /// alive.
    ///
    /// # Errors
    /// If the global changelog has failed or is stopped.
    pub fn caught_up(
        &self,
    ) -> impl Future<Output = Result<(), GlobalError>> + Send + use<> + 'static {
        self.watch.clone().caught_up()
    }

    /// Returns whether the global changelog is well: for a deployment's health check.
    pub fn state(&self) -> GlobalState {
        self.watch.state(Instant::now())
    }

    /// Returns the age of what the receiver has: it lacks no record that was committed before that
    /// time. `None` before the receiver has caught up for the first time.
    ///
    /// The age grows while the cluster is away, while a partition is paused, and between two
    /// look-ups ([`GlobalBuilder::check_interval`]).
    pub fn staleness(&self) -> Option<Duration> {
        self.watch.staleness(Instant::now())
    }

    /// Returns how many offsets each partition is behind its end, as the last look-up or fetch told
    /// it. Aborted records and transaction markers have offsets too.
    pub fn lags(&self) -> BTreeMap<i32, i64> {
        self.watch.published().lags
    }

    /// Returns the next offset of each partition.
    pub fn positions(&self) -> BTreeMap<i32, i64> {
        self.watch.published().positions
    }

    /// Returns the numbers of the paused partitions.
    pub fn paused(&self) -> Vec<i32> {
        self.watch.published().paused
    }

    /// Returns how many batches were left out because they can't be read
    /// ([`GlobalBuilder::on_unreadable_batch`]).
    pub fn batches_skipped(&self) -> u64 {
        self.watch.published().batches_skipped
    }

    /// Returns how often the receiver has begun again, because it may have missed tombstones
    /// ([`ChangeLogReceiver::begin_again`]).
    pub fn begun_again(&self) -> u64 {
        self.watch.published().begun_again
    }

    /// Returns why the brokers do not answer, while they do not: the global changelog tries again
    /// with a back-off of 50 ms to 5 s, for as long as it takes.
    pub fn trouble(&self) -> Option<String> {
        self.watch.published().trouble
    }

    /// Returns why the global changelog has failed, if it has.
    pub fn failure(&self) -> Option<GlobalError> {
        self.watch.failure()
    }

    /// Pauses a partition: when this returns, the receiver gets no further record of it. GKES:
    /// `Pause`.
    ///
    /// A receiver may call this itself; then the call does not wait.
    ///
    /// # Errors
    /// If there is no such partition, or the global changelog has ended.
    pub fn pause(&self, partition: i32) -> Result<(), GlobalError> {
        self.check_partition(partition)?;
        self.command(Command::Pause(partition))
    }

    /// Pauses all partitions, those included that are added later. GKES: `PauseAllPartitions`.
    ///
    /// # Errors
    /// If the global changelog has ended.
    pub fn pause_all(&self) -> Result<(), GlobalError> {
        self.command(Command::PauseAll)
    }

    /// Resumes a partition where it was paused.
    ///
    /// # Errors
    /// If there is no such partition, or the global changelog has ended.
    pub fn resume(&self, partition: i32) -> Result<(), GlobalError> {
        self.check_partition(partition)?;
        self.command(Command::Resume(partition))
    }

    /// Reads a partition from `offset` on, paused before or not: the receiver gets records again
    /// that it had, or misses some. GKES: `ResumePartitionAt`.
    ///
    /// An offset that the log does not hold is treated as
    /// [`on_truncated`](GlobalBuilder::on_truncated) says.
    ///
    /// # Errors
    /// If there is no such partition, the offset is negative, or the global changelog has ended.
    pub fn resume_at(&self, partition: i32, offset: i64) -> Result<(), GlobalError> {
        self.check_partition(partition)?;
        ConfigError::check("offset", offset, 0..=i64::MAX)?;
        self.command(Command::ResumeAt(partition, offset))
    }

    /// Resumes all partitions.
    ///
    /// # Errors
    /// If the global changelog has ended.
    pub fn resume_all(&self) -> Result<(), GlobalError> {
        self.command(Command::ResumeAll)
    }

    /// Stops the global changelog, and waits for its end. GKES: `Stop`.
    ///
    /// # Errors
    /// If it had failed before.
    pub fn stop(mut self) -> Result<(), GlobalError> {
        self.end();
        self.watch.failure().map_or(Ok(()), Err)
    }

    pub(super) const fn watch(&self) -> &GlobalWatch {
        &self.watch
    }

    fn check_partition(&self, partition: i32) -> Result<(), GlobalError> {
        match self.watch.published().positions.contains_key(&partition) {
            true => Ok(()),
            false => {
                let topic = self.topic().to_owned();
                Err(GlobalError::NoPartition { topic, partition })
            }
        }
    }

    fn is_own_thread(&self) -> bool {
        let own = std::thread::current().id();
        self.thread.as_ref().is_some_and(|thread| thread.thread().id() == own)
    }

    fn command(&self, command: Command) -> Result<(), GlobalError> {
        let number = {
            let mut last = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
            *last += 1;
            // A log that has ended is reported by the wait.
            let _ = self.inbox.send(ToLog::Command(*last, command));
            *last
        };
        self.wake.notify_one();
        if self.is_own_thread() {
            return Ok(());
        }
        self.watch.wait_done(number)
    }

    fn end(&mut self) {
        let _ = self.inbox.send(ToLog::Stop);
        self.wake.notify_one();
        if self.is_own_thread() {
            return;
        }
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so to the watch.
            let _ = thread.join();
        }
    }
}

impl Drop for GlobalChangeLog {
    fn drop(&mut self) {
        self.end();
    }
}

impl fmt::Debug for GlobalChangeLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GlobalChangeLog")
            .field("topic", &self.topic())
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

/// The thread's ends of the channels.
struct Channels {
    watch: GlobalWatch,
    wake: Arc<Notify>,
    received: Receiver<ToLog>,
    ready: Sender<Result<(), GlobalError>>,
}

/// The body of the thread.
fn run<R: ChangeLogReceiver>(
    settings: GlobalSettings,
    endpoint: &Endpoint,
    receiver: R,
    channels: Channels,
    sender: Sender<ToLog>,
) {
    let Channels { watch, wake, received, ready } = channels;
    let at_end = AtEnd(watch.clone());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            let topic = settings.topic;
            let _ = ready.send(Err(GlobalError::Thread { topic, reason: error.to_string() }));
            return;
        }
    };
    let result = runtime.block_on(async {
        let mut admin = Admin::new(endpoint);
        let found = lookup::prepare(&mut admin, &settings).await;
        let watch = watch.clone();
        let parts = Parts { settings, receiver, admin, sender, received, wake, watch };
        let driver = found.and_then(|(found, behind_max)| Driver::new(parts, &found, behind_max));
        match driver {
            Ok(driver) => {
                let _ = ready.send(Ok(()));
                driver.run().await
            }
            Err(error) => {
                let _ = ready.send(Err(error));
                Ok(())
            }
        }
    });
    if let Err(error) = &result {
        tracing::error!(topic = at_end.0.topic(), %error, "the global changelog has failed");
    }
    at_end.0.end(result.err());
}
