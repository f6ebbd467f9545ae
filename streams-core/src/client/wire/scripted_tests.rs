//! The wire client against brokers that answer by a script: topics that are not ready yet, and a
//! controller elsewhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{
    ApiKey, ApiVersionsResponse, BrokerId, CreatePartitionsResponse, CreateTopicsResponse,
    MetadataResponse, RequestHeader, RequestKind, ResponseHeader, ResponseKind, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

use super::admin::{Admin, NewTopic, UNKNOWN_TOPIC_OR_PARTITION, text};
use super::{ClientError, Endpoint};
use crate::error::Cause;

const NONE: i16 = 0;
const TOPIC_ALREADY_EXISTS: i16 = 36;
const NOT_CONTROLLER: i16 = 41;
const SASL_AUTHENTICATION_FAILED: i16 = 58;

/// The kinds of requests that the brokers know, and the highest version of each.
const KNOWN: [(ApiKey, i16); 4] = [
    (ApiKey::Metadata, 12),
    (ApiKey::ApiVersions, 3),
    (ApiKey::CreateTopics, 5),
    (ApiKey::CreatePartitions, 3),
];

trait Script: Fn(&RequestKind) -> Option<ResponseKind> + Send + Sync + 'static {}

impl<F: Fn(&RequestKind) -> Option<ResponseKind> + Send + Sync + 'static> Script for F {}

/// Starts a broker that answers by `script`, and closes the connection where that has no answer.
async fn broker(script: impl Script) -> (String, i32) {
    let (address, port, _) = mortal_broker(script).await;
    (address, port)
}

/// The same; the handle ends the broker for new connections.
async fn mortal_broker(script: impl Script) -> (String, i32, AbortHandle) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let script = Arc::new(script);
    let accepts = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, Arc::clone(&script)));
        }
    });
    (format!("127.0.0.1:{port}"), i32::from(port), accepts.abort_handle())
}

async fn serve(mut stream: TcpStream, script: Arc<impl Script>) -> Option<()> {
    loop {
        let length = usize::try_from(stream.read_i32().await.ok()?).ok()?;
        let mut frame = vec![0; length];
        stream.read_exact(&mut frame).await.ok()?;
        let mut frame = Bytes::from(frame);
        let (key, version) = ((&frame[0..2]).get_i16(), (&frame[2..4]).get_i16());
        let api = ApiKey::try_from(key).ok()?;
        let header = RequestHeader::decode(&mut frame, api.request_header_version(version)).ok()?;
        let request = RequestKind::decode(api, &mut frame, version).ok()?;
        let response = match request {
            RequestKind::ApiVersions(_) => ResponseKind::ApiVersions(api_versions()),
            other => script(&other)?,
        };
        let mut reply = BytesMut::new();
        reply.put_i32(0);
        let answered = ResponseHeader::default().with_correlation_id(header.correlation_id);
        answered.encode(&mut reply, response.header_version(version)).ok()?;
        response.encode(&mut reply, version).ok()?;
        let length = i32::try_from(reply.len() - 4).ok()?;
        reply[..4].copy_from_slice(&length.to_be_bytes());
        stream.write_all(&reply).await.ok()?;
    }
}

fn api_versions() -> ApiVersionsResponse {
    let known = |(api, max): &(ApiKey, i16)| {
        ApiVersion::default().with_api_key(*api as i16).with_min_version(0).with_max_version(*max)
    };
    ApiVersionsResponse::default().with_api_keys(KNOWN.iter().map(known).collect())
}

/// A cluster of one broker, which is the controller, with the topic `t`.
fn metadata(port: i32, code: i16, leaders: &[i32]) -> Option<ResponseKind> {
    let broker = MetadataResponseBroker::default().with_node_id(BrokerId(1));
    let broker = broker.with_host(text("127.0.0.1")).with_port(port);
    let partition = |(index, leader): (i32, &i32)| {
        let partition = MetadataResponsePartition::default().with_partition_index(index);
        partition.with_leader_id(BrokerId(*leader))
    };
    let topic = MetadataResponseTopic::default()
        .with_error_code(code)
        .with_name(Some(TopicName(text("t"))))
        .with_partitions((0..).zip(leaders).map(partition).collect());
    let response = MetadataResponse::default().with_controller_id(BrokerId(1));
    let response = response.with_brokers(vec![broker]).with_topics(vec![topic]);
    Some(ResponseKind::Metadata(response))
}

fn created(code: i16) -> Option<ResponseKind> {
    let result = CreatableTopicResult::default().with_name(TopicName(text("t")));
    let response = CreateTopicsResponse::default();
    let topics = vec![result.with_error_code(code)];
    Some(ResponseKind::CreateTopics(response.with_topics(topics)))
}

fn grown(code: i16) -> Option<ResponseKind> {
    let result = CreatePartitionsTopicResult::default().with_name(TopicName(text("t")));
    let response = CreatePartitionsResponse::default();
    let results = vec![result.with_error_code(code)];
    Some(ResponseKind::CreatePartitions(response.with_results(results)))
}

