//! A poison event under each error policy, with a restart while it is there: other keys and
//! partitions go on, nothing is lost or doubled, and each key keeps its order.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use streams_core::prelude::*;
use streams_core::record::partition_for_key;
use streams_core::{
    ErrorPolicy, EventProducer, Result as HandlerResult, RetryOrder, RunningSource, SourceError,
};
use streams_tests::broker::TestBroker;
use streams_tests::oracle::read_committed;

const PATIENCE: Duration = Duration::from_secs(60);
const RETRY_AFTER: Duration = Duration::from_millis(50);
/// More attempts than a test takes.
const RETRIES: u32 = 100_000;
const PARTITIONS: i32 = 2;
const KEYS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
/// The events of each key.
const EVENTS: u64 = 40;
/// The poison is this event of this key.
const POISON: (&str, u64) = ("c", 10);

#[derive(Events)]
enum Numbered {
    Number(u64),
}

#[derive(Events)]
enum Counted {
    Counted(String),
}

#[derive(StateStore)]
struct Counts {
    counts: Table<String, u64>,
}

struct Shared {
    output: Topic<Counted>,
    /// The poison does no harm any more.
    is_healed: AtomicBool,
    panics: bool,
    /// How often the poison was tried since the last start.
    tried: AtomicU64,
}

#[event_source(events = Numbered, store = Counts, shared = Shared)]
mod counts {
    use super::*;

    #[event_handler("Number")]
    fn number(
        ctx: &mut EventContext<Counts>,
        shared: &Shared,
        number: u64,
    ) -> HandlerResult<ExecutionState> {
        let key = ctx.key::<String>()?.unwrap_or_default();
        let count = ctx.store.counts.update(key.clone(), |count| {
            *count += 1;
            *count
        });
        let counted = format!("{key} {number} {count}");
        ctx.forward(&shared.output, &key, Counted::Counted(counted))?;
        if (key.as_str(), number) == POISON && !shared.is_healed.load(Ordering::Relaxed) {
            shared.tried.fetch_add(1, Ordering::Relaxed);
            assert!(!shared.panics, "poison");
            return ctx.fail("poison");
        }
        Ok(Complete)
    }
}

struct World {
    bootstrap: String,
    name: String,
    shared: Arc<Shared>,
}

type Source = RunningSource<counts::Source>;

impl World {
    fn new(broker: &TestBroker, name: String, panics: bool) -> Result<Self> {
        let (input, output) = (format!("{name}-in"), format!("{name}-out"));
        broker.create_topics(&[(&input, PARTITIONS), (&output, 1)])?;
        let shared = Shared {
            output: Topic::named(output),
            is_healed: AtomicBool::new(false),
            panics,
            tried: AtomicU64::new(0),
        };
        let world = Self { bootstrap: broker.bootstrap(), name, shared: Arc::new(shared) };
        world.send()?;
        Ok(world)
    }

    /// Sends the events of all keys, in turns.
    fn send(&self) -> Result<()> {
        let topic = Topic::<Numbered>::named(format!("{}-in", self.name));
        let producer = EventProducer::new(&self.bootstrap, topic)?;
        for number in 0..EVENTS {
            for key in KEYS {
                producer.send(key, &Numbered::Number(number))?;
            }
        }
        Ok(producer.flush(PATIENCE)?)
    }

    fn start(&self, policy: impl Into<ErrorPolicy>) -> Result<Source> {
        let builder = counts::Source::builder().shared(Arc::clone(&self.shared));
        let builder = builder.bootstrap(&self.bootstrap).group(&self.name).instance("a");
        let builder = builder.topic(format!("{}-in", self.name)).leave_timeout(Duration::ZERO);
        let builder = builder.on_fatal(|_| {}).on_handler_error(policy);
        self.shared.tried.store(0, Ordering::Relaxed);
        Ok(builder.start()?)
    }

    fn letters(&self) -> String {
        format!("{}-letters", self.name)
    }

