//! Waiting for a future in a thread that has no executor.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Instant;

struct Unpark {
    thread: Thread,
    is_woken: AtomicBool,
}

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.is_woken.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

/// Blocks until `future` is ready.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let ready = block_on_until(future, None);
    ready.unwrap_or_else(|| unreachable!("without a deadline the future gets ready"))
}

/// Blocks until `future` is ready, and until `deadline` at the latest. Returns `None` after that.
pub(crate) fn block_on_until<F: Future>(future: F, deadline: Option<Instant>) -> Option<F::Output> {
    let mut future = pin!(future);
    let thread = std::thread::current();
    let unpark = Arc::new(Unpark { thread, is_woken: AtomicBool::new(false) });
    let waker = Waker::from(Arc::clone(&unpark));
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return Some(output);
        }
        while !unpark.is_woken.swap(false, Ordering::Acquire) {
            match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
                None => std::thread::park(),
                Some(left) if left.is_zero() => return None,
                Some(left) => std::thread::park_timeout(left),
            }
        }
    }
}

/// Ends with the first of two futures that is ready.
pub(crate) async fn either(first: impl Future, second: impl Future) {
    let (mut first, mut second) = (pin!(first), pin!(second));
    std::future::poll_fn(|context| {
        let is_ready =
            first.as_mut().poll(context).is_ready() || second.as_mut().poll(context).is_ready();
        if is_ready { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_deadline_ends_the_wait_and_a_wake_up_from_another_thread_too() {
        let soon = || Some(Instant::now() + Duration::from_millis(20));
        assert_eq!(block_on_until(std::future::pending::<()>(), soon()), None);
        assert_eq!(block_on_until(std::future::ready(3), soon()), Some(3));
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let thread = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            sender.send(4).expect("the receiver waits");
        });
        assert_eq!(block_on(receiver), Ok(4));
        thread.join().expect("no panic");
    }

    #[test]
    fn either_ends_with_the_first_that_is_ready() {
        block_on(either(std::future::pending::<()>(), std::future::ready(())));
        block_on(either(std::future::ready(()), std::future::pending::<()>()));
    }
}
