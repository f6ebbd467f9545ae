//! A producer of the pool on its own thread: its calls block.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::client::{OffsetToCommit, TxnProducer};
use crate::eos::TxnSeq;
use crate::error::{Disposition, TxnError, TxnStep};
use crate::group::Generation;
use crate::record::Outputs;

/// How long one call to the broker may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

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
    },
    Abort,
}

/// What a slot's thread says.
#[derive(Debug)]
pub(crate) enum SlotReply<P> {
    Ready(Arc<P>),
    InitFailed(TxnError),
    Flushed(TxnSeq),
    Committed(TxnSeq),
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
    /// Whether the producer has been initialised at least once.
    pub(crate) started: bool,
}

impl<P: TxnProducer> Slot<P> {
    pub(crate) fn spawn(
        index: usize,
        make: MakeProducer<P>,
        reply: impl Fn(SlotReply<P>) + Send + 'static,
    ) -> std::io::Result<Self> {
        let (commands, inbox) = channel();
        let thread = std::thread::Builder::new().name(format!("streams-producer-{index}")).spawn(
            move || {
                let run = || run(index, &make, &inbox, &reply);
                if catch_unwind(AssertUnwindSafe(run)).is_err() {
                    reply(SlotReply::InitFailed(TxnError {
                        step: TxnStep::Init,
                        transactional_id: format!("producer {index}"),
                        message: "its thread panicked".to_owned(),
                        disposition: Disposition::Stop,
                    }));
                }
            },
        )?;
        Ok(Self {
            commands: Some(commands),
            thread: Some(thread),
            producer: None,
            outputs: Outputs::default(),
            sent: 0,
            transmit: false,
            flush: None,
            started: false,
        })
    }

    pub(crate) fn command(&self, command: SlotCommand) {
        if let Some(commands) = &self.commands {
            // The thread ends only when this sender is dropped.
            let _ = commands.send(command);
        }
    }

    /// Its transaction has ended, one way or the other.
    pub(crate) fn reset(&mut self) {
        self.outputs.clear();
        self.sent = 0;
        self.transmit = false;
        self.flush = None;
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

fn run<P: TxnProducer>(
    index: usize,
    make: &MakeProducer<P>,
    inbox: &Receiver<SlotCommand>,
    reply: &impl Fn(SlotReply<P>),
) {
    let mut producer: Option<Arc<P>> = None;
    while let Ok(command) = inbox.recv() {
        match (command, &producer) {
            (SlotCommand::Init, _) => {
                // The old client goes first: two with one transactional id would fence each other.
                producer = None;
                match init(index, make) {
                    Ok(made) => {
                        producer = Some(Arc::clone(&made));
                        reply(SlotReply::Ready(made));
                    }
                    Err(error) => reply(SlotReply::InitFailed(error)),
                }
            }
            (SlotCommand::Flush(txn), Some(producer)) => {
                reply(match producer.flush(CALL_TIMEOUT) {
                    Ok(()) => SlotReply::Flushed(txn),
                    Err(error) => SlotReply::Failed(txn, error),
                })
            }
            (SlotCommand::Commit { txn, offsets, generation }, Some(producer)) => {
                let committed = producer
                    .send_offsets(&offsets, &generation, CALL_TIMEOUT)
                    .and_then(|()| producer.commit(CALL_TIMEOUT));
                match committed {
                    Ok(()) => reply(SlotReply::Committed(txn)),
                    Err(error) => {
                        reply(SlotReply::Failed(txn, error));
                        continue;
                    }
                }
                // A beginning that fails shows at the next step of the next transaction.
                if let Err(error) = producer.begin() {
                    tracing::warn!(%error, "can't begin after a commit");
                }
            }
            (SlotCommand::Abort, Some(producer)) => {
                let aborted = producer.abort(CALL_TIMEOUT).and_then(|()| producer.begin());
                reply(match aborted {
                    Ok(()) => SlotReply::Aborted,
                    Err(error) => SlotReply::AbortFailed(error),
                });
            }
            (_, None) => debug_assert!(false, "a slot without a producer gets no work"),
        }
    }
}

fn init<P: TxnProducer>(index: usize, make: &MakeProducer<P>) -> Result<Arc<P>, TxnError> {
    let producer = make(index)?;
    producer.init(CALL_TIMEOUT)?;
    producer.begin()?;
    Ok(Arc::new(producer))
}
