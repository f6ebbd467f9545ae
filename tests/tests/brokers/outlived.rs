//! Transactions that the broker times out: nothing is lost or doubled, and the source goes on.

use std::time::Duration;

use anyhow::{Result, ensure};
use streams_core::EventProducer;
use streams_core::eos::EosConfig;
use streams_core::prelude::*;
use streams_tests::broker::TestBroker;
use streams_tests::counting::{Shared, Step, counts};
use streams_tests::oracle::read_committed;

/// After this time the broker aborts a transaction.
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(1);
/// What takes longer than that, in milliseconds.
const SLOW: u64 = 3_000;
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn replayed(broker: &TestBroker, prefix: &str) -> Result<()> {
    let (input, output) = (format!("{prefix}-in"), format!("{prefix}-out"));
    broker.create_topics(&[(&input, 1), (&output, 1)])?;
    let producer = EventProducer::new(&broker.bootstrap(), Topic::<Step>::named(input.clone()))?;
    let word = || "w".to_owned();
    // All in one batch, whose outputs the broker has before the second handler blocks.
    for step in [Step::Count(word()), Step::Sleep(SLOW), Step::Later(word()), Step::Count(word())] {
        producer.send("key", &step)?;
    }
    producer.flush(PATIENCE)?;
    let shared = Shared::new(Topic::named(output.clone()), &[SLOW, 0]);
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
    ensure!(outputs == ["w=1", "slept=1", "w=2", "w=3", "w=4"], "{outputs:?}");
    Ok(())
}
