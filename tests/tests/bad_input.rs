//! Bad input: each a typed error that names the thing, nothing committed past it, nothing lost.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::sync::mpsc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, TopicPartitionList};
use streams_broker::{ApiKey, Broker, Fault, FaultKind};
use streams_core::client::rdkafka::RdFetcher;
use streams_core::client::{ClusterConfig, Fetched, Fetcher, Reads};
use streams_core::prelude::*;
use streams_core::record::{ProducerRecord, Record, TopicPartition};
use streams_core::{
    EventProducer, FATAL_EXIT_CODE, HandlerError, OnUndecodable, OnUnreadable, RunningSource,
    SourceBuilder, SourceError,
};

#[derive(Events)]
enum Word {
    Say(String),
    Panic(String),
    Fail(String),
    Shout(i64),
    Key(String),
    Fatal(String),
}

#[derive(StateStore)]
struct Words {
    said: Table<String, u64>,
}

static OUTPUT: Topic<Word> = Topic::new("output");

#[event_source(events = Word, store = Words)]
mod words {
    use super::*;

    #[event_handler("Say")]
    fn say(ctx: &mut EventContext<Words>, word: String) -> Result<ExecutionState> {
        ctx.store.said.update(word.clone(), |count| *count += 1);
        ctx.forward(&OUTPUT, "key", Word::Say(word))?;
        Ok(Complete)
    }

    #[event_handler("Panic")]
    fn panic(ctx: &mut EventContext<Words>, word: String) -> Result<ExecutionState> {
        ctx.forward(&OUTPUT, "key", Word::Say(word.clone()))?;
        panic!("no {word} here");
    }

    #[event_handler("Fail")]
    fn fail(ctx: &mut EventContext<Words>, word: String) -> Result<ExecutionState> {
        ctx.forward(&OUTPUT, "key", Word::Say(word.clone()))?;
        ctx.fail(format!("`{word}` is not said"))
    }

    #[event_handler("Shout")]
    fn shout(ctx: &mut EventContext<Words>, times: i64) -> Result<ExecutionState> {
        let word = "A".repeat(usize::try_from(times)?);
        ctx.forward(&OUTPUT, "key", Word::Say(word))?;
        Ok(Complete)
    }

    #[event_handler("Fatal")]
    fn fatal(_: &mut EventContext<Words>, word: String) -> Result<ExecutionState> {
        Err(HandlerError::fatal(format!("nothing may run on after `{word}`")))
    }

    #[event_handler("Key")]
    fn key(ctx: &mut EventContext<Words>, _word: String) -> Result<ExecutionState> {
        let key: Option<String> = ctx.key()?;
        assert!(key.is_some());
        Ok(Complete)
    }
}

const PATIENCE: Duration = Duration::from_secs(20);

struct World {
    broker: Broker,
    producer: EventProducer<Word>,
}

impl World {
    fn new() -> Self {
        let broker = Broker::builder().topic("input", 1).topic("output", 1).start().unwrap();
        let topic = Topic::<Word>::new("input");
        let producer = EventProducer::new(&broker.bootstrap(), topic).unwrap();
        Self { broker, producer }
    }

    fn builder(&self) -> SourceBuilder<words::Source> {
        let bootstrap = self.broker.bootstrap();
        words::Source::builder().bootstrap(bootstrap).group("g").topic("input").instance("a")
    }

    fn start(&self) -> RunningSource<words::Source> {
        self.builder().start().unwrap()
    }

    fn send(&self, event: &Word) {
        self.producer.send("key", event).unwrap();
        self.producer.flush(PATIENCE).unwrap();
    }

    fn send_raw(&self, record: ProducerRecord) {
        self.producer.send_record(record).unwrap();
        self.producer.flush(PATIENCE).unwrap();
    }

    fn consumer(&self) -> BaseConsumer {
        ClientConfig::new()
            .set("bootstrap.servers", self.broker.bootstrap())
            .set("group.id", "g")
            .create()
            .unwrap()
    }

