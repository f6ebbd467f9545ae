//! What is to be kept over a restart, as data: the machine says it, a shell writes it, and feeds it
//! back.
//!
//! After each request [`Cluster::poll_store`] gives what it has changed; a reply is to go out when
//! that is written. A step with `together` set is to be kept as a whole or not at all: the markers
//! of a transaction and its state. Members of groups are not kept: they join again.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::RequestKind;
use kafka_protocol::protocol::StrBytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::log::{PartitionLog, Shape};
use super::offsets::{Offset, Offsets};
use super::transactions::Transaction;
use super::{Cluster, Topic, TopicConfig};

/// What becomes of a partition's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PartitionChange {
    /// These batches follow, from an offset on.
    Append(i64, Bytes),
    /// All is to be replaced: a state, and the batches.
    Replace(Bytes, Bytes),
    /// The partition is gone.
    Remove,
}

/// What one step has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreStep {
    /// Values by key; `None` is gone.
    pub values: Vec<(String, Option<Bytes>)>,
    /// Partitions by topic id and number.
    pub partitions: Vec<(Uuid, i32, PartitionChange)>,
    /// Values and appended batches belong together.
    pub together: bool,
}

/// A partition as it was stored.
#[derive(Clone, Debug, Default)]
pub struct StoredPartition {
    /// The state and batches of the last replacement.
    pub replaced: Option<(Bytes, Bytes)>,
    /// What was appended since.
    pub appended: Vec<Bytes>,
}

/// What is known to be stored.
#[derive(Debug, Default)]
pub(super) struct Stored {
    on: bool,
    /// A hash of each value.
    values: BTreeMap<String, u64>,
    /// How many of them are topics, and how many transactions.
    topics: usize,
    transactions: usize,
    /// Each partition's end and shape.
    partitions: BTreeMap<(Uuid, i32), (i64, Shape)>,
    step: Option<StoreStep>,
}

impl Stored {
    fn set(&mut self, key: &str, hash: Option<u64>) {
        let before = match hash {
            Some(hash) => self.values.insert(key.to_owned(), hash),
            None => self.values.remove(key),
        };
        let count = match key.split_once('/') {
            Some(("topic", _)) => &mut self.topics,
            Some(("txn", _)) => &mut self.transactions,
            _ => return,
        };
        match (before, hash) {
            (None, Some(_)) => *count += 1,
            (Some(_), None) => *count -= 1,
            _ => {}
        }
    }
}

impl StoredPartition {
    /// One past the last offset.
    pub(crate) fn end(&self) -> i64 {
        match (self.appended.last(), &self.replaced) {
            (Some(batches), _) => super::log::end_of(batches),
            (None, Some((state, _))) => super::log::end_of_state(state),
            (None, None) => 0,
        }
    }
}

#[derive(Deserialize, Serialize)]
struct StoredTopic {
    id: String,
    partitions: i32,
    configs: BTreeMap<String, String>,
}

#[derive(Deserialize, Serialize)]
struct StoredOffset {
    topic: String,
    partition: i32,
    offset: i64,
    leader_epoch: i32,
    metadata: Option<String>,
    request: u64,
    /// Pending in a transaction of this producer.
    producer: Option<i64>,
}

#[derive(Deserialize, Serialize)]
struct StoredGroup {
    generation: i32,
    protocol_type: Option<String>,
    offsets: Vec<StoredOffset>,
}

/// What is counted for the whole cluster.
#[derive(Deserialize, Serialize)]
struct StoredCounters {
    next_producer: i64,
    next_offset_commit: u64,
}

const COUNTERS: &str = "counters";

fn encode(value: &impl Serialize) -> Bytes {
    // Plain structures with text keys: there is nothing that JSON can't say.
    serde_json::to_vec(value).unwrap_or_default().into()
}

fn decode<'a, T: Deserialize<'a>>(key: &str, value: &'a [u8]) -> Result<T, String> {
    serde_json::from_slice(value).map_err(|error| format!("{key}: {error}"))
}

