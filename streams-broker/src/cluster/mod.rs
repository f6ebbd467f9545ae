//! The cluster machine: requests and the time go in, responses and wake-ups come out.
//!
//! Deterministic: no I/O, no clock, no randomness. `now` is in milliseconds since the Unix epoch
//! and never goes back. A response may come later than its request: fetches wait for records,
//! joins for the other members.

mod add_to_txn;
mod admin;
mod batch;
pub mod codes;
mod commits;
mod compaction;
mod compress;
mod config_admin;
mod configs;
mod describe;
mod describe_txns;
mod end_txn;
mod fault;
mod fetch;
mod groups;
mod housekeeping;
mod ids;
mod init_producer;
mod list_offsets;
mod log;
mod offsets;
mod produce;
mod producers;
mod records;
mod retention;
mod status;
mod store;
mod topics;
mod transactions;
mod txn_offsets;

use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;

use kafka_protocol::messages::api_versions_response::{
    ApiVersion, FinalizedFeatureKey, SupportedFeatureKey,
};
use kafka_protocol::messages::{ApiKey, ApiVersionsResponse, RequestKind, ResponseKind};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

pub use self::configs::TopicConfig;
use self::fault::Faults;
pub use self::fault::{Fault, FaultKind};
use self::fetch::ParkedFetch;
use self::groups::Group;
use self::housekeeping::Housekeeping;
use self::ids::Ids;
use self::log::PartitionLog;
use self::produce::Held;
pub use self::status::{ClusterStatus, GroupStatus, PartitionStatus};
use self::store::Stored;
pub use self::store::{PartitionChange, StoreStep, StoredPartition};
pub use self::transactions::TransactionSettings;
use self::transactions::Transactions;

/// The cluster's one node.
const NODE_ID: i32 = 1;

/// What the shell names a request by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// This is the response.
    Response(Box<ResponseKind>),
    /// There is none: the client wants no answer, and may go on.
    Nothing,
    /// Close the connection without a word.
    Disconnect,
}

/// Who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Client {
    /// Its client id.
    pub id: String,
    /// Where it is, as groups show it: `/127.0.0.1`.
    pub host: String,
}

/// The cluster's settings.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The cluster's id.
    pub cluster_id: String,
    /// The node's host, as clients are told.
    pub host: String,
    /// The node's port.
    pub port: u16,
    /// Whether a topic that is asked for is made.
    pub auto_create_topics: bool,
    /// The partitions of a topic that does not say.
    pub default_partitions: i32,
    /// The largest record batch, in bytes (`max.message.bytes`).
    pub max_message_bytes: usize,
    /// What all logs together may take, in bytes.
    pub memory_bytes_max: usize,
    /// So long a group's first generation waits for more members
    /// (`group.initial.rebalance.delay.ms`; Kafka waits three seconds).
    pub group_initial_rebalance_delay_ms: i64,
    /// The session timeouts that a member may ask for (`group.min.session.timeout.ms` and
    /// `group.max.session.timeout.ms`).
    pub group_session_timeout_ms: RangeInclusive<i32>,
    /// The most members of a group (`group.max.size`).
    pub group_max_size: usize,
    /// From what ids of topics and members are made: two clusters with the same seed give out the
    /// same ones.
    pub seed: u64,
    /// Transactions and idempotence.
    pub transactions: TransactionSettings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            cluster_id: "streams-broker".to_owned(),
            host: "127.0.0.1".to_owned(),
            port: 0,
            auto_create_topics: false,
            default_partitions: 1,
            max_message_bytes: 1_048_588,
            memory_bytes_max: 4 << 30,
            group_initial_rebalance_delay_ms: 0,
            group_session_timeout_ms: 6_000..=1_800_000,
            group_max_size: usize::MAX,
            seed: 0,
            transactions: TransactionSettings::default(),
        }
    }
}

