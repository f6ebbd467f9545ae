//! Topics in memory, with transactions: what a cluster does for the clients of one source.
//!
//! A log keeps what a reader would find: committed records, aborted ones, those of open
//! transactions, and the markers that end transactions and take an offset each. `read_committed`
//! ends at the first open transaction and leaves out what was aborted.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{BufMut, Bytes, BytesMut};

use super::Fault;
use crate::client::OffsetToCommit;
use crate::error::{Disposition, TxnStep};
use crate::group::Generation;
use crate::record::{Headers, OutputRef, Record, TopicPartition, encode_header, partition_for_key};

/// Records are copied into buffers of this size, many to one.
const BUFFER_BYTES: usize = 64 * 1024;
/// Brokers refuse longer metadata: their default `offset.metadata.max.bytes`.
const OFFSET_METADATA_MAX_BYTES: usize = 4_096;

/// A cluster in memory; its clients share it.
#[derive(Clone, Debug)]
pub(crate) struct Cluster(Arc<Mutex<State>>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct TxnId(usize);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TxnState {
    Open,
    Committed,
    Aborted,
}

#[derive(Debug)]
pub(crate) struct State {
    /// Topics that nobody has made get so many partitions.
    partitions: i32,
    topics: BTreeMap<Arc<str>, Vec<Log>>,
    /// By their ids.
    txns: Vec<TxnState>,
    producers: BTreeMap<String, Producer>,
    committed: BTreeMap<TopicPartition, OffsetToCommit>,
    generation: i32,
    faults: VecDeque<Fault>,
    /// Another instance runs with the same instance id.
    twin: bool,
    /// Producers that wait for a coordinator that is gone, by id and epoch.
    hanging: BTreeSet<(String, u32)>,
    /// How many calls have hung.
    hung: usize,
    /// Partitions that can't be read.
    damaged: Vec<TopicPartition>,
    /// Replicas that lag behind serve no more than this.
    served: BTreeMap<TopicPartition, i64>,
    /// How many records were appended: their order across partitions.
    appended: u64,
    /// Records without a key go to the partitions in turn.
    keyless: i32,
    now_ms: i64,
}

#[derive(Debug, Default)]
struct Producer {
    epoch: u32,
    txn: Option<TxnId>,
    /// The logs that its transaction has written to.
    touched: Vec<TopicPartition>,
    offsets: Vec<OffsetToCommit>,
}

#[derive(Debug)]
struct Log {
    at: TopicPartition,
    entries: Vec<Entry>,
    /// Open transactions, each with its first offset here.
    open: BTreeMap<TxnId, i64>,
    buffer: BytesMut,
}

#[derive(Debug)]
struct Entry {
    order: u64,
    txn: Option<TxnId>,
    /// `None` is the marker that ends a transaction.
    record: Option<Record>,
}

/// What a reader finds at an offset.
#[derive(Debug)]
pub(crate) enum Found {
    Record(Record),
    /// The partition can't be read.
    Damaged,
    /// Nothing that a reader sees: an aborted record, a marker.
    Hidden,
    /// The end, as far as transactions are decided.
    End,
}

/// Whose records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum View {
    /// Committed ones.
    Committed,
    /// Those of open transactions.
    Open,
}

/// Why a producer's call was refused.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) step: TxnStep,
    pub(crate) disposition: Disposition,
    pub(crate) message: &'static str,
}

impl Cluster {
    /// A cluster that makes topics with so many partitions.
    pub(crate) fn new(partitions: i32) -> Self {
        Self(Arc::new(Mutex::new(State {
            partitions,
            topics: BTreeMap::new(),
            txns: vec![],
            producers: BTreeMap::new(),
            committed: BTreeMap::new(),
            generation: 0,
            faults: VecDeque::new(),
            twin: false,
            hanging: BTreeSet::new(),
            hung: 0,
            damaged: vec![],
            served: BTreeMap::new(),
            appended: 0,
            keyless: 0,
            now_ms: 0,
        })))
    }

    /// Its state. A panic of a handler happens while nobody holds it.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The number of partitions of each topic.
    pub(crate) const fn partitions(&self) -> i32 {
        self.partitions
    }

    /// Makes a topic, unless it is there.
    pub(crate) fn make_topic(&mut self, name: &str) {
        self.logs(name);
    }

