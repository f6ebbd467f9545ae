//! `send_offsets_to_transaction`, with an end.
//!
//! librdkafka drops a broker that the cluster's metadata lacks for a moment, as while that broker
//! restarts, and goes on asking for the group's coordinator at the dropped one: the call waits
//! until some other connection changes its state, and keeps to no timeout
//! (<https://github.com/confluentinc/librdkafka/issues/5511>; it happened in every second restart
//! of a lone broker under load). So the call is made on a thread of its own. If it does not end,
//! the producer is given up, and another one is made; the broker fences the first.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::types::RDKafkaErrorCode;

use super::ffi::RdError;
use crate::group::Generation;

/// So long after its timeout librdkafka has no excuse any more.
const GRACE: Duration = Duration::from_secs(1);

/// Offsets to be sent with a transaction.
pub(super) struct Call {
    pub(super) offsets: TopicPartitionList,
    pub(super) generation: Generation,
    pub(super) timeout: Duration,
}

type Reply = SyncSender<Result<(), RdError>>;

/// The thread that sends the offsets of a producer.
pub(super) struct OffsetsThread {
    calls: Option<Sender<(Call, Reply)>>,
    thread: Option<JoinHandle<()>>,
    /// It waits in a call that does not end.
    stuck: AtomicBool,
}

impl OffsetsThread {
    /// Starts the thread; `send` makes the call.
    ///
    /// # Errors
    /// If the system has no thread for it.
    pub(super) fn spawn(
        send: impl Fn(&Call) -> Result<(), RdError> + Send + 'static,
    ) -> std::io::Result<Self> {
        let (calls, inbox): (_, Receiver<(Call, Reply)>) = channel();
        let run = move || {
            while let Ok((call, reply)) = inbox.recv() {
                // Whoever gave the call up does not listen.
                let _ = reply.send(send(&call));
            }
        };
        let thread = std::thread::Builder::new().name("streams-offsets".to_owned()).spawn(run)?;
        Ok(Self { calls: Some(calls), thread: Some(thread), stuck: AtomicBool::new(false) })
    }

    /// Sends the offsets, and waits for the end of it, but not for ever.
    ///
    /// # Errors
    /// What librdkafka says, or that it says nothing: then the producer is of no use any more.
    pub(super) fn send(&self, call: Call) -> Result<(), RdError> {
        let patience = call.timeout + GRACE;
        let (reply, answer) = sync_channel(1);
        if let Some(calls) = &self.calls {
            // Without a thread there is no answer either.
            let _ = calls.send((call, reply));
        }
        let message = match answer.recv_timeout(patience) {
            Ok(result) => return result,
            Err(RecvTimeoutError::Timeout) => {
                self.stuck.store(true, Ordering::Relaxed);
                format!("no answer within {patience:?}; the producer is made anew")
            }
            Err(RecvTimeoutError::Disconnected) => "the thread for it has ended".to_owned(),
        };
        let code = RDKafkaErrorCode::OperationTimedOut as i32;
        Err(RdError { code, message, fatal: true, requires_abort: false })
    }
}

impl Drop for OffsetsThread {
    /// A thread that is stuck is left behind with its client; it ends when its call does.
    fn drop(&mut self) {
        self.calls = None;
        if let Some(thread) = self.thread.take().filter(|_| !self.stuck.load(Ordering::Relaxed)) {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call() -> Call {
        let generation = Generation {
            group_id: "g".into(),
            member_id: "m".into(),
            generation_id: 1,
            instance_id: None,
        };
        Call { offsets: TopicPartitionList::new(), generation, timeout: Duration::ZERO }
    }

    #[test]
    fn an_answer_is_passed_on() {
        let thread = OffsetsThread::spawn(|call| match call.generation.generation_id {
            1 => Ok(()),
            _ => Err(RdError {
                code: 22,
                message: String::new(),
                fatal: false,
                requires_abort: true,
            }),
        })
        .expect("a thread");
        assert!(thread.send(call()).is_ok());
        let mut zombie = call();
        zombie.generation.generation_id = 0;
        assert_eq!(thread.send(zombie).expect_err("refused").code, 22);
    }

    #[test]
    fn a_call_that_does_not_end_is_given_up() {
        let (release, released) = channel::<()>();
        let thread = OffsetsThread::spawn(move |_| {
            let _ = released.recv();
            Ok(())
        })
        .expect("a thread");
        assert!(thread.send(call()).expect_err("no answer").fatal);
        // The stuck thread is not waited for.
        drop(thread);
        drop(release);
    }
}
