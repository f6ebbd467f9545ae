//! Applications under test: the real worker on a cluster in memory, under virtual time.

#![doc = include_str!("../docs/testing.md")]

mod asking;
mod client;
mod cluster;
mod context;
mod driver;
mod durable;
mod fault;
mod jobs;
mod producer;
mod scenario;
mod shown;

#[cfg(test)]
pub(crate) use self::client::{MemoryFetcher, MemoryProducer};
#[cfg(test)]
pub(crate) use self::cluster::{Cluster, View};
pub use self::context::{ContextBuilder, Effects, MockCompleter, TestContext, context};
pub use self::driver::TestDriver;
#[cfg(test)]
pub(crate) use self::durable::StepRunner;
pub use self::fault::Fault;
pub use self::producer::MockProducer;
use crate::codec::{AsKey, CodecError, KeyCodec};
use crate::handler::{Events, Topic};
use crate::record::{Headers, OutputRef, Outputs, Record, TopicPartition};

/// The record that sends `event` to `topic`.
///
/// # Errors
/// If the payload can't be encoded.
#[expect(clippy::needless_pass_by_value, reason = "an event is sent once, as by `forward`")]
pub fn record<E: Events, K: KeyCodec>(
    topic: &Topic<E, K>,
    key: &(impl AsKey<K> + ?Sized),
    event: E::At<'_>,
) -> Result<Record, CodecError> {
    let mut outputs = Outputs::default();
    topic.write(&mut outputs, None, key, &event)?;
    let output = outputs.iter().next().expect("it was written just now");
    Ok(to_record(&output, 0, 0))
}

fn to_record(output: &OutputRef<'_>, partition: i32, offset: i64) -> Record {
    let mut record = Record::new(TopicPartition::new(output.topic, partition), offset)
        .with_headers(Headers::from_pairs(output.headers().raw()));
    if let Some(key) = output.key {
        record = record.with_key(key.to_vec());
    }
    if let Some(value) = output.value {
        record = record.with_value(value.to_vec());
    }
    if let Some(timestamp_ms) = output.timestamp_ms {
        record = record.with_timestamp_ms(timestamp_ms);
    }
    record
}
