//! How a source ends: by a command, by a signal, or by an error.

use std::time::Duration;

use tokio::time::Instant;

use super::{Control, Phase, STOP_TIMEOUT, Word};
use crate::group::GroupCommand;
use crate::runtime::error::SourceError;
use crate::runtime::error_policy::exit;
use crate::runtime::running::{SourceState, UserCommand};
use crate::runtime::signals::listen;

/// How long workers may take to end at once, and the member to leave then.
const CUT_SHORT_MAX: Duration = Duration::from_secs(10);

impl Control {
    pub(super) fn user_command(&mut self, command: UserCommand) {
        match command {
            UserCommand::Stop | UserCommand::Signal if self.phase == Phase::Running => self.drain(),
            // Several handles may ask: none of them cuts short what another one began.
            UserCommand::Stop => {}
            // A signal came again: somebody does not want to wait.
            UserCommand::Signal => self.cut_short(),
            UserCommand::StopNow => {
                self.stop();
                if self.phase == Phase::Stopping && !self.is_cut_short {
                    self.cut_short();
                }
            }
            UserCommand::OnSignals(signals, on_signal) => {
                if let Err(error) = listen(&signals, move |signal| on_signal(signal)) {
                    self.fail(SourceError::Signals(error.to_string()));
                }
            }
        }
    }

    /// Returns true if the source processes events.
    pub(super) fn goes_on(&self) -> bool {
        matches!(self.phase, Phase::Running | Phase::Draining)
    }

    /// Evacuates: the group moves the partitions to other members, one by one, before the source
    /// stops.
    pub(super) fn drain(&mut self) {
        if self.leave_timeout.is_zero() || self.group.send(GroupCommand::Drain).is_err() {
            return self.stop();
        }
        self.state.stopping();
        tracing::info!(timeout = ?self.leave_timeout, "leaving: partitions move to others first");
        self.phase = Phase::Draining;
        self.stop_by = Some(Instant::now() + self.leave_timeout);
    }

    pub(super) fn fail(&mut self, error: SourceError) {
        self.state.set(SourceState::Unhealthy);
        if self.failure.is_some() {
            return;
        }
        self.failure = Some(error);
        self.stop();
    }

    /// Nothing may run on: the process exits, unless the application has replaced the exit. Then
    /// nothing is finished, and the member does not leave: the group finds out.
    pub(super) fn fail_fatally(&mut self, error: SourceError) {
        match &self.on_fatal {
            Some(call) => call(&error),
            None => exit(&error),
        }
        self.fail(error);
        self.leaves = false;
        self.cut_short();
    }

    /// Looks for workers that have not returned from the application's code for too long.
    pub(super) fn look_for_stuck(&mut self) {
        let now = std::time::Instant::now();
        let pulses = self.workers.iter().map(|worker| &*worker.pulse);
        for (worker, waited) in self.watch.look(now, pulses) {
            if self.running.contains(&worker) {
                self.abandon(worker, waited);
            }
        }
    }

    /// The worker is stuck: the source ends without it, and this member leaves the group, which
    /// fences the worker's commits.
    fn abandon(&mut self, worker: usize, waited: Duration) {
        let at = self.workers.get(worker).and_then(|handle| handle.pulse.inside());
        let error = SourceError::Stuck { worker, at, waited };
        tracing::error!(worker, %error, "a worker is stuck");
        // The worker reads it if the application's code returns after all.
        self.tell(worker, Word::StopNow);
        self.running.remove(&worker);
        self.abandoned.insert(worker);
        self.held(worker, self.hold.number, &[]);
        self.fail(error);
        if self.running.is_empty() {
            self.leave();
        }
    }

    pub(super) fn stop(&mut self) {
        if self.goes_on() {
            self.state.stopping();
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
            Phase::Stopping if self.is_cut_short => self.end_without_workers(),
            _ => self.cut_short(),
        }
    }

    /// Ends the source without further waiting: the workers abort their pending transactions. The
    /// control thread abandons a worker that does not end within `CUT_SHORT_MAX`.
    fn cut_short(&mut self) {
        if self.phase == Phase::Draining {
            self.stop();
        }
        match self.phase {
            Phase::Stopping if !self.is_cut_short => {
                self.is_cut_short = true;
                self.stop_by = Some(Instant::now() + CUT_SHORT_MAX);
                self.tell_all(|| Word::StopNow);
            }
            Phase::Stopping => self.end_without_workers(),
            Phase::Leaving => self.phase = Phase::Ended,
            Phase::Running | Phase::Draining | Phase::Ended => {}
        }
    }

    /// Abandons the workers that have not ended yet.
    fn end_without_workers(&mut self) {
        for worker in self.running.clone() {
            self.abandon(worker, CUT_SHORT_MAX);
        }
    }

    pub(super) fn leave(&mut self) {
        if matches!(self.phase, Phase::Leaving | Phase::Ended) {
            return;
        }
        if !self.leaves {
            self.phase = Phase::Ended;
            return;
        }
        self.phase = Phase::Leaving;
        let patience = if self.is_cut_short { CUT_SHORT_MAX } else { STOP_TIMEOUT };
        self.stop_by = Some(Instant::now() + patience);
        if self.group.send(GroupCommand::Leave).is_err() {
            self.phase = Phase::Ended;
        }
    }
}