fn admin(address: &str) -> Admin {
    Admin::new(&Endpoint::plaintext(address))
}

fn new_topic() -> NewTopic {
    let (name, configs) = ("t".to_owned(), std::collections::BTreeMap::new());
    NewTopic { name, partitions: 2, replication_factor: 1, configs }
}

#[tokio::test]
async fn c3_a_topic_without_partitions_is_not_ready_and_not_empty() {
    let (address, _) = broker(|_| metadata(0, NONE, &[])).await;
    let error = admin(&address).topic("t").await.unwrap_err();
    assert_eq!(error.cause(), Cause::Outage, "{error}");
    let text = error.to_string();
    assert!(text.contains("describing topic `t`: LEADER_NOT_AVAILABLE (5)"), "{text}");
    let counts = admin(&address).counts(&["t".to_owned()].into()).await.unwrap();
    assert_eq!(counts["t"], Err(5));
}

/// Another member has created the topic, and the brokers hear of it step by step.
#[tokio::test]
async fn c3_a_topic_that_another_member_has_just_created_is_waited_for() {
    let asked = Arc::new(AtomicUsize::new(0));
    let times = Arc::clone(&asked);
    let (address, _) = broker(move |request| match request {
        RequestKind::CreateTopics(_) => created(TOPIC_ALREADY_EXISTS),
        _ => match times.fetch_add(1, Ordering::Relaxed) {
            0 => metadata(9, UNKNOWN_TOPIC_OR_PARTITION, &[]),
            1 => metadata(9, NONE, &[]),
            2 => metadata(9, NONE, &[1, -1]),
            _ => metadata(9, NONE, &[1, 1]),
        },
    })
    .await;
    let is_new = admin(&address).create_topic(&new_topic()).await.unwrap();
    assert!(!is_new);
    assert_eq!(asked.load(Ordering::Relaxed), 4);
}

#[tokio::test]
async fn c3_topics_are_created_and_grown_by_the_controller() {
    let (_, controller) = broker(|request| match request {
        RequestKind::CreateTopics(_) => created(NONE),
        RequestKind::CreatePartitions(_) => grown(NONE),
        _ => None,
    })
    .await;
    let (address, _) = broker(move |request| match request {
        RequestKind::CreateTopics(_) => created(NOT_CONTROLLER),
        RequestKind::CreatePartitions(_) => grown(NOT_CONTROLLER),
        _ => metadata(controller, NONE, &[1, 1]),
    })
    .await;
    assert!(admin(&address).create_topic(&new_topic()).await.unwrap());
    admin(&address).grow_topic("t", 2).await.unwrap();
}

#[tokio::test]
async fn c3_an_error_without_an_answer_names_the_step() {
    let (address, _) = broker(|_| None).await;
    let mut admin = admin(&address);
    assert!(!admin.has_answered());
    let error = admin.create_topic(&new_topic()).await.unwrap_err();
    assert!(admin.has_answered(), "the broker answered ApiVersions");
    assert!(matches!(error, ClientError::During { .. }), "{error:?}");
    assert_eq!(error.cause(), Cause::Outage);
    let text = error.to_string();
    assert!(text.starts_with("creating topic `t`: the connection to 127.0.0.1:"), "{text}");
}

#[tokio::test]
async fn c3_refused_credentials_are_no_missing_topic() {
    let (address, _) = broker(|_| metadata(9, SASL_AUTHENTICATION_FAILED, &[])).await;
    let error = admin(&address).topic("t").await.unwrap_err();
    assert_eq!(error.cause(), Cause::Access, "{error}");
}

/// The settings name one broker, and the cluster has another.
#[tokio::test]
async fn c3_a_cluster_is_found_again_when_the_broker_of_the_settings_is_dead() {
    let (_, other) = broker(|_| metadata(9, NONE, &[1, 1])).await;
    let is_dead = Arc::new(AtomicBool::new(false));
    let dies = Arc::clone(&is_dead);
    let (address, _, accepts) = mortal_broker(move |_| match dies.load(Ordering::Relaxed) {
        true => None,
        false => metadata(other, NONE, &[1, 1]),
    })
    .await;
    let endpoint = Endpoint::plaintext(&address);
    let mut admin = Admin::new(&endpoint);
    assert!(admin.topic("t").await.unwrap().is_some());
    is_dead.store(true, Ordering::Relaxed);
    accepts.abort();
    admin.topic("t").await.expect_err("the connection breaks");
    assert!(admin.topic("t").await.unwrap().is_some());
    let mut another = Admin::new(&endpoint.clone());
    assert!(another.topic("t").await.unwrap().is_some(), "the clients share what they know");
    let unknown = Admin::new(&Endpoint::plaintext(&address)).topic("t").await;
    unknown.expect_err("without that, the cluster is not found");
}
