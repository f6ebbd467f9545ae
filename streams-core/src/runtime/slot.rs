//! A producer of the pool: its blocking calls are made on a thread of its own, or one by one by
//! whoever steps the worker.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tracing::Span;

use crate::client::{OffsetToCommit, TxnProducer};
use crate::eos::TxnSeq;
use crate::error::{Cause, Disposition, TxnError, TxnStep};
use crate::group::Generation;
use crate::planted::{self, Bug};
use crate::record::Outputs;

/// How long an initialisation or a flush may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// How long EndTxn with commit may take. After that a new producer asks whether it happened.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an abort may take. After that the initialisation of a new producer aborts.
const ABORT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long the offsets may take, once the records are there. They take milliseconds, and after a
/// broker's death the call may never end (`client/rdkafka/calls.rs`), so that a new producer saves
/// time. A broker's failover takes 6 to 7 s: two tries end before, and the third one meets the new
/// coordinator.
const OFFSETS_TIMEOUT_MIN: Duration = Duration::from_secs(3);
/// The same, for a cluster that is slow or away.
const OFFSETS_TIMEOUT_MAX: Duration = Duration::from_secs(10);
/// So many tries in a row end after the shorter time.
const SHORT_TRIES: u32 = 3;
/// The bound is so many times what the last offsets took.
const SLOWER_MAX: u32 = 4;

/// How long the next offsets of a worker may take.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct OffsetsPatience {
    /// How often in a row they took too long.
    hung: u32,
    /// How long the last ones took.
    last: Duration,
}

impl OffsetsPatience {
    pub(crate) fn timeout(self) -> Duration {
        match self.hung < SHORT_TRIES {
            true => (self.last * SLOWER_MAX).clamp(OFFSETS_TIMEOUT_MIN, OFFSETS_TIMEOUT_MAX),
            false => OFFSETS_TIMEOUT_MAX,
        }
    }

    pub(crate) const fn sent(&mut self, took: Duration) {
        *self = Self { hung: 0, last: took };
    }

    pub(crate) const fn hung(&mut self) {
        self.hung = self.hung.saturating_add(1);
    }
}

/// Makes the producer of a slot, not initialised yet.
pub(crate) type MakeProducer<P> = Arc<dyn Fn(usize) -> Result<P, TxnError> + Send + Sync>;

/// What a slot's thread is to do.
#[derive(Debug)]
pub(crate) enum SlotCommand {
    /// Make the producer, initialise it, begin. Also: make it anew.
    Init,
    Flush(TxnSeq),
    Commit {
        txn: TxnSeq,
        offsets: Vec<OffsetToCommit>,
        generation: Generation,
        /// How long the offsets may take.
        timeout: Duration,
    },
    Abort,
}

/// What a slot's thread says.
#[derive(Debug)]
pub(crate) enum SlotReply<P> {
    Ready(Arc<P>),
    InitFailed(TxnError),
    Flushed(TxnSeq),
    Committed { txn: TxnSeq, offsets_took: Duration },
    Failed(TxnSeq, TxnError),
    Aborted,
    AbortFailed(TxnError),
}

/// A slot, as its worker sees it.
#[derive(Debug)]
pub(crate) struct Slot<P> {
    commands: Option<Sender<SlotCommand>>,
    thread: Option<JoinHandle<()>>,
    /// The producer, once it is made.
    pub(crate) producer: Option<Arc<P>>,
    /// The outputs of its transaction that are not sent yet, from `sent` on.
    pub(crate) outputs: Outputs,
    pub(crate) sent: usize,
    /// Whether they may be sent (EOS-1).
    pub(crate) transmit: bool,
    /// The transaction to flush, once all are sent.
    pub(crate) flush: Option<TxnSeq>,
    /// The generation that its last commit carried.
    pub(crate) generation: Option<i32>,
    /// Whether the producer has been initialised at least once.
    pub(crate) started: bool,
    /// How often all partitions had been lost when the producer was made.
    pub(crate) made_after_losses: u64,
    /// The span of its transaction, if somebody listens.
    span: Option<Span>,
}

impl<P: TxnProducer> Slot<P> {
    /// A slot whose producer's calls are made on a thread of its own.
    pub(crate) fn spawn(
        index: usize,
        make: MakeProducer<P>,
        reply: impl Fn(SlotReply<P>) + Send + 'static,
    ) -> std::io::Result<Self> {
        let (mut slot, inbox) = Self::without_thread();
        let thread = std::thread::Builder::new().name(format!("streams-producer-{index}")).spawn(
            move || {
                let run = || {
                    let mut calls = SlotCalls::new(index, make);
                    while let Ok(command) = inbox.recv() {
                        calls.make(command, &reply);
                    }
                };
                if catch_unwind(AssertUnwindSafe(run)).is_err() {
                    reply(SlotReply::InitFailed(TxnError {
                        step: TxnStep::Init,
                        transactional_id: format!("producer {index}"),
                        message: "its thread panicked".to_owned(),
                        disposition: Disposition::Stop,
                        cause: Cause::Transaction,
                    }));
                }
            },
        )?;
        slot.thread = Some(thread);
        Ok(slot)
    }

    /// A slot, and its commands: whoever has them makes the calls, by [`SlotCalls`].
    pub(crate) fn without_thread() -> (Self, Receiver<SlotCommand>) {
        let (commands, inbox) = channel();
        let slot = Self {
            commands: Some(commands),
            thread: None,
            producer: None,
            outputs: Outputs::default(),
            sent: 0,
            transmit: false,
            flush: None,
            generation: None,
            started: false,
            made_after_losses: 0,
            span: None,
        };
        (slot, inbox)
    }

