//! The clients of a cluster in memory: the producer and the fetcher that a worker needs.

use std::sync::OnceLock;
use std::time::Duration;

use super::cluster::{Cluster, Found, Refused};
use crate::client::{FetchError, Fetched, Fetcher, OffsetToCommit, SendError, TxnProducer};
use crate::error::{Cause, TxnError};
use crate::group::Generation;
use crate::record::{OutputRef, TopicPartition};

/// A transactional producer in memory. Nothing takes time.
#[derive(Debug)]
pub(crate) struct MemoryProducer {
    cluster: Cluster,
    transactional_id: String,
    epoch: OnceLock<u32>,
}

impl MemoryProducer {
    pub(crate) const fn new(cluster: Cluster, transactional_id: String) -> Self {
        Self { cluster, transactional_id, epoch: OnceLock::new() }
    }

    /// Before it is initialised it has an epoch that no producer has.
    fn epoch(&self) -> u32 {
        self.epoch.get().copied().unwrap_or(0)
    }

    fn error(&self, refused: Refused) -> TxnError {
        let Refused { step, disposition, message } = refused;
        let transactional_id = self.transactional_id.clone();
        let cause = Cause::Transaction;
        TxnError { step, transactional_id, message: message.to_owned(), disposition, cause }
    }
}

impl TxnProducer for MemoryProducer {
    fn init(&self, _: Duration) -> Result<(), TxnError> {
        let epoch = self.cluster.lock().init_producer(&self.transactional_id);
        self.epoch.get_or_init(|| epoch);
        Ok(())
    }

    fn begin(&self) -> Result<(), TxnError> {
        Ok(())
    }

    fn send(&self, record: OutputRef<'_>) -> Result<(), SendError> {
        let sent = self.cluster.lock().send(&self.transactional_id, self.epoch(), &record);
        sent.map_err(|refused| SendError::Refused(self.error(refused)))
    }

    fn flush(&self, _: Duration) -> Result<(), TxnError> {
        let flushed = self.cluster.lock().flush(&self.transactional_id, self.epoch());
        flushed.map_err(|refused| self.error(refused))
    }

    fn send_offsets(
        &self,
        offsets: &[OffsetToCommit],
        generation: &Generation,
        _: Duration,
    ) -> Result<(), TxnError> {
        let (id, epoch) = (&self.transactional_id, self.epoch());
        let sent = self.cluster.lock().send_offsets(id, epoch, offsets, generation);
        sent.map_err(|refused| self.error(refused))
    }

    fn commit(&self, _: Duration) -> Result<(), TxnError> {
        let committed = self.cluster.lock().commit(&self.transactional_id, self.epoch());
        committed.map_err(|refused| self.error(refused))
    }

    fn abort(&self, _: Duration) -> Result<(), TxnError> {
        let aborted = self.cluster.lock().abort(&self.transactional_id, self.epoch());
        aborted.map_err(|refused| self.error(refused))
    }
}

/// A fetcher in memory, with `read_committed`: its partitions in turn.
#[derive(Debug)]
pub(crate) struct MemoryFetcher {
    cluster: Cluster,
    assigned: Vec<Assigned>,
    /// Whose turn it is.
    turn: usize,
}

#[derive(Debug)]
struct Assigned {
    at: TopicPartition,
    offset: i64,
    paused: bool,
    end_told: bool,
}

impl MemoryFetcher {
    pub(crate) const fn new(cluster: Cluster) -> Self {
        Self { cluster, assigned: Vec::new(), turn: 0 }
    }

    fn find(&mut self, partition: &TopicPartition) -> Option<&mut Assigned> {
        self.assigned.iter_mut().find(|assigned| assigned.at == *partition)
    }
}

impl Fetcher for MemoryFetcher {
    fn assign(&mut self, partition: &TopicPartition, offset: i64) -> Result<(), FetchError> {
        self.unassign(partition);
        let at = partition.clone();
        self.assigned.push(Assigned { at, offset, paused: false, end_told: false });
        Ok(())
    }

    fn unassign(&mut self, partition: &TopicPartition) {
        self.assigned.retain(|assigned| assigned.at != *partition);
    }

    fn pause(&mut self, partition: &TopicPartition) {
        if let Some(assigned) = self.find(partition) {
            assigned.paused = true;
        }
    }

    fn resume(&mut self, partition: &TopicPartition) {
        if let Some(assigned) = self.find(partition) {
            assigned.paused = false;
        }
    }

    /// Each record is a batch of its own here.
    fn batch_end(&mut self, _: &TopicPartition, offset: i64) -> Result<i64, FetchError> {
        Ok(offset + 1)
    }

    fn end(&self, partition: &TopicPartition) -> Option<i64> {
        Some(self.cluster.lock().end(partition))
    }

    fn position(&self, partition: &TopicPartition) -> Option<i64> {
        let assigned = self.assigned.iter().find(|assigned| assigned.at == *partition)?;
        Some(assigned.offset)
    }

    fn poll(&mut self) -> Option<Fetched> {
        let state = self.cluster.lock();
        let count = self.assigned.len();
        for place in 0..count {
            let turn = (self.turn + place) % count;
            let assigned = &mut self.assigned[turn];
            while !assigned.paused {
                match state.read(&assigned.at, assigned.offset) {
                    Found::Record(record) => {
                        assigned.offset += 1;
                        assigned.end_told = false;
                        self.turn = turn + 1;
                        return Some(Fetched::Record(record));
                    }
                    Found::Damaged => {
                        let partition = Some(assigned.at.clone());
                        let message = format!("{}: OFFSET_OUT_OF_RANGE", assigned.at);
                        assigned.paused = true;
                        return Some(Fetched::Failed { partition, error: FetchError { message } });
                    }
                    Found::Hidden => assigned.offset += 1,
                    Found::End if assigned.end_told => break,
                    Found::End => {
                        assigned.end_told = true;
                        let (partition, offset) = (assigned.at.partition(), assigned.offset);
                        return Some(Fetched::EndOfPartition { partition, offset });
                    }
                }
            }
        }
        None
    }
}