    fn committed(&self) -> rdkafka::Offset {
        let mut list = TopicPartitionList::new();
        list.add_partition("input", 0);
        let committed = self.consumer().committed_offsets(list, PATIENCE).unwrap();
        committed.elements()[0].offset()
    }

    fn read(&self, topic: &str, records: usize) -> Vec<String> {
        let bootstrap = self.broker.bootstrap();
        let read = streams_tests::oracle::read_committed(&bootstrap, topic, records, PATIENCE);
        let text = |value: Vec<u8>| String::from_utf8(value).unwrap();
        read.unwrap().into_iter().map(text).collect()
    }

    /// The first record of a topic, with its headers as they are.
    fn first_record(&self, topic: &str) -> Record {
        let cluster = ClusterConfig { bootstrap: self.broker.bootstrap(), ..Default::default() };
        let mut fetcher = RdFetcher::new(&cluster, "test", Reads::Source, || {}).unwrap();
        fetcher.assign(&TopicPartition::new(topic, 0), 0).unwrap();
        let deadline = Instant::now() + PATIENCE;
        loop {
            match fetcher.poll() {
                Some(Fetched::Record(record)) => return record,
                _ => assert!(Instant::now() < deadline, "a record in `{topic}`"),
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// The record that the next `send` appends is damaged in the log.
    fn damage_next(&self, kind: FaultKind) {
        self.broker.inject(Fault { api: ApiKey::Produce, skip: 0, times: 1, kind });
    }

    /// Three good events, then a bad one: the source's error.
    fn meets(&self, bad: impl FnOnce(&Self)) -> SourceError {
        let source = self.start();
        for word in ["a", "b", "a"] {
            self.send(&Word::Say(word.to_owned()));
        }
        bad(self);
        let error = source.wait().expect_err("it stops");
        assert_eq!(self.committed(), rdkafka::Offset::Offset(3), "nothing past it: {error}");
        error
    }
}

/// The source's end, which must come.
fn ends<A: EventSource>(source: RunningSource<A>) -> Result<(), SourceError>
where
    RunningSource<A>: Send + 'static,
{
    let (ended, end) = mpsc::channel();
    std::thread::spawn(move || drop(ended.send(source.wait())));
    end.recv_timeout(PATIENCE).expect("the source stops")
}

#[test]
fn s3_a_batch_that_cannot_be_read_stops_the_source_and_is_named() {
    for kind in [FaultKind::CorruptBatch, FaultKind::UnknownCodec] {
        let world = World::new();
        let source = world.start();
        world.send(&Word::Say("a".to_owned()));
        assert_eq!(world.read("output", 1), ["a"]);
        world.damage_next(kind);
        world.send(&Word::Say("b".to_owned()));
        world.send(&Word::Say("c".to_owned()));
        let error = ends(source).expect_err("it stops with an error");
        let text = error.to_string();
        assert!(matches!(error, SourceError::Unreadable(_)), "{kind:?}: {text}");
        assert!(text.contains("input-0@1"), "{kind:?}: {text}");
        assert!(text.contains("on_unreadable_batch"), "{kind:?}: {text}");
        assert_eq!(world.committed(), rdkafka::Offset::Offset(1), "{kind:?}: nothing past it");
    }
}

#[test]
fn s3_a_batch_that_cannot_be_read_can_be_skipped() {
    for kind in [FaultKind::CorruptBatch, FaultKind::UnknownCodec] {
        let world = World::new();
        let source = world.builder().on_unreadable_batch(OnUnreadable::Skip).start().unwrap();
        world.send(&Word::Say("a".to_owned()));
        assert_eq!(world.read("output", 1), ["a"]);
        world.damage_next(kind);
        // One batch of three records.
        for word in ["b", "c", "d"] {
            world.producer.send("key", &Word::Say(word.to_owned())).unwrap();
        }
        world.producer.flush(PATIENCE).unwrap();
        world.send(&Word::Say("e".to_owned()));
        assert_eq!(world.read("output", 2), ["a", "e"], "{kind:?}");
        assert_eq!(source.batches_skipped(), 1, "{kind:?}");
        source.stop();
        ends(source).unwrap();
        assert_eq!(world.committed(), rdkafka::Offset::Offset(5), "{kind:?}");
    }
}

#[test]
fn s3_a_change_that_cannot_be_read_stops_the_restore_and_is_named() {
    let world = World::new();
    world.send(&Word::Say("a".to_owned()));
    let kind = FaultKind::UnknownCodec;
    world.broker.inject(Fault { api: ApiKey::Produce, skip: 0, times: u32::MAX, kind });
    let source = world.start();
    let deadline = Instant::now() + PATIENCE;
    while world.committed() != rdkafka::Offset::Offset(1) {
        assert!(Instant::now() < deadline, "the event is committed");
        std::thread::sleep(Duration::from_millis(20));
    }
    source.stop();
    ends(source).unwrap();
    // The policy is of the source topic: without its changes a store would be wrong.
    let source = world.builder().on_unreadable_batch(OnUnreadable::Skip).start().unwrap();
    let error = ends(source).expect_err("it stops with an error");
    assert!(matches!(error, SourceError::UnreadableChanges(_)), "{error}");
    assert!(error.to_string().contains("gkes_change_log_input_g-0@0"), "{error}");
}

#[test]
fn c5_a_header_name_may_be_any_bytes() {
    let world = World::new();
    world.broker.create_topic("dead", 1).unwrap();
    let policy = OnUndecodable::DeadLetter("dead".to_owned());
    let source = world.builder().on_undecodable(policy).start().unwrap();
    let odd = |record_type| {
        let record = ProducerRecord::to("input").value(&b"x"[..]).record_type(record_type);
        record.header(b"\xff", Some(b"1"))
    };
    world.send_raw(odd("Say"));
    assert_eq!(world.read("output", 1), ["x"], "its event is handled");
    world.send_raw(odd("Whisper"));
    assert_eq!(world.read("dead", 1), ["x"]);
    let letter = world.first_record("dead");
    let headers: Vec<_> = letter.headers().iter().raw().collect();
    assert_eq!(headers[1], (&b"\xff"[..], Some(&b"1"[..])), "its letter has all headers");
    source.stop();
    ends(source).unwrap();
}

#[test]
fn c8_a_missing_output_topic_is_named_within_15_s() {
    let broker = Broker::builder().topic("input", 1).start().unwrap();
    let producer = EventProducer::new(&broker.bootstrap(), Topic::<Word>::new("input")).unwrap();
    let world = World { broker, producer };
    let source = world.start();
    world.send(&Word::Say("a".to_owned()));
    let sent = Instant::now();
    let lost = EventProducer::new(&world.broker.bootstrap(), Topic::<Word>::new("nowhere"));
    let lost = lost.unwrap();
    lost.send("key", &Word::Say("a".to_owned())).unwrap();
    let early = lost.flush(Duration::from_millis(500)).unwrap_err().to_string();
    assert!(early.contains("1 records for `nowhere` are not acknowledged"), "{early}");
    let error = ends(source).expect_err("it stops");
    assert!(error.to_string().contains("`output`"), "{error}");
    assert!(sent.elapsed() < Duration::from_secs(15), "{:?}", sent.elapsed());
    let late = lost.flush(Duration::from_secs(15)).unwrap_err().to_string();
    assert!(late.contains("topic `nowhere`"), "{late}");
    assert!(late.contains("Unknown topic"), "{late}");
}

#[test]
fn an_unknown_record_type_without_a_default_handler() {
    let world = World::new();
    let bad = |world: &World| {
        world.send_raw(ProducerRecord::to("input").value(&b"x"[..]).record_type("Whisper"));
    };
    let error = world.meets(bad);
    assert!(matches!(error, SourceError::Unrouted { .. }));
    let text = error.to_string();
    assert!(text.contains("input-0@3") && text.contains("`Whisper`"), "{text}");
}

#[test]
fn bytes_that_do_not_decode() {
    let error = World::new().meets(|world| {
        let value = vec![0xff, 0xfe];
        world.send_raw(ProducerRecord::to("input").value(value).record_type("Say"));
    });
    assert!(matches!(error, SourceError::Undecodable { .. }), "{error}");
}

#[test]
fn a_tombstone_where_a_payload_is_needed() {
    let error = World::new().meets(|world| {
        world.send_raw(ProducerRecord::to("input").record_type("Say"));
    });
    assert!(error.to_string().contains("tombstone"), "{error}");
}

#[test]
fn a_key_that_is_not_utf8_where_a_string_is_declared() {
    let error = World::new().meets(|world| {
        let record = ProducerRecord::to("input").key(vec![0xff]).value(&b"x"[..]);
        world.send_raw(record.record_type("Key"));
    });
    let text = error.to_string();
    assert!(text.contains("the key is not UTF-8") && text.contains("input-0@3"), "{text}");
}

#[test]
fn a_handler_that_panics() {
    let world = World::new();
    let error = world.meets(|world| world.send(&Word::Panic("shouting".to_owned())));
    assert!(matches!(&error, SourceError::Panicked { .. }), "{error}");
    assert!(error.to_string().contains("no shouting here"), "{error}");
    // It meets the same event again: nothing was lost.
    assert!(world.start().wait().is_err());
}

#[test]
fn a_handler_that_fails() {
    let error = World::new().meets(|world| world.send(&Word::Fail("this".to_owned())));
    assert!(error.to_string().contains("`this` is not said"), "{error}");
}

/// Tells the process that `a_fatal_error_exits_the_process` starts which broker to use.
const FATAL_BROKER: &str = "STREAMS_TEST_FATAL_BROKER";

/// Is a process of its own, which ends before the test does; without a broker it does nothing.
#[test]
fn fatal_child() {
    let Ok(bootstrap) = std::env::var(FATAL_BROKER) else {
        return;
    };
    let builder = words::Source::builder().bootstrap(bootstrap).group("g").topic("input");
    let ended = builder.start().unwrap().wait();
    panic!("the process goes on: {ended:?}");
}

#[test]
fn a_fatal_error_exits_the_process_and_its_member_does_not_leave() {
    let world = World::new();
    world.send(&Word::Say("a".to_owned()));
    world.send(&Word::Fatal("this".to_owned()));
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "fatal_child", "--nocapture"])
        .env(FATAL_BROKER, world.broker.bootstrap())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + PATIENCE;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            child.kill().unwrap();
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let ended = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(FATAL_EXIT_CODE), "{said}");
    assert!(said.contains("nothing may run on after `this`"), "{said}");
    let groups = world.consumer().fetch_group_list(Some("g"), PATIENCE).unwrap();
    let members: Vec<usize> = groups.groups().iter().map(|group| group.members().len()).collect();
    assert_eq!(members, [1], "its session goes on");
    assert_ne!(world.committed(), rdkafka::Offset::Offset(2));
}

