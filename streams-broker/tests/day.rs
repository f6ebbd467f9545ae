//! A day of virtual time with 50 members that join, beat, crash, come back and write in
//! transactions: what the cluster holds does not grow, but for the data.

use std::collections::HashMap;

use bytes::{Bytes, BytesMut};
use kafka_protocol::indexmap::IndexMap;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records::{
    Compression, Record, RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};
use streams_broker::cluster::{Cluster, Reply, RequestId, Settings, codes};

const MEMBERS: usize = 50;
const PARTITIONS: i32 = 10;
const SECONDS: i64 = 24 * 3_600;
const BEAT_MS: i64 = 10_000;
const TRANSACTION_MS: i64 = 60_000;

fn text(value: &str) -> StrBytes {
    StrBytes::from_string(value.to_owned())
}

fn group() -> GroupId {
    GroupId(text("g"))
}

/// Numbers that look random and are the same in each run (xorshift).
struct Random(u64);

impl Random {
    fn one_in(&mut self, n: u64) -> bool {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.is_multiple_of(n)
    }
}

/// What a member is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Away until then; it said nothing when it went.
    Crashed(i64),
    /// Its JoinGroup or SyncGroup waits.
    Waiting,
    Stable,
}

#[derive(Debug)]
struct Member {
    number: usize,
    phase: Phase,
    id: String,
    generation: i32,
    beat_at: i64,
    transaction_at: i64,
    producer: Option<(i64, i16)>,
}

struct Day {
    cluster: Cluster,
    random: Random,
    now: i64,
    next: u64,
    waiting: HashMap<RequestId, usize>,
    late: Vec<(RequestId, ResponseKind)>,
    committed: u64,
    crashes: u64,
    generations: i32,
}

impl Day {
    fn new() -> Self {
        let mut day = Self {
            cluster: Cluster::new(Settings::default()),
            random: Random(7),
            now: 1_700_000_000_000,
            next: 0,
            waiting: HashMap::new(),
            late: Vec::new(),
            committed: 0,
            crashes: 0,
            generations: 0,
        };
        let config = |(name, value): (&str, &str)| {
            CreatableTopicConfig::default().with_name(text(name)).with_value(Some(text(value)))
        };
        let configs = [("retention.ms", "3600000"), ("segment.ms", "600000")].map(config);
        let topic = CreatableTopic::default()
            .with_name(TopicName(text("t")))
            .with_num_partitions(PARTITIONS)
            .with_replication_factor(1)
            .with_configs(configs.to_vec());
        let request = CreateTopicsRequest::default().with_topics(vec![topic]);
        match day.ask(7, RequestKind::CreateTopics(request)) {
            ResponseKind::CreateTopics(r) => assert_eq!(r.topics[0].error_code, 0),
            other => panic!("{other:?}"),
        }
        day
    }

    fn send(&mut self, version: i16, request: RequestKind) -> RequestId {
        self.next += 1;
        let id = RequestId(self.next);
        self.cluster.handle(self.now, id, version, request);
        id
    }

    /// The response that comes at once. What waited for something else is dealt with.
    fn ask(&mut self, version: i16, request: RequestKind) -> ResponseKind {
        let id = self.send(version, request);
        let mut mine = None;
        let mut late = Vec::new();
        while let Some((of, reply)) = self.cluster.poll_reply() {
            match reply {
                Reply::Response(response) if of == id => mine = Some(*response),
                Reply::Response(response) => late.push((of, *response)),
                other => panic!("{other:?}"),
            }
        }
        self.late.extend(late);
        mine.expect("it comes at once")
    }

    fn join(&mut self, member: &mut Member) {
        let protocol = JoinGroupRequestProtocol::default().with_name(text("p"));
        let request = |id: &str| {
            JoinGroupRequest::default()
                .with_group_id(group())
                .with_session_timeout_ms(30_000)
                .with_rebalance_timeout_ms(60_000)
                .with_member_id(text(id))
                .with_protocol_type(text("consumer"))
                .with_protocols(vec![protocol.clone()])
        };
        if member.id.is_empty() {
            match self.ask(9, RequestKind::JoinGroup(request(""))) {
                ResponseKind::JoinGroup(r) => {
                    assert_eq!(r.error_code, codes::MEMBER_ID_REQUIRED);
                    member.id = r.member_id.to_string();
                }
                other => panic!("{other:?}"),
            }
        }
        let id = self.send(9, RequestKind::JoinGroup(request(&member.id)));
        self.waiting.insert(id, member.number);
        member.phase = Phase::Waiting;
    }

