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
//! The same happens if the group's coordinator dies, nearly each time: librdkafka remembers the
//! coordinator, waits for its connection, and looks for another one only if some other connection
//! changes its state. The group's member finds the new coordinator as soon as there is one, and
//! from then on a client that remembers the former one is given up ([`give_up_at`]).
//!
//! *`abort_transaction`, with somebody who polls.* It purges what is queued, waits until what is on
//! its way is acknowledged, and goes on when all of that is reported, to whoever polls.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::types::RDKafkaErrorCode;

use super::ffi::RdError;
use crate::client::coordinator::{CoordinatorWatch, Seen};
use crate::group::Generation;

/// So long after its timeout librdkafka has no excuse any more.
const GRACE: Duration = Duration::from_millis(500);

/// How long a call may take beyond the first answer of a coordinator that the member had to look
/// for, and that has not moved.
const AFTER_COORDINATOR: Duration = Duration::from_secs(1);

/// How long a call may take that begins after such an answer, the first one of its client.
const FIRST_TO_COORDINATOR: Duration = Duration::from_secs(2);

/// How often a call that takes long looks for such an answer.
const LOOK_EVERY: Duration = Duration::from_millis(20);

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
    coordinator: CoordinatorWatch,
    /// When the client last reached the group's coordinator, or first looked for it.
    known_at: Mutex<Option<Instant>>,
}

/// Returns true if the client remembers a coordinator from which the group has moved. It may wait
/// for that one for ever.
fn is_outdated(known_at: Option<Instant>, seen: &Seen) -> bool {
    known_at.zip(seen.moved_at).is_some_and(|(known_at, moved_at)| known_at < moved_at)
}

/// Returns when a call is given up that began at `started` and may take `patience`. The client last
/// reached the group's coordinator at `known_at`.
fn give_up_at(
    started: Instant,
    patience: Duration,
    known_at: Option<Instant>,
    seen: &Seen,
) -> Instant {
    let latest = started + patience;
    let (Some(known_at), Some(answered_at)) = (known_at, seen.answered_at) else {
        return latest;
    };
    if is_outdated(Some(known_at), seen) {
        started
    } else if answered_at > started {
        latest.min(answered_at + AFTER_COORDINATOR)
    } else if answered_at > known_at {
        latest.min(started + FIRST_TO_COORDINATOR)
    } else {
        latest
    }
}

impl CallThread {
    /// Starts the thread; `make` makes the call, which is told to take no longer than so long.
    ///
    /// # Errors
    /// If the system has no thread for it.
    pub(super) fn spawn(
        coordinator: CoordinatorWatch,
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
        Ok(Self {
            calls: Some(calls),
            thread: Some(thread),
            stuck: AtomicBool::new(false),
            coordinator,
            known_at: Mutex::new(None),
        })
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
        let (started, patience) = (Instant::now(), timeout + GRACE);
        let sends_offsets = matches!(call, Call::SendOffsets { .. });
        if self.is_outdated() && sends_offsets {
            return Err(outdated());
        }
        if sends_offsets {
            self.known_at().get_or_insert(started);
        }
        let (reply, answer) = sync_channel(1);
        if let Some(calls) = &self.calls {
            // Without a thread there is no answer either.
            let _ = calls.send((call, timeout, reply));
        }
        let message = loop {
            let deadline = match sends_offsets {
                true => give_up_at(started, patience, *self.known_at(), &self.coordinator.seen()),
                false => started + patience,
            };
            let left = deadline.saturating_duration_since(Instant::now());
            let step = if poll.is_some() { POLL_EVERY } else { LOOK_EVERY };
            match answer.recv_timeout(left.min(step)) {
                Ok(result) => {
                    if sends_offsets && result.is_ok() {
                        *self.known_at() = Some(Instant::now());
                    }
                    return result;
                }
                Err(RecvTimeoutError::Disconnected) => {
                    break "the thread for it has ended".to_owned();
                }
                Err(RecvTimeoutError::Timeout) if Instant::now() >= deadline => {
                    self.stuck.store(true, Ordering::Relaxed);
                    let waited = started.elapsed();
                    break format!("no answer within {waited:.1?}; the producer is made anew");
                }
                Err(RecvTimeoutError::Timeout) => poll.into_iter().for_each(|poll| poll()),
            }
        };
        let code = RDKafkaErrorCode::OperationTimedOut as i32;
        Err(RdError { code, message, fatal: true, requires_abort: false })
    }