#[test]
fn a_record_larger_than_the_limit() {
    // In one transaction with it the good ones would not be committed either.
    let bad = |world: &World| {
        let deadline = Instant::now() + PATIENCE;
        while world.committed() != rdkafka::Offset::Offset(3) {
            assert!(Instant::now() < deadline, "the good events are committed");
            std::thread::sleep(Duration::from_millis(20));
        }
        world.send(&Word::Shout(2_000_000));
    };
    let error = World::new().meets(bad);
    let text = error.to_string();
    assert!(matches!(error, SourceError::Transaction(_)), "{text}");
    assert!(text.contains("output"), "it names the topic: {text}");
}

#[test]
fn a_topic_that_is_not_there() {
    let broker = Broker::builder().topic("input", 1).start().unwrap();
    let producer = EventProducer::new(&broker.bootstrap(), Topic::<Word>::new("input")).unwrap();
    let world = World { broker, producer };
    let source = world.builder().property("topic.metadata.propagation.max.ms", "500").start();
    world.send(&Word::Say("a".to_owned()));
    let error = source.unwrap().wait().expect_err("it stops");
    assert!(error.to_string().contains("`output`"), "{error}");
}

#[test]
fn records_that_do_not_decode_can_be_skipped_or_sent_away() {
    let world = World::new();
    world.broker.create_topic("dead", 1).unwrap();
    let policy = OnUndecodable::DeadLetter("dead".to_owned());
    let source = world.builder().on_undecodable(policy).start().unwrap();
    world.send_raw(ProducerRecord::to("input").value(&b"x"[..]).record_type("Whisper"));
    world.send(&Word::Say("a".to_owned()));
    let dead =
        streams_tests::oracle::read_committed(&world.broker.bootstrap(), "dead", 1, PATIENCE);
    assert_eq!(dead.unwrap(), [b"x".to_vec()]);
    let said =
        streams_tests::oracle::read_committed(&world.broker.bootstrap(), "output", 1, PATIENCE);
    assert_eq!(said.unwrap(), [b"a".to_vec()]);
    source.stop();
    source.wait().unwrap();
    assert_eq!(world.committed(), rdkafka::Offset::Offset(2));
}

