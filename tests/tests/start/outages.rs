//! A cluster that goes away while a source starts, or while a member takes partitions over (C3).

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use streams_broker::Broker;
use streams_broker::cluster::codes::SASL_AUTHENTICATION_FAILED;
use streams_core::prelude::*;
use streams_core::record::partition_for_key;
use streams_core::{EventProducer, RunningSource, SourceBuilder, SourceError, SourceState};
use streams_tests::oracle::read_committed;
use streams_tests::proxy::{Lost, Proxy, ProxyFault};

use crate::app::{CHANGELOG, PATIENCE, Word, end, words};

const LIST_OFFSETS: i16 = 2;
const METADATA: i16 = 3;
const CREATE_TOPICS: i16 = 19;

/// How long the broker is away: the client looks for a broker for five seconds.
const AWAY: Duration = Duration::from_secs(6);
/// Longer than the client tries one request again by itself.
const LONG: Duration = Duration::from_secs(12);
const REPORTED_WITHIN: Duration = Duration::from_secs(10);

/// A broker that all clients reach through a proxy.
struct Behind {
    proxy: Proxy,
    bootstrap: String,
    _broker: Broker,
}

impl Behind {
    fn new(partitions: i32) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let sessions = Duration::from_secs(1)..=Duration::from_secs(1_800);
        let broker = Broker::builder().group_session_timeouts(sessions);
        let broker = broker.advertise("127.0.0.1", address.port());
        let broker = broker.topic("input", partitions).topic("output", 1).start().unwrap();
        let proxy = Proxy::serve_at(listener, broker.bootstrap()).unwrap();
        Self { proxy, bootstrap: address.to_string(), _broker: broker }
    }

    fn words(&self) -> SourceBuilder<words::Source> {
        let builder = words::Source::builder().bootstrap(&self.bootstrap).group("g");
        builder.topic("input").changelog(CHANGELOG).instance("a").leave_timeout(Duration::ZERO)
    }

    /// The broker goes away when it is asked like this.
    fn goes_away_at(&self, api: i16, skip: u32, lost: Lost) {
        self.proxy.inject(ProxyFault { api, skip, lost });
    }

    fn say(&self, key: &str, word: &str) {
        let producer = EventProducer::new(&self.bootstrap, Topic::<Word>::new("input")).unwrap();
        producer.send(key, &Word::Say(word.to_owned())).unwrap();
        producer.flush(PATIENCE).unwrap();
    }

    fn outputs(&self, at_least: usize) -> Vec<String> {
        let read = read_committed(&self.bootstrap, "output", at_least, PATIENCE).unwrap();
        read.into_iter().map(|value| String::from_utf8(value).unwrap()).collect()
    }
}

fn await_that(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The broker goes away in the middle of a start, and comes back: the source starts, and works.
fn starts_over_an_outage(api: i16, skip: u32, lost: Lost) {
    let world = Behind::new(1);
    world.goes_away_at(api, skip, lost);
    let builder = world.words();
    let start = std::thread::spawn(move || builder.start());
    await_that("the broker goes away", || world.proxy.is_cut());
    std::thread::sleep(AWAY);
    assert!(!start.is_finished(), "the start does not wait");
    world.proxy.restore();
    let source = start.join().unwrap().unwrap();
    world.say("key", "a");
    assert_eq!(world.outputs(1), ["a=1"]);
    end(source);
}

#[test]
fn c3_a_broker_goes_away_before_it_creates_a_topic() {
    starts_over_an_outage(CREATE_TOPICS, 0, Lost::Broker);
}

#[test]
fn c3_a_broker_goes_away_after_it_has_created_a_topic() {
    starts_over_an_outage(CREATE_TOPICS, 0, Lost::BrokerAndReply);
}

/// The source has asked for its two topics before it creates one of them.
#[test]
fn c3_a_broker_goes_away_before_a_new_topic_appears() {
    starts_over_an_outage(METADATA, 2, Lost::Broker);
}

#[test]
fn c3_a_broker_is_silent_while_it_creates_a_topic() {
    let world = Behind::new(1);
    world.goes_away_at(CREATE_TOPICS, 0, Lost::Silently);
    let source = world.words().start().unwrap();
    assert_eq!(world.proxy.pending(), 0, "the request is lost");
    end(source);
}

#[test]
fn c3_a_start_reports_an_outage_that_lasts_for_too_long() {
    let world = Behind::new(1);
    world.goes_away_at(CREATE_TOPICS, 0, Lost::Broker);
    let (started, timeout) = (Instant::now(), Duration::from_secs(3));
    let error = world.words().outage_timeout(timeout).start().unwrap_err();
    assert!(matches!(error, SourceError::Outage { .. }), "{error:?}");
    let text = error.to_string();
    for says in ["for 3s (`outage_timeout`)", "describing topic `input`", &world.bootstrap] {
        assert!(text.contains(says), "{says}: {text}");
    }
    let waited = started.elapsed();
    assert!(waited >= timeout && waited < timeout + REPORTED_WITHIN, "{waited:?}");
}

/// The port accepts connections, and no broker speaks there.
#[test]
fn c3_a_start_that_reaches_no_broker_does_not_wait_for_one() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let started = Instant::now();
    let builder = words::Source::builder().bootstrap(&address).group("g").topic("input");
    let text = builder.start().unwrap_err().to_string();
    assert!(started.elapsed() < REPORTED_WITHIN, "{:?}", started.elapsed());
    assert!(text.contains("no broker answers") && text.contains(&address), "{text}");
}

