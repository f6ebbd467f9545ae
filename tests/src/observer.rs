//! Watches the committed outputs of `running_totals` as they come: when each partition's came, and
//! how late they were.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::oracle::Total;
use crate::workload::now_us;

/// A committed output, when it was seen.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The partition of the output topic, which is the input's: both have the same key.
    pub partition: i32,
    /// When the update was due, in microseconds since the Unix epoch.
    pub due_us: i64,
    /// When its total was seen.
    pub at_us: i64,
    /// The total, as it is in the log.
    pub payload: Vec<u8>,
}

impl Seen {
    /// From when the update was due until its total was seen.
    pub fn latency(&self) -> Duration {
        Duration::from_micros(u64::try_from(self.at_us - self.due_us).unwrap_or(0))
    }
}

type Shared = Arc<Mutex<Vec<Seen>>>;

/// A reader on a thread of its own.
#[derive(Debug)]
pub struct Observer {
    seen: Shared,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Observer {
    /// Reads all of `topic` with `read_committed`, once it is there.
    ///
    /// # Errors
    /// If the client can't be made.
    pub fn start(bootstrap: &str, topic: &str) -> Result<Self> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .set("group.id", "observer")
            .set("enable.auto.commit", "false")
            .set("isolation.level", "read_committed")
            .set("fetch.wait.max.ms", "50")
            .set("fetch.queue.backoff.ms", "1")
            .create()?;
        let (seen, stop) = (Shared::default(), Arc::new(AtomicBool::new(false)));
        let (shared, stopping) = (Arc::clone(&seen), Arc::clone(&stop));
        let topic = topic.to_owned();
        let thread = std::thread::spawn(move || {
            read(&consumer, &topic, &shared, &stopping)
                .inspect_err(|error| eprintln!("observer: {error:#}"))
        });
        Ok(Self { seen, stop, thread: Some(thread) })
    }

    /// How many outputs were seen.
    pub fn count(&self) -> usize {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Lets `read` look at the outputs seen so far.
    pub fn read<R>(&self, read: impl FnOnce(&[Seen]) -> R) -> R {
        read(&self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The outputs seen so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until `count` outputs were seen.
    ///
    /// # Errors
    /// If they were not within `patience`.
    pub fn wait_for(&self, count: usize, patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        while self.count() < count {
            let ended = self.thread.as_ref().is_none_or(JoinHandle::is_finished);
            if ended || Instant::now() >= deadline {
                bail!("{} of {count} outputs after {patience:?}; ended: {ended}", self.count());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Waits for `count` outputs, and ends.
    ///
    /// # Errors
    /// As [`Observer::wait_for`]; or an output could not be read.
    pub fn finish(mut self, count: usize, patience: Duration) -> Result<Vec<Seen>> {
        self.wait_for(count, patience)?;
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("it ends once")?;
        thread.join().map_err(|_| anyhow!("the observer panicked"))??;
        Ok(self.seen())
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// The partitions of a topic, once it is there.
fn partitions(consumer: &BaseConsumer, topic: &str, stop: &AtomicBool) -> Result<i32> {
    while !stop.load(Ordering::Relaxed) {
        let metadata = consumer.fetch_metadata(Some(topic), Duration::from_secs(10))?;
        match metadata.topics().first().map_or(0, |topic| topic.partitions().len()) {
            0 => std::thread::sleep(Duration::from_millis(50)),
            partitions => return Ok(i32::try_from(partitions)?),
        }
    }
    Ok(0)
}

fn read(consumer: &BaseConsumer, topic: &str, seen: &Shared, stop: &AtomicBool) -> Result<()> {
    let mut list = TopicPartitionList::new();
    for partition in 0..partitions(consumer, topic, stop)? {
        list.add_partition_offset(topic, partition, Offset::Beginning)?;
    }
    consumer.assign(&list)?;
    while !stop.load(Ordering::Relaxed) {
        match consumer.poll(Duration::from_millis(50)) {
            None => {}
            // The topic may not be there yet, and a broker may be away.
            Some(Err(error)) => eprintln!("observer: {error}"),
            Some(Ok(message)) => {
                let payload = message.payload().unwrap_or_default().to_vec();
                let total: Total = serde_json::from_slice(&payload)?;
                let (partition, due_us, at_us) = (message.partition(), total.ts, now_us());
                let one = Seen { partition, due_us, at_us, payload };
                seen.lock().unwrap_or_else(PoisonError::into_inner).push(one);
            }
        }
    }
    Ok(())
}

/// The greatest latency of each partition, of the outputs whose updates were due from then on.
pub fn longest_by_partition(seen: &[Seen], from_us: i64) -> BTreeMap<i32, Duration> {
    let mut longest = BTreeMap::new();
    for one in seen.iter().filter(|one| one.due_us >= from_us) {
        let known: &mut Duration = longest.entry(one.partition).or_default();
        *known = one.latency().max(*known);
    }
    longest
}