    fn logs(&mut self, name: &str) -> &mut Vec<Log> {
        if !self.topics.contains_key(name) {
            let name: Arc<str> = Arc::from(name);
            let log = |partition| Log {
                at: TopicPartition::new(Arc::clone(&name), partition),
                entries: vec![],
                open: BTreeMap::new(),
                buffer: BytesMut::new(),
            };
            let logs = (0..self.partitions).map(log).collect();
            self.topics.insert(Arc::clone(&name), logs);
        }
        self.topics.get_mut(name).expect("it was made just now")
    }

    fn log(&mut self, at: &TopicPartition) -> Option<&mut Log> {
        self.topics.get_mut(at.topic())?.get_mut(usize::try_from(at.partition()).ok()?)
    }

    fn log_ref(&self, at: &TopicPartition) -> Option<&Log> {
        self.topics.get(at.topic())?.get(usize::try_from(at.partition()).ok()?)
    }

    pub(crate) const fn set_time(&mut self, now_ms: i64) {
        self.now_ms = now_ms;
    }

    /// A member joined: what earlier generations commit is refused.
    pub(crate) const fn next_generation(&mut self) -> i32 {
        self.generation += 1;
        self.generation
    }

    pub(crate) fn inject(&mut self, fault: Fault) {
        self.faults.push_back(fault);
    }

    /// The coordinator moves: the producers that there are wait for the former one.
    #[cfg(test)]
    pub(crate) fn move_coordinator(&mut self) {
        let all = self.producers.iter().map(|(id, producer)| (id.clone(), producer.epoch));
        self.hanging = all.collect();
    }

    /// Returns how many calls have waited for a former coordinator.
    #[cfg(test)]
    pub(crate) const fn hung(&self) -> usize {
        self.hung
    }

    /// Returns true if another instance has taken the instance id since the last call.
    pub(crate) const fn take_twin(&mut self) -> bool {
        std::mem::replace(&mut self.twin, false)
    }

    /// How many records were appended so far.
    pub(crate) const fn appended(&self) -> u64 {
        self.appended
    }

    /// Appends a record without a transaction: an input.
    pub(crate) fn append(&mut self, output: &OutputRef<'_>) -> Result<TopicPartition, String> {
        self.append_in(output, None)
    }

    fn append_in(
        &mut self,
        output: &OutputRef<'_>,
        txn: Option<TxnId>,
    ) -> Result<TopicPartition, String> {
        let (now_ms, order) = (self.now_ms, self.appended);
        let partitions = i32::try_from(self.logs(output.topic).len()).unwrap_or(i32::MAX);
        let partition = match (output.partition, output.key) {
            (Some(partition), _) => partition,
            (None, Some(key)) => partition_for_key(key, partitions),
            (None, None) => {
                self.keyless = (self.keyless + 1) % partitions;
                self.keyless
            }
        };
        let logs = self.logs(output.topic);
        let Some(log) = usize::try_from(partition).ok().and_then(|at| logs.get_mut(at)) else {
            let topic = output.topic;
            return Err(format!("topic `{topic}` has {partitions} partitions, not {partition}"));
        };
        log.append(output, order, txn, now_ms);
        let at = log.at.clone();
        self.appended += 1;
        Ok(at)
    }

    /// What is at `offset` for a reader of committed records.
    pub(crate) fn read(&self, at: &TopicPartition, offset: i64) -> Found {
        let Some(log) = self.log_ref(at) else { return Found::End };
        if self.damaged.contains(at) {
            return Found::Damaged;
        }
        let served = self.served.get(at).copied().unwrap_or(i64::MAX);
        if offset >= log.stable_end().min(served) {
            return Found::End;
        }
        match usize::try_from(offset).ok().and_then(|offset| log.entries.get(offset)) {
            None => Found::End,
            Some(entry) => match &entry.record {
                Some(record) if self.state_of(entry) == TxnState::Committed => {
                    Found::Record(record.clone())
                }
                _ => Found::Hidden,
            },
        }
    }

    /// The partition can't be read from now on.
    #[cfg(test)]
    pub(crate) fn damage(&mut self, at: &TopicPartition) {
        self.damaged.push(at.clone());
    }

    /// Readers find the partition's end at `end`, because the replica that serves them lags behind;
    /// or, with `None`, the whole partition again.
    #[cfg(test)]
    pub(crate) fn serve_up_to(&mut self, at: &TopicPartition, end: Option<i64>) {
        match end {
            Some(end) => self.served.insert(at.clone(), end),
            None => self.served.remove(at),
        };
    }

