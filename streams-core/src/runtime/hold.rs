//! Lets commits that are on their way arrive before the member joins again.
//!
//! Otherwise: 1. A transaction sends its offsets, with generation 3. 2. JoinGroup goes out, and is
//! the last one that the group waits for. 3. The group is in generation 4. 4. The offsets arrive,
//! and are refused; the transaction is aborted, and its events are processed again.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::group::{GroupReply, GroupRequest, GroupTransport};

/// Longer than a commit takes; far shorter than a session.
const HOLD_MAX: Duration = Duration::from_millis(200);

/// Whether the workers have stopped to commit.
#[derive(Clone, Debug)]
pub(crate) struct Hold(Arc<watch::Sender<bool>>);

impl Hold {
    pub(crate) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(true)))
    }

    /// They are asked to.
    pub(crate) fn ask(&self) {
        self.0.send_replace(false);
    }

    /// They have, or nobody waits for it any more.
    pub(crate) fn done(&self) {
        self.0.send_replace(true);
    }

    /// A transport that joins only then.
    pub(crate) fn before<T>(&self, transport: T) -> Holding<T> {
        Holding { transport, held: self.0.subscribe() }
    }
}

/// See [`Hold::before`].
pub(crate) struct Holding<T> {
    transport: T,
    held: watch::Receiver<bool>,
}

impl<T: GroupTransport> GroupTransport for Holding<T> {
    async fn call(&mut self, request: GroupRequest) -> Result<GroupReply, String> {
        if matches!(request, GroupRequest::Join(_)) {
            let held = self.held.wait_for(|held| *held);
            // One that takes longer is refused, and replayed: nothing is lost.
            let _ = tokio::time::timeout(HOLD_MAX, held).await;
        }
        self.transport.call(request).await
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use super::*;

    struct Echo;

    impl GroupTransport for Echo {
        async fn call(&mut self, _: GroupRequest) -> Result<GroupReply, String> {
            Ok(GroupReply::Coordinator)
        }
    }

    #[tokio::test]
    async fn a_join_waits_for_commits() {
        let join = || GroupRequest::Join(Box::default());
        let hold = Hold::new();
        let mut transport = hold.before(Echo);
        assert!(transport.call(join()).await.is_ok(), "nobody was asked to stop");
        hold.ask();
        let mut waits = std::pin::pin!(transport.call(join()));
        let mut context = Context::from_waker(Waker::noop());
        assert!(waits.as_mut().poll(&mut context).is_pending());
        hold.done();
        assert!(waits.as_mut().poll(&mut context).is_ready());
    }

    #[tokio::test]
    async fn a_join_does_not_wait_for_ever() {
        let hold = Hold::new();
        let mut transport = hold.before(Echo);
        hold.ask();
        assert!(transport.call(GroupRequest::Join(Box::default())).await.is_ok());
    }
}
