//! Compaction, retention, DeleteRecords, memory, timestamps: what a log keeps.

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsTopic,
};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::*;
use kafka_protocol::records::{
    Compression, Record, RecordBatchDecoder, RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};

use super::client::{Protocol, batch_of, text};
use super::*;

const DAY_MS: i64 = 86_400_000;

/// `t` with these settings of its own.
fn with(values: &[(&str, &str)]) -> Bench {
    let mut bench = Bench::new();
    bench.now = 10 * DAY_MS;
    let set = values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let config = TopicConfig::with(set, &bench.cluster.settings).unwrap();
    bench.cluster.topics.get_mut("t").unwrap().config = config;
    bench
}

/// Keys with their values; `-` is no key, and a value of `-` a tombstone.
fn batch(records: &[(&str, &str)], timestamp: i64) -> Bytes {
    let some = |text: &str| (text != "-").then(|| Bytes::copy_from_slice(text.as_bytes()));
    let records: Vec<Record> = records
        .iter()
        .enumerate()
        .map(|(n, (key, value))| Record {
            transactional: false,
            control: false,
            delete_horizon: false,
            partition_leader_epoch: -1,
            producer_id: -1,
            producer_epoch: -1,
            timestamp_type: TimestampType::Creation,
            offset: i64::try_from(n).unwrap(),
            sequence: i32::try_from(n).unwrap() - 1,
            timestamp: timestamp + i64::try_from(n).unwrap(),
            key: some(key),
            value: some(value),
            headers: indexmap::IndexMap::new(),
        })
        .collect();
    let mut bytes = BytesMut::new();
    let options = RecordEncodeOptions { version: 2, compression: Compression::None };
    RecordBatchEncoder::encode(&mut bytes, &records, &options).unwrap();
    bytes.freeze()
}

impl Bench {
    fn put(&mut self, records: &[(&str, &str)]) -> Result<i64, i16> {
        let batch = batch(records, self.now);
        self.produce_batch(9, None, 0, batch)
    }

    /// The active segment becomes an old one, and the cleaner comes by.
    fn clean(&mut self) {
        self.cluster.log_mut("t", 0).unwrap().roll();
        self.wait(60_000);
    }

