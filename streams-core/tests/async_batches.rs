//! Batches of [`AsyncBatcher`] in a source: sizes, order by key, results, failures and bounds.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use streams_core::jobs::{AsyncBatcher, BatchItem, BatchItems, BatcherConfig};
use streams_core::prelude::*;
use streams_core::testing::{Fault, TestDriver};
use tokio::time::sleep;

const MS: Duration = Duration::from_millis(1);

#[derive(Events)]
enum Work {
    /// So many items of the record's key.
    Items(i64),
}

#[derive(Events, Debug, PartialEq)]
enum Out {
    Done(String),
}

static OUT: Topic<Out> = Topic::new("out");

#[derive(StateStore)]
struct Counts {
    counts: Table<String, i64>,
}

type Items = AsyncBatcher<Counts, String, i64, i64>;

struct App {
    items: Items,
}

#[event_source(events = Work, store = Counts, shared = App)]
mod work {
    use super::*;

    #[event_handler("Items")]
    fn items(ctx: &mut EventContext<Counts>, app: &App, count: i64) -> Result<ExecutionState> {
        let key = ctx.key::<String>()?.unwrap_or_default();
        let items = BatchItems::new(key).items(0..count);
        app.items.add(ctx, items, done)
    }
}

/// The callback: forwards the results of the event's items.
fn done(
    ctx: &mut EventContext<Counts>,
    items: Vec<BatchItem<String, i64, i64>>,
) -> Result<ExecutionState> {
    let key = ctx.key::<String>()?.unwrap_or_default();
    let result = |item: BatchItem<String, i64, i64>| match item.result {
        Ok(result) => result.to_string(),
        Err(error) => error.to_string(),
    };
    let results: Vec<String> = items.into_iter().map(result).collect();
    ctx.store.counts.update(key.clone(), |count| *count += 1);
    ctx.forward(&OUT, &key, Out::Done(results.join(",")))?;
    Ok(Complete)
}

/// The batches that were executed, each with its items.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<Batch>>>);

type Batch = Vec<(String, i64)>;

impl Log {
    fn sizes(&self) -> Vec<usize> {
        self.0.lock().expect("no panic").iter().map(Vec::len).collect()
    }
}

/// A batcher whose executor takes 10 ms and returns ten times each item.
fn tenfold(config: BatcherConfig, log: &Log) -> Items {
    let log = log.clone();
    let execute = move |items: Vec<(String, i64)>| {
        log.0.lock().expect("no panic").push(items.clone());
        async move {
            sleep(MS * 10).await;
            let results = items.iter().map(|(_, item)| Ok::<_, String>(item * 10));
            Ok::<_, std::io::Error>(results.collect())
        }
    };
    Items::new(config, execute).expect("settings")
}

fn driver(items: Items) -> TestDriver<work::Source> {
    work::Source::builder().shared(App { items }).test_driver()
}

fn outs(driver: &TestDriver<work::Source>) -> BTreeMap<String, Vec<String>> {
    let mut outs: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (key, Out::Done(results)) in driver.read(&OUT) {
        outs.entry(key).or_default().push(results);
    }
    outs
}