/// The versions that are served: from the oldest that clients of today ask for.
const VERSIONS: &[(ApiKey, i16, i16)] = &[
    (ApiKey::Produce, 3, 13),
    (ApiKey::Fetch, 4, 18),
    (ApiKey::ListOffsets, 1, 10),
    (ApiKey::Metadata, 0, 13),
    (ApiKey::OffsetCommit, 2, 9),
    (ApiKey::OffsetFetch, 1, 9),
    (ApiKey::FindCoordinator, 0, 6),
    (ApiKey::JoinGroup, 0, 9),
    (ApiKey::Heartbeat, 0, 4),
    (ApiKey::LeaveGroup, 0, 5),
    (ApiKey::SyncGroup, 0, 5),
    (ApiKey::DescribeGroups, 0, 6),
    (ApiKey::ListGroups, 0, 5),
    (ApiKey::DeleteGroups, 0, 2),
    (ApiKey::OffsetDelete, 0, 0),
    (ApiKey::ApiVersions, 0, 4),
    (ApiKey::CreateTopics, 2, 7),
    (ApiKey::DeleteTopics, 1, 6),
    (ApiKey::CreatePartitions, 0, 3),
    (ApiKey::DescribeConfigs, 1, 4),
    (ApiKey::AlterConfigs, 0, 2),
    (ApiKey::IncrementalAlterConfigs, 0, 1),
    (ApiKey::DescribeCluster, 0, 2),
    (ApiKey::DescribeTopicPartitions, 0, 0),
    (ApiKey::InitProducerId, 0, 5),
    (ApiKey::AddPartitionsToTxn, 0, 5),
    (ApiKey::AddOffsetsToTxn, 0, 4),
    (ApiKey::EndTxn, 0, 5),
    (ApiKey::TxnOffsetCommit, 0, 5),
    (ApiKey::OffsetForLeaderEpoch, 2, 4),
    (ApiKey::DeleteRecords, 0, 2),
    (ApiKey::DescribeProducers, 0, 0),
    (ApiKey::DescribeTransactions, 0, 0),
    (ApiKey::ListTransactions, 0, 2),
];

/// Whether `version` of `api` is served.
pub fn is_served(api: ApiKey, version: i16) -> bool {
    VERSIONS.iter().any(|(key, low, high)| *key == api && (*low..=*high).contains(&version))
}

/// The answer to `version` of ApiVersions, with the feature `transaction.version`; with
/// `UNSUPPORTED_VERSION` for a version of it that isn't served.
pub fn api_versions(version: i16, error_code: i16, transactions: i16) -> ApiVersionsResponse {
    let key = |(api, low, high): &(ApiKey, i16, i16)| {
        ApiVersion::default()
            .with_api_key(*api as i16)
            .with_min_version(*low)
            .with_max_version(*high)
    };
    let feature = StrBytes::from_static_str("transaction.version");
    // Clients before version 4 take a feature's 0 for a mistake.
    let supported = SupportedFeatureKey::default()
        .with_name(feature.clone())
        .with_min_version(if version < 4 { 1 } else { 0 })
        .with_max_version(transactions);
    let finalized = FinalizedFeatureKey::default()
        .with_name(feature)
        .with_min_version_level(transactions)
        .with_max_version_level(transactions);
    ApiVersionsResponse::default()
        .with_error_code(error_code)
        .with_api_keys(VERSIONS.iter().map(key).collect())
        .with_supported_features(vec![supported])
        .with_finalized_features_epoch(0)
        .with_finalized_features(vec![finalized])
}

#[derive(Clone, Debug)]
struct Topic {
    /// As clients name it in newer requests; a topic made anew under the same name has another.
    id: Uuid,
    config: TopicConfig,
    partitions: Vec<PartitionLog>,
}

