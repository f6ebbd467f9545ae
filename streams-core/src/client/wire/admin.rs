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
    BrokerId, CreateTopicsRequest, CreateTopicsResponse, FindCoordinatorRequest, GroupId,
    ListOffsetsRequest, MetadataRequest, MetadataResponse, OffsetFetchRequest, TopicName,
};
use kafka_protocol::protocol::{Request, StrBytes};

use super::connection::Connection;
use super::known::KnownBrokers;
use super::security::{Endpoint, Security};
use super::{ClientError, error_name};
use crate::error::Cause;

/// How long one request may take.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a broker is looked for.
const BOOTSTRAP_TIMEOUT: Duration = Duration::from_secs(5);
pub(super) const BACKOFF_MIN: Duration = Duration::from_millis(2);
pub(super) const BACKOFF_MAX: Duration = Duration::from_millis(500);

pub(crate) const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const TOPIC_ALREADY_EXISTS: i16 = 36;
pub(super) const NOT_CONTROLLER: i16 = 41;
const UNSTABLE_OFFSET_COMMIT: i16 = 88;

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
    known: KnownBrokers,
    security: Security,
    any: Option<Connection>,
    /// Whether a broker has ever answered.
    has_answered: bool,
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
        Self {
            bootstrap,
            known: endpoint.known.clone(),
            security,
            any: None,
            has_answered: false,
            brokers: BTreeMap::new(),
            leaders: BTreeMap::new(),
        }
    }

    /// Returns true if a broker has ever answered this client.
    pub const fn has_answered(&self) -> bool {
        self.has_answered
    }

    /// Finds a broker that answers: one of the settings, or one that the cluster has named.
    ///
    /// # Errors
    /// If none does within five seconds, or one refuses the client's credentials.
    pub async fn connect(&mut self) -> Result<(), ClientError> {
        if self.any.is_some() {
            return Ok(());
        }
        let started = Instant::now();
        let mut backoff = BACKOFF_MIN;
        loop {
            let mut reason = "no address given".to_owned();
            for address in &self.known.to_try(&self.bootstrap) {
                match Connection::open(address, &self.security).await {
                    Ok(connection) => {
                        self.known.answered(address);
                        self.any = Some(connection);
                        self.has_answered = true;
                        return Ok(());
                    }
                    Err(error) if error.cause() == Cause::Access => return Err(error),
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
            if let Some(failed) = self.any.take() {
                self.known.failed(failed.address());
            }
            // A broker that answers nothing but ApiVersions must not be the first one again.
            self.bootstrap.rotate_left(1);
        }
        reply
    }

    /// Asks the controller. A cluster with ZooKeeper creates topics nowhere else.
    pub(super) async fn call_controller<R: Request>(
        &mut self,
        request: &R,
        cap: i16,
    ) -> Result<R::Response, ClientError> {
        let asked = MetadataRequest::default()
            .with_topics(Some(Vec::new()))
            .with_allow_auto_topic_creation(false);
        let reply = self.call(&asked, 9).await?;
        self.learn(&reply);
        let controller = reply.brokers.iter().find(|b| b.node_id == reply.controller_id);
        match controller.map(|b| format!("{}:{}", b.host, b.port)) {
            Some(address) => self.call_at(&address, request, cap).await,
            None => Err(ClientError::refused("looking for the controller", NOT_CONTROLLER)),
        }
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
        self.learn(&reply);
        Ok(reply.brokers.iter().map(|b| format!("{}:{}", b.host, b.port)).collect())
    }

    /// Remembers the brokers that the cluster names.
    pub(super) fn learn(&self, reply: &MetadataResponse) {
        self.known.named(reply.brokers.iter().map(|b| format!("{}:{}", b.host, b.port)));
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
        self.learn(&reply);
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
        let what = || format!("creating topic `{}`", topic.name);
        let made = self.call(&request, 5).await.and_then(|reply| created(&reply, what));
        let made = match made {
            Err(error) if error.code() == Some(NOT_CONTROLLER) => {
                let reply = self.call_controller(&request, 5).await;
                reply.and_then(|reply| created(&reply, what))
            }
            made => made,
        };
        let is_new = made.map_err(|error| error.during(what))?;
        // Another member may have created it a moment ago.
        self.await_topic(&topic.name).await?;
        Ok(is_new)
    }

    /// A new topic is not known to all brokers at once.
    pub(super) async fn await_topic(&mut self, topic: &str) -> Result<(), ClientError> {
        let started = Instant::now();
        let mut backoff = BACKOFF_MIN;
        loop {
            let what = || format!("waiting for the new topic `{topic}`");
            let found = self.metadata(topic).await;
            let (brokers, described) = found.map_err(|error| error.during(what))?;
            let leads = |leader: &BrokerId| brokers.contains_key(leader);
            let has_leader =
                |p: &MetadataResponsePartition| p.error_code == 0 && leads(&p.leader_id);
            let (code, all) = (described.error_code, described.partitions.len());
            let led = described.partitions.iter().filter(|p| has_leader(p)).count();
            if code == 0 && led > 0 && led == all {
                return Ok(());
            }
            if ClientError::refused("", code).cause() == Cause::Access {
                return Err(ClientError::refused(what(), code));
            }
            let waited = started.elapsed();
            if waited >= REQUEST_TIMEOUT {
                let reason = match code {
                    0 => format!("{led} of its {all} partitions have a leader"),
                    code => format!("{} ({code})", error_name(code)),
                };
                let topic = topic.to_owned();
                return Err(ClientError::NotReady { topic, waited, reason });
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
            let what = || format!("asking for the offsets of topic `{topic}`");
            let done = done.map_err(|error| error.during(what));
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
        let what = || format!("finding the coordinator of {what} `{key}`");
        let reply = self.call(&request, 3).await.map_err(|error| error.during(what))?;
        if reply.error_code != 0 {
            return Err(ClientError::refused(what(), reply.error_code));
        }
        Ok(format!("{}:{}", reply.host, reply.port))
    }

    /// The stable committed offsets of a group: those of open transactions are waited for.
    ///
    /// # Errors
    /// If the coordinator can't be asked for ten seconds, or a transaction stays open for
    /// `deadline`.
    pub async fn committed(
        &mut self,
        group: &str,
        topic: &str,
        partitions: &[i32],
        deadline: Duration,
    ) -> Result<BTreeMap<i32, CommittedOffset>, ClientError> {
        let mut open = Retry::within(deadline);
        let mut away = Retry::within(REQUEST_TIMEOUT);
        loop {
            let done = self.try_committed(group, topic, partitions, true).await;
            let is_open =
                done.as_ref().is_err_and(|error| error.code() == Some(UNSTABLE_OFFSET_COMMIT));
            let again = match is_open {
                true => open.after(&done).await,
                false => away.after(&done).await,
            };
            if !again {
                return done;
            }
            if is_open {
                // The coordinator has answered.
                away = Retry::within(REQUEST_TIMEOUT);
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
        let what = || format!("fetching the offsets of group `{group}`");
        let reply = self.call_at(&coordinator, &request, 7).await;
        let reply = reply.map_err(|error| error.during(what))?;
        if reply.error_code != 0 {
            return Err(ClientError::refused(what(), reply.error_code));
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

/// Returns whether the broker has created the topic; `false` if the topic was there already.
fn created(
    reply: &CreateTopicsResponse,
    what: impl FnOnce() -> String,
) -> Result<bool, ClientError> {
    let Some(result) = reply.topics.first() else {
        return Err(ClientError::connection("", "the reply names no topic"));
    };
    match result.error_code {
        0 => Ok(true),
        TOPIC_ALREADY_EXISTS => Ok(false),
        code => {
            let message = result.error_message.as_deref();
            let detail = message.map_or(String::new(), |message| format!(": {message}"));
            Err(ClientError::Refused { what: what(), name: error_name(code), code, detail })
        }
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
