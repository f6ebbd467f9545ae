//! The settings of a source: one builder method each.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use super::callbacks::Callbacks;
use super::control::{CHECK_MAX, CHECK_MIN, Growth};
use super::error_policy::ErrorPolicies;
use super::instance::InstanceName;
use super::interjection_settings::INTERJECTION_QUEUE;
use super::outage::{OUTAGE_TIMEOUT_MAX, OUTAGE_TIMEOUT_MIN};
use super::policy::{
    ChangelogMissing, CreateTopics, NewPartitions, OffsetsMissing, OnUnreadable, StartFrom,
};
use super::shared::{IntoShared, NothingMissing};
use super::slot::MakeProducer;
use super::store_factory::StoreFactory;
use super::worker::{FromWorker, MakeFetcher, WorkerParts};
use crate::client::ClusterConfig;
use crate::client::wire::Endpoint;
use crate::eos::{EosConfig, IN_FLIGHT_EVENTS_LIMIT, IN_FLIGHT_EVENTS_MAX};
use crate::error::{ConfigError, OUTAGE_TIMEOUT};
use crate::global::{Global, GlobalWatch};
use crate::group::{Assignor, GroupConfig};
use crate::handler::{EventSource, Interjection, PartitionCounts, Scheduled};
use crate::jobs::Schedulers;
use crate::jobs::durable::JobTypes;
use crate::metrics::{MetricsHandler, MetricsSink, SourceLabels};
use crate::producer::Destination;
use crate::record::TopicPartition;

/// How long a leaving member lets its partitions move to others, by default.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a worker may be in one piece of code, by default.
const MAX_POLL_INTERVAL: Duration = Duration::from_mins(5);
/// How long a partition may not advance before the source reports it, by default.
const STALLED_AFTER: Duration = Duration::from_mins(1);
const STALLED_AFTER_MIN: Duration = Duration::from_secs(1);
const STALLED_AFTER_MAX: Duration = Duration::from_hours(24);
const MAX_POLL_INTERVAL_MIN: Duration = Duration::from_millis(100);
const MAX_POLL_INTERVAL_MAX: Duration = Duration::from_hours(24);
const LEAVE_TIMEOUT_MAX: Duration = Duration::from_hours(24);
const WORKERS_MAX: usize = 256;

/// The settings of a source; made by `Source::builder()`. `Missing` is what its handlers share,
/// until that is given by [`SourceBuilder::shared`], and `()` then.
#[derive(Clone, Debug)]
pub struct SourceBuilder<A: EventSource, Missing = ()> {
    pub(super) cluster: ClusterConfig,
    /// Made of the cluster's settings, once they are checked.
    pub(super) endpoint: Option<Endpoint>,
    /// The name of an instance that the user has not named, once the source starts.
    pub(super) unnamed: Option<Arc<InstanceName>>,
    pub(crate) group: GroupConfig,
    pub(crate) topic: String,
    pub(super) changelog: Option<String>,
    pub(super) outputs: Vec<String>,
    pub(super) globals: Vec<GlobalWatch>,
    /// The numbers of declared topics, once the source starts.
    pub(super) partition_counts: PartitionCounts,
    pub(crate) partitions: Option<i32>,
    pub(super) replication_factor: i16,
    pub(super) topic_configs: BTreeMap<String, String>,
    pub(super) eos: EosConfig,
    pub(super) in_flight_events_max: usize,
    pub(super) schedulers: Schedulers,
    pub(super) workers: usize,
    pub(crate) errors: ErrorPolicies,
    pub(super) on_unreadable: OnUnreadable,
    pub(crate) start_from: StartFrom,
    pub(super) create_topics: CreateTopics,
    pub(super) offsets_missing: OffsetsMissing,
    pub(super) changelog_missing: ChangelogMissing,
    pub(crate) interjections: Vec<Interjection<A::Store, A::Shared>>,
    pub(super) jobs: JobTypes<A::Store>,
    /// Further ones, with what they capture.
    pub(super) scheduled: Vec<Scheduled<A::Store>>,
    pub(crate) interjection_queue: usize,
    pub(super) shared: Option<Arc<A::Shared>>,
    pub(super) missing: PhantomData<fn() -> Missing>,
    pub(super) stores: StoreFactory<A::Store>,
    pub(super) propagate_trace_context: bool,
    pub(super) leave_timeout: Duration,
    pub(super) outage_timeout: Duration,
    pub(super) stalled_after: Duration,
    pub(super) growth: Growth,
    pub(super) max_poll_interval: Duration,
    pub(super) callbacks: Callbacks,
    pub(super) metrics_handler: Option<Arc<dyn MetricsHandler>>,
}

