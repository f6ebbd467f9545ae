//! In which order a slot calls its producer and answers its worker.

use std::sync::Mutex;

use super::*;
use crate::client::SendError;
use crate::record::OutputRef;

type Log = Arc<Mutex<Vec<&'static str>>>;

/// A producer that succeeds, and notes what it is called for.
struct Noting(Log);

impl Noting {
    fn note(&self, call: &'static str) -> Result<(), TxnError> {
        self.0.lock().expect("no panic").push(call);
        Ok(())
    }
}

impl TxnProducer for Noting {
    fn init(&self, _: Duration) -> Result<(), TxnError> {
        self.note("init")
    }

    fn begin(&self) -> Result<(), TxnError> {
        self.note("begin")
    }

    fn send(&self, _: OutputRef<'_>) -> Result<(), SendError> {
        Ok(())
    }

    fn flush(&self, _: Duration) -> Result<(), TxnError> {
        self.note("flush")
    }

    fn send_offsets(
        &self,
        _: &[OffsetToCommit],
        _: &Generation,
        _: Duration,
    ) -> Result<(), TxnError> {
        self.note("send offsets")
    }

    fn commit(&self, _: Duration) -> Result<(), TxnError> {
        self.note("commit")
    }

    fn abort(&self, _: Duration) -> Result<(), TxnError> {
        self.note("abort")
    }
}

fn commit(offsets: Vec<OffsetToCommit>) -> SlotCommand {
    let generation = Generation {
        group_id: "g".into(),
        member_id: "m".into(),
        generation_id: 1,
        instance_id: None,
    };
    let timeout = OffsetsPatience::default().timeout();
    SlotCommand::Commit { txn: TxnSeq(0), offsets, generation, timeout }
}

/// What the slot does for a commit of these offsets, after its producer is ready.
fn calls_for(offsets: Vec<OffsetToCommit>) -> Vec<&'static str> {
    let log = Log::default();
    let (producers, replies) = (Arc::clone(&log), Arc::clone(&log));
    let mut calls = SlotCalls::new(0, Arc::new(move |_| Ok(Noting(Arc::clone(&producers)))));
    let reply = move |reply| {
        replies.lock().expect("no panic").push(match reply {
            SlotReply::Ready(_) => "-> ready",
            SlotReply::Committed { .. } => "-> committed",
            SlotReply::Failed(_, error) => {
                assert!(error.message.contains("EOS-7"), "{error}");
                "-> failed"
            }
            _ => "-> another",
        });
    };
    calls.make(SlotCommand::Init, &reply);
    log.lock().expect("no panic").clear();
    calls.make(commit(offsets), &reply);
    log.lock().expect("no panic").clone()
}

#[test]
fn u3_the_worker_hears_of_a_commit_when_the_next_transaction_has_begun() {
    let topic_partition = crate::record::TopicPartition::new("t", 0);
    let offset = OffsetToCommit { topic_partition, offset: 1, metadata: String::new() };
    assert_eq!(calls_for(vec![offset]), ["send offsets", "commit", "begin", "-> committed"]);
}

#[test]
fn eos7_a_commit_without_an_offset_is_refused() {
    assert_eq!(calls_for(vec![]), ["-> failed"]);
}
