//! Global changelogs and tables on the embedded broker: their errors, and the handlers that read
//! them.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use streams_broker::{ApiKey, Broker, Fault, FaultKind};
use streams_core::global::{
    ChangeLogReceiver, CleanupPolicy, GlobalBuilder, GlobalChangeLog, GlobalError, GlobalState,
    GlobalTable, OnTruncated, OrderedGlobalTable, ReceiveError,
};
use streams_core::prelude::*;
use streams_core::record::ProducerRecord;
use streams_core::{OnUnreadable, SourceError};
use streams_tests::broker::{create_compacted_topics, delete_topic};

const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Events)]
enum Word {
    Say(String),
}

#[derive(StateStore)]
struct Said {
    said: Table<String, i64>,
}

static OUT: Topic<Word> = Topic::new("out");

struct App {
    prices: GlobalTable<String, i64>,
    steps: OrderedGlobalTable<String, i64>,
}

#[event_source(events = Word, store = Said, shared = App)]
mod priced {
    use super::*;

    #[event_handler("Say")]
    fn say(ctx: &mut EventContext<Said>, app: &App, word: String) -> Result<ExecutionState> {
        ctx.store.said.update(word.clone(), |count| *count += 1);
        let price = app.prices.get(&word).map(|price| *price);
        let step = app.steps.range(..=word.clone()).pop().map(|(key, _)| key);
        ctx.forward(&OUT, "k", Word::Say(format!("{word}: {price:?}, {step:?}")))?;
        Ok(Complete)
    }
}

struct World {
    broker: Broker,
    producer: EventProducer<Word>,
}

impl World {
    fn new() -> Self {
        let broker = Broker::builder().topic("words", 1).topic("out", 1).topic("rows", 1);
        let broker = broker.start().unwrap();
        let producer = EventProducer::new(&broker.bootstrap(), Topic::new("words")).unwrap();
        Self { broker, producer }
    }

    fn row(&self, topic: &'static str, key: &'static str, value: i64) {
        let record = ProducerRecord::to(topic).key(key).value(value.to_be_bytes().to_vec());
        self.producer.send_record(record).unwrap();
        self.producer.flush(PATIENCE).unwrap();
    }

    fn table(&self, topic: &str) -> GlobalTable<String, i64> {
        let builder = GlobalTable::<String, i64>::builder().bootstrap(self.broker.bootstrap());
        builder.topic(topic).check_interval(Duration::from_millis(100)).start().unwrap()
    }

    /// A global changelog of the topic `rows` that sends the offsets which it receives.
    fn log(&self) -> (GlobalBuilder<Offsets>, mpsc::Receiver<i64>) {
        let (sender, received) = mpsc::channel();
        let builder = GlobalChangeLog::builder(Offsets { sender, lost: Arc::default() });
        let builder = builder.bootstrap(self.broker.bootstrap()).topic("rows");
        (builder.check_interval(Duration::from_millis(100)), received)
    }
}

struct Offsets {
    sender: mpsc::Sender<i64>,
    lost: Arc<Mutex<Vec<std::ops::Range<i64>>>>,
}

impl ChangeLogReceiver for Offsets {
    fn receive_change(&mut self, record: &Record) -> Result<(), ReceiveError> {
        match record.value() {
            Some(b"fail") => Err("it is not taken".into()),
            Some(b"panic") => panic!("it is too much"),
            _ => Ok(self.sender.send(record.offset())?),
        }
    }

    fn truncated(
        &mut self,
        _partition: i32,
        lost: std::ops::Range<i64>,
    ) -> Result<(), ReceiveError> {
        self.lost.lock().unwrap().push(lost);
        Ok(())
    }
}