/// Answers every request as ApiVersions, version 3, with an error code and nothing else.
fn refuse_all(listener: &TcpListener, code: i16) -> std::io::Result<()> {
    for stream in listener.incoming() {
        let mut stream = stream?;
        let mut length = [0; 4];
        stream.read_exact(&mut length)?;
        let mut request = vec![0; usize::try_from(i32::from_be_bytes(length)).unwrap_or(0)];
        stream.read_exact(&mut request)?;
        let correlation_id = &request[4..8];
        let (no_apis, throttle, no_tags) = ([1], [0; 4], [0]);
        let parts = [correlation_id, &code.to_be_bytes(), &no_apis, &throttle, &no_tags];
        let body = parts.concat();
        let length = i32::try_from(body.len()).unwrap_or(0).to_be_bytes();
        stream.write_all(&[&length[..], &body].concat())?;
    }
    Ok(())
}

#[test]
fn c3_refused_credentials_are_reported_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || refuse_all(&listener, SASL_AUTHENTICATION_FAILED));
    let started = Instant::now();
    let builder = words::Source::builder().bootstrap(&address).group("g").topic("input");
    let text = builder.start().unwrap_err().to_string();
    assert!(started.elapsed() < REPORTED_WITHIN / 5, "{:?}", started.elapsed());
    assert!(text.contains("SASL_AUTHENTICATION_FAILED (58)"), "{text}");
}

/// A key of this partition, of two.
fn key_of(partition: i32) -> String {
    let key =
        (0..).map(|n| format!("key-{n}")).find(|k| partition_for_key(k.as_bytes(), 2) == partition);
    key.unwrap()
}

/// The partitions that each of two members has, once each has one.
fn one_each(members: [&RunningSource<words::Source>; 2]) -> [i32; 2] {
    let active = |member: &RunningSource<words::Source>| member.active_partitions();
    await_that("each member has a partition", || members.iter().all(|m| active(m).len() == 1));
    members.map(|member| active(member).into_iter().next().unwrap())
}

#[test]
fn c3_a_take_over_waits_out_an_outage_while_other_partitions_continue() {
    let world = Behind::new(2);
    let stays = world.words().start().unwrap();
    let leaves = world.words().instance("b").start().unwrap();
    let [kept, moved] = one_each([&stays, &leaves]);
    world.say(&key_of(moved), "moved");
    assert_eq!(world.outputs(1), ["moved=1"]);
    world.proxy.refuse("streams-core", LIST_OFFSETS);
    end(leaves);
    let (refused, mut said) = (Instant::now(), 0);
    while refused.elapsed() < LONG {
        said += 1;
        world.say(&key_of(kept), "kept");
        assert_eq!(world.outputs(1 + said)[said], format!("kept={said}"));
        std::thread::sleep(Duration::from_millis(500));
    }
    assert_eq!(stays.state(), SourceState::Stalled, "{:?}", stays.failure());
    let stalls = stays.stalled_partitions();
    let reason = stalls.get(&moved).map(|stall| stall.reason.clone()).unwrap_or_default();
    assert!(reason.contains("asking for the offsets"), "{stalls:?}");
    assert!(!stays.active_partitions().contains(&moved));
    world.proxy.restore();
    assert!(stays.wait_for_active(2, PATIENCE));
    world.say(&key_of(moved), "moved");
    let outputs = world.outputs(2 + said);
    assert_eq!(outputs[1 + said..], ["moved=2"]);
    assert_eq!(stays.state(), SourceState::Healthy);
    end(stays);
}

/// The member has lost its session when the broker comes back.
#[test]
fn c3_a_broker_that_is_away_during_a_take_over_ends_no_source() {
    let world = Behind::new(2);
    let stays = world.words().start().unwrap();
    let leaves = world.words().instance("b").start().unwrap();
    one_each([&stays, &leaves]);
    world.proxy.refuse("streams-core", LIST_OFFSETS);
    end(leaves);
    // The group assigns the partition at once, and its take-over fails.
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(stays.active_partitions().len(), 1);
    world.proxy.cut();
    std::thread::sleep(LONG);
    assert_eq!(stays.failure(), None);
    world.proxy.restore();
    assert!(stays.wait_for_active(2, PATIENCE), "{:?}", stays.stalled_partitions());
    (0..2).for_each(|partition| world.say(&key_of(partition), "both"));
    assert_eq!(world.outputs(2), ["both=1", "both=1"]);
    await_that("it is healthy", || stays.state() == SourceState::Healthy);
    end(stays);
}
