//! The examples of GKES's document on asynchronous processing, each as a source of its own.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use streams_core::jobs::{AsyncJobScheduler, JobError, SchedulerConfig};
use streams_core::prelude::*;
use tokio::time::sleep;

const MS: Duration = Duration::from_millis(1);

#[derive(Clone, Debug, PartialEq, EventCodec, serde::Serialize, serde::Deserialize)]
struct MyEvent {
    key: String,
    amount: i64,
}

#[derive(Events)]
enum MyEvents {
    MyEvent(MyEvent),
}

#[derive(Events, Debug, PartialEq)]
enum MyOutputs {
    Updated(i64),
}

static OUTPUTS: Topic<MyOutputs> = Topic::new("outputs");

#[derive(StateStore)]
struct MyStore {
    totals: Table<String, i64>,
}

fn events(amounts: &[(&str, i64)]) -> Vec<(String, MyEvents)> {
    let event = |(key, amount): &(&str, i64)| {
        let event = MyEvent { key: (*key).to_owned(), amount: *amount };
        ((*key).to_owned(), MyEvents::MyEvent(event))
    };
    amounts.iter().map(event).collect()
}

/// An external system: what was written, by key and in order.
#[derive(Clone, Default)]
struct External(Arc<Mutex<BTreeMap<String, Vec<i64>>>>);

impl External {
    /// Takes longer for a smaller amount: calls that nobody keeps in order overtake one another.
    async fn call(&self, event: &MyEvent) -> Result<(), std::io::Error> {
        sleep(MS * u32::try_from(100 - event.amount).expect("an amount below 100")).await;
        self.0.lock().expect("no panic").entry(event.key.clone()).or_default().push(event.amount);
        Ok(())
    }

    fn of(&self, key: &str) -> Vec<i64> {
        self.0.lock().expect("no panic").get(key).cloned().unwrap_or_default()
    }
}

mod naive {
    use super::*;

    pub(super) struct App {
        pub(super) external: External,
    }

    #[event_source(events = MyEvents, store = MyStore, shared = App)]
    pub(super) mod source {
        use super::*;

        #[event_handler("MyEvent")]
        fn handle(
            ctx: &mut EventContext<MyStore>,
            app: &App,
            event: MyEvent,
        ) -> Result<ExecutionState> {
            let (completer, external) = (ctx.completer(), app.external.clone());
            tokio::spawn(async move {
                let called = external.call(&event).await;
                completer.complete(|_| {
                    called?;
                    Ok(Complete)
                });
            });
            Ok(Incomplete)
        }
    }
}

#[tokio::test(start_paused = true)]
async fn example_1_naive_async() {
    let external = External::default();
    let app = naive::App { external: external.clone() };
    let mut driver = naive::source::Source::builder().shared(app).test_driver();
    driver.send_all(events(&[("a", 1), ("a", 2), ("a", 3)]).iter().map(borrowed));
    driver.advance_async(MS * 98).await;
    assert_eq!((external.of("a"), driver.committed(0)), (vec![3, 2], Some(0)), "no order");
    driver.advance_async(MS * 2).await;
    assert_eq!((external.of("a"), driver.committed(0)), (vec![3, 2, 1], Some(3)));
}

fn borrowed((key, MyEvents::MyEvent(event)): &(String, MyEvents)) -> (&String, MyEvents) {
    (key, MyEvents::MyEvent(event.clone()))
}

mod notifying {
    use super::*;

    pub(super) struct App {
        pub(super) scheduler: AsyncJobScheduler<MyStore, String, MyEvent>,
    }

    #[event_source(events = MyEvents, store = MyStore, shared = App)]
    pub(super) mod source {
        use super::*;

        #[event_handler("MyEvent")]
        fn handle(
            ctx: &mut EventContext<MyStore>,
            app: &App,
            event: MyEvent,
        ) -> Result<ExecutionState> {
            ctx.store.totals.update(event.key.clone(), |total| *total += event.amount);
            app.scheduler.schedule(ctx, event.key.clone(), event)
        }
    }

    pub(super) fn finalize(
        _: &mut EventContext<MyStore>,
        _: String,
        _: MyEvent,
        notified: Result<(), JobError>,
    ) -> Result<ExecutionState> {
        notified?;
        Ok(Complete)
    }
}

#[tokio::test(start_paused = true)]
async fn example_2_notifying_external_systems_with_parallel_processing() {
    let external = External::default();
    let called = external.clone();
    let process = move |_: String, event: MyEvent| {
        let external = called.clone();
        async move { external.call(&event).await }
    };
    let config = SchedulerConfig::wide_network();
    let scheduler = AsyncJobScheduler::new(config, process, notifying::finalize).expect("settings");
    let app = notifying::App { scheduler };
    let mut driver = notifying::source::Source::builder().shared(app).test_driver();
    driver.send_all(events(&[("a", 1), ("b", 5), ("a", 2), ("a", 3)]).iter().map(borrowed));
    assert_eq!(driver.store(0).totals.get("a"), Some(&6), "updated before the jobs run");
    driver.advance_async(MS * 200).await;
    assert_eq!((external.of("a"), external.of("b")), (vec![1, 2], vec![5]), "in order by key");
    driver.advance_async(MS * 200).await;
    assert_eq!((external.of("a"), driver.committed(0)), (vec![1, 2, 3], Some(4)));
}

/// Reads of the external database, by key.
#[derive(Clone, Default)]
struct Database(Arc<Mutex<BTreeMap<String, usize>>>);

