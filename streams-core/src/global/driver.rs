//! The thread of a global changelog: it carries records from the fetcher to the receiver, and
//! answers of the brokers to the machine. It decides nothing.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::AtomicI32;
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::builder::{GlobalSettings, OnTruncated};
use super::error::{GlobalError, ReceiveError};
use super::lookup::{self, Found};
use super::positions::{Fetch, Missed, OutOfRange, Patience, Positions, Verdict};
use super::receiver::ChangeLogReceiver;
use super::state::{GlobalWatch, Published};
use crate::client::rdkafka::RdFetcher;
use crate::client::wire::{Admin, ClientError};
use crate::client::{Fetched, Fetcher, Reads, UnreadableBatch};
use crate::record::{Record, TopicPartition};
use crate::runtime::pulse::panic_text;
use crate::runtime::{OnUnreadable, StartFrom};

/// The most records that are received before the machine's state is published.
const RECORDS_PER_ROUND: usize = 1_024;
/// The time from a failed fetch to the look-up that judges it.
const JUDGE_AFTER: Duration = Duration::from_millis(50);

/// What a user asks for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Command {
    Pause(i32),
    PauseAll,
    Resume(i32),
    ResumeAt(i32, i64),
    ResumeAll,
}

/// What the thread is told.
pub(super) enum ToLog {
    /// A command, by its number.
    Command(u64, Command),
    /// A look-up has ended.
    LookedUp(Box<Admin>, Result<Option<Found>, ClientError>),
    Stop,
}

/// What a driver is made of.
pub(super) struct Parts<R> {
    pub(super) settings: GlobalSettings,
    pub(super) receiver: R,
    pub(super) admin: Admin,
    pub(super) sender: Sender<ToLog>,
    pub(super) received: Receiver<ToLog>,
    pub(super) wake: Arc<Notify>,
    pub(super) watch: GlobalWatch,
}

pub(super) struct Driver<R> {
    settings: GlobalSettings,
    receiver: R,
    fetcher: RdFetcher,
    positions: Positions,
    patience: Patience,
    /// The client for look-ups; `None` while one is under way.
    admin: Option<Admin>,
    topic: Arc<str>,
    topic_id: Option<u128>,
    sender: Sender<ToLog>,
    received: Receiver<ToLog>,
    wake: Arc<Notify>,
    watch: GlobalWatch,
    check_at: Instant,
    published: Published,
    is_stopping: bool,
}

impl<R: ChangeLogReceiver> Driver<R> {
    /// A driver that begins to fetch the partitions that were found.
    pub(super) fn new(
        parts: Parts<R>,
        found: &Found,
        behind_max: Option<Duration>,
    ) -> Result<Self, GlobalError> {
        let Parts { settings, receiver, admin, sender, received, wake, watch } = parts;
        let failed = |source| GlobalError::Fetch { topic: settings.topic.clone(), source };
        let group = format!("streams-global-{}", settings.topic);
        let wakes = Arc::clone(&wake);
        let wakes = move || wakes.notify_one();
        let fetcher =
            RdFetcher::new(&settings.cluster, &group, Reads::Source, wakes).map_err(failed)?;
        let fetcher = fetcher.grown_from(Arc::new(AtomicI32::new(found.topic.partitions)));
        let mut driver = Self {
            topic: Arc::from(settings.topic.as_str()),
            topic_id: found.topic.id,
            check_at: Instant::now() + settings.check_interval,
            settings,
            receiver,
            fetcher,
            positions: Positions::new(found.asked_at, behind_max),
            patience: Patience::default(),
            admin: Some(admin),
            sender,
            received,
            wake,
            watch,
            published: Published::default(),
            is_stopping: false,
        };
        for (partition, low) in &found.lows {
            let end = found.ends.get(partition).copied().unwrap_or(*low);
            let start = match driver.settings.start_from {
                StartFrom::Earliest => *low,
                StartFrom::Latest => end,
            };
            let fetch = driver.positions.add(*partition, start, end);
            driver.fetch(fetch)?;
        }
        driver.positions.checked(found.asked_at, &found.ends);
        driver.publish();
        Ok(driver)
    }