impl StoredOffset {
    fn of((topic, partition): &(String, i32), offset: &Offset, producer: Option<i64>) -> Self {
        Self {
            topic: topic.clone(),
            partition: *partition,
            offset: offset.offset,
            leader_epoch: offset.leader_epoch,
            metadata: offset.metadata.as_ref().map(ToString::to_string),
            request: offset.request,
            producer,
        }
    }

    fn put(self, offsets: &mut Offsets) {
        let offset = Offset {
            offset: self.offset,
            leader_epoch: self.leader_epoch,
            metadata: self.metadata.map(StrBytes::from_string),
            request: self.request,
        };
        let place = (self.topic, self.partition);
        match self.producer {
            None => offsets.commit(place, offset),
            Some(producer) => {
                offsets.pending.entry(producer).or_default().insert(place, offset);
            }
        }
    }
}

impl Cluster {
    /// From now on [`Cluster::poll_store`] says what changes.
    pub fn begin_storing(&mut self) {
        self.stored.on = true;
        // What was made before is stored with the first step.
        let all = self.all_keys();
        self.note_changes(&all, true);
    }

    /// What is to be stored before the replies go out.
    pub fn poll_store(&mut self) -> Option<StoreStep> {
        self.stored.step.take()
    }

    fn all_keys(&self) -> BTreeSet<String> {
        let topics = self.topics.keys().map(|name| format!("topic/{name}"));
        let groups = self.groups.keys().map(|id| format!("group/{id}"));
        let transactions = self.transactions.by_id.keys().map(|id| format!("txn/{id}"));
        let known = self.stored.values.keys().cloned();
        let mut all: BTreeSet<String> = topics.chain(groups).chain(transactions).collect();
        all.extend(known);
        all.insert(COUNTERS.to_owned());
        all
    }

    /// All values as they are to be stored.
    #[cfg(test)]
    pub(super) fn all_values(&self) -> BTreeMap<String, Bytes> {
        let value = |key: String| Some((key.clone(), self.value_of(&key)?));
        self.all_keys().into_iter().filter_map(value).collect()
    }

    /// What a request may change, before it does.
    pub(super) fn keys_of(&self, request: &RequestKind) -> BTreeSet<String> {
        let mut keys = BTreeSet::new();
        if !self.stored.on {
            return keys;
        }
        let group = |id: &str| format!("group/{id}");
        match request {
            RequestKind::OffsetCommit(r) => {
                keys.insert(group(&r.group_id));
                keys.insert(COUNTERS.to_owned());
            }
            RequestKind::OffsetDelete(r) => drop(keys.insert(group(&r.group_id))),
            RequestKind::DeleteGroups(r) => {
                keys.extend(r.groups_names.iter().map(|id| group(id)));
            }
            RequestKind::TxnOffsetCommit(r) => {
                keys.insert(group(&r.group_id));
                self.add_transaction(&mut keys, &r.transactional_id);
            }
            RequestKind::AddPartitionsToTxn(r) => {
                self.add_transaction(&mut keys, &r.v3_and_below_transactional_id);
                for transaction in &r.transactions {
                    self.add_transaction(&mut keys, &transaction.transactional_id);
                }
            }
            RequestKind::AddOffsetsToTxn(r) => self.add_transaction(&mut keys, &r.transactional_id),
            RequestKind::EndTxn(r) => self.add_transaction(&mut keys, &r.transactional_id),
            RequestKind::Produce(r) => {
                if let Some(id) = &r.transactional_id {
                    self.add_transaction(&mut keys, id);
                }
            }
            RequestKind::InitProducerId(r) => {
                if let Some(id) = &r.transactional_id {
                    self.add_transaction(&mut keys, id);
                }
                keys.insert(COUNTERS.to_owned());
            }
            RequestKind::CreateTopics(_)
            | RequestKind::DeleteTopics(_)
            | RequestKind::CreatePartitions(_)
            | RequestKind::AlterConfigs(_)
            | RequestKind::IncrementalAlterConfigs(_) => keys = self.all_keys(),
            _ => {}
        }
        keys
    }