    /// A response that took its time.
    fn later(&mut self, member: &mut Member, response: ResponseKind) {
        if let Phase::Crashed(_) = member.phase {
            return;
        }
        match response {
            ResponseKind::JoinGroup(r) if r.error_code == 0 => {
                member.generation = r.generation_id;
                self.generations = self.generations.max(r.generation_id);
                let request = SyncGroupRequest::default()
                    .with_group_id(group())
                    .with_generation_id(r.generation_id)
                    .with_member_id(text(&member.id))
                    .with_protocol_type(Some(text("consumer")))
                    .with_protocol_name(Some(text("p")));
                let id = self.send(5, RequestKind::SyncGroup(request));
                self.waiting.insert(id, member.number);
            }
            ResponseKind::SyncGroup(r) if r.error_code == 0 => member.phase = Phase::Stable,
            ResponseKind::SyncGroup(r) if r.error_code == codes::REBALANCE_IN_PROGRESS => {
                self.join(member);
            }
            ResponseKind::JoinGroup(_) | ResponseKind::SyncGroup(_) => {
                member.id.clear();
                self.join(member);
            }
            other => panic!("{other:?}"),
        }
    }

    fn beat(&mut self, member: &mut Member) {
        let request = HeartbeatRequest::default()
            .with_group_id(group())
            .with_generation_id(member.generation)
            .with_member_id(text(&member.id));
        match self.ask(4, RequestKind::Heartbeat(request)) {
            ResponseKind::Heartbeat(r) if r.error_code == 0 => {}
            ResponseKind::Heartbeat(r) => {
                if r.error_code != codes::REBALANCE_IN_PROGRESS {
                    member.id.clear();
                }
                self.join(member);
            }
            other => panic!("{other:?}"),
        }
    }

    /// A transaction of one record and one offset. Some are aborted, some left behind.
    fn transaction(&mut self, member: &mut Member) {
        let transactional_id = TransactionalId(text(&format!("g-{}", member.number)));
        let partition = member.number as i32 % PARTITIONS;
        let producer = match member.producer {
            Some(producer) => producer,
            None => {
                let request = InitProducerIdRequest::default()
                    .with_transactional_id(Some(transactional_id.clone()))
                    .with_transaction_timeout_ms(60_000);
                match self.ask(4, RequestKind::InitProducerId(request)) {
                    ResponseKind::InitProducerId(r) if r.error_code == 0 => {
                        (r.producer_id.0, r.producer_epoch)
                    }
                    // What it left open is being aborted: next time.
                    _ => return,
                }
            }
        };
        member.producer = Some(producer);
        let data = PartitionProduceData::default()
            .with_index(partition)
            .with_records(Some(batch(producer, self.now)));
        let data = TopicProduceData::default()
            .with_name(TopicName(text("t")))
            .with_partition_data(vec![data]);
        let request = ProduceRequest::default()
            .with_transactional_id(Some(transactional_id.clone()))
            .with_acks(-1)
            .with_topic_data(vec![data]);
        let ResponseKind::Produce(r) = self.ask(12, RequestKind::Produce(request)) else {
            panic!("another response");
        };
        if r.responses[0].partition_responses[0].error_code != 0 || self.random.one_in(200) {
            // Fenced by its own timeout, or gone in the middle: a new epoch next time.
            member.producer = None;
            return;
        }
        let committed = TxnOffsetCommitRequestPartition::default()
            .with_partition_index(partition)
            .with_committed_offset(1)
            .with_committed_metadata(None);
        let committed = TxnOffsetCommitRequestTopic::default()
            .with_name(TopicName(text("t")))
            .with_partitions(vec![committed]);
        let request = TxnOffsetCommitRequest::default()
            .with_transactional_id(transactional_id.clone())
            .with_group_id(group())
            .with_producer_id(producer.0.into())
            .with_producer_epoch(producer.1)
            .with_generation_id(member.generation)
            .with_member_id(text(&member.id))
            .with_topics(vec![committed]);
        let fenced = match self.ask(5, RequestKind::TxnOffsetCommit(request)) {
            ResponseKind::TxnOffsetCommit(r) => r.topics[0].partitions[0].error_code != 0,
            other => panic!("{other:?}"),
        };
        let commit = !fenced && !self.random.one_in(10);
        let request = EndTxnRequest::default()
            .with_transactional_id(transactional_id)
            .with_producer_id(producer.0.into())
            .with_producer_epoch(producer.1)
            .with_committed(commit);
        match self.ask(5, RequestKind::EndTxn(request)) {
            ResponseKind::EndTxn(r) => {
                assert_eq!(r.error_code, 0);
                self.committed += u64::from(commit);
                member.producer = Some((r.producer_id.0, r.producer_epoch));
            }
            other => panic!("{other:?}"),
        }
    }