    fn known_at(&self) -> MutexGuard<'_, Option<Instant>> {
        self.known_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns true if the client can send no offsets, because it waits for a former coordinator.
    pub(super) fn is_outdated(&self) -> bool {
        is_outdated(*self.known_at(), &self.coordinator.seen())
    }
}

/// Returns the error of a client that [`CallThread::is_outdated`].
pub(super) fn outdated() -> RdError {
    RdError {
        code: RDKafkaErrorCode::OperationTimedOut as i32,
        message: "the group's coordinator has moved, and librdkafka waits for the former one; the \
                  producer is made anew"
            .to_owned(),
        fatal: true,
        requires_abort: false,
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
        let thread = CallThread::spawn(CoordinatorWatch::default(), |call, timeout| match call {
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
        let thread = CallThread::spawn(CoordinatorWatch::default(), move |_, _| {
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

    fn send_offsets() -> Call {
        let generation = Generation {
            group_id: "g".into(),
            member_id: "m".into(),
            generation_id: 1,
            instance_id: None,
        };
        Call::SendOffsets { offsets: TopicPartitionList::new(), generation }
    }

    #[test]
    fn a_call_to_a_dead_coordinator_ends_when_another_one_answers() {
        let (release, released) = channel::<()>();
        let watch = CoordinatorWatch::default();
        watch.note_answer(Instant::now(), "a:1");
        let thread = CallThread::spawn(watch.clone(), move |_, _| {
            let _ = released.recv();
            Ok(())
        })
        .expect("a thread");
        let started = Instant::now();
        let answers = std::thread::spawn(move || {
            std::thread::sleep(LOOK_EVERY);
            watch.note_answer(Instant::now(), "b:1");
        });
        let given_up = thread.call(send_offsets(), Duration::from_secs(10), None);
        assert!(given_up.expect_err("no answer").fatal);
        assert!(started.elapsed() < AFTER_COORDINATOR, "{:?}", started.elapsed());
        answers.join().expect("it answers");
        assert!(thread.is_outdated(), "and it is not asked again");
        assert_eq!(
            thread.call(send_offsets(), GRACE, None).expect_err("outdated").message,
            outdated().message
        );
        drop(release);
    }

    #[test]
    fn a_call_is_given_up_sooner_if_its_client_may_wait_for_a_dead_coordinator() {
        let (known_at, second) = (Instant::now(), Duration::from_secs(1));
        let at = |seconds: u32| known_at + second * seconds;
        let watch = CoordinatorWatch::default();
        let until = |started, known_at| give_up_at(started, second * 11, known_at, &watch.seen());
        assert_eq!(until(at(5), Some(known_at)), at(16));
        watch.note_answer(at(7), "a:1");
        assert_eq!(until(at(5), Some(known_at)), at(7) + AFTER_COORDINATOR, "called before");
        assert_eq!(until(at(8), Some(known_at)), at(8) + FIRST_TO_COORDINATOR, "called after");
        assert_eq!(until(at(9), Some(at(8))), at(20), "the client has reached this one");
        watch.note_answer(at(30), "a:1");
        assert_eq!(until(at(15), Some(at(8))), at(26), "its own time ends earlier");
        watch.note_answer(at(40), "b:1");
        assert_eq!(until(at(39), Some(at(8))), at(39), "it remembers the former one");
        assert_eq!(until(at(41), None), at(52), "it has never looked for one");
    }

    #[test]
    fn somebody_polls_meanwhile() {
        let (release, released) = channel::<()>();
        let thread = CallThread::spawn(CoordinatorWatch::default(), move |_, _| {
            let _ = released.recv();
            Ok(())
        })
        .expect("a thread");
        let poll = || release.send(()).unwrap_or_default();
        assert!(thread.call(Call::Abort, GRACE, Some(&poll)).is_ok());
    }
}