    fn state_of(&self, entry: &Entry) -> TxnState {
        entry.txn.map_or(TxnState::Committed, |txn| self.txns[txn.0])
    }

    /// One past the last offset.
    pub(crate) fn end(&self, at: &TopicPartition) -> i64 {
        self.log_ref(at).map_or(0, Log::end)
    }

    /// The records that pass, in the order in which they were appended, from the `since`th on; of
    /// transactions only, or of inputs too.
    pub(crate) fn records(
        &self,
        view: View,
        since: u64,
        is_wanted: impl Fn(&Record, bool) -> bool,
    ) -> Vec<Record> {
        let state = match view {
            View::Committed => TxnState::Committed,
            View::Open => TxnState::Open,
        };
        let mut found: Vec<(u64, &Record)> = vec![];
        for log in self.topics.values().flatten() {
            let from = log.entries.partition_point(|entry| entry.order < since);
            for entry in &log.entries[from..] {
                if let Some(record) = &entry.record
                    && self.state_of(entry) == state
                    && is_wanted(record, entry.txn.is_some())
                {
                    found.push((entry.order, record));
                }
            }
        }
        found.sort_by_key(|(order, _)| *order);
        found.into_iter().map(|(_, record)| record.clone()).collect()
    }

    /// Forgets a committed offset, as a broker does when it expires.
    #[cfg(test)]
    pub(crate) fn expire(&mut self, at: &TopicPartition) {
        self.committed.remove(at);
    }

    pub(crate) fn committed(&self, at: &TopicPartition) -> Option<&OffsetToCommit> {
        self.committed.get(at)
    }
}

/// What producers ask for.
impl State {
    /// Takes a transactional id over, and aborts what is open under it.
    pub(crate) fn init_producer(&mut self, id: &str) -> u32 {
        let producer = self.producers.entry(id.to_owned()).or_default();
        producer.epoch += 1;
        let epoch = producer.epoch;
        self.end_txn(id, TxnState::Aborted);
        epoch
    }

    pub(crate) fn send(
        &mut self,
        id: &str,
        epoch: u32,
        output: &OutputRef<'_>,
    ) -> Result<(), Refused> {
        let txn = self.txn_of(id, epoch, TxnStep::Produce)?;
        let refused = |_| Refused {
            step: TxnStep::Produce,
            disposition: Disposition::Stop,
            message: "the topic has no such partition",
        };
        let at = self.append_in(output, Some(txn)).map_err(refused)?;
        if let Some(producer) = self.producers.get_mut(id)
            && !producer.touched.contains(&at)
        {
            producer.touched.push(at);
        }
        Ok(())
    }

    pub(crate) fn flush(&mut self, id: &str, epoch: u32) -> Result<(), Refused> {
        self.fault_at(TxnStep::Produce)?;
        self.txn_of(id, epoch, TxnStep::Produce).map(|_| ())
    }

    pub(crate) fn send_offsets(
        &mut self,
        id: &str,
        epoch: u32,
        offsets: &[OffsetToCommit],
        generation: &Generation,
    ) -> Result<(), Refused> {
        let step = TxnStep::SendOffsets;
        self.fault_at(step)?;
        if self.hanging.contains(&(id.to_owned(), epoch)) {
            self.hung += 1;
            let message = "_TIMED_OUT: it waits for the former coordinator";
            return Err(Refused { step, disposition: Disposition::RecoverAll, message });
        }
        // As Kafka does it: without a generation nothing is fenced.
        if generation.generation_id >= 0 && generation.generation_id != self.generation {
            let message = "ILLEGAL_GENERATION: the group has another generation";
            return Err(Refused { step, disposition: Disposition::Abort, message });
        }
        if offsets.iter().any(|offset| offset.metadata.len() > OFFSET_METADATA_MAX_BYTES) {
            let message = "OFFSET_METADATA_TOO_LARGE: the metadata has more than 4,096 bytes";
            return Err(Refused { step, disposition: Disposition::Stop, message });
        }
        self.txn_of(id, epoch, step)?;
        if let Some(producer) = self.producers.get_mut(id) {
            producer.offsets = offsets.to_vec();
        }
        Ok(())
    }