    fn act(&mut self, member: &mut Member) {
        match member.phase {
            Phase::Crashed(until) if self.now >= until => {
                member.id.clear();
                self.join(member);
            }
            Phase::Crashed(_) | Phase::Waiting => {}
            Phase::Stable if self.now >= member.beat_at => {
                member.beat_at = self.now + BEAT_MS;
                if self.random.one_in(2_000) {
                    member.phase = Phase::Crashed(self.now + 45_000);
                    member.producer = None;
                    self.crashes += 1;
                } else {
                    self.beat(member);
                }
            }
            Phase::Stable if self.now >= member.transaction_at => {
                member.transaction_at = self.now + TRANSACTION_MS;
                self.transaction(member);
            }
            Phase::Stable => {}
        }
    }

    /// A second passes.
    fn step(&mut self, members: &mut [Member]) {
        self.now += 1_000;
        self.cluster.handle_timeout(self.now);
        let next = self.cluster.poll_timeout();
        assert!(next.is_none_or(|next| next > self.now), "nothing that is due is left");
        for member in members.iter_mut() {
            self.act(member);
        }
        loop {
            while let Some((id, reply)) = self.cluster.poll_reply() {
                match reply {
                    Reply::Response(response) => self.late.push((id, *response)),
                    other => panic!("{other:?}"),
                }
            }
            let Some((id, response)) = self.late.pop() else {
                return;
            };
            let number = self.waiting.remove(&id).expect("somebody waits for it");
            self.later(&mut members[number], response);
        }
    }
}

fn batch(producer: (i64, i16), now: i64) -> Bytes {
    let record = Record {
        transactional: true,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: -1,
        producer_id: producer.0,
        producer_epoch: producer.1,
        timestamp_type: TimestampType::Creation,
        offset: 0,
        sequence: 0,
        timestamp: now,
        key: None,
        value: Some(Bytes::from_static(&[b'x'; 100])),
        headers: IndexMap::new(),
    };
    let mut batch = BytesMut::new();
    let options = RecordEncodeOptions { version: 2, compression: Compression::None };
    RecordBatchEncoder::encode(&mut batch, &[record], &options).expect("it can be written");
    batch.freeze()
}

/// The process's resident memory, in bytes, where the system says it.
fn resident() -> Option<usize> {
    let pages = std::fs::read_to_string("/proc/self/statm").ok()?;
    pages.split_whitespace().nth(1)?.parse::<usize>().ok().map(|pages| pages * 4_096)
}

#[test]
fn nothing_grows_in_a_day_but_the_data() {
    let mut day = Day::new();
    let member = |number| Member {
        number,
        phase: Phase::Crashed(0),
        id: String::new(),
        generation: 0,
        beat_at: 0,
        transaction_at: 0,
        producer: None,
    };
    let mut members: Vec<Member> = (0..MEMBERS).map(member).collect();
    let (mut early, mut early_resident, mut late) = (0, None, 0);
    for second in 0..SECONDS {
        day.step(&mut members);
        if second % 600 == 0 {
            day.cluster.check_invariants();
            let status = day.cluster.status();
            assert_eq!(status.groups.len(), 1);
            assert!(status.groups[0].members <= MEMBERS && day.waiting.len() <= 2 * MEMBERS);
            assert!(status.open_transactions.len() <= MEMBERS);
            match second {
                7_200..=43_200 => early = early.max(status.records_bytes),
                43_201.. => late = late.max(status.records_bytes),
                _ => {}
            }
            if second == 14_400 {
                early_resident = resident();
            }
        }
    }
    assert!(day.committed > 50_000 && day.crashes > 100 && day.generations > 200);
    assert!(late <= early + early / 5, "{early} bytes of records at most, then {late}");
    if let (Some(before), Some(after)) = (early_resident, resident()) {
        let grown = after.saturating_sub(before);
        assert!(grown < 16 << 20, "{grown} bytes more than after four hours");
    }
    // All go without a word: the sessions end, and so do the transactions.
    day.now += 3_600_000;
    day.cluster.handle_timeout(day.now);
    let status = day.cluster.status();
    assert_eq!((status.groups[0].state, status.groups[0].members), ("Empty", 0));
    assert_eq!(status.open_transactions, Vec::<String>::new());
}
