//! The shell from outside: garbage, silence, many connections, a clock, an end without remains.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::{
    ApiKey, ApiVersionsRequest, FetchRequest, GroupId, JoinGroupRequest, MetadataRequest,
    MetadataResponse, RequestHeader, ResponseHeader, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use streams_broker::{Broker, ManualClock, Status};

type Result<T = ()> = anyhow::Result<T>;

const PATIENCE: Duration = Duration::from_secs(20);

fn connect(broker: &Broker) -> Result<TcpStream> {
    let stream = TcpStream::connect(broker.bootstrap())?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn frame(api: ApiKey, version: i16, request: &impl Encodable) -> Result<Bytes> {
    let mut bytes = BytesMut::new();
    bytes.put_i32(0);
    let header = RequestHeader::default()
        .with_request_api_key(api as i16)
        .with_request_api_version(version)
        .with_correlation_id(7)
        .with_client_id(Some(StrBytes::from_static_str("test")));
    header.encode(&mut bytes, api.request_header_version(version))?;
    request.encode(&mut bytes, version)?;
    let length = (bytes.len() - 4) as i32;
    bytes[..4].copy_from_slice(&length.to_be_bytes());
    Ok(bytes.freeze())
}

fn answer(stream: &mut TcpStream) -> Result<Bytes> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut bytes = vec![0; i32::from_be_bytes(length) as usize];
    stream.read_exact(&mut bytes)?;
    Ok(bytes.into())
}

fn metadata(stream: &mut TcpStream) -> Result<MetadataResponse> {
    let request = MetadataRequest::default().with_topics(None);
    stream.write_all(&frame(ApiKey::Metadata, 9, &request)?)?;
    let mut bytes = answer(stream)?;
    let header = ResponseHeader::decode(&mut bytes, 1)?;
    anyhow::ensure!(header.correlation_id == 7);
    MetadataResponse::decode(&mut bytes, 9)
}

