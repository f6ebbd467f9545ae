//! The workload: updates of ids, the same for the same seed.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Result, bail};
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{ClientConfig, ClientContext};

use crate::proxy::SPARED_CLIENT_ID;

/// A generator of pseudo-random numbers (xorshift), the same for the same seed.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A generator.
    pub const fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// The next number below `bound`.
    pub const fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) % bound
    }
}

/// What the updates add up to, by id: count and sum.
pub type Totals = BTreeMap<String, (u64, i64)>;

/// Updates to send.
#[derive(Clone, Debug)]
pub struct Workload {
    /// How many.
    pub records: u64,
    /// Of how many ids.
    pub ids: u64,
    /// How many a second; 0 is as fast as it goes.
    pub rate: u64,
    /// The seed.
    pub seed: u64,
}

/// Microseconds since the Unix epoch.
pub fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// How long a record waits for a broker that can take it: longer than any outage of the tests.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(600);
/// How long the end of the workload waits for acknowledgements.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(120);

/// Remembers the first record that librdkafka could not deliver.
#[derive(Default)]
struct Deliveries {
    failed: OnceLock<KafkaError>,
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            self.failed.get_or_init(|| error.clone());
        }
    }
}

impl Workload {
    fn updates(&self) -> impl Iterator<Item = (String, i64)> + use<> {
        let (mut random, ids) = (Random::new(self.seed), self.ids);
        (0..self.records).map(move |_| {
            let id = format!("user-{:011}", random.below(ids));
            (id, i64::try_from(random.below(1_000)).unwrap_or(0))
        })
    }

    /// What they add up to.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::new();
        for (id, amount) in self.updates() {
            let total = totals.entry(id).or_default();
            total.0 += 1;
            total.1 += amount;
        }
        totals
    }

    /// Sends them to `topic`, and waits until all are acknowledged. With a rate, the time that each
    /// was due is its `ts`, so that a late send counts as latency.
    ///
    /// # Errors
    /// If one can't be sent.
    pub fn send(&self, bootstrap: &str, topic: &str) -> Result<()> {
        self.send_while(bootstrap, topic, || true).map(|_| ())
    }

    /// As [`Workload::send`], for as long as `go_on` says so. Returns how many were sent.
    ///
    /// # Errors
    /// If one can't be sent.
    pub fn send_while(
        &self,
        bootstrap: &str,
        topic: &str,
        go_on: impl Fn() -> bool,
    ) -> Result<u64> {
        let producer: ThreadedProducer<Deliveries> = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .set("client.id", SPARED_CLIENT_ID)
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("message.timeout.ms", DELIVERY_TIMEOUT.as_millis().to_string())
            .set("partitioner", "murmur2_random")
            .set("linger.ms", if self.rate == 0 { "20" } else { "1" })
            .set("queue.buffering.max.messages", "200000")
            .create_with_context(Deliveries::default())?;
        let headers = OwnedHeaders::new().insert(Header { key: "__grt__", value: Some("Update") });
        let (start, start_us) = (Instant::now(), now_us());
        let mut sent = 0;
        for (number, (id, amount)) in (0_u64..).zip(self.updates()) {
            if !go_on() {
                break;
            }
            let due_us = match self.rate {
                0 => 0,
                rate => number * 1_000_000 / rate,
            };
            let due = start + Duration::from_micros(due_us);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let ts = if self.rate == 0 { now_us() } else { start_us + i64::try_from(due_us)? };
            let name = format!("Contact Number {id} of Somewhere");
            let value = format!(r#"{{"id":"{id}","name":"{name}","amount":{amount},"ts":{ts}}}"#);
            let record = BaseRecord::to(topic).key(&id).payload(&value).headers(headers.clone());
            let mut record = record;
            while let Err((error, back)) = producer.send(record) {
                let KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) = error else {
                    bail!("sending to {topic}: {error}");
                };
                std::thread::sleep(Duration::from_millis(1));
                record = back;
            }
            sent += 1;
        }
        producer.flush(FLUSH_TIMEOUT)?;
        match producer.context().failed.get() {
            None => Ok(sent),
            Some(error) => bail!("a record for {topic} was not delivered: {error}"),
        }
    }
}
