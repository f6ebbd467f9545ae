//! Runs the conformance cases on a broker, and prints the transcript.
//!
//! ```sh
//! cargo run -p streams-tests --bin conformance -- --bootstrap 127.0.0.1:9092
//! cargo run -p streams-tests --bin conformance -- --kafka > tests/conformance/kafka-4.4.txt
//! export STREAMS_KAFKA_VERSION=3.9
//! cargo run -p streams-tests --bin conformance -- --kafka > tests/conformance/kafka-3.9.txt
//! ```

use anyhow::{Result, bail};
use clap::Parser;
use streams_broker::Broker;
use streams_tests::broker::TestBroker;
use streams_tests::conformance::{Case, cases, run_all};
use streams_tests::kafka::{self, Kafka};

/// Runs the conformance cases on a broker, and prints the transcript.
#[derive(Debug, Parser)]
#[command(group = clap::ArgGroup::new("broker").required(true))]
struct Options {
    /// The address of a broker; one that is made for tests.
    #[arg(long, group = "broker")]
    bootstrap: Option<String>,
    /// Start an Apache Kafka.
    #[arg(long, group = "broker")]
    kafka: bool,
    /// Start an embedded broker.
    #[arg(long, group = "broker")]
    embedded: bool,
    /// Only the cases whose name contains this.
    #[arg(long, default_value = "")]
    case: String,
    /// So many cases at a time.
    #[arg(long, default_value_t = 16)]
    threads: usize,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let chosen: Vec<Case> =
        cases().into_iter().filter(|case| case.name.contains(&options.case)).collect();
    if chosen.is_empty() {
        bail!("no case has `{}` in its name", options.case);
    }
    let started = match (options.kafka, options.embedded) {
        (true, _) => Some(TestBroker::Kafka(Kafka::start()?)),
        (_, true) => Some(TestBroker::Embedded(Broker::builder().start()?)),
        _ => None,
    };
    let bootstrap = started.as_ref().map(TestBroker::bootstrap).or(options.bootstrap);
    let bootstrap = bootstrap.unwrap_or_default();
    let transcript = run_all(&chosen, &bootstrap, options.threads)?;
    let version = kafka::version()?;
    println!(
        "The answers of Apache Kafka {version} to the conformance cases. To record them again:"
    );
    println!(
        "{}={version} cargo run -p streams-tests --bin conformance -- --kafka",
        kafka::VERSION
    );
    print!("{transcript}");
    drop(started);
    Ok(())
}