#[test]
fn settings_out_of_range_or_missing() {
    let text = |builder: SourceBuilder<words::Source>| builder.start().unwrap_err().to_string();
    let world = World::new();
    assert!(text(words::Source::builder()).contains("`bootstrap` is missing"));
    assert!(text(world.builder().workers(0)).contains("`workers` is 0: it must be from 1 to"));
    assert!(text(world.builder().group("")).contains("`group` is missing"));
    let heartbeat = world.builder().heartbeat_interval(Duration::from_secs(9));
    assert!(text(heartbeat).contains("`heartbeat_interval` is 9s"));
    let outage = world.builder().outage_timeout(Duration::from_millis(900));
    assert!(text(outage).contains("`outage_timeout` is 900ms: it must be from 1s to"));
    let stalled = world.builder().stalled_after(Duration::from_millis(900));
    assert!(text(stalled).contains("`stalled_after` is 900ms: it must be from 1s to"));
    let tls = world.builder().property("security.protocol", "ssl");
    assert!(text(tls).contains("`security.protocol` is `ssl`"));
    assert!(text(world.builder().partitions(7)).contains("has 1 partitions"));
}

/// An event that waits for its completer holds its offset back, and later events go on.
#[test]
fn eos3_an_incomplete_event_holds_the_offset_back() {
    use std::sync::Mutex;
    static COMPLETER: Mutex<Option<streams_core::handler::Completer<Words>>> = Mutex::new(None);
    let world = World::new();
    let source = world.start();
    assert!(source.wait_for_active(1, PATIENCE));
    let interjected = source.interject_async(0, |ctx, answer| {
        *COMPLETER.lock().unwrap() = Some(ctx.completer());
        answer.set("done");
        Ok(Incomplete)
    });
    world.send(&Word::Say("a".to_owned()));
    let bootstrap = world.broker.bootstrap();
    let read = |n| streams_tests::oracle::read_committed(&bootstrap, "output", n, PATIENCE);
    assert_eq!(read(1).unwrap().len(), 1, "later events go on");
    let completer = COMPLETER.lock().unwrap().take().unwrap();
    completer.complete(|ctx| {
        ctx.forward(&OUTPUT, "key", Word::Say("late".to_owned()))?;
        Ok(Complete)
    });
    assert_eq!(read(2).unwrap().len(), 2);
    assert_eq!(interjected.wait().unwrap(), "done");
    source.stop();
    source.wait().unwrap();
}