/// Waits until the connection is closed from the other side.
fn is_closed(stream: &mut TcpStream) -> bool {
    match stream.read(&mut [0; 16]) {
        Ok(read) => read == 0,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

fn wait_for(broker: &Broker, what: impl Fn(&Status) -> bool) -> Result {
    let until = Instant::now() + PATIENCE;
    while !what(&broker.status()?) {
        anyhow::ensure!(Instant::now() < until, "{}", broker.status()?);
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Numbers that look random and are the same in each run (xorshift).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

#[test]
fn garbage_closes_its_own_connection_and_nothing_else() -> Result {
    let broker = Broker::builder().topic("t", 1).start()?;
    let mut witness = connect(&broker)?;
    let mut random = Random(42);
    let whole = [
        frame(ApiKey::Metadata, 9, &MetadataRequest::default())?,
        frame(ApiKey::Fetch, 12, &FetchRequest::default())?,
        frame(ApiKey::JoinGroup, 9, &JoinGroupRequest::default())?,
        frame(ApiKey::ApiVersions, 3, &ApiVersionsRequest::default())?,
    ];
    for round in 0..600 {
        let mut bytes = BytesMut::from(&whole[round % whole.len()][..]);
        match round % 5 {
            // Noise from the first byte on, or behind a length that fits.
            0 => (0..bytes.len()).for_each(|at| bytes[at] = random.next() as u8),
            1 => (8..bytes.len()).for_each(|at| bytes[at] = random.next() as u8),
            2 => bytes.truncate(random.below(bytes.len())),
            // A wrong API or version; then bits that fell over.
            3 => bytes[4..8].copy_from_slice(&(random.next() as u32).to_be_bytes()),
            _ => {
                let at = 4 + random.below(bytes.len() - 4);
                bytes[at] ^= 1 << random.below(8);
            }
        }
        let mut stream = connect(&broker)?;
        // It may be closed while we still write.
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        while matches!(stream.read(&mut [0; 1024]), Ok(read) if read > 0) {}
        if round % 100 == 0 {
            assert_eq!(metadata(&mut witness)?.topics.len(), 1);
        }
    }
    assert_eq!(metadata(&mut witness)?.topics.len(), 1);
    Ok(())
}

#[test]
fn what_claims_to_be_huge_takes_no_memory() -> Result {
    let broker = Broker::builder().topic("t", 1).start()?;
    let mut witness = connect(&broker)?;
    metadata(&mut witness)?;
    let before = broker.status()?.resident_bytes;
    let mut held = Vec::new();
    for n in 0..200_i32 {
        let mut stream = connect(&broker)?;
        match n % 4 {
            // Lengths that no request may have; one that is promised and doesn't come.
            0 => stream.write_all(&i32::MAX.to_be_bytes())?,
            1 => stream.write_all(&(-1_i32).to_be_bytes())?,
            2 => stream.write_all(&(100_i32 << 20).to_be_bytes())?,
            // An array of two thousand million topics.
            _ => {
                let mut bytes =
                    BytesMut::from(&frame(ApiKey::Metadata, 0, &MetadataRequest::default())?[..]);
                let at = bytes.len() - 4;
                bytes[at..].copy_from_slice(&i32::MAX.to_be_bytes());
                stream.write_all(&bytes)?;
            }
        }
        if n % 4 != 2 {
            assert!(is_closed(&mut stream), "{n}");
        }
        held.push(stream);
    }
    metadata(&mut witness)?;
    let after = broker.status()?.resident_bytes;
    if let (Some(before), Some(after)) = (before, after) {
        let grown = after.saturating_sub(before);
        assert!(grown < 64 << 20, "{grown} bytes more");
    }
    Ok(())
}

#[test]
fn a_thousand_silent_connections_are_one_among_others() -> Result {
    let broker = Broker::builder().topic("t", 1).connections_max(1_010).start()?;
    let mut witness = connect(&broker)?;
    let silent: Vec<TcpStream> = (0..1_000).map(|_| connect(&broker)).collect::<Result<_>>()?;
    wait_for(&broker, |status| status.connections == 1_001)?;
    let began = Instant::now();
    for _ in 0..100 {
        metadata(&mut witness)?;
    }
    assert!(began.elapsed() < PATIENCE);
    // The limit: what is beyond it is closed at once, and there is room when others have gone.
    let mut more: Vec<TcpStream> = (0..10).map(|_| connect(&broker)).collect::<Result<_>>()?;
    let refused = more.pop().map(|mut last| is_closed(&mut last));
    assert_eq!(refused, Some(true));
    drop((silent, more));
    wait_for(&broker, |status| status.connections == 1)?;
    metadata(&mut connect(&broker)?)?;
    assert_eq!(broker.status()?.connections_refused, 1);
    Ok(())
}

#[test]
fn an_unknown_version_of_api_versions_is_answered_and_any_other_is_not() -> Result {
    let broker = Broker::builder().start()?;
    let mut stream = connect(&broker)?;
    let mut bytes =
        BytesMut::from(&frame(ApiKey::ApiVersions, 3, &ApiVersionsRequest::default())?[..]);
    bytes[6..8].copy_from_slice(&99_i16.to_be_bytes());
    stream.write_all(&bytes)?;
    let answer = answer(&mut stream)?;
    assert_eq!(answer[4..6], 35_i16.to_be_bytes(), "UNSUPPORTED_VERSION, in version 0");
    metadata(&mut stream)?;
    let mut bytes = BytesMut::from(&frame(ApiKey::Metadata, 9, &MetadataRequest::default())?[..]);
    bytes[6..8].copy_from_slice(&99_i16.to_be_bytes());
    stream.write_all(&bytes)?;
    assert!(is_closed(&mut stream));
    Ok(())
}

#[test]
fn time_passes_when_the_test_says_so() -> Result {
    let clock = ManualClock::new(1_000_000);
    let broker = Broker::builder().clock(clock.clone()).start()?;
    let mut stream = connect(&broker)?;
    // An id is promised for as long as the session would be.
    let join = JoinGroupRequest::default()
        .with_group_id(GroupId(StrBytes::from_static_str("g")))
        .with_session_timeout_ms(10_000)
        .with_protocol_type(StrBytes::from_static_str("consumer"))
        .with_protocols(vec![Default::default()]);
    stream.write_all(&frame(ApiKey::JoinGroup, 3, &join)?)?;
    answer(&mut stream)?;
    wait_for(&broker, |status| status.cluster.groups[0].members == 1)?;
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(broker.status()?.cluster.groups[0].members, 1);
    clock.advance(Duration::from_secs(11));
    wait_for(&broker, |status| status.cluster.groups[0].state == "Empty")
}

#[test]
fn nothing_is_left_when_it_is_dropped() -> Result {
    let threads = || {
        let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
        let name = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("comm"));
        tasks.flat_map(name).filter(|name| name.trim() == "streams-broker").count()
    };
    let broker = Broker::builder().topic("t", 1).start()?;
    let address = broker.bootstrap();
    let mut stream = connect(&broker)?;
    metadata(&mut stream)?;
    let (running, mut parked) = (threads(), connect(&broker)?);
    // A fetch of no partition would be answered at once.
    let partition = FetchPartition::default().with_partition_max_bytes(1 << 20);
    let topic = FetchTopic::default()
        .with_topic(TopicName(StrBytes::from_static_str("t")))
        .with_partitions(vec![partition]);
    let wait =
        FetchRequest::default().with_max_wait_ms(60_000).with_min_bytes(1).with_topics(vec![topic]);
    parked.write_all(&frame(ApiKey::Fetch, 12, &wait)?)?;
    wait_for(&broker, |status| status.connections == 2)?;
    drop(broker);
    assert!(is_closed(&mut stream) && is_closed(&mut parked));
    assert!(TcpStream::connect(&address).is_err(), "the port is free");
    let again = Broker::builder().listen(&address).start()?;
    metadata(&mut connect(&again)?)?;
    // Other tests have brokers of their own.
    assert!(threads() <= running + 8);
    Ok(())
}