    /// Runs until it is told to stop, or something fails for good.
    pub(super) async fn run(mut self) -> Result<(), GlobalError> {
        loop {
            let more = self.round()?;
            if self.is_stopping {
                return Ok(());
            }
            self.apply()?;
            self.positions.settle(Instant::now());
            self.look_for_missed()?;
            self.catch_up()?;
            self.publish();
            self.begin_look_up();
            if more {
                tokio::task::yield_now().await;
                continue;
            }
            let due = self.check_at;
            tokio::select! {
                () = self.wake.notified() => {}
                // While a look-up is under way, its end wakes.
                () = tokio::time::sleep_until(due.into()), if self.admin.is_some() => {}
            }
        }
    }

    /// Receives what is at hand, up to a bound. Returns true if there may be more.
    fn round(&mut self) -> Result<bool, GlobalError> {
        for _ in 0..RECORDS_PER_ROUND {
            self.take_mail()?;
            if self.is_stopping {
                return Ok(false);
            }
            match self.fetcher.poll() {
                Some(fetched) => self.fetched(fetched)?,
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    fn take_mail(&mut self) -> Result<(), GlobalError> {
        while let Ok(message) = self.received.try_recv() {
            match message {
                ToLog::Command(number, command) => {
                    self.command(command)?;
                    self.published.done = number;
                    self.publish();
                }
                ToLog::LookedUp(admin, result) => {
                    self.admin = Some(*admin);
                    self.looked_up(result)?;
                }
                ToLog::Stop => self.is_stopping = true,
            }
        }
        Ok(())
    }

    fn command(&mut self, command: Command) -> Result<(), GlobalError> {
        let fetches = match command {
            Command::Pause(partition) => self.positions.pause(partition).into_iter().collect(),
            Command::PauseAll => self.positions.pause_all(),
            Command::Resume(partition) => self.positions.resume(partition).into_iter().collect(),
            Command::ResumeAt(partition, offset) => {
                self.positions.resume_at(partition, offset).into_iter().collect()
            }
            Command::ResumeAll => self.positions.resume_all(),
        };
        fetches.into_iter().try_for_each(|fetch| self.fetch(Some(fetch)))
    }

    fn at(&self, partition: i32) -> TopicPartition {
        TopicPartition::new(Arc::clone(&self.topic), partition)
    }

    fn fetch(&mut self, fetch: Option<Fetch>) -> Result<(), GlobalError> {
        match fetch {
            Some(Fetch::Begin { partition, offset }) => {
                let at = self.at(partition);
                self.fetcher.assign(&at, offset).map_err(|source| {
                    let topic = self.settings.topic.clone();
                    GlobalError::Fetch { topic, source }
                })?;
            }
            Some(Fetch::End { partition }) => self.fetcher.unassign(&self.at(partition)),
            None => {}
        }
        Ok(())
    }

    fn fetched(&mut self, fetched: Fetched) -> Result<(), GlobalError> {
        match fetched {
            Fetched::Record(record) => self.receive(&record),
            Fetched::EndOfPartition { partition, offset } => {
                self.positions.end_reached(partition, offset);
                Ok(())
            }
            Fetched::Trouble(message) => {
                tracing::debug!(topic = &*self.topic, message, "the fetcher is in trouble");
                Ok(())
            }
            Fetched::Failed { partition, error } => {
                let number = partition.as_ref().map(TopicPartition::partition);
                if self.positions.fetch_failed(number, &error.message) {
                    let topic = &*self.topic;
                    tracing::warn!(topic, partition = number, %error, "a fetch has failed");
                    self.check_at = self.check_at.min(Instant::now() + JUDGE_AFTER);
                }
                Ok(())
            }
            Fetched::Unreadable(batch) => self.unreadable(batch),
        }
    }

    fn receive(&mut self, record: &Record) -> Result<(), GlobalError> {
        let (partition, offset) = (record.topic_partition().partition(), record.offset());
        if !self.positions.take_record(partition, offset) {
            return Ok(());
        }
        self.call(partition, offset, |receiver| receiver.receive_change(record))
    }

    /// Calls the receiver, which may panic.
    fn call(
        &mut self,
        partition: i32,
        offset: i64,
        call: impl FnOnce(&mut R) -> Result<(), ReceiveError>,
    ) -> Result<(), GlobalError> {
        let called = catch_unwind(AssertUnwindSafe(|| call(&mut self.receiver)));
        let partition = || self.at(partition);
        match called {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                let (partition, source) = (partition(), Arc::from(error));
                Err(GlobalError::Receiver { partition, offset, source })
            }
            Err(panic) => {
                let (partition, message) = (partition(), panic_text(&*panic));
                Err(GlobalError::Panicked { partition, offset, message })
            }
        }
    }

    fn apply(&mut self) -> Result<(), GlobalError> {
        let nexts = self.positions.nexts();
        // For an error: the receiver has all before this place.
        let (partition, offset) = nexts.into_iter().next().unwrap_or_default();
        self.call(partition, offset, ChangeLogReceiver::apply)
    }

    /// Tells the receiver that it has caught up, before anybody else learns of it.
    fn catch_up(&mut self) -> Result<(), GlobalError> {
        if !self.positions.is_caught_up() || self.published.is_caught_up {
            return Ok(());
        }
        let (partition, offset) = self.positions.nexts().into_iter().next().unwrap_or_default();
        self.call(partition, offset, ChangeLogReceiver::caught_up)
    }

    /// Asks for the first offsets, if the receiver may have missed tombstones.
    fn look_for_missed(&mut self) -> Result<(), GlobalError> {
        match self.positions.missed() {
            Missed::Nothing => {}
            Missed::BeginAgain => self.check_at = self.check_at.min(Instant::now()),
            Missed::TooSlow(age_max) => {
                let topic = self.settings.topic.clone();
                return Err(GlobalError::TooSlow { topic, age_max });
            }
        }
        Ok(())
    }

    /// Begins again, if the receiver may have missed tombstones and cares for them.
    fn begin_again(&mut self, now: Instant, found: &Found) -> Result<(), GlobalError> {
        let is_known = found.lows.len() == found.ends.len();
        if self.positions.missed() != Missed::BeginAgain || !is_known {
            return Ok(());
        }
        let mut wants = false;
        let (partition, offset) = self.positions.nexts().into_iter().next().unwrap_or_default();
        self.call(partition, offset, |receiver| {
            wants = receiver.begin_again()?;
            Ok(())
        })?;
        if !wants {
            self.positions.ignore_missed();
            return Ok(());
        }
        tracing::warn!(
            topic = &*self.topic,
            "the global changelog was behind for so long that tombstones may be gone: reading all \
             records again"
        );
        self.published.begun_again += 1;
        let fetches = self.positions.begin_again(now, &found.lows);
        fetches.into_iter().try_for_each(|fetch| self.fetch(Some(fetch)))
    }

    fn unreadable(&mut self, batch: UnreadableBatch) -> Result<(), GlobalError> {
        if self.settings.on_unreadable == OnUnreadable::Fail {
            return Err(GlobalError::Unreadable(batch));
        }
        let (at, offset) = (batch.partition.clone(), batch.offset);
        let fetcher = &mut self.fetcher;
        // It asks the broker, and waits on a runtime of its own.
        let end = std::thread::scope(|scope| {
            scope.spawn(|| fetcher.batch_end(&at, offset)).join().map_err(|_| ())
        });
        let Ok(Ok(end)) = end else {
            return Err(GlobalError::Unreadable(batch));
        };
        tracing::warn!(%batch, end, "left out a batch that can't be read");
        self.published.batches_skipped += 1;
        let fetch = self.positions.skip_to(at.partition(), end);
        self.fetch(fetch)
    }

    /// Asks the brokers, if it is time and no question is under way.
    fn begin_look_up(&mut self) {
        if Instant::now() < self.check_at {
            return;
        }
        let Some(mut admin) = self.admin.take() else {
            return;
        };
        let needs_lows = self.positions.has_failed() || self.positions.missed() != Missed::Nothing;
        let lows_from = if needs_lows { 0 } else { self.positions.count() };
        let (topic, sender) = (Arc::clone(&self.topic), self.sender.clone());
        let wake = Arc::clone(&self.wake);
        tokio::spawn(async move {
            let result = lookup::look_up(&mut admin, &topic, lows_from).await;
            let _ = sender.send(ToLog::LookedUp(Box::new(admin), result));
            wake.notify_one();
        });
    }

    fn looked_up(&mut self, result: Result<Option<Found>, ClientError>) -> Result<(), GlobalError> {
        let now = Instant::now();
        let (retry, trouble) = match result {
            Ok(Some(found)) => return self.found(now, &found),
            Ok(None) => {
                let error = GlobalError::TopicMissing { topic: self.settings.topic.clone() };
                match self.patience.missing(now) {
                    Some(retry) => (retry, error.to_string()),
                    None => return Err(error),
                }
            }
            Err(source) => match self.patience.failed(now, source.cause()) {
                Some(retry) => (retry, source.to_string()),
                None => {
                    let topic = self.settings.topic.clone();
                    return Err(GlobalError::Client { topic, source });
                }
            },
        };
        if self.published.trouble.is_none() {
            tracing::warn!(
                topic = &*self.topic,
                trouble,
                "the global changelog can't reach its topic, and may be stale"
            );
        }
        self.published.trouble = Some(trouble);
        self.check_at = now + retry;
        Ok(())
    }

    fn found(&mut self, now: Instant, found: &Found) -> Result<(), GlobalError> {
        let is_other = matches!((self.topic_id, found.topic.id), (Some(a), Some(b)) if a != b);
        if is_other || found.topic.partitions < self.positions.count() {
            return Err(GlobalError::TopicReplaced { topic: self.settings.topic.clone() });
        }
        self.check_at = now + self.settings.check_interval;
        self.published.trouble = None;
        if self.patience.succeeded() {
            tracing::info!(topic = &*self.topic, "the global changelog reaches its topic again");
        }
        for (partition, low) in &found.lows {
            if !self.positions.has(*partition) {
                tracing::info!(topic = &*self.topic, partition, "a partition was added");
                let end = found.ends.get(partition).copied().unwrap_or(*low);
                let fetch = self.positions.add(*partition, *low, end);
                self.fetch(fetch)?;
            }
        }
        self.positions.checked(found.asked_at, &found.ends);
        for verdict in self.positions.judge(&found.lows, &found.ends) {
            self.judged(verdict)?;
        }
        if self.positions.has_failed() {
            self.check_at = now + JUDGE_AFTER;
        }
        self.begin_again(now, found)
    }

    fn judged(&mut self, verdict: Verdict) -> Result<(), GlobalError> {
        match verdict {
            Verdict::Again(fetch) => self.fetch(Some(fetch)),
            Verdict::Failed(message) => {
                let source = crate::client::FetchError { message };
                Err(GlobalError::Fetch { topic: self.settings.topic.clone(), source })
            }
            Verdict::OutOfRange(OutOfRange { partition, position, low, high }) => {
                let at = self.at(partition);
                if self.settings.on_truncated == OnTruncated::Fail {
                    return Err(GlobalError::Truncated { partition: at, position, low, high });
                }
                tracing::warn!(partition = %at, position, low, high, "left out deleted records");
                let lost = position.min(low)..low;
                self.call(partition, position, |receiver| receiver.truncated(partition, lost))?;
                let fetch = self.positions.skip_to(partition, low);
                self.fetch(fetch)
            }
        }
    }

    fn publish(&mut self) {
        let is_caught_up = self.positions.is_caught_up();
        if is_caught_up && !self.published.is_caught_up {
            tracing::info!(topic = &*self.topic, "the global changelog has caught up");
        }
        self.published.is_caught_up = is_caught_up;
        self.published.whole_at = self.positions.whole_at();
        self.published.lags = self.positions.lags();
        self.published.positions = self.positions.nexts();
        self.published.paused = self.positions.paused();
        self.watch.publish(self.published.clone());
    }
}