    pub(crate) fn command(&self, command: SlotCommand) {
        if let Some(commands) = &self.commands {
            // The thread ends only when this sender is dropped.
            let _ = commands.send(command);
        }
    }

    /// Links the span of the slot's transaction to the span of an event in it.
    pub(crate) fn follows(&mut self, txn: Option<TxnSeq>, event: &Span) {
        if event.is_disabled() {
            return;
        }
        let span = self.span.get_or_insert_with(|| {
            let txn = txn.map(|txn| txn.0);
            tracing::debug_span!(target: "streams::transaction", "transaction", txn)
        });
        span.follows_from(event);
    }

    /// Ends the span of the slot's transaction.
    pub(crate) fn end_span(&mut self, result: &'static str) {
        if let Some(span) = self.span.take() {
            tracing::debug!(target: "streams::transaction", parent: &span, result, "ended");
        }
    }

    /// Its transaction has ended, one way or the other.
    pub(crate) fn reset(&mut self) {
        self.outputs.clear();
        self.sent = 0;
        self.transmit = false;
        self.flush = None;
        self.span = None;
    }

    /// Ends the thread, after what it has been told before.
    pub(crate) fn join(&mut self) {
        self.producer = None;
        self.commands = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The blocking calls of a slot's producer.
pub(crate) struct SlotCalls<P> {
    index: usize,
    make: MakeProducer<P>,
    producer: Option<Arc<P>>,
}

impl<P: TxnProducer> SlotCalls<P> {
    pub(crate) fn new(index: usize, make: MakeProducer<P>) -> Self {
        Self { index, make, producer: None }
    }

    /// Does what the worker asks for, and says how it went as soon as that is known.
    pub(crate) fn make(&mut self, command: SlotCommand, reply: &impl Fn(SlotReply<P>)) {
        if let SlotCommand::Init = command {
            // The old client goes first: two with one transactional id would fence each other.
            self.producer = None;
            return match self.init() {
                Ok(made) => {
                    self.producer = Some(Arc::clone(&made));
                    reply(SlotReply::Ready(made));
                }
                Err(error) => reply(SlotReply::InitFailed(error)),
            };
        }
        let Some(producer) = &self.producer else {
            return debug_assert!(false, "a slot without a producer gets no work");
        };
        match command {
            SlotCommand::Init => {}
            SlotCommand::Flush(txn) => {
                let started = Instant::now();
                let flushed = producer.flush(CALL_TIMEOUT);
                tracing::trace!(slot = self.index, txn = txn.0, took = ?started.elapsed(), "flush");
                reply(match flushed {
                    Ok(()) => SlotReply::Flushed(txn),
                    Err(error) => SlotReply::Failed(txn, error),
                });
            }
            SlotCommand::Commit { txn, offsets, generation, timeout } => {
                let started = Instant::now();
                // EOS-7: only an offset commit is fenced by the generation.
                let unfenced = offsets.is_empty();
                if unfenced && !planted::is(Bug::InterjectionWithoutFence) {
                    return reply(SlotReply::Failed(txn, self.without_offset(txn)));
                }
                let fenced = match unfenced {
                    true => Ok(()),
                    false => producer.send_offsets(&offsets, &generation, timeout),
                };
                let sent = started.elapsed();
                let committed = fenced.and_then(|()| producer.commit(COMMIT_TIMEOUT));
                let took = started.elapsed();
                tracing::trace!(slot = self.index, txn = txn.0, ?sent, ?took, "commit");
                if let Err(error) = committed {
                    return reply(SlotReply::Failed(txn, error));
                }
                // Before the worker hears of it: it may send at once. A beginning that fails shows
                // at the next step of the next transaction.
                if let Err(error) = producer.begin() {
                    tracing::warn!(%error, "the producer cannot begin after a commit");
                }
                reply(SlotReply::Committed { txn, offsets_took: sent });
            }
            SlotCommand::Abort => {
                let aborted = producer.abort(ABORT_TIMEOUT).and_then(|()| producer.begin());
                reply(match aborted {
                    Ok(()) => SlotReply::Aborted,
                    Err(error) => SlotReply::AbortFailed(error),
                });
            }
        }
    }

    fn without_offset(&self, txn: TxnSeq) -> TxnError {
        let message = format!(
            "transaction {} has no offset, so its commit would not be fenced by the generation \
             (EOS-7): this is a bug of the framework; nothing of the transaction is committed, and \
             a restart processes its events again",
            txn.0
        );
        TxnError {
            step: TxnStep::SendOffsets,
            transactional_id: format!("producer {}", self.index),
            message,
            disposition: Disposition::Stop,
            cause: Cause::Transaction,
        }
    }

    fn init(&self) -> Result<Arc<P>, TxnError> {
        let producer = (self.make)(self.index)?;
        producer.init(CALL_TIMEOUT)?;
        producer.begin()?;
        Ok(Arc::new(producer))
    }
}

#[cfg(test)]
mod order_tests;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_that_hang_end_soon_and_those_of_a_slow_cluster_later() {
        let mut patience = OffsetsPatience::default();
        assert_eq!(patience.timeout(), OFFSETS_TIMEOUT_MIN);
        for tries in 0..SHORT_TRIES {
            assert_eq!(patience.timeout(), OFFSETS_TIMEOUT_MIN, "after {tries} tries");
            patience.hung();
        }
        assert_eq!(patience.timeout(), OFFSETS_TIMEOUT_MAX);
        patience.sent(Duration::from_secs(2));
        assert_eq!(patience.timeout(), Duration::from_secs(8), "four times what they take");
        patience.sent(Duration::from_millis(2));
        assert_eq!(patience.timeout(), OFFSETS_TIMEOUT_MIN);
    }
}
