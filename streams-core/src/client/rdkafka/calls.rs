//! Calls of a producer that need a thread of their own.
//!
//! *`send_offsets_to_transaction`, with an end.*
//! librdkafka drops a broker that the cluster's metadata lacks for a moment, as while that broker
//! restarts, and goes on asking for the group's coordinator at the dropped one: the call waits
//! until some other connection changes its state, and keeps to no timeout
//! (<https://github.com/confluentinc/librdkafka/issues/5511>; it happened in every second restart
//! of a lone broker under load). So the call is made on a thread of its own. If it does not end,
//! the producer is given up, and another one is made; the broker fences the first.
//!
//! *`abort_transaction`, with somebody who polls.* It purges what is queued, waits until what is on
//! its way is acknowledged, and goes on when all of that is reported, to whoever polls.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::types::RDKafkaErrorCode;

use super::ffi::RdError;
use crate::group::Generation;

/// So long after its timeout librdkafka has no excuse any more.
const GRACE: Duration = Duration::from_secs(1);

/// Between two polls, while an abort waits for reports.
const POLL_EVERY: Duration = Duration::from_millis(1);

/// What is called.
pub(super) enum Call {
    /// `send_offsets_to_transaction`.
    SendOffsets { offsets: TopicPartitionList, generation: Generation },
    /// `abort_transaction`.
    Abort,
}

type Reply = SyncSender<Result<(), RdError>>;

/// The thread that makes the calls of a producer.
pub(super) struct CallThread {
    calls: Option<Sender<(Call, Duration, Reply)>>,
    thread: Option<JoinHandle<()>>,
    /// It waits in a call that does not end.
    stuck: AtomicBool,
}

impl CallThread {
    /// Starts the thread; `make` makes the call, which is told to take no longer than so long.
    ///
    /// # Errors
    /// If the system has no thread for it.
    pub(super) fn spawn(
        make: impl Fn(&Call, Duration) -> Result<(), RdError> + Send + 'static,
    ) -> std::io::Result<Self> {
        let (calls, inbox): (_, Receiver<(Call, Duration, Reply)>) = channel();
        let run = move || {
            while let Ok((call, timeout, reply)) = inbox.recv() {
                // Whoever gave the call up does not listen.
                let _ = reply.send(make(&call, timeout));
            }
        };
        let thread = std::thread::Builder::new().name("streams-calls".to_owned()).spawn(run)?;
        Ok(Self { calls: Some(calls), thread: Some(thread), stuck: AtomicBool::new(false) })
    }

    /// Makes a call, and waits for the end of it, but not for ever. Meanwhile calls `poll`, if
    /// there is one.
    ///
    /// # Errors
    /// What librdkafka says, or that it says nothing: then the producer is of no use any more.
    pub(super) fn call(
        &self,
        call: Call,
        timeout: Duration,
        poll: Option<&dyn Fn()>,
    ) -> Result<(), RdError> {
        let patience = timeout + GRACE;
        let deadline = Instant::now() + patience;
        let (reply, answer) = sync_channel(1);
        if let Some(calls) = &self.calls {
            // Without a thread there is no answer either.
            let _ = calls.send((call, timeout, reply));
        }
        let message = loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match answer.recv_timeout(poll.map_or(left, |_| left.min(POLL_EVERY))) {
                Ok(result) => return result,
                Err(RecvTimeoutError::Disconnected) => {
                    break "the thread for it has ended".to_owned();
                }
                Err(RecvTimeoutError::Timeout) if Instant::now() >= deadline => {
                    self.stuck.store(true, Ordering::Relaxed);
                    break format!("no answer within {patience:?}; the producer is made anew");
                }
                Err(RecvTimeoutError::Timeout) => poll.into_iter().for_each(|poll| poll()),
            }
        };
        let code = RDKafkaErrorCode::OperationTimedOut as i32;
        Err(RdError { code, message, fatal: true, requires_abort: false })
    }
}

impl Drop for CallThread {
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

    #[test]
    fn an_answer_is_passed_on() {
        let thread = CallThread::spawn(|call, timeout| match call {
            Call::Abort if timeout > Duration::ZERO => Ok(()),
            _ => Err(RdError {
                code: 22,
                message: String::new(),
                fatal: false,
                requires_abort: true,
            }),
        })
        .expect("a thread");
        assert!(thread.call(Call::Abort, GRACE, None).is_ok());
        let refused = thread.call(Call::Abort, Duration::ZERO, None);
        assert_eq!(refused.expect_err("refused").code, 22);
    }

    #[test]
    fn a_call_that_does_not_end_is_given_up() {
        let (release, released) = channel::<()>();
        let thread = CallThread::spawn(move |_, _| {
            let _ = released.recv();
            Ok(())
        })
        .expect("a thread");
        let given_up = thread.call(Call::Abort, Duration::ZERO, None);
        assert!(given_up.expect_err("no answer").fatal);
        // The stuck thread is not waited for.
        drop(thread);
        drop(release);
    }

    #[test]
    fn somebody_polls_meanwhile() {
        let (release, released) = channel::<()>();
        let thread = CallThread::spawn(move |_, _| {
            let _ = released.recv();
            Ok(())
        })
        .expect("a thread");
        let poll = || release.send(()).unwrap_or_default();
        assert!(thread.call(Call::Abort, GRACE, Some(&poll)).is_ok());
    }
}
