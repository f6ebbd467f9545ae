//! Partitions that are released: they change their owner in one generation instead of two.
//!
//! A member whose partition is being prepared for elsewhere is told so, and drains it when it hears
//! of a rebalance: most likely the receiver is ready. It does not claim it in its JoinGroup, and
//! says that it has released it. If the receiver is ready it has the partition in the generation
//! that begins then; if not, the member has it again and goes on.
//!
//! A claim holds until it is given up, and a release for one generation only. If the member does
//! not learn of that generation's plan, somebody may have been given the partition in it, have
//! worked on it, and be gone again: so it is not taken back, but given up for good.
//!
//! A released partition stands still until that generation begins. That is a few milliseconds, or
//! as long as a member is waited for that has just died: its session, as for all that *it* has.

use super::Member;
use crate::group::assignor::Assignor;
use crate::group::{GroupEvent, Partitions};

impl Member {
    /// What may be released with the next JoinGroup.
    pub(super) fn can_be_released(&self) -> Partitions {
        match self.assignor {
            Some(Assignor::IncrCoop) => {
                let ours = self.owned.difference(&self.revoking);
                ours.filter(|partition| self.outgoing.contains(*partition)).cloned().collect()
            }
            _ => Partitions::new(),
        }
    }

    /// Another JoinGroup is to be sent, and what came of the last one's releases is not known.
    pub(super) fn give_up_released(&mut self) {
        let partitions = std::mem::take(&mut self.released);
        if !partitions.is_empty() {
            self.owned.retain(|partition| !partitions.contains(partition));
            self.closing.extend(partitions.iter().cloned());
            self.events.push_back(GroupEvent::Revoked { partitions });
        }
    }

    /// What may stand still and is claimed.
    pub(super) fn resumed(&self) -> Partitions {
        self.can_be_released().difference(&self.released).cloned().collect()
    }

    /// Commits go on while others are waited for.
    pub(super) fn says_waiting(&mut self) {
        let resumed = self.resumed();
        self.events.push_back(GroupEvent::Waiting { resumed });
    }
}
