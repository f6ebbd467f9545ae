//! What the pool does when a step fails: it aborts and replays, makes producers anew, asks whether
//! a commit happened, or stops. For how long it tries again, [`Patience`](super::patience) says.

use std::collections::BTreeSet;
use std::time::Instant;

use super::{Command, Mode, Pool, Slot, StopReason};
use crate::eos::txn::{Transaction, TxnSeq, TxnState};
use crate::error::{Cause, Disposition};

/// Which producers an abort makes anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Renew {
    Nothing,
    /// That of this transaction.
    Of(TxnSeq),
    /// All that have made no progress since this transaction's commit began, or since it opened, if
    /// it failed before: what holds up one client holds up the others too, and each would wait for
    /// its own bound.
    Since(TxnSeq),
}

impl Pool {
    /// Takes in that a step of a transaction failed.
    pub(super) fn failed(
        &mut self,
        now: Instant,
        seq: TxnSeq,
        disposition: Disposition,
        cause: Cause,
    ) {
        let Some(at) = self.txns.iter().position(|txn| txn.seq == seq) else {
            return;
        };
        if self.txns[at].state == TxnState::Aborting {
            return;
        }
        match disposition {
            Disposition::Stop => self.stop(StopReason::Failed),
            Disposition::Indefinite => {
                let txn = &mut self.txns[at];
                txn.transition(TxnState::Indefinite);
                txn.indefinite_cause = cause;
                self.commands.push_back(Command::Recover { slot: txn.slot });
            }
            Disposition::Abort => self.abort_from(now, at, Renew::Nothing, Some(cause)),
            // EOS-5: the fenced producer is gone before anything else is begun. Whether a new one
            // may take its place, the worker finds out.
            Disposition::Recover | Disposition::Fenced => {
                self.abort_from(now, at, Renew::Of(seq), Some(cause));
            }
            Disposition::RecoverAll => self.abort_from(now, at, Renew::Since(seq), Some(cause)),
        }
    }

    /// EOS-4: this transaction and all later ones are aborted. Without a cause nothing has failed.
    fn abort_from(&mut self, now: Instant, at: usize, renew: Renew, cause: Option<Cause>) {
        let mut partitions = match std::mem::replace(&mut self.mode, Mode::Running) {
            Mode::Running => {
                let counted = cause.map_or(Ok(()), |cause| self.patience.aborts(now, cause));
                if let Err(reason) = counted {
                    return self.stop(reason);
                }
                BTreeSet::new()
            }
            Mode::Aborting(partitions) => partitions,
            Mode::Stopped => return self.mode = Mode::Stopped,
        };
        if let Renew::Since(seq) = renew {
            self.renew_idle(seq);
        }
        for txn in self.txns.range_mut(at..) {
            if txn.state == TxnState::Aborting {
                continue;
            }
            txn.transition(TxnState::Aborting);
            partitions.extend(txn.touched.keys());
            let slot = txn.slot;
            self.commands.push_back(match renew {
                Renew::Since(_) => Command::Recover { slot },
                Renew::Of(seq) if seq == txn.seq => Command::Recover { slot },
                Renew::Of(_) | Renew::Nothing => Command::Abort { txn: txn.seq, slot },
            });
        }
        self.mode = Mode::Aborting(partitions);
        self.finish_abort(now);
    }

    /// Makes the idle producers anew that were made before the transaction's commit began, or
    /// before it opened, if it failed before its commit: its client found out during the flush that
    /// the group's coordinator has moved. Only the oldest transaction commits, so none of them has
    /// made progress since.
    fn renew_idle(&mut self, seq: TxnSeq) {
        let began = self.find(seq).map(|txn| txn.committing_since.unwrap_or(txn.opened_at));
        let made_at = &self.made_at;
        let is_old = |slot: &usize| made_at[*slot] <= began;
        let (old, fresh): (Vec<_>, Vec<_>) = self.idle.iter().copied().partition(is_old);
        self.idle = fresh.into();
        for slot in old {
            self.slots[slot] = Slot::Starting;
            self.commands.push_back(Command::Recover { slot });
        }
    }

    /// The partition goes to another member. The pool can't commit effects of an incomplete event,
    /// and the next owner does not wait for its completer: the event is the next owner's.
    pub(super) fn abort_pinned(&mut self, now: Instant) {
        self.abort_from(now, self.txns.len() - 1, Renew::Nothing, None);
    }

    /// Aborts the last transaction, which is pinned by the event that failed.
    pub(super) fn discard(&mut self, now: Instant) {
        if self.mode == Mode::Running && !self.txns.is_empty() {
            self.abort_pinned(now);
        }
    }

