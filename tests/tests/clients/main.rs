//! Clients that nobody here wrote, on the embedded broker and on Apache Kafka.
//!
//! Where a toolchain is missing, a test is ignored by name, with the reason;
//! `STREAMS_REQUIRE_CLIENTS=1` makes that a failure.

mod streams;

use std::sync::{Arc, Mutex, PoisonError, mpsc};

use anyhow::{Context, Result};
use libtest_mimic::{Arguments, Trial};
use streams_tests::broker::{TestBroker, create_topics};
use streams_tests::clients::{CLIENTS, Client, REQUIRE};
use streams_tests::kafka::{self, Kafka};
use streams_tests::trial::trial;

type Body = fn(&Client, &TestBroker, &str) -> Result<()>;

/// Most programs wait most of the time; the others are the Java machines that start.
const THREADS: usize = 4;

/// Apache Kafka, which the first test that needs it starts. The thread that starts Kafka must live
/// as long as Kafka, so it is one of its own.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Option<Arc<TestBroker>>>>);

impl Shared {
    fn broker(&self) -> Result<Arc<TestBroker>> {
        let mut shared = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(broker) = &*shared {
            return Ok(Arc::clone(broker));
        }
        let (report, started) = mpsc::channel();
        std::thread::spawn(move || {
            let _ = report.send(Kafka::start());
            loop {
                std::thread::park();
            }
        });
        let kafka = started.recv().context("the thread that starts Kafka")??;
        Ok(Arc::clone(shared.insert(Arc::new(TestBroker::Kafka(kafka)))))
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
    // The longest test first.
    let java = Client::named("java").expect("the Java client");
    let mut tests: Vec<(&str, &Client, Body)> =
        vec![("kafka_streams_survives_sigkill", java, streams::survives_sigkill)];
    tests.extend(CLIENTS.iter().map(|client| (client.name, client, scenario as Body)));
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
    let threads = arguments.test_threads.unwrap_or(THREADS);
    let arguments = Arguments { test_threads: Some(threads), ..arguments };
    let conclusion = libtest_mimic::run(&arguments, trials);
    // The broker ends before the process does.
    drop(real);
    conclusion.exit();
}