impl Database {
    async fn read(&self, key: &str) -> Result<i64, std::io::Error> {
        sleep(MS * 20).await;
        *self.0.lock().expect("no panic").entry(key.to_owned()).or_default() += 1;
        Ok(1_000)
    }

    fn reads(&self, key: &str) -> usize {
        self.0.lock().expect("no panic").get(key).copied().unwrap_or_default()
    }
}

#[derive(Clone)]
struct MyJob {
    event: MyEvent,
    migrated: bool,
}

type Migrations = AsyncJobScheduler<MyStore, String, MyJob>;

mod migrating {
    use super::*;

    pub(super) struct App {
        pub(super) scheduler: Migrations,
    }

    #[event_source(events = MyEvents, store = MyStore, shared = App)]
    pub(super) mod source {
        use super::*;

        #[event_handler("MyEvent")]
        fn handle(
            ctx: &mut EventContext<MyStore>,
            app: &App,
            event: MyEvent,
        ) -> Result<ExecutionState> {
            let migrated = ctx.store.totals.get(&event.key).is_some();
            app.scheduler.schedule(ctx, event.key.clone(), MyJob { event, migrated })
        }
    }

    /// The job: reads the row that the store lacks.
    pub(super) async fn migrate(
        database: Database,
        key: String,
        job: MyJob,
    ) -> Result<Option<i64>, std::io::Error> {
        match job.migrated {
            true => Ok(None),
            false => Ok(Some(database.read(&key).await?)),
        }
    }

    /// Several events of the key may have been scheduled before the first one was finalized.
    pub(super) fn update(
        ctx: &mut EventContext<MyStore>,
        key: &str,
        job: &MyJob,
        found: Option<i64>,
    ) -> i64 {
        if let Some(found) = found.filter(|_| ctx.store.totals.get(key).is_none()) {
            ctx.store.totals.put(key.to_owned(), found);
        }
        ctx.store.totals.update(key.to_owned(), |total| {
            *total += job.event.amount;
            *total
        })
    }

    pub(super) fn finalize(
        ctx: &mut EventContext<MyStore>,
        key: String,
        job: MyJob,
        found: Result<Option<i64>, JobError>,
    ) -> Result<ExecutionState> {
        update(ctx, &key, &job, found?);
        Ok(Complete)
    }
}

#[tokio::test(start_paused = true)]
async fn example_3_migrating_from_an_external_db() {
    let database = Database::default();
    let migrate = {
        let database = database.clone();
        move |key, job| migrating::migrate(database.clone(), key, job)
    };
    let config = SchedulerConfig::wide_network();
    let scheduler = Migrations::new(config, migrate, migrating::finalize).expect("settings");
    let app = migrating::App { scheduler };
    let mut driver = migrating::source::Source::builder().shared(app).test_driver();
    driver.send_all(events(&[("a", 1), ("a", 2), ("b", 3)]).iter().map(borrowed));
    driver.advance_async(MS * 50).await;
    assert_eq!(driver.store(0).totals.get("a"), Some(&1_003));
    assert_eq!(driver.store(0).totals.get("b"), Some(&1_003));
    driver.send_all(events(&[("a", 4)]).iter().map(borrowed));
    driver.advance_async(MS).await;
    assert_eq!((driver.store(0).totals.get("a"), driver.committed(0)), (Some(&1_007), Some(4)));
    assert_eq!((database.reads("a"), database.reads("b")), (2, 1), "a migrated key is not read");
}

fn finalize_migration(
    next: &AsyncJobScheduler<MyStore, String, MyEvent>,
    ctx: &mut EventContext<MyStore>,
    key: String,
    job: MyJob,
    found: Option<i64>,
) -> Result<ExecutionState> {
    let total = migrating::update(ctx, &key, &job, found);
    ctx.forward(&OUTPUTS, &key, MyOutputs::Updated(total))?;
    next.schedule(ctx, key, job.event)
}

#[tokio::test(start_paused = true)]
async fn example_4_chaining_async_job_schedulers() {
    let (database, external) = (Database::default(), External::default());
    let config = SchedulerConfig::wide_network();
    let write = {
        let external = external.clone();
        move |_: String, event: MyEvent| {
            let external = external.clone();
            async move { external.call(&event).await }
        }
    };
    let writes = AsyncJobScheduler::new(config, write, notifying::finalize).expect("settings");
    let migrate = move |key, job| migrating::migrate(database.clone(), key, job);
    let migrated = move |ctx: &mut EventContext<MyStore>, key, job, found: Result<_, JobError>| {
        finalize_migration(&writes, ctx, key, job, found?)
    };
    let scheduler = Migrations::new(config, migrate, migrated).expect("settings");
    let app = migrating::App { scheduler };
    let mut driver = migrating::source::Source::builder().shared(app).test_driver();
    driver.send_all(events(&[("a", 1), ("a", 2), ("b", 3)]).iter().map(borrowed));
    driver.advance_async(MS * 100).await;
    assert_eq!(driver.read(&OUTPUTS), [], "the writes hold the transaction open");
    driver.advance_async(MS * 300).await;
    assert_eq!((external.of("a"), external.of("b")), (vec![1, 2], vec![3]));
    assert_eq!(driver.committed(0), Some(3));
    let outputs = driver.read(&OUTPUTS).into_iter().filter(|(key, _)| key == "a");
    let outputs: Vec<_> = outputs.map(|(_, output)| output).collect();
    assert_eq!(outputs, [MyOutputs::Updated(1_001), MyOutputs::Updated(1_003)]);
}
