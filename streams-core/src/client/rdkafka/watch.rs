//! A watch over a consumer's positions.
//!
//! librdkafka fetches a batch that it can't parse again and again, and says nothing. Its property
//! `check.crcs` is no help: a checksum that is wrong makes librdkafka (2.12.1) lose its place in
//! the response, and it aborts the process. So a batch at which a position stays is read by the
//! wire client, which compares its checksum.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};

use super::context::Context;
use super::ffi;
use crate::client::wire::{Admin, ClientError, Endpoint};
use crate::client::{ClusterConfig, UnreadableBatch};
use crate::record::TopicPartition;

/// How often the positions are compared. A batch is read if the position stays for that long while
/// records are behind it.
const COMPARE_EVERY: Duration = Duration::from_secs(3);

/// A partition that is fetched.
#[derive(Clone, Copy)]
struct Assigned {
    /// Which assignment of the watch it is: one that comes back is watched anew.
    number: u64,
    /// Where the fetch began.
    offset: i64,
    paused: bool,
}

/// A place at which a position stays, in an assignment.
type Place = (u64, i64);

type Fetched = Arc<Mutex<BTreeMap<TopicPartition, Assigned>>>;

/// The watch over a consumer.
pub(super) struct Watch {
    fetched: Fetched,
    found: Receiver<UnreadableBatch>,
    assignments: AtomicU64,
    /// The thread ends when this is dropped.
    _alive: Sender<()>,
}

impl Watch {
    /// Starts the watch; it calls `wake` when it has found a batch.
    ///
    /// # Errors
    /// If the system has no thread for it.
    pub(super) fn start(
        consumer: &Arc<BaseConsumer<Context>>,
        cluster: &ClusterConfig,
        wake: impl Fn() + Send + 'static,
    ) -> std::io::Result<Self> {
        let fetched = Fetched::default();
        let (alive, ended) = channel();
        let (report, found) = channel();
        let watcher = Watcher {
            consumer: Arc::clone(consumer),
            cluster: cluster.clone(),
            fetched: Arc::clone(&fetched),
            last: BTreeMap::new(),
            looked: BTreeMap::new(),
        };
        let run = move || watcher.run(&ended, |batch| drop(report.send(batch).map(|()| wake())));
        std::thread::Builder::new().name("streams-watch".to_owned()).spawn(run)?;
        Ok(Self { fetched, found, assignments: AtomicU64::new(0), _alive: alive })
    }

    fn fetched(&self) -> MutexGuard<'_, BTreeMap<TopicPartition, Assigned>> {
        self.fetched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The partition is fetched from `offset` on.
    pub(super) fn begin(&self, partition: &TopicPartition, offset: i64) {
        let number = self.assignments.fetch_add(1, Ordering::Relaxed);
        self.fetched().insert(partition.clone(), Assigned { number, offset, paused: false });
    }

    /// The fetch of the partition is paused, or goes on.
    pub(super) fn pause(&self, partition: &TopicPartition, paused: bool) {
        if let Some(assigned) = self.fetched().get_mut(partition) {
            assigned.paused = paused;
        }
    }

    /// The partition is fetched no more.
    pub(super) fn end(&self, partition: &TopicPartition) {
        self.fetched().remove(partition);
    }

    /// Returns a batch that can't be read, if one was found.
    pub(super) fn poll(&self) -> Option<UnreadableBatch> {
        let batch = self.found.try_recv().ok()?;
        self.fetched().contains_key(&batch.partition).then_some(batch)
    }
}

/// What the thread has.
struct Watcher {
    consumer: Arc<BaseConsumer<Context>>,
    cluster: ClusterConfig,
    fetched: Fetched,
    /// The positions of the last comparison.
    last: BTreeMap<TopicPartition, Place>,
    /// The positions at which a batch was read: its bytes do not change.
    looked: BTreeMap<TopicPartition, Place>,
}

impl Watcher {
    fn run(mut self, ended: &Receiver<()>, report: impl Fn(UnreadableBatch)) {
        while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(COMPARE_EVERY) {
            for (partition, place) in self.stuck() {
                if self.looked.get(&partition) == Some(&place) {
                    continue;
                }
                let (_, offset) = place;
                let damage = match self.damage(&partition, offset) {
                    Ok(damage) => damage,
                    Err(error) => {
                        tracing::debug!(%partition, offset, %error, "can't read the batch");
                        continue;
                    }
                };
                self.looked.insert(partition.clone(), place);
                if let Some(reason) = damage {
                    report(UnreadableBatch { partition, offset, reason });
                }
            }
        }
    }

    /// The partitions whose position has stayed since the last comparison, while records are behind
    /// it.
    fn stuck(&mut self) -> Vec<(TopicPartition, Place)> {
        let fetched = self.fetched.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let positions = self.consumer.position().ok();
        let mut now = BTreeMap::new();
        for (partition, assigned) in fetched.into_iter().filter(|(_, assigned)| !assigned.paused) {
            let known = positions.as_ref().and_then(|positions| {
                let found = positions.find_partition(partition.topic(), partition.partition())?;
                found.offset().to_raw()
            });
            let position = known.unwrap_or(assigned.offset).max(assigned.offset);
            now.insert(partition, (assigned.number, position));
        }
        let is_stuck = |(partition, place): &(&TopicPartition, &Place)| {
            let (topic, number) = (partition.topic(), partition.partition());
            let end = ffi::high_watermark(&self.consumer, topic, number);
            self.last.get(partition) == Some(place) && end.is_some_and(|end| end > place.1)
        };
        let stuck = now.iter().filter(is_stuck).map(|(at, place)| (at.clone(), *place));
        let stuck = stuck.collect();
        self.last = now;
        stuck
    }

    fn damage(&self, at: &TopicPartition, offset: i64) -> Result<Option<String>, ClientError> {
        let failed = |error: &dyn std::fmt::Display| ClientError::NoBroker {
            bootstrap: self.cluster.bootstrap.clone(),
            tried: Duration::ZERO,
            reason: error.to_string(),
        };
        let endpoint = Endpoint::of(&self.cluster).map_err(|error| failed(&error))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| failed(&error))?;
        let mut admin = Admin::new(&endpoint);
        runtime.block_on(admin.batch_damage(at.topic(), at.partition(), offset))
    }
}
