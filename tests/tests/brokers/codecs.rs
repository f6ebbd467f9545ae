//! Kafka's codecs: a source reads and writes each of them, and restores its store from each.

use std::time::Duration;

use anyhow::{Result, ensure};
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use streams_core::prelude::*;
use streams_core::record::RECORD_TYPE_HEADER;
use streams_tests::broker::TestBroker;
use streams_tests::oracle::read_committed;

const PATIENCE: Duration = Duration::from_secs(30);
const EVENTS: usize = 300;

#[derive(Events)]
enum Word {
    Say(String),
}

#[derive(StateStore)]
struct Words {
    said: Table<String, u64>,
}

static OUTPUTS: [(&str, Topic<Word>); 4] = [
    ("gzip", Topic::new("codecs-gzip-output")),
    ("snappy", Topic::new("codecs-snappy-output")),
    ("lz4", Topic::new("codecs-lz4-output")),
    ("zstd", Topic::new("codecs-zstd-output")),
];

#[event_source(events = Word, store = Words)]
mod words {
    use super::*;

    #[event_handler("Say")]
    fn say(
        ctx: &mut EventContext<Words>,
        word: String,
    ) -> streams_core::prelude::Result<ExecutionState> {
        let mut said = 0;
        ctx.store.said.update(word.clone(), |count| {
            *count += 1;
            said = *count;
        });
        for (codec, output) in &OUTPUTS {
            if word.starts_with(codec) {
                ctx.forward(output, "key", Word::Say(format!("{word}={said}")))?;
            }
        }
        Ok(Complete)
    }
}

fn send(bootstrap: &str, topic: &str, codec: &str, word: &str, events: usize) -> Result<()> {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("compression.type", codec)
        .set("linger.ms", "50")
        .create()?;
    for _ in 0..events {
        let header = Header { key: RECORD_TYPE_HEADER, value: Some("Say") };
        let record = BaseRecord::to(topic).key("key").payload(word);
        let sent = producer.send(record.headers(OwnedHeaders::new().insert(header)));
        sent.map_err(|(error, _)| error)?;
    }
    producer.flush(PATIENCE)?;
    Ok(())
}

/// The topics have `compression.type` too: Apache Kafka compresses again with that.
pub(crate) fn each(broker: &TestBroker, prefix: &str) -> Result<()> {
    let bootstrap = broker.bootstrap();
    for (codec, output) in &OUTPUTS {
        let input = format!("{prefix}-{codec}");
        let start = || {
            words::Source::builder()
                .bootstrap(&bootstrap)
                .group(format!("{input}-group"))
                .topic(&input)
                .output(output.name())
                .partitions(1)
                .topic_config("compression.type", *codec)
                .property("compression.type", *codec)
                .leave_timeout(Duration::ZERO)
                .start()
        };
        let word = format!("{codec}{}", "!".repeat(200));
        let source = start()?;
        send(&bootstrap, &input, codec, &word, EVENTS)?;
        let read = read_committed(&bootstrap, output.name(), EVENTS, PATIENCE)?;
        ensure!(read.len() == EVENTS, "{codec}: {} outputs", read.len());
        source.stop();
        source.wait()?;
        let source = start()?;
        send(&bootstrap, &input, codec, &word, 1)?;
        let read = read_committed(&bootstrap, output.name(), EVENTS + 1, PATIENCE)?;
        let last = read.last().map(|value| String::from_utf8_lossy(value).into_owned());
        let expected = format!("{word}={}", EVENTS + 1);
        ensure!(last.as_deref() == Some(&expected), "{codec}: {last:?} after a restore");
        source.stop();
        source.wait()?;
    }
    Ok(())
}