    /// What is in the log: offsets, keys and values, without markers.
    fn kept(&mut self) -> Vec<String> {
        let start = self.cluster.log("t", 0).unwrap().start();
        let request = Self::fetch_request(0, 0, start, 0);
        let ResponseKind::Fetch(response) = self.ask(11, RequestKind::Fetch(request)) else {
            panic!("another response");
        };
        let data = &response.responses[0].partitions[0];
        let mut bytes = data.records.clone().unwrap_or_default();
        let sets = RecordBatchDecoder::decode_all(&mut bytes).unwrap();
        let records = sets.into_iter().flat_map(|set| set.records);
        let shown = |bytes: Option<Bytes>| match bytes {
            None => "-".to_owned(),
            Some(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
        };
        records
            .filter(|record| !record.control)
            .map(|r| format!("{} {}={}", r.offset, shown(r.key), shown(r.value)))
            .collect()
    }

    fn list_offset(&mut self, timestamp: i64, isolation: i8) -> (i64, i64) {
        self.list_offset_as(10, timestamp, isolation)
    }

    fn list_offset_as(&mut self, version: i16, timestamp: i64, isolation: i8) -> (i64, i64) {
        let partition = ListOffsetsPartition::default()
            .with_partition_index(0)
            .with_current_leader_epoch(-1)
            .with_timestamp(timestamp);
        let topic = ListOffsetsTopic::default()
            .with_name(TopicName(text("t")))
            .with_partitions(vec![partition]);
        let request =
            ListOffsetsRequest::default().with_isolation_level(isolation).with_topics(vec![topic]);
        match self.ask(version, RequestKind::ListOffsets(request)) {
            ResponseKind::ListOffsets(r) => match &r.topics[0].partitions[0] {
                p if p.error_code != 0 => (-i64::from(p.error_code), 0),
                p => (p.offset, p.timestamp),
            },
            other => panic!("{other:?}"),
        }
    }

    fn delete_before(&mut self, offset: i64) -> Result<i64, i16> {
        let partition =
            DeleteRecordsPartition::default().with_partition_index(0).with_offset(offset);
        let topic = DeleteRecordsTopic::default()
            .with_name(TopicName(text("t")))
            .with_partitions(vec![partition]);
        let request = DeleteRecordsRequest::default().with_topics(vec![topic]);
        match self.ask(2, RequestKind::DeleteRecords(request)) {
            ResponseKind::DeleteRecords(r) => match &r.topics[0].partitions[0] {
                p if p.error_code != 0 => Err(p.error_code),
                p => Ok(p.low_watermark),
            },
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn compaction_keeps_the_last_of_each_key_at_its_offset() {
    let mut bench = with(&[("cleanup.policy", "compact")]);
    bench.put(&[("a", "1"), ("b", "1"), ("a", "2")]).unwrap();
    bench.put(&[("c", "1")]).unwrap();
    bench.put(&[("b", "2"), ("a", "3")]).unwrap();
    bench.wait(60_000);
    assert_eq!(bench.kept().len(), 6, "the active segment is left alone");
    bench.clean();
    assert_eq!(bench.kept(), ["3 c=1", "4 b=2", "5 a=3"]);
    assert_eq!(bench.put(&[("c", "2")]), Ok(6), "offsets go on");
    bench.clean();
    assert_eq!(bench.kept(), ["3 c=1", "4 b=2", "5 a=3", "6 c=2"], "too little of it is new");
    bench.put(&[("a", "4"), ("b", "3"), ("c", "3"), ("d", "1")]).unwrap();
    bench.clean();
    assert_eq!(bench.kept(), ["7 a=4", "8 b=3", "9 c=3", "10 d=1"]);
}

#[test]
fn without_a_policy_for_it_nothing_is_compacted() {
    let mut bench = with(&[]);
    bench.put(&[("a", "1"), ("a", "2")]).unwrap();
    bench.clean();
    assert_eq!(bench.kept(), ["0 a=1", "1 a=2"]);
}

#[test]
fn a_tombstone_goes_when_its_time_is_over() {
    let mut bench = with(&[("cleanup.policy", "compact")]);
    bench.put(&[("a", "1"), ("b", "1")]).unwrap();
    bench.put(&[("a", "-")]).unwrap();
    bench.clean();
    assert_eq!(bench.kept(), ["1 b=1", "2 a=-"]);
    bench.wait(DAY_MS - 60_000);
    assert_eq!(bench.kept(), ["1 b=1", "2 a=-"]);
    bench.wait(60_000);
    assert_eq!(bench.kept(), ["1 b=1"]);
}

#[test]
fn aborted_records_and_their_markers_are_taken_out() {
    for protocol in [Protocol::V1, Protocol::V2] {
        let often = ("min.cleanable.dirty.ratio", "0");
        let mut bench = with(&[("cleanup.policy", "compact"), often]);
        bench.put(&[("c", "1")]).unwrap();
        let mut producer = bench.producer(protocol, "id");
        bench.produce(&mut producer, 0, &["a", "b", "c"]).unwrap();
        bench.end(&mut producer, false);
        bench.produce(&mut producer, 0, &["b"]).unwrap();
        bench.end(&mut producer, true);
        bench.clean();
        assert_eq!(bench.kept(), ["0 c=1", "5 b=b"], "an aborted record is no last one");
        assert_eq!(bench.read(1, 0).values, ["1", "b"]);
        for n in 0..3 {
            bench.put(&[("x", "1"), ("y", "1"), ("z", "1")]).unwrap();
            bench.clean();
            bench.wait(n * 2 * DAY_MS);
        }
        let log = bench.cluster.log("t", 0).unwrap();
        assert!(log.aborted(0, 100).is_empty(), "{protocol:?}: nothing of it is left");
        assert!(bench.kept().contains(&"5 b=b".to_owned()));
    }
}

#[test]
fn what_is_open_is_not_compacted() {
    let mut bench = with(&[("cleanup.policy", "compact")]);
    bench.put(&[("a", "1"), ("a", "2")]).unwrap();
    let mut producer = bench.producer(Protocol::V2, "id");
    bench.produce(&mut producer, 0, &["a"]).unwrap();
    bench.put(&[("a", "3")]).unwrap();
    bench.cluster.log_mut("t", 0).unwrap().roll();
    bench.wait(9_000);
    bench.cluster.housekeeping = Housekeeping::default();
    bench.wait(0);
    assert_eq!(bench.kept(), ["1 a=2", "2 a=a", "3 a=3"]);
    assert_eq!(bench.end(&mut producer, true), 0);
    assert_eq!(bench.read(1, 0).values, ["2", "a", "3"]);
}

#[test]
fn compressed_batches_are_compacted_too() {
    let mut bench = with(&[("cleanup.policy", "compact")]);
    let plain = batch(&[("a", "1"), ("b", "1")], bench.now);
    let squeezed = compressed(&plain);
    assert_eq!(bench.produce_batch(9, None, 0, squeezed), Ok(0));
    bench.put(&[("a", "2")]).unwrap();
    bench.clean();
    assert_eq!(bench.kept(), ["1 b=1", "2 a=2"]);
}

/// The batch with its records compressed by gzip.
fn compressed(plain: &[u8]) -> Bytes {
    use std::io::Write;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&plain[61..]).unwrap();
    let mut bytes = [&plain[..61], &gzip.finish().unwrap()].concat();
    let length = u32::try_from(bytes.len() - 12).unwrap();
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    bytes[22] |= 1;
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes.into()
}

#[test]
fn a_compacted_topic_takes_no_record_without_a_key() {
    let mut bench = with(&[("cleanup.policy", "compact")]);
    assert_eq!(bench.put(&[("a", "1"), ("-", "1")]), Err(codes::INVALID_RECORD));
    let plain = batch(&[("-", "1")], bench.now);
    let refused = bench.produce_batch(9, None, 0, compressed(&plain));
    assert_eq!(refused, Err(codes::INVALID_RECORD));
    assert_eq!(bench.put(&[("a", "1")]), Ok(0));
}

#[test]
fn retention_by_time_takes_whole_segments() {
    let mut bench = with(&[("retention.ms", "100000"), ("segment.ms", "50000")]);
    bench.put(&[("a", "1")]).unwrap();
    bench.wait(60_000);
    bench.put(&[("a", "2")]).unwrap();
    bench.wait(41_000);
    assert_eq!(bench.kept(), ["1 a=2"]);
    assert_eq!(bench.list_offset(-2, 0).0, 1);
    bench.wait(70_000);
    assert_eq!(bench.kept(), [""; 0], "the active one goes too");
    assert_eq!(bench.put(&[("a", "3")]), Ok(2), "offsets go on");
    assert_eq!(bench.kept(), ["2 a=3"]);
}

#[test]
fn retention_by_size_keeps_what_fits_and_the_active_segment() {
    let mut bench = with(&[("retention.bytes", "200"), ("retention.ms", "-1")]);
    for n in 0..5 {
        bench.put(&[("a", &n.to_string())]).unwrap();
        bench.cluster.log_mut("t", 0).unwrap().roll();
    }
    bench.wait(60_000);
    // A batch has 70 bytes: 350 - 140 is the last that is at least 200.
    assert_eq!(bench.kept(), ["2 a=2", "3 a=3", "4 a=4"]);
}

#[test]
fn records_are_deleted_up_to_an_offset() {
    let mut bench = with(&[]);
    bench.put(&[("a", "1"), ("a", "2"), ("a", "3")]).unwrap();
    bench.put(&[("a", "4")]).unwrap();
    for (offset, expected) in [
        (1, Ok(1)),
        (0, Ok(1)),
        (5, Err(codes::OFFSET_OUT_OF_RANGE)),
        (3, Ok(3)),
        (-1, Ok(4)),
        (-2, Err(codes::OFFSET_OUT_OF_RANGE)),
    ] {
        assert_eq!(bench.delete_before(offset), expected, "{offset}");
    }
    assert_eq!((bench.list_offset(-2, 0).0, bench.list_offset(-1, 0).0), (4, 4));
    let mut compacted = with(&[("cleanup.policy", "compact")]);
    assert_eq!(compacted.delete_before(0), Err(codes::POLICY_VIOLATION));
}

#[test]
fn offsets_are_found_by_time() {
    let mut bench = with(&[]);
    let now = bench.now;
    for (timestamp, keys) in [(100, ["a", "b"]), (50, ["c", "d"]), (200, ["e", "f"])] {
        let batch = batch(&keys.map(|key| (key, "1")), timestamp);
        bench.produce_batch(9, None, 0, batch).unwrap();
    }
    for (timestamp, expected) in [
        (0, (0, 100)),
        (101, (1, 101)),
        (102, (4, 200)),
        (201, (5, 201)),
        (202, (-1, -1)),
        (-1, (6, -1)),
        (-2, (0, -1)),
        (-3, (5, 201)),
        (-4, (0, -1)),
        (-5, (-1, -1)),
        (-9, (-i64::from(codes::UNSUPPORTED_VERSION), 0)),
    ] {
        assert_eq!(bench.list_offset(timestamp, 0), expected, "{timestamp}");
    }
    for version in 1..=10 {
        assert_eq!(bench.list_offset_as(version, -1, 0), (6, -1), "version {version}");
        assert_eq!(bench.list_offset_as(version, 150, 0), (4, 200), "version {version}");
    }
    let mut producer = bench.producer(Protocol::V2, "id");
    bench.now = now;
    bench.produce(&mut producer, 0, &["g"]).unwrap();
    assert_eq!(bench.list_offset(-1, 1), (6, -1), "the last stable one");
    assert_eq!(bench.list_offset(1_000, 1), (-1, -1), "it is not stable");
    assert_eq!(bench.list_offset(1_000, 0), (6, 1_000));
}

#[test]
fn a_topic_may_want_the_brokers_time() {
    let mut bench = with(&[("message.timestamp.type", "LogAppendTime")]);
    let batch = batch(&[("a", "1"), ("b", "1")], 5);
    bench.produce_batch(9, None, 0, batch).unwrap();
    let now = bench.now;
    assert_eq!(bench.list_offset(6, 0), (0, now));
    let request = Bench::fetch_request(0, 0, 0, 0);
    let ResponseKind::Fetch(response) = bench.ask(11, RequestKind::Fetch(request)) else {
        panic!("another response");
    };
    let mut bytes = response.responses[0].partitions[0].records.clone().unwrap();
    let set = RecordBatchDecoder::decode(&mut bytes).unwrap();
    assert_eq!(set.records.len(), 2, "with a checksum that is right");
    assert_eq!(set.records[0].timestamp_type, TimestampType::LogAppend);
}

#[test]
fn a_timestamp_too_far_ahead_is_refused() {
    let mut bench = with(&[]);
    let ahead = batch(&[("a", "1")], bench.now + 3_600_001);
    assert_eq!(bench.produce_batch(9, None, 0, ahead), Err(codes::INVALID_TIMESTAMP));
    let fits = batch(&[("a", "1")], bench.now + 3_600_000);
    assert_eq!(bench.produce_batch(9, None, 0, fits), Ok(0));
}

#[test]
fn memory_has_a_limit_and_a_full_broker_serves_on() {
    let mut bench = with(&[]);
    bench.cluster.settings.memory_bytes_max = 1_000;
    let mut written = 0;
    let full = loop {
        match bench.put(&[("a", "1")]) {
            Ok(_) => written += 1,
            Err(code) => break code,
        }
    };
    assert_eq!(full, codes::KAFKA_STORAGE_ERROR);
    assert_eq!(bench.kept().len(), written);
    bench.delete_before(-1).unwrap();
    assert!(bench.put(&[("a", "1")]).is_ok(), "there is room again");
}

#[test]
fn what_is_held_is_near_the_bytes_that_came() {
    let mut bench = with(&[]);
    let records: Vec<(String, String)> =
        (0..100).map(|n| (format!("{n:08}"), "x".repeat(92))).collect();
    let records: Vec<(&str, &str)> =
        records.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    for _ in 0..100 {
        bench.put(&records).unwrap();
    }
    // 10,000 records of 100 bytes.
    let held = bench.cluster.log("t", 0).unwrap().size_bytes();
    assert!(held < 1_150_000, "{held}");
}

#[test]
fn what_is_too_large_is_refused() {
    let mut bench = with(&[("max.message.bytes", "100")]);
    assert_eq!(bench.put(&[("a", "1")]), Ok(0));
    let large = "x".repeat(100);
    assert_eq!(bench.put(&[("a", &large)]), Err(codes::MESSAGE_TOO_LARGE));
}

#[test]
fn records_that_can_not_be_read_are_refused() {
    let mut bench = with(&[]);
    let mut bytes = batch_of((-1, -1), 0, false, &["a"]).to_vec();
    bytes[61] = 40;
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    let refused = bench.produce_batch(9, None, 0, bytes.into());
    assert_eq!(refused, Err(codes::UNKNOWN_SERVER_ERROR));
}
