//! The examples of GKES's document on asynchronous processing that execute batches.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use streams_core::jobs::{AsyncBatcher, BatchItem, BatchItems, BatcherConfig};
use streams_core::prelude::*;
use streams_core::testing::TestDriver;
use tokio::time::sleep;

const MS: Duration = Duration::from_millis(1);

#[derive(Clone, EventCodec, serde::Serialize, serde::Deserialize)]
struct MyEvent {
    key: String,
    rows: Vec<i64>,
}

#[derive(Events)]
enum MyEvents {
    MyEvent(MyEvent),
}

/// A row that could not be written.
#[derive(Clone, EventCodec, serde::Serialize, serde::Deserialize)]
struct WriteError {
    batch_key: String,
    row: i64,
}

#[derive(StateStore)]
struct MyStore {
    sums: Table<String, i64>,
    errors: Table<String, WriteError>,
}

type Batcher = AsyncBatcher<MyStore, String, i64>;

/// A table that takes up to 50 rows in a request, and refuses those in `refused`.
#[derive(Clone, Default)]
struct Ddb {
    requests: Arc<Mutex<Vec<Vec<i64>>>>,
    refused: Arc<Mutex<Vec<i64>>>,
}

impl Ddb {
    async fn batch_write(&self, rows: &[i64]) -> std::io::Result<Vec<std::io::Result<()>>> {
        sleep(MS * 10).await;
        self.requests.lock().expect("no panic").push(rows.to_vec());
        let refused = self.refused.lock().expect("no panic");
        let result = |row| match refused.contains(row) {
            true => Err(std::io::Error::other("throttled")),
            false => Ok(()),
        };
        Ok(rows.iter().map(result).collect())
    }

    fn batcher(&self) -> Batcher {
        let ddb = self.clone();
        let write = move |items: Vec<(String, i64)>| {
            let ddb = ddb.clone();
            async move {
                let rows: Vec<i64> = items.into_iter().map(|(_, row)| row).collect();
                ddb.batch_write(&rows).await
            }
        };
        Batcher::new(BatcherConfig::new(50, 100).delay(MS * 10), write).expect("settings")
    }
}

struct App {
    ddb: Batcher,
}

type Callback =
    fn(&mut EventContext<MyStore>, Vec<BatchItem<String, i64, ()>>) -> Result<ExecutionState>;

fn handle(
    ctx: &mut EventContext<MyStore>,
    app: &App,
    event: &MyEvent,
    batch_key: String,
    callback: Callback,
) -> Result<ExecutionState> {
    ctx.store.sums.update(event.key.clone(), |sum| *sum += event.rows.iter().sum::<i64>());
    app.ddb.add(ctx, BatchItems::new(batch_key).items(event.rows.clone()), callback)
}

/// Records what could not be written; an interjection writes it again.
fn record_errors(
    ctx: &mut EventContext<MyStore>,
    items: Vec<BatchItem<String, i64, ()>>,
) -> Result<ExecutionState> {
    for BatchItem { key, value, result } in items {
        if result.is_err() {
            let error = WriteError { batch_key: key, row: value };
            ctx.store.errors.put(value.to_string(), error);
        }
    }
    Ok(Complete)
}

mod writing {
    use super::*;

    #[event_source(events = MyEvents, store = MyStore, shared = App)]
    pub(super) mod source {
        use super::*;

        #[event_handler("MyEvent")]
        fn my_event(
            ctx: &mut EventContext<MyStore>,
            app: &App,
            event: MyEvent,
        ) -> Result<ExecutionState> {
            let user_data = event.rows.len();
            ctx.store.sums.update(event.key.clone(), |sum| *sum += event.rows.iter().sum::<i64>());
            let items = BatchItems::new(event.key).items(event.rows);
            app.ddb.add(ctx, items, move |_, items| {
                assert_eq!(items.len(), user_data);
                for item in items {
                    item.result?;
                }
                Ok(Complete)
            })
        }
    }
}

mod recording {
    use super::*;

    #[event_source(events = MyEvents, store = MyStore, shared = App)]
    pub(super) mod source {
        use super::*;

