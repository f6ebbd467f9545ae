//! A source whose figures Prometheus can read: counts orders by customer, and prints its metrics.
//!
//! ```sh
//! cargo run --example observed                # 1,000 orders on an embedded broker
//! cargo run --example observed -- --bootstrap localhost:9092 --orders 100000
//! ```
//!
//! The example installs a recorder of the `metrics` facade before it starts the source, and prints
//! what a scrape would read once all orders are committed. It also takes GKES's `Metric` by a
//! handler and prints the slowest transaction to stderr.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use clap::Parser;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use streams_broker::Broker;
use streams_core::metrics::{Metric, Operation};
use streams_core::prelude::*;

#[derive(Events)]
enum Order {
    Placed(i64),
}

#[derive(Events)]
enum Count {
    Orders(i64),
}

#[derive(StateStore)]
struct Counts {
    orders: Table<String, i64>,
}

/// Forwards the running count of each customer's orders.
#[event_source(events = Order, store = Counts, shared = Topic<Count>)]
mod orders {
    use super::*;

    #[event_handler("Placed")]
    fn placed(
        ctx: &mut EventContext<Counts>,
        counts: &Topic<Count>,
        orders: i64,
    ) -> Result<ExecutionState> {
        let Some(customer) = ctx.key::<String>()? else { return ctx.fail("no customer") };
        let count = ctx.store.orders.update(customer.clone(), |count| {
            *count += orders;
            *count
        });
        ctx.forward(counts, &customer, Count::Orders(count))?;
        Ok(Complete)
    }
}

/// Counts orders, and prints the metrics.
#[derive(Parser, Debug)]
struct Args {
    /// A real cluster (host:port) instead of the embedded broker.
    #[arg(long, env = "STREAMS_BOOTSTRAP")]
    bootstrap: Option<String>,
    /// The consumer group; the topics are named for it.
    #[arg(long, default_value = "observed")]
    group: String,
    /// How many orders are sent.
    #[arg(long, default_value_t = 1_000)]
    orders: u64,
}

const CUSTOMERS: u64 = 10;
const PARTITIONS: i32 = 4;
const PATIENCE: Duration = Duration::from_secs(120);

fn main() -> anyhow::Result<()> {
    streams_examples::log_to_stderr();
    let args = Args::parse();
    let broker = match args.bootstrap {
        Some(_) => None,
        None => Some(Broker::builder().start()?),
    };
    let embedded = broker.as_ref().map(Broker::bootstrap);
    let bootstrap = args.bootstrap.or(embedded).unwrap_or_default();
    let recorder = PrometheusBuilder::new().build_recorder();
    let prometheus = recorder.handle();
    metrics::set_global_recorder(recorder)?;

    let slowest: Arc<Mutex<Option<Metric>>> = Arc::default();
    let seen = Arc::clone(&slowest);
    let input = format!("{}-orders", args.group);
    let output = format!("{}-counts", args.group);
    let source = orders::Source::builder()
        .bootstrap(&bootstrap)
        .group(&args.group)
        .topic(&input)
        .output(&output)
        .partitions(PARTITIONS)
        .shared(Topic::<Count>::named(output.clone()))
        .metrics_handler(move |metric: &Metric| keep_slowest(&seen, metric))
        .start()?;
    let producer = EventProducer::new(&bootstrap, Topic::<Order>::named(input))?;
    for order in 0..args.orders {
        producer.send(&format!("customer-{}", order % CUSTOMERS), &Order::Placed(1))?;
    }
    producer.flush(PATIENCE)?;
    await_records(&prometheus, args.orders)?;
    source.stop();
    source.wait()?;
    print!("{}", prometheus.render());
    if let Some(metric) = slowest.lock().ok().and_then(|slowest| slowest.clone()) {
        let (took, linger) = (metric.duration(), metric.linger());
        eprintln!("the slowest of them took {took:?}, of which it took events for {linger:?}");
    }
    Ok(())
}

fn keep_slowest(slowest: &Mutex<Option<Metric>>, metric: &Metric) {
    if metric.operation != Operation::TxnCommit {
        return;
    }
    if let Ok(mut slowest) = slowest.lock()
        && slowest.as_ref().is_none_or(|known| known.duration() < metric.duration())
    {
        *slowest = Some(metric.clone());
    }
}

/// Waits until the source's own figures count `records` committed records.
fn await_records(prometheus: &PrometheusHandle, records: u64) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let text = prometheus.render();
        let of = |line: &str| {
            line.starts_with("streams_source_records_total{").then(|| {
                line.rsplit(' ')
                    .next()
                    .and_then(|value| value.parse::<u64>().ok())
                    .unwrap_or_default()
            })
        };
        let done: u64 = text.lines().filter_map(of).sum();
        if done >= records {
            return Ok(());
        }
        anyhow::ensure!(Instant::now() < deadline, "{done} of {records} after {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
