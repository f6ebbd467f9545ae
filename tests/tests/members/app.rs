//! The application of these tests: running totals, as in the example, with a store that writes down
//! what is done to it, and that is restored well, badly, or slowly.

use std::any::Any;
use std::collections::BTreeSet;
use std::io::Write;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use streams_broker::Broker;
use streams_core::codec::CodecError;
use streams_core::prelude::*;
use streams_core::record::TopicPartition;
use streams_core::store::{Change, Changelog, EventSeq};
use streams_core::{RunningSource, SourceBuilder};
use streams_tests::oracle::{check_totals, read_committed};
use streams_tests::workload::{Totals as Expected, Workload};

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(5);

#[derive(EventCodec, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Update<'a> {
    id: &'a str,
    amount: i64,
    ts: i64,
}

#[derive(Events)]
pub(crate) enum Updates<'a> {
    Update(Update<'a>),
}

#[derive(EventCodec, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Total<'a> {
    id: &'a str,
    count: u64,
    sum: i64,
    ts: i64,
}

#[derive(Events)]
pub(crate) enum Totals<'a> {
    Event(Total<'a>),
}

#[derive(EventCodec, Serialize, Deserialize, JsonSchema, Clone, Default)]
pub(crate) struct RunningTotal {
    count: u64,
    sum: i64,
}

#[derive(StateStore)]
pub(crate) struct Tables {
    totals: Table<String, RunningTotal>,
}

/// What was done to a partition, or with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    StoreMade,
    StoreRevoked,
    Assigned,
    Activated,
    WillRevoke,
    Revoked,
    Handled,
    Committed,
}

/// Something that was done, and by which worker.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) worker: ThreadId,
    pub(crate) at: TopicPartition,
    pub(crate) what: What,
}

static JOURNAL: Mutex<Vec<Entry>> = Mutex::new(Vec::new());
/// Topics whose stores wait with their restore.
static CLOSED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn note(at: &TopicPartition, what: What) {
    let worker = std::thread::current().id();
    lock(&JOURNAL).push(Entry { worker, at: at.clone(), what });
}

/// How a store is restored.
pub(crate) trait Restores: Send + 'static {
    fn begin(at: &TopicPartition) -> Result<(), String>;
}

pub(crate) struct Well;

impl Restores for Well {
    fn begin(_: &TopicPartition) -> Result<(), String> {
        Ok(())
    }
}

pub(crate) struct Badly;

impl Restores for Badly {
    fn begin(_: &TopicPartition) -> Result<(), String> {
        Err("the disk is full".to_owned())
    }
}

/// Not before somebody lets it.
pub(crate) struct Slowly;

impl Restores for Slowly {
    fn begin(at: &TopicPartition) -> Result<(), String> {
        while lock(&CLOSED).contains(&**at.topic()) {
            std::thread::sleep(POLL);
        }
        Ok(())
    }
}

/// While it is there, a topic's slow stores wait.
pub(crate) struct Closed(String);

impl Closed {
    pub(crate) fn new(setup: &Setup) -> Self {
        let topic = setup.topic("in");
        lock(&CLOSED).insert(topic.clone());
        Self(topic)
    }
}

impl Drop for Closed {
    fn drop(&mut self) {
        lock(&CLOSED).remove(&self.0);
    }
}

pub(crate) struct Store<R> {
    tables: Tables,
    at: TopicPartition,
    restores: PhantomData<R>,
}

impl<R> Store<R> {
    /// How many totals there are.
    pub(crate) fn rows(&self) -> usize {
        self.tables.totals.len()
    }
}

impl<R: Restores> StateStore for Store<R> {
    fn create(at: &TopicPartition) -> Self {
        note(at, What::StoreMade);
        Self { tables: Tables::create(at), at: at.clone(), restores: PhantomData }
    }

    fn drain_changes(
        &mut self,
        event: EventSeq,
        changelog: &mut Changelog<'_>,
    ) -> Result<(), CodecError> {
        self.tables.drain_changes(event, changelog)
    }

    fn undo_from(&mut self, event: EventSeq) {
        self.tables.undo_from(event);
    }

    fn commit_before(&mut self, event: EventSeq) {
        note(&self.at, What::Committed);
        self.tables.commit_before(event);
    }

    fn restore(&mut self, change: Change<'_>) -> Result<(), CodecError> {
        R::begin(&self.at).map_err(|reason| change.error(reason))?;
        self.tables.restore(change)
    }

    fn revoked(&mut self) {
        note(&self.at, What::StoreRevoked);
    }
}

/// What the handlers share.
pub(crate) struct App {
    output: Topic<Totals<'static>>,
    /// Events stay incomplete, after they had effects.
    pub(crate) stays_incomplete: AtomicBool,
    completers: Mutex<Vec<Box<dyn Any + Send>>>,
}

