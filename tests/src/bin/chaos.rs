//! Kills the nodes of a cluster under members that process a load; see `streams_tests::chaos`.
//!
//! ```sh
//! cargo build --examples
//! cargo run -p streams-tests --bin chaos -- --minutes 10
//! ```

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
    /// Updates per second.
    #[arg(long)]
    rate: Option<u64>,
    /// The number of members.
    #[arg(long)]
    members: Option<usize>,
    /// The seed of the updates and of the choice of victims.
    #[arg(long)]
    seed: Option<u64>,
}

fn main() -> Result<()> {
    let options = Options::parse();
    if let Some(missing) = kafka::missing() {
        bail!("the cluster cannot start: {missing}");
    }
    let mut settings =
        if options.short { Settings::short() } else { Settings::long(options.minutes) };
    settings.rate = options.rate.unwrap_or(settings.rate);
    settings.members = options.members.unwrap_or(settings.members);
    settings.seed = options.seed.unwrap_or(settings.seed);
    let report = run(&settings, &mut |line| println!("{line}"))?;
    println!("{report}");
    report.check()
}