/// A Kafka cluster of one node, in memory.
#[derive(Debug)]
pub struct Cluster {
    settings: Settings,
    now: i64,
    topics: BTreeMap<String, Topic>,
    topic_names: BTreeMap<Uuid, String>,
    transactions: Transactions,
    groups: BTreeMap<String, Group>,
    held: Held,
    parked: Vec<ParkedFetch>,
    /// Whether records or markers were appended since the parked fetches were looked at.
    appended: bool,
    ids: Ids,
    next_offset_commit: u64,
    faults: Faults,
    housekeeping: Housekeeping,
    replies: VecDeque<(RequestId, Reply)>,
    stored: Stored,
    /// How the current request damages what it writes.
    damage: Option<FaultKind>,
}

impl Cluster {
    /// An empty cluster.
    pub fn new(settings: Settings) -> Self {
        Self {
            now: 0,
            topics: BTreeMap::new(),
            topic_names: BTreeMap::new(),
            transactions: Transactions::default(),
            groups: BTreeMap::new(),
            held: Held::default(),
            parked: Vec::new(),
            appended: false,
            ids: Ids::new(settings.seed),
            next_offset_commit: 0,
            faults: Faults::default(),
            settings,
            housekeeping: Housekeeping::default(),
            replies: VecDeque::new(),
            stored: Stored::default(),
            damage: None,
        }
    }

    /// The configuration of a topic.
    pub fn topic_config(&self, name: &str) -> Option<&TopicConfig> {
        self.topics.get(name).map(|topic| &topic.config)
    }

    /// Lets a request fail, once it comes.
    pub fn inject(&mut self, fault: Fault) {
        self.faults.add(fault);
    }

    /// Takes a request in. `version` is one that [`is_served`].
    pub fn handle(&mut self, now: i64, id: RequestId, version: i16, request: RequestKind) {
        self.handle_from(&Client::default(), now, id, version, request);
    }

    /// Takes a client's request in. `version` is one that [`is_served`].
    pub fn handle_from(
        &mut self,
        client: &Client,
        now: i64,
        id: RequestId,
        version: i16,
        request: RequestKind,
    ) {
        let mut keys = self.keys_of_time(now);
        keys.extend(self.keys_of(&request));
        let logs = self.logs_change_by(now) || store::changes_logs(&request);
        self.look_at_clock(now);
        self.answer(client, id, version, request);
        self.note_changes(&keys, logs);
    }

    fn answer(&mut self, client: &Client, id: RequestId, version: i16, request: RequestKind) {
        let fault = self.faults.of(&request);
        let refusal = match fault {
            Some(FaultKind::Error(code) | FaultKind::DoneThenError(code)) => {
                fault::refusal(&request, code)
            }
            _ => None,
        };
        if let (Some(FaultKind::Error(_)), Some(refusal)) = (fault, &refusal) {
            return self.reply(id, refusal.clone());
        }
        let before = self.replies.len();
        self.damage = fault.filter(|fault| fault.is_damage());
        self.dispatch(client, id, version, request);
        let instead = match fault {
            Some(FaultKind::LoseReply) => Some(Reply::Disconnect),
            _ => refusal.map(|refusal| Reply::Response(Box::new(refusal))),
        };
        if let Some(instead) = instead {
            for (of, reply) in self.replies.range_mut(before..) {
                if *of == id {
                    *reply = instead.clone();
                }
            }
        }
        self.serve_parked();
    }