    pub(crate) fn commit(&mut self, id: &str, epoch: u32) -> Result<(), Refused> {
        let step = TxnStep::Commit;
        self.txn_of(id, epoch, step)?;
        let lost = |message| Refused { step, disposition: Disposition::Indefinite, message };
        let fault = self.faults.front().copied();
        match fault {
            Some(Fault::LoseRequest) => {
                self.faults.pop_front();
                return Err(lost("the commit's request was lost"));
            }
            Some(Fault::LoseReply) => {
                self.faults.pop_front();
                self.end_txn(id, TxnState::Committed);
                return Err(lost("the commit's reply was lost"));
            }
            _ => self.fault_at(step)?,
        }
        self.end_txn(id, TxnState::Committed);
        Ok(())
    }

    pub(crate) fn abort(&mut self, id: &str, epoch: u32) -> Result<(), Refused> {
        self.fault_at(TxnStep::Abort)?;
        self.txn_of(id, epoch, TxnStep::Abort)?;
        self.end_txn(id, TxnState::Aborted);
        Ok(())
    }

    /// The next fault, if it belongs to this step.
    fn fault_at(&mut self, step: TxnStep) -> Result<(), Refused> {
        let (at, disposition) = match self.faults.front() {
            Some(Fault::Abort) => (TxnStep::SendOffsets, Disposition::Abort),
            Some(Fault::Fence) => (TxnStep::SendOffsets, Disposition::Fenced),
            Some(Fault::At(at, disposition)) => (*at, *disposition),
            Some(Fault::LoseRequest | Fault::LoseReply) | None => return Ok(()),
        };
        if at != step {
            return Ok(());
        }
        self.twin |= self.faults.pop_front() == Some(Fault::Fence);
        Err(Refused { step, disposition, message: "a fault that the test asked for" })
    }

    /// The open transaction of a producer; it begins with the first call that needs it.
    fn txn_of(&mut self, id: &str, epoch: u32, step: TxnStep) -> Result<TxnId, Refused> {
        let producer = self.producers.get_mut(id).filter(|producer| producer.epoch == epoch);
        let Some(producer) = producer else {
            let message = "PRODUCER_FENCED: a newer producer has this transactional id";
            return Err(Refused { step, disposition: Disposition::Fenced, message });
        };
        let txns = &mut self.txns;
        Ok(*producer.txn.get_or_insert_with(|| {
            txns.push(TxnState::Open);
            TxnId(txns.len() - 1)
        }))
    }

    fn end_txn(&mut self, id: &str, end: TxnState) {
        let Some(producer) = self.producers.get_mut(id) else { return };
        let touched = std::mem::take(&mut producer.touched);
        let offsets = std::mem::take(&mut producer.offsets);
        let Some(txn) = producer.txn.take() else { return };
        self.txns[txn.0] = end;
        let order = self.appended;
        for at in &touched {
            if let Some(log) = self.log(at) {
                log.open.remove(&txn);
                log.entries.push(Entry { order, txn: Some(txn), record: None });
            }
        }
        if end == TxnState::Committed {
            for offset in offsets {
                self.committed.insert(offset.topic_partition.clone(), offset);
            }
        }
    }
}

impl Log {
    fn end(&self) -> i64 {
        i64::try_from(self.entries.len()).unwrap_or(i64::MAX)
    }

    /// The last stable offset.
    fn stable_end(&self) -> i64 {
        self.open.values().min().copied().unwrap_or_else(|| self.end())
    }

    fn append(&mut self, output: &OutputRef<'_>, order: u64, txn: Option<TxnId>, now_ms: i64) {
        let offset = self.end();
        if let Some(txn) = txn {
            self.open.entry(txn).or_insert(offset);
        }
        let timestamp_ms = output.timestamp_ms.unwrap_or(now_ms);
        let mut record = Record::new(self.at.clone(), offset).with_timestamp_ms(timestamp_ms);
        if let Some(key) = output.key {
            record = record.with_key(self.copy(key));
        }
        if let Some(value) = output.value {
            record = record.with_value(self.copy(value));
        }
        if output.header_count() > 0 {
            for (name, value) in output.headers().raw() {
                encode_header(&mut self.buffer, name, value);
            }
            let encoded = self.buffer.split().freeze();
            record = record.with_headers(Headers::from_encoded(encoded, output.header_count()));
        }
        self.entries.push(Entry { order, txn, record: Some(record) });
    }

    fn copy(&mut self, bytes: &[u8]) -> Bytes {
        if self.buffer.capacity() < bytes.len() {
            self.buffer = BytesMut::with_capacity(BUFFER_BYTES.max(bytes.len()));
        }
        self.buffer.put_slice(bytes);
        self.buffer.split().freeze()
    }
}
