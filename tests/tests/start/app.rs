//! Two applications, one with state and one without, and what a test does around them.

use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use streams_broker::Broker;
use streams_core::prelude::*;
use streams_core::{EventProducer, RunningSource, SourceBuilder};

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
pub(crate) const CHANGELOG: &str = "changes";

#[derive(Events)]
pub(crate) enum Word {
    Say(String),
}

#[derive(StateStore)]
pub(crate) struct Words {
    said: Table<String, u64>,
}

static OUTPUT: Topic<Word> = Topic::new("output");

/// Counts words: `a=1`, `a=2`.
#[event_source(events = Word, store = Words)]
pub(crate) mod words {
    use super::*;

    #[event_handler("Say")]
    fn say(ctx: &mut EventContext<Words>, word: String) -> Result<ExecutionState> {
        let count = ctx.store.said.update(word.clone(), |count| {
            *count += 1;
            *count
        });
        ctx.forward(&OUTPUT, "key", Word::Say(format!("{word}={count}")))?;
        Ok(Complete)
    }
}

/// Repeats words.
#[event_source(events = Word, store = NoStore)]
pub(crate) mod echo {
    use super::*;

    #[event_handler("Say")]
    fn say(ctx: &mut EventContext<NoStore>, word: String) -> Result<ExecutionState> {
        ctx.forward(&OUTPUT, "key", Word::Say(word))?;
        Ok(Complete)
    }
}

/// A broker with `input` and `output`, of one partition each.
pub(crate) struct World {
    pub(crate) broker: Broker,
    producer: EventProducer<Word>,
}

impl World {
    pub(crate) fn new() -> Self {
        let sessions = Duration::from_secs(1)..=Duration::from_secs(1_800);
        let broker = Broker::builder().group_session_timeouts(sessions);
        let broker = broker.topic("input", 1).topic("output", 1).start().unwrap();
        let producer =
            EventProducer::new(&broker.bootstrap(), Topic::<Word>::new("input")).unwrap();
        Self { broker, producer }
    }

    /// The application that counts.
    pub(crate) fn words(&self) -> SourceBuilder<words::Source> {
        let bootstrap = self.broker.bootstrap();
        let builder = words::Source::builder().bootstrap(bootstrap).group("g").topic("input");
        builder.changelog(CHANGELOG).instance("a")
    }

    /// The application that repeats.
    pub(crate) fn echo(&self) -> SourceBuilder<echo::Source> {
        let bootstrap = self.broker.bootstrap();
        let builder = echo::Source::builder().bootstrap(bootstrap).group("g").topic("input");
        builder.changelog(CHANGELOG).instance("a")
    }

    pub(crate) fn say(&self, words: &[&str]) {
        for word in words {
            self.producer.send("key", &Word::Say((*word).to_owned())).unwrap();
        }
        self.producer.flush(PATIENCE).unwrap();
    }

    /// The committed outputs, once there are so many.
    pub(crate) fn outputs(&self, at_least: usize) -> Vec<String> {
        let bootstrap = self.broker.bootstrap();
        let read = streams_tests::oracle::read_committed(&bootstrap, "output", at_least, PATIENCE);
        read.unwrap().into_iter().map(|value| String::from_utf8(value).unwrap()).collect()
    }

    /// Waits until the group has committed this offset.
    pub(crate) fn await_committed(&self, offset: i64) {
        let deadline = Instant::now() + PATIENCE;
        while self.committed() != Offset::Offset(offset) {
            assert!(Instant::now() < deadline, "committed is {:?}", self.committed());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn committed(&self) -> Offset {
        let mut list = TopicPartitionList::new();
        list.add_partition("input", 0);
        let committed = self.consumer().committed_offsets(list, PATIENCE).unwrap();
        committed.elements()[0].offset()
    }

    /// The metadata of the committed offset.
    pub(crate) fn metadata(&self) -> String {
        let mut list = TopicPartitionList::new();
        list.add_partition("input", 0);
        let committed = self.consumer().committed_offsets(list, PATIENCE).unwrap();
        committed.elements()[0].metadata().to_owned()
    }

    /// Commits an offset as a tool does: without a member, with this metadata.
    pub(crate) fn commit(&self, offset: i64, metadata: &str) {
        let mut list = TopicPartitionList::new();
        let mut element = list.add_partition("input", 0);
        element.set_offset(Offset::Offset(offset)).unwrap();
        element.set_metadata(metadata);
        self.consumer().commit(&list, CommitMode::Sync).unwrap();
    }

    fn consumer(&self) -> BaseConsumer {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.broker.bootstrap()).set("group.id", "g");
        config.create().unwrap()
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.broker.bootstrap()).create().unwrap()
    }

    fn options() -> AdminOptions {
        AdminOptions::new().operation_timeout(Some(PATIENCE))
    }

    pub(crate) fn create_topic(&self, name: &str, partitions: i32, cleanup: &str) {
        let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        let topic = topic.set("cleanup.policy", cleanup);
        let made = block_on(self.admin().create_topics([&topic], &Self::options()));
        made.unwrap().into_iter().for_each(|topic| drop(topic.unwrap()));
    }

    pub(crate) fn delete_topic(&self, name: &str) {
        streams_tests::broker::delete_topic(&self.broker.bootstrap(), name).unwrap();
    }

    /// What `offsets.retention.minutes` does to a group without members.
    pub(crate) fn expire_offsets(&self) {
        let deleted = block_on(self.admin().delete_groups(&["g"], &Self::options()));
        deleted.unwrap().into_iter().for_each(|group| drop(group.unwrap()));
    }

    pub(crate) fn config(&self, topic: &str, name: &str) -> String {
        let topic = ResourceSpecifier::Topic(topic);
        let described = block_on(self.admin().describe_configs([&topic], &Self::options()));
        let described = described.unwrap().pop().unwrap().unwrap();
        described.get(name).unwrap().value.clone().unwrap()
    }
}

pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap().block_on(future)
}

/// Stops a source in good order.
pub(crate) fn end<A: EventSource>(source: RunningSource<A>) {
    source.stop();
    source.wait().unwrap();
}

/// Why a source does not start, or stops.
pub(crate) fn failure<A: EventSource<Shared = ()>>(builder: SourceBuilder<A>) -> String {
    match builder.start() {
        Err(error) => error.to_string(),
        Ok(source) => {
            let active = source.wait_for_active(1, PATIENCE);
            assert!(!active, "the source started, and works");
            source.wait().expect_err("the source stops").to_string()
        }
    }
}
