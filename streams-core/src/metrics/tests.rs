//! The catalog is the documentation's table, and every figure of it is reported.

use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier};
use std::time::{Duration, SystemTime};

use super::*;

const TABLE: &str = include_str!("../docs/metrics.md");

fn labels() -> SourceLabels {
    SourceLabels { group: Arc::from("g"), topic: Arc::from("t") }
}

fn metric(name: &'static str) -> Metric {
    Metric::custom(name, "t", SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH)
}

#[test]
fn the_table_of_the_documentation_is_the_catalog() {
    let rows: Vec<String> =
        TABLE.lines().filter(|line| line.starts_with("| `")).map(str::to_owned).collect();
    let row = |entry: &Entry| {
        let labels: Vec<String> = entry.labels.iter().map(|label| format!("`{label}`")).collect();
        let (name, kind, unit, help) = (entry.name, entry.kind.name(), entry.unit, entry.help);
        format!("| `{name}` | {kind} | {unit} | {} | {help} |", labels.join(", "))
    };
    let catalog: Vec<String> = CATALOG.iter().map(row).collect();
    assert_eq!(rows, catalog);
}

#[test]
fn a_metric_measures_linger_and_execution() {
    let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    let mut metric = Metric::custom("Own", "t", at(10), at(16));
    assert_eq!((metric.operation.name(), metric.duration()), ("Own", Duration::from_secs(6)));
    assert_eq!((metric.linger(), metric.execute_duration()), (Duration::ZERO, metric.duration()));
    metric.execute_time = Some(at(12));
    assert_eq!(metric.linger(), Duration::from_secs(2));
    assert_eq!(metric.execute_duration(), Duration::from_secs(4));
    metric.end_time = at(1);
    assert_eq!(metric.duration(), Duration::ZERO, "the clock was set back");
}

#[test]
fn a_slow_handler_loses_metrics_and_holds_up_nothing() {
    let barrier = Arc::new(Barrier::new(2));
    let (seen, handled) = channel();
    let wait = Arc::clone(&barrier);
    let handler = move |metric: &Metric| {
        if metric.operation.name() == "first" {
            wait.wait();
            wait.wait();
        }
        let _ = seen.send(metric.operation.name().to_owned());
    };
    let sink = MetricsSink::spawn(&labels(), Some(Arc::new(handler))).expect("a thread");
    assert!(sink.send(metric("first")));
    barrier.wait();
    // The handler is busy with the first one: the queue takes its bound, and not one more.
    for _ in 0..METRICS_QUEUE_MAX {
        assert!(sink.send(metric("fits")));
    }
    assert!(!sink.send(metric("too many")));
    barrier.wait();
    drop(sink);
    let handled: Vec<String> = handled.iter().collect();
    assert_eq!(handled.len(), 1 + METRICS_QUEUE_MAX);
    assert!(!handled.contains(&"too many".to_owned()));
}

#[test]
fn a_handler_that_panics_gets_no_further_metrics() {
    let handler = |_: &Metric| panic!("planted");
    let sink = MetricsSink::spawn(&labels(), Some(Arc::new(handler))).expect("a thread");
    assert!(sink.send(metric("first")));
    let mut refused = false;
    for _ in 0..1_000 {
        refused = !sink.send(metric("later"));
        if refused {
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(refused, "the sink notices that the thread has ended");
}