    /// Waits until the poison was tried so often since the last start.
    fn wait_for_attempts(&self, attempts: u64) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while self.shared.tried.load(Ordering::Relaxed) < attempts {
            ensure!(Instant::now() < deadline, "the poison was not tried");
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// The numbers that were counted of each key, which are checked: each once, in their order,
    /// with a count that goes up by one.
    fn counted(&self, at_least: usize) -> Result<BTreeMap<String, Vec<u64>>> {
        let output = format!("{}-out", self.name);
        let mut counted: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for value in read_committed(&self.bootstrap, &output, at_least, PATIENCE)? {
            let text = String::from_utf8(value)?;
            let mut words = text.split(' ');
            let mut next = || words.next().with_context(|| text.clone());
            let (key, number, count) = (next()?.to_owned(), next()?, next()?);
            let (number, count): (u64, usize) = (number.parse()?, count.parse()?);
            let numbers = counted.entry(key.clone()).or_default();
            ensure!(numbers.last().is_none_or(|last| *last < number), "{text} after {numbers:?}");
            numbers.push(number);
            ensure!(numbers.len() == count, "{text}: it is the {}th of its key", numbers.len());
        }
        Ok(counted)
    }

    /// All events are counted but those of the poison's key from the poison on.
    fn only_its_key_waits(&self) -> Result<()> {
        let others = (KEYS.len() - 1) * usize::try_from(EVENTS)?;
        let counted = self.counted(others + usize::try_from(POISON.1)?)?;
        for key in KEYS {
            let expected = if key == POISON.0 { POISON.1 } else { EVENTS };
            let found = counted.get(key).map_or(0, Vec::len);
            ensure!(u64::try_from(found)? == expected, "{key}: {counted:?}");
        }
        Ok(())
    }

    /// All events are counted, with or without the poison.
    fn check(&self, with_poison: bool) -> Result<()> {
        let all = KEYS.len() * usize::try_from(EVENTS)? - usize::from(!with_poison);
        let counted = self.counted(all)?;
        for key in KEYS {
            let expected: Vec<u64> =
                (0..EVENTS).filter(|number| with_poison || (key, *number) != POISON).collect();
            ensure!(counted.get(key) == Some(&expected), "{key}: {counted:?}");
        }
        Ok(())
    }
}

/// Unparks all keys. Returns their number.
fn unpark(source: &Source) -> Result<usize> {
    let partitions = usize::try_from(PARTITIONS)?;
    ensure!(source.wait_for_active(partitions, PATIENCE), "it is not active");
    let unparked = source.handle().interject_all_sync(|ctx| Ok(ctx.unpark_all()));
    let mut count = 0;
    for (partition, unparked) in unparked {
        count += unparked.with_context(|| format!("partition {partition}"))?;
    }
    Ok(count)
}

fn stop(source: Source) -> Result<()> {
    source.stop();
    Ok(source.wait()?)
}

/// As `kill -9`, as far as Kafka can tell: nothing is finished.
fn crash(source: Source) -> Result<()> {
    source.stop_now();
    Ok(source.wait()?)
}

fn expect_end(source: Source) -> Result<SourceError> {
    ensure!(source.wait_until_ended(PATIENCE), "it does not end");
    match source.wait() {
        Ok(()) => bail!("it ended well"),
        Err(error) => Ok(error),
    }
}

pub(crate) fn skipped(broker: &TestBroker, prefix: &str) -> Result<()> {
    for panics in [false, true] {
        let world = World::new(broker, format!("{prefix}-{panics}"), panics)?;
        let source = world.start(ErrorPolicy::skip())?;
        world.wait_for_attempts(1)?;
        crash(source)?;
        let source = world.start(ErrorPolicy::skip())?;
        world.check(false)?;
        stop(source)?;
        world.check(false)?;
    }
    Ok(())
}

pub(crate) fn sent_away(broker: &TestBroker, prefix: &str) -> Result<()> {
    let world = World::new(broker, prefix.to_owned(), true)?;
    let letters = world.letters();
    let policy = ErrorPolicy::retry(3, RETRY_AFTER).order(RetryOrder::Key);
    let policy = policy.then(ErrorPolicy::dead_letter(letters.clone()));
    let source = world.start(policy.clone())?;
    // The source has created the topic of the letters.
    world.wait_for_attempts(1)?;
    crash(source)?;
    let source = world.start(policy)?;
    world.check(false)?;
    let sent = read_committed(&world.bootstrap, &letters, 1, PATIENCE)?;
    stop(source)?;
    ensure!(sent == [POISON.1.to_be_bytes().to_vec()], "{sent:?}");
    let sent = read_committed(&world.bootstrap, &letters, 1, PATIENCE)?;
    ensure!(sent.len() == 1, "once: {sent:?}");
    world.check(false)
}

/// While the poison waits, all other keys are done; it waits through a crash and an orderly
/// restart; and once it is healed its key goes on in its order.
pub(crate) fn retried_by_key(broker: &TestBroker, prefix: &str) -> Result<()> {
    let world = World::new(broker, prefix.to_owned(), false)?;
    let policy = || ErrorPolicy::retry(RETRIES, RETRY_AFTER).order(RetryOrder::Key);
    let source = world.start(policy())?;
    world.only_its_key_waits()?;
    world.wait_for_attempts(3)?;
    crash(source)?;
    let source = world.start(policy())?;
    world.wait_for_attempts(2)?;
    world.only_its_key_waits()?;
    stop(source)?;
    let source = world.start(policy())?;
    world.wait_for_attempts(2)?;
    world.shared.is_healed.store(true, Ordering::Relaxed);
    world.check(true)?;
    stop(source)?;
    world.check(true)
}

/// While the poison waits, its partition waits, and the other one is done.
pub(crate) fn retried_by_partition(broker: &TestBroker, prefix: &str) -> Result<()> {
    let world = World::new(broker, prefix.to_owned(), false)?;
    let source = world.start(ErrorPolicy::retry(RETRIES, RETRY_AFTER))?;
    let of = |key: &str| partition_for_key(key.as_bytes(), PARTITIONS);
    let elsewhere = KEYS.iter().filter(|key| of(key) != of(POISON.0)).count();
    ensure!(elsewhere > 0, "the keys are in one partition");
    let before = KEYS.len() - elsewhere;
    let at_least = elsewhere * usize::try_from(EVENTS)? + before * usize::try_from(POISON.1)?;
    world.counted(at_least)?;
    world.wait_for_attempts(3)?;
    let counted = world.counted(at_least)?;
    for key in KEYS {
        let found = counted.get(key).and_then(|numbers| numbers.last().copied());
        match of(key) == of(POISON.0) {
            true => ensure!(found <= Some(POISON.1), "{key} went on: {counted:?}"),
            false => ensure!(found == Some(EVENTS - 1), "{key} waits: {counted:?}"),
        }
    }
    crash(source)?;
    let source = world.start(ErrorPolicy::retry(RETRIES, RETRY_AFTER))?;
    world.wait_for_attempts(2)?;
    // A source that stops does not wait for the poison.
    let stopped = Instant::now();
    stop(source)?;
    ensure!(stopped.elapsed() < Duration::from_secs(20), "{:?}", stopped.elapsed());
    world.shared.is_healed.store(true, Ordering::Relaxed);
    let source = world.start(ErrorPolicy::retry(RETRIES, RETRY_AFTER))?;
    world.check(true)?;
    stop(source)?;
    world.check(true)
}

/// The source ends at the poison, again and again, and loses nothing.
pub(crate) fn stopped(broker: &TestBroker, prefix: &str) -> Result<()> {
    for (kind, policy) in [("fail", ErrorPolicy::fail()), ("exit", ErrorPolicy::exit())] {
        let world = World::new(broker, format!("{prefix}-{kind}"), false)?;
        for _ in 0..2 {
            let error = expect_end(world.start(policy.clone())?)?;
            ensure!(error.to_string().contains("poison"), "{kind}: {error}");
        }
        world.shared.is_healed.store(true, Ordering::Relaxed);
        let source = world.start(policy)?;
        world.check(true)?;
        stop(source)?;
        world.check(true)?;
    }
    Ok(())
}

/// The poison's key is parked, through a crash, an unparking that comes too early, and an orderly
/// restart; unparked once it is healed, the key goes on in its order.
pub(crate) fn parked(broker: &TestBroker, prefix: &str) -> Result<()> {
    let world = World::new(broker, prefix.to_owned(), false)?;
    let source = world.start(ErrorPolicy::park_by_key())?;
    world.wait_for_attempts(1)?;
    crash(source)?;
    let source = world.start(ErrorPolicy::park_by_key())?;
    world.only_its_key_waits()?;
    ensure!(unpark(&source)? == 1, "one key is parked");
    world.wait_for_attempts(1)?;
    world.only_its_key_waits()?;
    stop(source)?;
    world.shared.is_healed.store(true, Ordering::Relaxed);
    let source = world.start(ErrorPolicy::park_by_key())?;
    world.only_its_key_waits()?;
    ensure!(unpark(&source)? == 1, "one key is parked");
    world.check(true)?;
    stop(source)?;
    world.check(true)
}
