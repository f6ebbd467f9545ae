//! The broker on its own:
//! `cargo run -p streams-broker -- --listen 127.0.0.1:9092 --topic events:4`.
//!
//! It ends on SIGINT and SIGTERM, and says how it is on SIGUSR1.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use streams_broker::{Broker, BrokerBuilder, Fsync};
use tokio::signal::unix::{SignalKind, signal};

/// An embedded Kafka broker for tests and first runs.
///
/// SIGINT and SIGTERM end it; SIGUSR1 prints topics, groups, open transactions, connections and
/// memory.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The address to listen at.
    #[arg(long, default_value = "127.0.0.1:9092")]
    listen: String,
    /// A topic that is there from the start; may be given several times.
    #[arg(long = "topic", value_name = "NAME[:PARTITIONS]", value_parser = topic)]
    topics: Vec<(String, i32)>,
    /// Make a topic that a client asks for.
    #[arg(long)]
    auto_create_topics: bool,
    /// The partitions of a topic that does not say how many.
    #[arg(long, default_value_t = 1)]
    default_partitions: i32,
    /// The largest record batch, in bytes.
    #[arg(long, default_value_t = 1_048_588)]
    max_message_bytes: usize,
    /// What all records together may take, in MiB.
    #[arg(long, default_value_t = 4_096)]
    memory_mib: usize,
    /// So many connections may be open.
    #[arg(long, default_value_t = 10_000)]
    connections: usize,
    /// The largest request, in MiB.
    #[arg(long, default_value_t = 100)]
    request_mib: usize,
    /// So long a group's first generation waits for more members, in milliseconds.
    #[arg(long, default_value_t = 0)]
    group_initial_rebalance_delay_ms: u64,
    /// A line for each client that comes and goes.
    #[arg(long)]
    log_clients: bool,
    /// Keep everything in this directory, over a restart.
    #[arg(long)]
    data_dir: Option<std::path::PathBuf>,
    /// What is kept has to reach the disk before the reply; else a machine that loses its power
    /// may lose it.
    #[arg(long, requires = "data_dir")]
    fsync: bool,
}

/// `name:partitions`, or `name` for a single one.
fn topic(text: &str) -> Result<(String, i32), String> {
    let (name, partitions) = text.split_once(':').unwrap_or((text, "1"));
    let partitions = partitions.parse().map_err(|_| "the partitions are no number".to_owned())?;
    Ok((name.to_owned(), partitions))
}

impl Arguments {
    fn builder(self) -> BrokerBuilder {
        let delay = Duration::from_millis(self.group_initial_rebalance_delay_ms);
        let builder = Broker::builder()
            .listen(self.listen)
            .auto_create_topics(self.auto_create_topics)
            .default_partitions(self.default_partitions)
            .max_message_bytes(self.max_message_bytes)
            .memory_bytes_max(self.memory_mib << 20)
            .connections_max(self.connections)
            .request_bytes_max(self.request_mib << 20)
            .group_initial_rebalance_delay(delay)
            .log_clients(self.log_clients);
        let builder = match self.data_dir {
            Some(directory) => builder.data_dir(directory),
            None => builder,
        };
        let builder = builder.fsync(if self.fsync { Fsync::Always } else { Fsync::Never });
        self.topics.into_iter().fold(builder, |builder, (name, count)| builder.topic(name, count))
    }
}

fn main() -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env();
    let filter = filter.unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_env_filter(filter).init();
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut status = signal(SignalKind::user_defined1())?;
        let broker = arguments.builder().start()?;
        eprintln!("listening at {}; end with Ctrl-C", broker.bootstrap());
        loop {
            tokio::select! {
                _ = interrupt.recv() => return Ok(()),
                _ = terminate.recv() => return Ok(()),
                _ = status.recv() => eprintln!("{}", broker.status()?),
            }
        }
    })
}
