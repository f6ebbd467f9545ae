//! Clients that nobody here wrote, on the embedded broker and on Apache Kafka.
//!
//! Where a toolchain is missing, a test is ignored by name, with the reason;
//! `STREAMS_REQUIRE_CLIENTS=1` makes that a failure.

mod streams;

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use libtest_mimic::{Arguments, Trial};
use streams_tests::broker::{TestBroker, create_topics};
use streams_tests::clients::{CLIENTS, Client, REQUIRE};
use streams_tests::kafka::{self, Kafka};
use streams_tests::trial::trial;

type Body = fn(&Client, &TestBroker, &str) -> Result<()>;

/// Apache Kafka, started by the first test that needs it. All tests run on the main thread, which
/// it must not outlive and does not.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Option<Arc<TestBroker>>>>);

impl Shared {
    fn broker(&self) -> Result<Arc<TestBroker>> {
        let mut shared = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(broker) = &*shared {
            return Ok(Arc::clone(broker));
        }
        Ok(Arc::clone(shared.insert(Arc::new(TestBroker::Kafka(Kafka::start()?)))))
    }
}

/// The scenario of `tests/clients/README.md`.
fn scenario(client: &Client, broker: &TestBroker, prefix: &str) -> Result<()> {
    if client.name == "kcat" {
        create_topics(&broker.bootstrap(), &[(&format!("{prefix}-events"), 3)])?;
    }
    client.run(&broker.bootstrap(), prefix)
}

fn main() {
    let arguments = Arguments::from_args();
    let no_kafka = kafka::missing();
    let real = Shared::default();
    let mut tests: Vec<(&str, &Client, Body)> =
        CLIENTS.iter().map(|client| (client.name, client, scenario as Body)).collect();
    let java = Client::named("java").expect("the Java client");
    tests.push(("kafka_streams_survives_sigkill", java, streams::survives_sigkill));
    let mut trials: Vec<Trial> = Vec::new();
    for (name, client, body) in tests {
        let no_client = client.missing();
        let skip = no_client.clone();
        trials.push(trial(format!("embedded::{name}"), skip, REQUIRE, move |prefix| {
            body(client, &TestBroker::embedded()?, prefix)
        }));
        let real = real.clone();
        let skip = no_kafka.clone().or(no_client);
        trials.push(trial(format!("kafka::{name}"), skip, REQUIRE, move |prefix| {
            body(client, &*real.broker()?, prefix)
        }));
    }
    let conclusion = libtest_mimic::run(&Arguments { test_threads: Some(1), ..arguments }, trials);
    // The broker ends before the process does.
    drop(real);
    conclusion.exit();
}