    /// Aborts a pinned transaction that the broker aborts too, now or soon: nobody else looks at
    /// it before its completer comes.
    pub(super) fn expire_pinned(&mut self, now: Instant) {
        if self.mode == Mode::Running
            && self.pinned_until().is_some_and(|until| now >= until)
            && let Some(txn) = self.txns.back()
        {
            let seq = txn.seq;
            self.patience.isolate();
            self.commands.push_back(Command::TimedOut { txn: seq });
            self.abort_from(now, self.txns.len() - 1, Renew::Of(seq), None);
        }
    }

    pub(super) fn abort_failed(&mut self, slot: usize, disposition: Disposition) {
        match disposition {
            Disposition::Stop => self.stop(StopReason::Failed),
            // Initialising the producer anew aborts what it left open.
            _ => self.commands.push_back(Command::Recover { slot }),
        }
    }

    pub(super) fn recover_failed(
        &mut self,
        now: Instant,
        slot: usize,
        disposition: Disposition,
        cause: Cause,
    ) {
        if disposition == Disposition::Stop {
            return self.stop(StopReason::Failed);
        }
        if let Err(reason) = self.patience.init_failed(now, slot, cause) {
            self.stop(reason);
        }
    }

    /// Makes the producers again whose back-off is over.
    pub(super) fn retry_inits(&mut self, now: Instant) {
        let recover = |slot| Command::Recover { slot };
        self.commands.extend(self.patience.retries(now).into_iter().map(recover));
    }

    pub(super) fn recovered(&mut self, now: Instant, slot: usize) {
        let Slot::Busy(seq) = self.slots[slot] else {
            return self.slot_is_idle(slot);
        };
        match self.find(seq).map(|txn| (txn.state, txn.offsets())) {
            Some((TxnState::Indefinite, offsets)) => {
                self.commands.push_back(Command::Resolve { txn: seq, offsets });
            }
            _ => self.ended(now, slot),
        }
    }

    pub(super) fn resolved(&mut self, now: Instant, seq: TxnSeq, committed: bool) {
        let indefinite = |txn: &Transaction| txn.seq == seq && txn.state == TxnState::Indefinite;
        let Some(at) = self.txns.iter().position(indefinite) else {
            return;
        };
        if committed {
            return self.committed(seq);
        }
        let (slot, cause) = (self.txns[at].slot, self.txns[at].indefinite_cause);
        self.abort_from(now, at, Renew::Nothing, Some(cause));
        // Its producer is new already, and has nothing open.
        let abort = Command::Abort { txn: seq, slot };
        self.commands.retain(|command| *command != abort);
        self.ended(now, slot);
    }

    /// The slot's transaction is aborted.
    pub(super) fn ended(&mut self, now: Instant, slot: usize) {
        let aborting = |txn: &Transaction| txn.slot == slot && txn.state == TxnState::Aborting;
        if let Some(at) = self.txns.iter().position(aborting) {
            self.txns.remove(at);
        }
        self.slot_is_idle(slot);
        self.finish_abort(now);
    }

    /// Rewinds the partitions of the aborted transactions, once no earlier transaction is pending.
    ///
    /// Earlier transactions than the failed one go on to commit before that. If the rewind did not
    /// wait for them: 1. A commits, B fails. 2. The task rewinds to before A. 3. A is committed.
    /// 4. A's events are processed again.
    pub(super) fn finish_abort(&mut self, now: Instant) {
        if !self.txns.is_empty() {
            return;
        }
        let Mode::Aborting(partitions) = &mut self.mode else {
            return;
        };
        for id in std::mem::take(partitions) {
            let Some(known) = self.partitions.get_mut(&id) else {
                continue;
            };
            let to = known.committed.clone();
            known.progress.rewind(&to);
            self.patience.rewound(id);
            self.commands.push_back(Command::Rewind { partition: id, to });
        }
        self.mode = Mode::Running;
        self.resume_at = self.patience.abort_backoff().map(|backoff| now + backoff);
    }

    /// The group has expelled the member. A commit that is under way may still succeed, or be
    /// refused; the pool aborts all other transactions. That is no failure of theirs.
    pub(super) fn lose_all(&mut self, now: Instant) {
        self.partitions.clear();
        self.suspended.clear();
        self.patience.lost();
        let committing = self
            .txns
            .front()
            .is_some_and(|txn| matches!(txn.state, TxnState::Committing | TxnState::Indefinite));
        self.abort_from(now, usize::from(committing), Renew::Nothing, None);
    }
}
