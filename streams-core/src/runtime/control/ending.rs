//! How a source ends: by a command, by a signal, or by an error.

use tokio::time::Instant;

use super::{Control, Phase, STOP_TIMEOUT, Word};
use crate::group::GroupCommand;
use crate::runtime::error::SourceError;
use crate::runtime::running::{SourceState, UserCommand};

impl Control {
    pub(super) fn user_command(&mut self, command: UserCommand, signals: &mut Signals) {
        match command {
            UserCommand::Stop if self.phase == Phase::Running => self.drain(),
            // Asked again while it stops: at once then.
            UserCommand::Stop => self.cut_short(),
            UserCommand::StopNow => {
                self.stop();
                self.tell_all(|| Word::StopNow);
            }
            UserCommand::StopOnSignals => signals.listen(),
        }
    }

    /// Whether events are processed.
    pub(super) fn goes_on(&self) -> bool {
        matches!(self.phase, Phase::Running | Phase::Draining)
    }

    /// Lets the group move the partitions to others, one by one, before it stops.
    pub(super) fn drain(&mut self) {
        if self.leave_timeout.is_zero() || self.group.send(GroupCommand::Drain).is_err() {
            return self.stop();
        }
        tracing::info!(timeout = ?self.leave_timeout, "leaving: partitions move to others first");
        self.phase = Phase::Draining;
        self.stop_by = Some(Instant::now() + self.leave_timeout);
    }

    pub(super) fn fail(&mut self, error: SourceError) {
        self.state.set(SourceState::Unhealthy);
        if self.failure.is_some() {
            return;
        }
        // After a fatal error nothing is finished, and nobody leaves: the group finds out.
        let fatal = matches!(error, SourceError::Handler { fatal: true, .. });
        self.failure = Some(error);
        self.stop();
        if fatal {
            self.tell_all(|| Word::StopNow);
            self.phase = Phase::Ended;
        }
    }

    pub(super) fn stop(&mut self) {
        if self.goes_on() {
            self.phase = Phase::Stopping;
            self.stop_by = Some(Instant::now() + STOP_TIMEOUT);
            self.tell_all(|| Word::Stop);
            if self.running.is_empty() {
                self.leave();
            }
        }
    }

    pub(super) fn time_is_over(&mut self) {
        match self.phase {
            Phase::Draining => {
                let (timeout, owned) = (self.leave_timeout, self.owned.len());
                tracing::warn!(?timeout, owned, "not all partitions have moved: leaving as it is");
                self.stop();
            }
            _ => self.cut_short(),
        }
    }

    /// Somebody does not want to wait any longer.
    pub(super) fn cut_short(&mut self) {
        self.stop_by = None;
        if self.phase == Phase::Draining {
            self.stop();
        }
        match self.phase {
            Phase::Leaving => self.phase = Phase::Ended,
            _ => self.tell_all(|| Word::StopNow),
        }
    }

    pub(super) fn leave(&mut self) {
        self.phase = Phase::Leaving;
        self.stop_by = Some(Instant::now() + STOP_TIMEOUT);
        if self.group.send(GroupCommand::Leave).is_err() {
            self.phase = Phase::Ended;
        }
    }
}

/// SIGINT and SIGTERM, once they are listened to.
#[derive(Default)]
pub(super) struct Signals(Option<(tokio::signal::unix::Signal, tokio::signal::unix::Signal)>);

impl Signals {
    pub(super) fn listen(&mut self) {
        use tokio::signal::unix::{SignalKind, signal};
        match (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) {
            (Ok(interrupt), Ok(terminate)) => self.0 = Some((interrupt, terminate)),
            (Err(error), _) | (_, Err(error)) => tracing::error!(%error, "can't listen to signals"),
        }
    }

    pub(super) async fn recv(&mut self) {
        match &mut self.0 {
            None => std::future::pending().await,
            Some((interrupt, terminate)) => {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
            }
        }
    }
}