fn failure(log: &GlobalChangeLog) -> GlobalError {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(failure) = log.failure() {
            assert_eq!(log.state(), GlobalState::Failed);
            return failure;
        }
        assert!(Instant::now() < deadline, "it does not fail: {log:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn handlers_find_the_rows_that_were_there_before_the_source_started() {
    let world = World::new();
    for (key, value) in [("apple", 3), ("pear", 4), ("apple", 5)] {
        world.row("rows", key, value);
    }
    let bootstrap = world.broker.bootstrap();
    let prices = world.table("rows");
    let steps = GlobalTable::<String, i64>::builder().ordered().bootstrap(&bootstrap).topic("rows");
    let steps = steps.start().unwrap();
    let source = priced::Source::builder().bootstrap(&bootstrap).group("g").topic("words");
    let source = source.output("out").global(&prices).global(&steps);
    let source = source.shared(App { prices: prices.clone(), steps }).start().unwrap();
    assert!(prices.is_caught_up());
    world.producer.send("k", &Word::Say("apple".to_owned())).unwrap();
    world.producer.send("k", &Word::Say("banana".to_owned())).unwrap();
    world.producer.flush(PATIENCE).unwrap();
    let (sender, received) = mpsc::channel();
    let out = GlobalChangeLog::builder(move |record: &Record| {
        Ok(sender.send(String::from_utf8(record.value().unwrap_or_default().to_vec())?)?)
    });
    let _out = out.bootstrap(&bootstrap).topic("out").start().unwrap();
    let texts = [(); 2].map(|()| received.recv_timeout(PATIENCE).unwrap());
    assert_eq!(texts, [r#"apple: Some(5), Some("apple")"#, r#"banana: None, Some("apple")"#]);
    source.stop();
    source.wait().unwrap();

    // Another application reads a table of the source's state by its changelog.
    let said = GlobalTable::<String, i64>::builder().bootstrap(&bootstrap);
    let said = said.topic("gkes_change_log_words_g").table_of_changelog("said").start().unwrap();
    said.wait_caught_up(PATIENCE).unwrap();
    assert_eq!((said.len(), said.get("banana").as_deref()), (2, Some(&1)));
}

#[test]
fn a_source_does_not_start_with_a_table_that_has_failed() {
    let world = World::new();
    let record = ProducerRecord::to("rows").key("a").value("no number");
    world.producer.send_record(record).unwrap();
    world.producer.flush(PATIENCE).unwrap();
    let prices = world.table("rows");
    let source = priced::Source::builder().bootstrap(world.broker.bootstrap()).group("g");
    let app = App { prices: prices.clone(), steps: GlobalTable::of_rows([]) };
    let error = source.topic("words").global(&prices).shared(app).start().unwrap_err();
    assert!(matches!(error, SourceError::Global(GlobalError::Receiver { .. })), "{error}");
    assert!(error.to_string().contains("rows-0@0"), "{error}");
    let lenient = GlobalTable::<String, i64>::builder().bootstrap(world.broker.bootstrap());
    let lenient = lenient.topic("rows").skip_undecodable().start().unwrap();
    lenient.wait_caught_up(PATIENCE).unwrap();
    assert_eq!((lenient.len(), lenient.records_skipped()), (0, 1));
}

#[test]
fn a_table_that_fails_stops_the_source_whose_handlers_read_it() {
    let world = World::new();
    let prices = world.table("rows");
    let source = priced::Source::builder().bootstrap(world.broker.bootstrap()).group("g");
    let app = App { prices: prices.clone(), steps: GlobalTable::of_rows([]) };
    let source = source.topic("words").global(&prices).shared(app).start().unwrap();
    let record = ProducerRecord::to("rows").key("a").value("no number");
    world.producer.send_record(record).unwrap();
    world.producer.flush(PATIENCE).unwrap();
    let (ended, end) = mpsc::channel();
    std::thread::spawn(move || drop(ended.send(source.wait())));
    let error = end.recv_timeout(PATIENCE).unwrap().unwrap_err();
    assert!(matches!(error, SourceError::Global(GlobalError::Receiver { .. })), "{error}");
}

/// Returns true if the topic still has a tombstone.
fn has_tombstone(bootstrap: &str, topic: &str) -> bool {
    let found = Arc::new(AtomicBool::new(false));
    let finds = Arc::clone(&found);
    let log = GlobalChangeLog::builder(move |record: &Record| {
        finds.fetch_or(record.value().is_none(), Ordering::Relaxed);
        Ok(())
    });
    let log = log.bootstrap(bootstrap).topic(topic).start().unwrap();
    log.wait_caught_up(PATIENCE).unwrap();
    log.stop().unwrap();
    found.load(Ordering::Relaxed)
}

#[test]
fn a_row_whose_tombstone_is_gone_before_it_is_read_is_gone_too() {
    let world = World::new();
    let bootstrap = world.broker.bootstrap();
    let table = GlobalTable::<String, i64>::builder().bootstrap(&bootstrap).topic("prices");
    let table = table.create_topic(1).topic_config("segment.ms", "100");
    let table = table.topic_config("min.cleanable.dirty.ratio", "0.01");
    let table = table.topic_config("delete.retention.ms", "0");
    let table = table.check_interval(Duration::from_millis(200)).start().unwrap();
    world.row("prices", "apple", 1);
    world.row("prices", "pear", 1);
    let deadline = Instant::now() + 3 * PATIENCE;
    while table.len() < 2 {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(5));
    }
    let log = table.changelog().unwrap();
    log.pause_all().unwrap();
    // The least time for which a reader may be behind is 10 s.
    let behind = Instant::now() + Duration::from_millis(10_500);
    world.producer.send_record(ProducerRecord::to("prices").key("apple")).unwrap();
    world.producer.flush(PATIENCE).unwrap();
    while Instant::now() < behind || has_tombstone(&bootstrap, "prices") {
        assert!(Instant::now() < deadline, "the broker keeps the tombstone");
        std::thread::sleep(Duration::from_millis(300));
        // An append makes the broker close the segment before it.
        world.row("prices", "plum", 1);
    }
    assert_eq!(table.get("apple").as_deref(), Some(&1), "it is paused");
    log.resume_all().unwrap();
    while table.contains_key("apple") || table.state() != GlobalState::Following {
        assert!(Instant::now() < deadline, "a deleted row stays: {table:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!((table.len(), log.begun_again()), (2, 1));
}

#[test]
fn a_topic_that_is_missing_or_unsuitable_is_named() {
    let world = World::new();
    let (builder, _received) = world.log();
    let error = builder.topic("nowhere").start().unwrap_err();
    assert!(matches!(&error, GlobalError::TopicMissing { topic } if topic == "nowhere"), "{error}");
    let (builder, _received) = world.log();
    let error = builder.cleanup_policy(CleanupPolicy::Compact).start().unwrap_err();
    assert!(error.to_string().contains("`cleanup.policy` delete, and not compact"), "{error}");
    let (builder, _received) = world.log();
    let log = builder.cleanup_policy(CleanupPolicy::Delete).start().unwrap();
    log.stop().unwrap();
    let (builder, _received) = world.log();
    let error = builder.bootstrap("127.0.0.1:1").start().unwrap_err();
    assert!(matches!(error, GlobalError::Client { .. }), "{error}");
    let (builder, _received) = world.log();
    let error = builder.property("no.such.property", "1").start().unwrap_err();
    assert!(error.to_string().contains("`no.such.property`"), "{error}");
}

#[test]
fn an_offset_that_the_log_does_not_hold_stops_it_or_is_left_out() {
    let world = World::new();
    for value in 0..5 {
        world.row("rows", "k", value);
    }
    let (builder, _received) = world.log();
    let log = builder.start().unwrap();
    log.wait_caught_up(PATIENCE).unwrap();
    log.resume_at(0, 99).unwrap();
    let error = failure(&log);
    let text = error.to_string();
    assert!(matches!(error, GlobalError::Truncated { position: 99, .. }), "{text}");
    assert!(text.contains("needs offset 99, but the log holds offsets 0 to 5"), "{text}");
    assert!(matches!(log.pause(0), Err(GlobalError::Truncated { .. })), "commands say so too");

    delete_records(&world.broker.bootstrap(), "rows", 3);
    let (builder, received) = world.log();
    let log = builder.on_truncated(OnTruncated::Skip).start().unwrap();
    log.wait_caught_up(PATIENCE).unwrap();
    assert_eq!(received.try_iter().collect::<Vec<_>>(), [3, 4], "it starts where the log does");
    log.resume_at(0, 1).unwrap();
    let again = [(); 2].map(|()| received.recv_timeout(PATIENCE).unwrap());
    assert_eq!(again, [3, 4]);
}

fn delete_records(bootstrap: &str, topic: &str, before: i64) {
    use rdkafka::admin::{AdminClient, AdminOptions};
    use rdkafka::client::DefaultClientContext;
    let admin: AdminClient<DefaultClientContext> =
        rdkafka::ClientConfig::new().set("bootstrap.servers", bootstrap).create().unwrap();
    let mut list = rdkafka::TopicPartitionList::new();
    list.add_partition_offset(topic, 0, rdkafka::Offset::Offset(before)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(admin.delete_records(&list, &AdminOptions::new())).unwrap();
}

#[test]
fn a_topic_that_is_deleted_or_created_again_ends_it() {
    let world = World::new();
    let bootstrap = world.broker.bootstrap();
    create_compacted_topics(&bootstrap, &[("again", 1), ("gone", 1)]).unwrap();
    let again = world.table("again");
    let gone = world.table("gone");
    world.row("again", "a", 1);
    let deadline = Instant::now() + PATIENCE;
    while again.is_empty() {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(5));
    }
    delete_topic(&bootstrap, "gone").unwrap();
    delete_topic(&bootstrap, "again").unwrap();
    create_compacted_topics(&bootstrap, &[("again", 1)]).unwrap();
    let error = failure(again.changelog().unwrap());
    assert!(matches!(error, GlobalError::TopicReplaced { .. }), "{error}");
    assert_eq!(again.get("a").as_deref(), Some(&1), "its rows stay");
    let error = failure(gone.changelog().unwrap());
    assert!(matches!(error, GlobalError::TopicMissing { .. }), "{error}");
}

#[test]
fn a_batch_that_cannot_be_read_stops_it_or_is_left_out() {
    for (policy, expected) in [(OnUnreadable::Fail, None), (OnUnreadable::Skip, Some(2))] {
        let world = World::new();
        world.row("rows", "k", 0);
        let kind = FaultKind::UnknownCodec;
        world.broker.inject(Fault { api: ApiKey::Produce, skip: 0, times: 1, kind });
        world.row("rows", "k", 1);
        world.row("rows", "k", 2);
        let (builder, received) = world.log();
        let log = builder.on_unreadable_batch(policy).start().unwrap();
        assert_eq!(received.recv_timeout(PATIENCE).unwrap(), 0);
        match expected {
            Some(next) => {
                assert_eq!(received.recv_timeout(PATIENCE).unwrap(), next);
                assert_eq!(log.batches_skipped(), 1);
            }
            None => {
                let error = failure(&log);
                assert!(matches!(error, GlobalError::Unreadable(_)), "{error}");
                assert!(error.to_string().contains("rows-0@1"), "{error}");
            }
        }
    }
}

#[test]
fn a_receiver_that_fails_or_panics_is_named_with_the_record() {
    for (value, text) in [("fail", "failed at rows-0@1: it is not taken"), ("panic", "panicked")] {
        let world = World::new();
        world.row("rows", "k", 0);
        let (builder, _received) = world.log();
        let log = builder.start().unwrap();
        log.wait_caught_up(PATIENCE).unwrap();
        let record = ProducerRecord::to("rows").key("k").value(value);
        world.producer.send_record(record).unwrap();
        world.producer.flush(PATIENCE).unwrap();
        let error = failure(&log).to_string();
        assert!(error.contains(text) && error.contains("rows-0@1"), "{error}");
        assert_eq!(log.stop().unwrap_err().to_string(), error);
    }
}

#[test]
fn a_receiver_may_pause_its_own_partition() {
    let world = World::new();
    let own: Arc<Mutex<Option<GlobalChangeLog>>> = Arc::default();
    let (sender, received) = mpsc::channel();
    let pauses = Arc::clone(&own);
    let log = GlobalChangeLog::builder(move |record: &Record| {
        if record.offset() == 1 {
            pauses.lock().unwrap().as_ref().unwrap().pause(0)?;
        }
        Ok(sender.send(record.offset())?)
    });
    let log = log.bootstrap(world.broker.bootstrap()).topic("rows").start().unwrap();
    *own.lock().unwrap() = Some(log);
    for value in 0..3 {
        world.row("rows", "k", value);
    }
    assert_eq!(received.recv_timeout(PATIENCE).unwrap(), 0);
    assert_eq!(received.recv_timeout(PATIENCE).unwrap(), 1);
    assert!(received.recv_timeout(Duration::from_millis(300)).is_err(), "it is paused");
    let log = own.lock().unwrap().take().unwrap();
    log.resume(0).unwrap();
    assert_eq!(received.recv_timeout(PATIENCE).unwrap(), 2);
    log.stop().unwrap();
}

#[test]
fn futures_wait_too_and_a_stop_ends_the_wait() {
    let world = World::new();
    world.row("rows", "a", 1);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let table = world.table("rows");
    runtime.block_on(table.caught_up()).unwrap();
    assert_eq!(table.get("a").as_deref(), Some(&1), "what caught up is applied");
    assert!(table.staleness().is_some());
    let (builder, _received) = world.log();
    let log = builder.start().unwrap();
    log.pause_all().unwrap();
    world.row("rows", "a", 2);
    log.resume_at(0, 0).unwrap();
    log.pause_all().unwrap();
    let waits = log.caught_up();
    let within = Duration::from_millis(50);
    if let Err(error) = log.wait_caught_up(within) {
        assert!(matches!(error, GlobalError::NotCaughtUp { .. }), "{error}");
    }
    drop(log);
    let ended = runtime.block_on(waits);
    assert!(matches!(ended, Err(GlobalError::Stopped { .. })), "{ended:?}");
}

#[test]
fn a_broker_that_restarts_is_waited_for_and_the_table_says_that_it_is_stale() {
    let directory = std::env::temp_dir().join(format!("streams-globals-{}", std::process::id()));
    let start =
        |port| Broker::builder().port(port).data_dir(&directory).topic("rows", 2).start().unwrap();
    let broker = start(0);
    let port: u16 = broker.bootstrap().rsplit_once(':').unwrap().1.parse().unwrap();
    let bootstrap = broker.bootstrap();
    let send = |key: &'static str, value: i64| {
        let producer = EventProducer::<Word>::new(&bootstrap, Topic::new("rows")).unwrap();
        let record = ProducerRecord::to("rows").key(key).value(value.to_be_bytes().to_vec());
        producer.send_record(record).unwrap();
        producer.flush(PATIENCE).unwrap();
    };
    send("a", 1);
    let table = GlobalTable::<String, i64>::builder().bootstrap(&bootstrap).topic("rows");
    let table = table.check_interval(Duration::from_millis(100));
    let table = table.stale_after(Duration::from_millis(400)).start().unwrap();
    table.wait_caught_up(PATIENCE).unwrap();
    let await_state = |state| {
        let deadline = Instant::now() + PATIENCE;
        while table.state() != state {
            assert!(Instant::now() < deadline, "{table:?} is not {state:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    await_state(GlobalState::Following);
    drop(broker);
    await_state(GlobalState::Stale);
    assert_eq!(table.get("a").as_deref(), Some(&1), "reads go on");
    let trouble = table.changelog().unwrap().trouble().unwrap();
    assert!(trouble.contains("127.0.0.1"), "{trouble}");
    let _broker = start(port);
    send("b", 2);
    await_state(GlobalState::Following);
    let deadline = Instant::now() + PATIENCE;
    while table.len() < 2 {
        assert!(Instant::now() < deadline, "{table:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(table.lags(), BTreeMap::from([(0, 0), (1, 0)]));
    drop(table);
    std::fs::remove_dir_all(directory).unwrap();
}