#[tokio::test(start_paused = true)]
async fn items_of_several_events_share_batches_and_an_event_may_need_several() {
    let log = Log::default();
    let config = BatcherConfig::new(4, 8).delay(MS * 5);
    let mut driver = driver(tenfold(config, &log));
    driver.send_all([("a", Work::Items(1)), ("b", Work::Items(1)), ("c", Work::Items(7))]);
    assert_eq!(log.sizes(), [0; 0]);
    driver.advance_async(MS).await;
    assert_eq!(log.sizes(), [4], "a full one does not wait; what is left of `c` waits for it");
    driver.advance_async(MS * 9).await;
    assert_eq!(driver.committed(0), Some(2));
    driver.advance_async(MS * 30).await;
    assert_eq!((log.sizes(), driver.committed(0)), (vec![4, 4, 1], Some(3)));
    let outs = outs(&driver);
    assert_eq!((&outs["a"][0], &outs["c"][0]), (&"0".into(), &"0,10,20,30,40,50,60".into()));
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_is_not_full_waits_for_its_delay() {
    let log = Log::default();
    let config = BatcherConfig::new(100, 8).delay(MS * 20);
    let mut driver = driver(tenfold(config, &log));
    driver.send("a", Work::Items(1));
    driver.advance_async(MS * 10).await;
    driver.send("b", Work::Items(1));
    driver.advance_async(MS * 9).await;
    assert_eq!(log.sizes(), [0; 0]);
    driver.advance_async(MS * 2).await;
    assert_eq!(log.sizes(), [2]);
}

#[tokio::test(start_paused = true)]
async fn a_key_is_in_one_batch_at_a_time_and_an_empty_group_keeps_its_place() {
    let log = Log::default();
    let config = BatcherConfig::new(1, 8).delay(MS);
    let mut driver = driver(tenfold(config, &log));
    let counts = [2, 0, 1];
    driver.send_all(counts.iter().flat_map(|n| ["a", "b"].map(|key| (key, Work::Items(*n)))));
    driver.send("c", Work::Items(0));
    assert_eq!(outs(&driver)["c"], [""], "nothing of its key is before it");
    driver.advance_async(MS * 15).await;
    assert_eq!(driver.read(&OUT).len(), 1, "two items of each key, one after the other");
    driver.advance_async(MS * 40).await;
    for key in ["a", "b"] {
        assert_eq!(outs(&driver)[key], ["0,10", "", "0"]);
    }
    let log = log.0.lock().expect("no panic");
    assert_eq!(log.len(), 6);
    assert!(log.chunks(2).all(|two| two[0][0].0 != two[1][0].0), "{log:?}");
}

#[tokio::test(start_paused = true)]
async fn each_item_has_its_result_and_a_failed_batch_gives_all_the_same() {
    let executor = |items: Vec<(String, i64)>| async move {
        let is_of = |key: &str| items.iter().any(|(of, _)| of == key);
        if is_of("slow") {
            sleep(MS * 60_000).await;
        }
        assert!(!is_of("panics"), "boom");
        match is_of("broken") {
            true => Err(std::io::Error::other("no route")),
            false if is_of("short") => Ok(vec![]),
            false => Ok(items
                .iter()
                .map(|(_, item)| if item % 2 == 0 { Ok(*item) } else { Err("odd") })
                .collect()),
        }
    };
    let config = BatcherConfig::new(3, 8).delay(MS).timeout(MS * 100);
    let mut driver = driver(Items::new(config, executor).expect("settings"));
    for key in ["good", "broken", "short", "panics", "slow"] {
        driver.send(key, Work::Items(3));
        driver.advance_async(MS).await;
    }
    driver.advance_async(MS * 110).await;
    assert_eq!(driver.committed(0), Some(5));
    let outs = outs(&driver);
    let thrice = |text: &str| [text, text, text].join(",");
    assert_eq!(outs["good"], ["0,the job failed in attempt 1: odd,2"]);
    assert_eq!(outs["broken"], [thrice("the job failed in attempt 1: no route")]);
    assert_eq!(outs["panics"], [thrice("the job panicked: boom")]);
    assert!(outs["short"][0].contains("returned 0 results for 3 items"), "{outs:?}");
    assert!(outs["slow"][0].contains("took longer than 100ms"), "{outs:?}");
}

#[tokio::test(start_paused = true)]
async fn an_abort_executes_items_again_and_their_effects_count_once() {
    let log = Log::default();
    let config = BatcherConfig::new(2, 1).delay(MS);
    let items = tenfold(config, &log);
    let mut driver = driver(items.clone());
    driver.send_all(["a", "b", "c", "a"].map(|key| (key, Work::Items(1))));
    driver.inject(Fault::Abort);
    driver.advance_async(MS * 12).await;
    driver.crash();
    driver.advance_async(MS * 1_000).await;
    assert_eq!((driver.committed(0), items.counts()), (Some(4), (0, 0)));
    assert_eq!(driver.read(&OUT).len(), 4);
    assert_eq!(driver.store(0).counts.get("a"), Some(&2));
}

#[tokio::test(start_paused = true)]
async fn a_full_batcher_holds_its_partition() {
    let log = Log::default();
    let config = BatcherConfig::new(10, 2).delay(MS).max_pending_items(50);
    let items = tenfold(config, &log);
    let mut driver = driver(items.clone());
    let keys: Vec<String> = (0..1_000).map(|key| format!("k{key}")).collect();
    driver.send_all(keys.iter().map(|key| (key, Work::Items(1))));
    assert_eq!(items.counts(), (51, 2), "one exceeds the limit");
    let mut most = 0;
    for _ in 0..600 {
        driver.advance_async(MS).await;
        most = most.max(items.counts().0);
    }
    assert_eq!((driver.committed(0), most), (Some(1_000), 51));
    let all: HashSet<String> =
        log.0.lock().expect("no panic").iter().flatten().map(|(key, _)| key.clone()).collect();
    assert_eq!(all.len(), 1_000);
}

#[test]
fn a_blocking_executor_has_threads_of_its_own() {
    let executor = |items: Vec<(String, i64)>| {
        std::thread::sleep(MS);
        let name = std::thread::current().name().unwrap_or_default().to_owned();
        assert_eq!(name, "streams-batches");
        Ok::<_, String>(items.iter().map(|(_, item)| Ok::<_, String>(item * 10)).collect())
    };
    let mut driver = driver(Items::blocking(BatcherConfig::new(5, 2), executor).expect("settings"));
    driver.send_all((0..20).map(|_| ("a", Work::Items(2))));
    let is_done = |driver: &TestDriver<work::Source>| driver.committed(0) == Some(20);
    assert!(driver.wait_until(Duration::from_secs(30), is_done));
    assert_eq!(outs(&driver)["a"], vec!["0,10"; 20]);
}

#[test]
fn items_of_a_runtime_that_is_shut_down_do_not_wait_for_ever() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.expect("a runtime");
    let log = Log::default();
    let config = BatcherConfig::new(1, 1).delay(MS);
    let items = runtime.block_on(async { tenfold(config, &log) });
    let mut driver = driver(items);
    drop(runtime);
    driver.send_all((0..1_000).map(|_| ("a", Work::Items(1))));
    assert_eq!(driver.committed(0), Some(1_000));
    assert!(outs(&driver)["a"].iter().all(|out| out.contains("runtime was shut down")));
}

#[test]
fn a_setting_out_of_range_is_refused_by_name() {
    let good = BatcherConfig::new(1, 1);
    let wrong = [
        (BatcherConfig::new(0, 1), "max_batch_size"),
        (BatcherConfig::new(1, 0), "max_concurrent_batches"),
        (good.delay(MS * 60_001), "delay"),
        (good.max_pending_items(0), "max_pending_items"),
        (good.timeout(Duration::ZERO), "timeout"),
    ];
    for (config, name) in wrong {
        let error = config.check().expect_err(name).to_string();
        assert!(error.contains(name), "{error}");
    }
    assert!(good.check().is_ok());
}