fn add<R: Restores>(
    ctx: &mut EventContext<Store<R>>,
    app: &App,
    update: &Update<'_>,
) -> streams_core::Result<ExecutionState> {
    note(ctx.topic_partition(), What::Handled);
    let Update { id, amount, ts } = *update;
    let (count, sum) = ctx.store.tables.totals.update(id.to_owned(), |total| {
        total.count += 1;
        total.sum += amount;
        (total.count, total.sum)
    });
    ctx.forward(&app.output, id, Totals::Event(Total { id, count, sum, ts }))?;
    if app.stays_incomplete.load(Ordering::Relaxed) {
        let completer = ctx.completer();
        lock(&app.completers).push(Box::new(completer));
        return Ok(Incomplete);
    }
    Ok(Complete)
}

macro_rules! source {
    ($name:ident, $store:ident, $restores:ident) => {
        type $store = Store<$restores>;

        #[event_source(events = Updates<'_>, store = $store, shared = App)]
        pub(crate) mod $name {
            use super::*;

            #[event_handler("Update")]
            fn update(
                ctx: &mut EventContext<$store>,
                app: &App,
                update: Update<'_>,
            ) -> streams_core::Result<ExecutionState> {
                add(ctx, app, &update)
            }
        }
    };
}

source!(sound, SoundStore, Well);
source!(broken, BrokenStore, Badly);
source!(slow, SlowStore, Slowly);

/// A broker, and the topics of one test.
pub(crate) struct Setup {
    pub(crate) broker: Broker,
    name: String,
    pub(crate) app: Arc<App>,
    expected: Mutex<Expected>,
}

impl Setup {
    pub(crate) fn new(name: &str, partitions: i32) -> anyhow::Result<Self> {
        let broker = Broker::builder().topic(format!("{name}-in"), partitions).start()?;
        let app = Arc::new(App {
            output: Topic::named(format!("{name}-out")),
            stays_incomplete: AtomicBool::new(false),
            completers: Mutex::default(),
        });
        Ok(Self { broker, name: name.to_owned(), app, expected: Mutex::default() })
    }

    pub(crate) fn topic(&self, kind: &str) -> String {
        format!("{}-{kind}", self.name)
    }

    /// The settings of a member that writes its callbacks down.
    pub(crate) fn member<A: EventSource<Shared = App>>(&self) -> SourceBuilder<A> {
        A::builder()
            .bootstrap(self.broker.bootstrap())
            .group(&self.name)
            .topic(self.topic("in"))
            .changelog(self.topic("changelog"))
            .output(self.topic("out"))
            .shared(Arc::clone(&self.app))
            .on_assigned(|at| note(at, What::Assigned))
            .on_activated(|at| note(at, What::Activated))
            .on_will_revoke(|at| note(at, What::WillRevoke))
            .on_revoked(|at| note(at, What::Revoked))
    }

    /// Sends updates, which [`Setup::check`] expects then.
    pub(crate) fn send(&self, workload: &Workload) -> anyhow::Result<()> {
        for (id, (count, sum)) in workload.totals() {
            let mut expected = lock(&self.expected);
            let total = expected.entry(id).or_default();
            *total = (total.0 + count, total.1 + sum);
        }
        workload.send(&self.broker.bootstrap(), &self.topic("in"))
    }

    /// Waits for the outputs of all that was sent, and asks the oracle.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let expected = lock(&self.expected).clone();
        let records: u64 = expected.values().map(|(count, _)| count).sum();
        let (bootstrap, output) = (self.broker.bootstrap(), self.topic("out"));
        let outputs = read_committed(&bootstrap, &output, usize::try_from(records)?, PATIENCE)?;
        check_totals(&outputs, &expected)
    }

    /// What was done to this test's partitions, in order.
    pub(crate) fn journal(&self) -> Vec<Entry> {
        let topic = self.topic("in");
        lock(&JOURNAL).iter().filter(|entry| **entry.at.topic() == *topic).cloned().collect()
    }

    pub(crate) fn count(&self, what: What) -> usize {
        self.journal().iter().filter(|entry| entry.what == what).count()
    }

    /// How many offsets of this test's topics are undecided: of transactions that are open.
    pub(crate) fn open_offsets(&self) -> anyhow::Result<i64> {
        let status = self.broker.status()?;
        let ours = status.cluster.partitions.iter().filter(|at| at.topic.starts_with(&self.name));
        Ok(ours.map(|at| at.end - at.stable).sum())
    }
}

/// Waits until `is_so`. What was logged is in the error.
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        let log = || String::from_utf8_lossy(&lock(&LOG)).into_owned();
        ensure!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}\n{}", log());
        std::thread::sleep(POLL);
    }
    Ok(())
}

/// Waits for a member's end. Returns how long it took.
pub(crate) fn ended<A: EventSource>(member: RunningSource<A>) -> anyhow::Result<Duration> {
    let started = Instant::now();
    member.wait().context("a member in good order")?;
    Ok(started.elapsed())
}

struct Log;

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        lock(&LOG).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Keeps what is logged from now on.
pub(crate) fn keep_log() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        tracing_subscriber::fmt().with_writer(|| Log).with_ansi(false).init();
    });
}

/// The lines with all of these words.
pub(crate) fn logged(words: &[&str]) -> Vec<String> {
    let log = String::from_utf8_lossy(&lock(&LOG)).into_owned();
    let has_all = |line: &&str| words.iter().all(|word| line.contains(word));
    log.lines().filter(has_all).map(ToOwned::to_owned).collect()
}
