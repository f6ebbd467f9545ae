//! Transactions that the broker times out: nothing is lost or doubled, and the source goes on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use streams_core::eos::EosConfig;
use streams_core::prelude::*;
use streams_core::{EventProducer, Result as HandlerResult};
use streams_tests::broker::TestBroker;
use streams_tests::oracle::read_committed;

/// After this time the broker aborts a transaction.
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(1);
/// What takes longer than that.
const SLOW: Duration = Duration::from_secs(3);
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Events)]
enum Step {
    /// Is counted.
    Count(String),
    /// The same, after a handler that blocks.
    Block(String),
    /// The same; the completer of the first run is slow.
    Wait(String),
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
    has_waited: AtomicBool,
}

#[event_source(events = Step, store = Counts, shared = Shared)]
mod counts {
    use super::*;

    #[event_handler("Count")]
    fn count(
        ctx: &mut EventContext<Counts>,
        shared: &Shared,
        word: String,
    ) -> HandlerResult<ExecutionState> {
        let count = ctx.store.counts.update(word.clone(), |count| {
            *count += 1;
            *count
        });
        ctx.forward(&shared.output, "key", Counted::Counted(format!("{word}={count}")))?;
        Ok(Complete)
    }

    #[event_handler("Block")]
    fn block(
        ctx: &mut EventContext<Counts>,
        shared: &Shared,
        word: String,
    ) -> HandlerResult<ExecutionState> {
        std::thread::sleep(SLOW);
        count(ctx, shared, word)
    }

    #[event_handler("Wait")]
    fn wait(
        ctx: &mut EventContext<Counts>,
        shared: &Shared,
        word: String,
    ) -> HandlerResult<ExecutionState> {
        count(ctx, shared, word)?;
        let completer = ctx.completer();
        let is_first = !shared.has_waited.swap(true, Ordering::Relaxed);
        std::thread::spawn(move || {
            if is_first {
                std::thread::sleep(SLOW);
            }
            completer.complete(|_| Ok(Complete));
        });
        Ok(Incomplete)
    }
}

pub(crate) fn replayed(broker: &TestBroker, prefix: &str) -> Result<()> {
    let (input, output) = (format!("{prefix}-in"), format!("{prefix}-out"));
    broker.create_topics(&[(&input, 1), (&output, 1)])?;
    let producer = EventProducer::new(&broker.bootstrap(), Topic::<Step>::named(input.clone()))?;
    let word = || "w".to_owned();
    // All in one batch, whose outputs the broker has before the second handler blocks.
    for step in [Step::Count(word()), Step::Block(word()), Step::Wait(word()), Step::Count(word())]
    {
        producer.send("key", &step)?;
    }
    producer.flush(PATIENCE)?;
    let shared =
        Shared { output: Topic::named(output.clone()), has_waited: AtomicBool::new(false) };
    let builder = counts::Source::builder().shared(shared).bootstrap(broker.bootstrap());
    let builder = builder.group(prefix).topic(input).instance("a").leave_timeout(Duration::ZERO);
    let eos = EosConfig::default().transaction_timeout(TRANSACTION_TIMEOUT)?;
    let source = builder.eos(eos).start()?;
    let read = |at_least| read_committed(&broker.bootstrap(), &output, at_least, PATIENCE);
    read(4)?;
    producer.send("key", &Step::Count(word()))?;
    producer.flush(PATIENCE)?;
    read(5)?;
    source.stop();
    source.wait()?;
    let outputs: Vec<_> =
        read(5)?.into_iter().map(|value| String::from_utf8_lossy(&value).into_owned()).collect();
    ensure!(outputs == ["w=1", "w=2", "w=3", "w=4", "w=5"], "{outputs:?}");
    Ok(())
}
