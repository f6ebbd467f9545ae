//! Asynchronous work: completers, events that stay incomplete for several steps, and their limits.

use std::cell::RefCell;

use streams_core::eos::EosConfig;
use streams_core::handler::Completer;
use streams_core::prelude::*;
use streams_core::testing::TestDriver;

#[derive(Events)]
enum Jobs {
    /// Complete at once.
    Quick(i64),
    /// Forwards, and waits for its completer.
    Pinned(i64),
    /// Waits for so many completers, one after the other.
    Steps(i64),
    /// Waits for so many completers at the same time.
    Several(i64),
}

#[derive(Events, Debug, PartialEq)]
enum Reply {
    Done(i64),
}

static REPLIES: Topic<Reply> = Topic::new("replies");

thread_local! {
    /// The handlers run in the thread of the test.
    static COMPLETERS: RefCell<Vec<Completer<NoStore>>> = const { RefCell::new(vec![]) };
}

#[event_source(events = Jobs, store = NoStore)]
mod jobs {
    use super::*;

    #[event_handler("Quick")]
    pub(super) fn quick(ctx: &mut EventContext<NoStore>, job: i64) -> Result<ExecutionState> {
        ctx.forward(&REPLIES, "k", Reply::Done(job))?;
        Ok(Complete)
    }

    #[event_handler("Pinned")]
    fn pinned(ctx: &mut EventContext<NoStore>, job: i64) -> Result<ExecutionState> {
        quick(ctx, job)?;
        several(ctx, 1)
    }

    #[event_handler("Steps")]
    fn steps(ctx: &mut EventContext<NoStore>, steps: i64) -> Result<ExecutionState> {
        ctx.completer().complete(move |ctx| step(ctx, steps));
        Ok(Incomplete)
    }

    #[event_handler("Several")]
    fn several(ctx: &mut EventContext<NoStore>, count: i64) -> Result<ExecutionState> {
        for _ in 0..count {
            COMPLETERS.with_borrow_mut(|completers| completers.push(ctx.completer()));
        }
        Ok(Incomplete)
    }

    #[interjection(every = "10s")]
    fn poll(ctx: &mut EventContext<NoStore>, _: SystemTime) -> Result<ExecutionState> {
        several(ctx, 1)
    }
}

/// A finalizer that takes a completer for the next step; each step forwards its number.
fn step(ctx: &mut EventContext<NoStore>, left: i64) -> Result<ExecutionState> {
    jobs::quick(ctx, left)?;
    if left == 1 {
        return Ok(Complete);
    }
    ctx.completer().complete(move |ctx| step(ctx, left - 1));
    Ok(Incomplete)
}

/// The completers of the events so far.
fn completers() -> Vec<Completer<NoStore>> {
    COMPLETERS.take()
}

fn done(driver: &TestDriver<jobs::Source>) -> Vec<i64> {
    driver.read(&REPLIES).into_iter().map(|(_, Reply::Done(job))| job).collect()
}

fn small_batches(partitions: i32) -> TestDriver<jobs::Source> {
    let eos = EosConfig::default().target_batch_size(5).unwrap().max_batch_size(10).unwrap();
    jobs::Source::builder().partitions(partitions).eos(eos).test_driver()
}

#[test]
fn s1_a_completion_of_a_pinned_event_is_accepted_though_its_transaction_is_full() {
    let mut driver = small_batches(1);
    driver.send("k", Jobs::Pinned(0));
    driver.send_all((1..=10).map(|job| ("k", Jobs::Quick(job))));
    assert_eq!(done(&driver), [0; 0], "the transaction is pinned");
    for completer in completers() {
        completer.complete(|_| Ok(Complete));
    }
    driver.run_pending().then_committed(0, 11);
    assert_eq!(done(&driver), (0..=10).collect::<Vec<_>>());
}

/// The job of the first event ends only when the completion of the second one has run.
#[test]
fn s1_any_completion_is_accepted_while_the_transaction_is_pinned() {
    let mut driver = small_batches(2);
    driver.send_to_partition(0, "k", Jobs::Several(1));
    driver.send_to_partition(1, "k", Jobs::Pinned(0));
    for job in 1..=20 {
        driver.send_to_partition(1, "k", Jobs::Quick(job));
    }
    let [first, pinned] = completers().try_into().expect("two jobs");
    let (done_first, first_done) = std::sync::mpsc::channel();
    first.complete(move |ctx| {
        done_first.send(()).expect("the test waits");
        jobs::quick(ctx, 100)
    });
    driver.run_pending();
    assert_eq!(first_done.try_recv(), Ok(()), "the completion waits for the pinned event");
    pinned.complete(|_| Ok(Complete));
    driver.run_pending().then_committed(0, 1).then_committed(1, 21);
}
