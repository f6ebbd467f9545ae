//! Topics and offsets: what has to be known and made before an event is processed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::{
    MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
use kafka_protocol::messages::{
    BrokerId, CreateTopicsRequest, FindCoordinatorRequest, GroupId, ListOffsetsRequest,
    MetadataRequest, OffsetFetchRequest, TopicName,
};
use kafka_protocol::protocol::{Request, StrBytes};

use super::connection::Connection;
use super::security::{Endpoint, Security};
use super::{ClientError, error_name};

/// How long one request may take.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a broker is looked for.
const BOOTSTRAP_TIMEOUT: Duration = Duration::from_secs(5);
pub(super) const BACKOFF_MIN: Duration = Duration::from_millis(2);
pub(super) const BACKOFF_MAX: Duration = Duration::from_millis(500);

pub(crate) const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const TOPIC_ALREADY_EXISTS: i16 = 36;

/// A topic to make.
#[derive(Clone, Debug)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// How many partitions it gets.
    pub partitions: i32,
    /// How many replicas; -1 for the cluster's default.
    pub replication_factor: i16,
    /// Its settings, by Kafka's names.
    pub configs: BTreeMap<String, String>,
}

/// Which end of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetAt {
    /// The first record that is there.
    Earliest,
    /// One past the last record.
    Latest,
}

/// What counts as the last record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// The high watermark.
    ReadUncommitted,
    /// The last stable offset: before the first open transaction.
    ReadCommitted,
}

/// A committed offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedOffset {
    /// The offset.
    pub offset: i64,
    /// What was committed with it.
    pub metadata: String,
}

/// A client for topics and offsets. It reconnects by itself.
#[derive(Debug)]
pub struct Admin {
    bootstrap: Vec<String>,
    security: Security,
    any: Option<Connection>,
    brokers: BTreeMap<String, Connection>,
    /// Of topics that were asked for: each partition's leader's address.
    leaders: BTreeMap<String, BTreeMap<i32, String>>,
}

pub(super) fn text(value: &str) -> StrBytes {
    StrBytes::from_string(value.to_owned())
}

impl Admin {
    /// A client for the cluster at `endpoint`.
    pub fn new(endpoint: &Endpoint) -> Self {
        let security = endpoint.security.clone();
        let bootstrap =
            endpoint.bootstrap.split(',').map(|address| address.trim().to_owned()).collect();
        Self { bootstrap, security, any: None, brokers: BTreeMap::new(), leaders: BTreeMap::new() }
    }

