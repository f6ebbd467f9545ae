//! A source's figures: what the `metrics` facade and the handler of metrics get.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use metrics::{
    Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};
use streams_core::metrics::{CATALOG, Kind, Metric, Operation};
use streams_core::prelude::*;
use streams_core::testing::Fault;

#[derive(Events)]
enum Numbers {
    Add(i64),
}

#[derive(Events)]
enum Sum {
    Changed(i64),
}

#[derive(StateStore)]
struct Sums {
    sums: Table<String, i64>,
}

static SUMS: Topic<Sum> = Topic::new("sums");

#[event_source(events = Numbers, store = Sums)]
mod sums {
    use super::*;

    #[event_handler("Add")]
    fn add(ctx: &mut EventContext<Sums>, number: i64) -> Result<ExecutionState> {
        let Some(key) = ctx.key::<String>()? else { return ctx.fail("no key") };
        let sum = ctx.store.sums.update(key.clone(), |sum| {
            *sum += number;
            *sum
        });
        ctx.forward(&SUMS, &key, Sum::Changed(sum))?;
        Ok(Complete)
    }
}

/// A recorder whose values a test can read.
#[derive(Clone, Default)]
struct Values(Arc<Mutex<BTreeMap<String, Arc<AtomicU64>>>>);

struct Count(Arc<AtomicU64>);

impl HistogramFn for Count {
    fn record(&self, _: f64) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Values {
    fn cell(&self, key: &Key) -> Arc<AtomicU64> {
        let labels = key.labels().filter(|label| !matches!(label.key(), "group" | "topic"));
        let labels: Vec<_> = labels.map(|l| format!("{}={}", l.key(), l.value())).collect();
        let name = format!("{}{{{}}}", key.name(), labels.join(","));
        Arc::clone(self.0.lock().expect("no panic").entry(name).or_default())
    }

    fn of(&self, name: &str) -> u64 {
        let values = self.0.lock().expect("no panic");
        let value = values.get(name).unwrap_or_else(|| panic!("{name}: {:?}", values.keys()));
        value.load(Ordering::Relaxed)
    }

    fn gauge(&self, name: &str) -> f64 {
        f64::from_bits(self.of(name))
    }

    fn has(&self, name: &str) -> bool {
        let values = self.0.lock().expect("no panic");
        values.keys().any(|known| known.split('{').next() == Some(name))
    }
}

impl Recorder for Values {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.cell(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.cell(key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(Arc::new(Count(self.cell(key))))
    }
}

#[test]
fn committed_work_is_counted_once_although_a_transaction_aborts() {
    let values = Values::default();
    let handled: Arc<Mutex<Vec<Metric>>> = Arc::default();
    let sink = Arc::clone(&handled);
    metrics::with_local_recorder(&values.clone(), || {
        let mut driver = sums::Source::builder()
            .topic("numbers")
            .partitions(2)
            .metrics_handler(move |metric: &Metric| sink.lock().unwrap().push(metric.clone()))
            .test_driver();
        for number in 0..50 {
            if number == 20 {
                driver.inject(Fault::Abort);
            }
            driver.send(&format!("key-{number}"), Numbers::Add(number));
        }
        driver.advance(Duration::from_secs(2));
    });
    let commits = values.of("streams_transactions_total{result=committed}");
    assert_eq!(values.of("streams_source_records_total{}"), 50);
    assert!(values.of("streams_transactions_total{result=aborted}") > 0);
    assert_eq!(values.of("streams_transaction_duration_seconds{}"), commits);
    assert_eq!(values.of("streams_transaction_source_records{}"), commits);
    // An output and a change for each event, and an opening record for each partition.
    let outputs = values.of("streams_output_records_total{}");
    assert_eq!(outputs, 50 * 2 + 2);
    assert_eq!(values.gauge("streams_events_in_flight{partition=0}"), 0.0);

    let handled = handled.lock().unwrap();
    let of = |operation: Operation| handled.iter().filter(move |m| m.operation == operation);
    assert_eq!(of(Operation::TxnCommit).count() as u64, commits);
    assert_eq!(of(Operation::TxnCommit).map(|m| m.count).sum::<usize>() as u64, outputs);
    let bytes: usize = of(Operation::TxnCommit).map(|m| m.bytes).sum();
    assert_eq!(values.of("streams_output_bytes_total{}"), bytes as u64);
    for metric in handled.iter() {
        assert_eq!((&*metric.topic, &*metric.group_id), ("numbers", "test"));
        assert!(metric.start_time <= metric.end_time);
        // The opening records of both partitions share a transaction.
        assert!(matches!(metric.partition_count, 1 | 2), "{metric:?}");
        assert_eq!(metric.partition.is_some(), metric.partition_count == 1, "{metric:?}");
    }
}

#[test]
fn a_restore_is_measured() {
    let values = Values::default();
    let handled: Arc<Mutex<Vec<Metric>>> = Arc::default();
    let sink = Arc::clone(&handled);
    metrics::with_local_recorder(&values.clone(), || {
        let mut driver = sums::Source::builder()
            .topic("numbers")
            .partitions(1)
            .metrics_handler(move |metric: &Metric| sink.lock().unwrap().push(metric.clone()))
            .test_driver();
        for number in 0..10 {
            driver.send(&format!("key-{number}"), Numbers::Add(1));
        }
        driver.crash();
        driver.send("key-1", Numbers::Add(1));
        assert_eq!(driver.store(0).sums.get("key-1"), Some(&2));
    });
    // Ten rows and the opening record.
    assert_eq!(values.of("streams_restored_records_total{}"), 11);
    let handled = handled.lock().unwrap();
    let restored = handled.iter().filter(|m| m.operation == Operation::PartitionPrepped);
    let restored: Vec<_> = restored.filter(|m| m.count > 0).collect();
    assert_eq!(restored.len(), 1);
    assert_eq!((restored[0].count, restored[0].partition), (11, Some(0)));
    assert_eq!(values.of("streams_restored_bytes_total{}"), restored[0].bytes as u64);
}

#[test]
fn a_worker_registers_its_figures_at_the_start() {
    /// The group's member, the sink of dropped metrics or a partition registers these.
    const ELSEWHERE: [&str; 12] = [
        "streams_rebalances_total",
        "streams_partitions_lost_total",
        "streams_partitions_active",
        "streams_group_members",
        "streams_group_transitions",
        "streams_metrics_dropped_total",
        "streams_events_in_flight",
        "streams_consumer_lag_records",
        "streams_restore_remaining_records",
        "streams_copy_lag_records",
        "streams_durable_jobs_pending",
        "streams_durable_jobs_bytes",
    ];
    let values = Values::default();
    metrics::with_local_recorder(&values, || {
        drop(sums::Source::builder().topic("numbers").test_driver());
    });
    for entry in CATALOG.iter().filter(|entry| !ELSEWHERE.contains(&entry.name)) {
        assert!(values.has(entry.name), "{}", entry.name);
        let total = entry.name.ends_with("_total");
        assert_eq!(total, entry.kind == Kind::Counter, "{}", entry.name);
    }
}
