//! What the log says, and what it must not say.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::io::Write;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use streams_broker::Broker;
use streams_core::EventProducer;
use streams_core::client::ClusterConfig;
use streams_core::client::rdkafka::PlainProducer;
use streams_core::prelude::*;
use streams_core::record::{Outputs, ProducerRecord};
use tracing_subscriber::fmt::MakeWriter;

const SECRET: &str = "tiger-5up3r";
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Events)]
enum Word {
    Say(String),
}

#[event_source(events = Word, store = NoStore)]
mod words {
    use super::*;

    #[event_handler("Say")]
    fn say(_: &mut EventContext<NoStore>, _: String) -> Result<ExecutionState> {
        Ok(Complete)
    }
}

/// All lines of the log of this process.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Log {
    fn of_process() -> &'static Self {
        static LOG: OnceLock<Log> = OnceLock::new();
        LOG.get_or_init(|| {
            let log = Self::default();
            let level = tracing_subscriber::filter::LevelFilter::TRACE;
            tracing_subscriber::fmt().with_max_level(level).with_writer(log.clone()).init();
            log
        })
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

#[test]
fn u1_a_secret_is_never_printed() {
    let log = Log::of_process();
    let broker = Broker::builder().topic("input", 1).start().unwrap();
    let mut said = Vec::new();
    for (name, value) in [
        ("sasl.password", SECRET),
        ("sasl.jaas.config", SECRET),
        ("ssl.key.password", SECRET),
        ("ssl.key.pem", SECRET),
        ("sasl.oauthbearer.client.secret", SECRET),
        // A misspelt name, and a number that is none.
        ("sasl.pasword", SECRET),
        ("socket.blocking.max.ms", SECRET),
    ] {
        let mut cluster = ClusterConfig { bootstrap: broker.bootstrap(), ..Default::default() };
        cluster.properties.insert(name, value);
        // librdkafka warns of it with the values of all properties at this setting.
        cluster.properties.insert("debug", "conf,security");
        said.push(format!("{cluster:?}"));
        match PlainProducer::new(&cluster) {
            Ok(producer) => said.push(format!("{producer:?}")),
            Err(error) => {
                assert!(error.to_string().contains(name), "it names the property: {error}");
                said.push(format!("{error} {error:?}"));
            }
        }
        let builder = words::Source::builder().bootstrap(broker.bootstrap()).topic("input");
        let builder = builder.group("g").property(name, value).property("debug", "conf,security");
        said.push(format!("{builder:?} {builder:#?}"));
        match builder.start() {
            Ok(source) => {
                said.push(format!("{source:?}"));
                source.wait_for_active(1, Duration::from_millis(500));
                source.stop();
                if let Err(error) = source.wait() {
                    said.push(format!("{error} {error:?}"));
                }
            }
            Err(error) => said.push(format!("{error} {error:?}")),
        }
    }
    let printed = |text: &str| text.lines().find(|line| line.contains(SECRET)).map(str::to_owned);
    assert_eq!(printed(&said.join("\n")), None);
    assert_eq!(printed(&log.text()), None);
    assert!(log.text().contains("librdkafka"), "the log was seen");
}

#[test]
fn u5_a_producer_that_is_dropped_has_sent_its_events() {
    let broker = Broker::builder().topic("input", 1).start().unwrap();
    let producer = EventProducer::new(&broker.bootstrap(), Topic::<Word>::new("input")).unwrap();
    for _ in 0..1_000 {
        producer.send("key", &Word::Say("a".to_owned())).unwrap();
    }
    drop(producer);
    let read = streams_tests::oracle::read_committed(&broker.bootstrap(), "input", 1_000, PATIENCE);
    assert_eq!(read.unwrap().len(), 1_000);
}

#[test]
fn u5_a_producer_that_is_dropped_logs_what_was_not_sent() {
    let log = Log::of_process();
    let broker = Broker::builder().start().unwrap();
    let mut cluster = ClusterConfig { bootstrap: broker.bootstrap(), ..Default::default() };
    cluster.properties.insert("topic.metadata.propagation.max.ms", "500");
    let producer = PlainProducer::new(&cluster).unwrap();
    let mut outputs = Outputs::default();
    ProducerRecord::to("u5-nowhere").value(&b"x"[..]).write_to(&mut outputs);
    producer.send(outputs.iter().next().unwrap()).unwrap();
    drop(producer);
    let text = log.text();
    let line = text.lines().find(|line| line.contains("dropped before its records were sent"));
    let line = line.expect("the log tells");
    assert!(line.contains("ERROR") && line.contains("topic `u5-nowhere`"), "{line}");
}