    /// A transaction, and the groups whose offsets it holds.
    fn add_transaction(&self, keys: &mut BTreeSet<String>, id: &str) {
        keys.insert(format!("txn/{id}"));
        // Epochs run out, and a producer id with them.
        keys.insert(COUNTERS.to_owned());
        if let Some(transaction) = self.transactions.by_id.get(id) {
            keys.extend(transaction.groups.iter().map(|group| format!("group/{group}")));
        }
    }

    /// Whether the clock may change the logs.
    pub(super) fn logs_change_by(&self, now: i64) -> bool {
        let due = self.transactions.deadline().is_some_and(|deadline| deadline <= now);
        self.stored.on && (due || self.housekeeping.is_due(now))
    }

    /// What the clock may change, before it does.
    pub(super) fn keys_of_time(&self, now: i64) -> BTreeSet<String> {
        let mut keys = BTreeSet::new();
        let due = self.transactions.deadline().is_some_and(|deadline| deadline <= now);
        if self.stored.on && due {
            for id in self.transactions.open_ids() {
                self.add_transaction(&mut keys, &id);
            }
        }
        keys
    }

    /// Takes note of what has changed among these keys; and among the logs, if they may have.
    pub(super) fn note_changes(&mut self, keys: &BTreeSet<String>, logs: bool) {
        if !self.stored.on {
            return;
        }
        let mut keys = keys.clone();
        // Topics made on the way, ids that have expired.
        let counted = (self.stored.topics, self.stored.transactions);
        if counted != (self.topics.len(), self.transactions.by_id.len()) {
            keys = self.all_keys();
        }
        let mut step = self.stored.step.take().unwrap_or_default();
        for key in keys {
            let value = self.value_of(&key);
            let hash = value.as_ref().map(|value| {
                let mut hasher = DefaultHasher::new();
                value.hash(&mut hasher);
                hasher.finish()
            });
            if hash != self.stored.values.get(&key).copied() {
                self.stored.set(&key, hash);
                step.values.push((key, value));
            }
        }
        if logs {
            self.note_logs(&mut step);
        }
        if !step.values.is_empty() || !step.partitions.is_empty() {
            self.stored.step = Some(step);
        }
    }

    fn note_logs(&mut self, step: &mut StoreStep) {
        let mut gone: BTreeSet<(Uuid, i32)> = BTreeSet::new();
        for place in self.stored.partitions.keys() {
            if !self.topic_names.contains_key(&place.0) {
                gone.insert(*place);
            }
        }
        for (topic, partition) in gone {
            self.stored.partitions.remove(&(topic, partition));
            step.partitions.push((topic, partition, PartitionChange::Remove));
        }
        for topic in self.topics.values() {
            for (partition, log) in topic.partitions.iter().enumerate() {
                let place = (topic.id, i32::try_from(partition).unwrap_or(i32::MAX));
                let now = (log.end(), log.shape());
                let known = self.stored.partitions.get(&place).copied();
                if known == Some(now) || (known.is_none() && log.end() == 0) {
                    continue;
                }
                let change = match known {
                    Some((end, shape)) if shape == now.1 => {
                        PartitionChange::Append(end, joined(log, end))
                    }
                    None if log.start() == 0 => PartitionChange::Append(0, joined(log, 0)),
                    _ => PartitionChange::Replace(log.state().into(), joined(log, i64::MIN)),
                };
                if let PartitionChange::Append(_, batches) = &change {
                    step.together |= super::batch::is_control(batches);
                }
                self.stored.partitions.insert(place, now);
                step.partitions.push((place.0, place.1, change));
            }
        }
    }