        #[event_handler("MyEvent")]
        fn my_event(
            ctx: &mut EventContext<MyStore>,
            app: &App,
            event: MyEvent,
        ) -> Result<ExecutionState> {
            let batch_key = format!("ddbTableName:{}", event.key);
            handle(ctx, app, &event, batch_key, record_errors)
        }

        #[interjection(every = "1s", jitter = "100ms")]
        fn retry_ddb_writes(
            ctx: &mut EventContext<MyStore>,
            app: &App,
            _: SystemTime,
        ) -> Result<ExecutionState> {
            let errors: Vec<(String, WriteError)> =
                ctx.store.errors.iter().map(|(key, error)| (key.clone(), error.clone())).collect();
            let mut items = BatchItems::new("ddbRetry".to_owned());
            for (key, error) in errors {
                ctx.store.errors.remove(&key);
                items = items.item_with_key(error.batch_key, error.row);
            }
            app.ddb.add(ctx, items, record_errors)
        }
    }
}

fn send<A>(driver: &mut TestDriver<A>, events: &[(&str, &[i64])])
where
    A: EventSource<Events = MyEvents>,
{
    let event = |(key, rows): &(&str, &[i64])| {
        let key = (*key).to_owned();
        (key.clone(), MyEvents::MyEvent(MyEvent { key, rows: rows.to_vec() }))
    };
    for (key, event) in events.iter().map(event) {
        driver.send(&key, event);
    }
}

#[tokio::test(start_paused = true)]
async fn example_5_async_batcher_ddb_write() {
    let ddb = Ddb::default();
    let app = App { ddb: ddb.batcher() };
    let mut driver = writing::source::Source::builder().shared(app).test_driver();
    let many: Vec<i64> = (100..170).collect();
    send(&mut driver, &[("a", &[1, 2]), ("b", &[3]), ("c", &many), ("a", &[4])]);
    driver.advance_async(MS * 100).await;
    assert_eq!((driver.committed(0), driver.store(0).sums.get("a")), (Some(4), Some(&7)));
    let requests = ddb.requests.lock().expect("no panic").clone();
    assert!(requests.iter().all(|rows| rows.len() <= 50), "{requests:?}");
    assert_eq!(requests.iter().flatten().count(), 74);
    let place = |row: i64| requests.iter().flatten().position(|written| *written == row);
    assert!(place(1) < place(2) && place(2) < place(4), "in the order of the key");
}

#[tokio::test(start_paused = true)]
async fn example_6_async_batcher_ddb_write_error_handling() {
    let ddb = Ddb::default();
    ddb.refused.lock().expect("no panic").push(2);
    let app = App { ddb: ddb.batcher() };
    let mut driver = recording::source::Source::builder().shared(app).test_driver();
    send(&mut driver, &[("a", &[1, 2]), ("b", &[3])]);
    driver.advance_async(MS * 100).await;
    assert_eq!(driver.committed(0), Some(2));
    let errors: Vec<_> = driver.store(0).errors.iter().map(|(key, _)| key.clone()).collect();
    assert_eq!(errors, ["2"]);
}

#[tokio::test(start_paused = true)]
async fn example_7_async_batcher_ddb_write_error_handling_interjector() {
    let ddb = Ddb::default();
    ddb.refused.lock().expect("no panic").extend([2, 3]);
    let app = App { ddb: ddb.batcher() };
    let mut driver = recording::source::Source::builder().shared(app).test_driver();
    send(&mut driver, &[("a", &[1, 2]), ("b", &[3])]);
    driver.advance_async(MS * 3_000).await;
    assert_eq!(driver.store(0).errors.len(), 2, "still refused");
    ddb.refused.lock().expect("no panic").clear();
    driver.advance_async(MS * 3_000).await;
    assert_eq!(driver.store(0).errors.len(), 0);
    let requests = ddb.requests.lock().expect("no panic").clone();
    let last: Vec<i64> = requests.last().cloned().unwrap_or_default();
    assert_eq!(last.iter().sum::<i64>(), 5, "both at a time: {requests:?}");
}