impl<A: EventSource, Missing: 'static> SourceBuilder<A, Missing> {
    pub(crate) fn new() -> Self {
        Self {
            cluster: ClusterConfig::default(),
            endpoint: None,
            unnamed: None,
            group: GroupConfig::new("", Vec::new()),
            topic: String::new(),
            changelog: None,
            outputs: Vec::new(),
            globals: Vec::new(),
            partition_counts: PartitionCounts::default(),
            partitions: None,
            replication_factor: -1,
            topic_configs: BTreeMap::new(),
            eos: EosConfig::default(),
            in_flight_events_max: IN_FLIGHT_EVENTS_MAX,
            schedulers: Schedulers::default(),
            workers: 1,
            errors: ErrorPolicies::default(),
            on_unreadable: OnUnreadable::default(),
            start_from: StartFrom::default(),
            create_topics: CreateTopics::default(),
            offsets_missing: OffsetsMissing::default(),
            changelog_missing: ChangelogMissing::default(),
            interjections: A::TABLE.interjections.to_vec(),
            jobs: JobTypes::default(),
            scheduled: Vec::new(),
            interjection_queue: INTERJECTION_QUEUE,
            shared: None,
            missing: PhantomData,
            stores: StoreFactory::default(),
            propagate_trace_context: true,
            leave_timeout: LEAVE_TIMEOUT,
            outage_timeout: OUTAGE_TIMEOUT,
            stalled_after: STALLED_AFTER,
            growth: Growth::default(),
            max_poll_interval: MAX_POLL_INTERVAL,
            callbacks: Callbacks::default(),
            metrics_handler: None,
        }
    }

    /// What all handlers share, as `#[event_source(.., shared = App)]` declares it: a handler takes
    /// it as `app: &App` or `app: &Arc<App>` between context and event.
    #[must_use]
    pub fn shared(self, shared: impl IntoShared<A::Shared>) -> SourceBuilder<A> {
        SourceBuilder { shared: Some(shared.into_shared()), ..self.complete() }
    }

    /// The same settings, of which it is known by other means that nothing is missing.
    fn complete(self) -> SourceBuilder<A> {
        SourceBuilder {
            cluster: self.cluster,
            endpoint: self.endpoint,
            unnamed: self.unnamed,
            group: self.group,
            topic: self.topic,
            changelog: self.changelog,
            outputs: self.outputs,
            globals: self.globals,
            partition_counts: self.partition_counts,
            partitions: self.partitions,
            replication_factor: self.replication_factor,
            topic_configs: self.topic_configs,
            eos: self.eos,
            in_flight_events_max: self.in_flight_events_max,
            schedulers: self.schedulers,
            workers: self.workers,
            errors: self.errors,
            on_unreadable: self.on_unreadable,
            start_from: self.start_from,
            create_topics: self.create_topics,
            offsets_missing: self.offsets_missing,
            changelog_missing: self.changelog_missing,
            interjections: self.interjections,
            jobs: self.jobs,
            stores: self.stores,
            propagate_trace_context: self.propagate_trace_context,
            scheduled: self.scheduled,
            interjection_queue: self.interjection_queue,
            leave_timeout: self.leave_timeout,
            outage_timeout: self.outage_timeout,
            stalled_after: self.stalled_after,
            growth: self.growth,
            max_poll_interval: self.max_poll_interval,
            callbacks: self.callbacks,
            metrics_handler: self.metrics_handler,
            shared: self.shared,
            missing: PhantomData,
        }
    }

    /// The same settings, once nothing is missing.
    pub(crate) fn ready(self) -> SourceBuilder<A>
    where
        Missing: NothingMissing,
    {
        self.complete()
    }

    /// The cluster: `host:port`, comma-separated.
    #[must_use]
    pub fn bootstrap(mut self, bootstrap: impl Into<String>) -> Self {
        self.cluster.bootstrap = bootstrap.into();
        self
    }

    /// The consumer group: the application's name.
    #[must_use]
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.group.group_id = group.into();
        self
    }

    /// The source topic. The source creates it if it is missing ([`Self::create_topics`]).
    #[must_use]
    pub fn topic(mut self, topic: impl Into<String>) -> Self {
        self.topic = topic.into();
        self
    }

    /// The changelog topic: it has as many partitions as the source, and its `cleanup.policy` is
    /// `compact`. The source creates it if it is missing ([`Self::create_topics`]), unless the
    /// group has committed offsets: then its state is missing ([`Self::changelog_missing`]). By
    /// default GKES's name: `gkes_change_log_{topic}_{group}`.
    #[must_use]
    pub fn changelog(mut self, changelog: impl Into<String>) -> Self {
        self.changelog = Some(changelog.into());
        self
    }

    /// A topic that handlers forward to: its name, or a [`Topic`](crate::Topic), as
    /// `.output(&NOTIFIED)`. The source creates it if it is missing, with as many
    /// partitions as the source topic ([`Self::create_topics`]). A topic that is not named here is
    /// found missing only when a handler forwards to it.
    #[must_use]
    pub fn output(mut self, topic: impl Into<String>) -> Self {
        self.outputs.push(topic.into());
        self
    }

    /// Adds a global changelog, or a table of one: [`start`](Self::start) blocks until it has
    /// caught up, so that handlers find what its topic had then. A cluster of it that is away for
    /// [`outage_timeout`](Self::outage_timeout) ends the start with an error, and so does a
    /// failure. A global changelog that fails later stops the source with
    /// [`SourceError::Global`](super::SourceError::Global): handlers would read rows that nothing
    /// keeps up to date. An outage stops nothing.
    #[must_use]
    pub fn global(mut self, global: &impl Global) -> Self {
        self.globals.push(global.watch());
        self
    }

    /// The partitions of the topics that are made; of topics that are there it must be the number.
    /// By default a topic is taken as it is, and made with the cluster's default.
    #[must_use]
    pub const fn partitions(mut self, partitions: i32) -> Self {
        self.partitions = Some(partitions);
        self
    }

    /// The replication factor of topics that are made. By default the cluster's.
    #[must_use]
    pub const fn replication_factor(mut self, replication_factor: i16) -> Self {
        self.replication_factor = replication_factor;
        self
    }

    /// A setting of topics that are made: `min.insync.replicas`, say.
    #[must_use]
    pub fn topic_config(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.topic_configs.insert(name.into(), value.into());
        self
    }

    /// This instance's name among those of the group: a pod's, a host's. A restart under the same
    /// name fences what is left of its predecessor at once, and takes its partitions back
    /// (KIP-345). Without one, a restart waits for its predecessor's session to end.
    ///
    /// Without a name, the transactional ids get the name of the first free place on this machine
    /// (Linux), so that a process that crashes again and again uses the same few ids: the
    /// coordinator keeps each id for 7 days (`transactional.id.expiration.ms`). Set the name where
    /// virtual machines are copied while they run.
    ///
    /// The name has 1 to 249 letters, digits, `.`, `_` or `-`, as Kafka requires of
    /// `group.instance.id`. It is a part of the transactional ids,
    /// `{group}~streams~{instance}~{slot}`: under ACLs, grant WRITE and DESCRIBE on transactional
    /// ids with the prefix `{group}~`.
    #[must_use]
    pub fn instance(mut self, instance: impl Into<String>) -> Self {
        self.group.instance_id = Some(instance.into());
        self
    }

    /// How transactions are filled and committed.
    #[must_use]
    pub const fn eos(mut self, eos: EosConfig) -> Self {
        self.eos = eos;
        self
    }

    /// Sets how many events of a partition may be in flight: 1 to 100,000, by default 1,000.
    ///
    /// An incomplete event holds its partition's offset back, and later events go on. At this limit
    /// the partition takes no more events until the oldest incomplete one is complete; a log line
    /// says so. A replay after a crash repeats at most so many events.
    ///
    /// The events that are done travel in the metadata of the committed offset, with at least two
    /// bytes each: beyond some 1,900 events, raise
    /// [`EosConfig::offset_metadata_max_bytes`] and the brokers' `offset.metadata.max.bytes` too.
    #[must_use]
    pub const fn in_flight_events_max(mut self, events: usize) -> Self {
        self.in_flight_events_max = events;
        self
    }

    /// The number of worker threads, each with partitions, producers and a fetcher of its own: 1 to
    /// 256, by default 1.
    #[must_use]
    pub const fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// Without a heartbeat for this time, the group gives this member's partitions to others. By
    /// default 10 s.
    #[must_use]
    pub const fn session_timeout(mut self, timeout: Duration) -> Self {
        self.group.session_timeout = timeout;
        self
    }

    /// How long the group waits for a member that has to join again: for its commits under way, and
    /// for events of partitions that it gives up. A member that takes longer is taken out; with an
    /// [`instance`](Self::instance) it stays, and loses all its partitions once it comes back. By
    /// default 60 s. The group uses the longest of its members'.
    #[must_use]
    pub const fn rebalance_timeout(mut self, timeout: Duration) -> Self {
        self.group.rebalance_timeout = timeout;
        self
    }

    /// The longest time between two heartbeats: until then a member may not hear that another one
    /// joins or leaves. By default 150 ms. After a rebalance they come sooner, from 5 ms on,
    /// because another one may follow, for which moved partitions wait.
    #[must_use]
    pub const fn heartbeat_interval(mut self, interval: Duration) -> Self {
        self.group.heartbeat_interval = interval;
        self
    }

    /// How partitions are shared, the preferred way first; by default [`Assignor::IncrCoop`] alone.
    /// The group uses one that all its members know: several are offered while it moves from one to
    /// another, member by member.
    #[must_use]
    pub fn assignors(mut self, assignors: impl Into<Vec<Assignor>>) -> Self {
        self.group.assignors = assignors.into();
        self
    }

    /// How many partitions may be on their way from one member to another at a time (GRP-3); by
    /// default 1. Each is restored by its new owner before its old one gives it up.
    #[must_use]
    pub const fn active_transitions(mut self, transitions: usize) -> Self {
        self.group.active_transitions = transitions;
        self
    }

    /// How many warm copies of each partition's store are kept on other members, so that a crash is
    /// taken over without a restore; by default none.
    #[must_use]
    pub const fn standby_replicas(mut self, replicas: usize) -> Self {
        self.group.standby_replicas = replicas;
        self
    }

    /// Where this member runs: warm copies are kept in other racks first.
    #[must_use]
    pub fn rack(mut self, rack: impl Into<String>) -> Self {
        self.group.rack = Some(rack.into());
        self
    }

    /// How long a member that is to stop lets its partitions move to others, which warm up first;
    /// by default 60 s. With zero it leaves at once, and they are restored by whoever gets them.
    #[must_use]
    pub const fn leave_timeout(mut self, timeout: Duration) -> Self {
        self.leave_timeout = timeout;
        self
    }

    /// How long the source waits out an outage before it stops with an error: 1 s to 7 days, by
    /// default 1 hour. Brokers, leaders or replicas may be away for that long, one after the other
    /// or all of them; meanwhile the source tries again with a back-off, at most every 5 s.
    ///
    /// A start waits too, once a broker has answered it. If none answers from the beginning, the
    /// start fails after five seconds, because the address may be wrong.
    ///
    /// Refused credentials and missing permissions are no outage: they end a source that starts at
    /// once, and a running one within a minute.
    #[must_use]
    pub const fn outage_timeout(mut self, timeout: Duration) -> Self {
        self.outage_timeout = timeout;
        self
    }

    /// How long a partition that has further records may not advance before the source reports it:
    /// 1 s to 24 h, by default 1 minute. The worker looks once a second. From then until the
    /// partition advances again, the source is [`SourceState::Stalled`], and
    /// [`SourceHandle::stalled_partitions`] says what holds the partition up.
    ///
    /// Set it above the longest time for which an incomplete event or a producer's open transaction
    /// may hold a partition up.
    ///
    /// [`SourceState::Stalled`]: super::SourceState::Stalled
    /// [`SourceHandle::stalled_partitions`]: super::SourceHandle::stalled_partitions
    #[must_use]
    pub const fn stalled_after(mut self, time: Duration) -> Self {
        self.stalled_after = time;
        self
    }

    /// How long a worker may be in one piece of the application's code (a handler, a completion, an
    /// interjection, a callback, a store): 100 ms to 24 h, by default 5 minutes. A worker that has
    /// not come back by then is stuck: this member leaves the group, so that other members get its
    /// partitions and nothing of the stuck worker can be committed, and the source ends with
    /// [`SourceError::Stuck`](crate::SourceError::Stuck), which names the code, the partition and
    /// the offset. Kafka: `max.poll.interval.ms`.
    ///
    /// Slow work that may wait does not belong into a handler: take a completer for it.
    #[must_use]
    pub const fn max_poll_interval(mut self, interval: Duration) -> Self {
        self.max_poll_interval = interval;
        self
    }

    /// Called when a partition is ours, before its store is restored. GKES: `OnPartitionAssigned`.
    ///
    /// All four are called on the worker's thread, which processes nothing meanwhile.
    #[must_use]
    pub fn on_assigned(mut self, call: impl Fn(&TopicPartition) + Send + Sync + 'static) -> Self {
        self.callbacks.on_assigned = Some(Arc::new(call));
        self
    }

    /// Called when a partition's store is whole, before its first event. GKES:
    /// `OnPartitionActivated`.
    #[must_use]
    pub fn on_activated(mut self, call: impl Fn(&TopicPartition) + Send + Sync + 'static) -> Self {
        self.callbacks.on_activated = Some(Arc::new(call));
        self
    }

    /// Called when a partition is about to be given up: what has begun is finished after that, and
    /// the next owner begins after that. If it is not given up after all, because the member that
    /// prepares for it is not ready yet, [`on_activated`](Self::on_activated) is called again.
    /// GKES: `OnPartitionWillRevoke`. Not called for one that is lost.
    #[must_use]
    pub fn on_will_revoke(
        mut self,
        call: impl Fn(&TopicPartition) + Send + Sync + 'static,
    ) -> Self {
        self.callbacks.on_will_revoke = Some(Arc::new(call));
        self
    }

    /// Called when a partition is ours no more; its next owner may have begun. GKES:
    /// `OnPartitionRevoked`. Its store may stay as a copy that follows the next owner.
    #[must_use]
    pub fn on_revoked(mut self, call: impl Fn(&TopicPartition) + Send + Sync + 'static) -> Self {
        self.callbacks.on_revoked = Some(Arc::new(call));
        self
    }

    /// Sets the handler of metrics: one [`Metric`](crate::metrics::Metric) for each committed
    /// transaction and each restored partition. A thread of its own calls the handler; if more than
    /// [`METRICS_QUEUE_MAX`](crate::metrics::METRICS_QUEUE_MAX) metrics wait, the source drops
    /// further ones and logs a warning. GKES: `EventSourceConfig.MetricsHandler`.
    ///
    /// The same figures go to the recorder of the `metrics` facade: see [`crate::metrics`].
    #[must_use]
    pub fn metrics_handler(mut self, handler: impl MetricsHandler) -> Self {
        self.metrics_handler = Some(Arc::new(handler));
        self
    }

    /// What to do with a batch of records that can't be read; by default the source stops.
    #[must_use]
    pub const fn on_unreadable_batch(mut self, policy: OnUnreadable) -> Self {
        self.on_unreadable = policy;
        self
    }

    /// Sets where to start a partition that has neither state nor a committed offset; by default
    /// at the first record. The source commits the position before it reports the partition as
    /// active: a record that comes after that is processed, whatever happens to this member.
    #[must_use]
    pub const fn start_from(mut self, start_from: StartFrom) -> Self {
        self.start_from = start_from;
        self
    }

    /// Sets whether the source creates topics that are missing; by default it does.
    #[must_use]
    pub const fn create_topics(mut self, create_topics: CreateTopics) -> Self {
        self.create_topics = create_topics;
        self
    }

    /// Sets what to do with a partition that this group has processed before, and whose committed
    /// offset is gone; by default the source stops with [`SourceError::OffsetMissing`].
    ///
    /// [`SourceError::OffsetMissing`]: super::SourceError::OffsetMissing
    #[must_use]
    pub const fn offsets_missing(mut self, policy: OffsetsMissing) -> Self {
        self.offsets_missing = policy;
        self
    }

    /// Sets what to do if the group has committed offsets, and the changelog topic is missing,
    /// empty or another one than before; by default the source does not start
    /// ([`SourceError::Topics`]).
    ///
    /// [`SourceError::Topics`]: super::SourceError::Topics
    #[must_use]
    pub const fn changelog_missing(mut self, policy: ChangelogMissing) -> Self {
        self.changelog_missing = policy;
        self
    }

    /// What to do with partitions that are added to the source's topic; by default nothing reads
    /// them. All members should agree: the changelog grows as soon as one of them wants it.
    #[must_use]
    pub const fn new_partitions(mut self, policy: NewPartitions) -> Self {
        self.growth.policy = policy;
        self
    }

    /// How often the number of partitions is looked at; by default once a minute. New ones are
    /// refused, or used, within twice this time.
    #[must_use]
    pub const fn partition_check(mut self, every: Duration) -> Self {
        self.growth.every = every;
        self
    }

    /// Sets how the store of a partition is created, for a store that needs something of the
    /// application's: a folder, a handle, a limit. By default [`StateStore::create`] does it. The
    /// new store is empty, as that of `create` is: the source then restores it from the changelog.
    /// Called on the worker's thread, also for warm copies.
    ///
    /// [`StateStore::create`]: crate::StateStore::create
    #[must_use]
    pub fn store(
        mut self,
        create: impl Fn(&TopicPartition) -> A::Store + Send + Sync + 'static,
    ) -> Self {
        self.stores = StoreFactory::new(create);
        self
    }

    /// Sets whether everything that a handler forwards takes over the headers `traceparent` and
    /// `tracestate` of its input (W3C Trace Context); by default it does. A header of the same name
    /// that the handler sets itself wins. An interjection has no input.
    #[must_use]
    pub const fn propagate_trace_context(mut self, propagate: bool) -> Self {
        self.propagate_trace_context = propagate;
        self
    }

    /// Returns the source's topic as a destination, with its cluster and its settings for a topic
    /// that is created: for whoever sends events to this source. GKES: `Source.AsDestination`.
    ///
    /// # Examples
    /// ```no_run
    /// # use streams_core::prelude::*;
    /// # fn send<A: streams_core::EventSource>() -> Result<(), Box<dyn std::error::Error>> {
    /// let source = A::builder().bootstrap("localhost:9092").group("g").topic("contacts");
    /// let producer = source.as_destination().producer().build()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn as_destination(&self) -> Destination {
        let destination = Destination::new(self.topic.clone())
            .cluster(self.cluster.clone())
            .replication_factor(self.replication_factor);
        let destination = match self.partitions {
            Some(partitions) => destination.partitions(partitions),
            None => destination,
        };
        let configs = self.topic_configs.iter();
        configs.fold(destination, |to, (name, value)| to.topic_config(name, value))
    }

    /// A further property of the Kafka clients, by librdkafka's name: `fetch.max.bytes`, say.
    ///
    /// With the feature `tls`: `security.protocol` `ssl`, `ssl.ca.location`, and for a client
    /// certificate `ssl.certificate.location` and `ssl.key.location` (PEM).
    #[must_use]
    pub fn property(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.cluster.properties.insert(name, value);
        self
    }

    pub(crate) fn check(mut self) -> Result<Self, ConfigError> {
        let missing = |name, hint| Err(ConfigError::Missing { name, hint });
        if self.cluster.bootstrap.trim().is_empty() {
            return missing("bootstrap", "write `.bootstrap(\"host:port\")`");
        }
        if self.group.group_id.is_empty() {
            return missing("group", "write `.group(\"my-application\")`");
        }
        if self.topic.is_empty() {
            return missing("topic", "write `.topic(\"events\")`");
        }
        if let Some(instance) = self.group.instance_id.as_deref().filter(|id| !is_instance(id)) {
            let hint = "it must have 1 to 249 letters, digits, `.`, `_` or `-`".to_owned();
            let value = instance.to_owned();
            return Err(ConfigError::Invalid { name: "instance", value, hint });
        }
        self.endpoint = Some(Endpoint::of(&self.cluster)?);
        self.errors.check(&self.topic, &self.changelog_name())?;
        // Clones of these settings may declare other topics.
        self.partition_counts = PartitionCounts::default();
        ConfigError::check("workers", self.workers, 1..=WORKERS_MAX)?;
        let (events, most) = (self.in_flight_events_max, IN_FLIGHT_EVENTS_LIMIT);
        ConfigError::check("in_flight_events_max", events, 1..=most)?;
        if let Some(partitions) = self.partitions {
            ConfigError::check("partitions", partitions, 1..=100_000)?;
        }
        self.check_interjections()?;
        self.check_jobs()?;
        let leave = Duration::ZERO..=LEAVE_TIMEOUT_MAX;
        ConfigError::check_duration("leave_timeout", self.leave_timeout, leave)?;
        let outage = OUTAGE_TIMEOUT_MIN..=OUTAGE_TIMEOUT_MAX;
        ConfigError::check_duration("outage_timeout", self.outage_timeout, outage)?;
        self.group.outage_timeout = self.outage_timeout;
        let stalled = STALLED_AFTER_MIN..=STALLED_AFTER_MAX;
        ConfigError::check_duration("stalled_after", self.stalled_after, stalled)?;
        ConfigError::check_duration("partition_check", self.growth.every, CHECK_MIN..=CHECK_MAX)?;
        let poll = MAX_POLL_INTERVAL_MIN..=MAX_POLL_INTERVAL_MAX;
        ConfigError::check_duration("max_poll_interval", self.max_poll_interval, poll)?;
        self.group.topics = vec![self.topic.clone()];
        self.group.seed = RandomState::new().hash_one(std::process::id());
        self.group.check()?;
        Ok(self)
    }

    pub(super) fn endpoint(&self) -> Endpoint {
        let plain = || Endpoint::plaintext(&self.cluster.bootstrap);
        self.endpoint.clone().unwrap_or_else(plain)
    }

    /// The instance's name, or one that nobody else has.
    pub(super) fn instance_name(&self) -> String {
        let named = self.group.instance_id.clone();
        let unnamed = || self.unnamed.as_ref().map(|name| name.as_str().to_owned());
        named.or_else(unnamed).unwrap_or_else(|| format!("{:016x}", self.group.seed))
    }

    pub(crate) fn changelog_name(&self) -> String {
        let generated = || format!("gkes_change_log_{}_{}", self.topic, self.group.group_id);
        self.changelog.clone().unwrap_or_else(generated)
    }

    /// The labels of the source's figures.
    pub(crate) fn labels(&self) -> SourceLabels {
        let group = Arc::from(self.group.group_id.as_str());
        SourceLabels { group, topic: Arc::from(self.topic.as_str()) }
    }

    /// What all handlers share.
    pub(crate) fn shared_by_all(&self) -> Arc<A::Shared> {
        super::shared::given(self.shared.clone())
    }

    /// The parts of a worker whose clients are made so.
    pub(crate) fn worker_parts<P, F>(
        &self,
        index: usize,
        make_producer: MakeProducer<P>,
        make_fetcher: MakeFetcher<F>,
        report: Box<dyn Fn(FromWorker) + Send>,
    ) -> WorkerParts<A, P, F> {
        let jobs = self.job_types();
        WorkerParts {
            index,
            eos: self.eos,
            in_flight_events_max: self.in_flight_events_max,
            schedulers: self.schedulers.clone(),
            group_id: Arc::from(self.group.group_id.as_str()),
            changelog: Arc::from(self.changelog_name()),
            changelog_tag: None,
            counts: self.partition_counts.clone(),
            offsets_missing: self.offsets_missing,
            changelog_missing: self.changelog_missing,
            errors: self.errors.clone(),
            dead_letter_topics: self.output_names().map(str::to_owned).collect(),
            on_unreadable: self.on_unreadable,
            interjections: self.all_scheduled(),
            shared: self.shared_by_all(),
            job_types: jobs.names().collect(),
            jobs: Arc::new(jobs),
            runner: None,
            stores: self.stores.clone(),
            propagate_trace_context: self.propagate_trace_context,
            seed: self.group.seed.wrapping_add(index as u64),
            outage_timeout: self.outage_timeout,
            stalled_after: self.stalled_after,
            make_producer,
            make_fetcher,
            callbacks: self.callbacks.clone(),
            labels: self.labels(),
            metrics: MetricsSink::direct(self.metrics_handler.clone()),
            pulse: Arc::default(),
            report,
        }
    }
}

/// The longest `group.instance.id`.
const INSTANCE_CHARS_MAX: usize = 249;

/// Returns true if Kafka takes the name as a `group.instance.id`: the rules are those of topics.
fn is_instance(name: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    !matches!(name, "" | "." | "..") && name.len() <= INSTANCE_CHARS_MAX && name.chars().all(legal)
}