    fn value_of(&self, key: &str) -> Option<Bytes> {
        if key == COUNTERS {
            let counters = StoredCounters {
                next_producer: self.transactions.next_producer,
                next_offset_commit: self.next_offset_commit,
            };
            return Some(encode(&counters));
        }
        let (kind, id) = key.split_once('/')?;
        match kind {
            "topic" => {
                let topic = self.topics.get(id)?;
                let partitions = i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
                let configs = topic.config.set().clone();
                let id = topic.id.hyphenated().to_string();
                Some(encode(&StoredTopic { id, partitions, configs }))
            }
            "txn" => Some(encode(self.transactions.by_id.get(id)?)),
            _ => {
                let group = self.groups.get(id)?;
                let Offsets { committed, pending } = &group.offsets;
                let committed = committed.iter().map(|(p, o)| StoredOffset::of(p, o, None));
                let pending = pending.iter().flat_map(|(producer, offsets)| {
                    offsets.iter().map(|(p, o)| StoredOffset::of(p, o, Some(*producer)))
                });
                let offsets: Vec<StoredOffset> = committed.chain(pending).collect();
                (!offsets.is_empty()).then(|| {
                    let (generation, protocol_type) =
                        (group.generation, group.protocol_type.clone());
                    encode(&StoredGroup { generation, protocol_type, offsets })
                })
            }
        }
    }

    /// Takes in what was stored, before anything else.
    ///
    /// # Errors
    /// What can't be read.
    pub fn restore(
        &mut self,
        values: &BTreeMap<String, Bytes>,
        read: &mut dyn FnMut(Uuid, i32) -> Result<StoredPartition, String>,
    ) -> Result<(), String> {
        for (key, value) in values {
            if key == COUNTERS {
                let counters: StoredCounters = decode(key, value)?;
                self.transactions.next_producer = counters.next_producer;
                self.next_offset_commit = counters.next_offset_commit;
                continue;
            }
            let (kind, id) = key.split_once('/').ok_or_else(|| format!("{key}: not known"))?;
            match kind {
                "topic" => self.restore_topic(id, decode(key, value)?, read)?,
                "txn" => {
                    let transaction: Transaction = decode(key, value)?;
                    self.transactions.restore(id, transaction);
                }
                "group" => {
                    let stored: StoredGroup = decode(key, value)?;
                    let group = self.groups.entry(id.to_owned()).or_default();
                    group.generation = stored.generation;
                    group.protocol_type = stored.protocol_type;
                    stored.offsets.into_iter().for_each(|offset| offset.put(&mut group.offsets));
                }
                _ => return Err(format!("{key}: not known")),
            }
        }
        Ok(())
    }

    fn restore_topic(
        &mut self,
        name: &str,
        stored: StoredTopic,
        read: &mut dyn FnMut(Uuid, i32) -> Result<StoredPartition, String>,
    ) -> Result<(), String> {
        let config = TopicConfig::with(stored.configs, &self.settings)?;
        let id = Uuid::parse_str(&stored.id).map_err(|error| format!("{name}: {error}"))?;
        let mut partitions = Vec::new();
        for partition in 0..stored.partitions {
            let StoredPartition { replaced, appended } = read(id, partition)?;
            let mut log = match replaced {
                Some((state, batches)) => PartitionLog::from_state(&state, batches)?,
                None => PartitionLog::default(),
            };
            for batches in appended {
                let restored = log.restore(batches, &config);
                restored.map_err(|error| format!("{name}-{partition}: {error}"))?;
            }
            self.stored.partitions.insert((id, partition), (log.end(), log.shape()));
            partitions.push(log);
        }
        self.topic_names.insert(id, name.to_owned());
        let topic = Topic { id, config, partitions };
        self.topics.insert(name.to_owned(), topic);
        Ok(())
    }
}

/// Whether a request may change the logs.
pub(super) const fn changes_logs(request: &RequestKind) -> bool {
    matches!(
        request,
        RequestKind::Produce(_)
            | RequestKind::EndTxn(_)
            | RequestKind::InitProducerId(_)
            | RequestKind::DeleteRecords(_)
            | RequestKind::DeleteTopics(_)
    )
}

/// The batches from an offset on, as one.
fn joined(log: &PartitionLog, offset: i64) -> Bytes {
    let mut all = BytesMut::new();
    log.batches_from(offset).for_each(|batch| all.extend_from_slice(batch));
    all.freeze()
}