    fn dispatch(&mut self, client: &Client, id: RequestId, version: i16, request: RequestKind) {
        let response = match request {
            RequestKind::Produce(r) => {
                let acks = r.acks;
                let response = self.produce(version, r);
                if acks == 0 {
                    return self.replies.push_back((id, produce::unacknowledged(&response)));
                }
                ResponseKind::Produce(response)
            }
            RequestKind::Fetch(r) => return self.fetch(id, version, r),
            RequestKind::ListOffsets(r) => {
                ResponseKind::ListOffsets(self.list_offsets(version, &r))
            }
            RequestKind::OffsetForLeaderEpoch(r) => {
                ResponseKind::OffsetForLeaderEpoch(self.offsets_for_leader_epochs(&r))
            }
            RequestKind::DeleteRecords(r) => ResponseKind::DeleteRecords(self.delete_records(&r)),
            RequestKind::InitProducerId(r) => {
                ResponseKind::InitProducerId(self.init_producer_id(version, &r))
            }
            RequestKind::AddPartitionsToTxn(r) => {
                ResponseKind::AddPartitionsToTxn(self.add_partitions(version, r))
            }
            RequestKind::AddOffsetsToTxn(r) => {
                ResponseKind::AddOffsetsToTxn(self.add_offsets(version, &r))
            }
            RequestKind::TxnOffsetCommit(r) => {
                ResponseKind::TxnOffsetCommit(self.txn_offset_commit(version, &r))
            }
            RequestKind::DescribeProducers(r) => {
                ResponseKind::DescribeProducers(self.describe_producers(&r))
            }
            RequestKind::DescribeTransactions(r) => {
                ResponseKind::DescribeTransactions(self.describe_transactions(&r))
            }
            RequestKind::ListTransactions(r) => {
                ResponseKind::ListTransactions(self.list_transactions(&r))
            }
            RequestKind::EndTxn(r) => ResponseKind::EndTxn(self.end_txn(version, &r)),
            RequestKind::JoinGroup(r) => return self.join_group(id, version, client, &r),
            RequestKind::SyncGroup(r) => return self.sync_group(id, version, &r),
            other => match self.administer(version, other) {
                Some(response) => response,
                // The shell lets only served requests in.
                None => return self.replies.push_back((id, Reply::Disconnect)),
            },
        };
        self.reply(id, response);
    }

    /// Looks at the clock: sessions, rebalances, transactions, fetches that have waited enough.
    pub fn handle_timeout(&mut self, now: i64) {
        let keys = self.keys_of_time(now);
        let logs = self.logs_change_by(now);
        self.look_at_clock(now);
        self.note_changes(&keys, logs);
    }

    fn look_at_clock(&mut self, now: i64) {
        self.now = self.now.max(now);
        self.expire_transactions();
        self.expire_members();
        self.keep_house();
        self.serve_parked();
    }

    /// When to call [`Cluster::handle_timeout`] at the latest.
    pub fn poll_timeout(&self) -> Option<i64> {
        let fetches = self.parked.iter().map(|fetch| fetch.deadline);
        let groups = self.groups.values().filter_map(Group::deadline);
        fetches.chain(groups).chain(self.transactions.deadline()).min()
    }

    /// The next reply.
    pub fn poll_reply(&mut self) -> Option<(RequestId, Reply)> {
        self.replies.pop_front()
    }

    fn reply(&mut self, id: RequestId, response: ResponseKind) {
        self.replies.push_back((id, Reply::Response(Box::new(response))));
    }

    /// The name of the topic with this id.
    fn topic_name(&self, id: Uuid) -> Option<&str> {
        self.topic_names.get(&id).map(String::as_str)
    }

    fn log(&self, topic: &str, partition: i32) -> Option<&PartitionLog> {
        self.topics.get(topic)?.partitions.get(usize::try_from(partition).ok()?)
    }

    fn log_mut(&mut self, topic: &str, partition: i32) -> Option<&mut PartitionLog> {
        self.topics.get_mut(topic)?.partitions.get_mut(usize::try_from(partition).ok()?)
    }

    /// Checks what must always hold.
    ///
    /// # Panics
    /// If something doesn't.
    pub fn check_invariants(&self) {
        for log in self.topics.values().flat_map(|topic| &topic.partitions) {
            log.check_invariants();
        }
        for (name, group) in &self.groups {
            group.check_invariants();
            for producer in group.offsets.pending.keys() {
                let is_open = self.transactions.is_open_for_group(*producer, name);
                assert!(is_open, "BRK-5: a transaction that has ended leaves no pending offset");
            }
        }
        self.transactions.check_invariants();
    }
}

#[cfg(test)]
mod tests;