    /// Finds a broker that answers.
    ///
    /// # Errors
    /// If none does within five seconds.
    pub async fn connect(&mut self) -> Result<(), ClientError> {
        if self.any.is_some() {
            return Ok(());
        }
        let started = Instant::now();
        let mut backoff = BACKOFF_MIN;
        loop {
            let mut reason = "no address given".to_owned();
            for address in &self.bootstrap {
                match Connection::open(address, &self.security).await {
                    Ok(connection) => {
                        self.any = Some(connection);
                        return Ok(());
                    }
                    Err(error) => reason = error.to_string(),
                }
            }
            if started.elapsed() >= BOOTSTRAP_TIMEOUT {
                let bootstrap = self.bootstrap.join(",");
                return Err(ClientError::NoBroker { bootstrap, tried: started.elapsed(), reason });
            }
            tokio::time::sleep(backoff).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }

    /// Asks any broker.
    pub(super) async fn call<R: Request>(
        &mut self,
        request: &R,
        cap: i16,
    ) -> Result<R::Response, ClientError> {
        self.connect().await?;
        let Some(connection) = &mut self.any else {
            return Err(ClientError::connection("", "not connected"));
        };
        let reply = connection.call(request, cap, REQUEST_TIMEOUT).await;
        if matches!(reply, Err(ClientError::Connection { .. })) {
            self.any = None;
        }
        reply
    }

    /// Asks the broker at `address`.
    pub(super) async fn call_at<R: Request>(
        &mut self,
        address: &str,
        request: &R,
        cap: i16,
    ) -> Result<R::Response, ClientError> {
        if !self.brokers.contains_key(address) {
            let connection = Connection::open(address, &self.security).await?;
            self.brokers.insert(address.to_owned(), connection);
        }
        let Some(connection) = self.brokers.get_mut(address) else {
            return Err(ClientError::connection(address, "not connected"));
        };
        let reply = connection.call(request, cap, REQUEST_TIMEOUT).await;
        if matches!(reply, Err(ClientError::Connection { .. })) {
            self.brokers.remove(address);
        }
        reply
    }

    /// The addresses of all brokers.
    pub(super) async fn brokers(&mut self) -> Result<Vec<String>, ClientError> {
        let request = MetadataRequest::default()
            .with_topics(Some(Vec::new()))
            .with_allow_auto_topic_creation(false);
        let reply = self.call(&request, 9).await?;
        Ok(reply.brokers.iter().map(|b| format!("{}:{}", b.host, b.port)).collect())
    }

    pub(super) async fn metadata(
        &mut self,
        topic: &str,
    ) -> Result<(BTreeMap<BrokerId, String>, MetadataResponseTopic), ClientError> {
        let asked = MetadataRequestTopic::default().with_name(Some(TopicName(text(topic))));
        let request = MetadataRequest::default()
            .with_topics(Some(vec![asked]))
            .with_allow_auto_topic_creation(false);
        let reply = self.call(&request, 12).await?;
        let address = |host: &StrBytes, port: i32| format!("{host}:{port}");
        let brokers = reply.brokers.iter().map(|b| (b.node_id, address(&b.host, b.port))).collect();
        let described = reply.topics.into_iter().next().ok_or_else(|| {
            ClientError::refused(format!("describing topic `{topic}`"), UNKNOWN_TOPIC_OR_PARTITION)
        })?;
        Ok((brokers, described))
    }

    /// Makes a topic; `false` if it was there already. Returns once it is described.
    ///
    /// # Errors
    /// If the broker refuses.
    pub async fn create_topic(&mut self, topic: &NewTopic) -> Result<bool, ClientError> {
        let config = |(name, value): (&String, &String)| {
            CreatableTopicConfig::default().with_name(text(name)).with_value(Some(text(value)))
        };
        let creatable = CreatableTopic::default()
            .with_name(TopicName(text(&topic.name)))
            .with_num_partitions(topic.partitions)
            .with_replication_factor(topic.replication_factor)
            .with_configs(topic.configs.iter().map(config).collect());
        let request =
            CreateTopicsRequest::default().with_topics(vec![creatable]).with_timeout_ms(10_000);
        let reply = self.call(&request, 5).await?;
        let Some(result) = reply.topics.first() else {
            return Err(ClientError::connection("", "the reply names no topic"));
        };
        match result.error_code {
            TOPIC_ALREADY_EXISTS => return Ok(false),
            0 => {}
            code => {
                let detail =
                    result.error_message.as_deref().map_or(String::new(), |m| format!(": {m}"));
                let what = format!("creating topic `{}`", topic.name);
                return Err(ClientError::Refused { what, name: error_name(code), code, detail });
            }
        }
        self.await_topic(&topic.name).await?;
        Ok(true)
    }

    /// A new topic is not known to all brokers at once.
    pub(super) async fn await_topic(&mut self, topic: &str) -> Result<(), ClientError> {
        let deadline = Instant::now() + REQUEST_TIMEOUT;
        let mut backoff = BACKOFF_MIN;
        loop {
            let (brokers, described) = self.metadata(topic).await?;
            let leads = |leader: &BrokerId| brokers.contains_key(leader);
            let ready = described.error_code == 0
                && !described.partitions.is_empty()
                && described.partitions.iter().all(|p| p.error_code == 0 && leads(&p.leader_id));
            if ready {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let what = format!("waiting for the new topic `{topic}`");
                return Err(ClientError::refused(what, described.error_code));
            }
            tokio::time::sleep(backoff).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }

    /// The end of partitions of a topic.
    ///
    /// # Errors
    /// If a partition is not there, has no leader for ten seconds, or may not be read.
    pub async fn offsets(
        &mut self,
        topic: &str,
        partitions: &[i32],
        at: OffsetAt,
        isolation: Isolation,
    ) -> Result<BTreeMap<i32, i64>, ClientError> {
        let mut retry = Retry::within(REQUEST_TIMEOUT);
        loop {
            let done = self.try_offsets(topic, partitions, at, isolation).await;
            if done.is_err() {
                self.forget_leaders(topic);
            }
            if !retry.after(&done).await {
                return done;
            }
        }
    }

    /// The addresses of the partitions' leaders, each with what it leads. They are asked for once,
    /// and again after [`Admin::forget_leaders`].
    pub(super) async fn leaders(
        &mut self,
        topic: &str,
        partitions: &[i32],
    ) -> Result<BTreeMap<String, Vec<i32>>, ClientError> {
        if !self.leaders.contains_key(topic) {
            let (brokers, described) = self.metadata(topic).await?;
            let leader = |p: &MetadataResponsePartition| {
                Some((p.partition_index, brokers.get(&p.leader_id)?.clone()))
            };
            let leaders = described.partitions.iter().filter_map(leader).collect();
            self.leaders.insert(topic.to_owned(), leaders);
        }
        let mut by_leader: BTreeMap<String, Vec<i32>> = BTreeMap::new();
        for partition in partitions {
            let Some(leader) = self.leaders.get(topic).and_then(|of| of.get(partition)) else {
                let what = format!("finding the leader of {topic}-{partition}");
                return Err(ClientError::refused(what, UNKNOWN_TOPIC_OR_PARTITION));
            };
            by_leader.entry(leader.clone()).or_default().push(*partition);
        }
        Ok(by_leader)
    }

    /// They may be others by now.
    pub(super) fn forget_leaders(&mut self, topic: &str) {
        self.leaders.remove(topic);
    }

    async fn try_offsets(
        &mut self,
        topic: &str,
        partitions: &[i32],
        at: OffsetAt,
        isolation: Isolation,
    ) -> Result<BTreeMap<i32, i64>, ClientError> {
        let mut offsets = BTreeMap::new();
        for (leader, partitions) in self.leaders(topic, partitions).await? {
            let request = list_offsets(topic, &partitions, at, isolation);
            let reply = self.call_at(&leader, &request, 6).await?;
            for partition in reply.topics.iter().flat_map(|t| &t.partitions) {
                let index = partition.partition_index;
                if partition.error_code != 0 {
                    let what = format!("asking for the offsets of {topic}-{index}");
                    return Err(ClientError::refused(what, partition.error_code));
                }
                offsets.insert(index, partition.offset);
            }
        }
        Ok(offsets)
    }

    /// The address of the group's coordinator.
    ///
    /// # Errors
    /// If there is none yet (retriable), or the group may not be used.
    pub async fn group_coordinator(&mut self, group: &str) -> Result<String, ClientError> {
        self.coordinator("group", group, 0).await
    }

    /// The address of the coordinator of a group (type 0) or a transactional id (type 1).
    pub(super) async fn coordinator(
        &mut self,
        what: &str,
        key: &str,
        key_type: i8,
    ) -> Result<String, ClientError> {
        let request = FindCoordinatorRequest::default().with_key(text(key)).with_key_type(key_type);
        let reply = self.call(&request, 3).await?;
        if reply.error_code != 0 {
            let what = format!("finding the coordinator of {what} `{key}`");
            return Err(ClientError::refused(what, reply.error_code));
        }
        Ok(format!("{}:{}", reply.host, reply.port))
    }

    /// The stable committed offsets of a group: those of open transactions are waited for.
    ///
    /// # Errors
    /// If the coordinator can't be asked, or a transaction stays open for `deadline`.
    pub async fn committed(
        &mut self,
        group: &str,
        topic: &str,
        partitions: &[i32],
        deadline: Duration,
    ) -> Result<BTreeMap<i32, CommittedOffset>, ClientError> {
        let mut retry = Retry::within(deadline);
        loop {
            let done = self.try_committed(group, topic, partitions, true).await;
            if !retry.after(&done).await {
                return done;
            }
        }
    }

    /// The committed offsets of a group, without a wait for open transactions: a newer offset may
    /// be in one.
    ///
    /// # Errors
    /// If the coordinator can't be asked for ten seconds.
    pub async fn committed_so_far(
        &mut self,
        group: &str,
        topic: &str,
        partitions: &[i32],
    ) -> Result<BTreeMap<i32, CommittedOffset>, ClientError> {
        let mut retry = Retry::within(REQUEST_TIMEOUT);
        loop {
            let done = self.try_committed(group, topic, partitions, false).await;
            if !retry.after(&done).await {
                return done;
            }
        }
    }

    async fn try_committed(
        &mut self,
        group: &str,
        topic: &str,
        partitions: &[i32],
        require_stable: bool,
    ) -> Result<BTreeMap<i32, CommittedOffset>, ClientError> {
        // Each time: a former one may not know yet that it is none.
        let coordinator = self.group_coordinator(group).await?;
        let asked = OffsetFetchRequestTopic::default()
            .with_name(TopicName(text(topic)))
            .with_partition_indexes(partitions.to_vec());
        let request = OffsetFetchRequest::default()
            .with_group_id(GroupId(text(group)))
            .with_topics(Some(vec![asked]))
            .with_require_stable(require_stable);
        let reply = self.call_at(&coordinator, &request, 7).await?;
        if reply.error_code != 0 {
            let what = format!("fetching the offsets of group `{group}`");
            return Err(ClientError::refused(what, reply.error_code));
        }
        let mut offsets = BTreeMap::new();
        for partition in reply.topics.into_iter().flat_map(|t| t.partitions) {
            let index = partition.partition_index;
            if partition.error_code != 0 {
                let what = format!("fetching the offset of group `{group}` for {topic}-{index}");
                return Err(ClientError::refused(what, partition.error_code));
            }
            if partition.committed_offset >= 0 {
                let metadata = partition.metadata.map_or(String::new(), |m| m.to_string());
                let offset = partition.committed_offset;
                offsets.insert(index, CommittedOffset { offset, metadata });
            }
        }
        Ok(offsets)
    }
}

/// What may succeed later is tried again, for a while.
pub(super) struct Retry {
    deadline: Instant,
    backoff: Duration,
}

impl Retry {
    pub(super) fn within(patience: Duration) -> Self {
        Self { deadline: Instant::now() + patience, backoff: BACKOFF_MIN }
    }

    /// Whether to try again; waits before it says so.
    pub(super) async fn after<T>(&mut self, done: &Result<T, ClientError>) -> bool {
        let retriable = done.as_ref().is_err_and(ClientError::is_retriable);
        if !retriable || Instant::now() >= self.deadline {
            return false;
        }
        tokio::time::sleep(self.backoff).await;
        self.backoff = (self.backoff * 2).min(BACKOFF_MAX);
        true
    }
}

fn list_offsets(
    topic: &str,
    partitions: &[i32],
    at: OffsetAt,
    isolation: Isolation,
) -> ListOffsetsRequest {
    let timestamp = match at {
        OffsetAt::Earliest => -2,
        OffsetAt::Latest => -1,
    };
    let partition = |index: &i32| {
        ListOffsetsPartition::default().with_partition_index(*index).with_timestamp(timestamp)
    };
    let topic = ListOffsetsTopic::default()
        .with_name(TopicName(text(topic)))
        .with_partitions(partitions.iter().map(partition).collect());
    ListOffsetsRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_isolation_level(i8::from(isolation == Isolation::ReadCommitted))
        .with_topics(vec![topic])
}
