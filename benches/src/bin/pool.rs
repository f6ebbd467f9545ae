//! The yardstick: a bare, tuned rdkafka pool that does the work of `running_totals`.
//!
//! Three transactional producers; each batch (10 ms or 10,000 records) is flushed, then committed
//! on another thread while the next one is filled. A changelog record for each update, in the
//! transaction. It neither restores, nor rebalances, nor survives an abort: nothing but speed.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::Parser;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::types::{RDKafkaErrorCode, RDKafkaRespErr};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde::{Deserialize, Serialize};

type Pooled = ThreadedProducer<DefaultProducerContext>;

const PRODUCERS: usize = 3;
const BATCH_RECORDS: usize = 10_000;
const BATCH_DELAY: Duration = Duration::from_millis(10);
const TIMEOUT: Duration = Duration::from_secs(30);

/// A bare rdkafka pool, with the arguments of `running_totals`.
#[derive(Parser, Debug)]
struct Args {
    #[arg(long)]
    bootstrap: String,
    #[arg(long)]
    group: String,
    #[arg(long)]
    input: String,
    #[arg(long)]
    output: String,
    #[arg(long)]
    changelog: String,
    #[arg(long)]
    partitions: i32,
    #[arg(long)]
    instance: Option<String>,
}

#[derive(Deserialize)]
struct Update<'a> {
    id: &'a str,
    name: &'a str,
    amount: i64,
    ts: i64,
}

#[derive(Serialize)]
struct RunningTotal {
    count: u64,
    sum: i64,
}

#[derive(Serialize)]
struct Total<'a> {
    id: &'a str,
    name: &'a str,
    count: u64,
    sum: i64,
    ts: i64,
}

/// librdkafka's own flush: rust-rdkafka's waits in steps of 100 ms.
#[expect(unsafe_code, reason = "rust-rdkafka has no safe form of it")]
fn flush(producer: &Pooled) -> Result<()> {
    let millis = i32::try_from(TIMEOUT.as_millis())?;
    // SAFETY: the pointer is the live producer's, borrowed for the call.
    let code = unsafe { rdkafka::bindings::rd_kafka_flush(producer.client().native_ptr(), millis) };
    ensure!(code == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR, "flush: {code:?}");
    Ok(())
}

fn send(producer: &Pooled, mut record: BaseRecord<'_, [u8], [u8]>) -> Result<()> {
    while let Err((error, back)) = producer.send(record) {
        let KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) = error else {
            return Err(error.into());
        };
        std::thread::sleep(Duration::from_millis(1));
        record = back;
    }
    Ok(())
}

fn producers(args: &Args) -> Result<Vec<Pooled>> {
    (0..PRODUCERS)
        .map(|slot| {
            let producer: Pooled = ClientConfig::new()
                .set("bootstrap.servers", &args.bootstrap)
                .set("transactional.id", format!("{}-{slot}", args.group))
                .set("partitioner", "murmur2_random")
                .set("delivery.report.only.error", "true")
                .set("linger.ms", "5")
                .set("retry.backoff.ms", "1")
                .create()?;
            producer.init_transactions(TIMEOUT)?;
            Ok(producer)
        })
        .collect()
}

fn main() -> Result<()> {
    let args = Args::parse();
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &args.bootstrap)
        .set("group.id", &args.group)
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest")
        .set("isolation.level", "read_committed")
        .set("fetch.queue.backoff.ms", "1")
        .create()?;
    consumer.subscribe(&[&args.input])?;
    let producers = producers(&args)?;
    let (to_commit, batches) = mpsc::channel::<(usize, TopicPartitionList)>();
    let (to_free, free) = mpsc::channel::<usize>();
    (1..PRODUCERS).try_for_each(|slot| to_free.send(slot))?;
    std::thread::scope(|scope| {
        let (consumer, producers) = (&consumer, &producers);
        let committer = scope.spawn(move || -> Result<()> {
            while let Ok((slot, offsets)) = batches.recv() {
                let Some(metadata) = consumer.group_metadata() else {
                    anyhow::bail!("no group metadata");
                };
                producers[slot].send_offsets_to_transaction(&offsets, &metadata, TIMEOUT)?;
                producers[slot].commit_transaction(TIMEOUT)?;
                // At the end nobody takes it.
                let _ = to_free.send(slot);
            }
            Ok(())
        });
        work(&args, consumer, producers, &stop, &to_commit, &free)?;
        drop(to_commit);
        committer.join().map_err(|_| anyhow::anyhow!("the committer panicked"))?
    })
}

fn work(
    args: &Args,
    consumer: &BaseConsumer,
    producers: &[Pooled],
    stop: &AtomicBool,
    to_commit: &mpsc::Sender<(usize, TopicPartitionList)>,
    free: &mpsc::Receiver<usize>,
) -> Result<()> {
    let mut totals: HashMap<Vec<u8>, (u64, i64)> = HashMap::new();
    let mut next: HashMap<i32, i64> = HashMap::new();
    let headers = OwnedHeaders::new().insert(Header { key: "__grt__", value: Some("Event") });
    let (mut buffer, mut open, mut slot) = (Vec::with_capacity(256), 0, 0);
    let mut deadline = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        let wait = match open {
            0 => Duration::from_millis(100),
            _ => deadline.saturating_duration_since(Instant::now()),
        };
        match consumer.poll(wait) {
            Some(Ok(message)) => {
                if open == 0 {
                    producers[slot].begin_transaction()?;
                    deadline = Instant::now() + BATCH_DELAY;
                }
                open += 1;
                let key = message.key().unwrap_or_default();
                let update: Update<'_> =
                    serde_json::from_slice(message.payload().unwrap_or_default())?;
                let total = match totals.get_mut(key) {
                    Some(total) => total,
                    None => totals.entry(key.to_vec()).or_default(),
                };
                total.0 += 1;
                total.1 += update.amount;
                let (count, sum) = *total;
                buffer.clear();
                serde_json::to_writer(&mut buffer, &RunningTotal { count, sum })?;
                let change = BaseRecord::to(&args.changelog).partition(message.partition());
                send(&producers[slot], change.key(key).payload(&buffer[..]))?;
                buffer.clear();
                let Update { id, name, ts, .. } = update;
                serde_json::to_writer(&mut buffer, &Total { id, name, count, sum, ts })?;
                let output = BaseRecord::to(&args.output).headers(headers.clone());
                send(&producers[slot], output.key(key).payload(&buffer[..]))?;
                next.insert(message.partition(), message.offset() + 1);
            }
            Some(Err(error)) => eprintln!("pool: {error}"),
            None => {}
        }
        if open > 0 && (open >= BATCH_RECORDS || Instant::now() >= deadline) {
            let mut offsets = TopicPartitionList::new();
            for (partition, offset) in next.drain() {
                offsets.add_partition_offset(&args.input, partition, Offset::Offset(offset))?;
            }
            // All of it is in the log before the next producer's first record.
            flush(&producers[slot])?;
            to_commit.send((slot, offsets))?;
            slot = free.recv()?;
            open = 0;
        }
    }
    Ok(())
}
