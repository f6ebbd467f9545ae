//! Kills the nodes of a cluster under members that process a load; see `streams_tests::chaos`.
//!
//! ```sh
//! cargo build --examples
//! cargo run -p streams-tests --bin chaos -- --minutes 10
//! ```

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Parser;
use streams_tests::chaos::{Settings, run};
use streams_tests::kafka;

/// Kills the nodes of a cluster of three under members that process a load.
#[derive(Debug, Parser)]
struct Options {
    /// How long the load lasts at least.
    #[arg(long, default_value_t = 10, conflicts_with = "short")]
    minutes: u64,
    /// Each fault once, with shorter bounds.
    #[arg(long)]
    short: bool,
    /// How long two of three nodes stay away at the end, in seconds.
    #[arg(long)]
    outage: Option<u64>,
    /// Updates per second.
    #[arg(long)]
    rate: Option<u64>,
    /// The number of members.
    #[arg(long)]
    members: Option<usize>,
    /// The seed of the updates and of the choice of victims.
    #[arg(long)]
    seed: Option<u64>,
    /// A property of the members' Kafka clients, by librdkafka's name.
    #[arg(short = 'X', value_name = "NAME=VALUE")]
    property: Vec<String>,
}

fn main() -> ExitCode {
    match start(Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the run has failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(options: Options) -> Result<()> {
    if let Some(missing) = kafka::missing() {
        bail!("the cluster cannot start: {missing}");
    }
    let mut settings =
        if options.short { Settings::short() } else { Settings::long(options.minutes) };
    settings.outage = options.outage.map_or(settings.outage, Duration::from_secs);
    settings.rate = options.rate.unwrap_or(settings.rate);
    settings.members = options.members.unwrap_or(settings.members);
    settings.seed = options.seed.unwrap_or(settings.seed);
    settings.properties = options.property;
    let report = run(&settings, &mut |line| println!("{line}"))?;
    println!("{report}");
    report.check()
}
