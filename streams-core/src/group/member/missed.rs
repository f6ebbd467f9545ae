//! Generations that began without this member.
//!
//! JoinGroup carries no generation: a member that was away is let in, and must find out by itself
//! what it missed. In a missed generation the leader may have assigned the member's partitions to
//! another member, which has processed them, and may be gone again. So the member must not keep
//! them: all are `Lost` before it commits anything under the new generation.
//!
//! When a member can miss a generation:
//!
//! - A *static* member that is late. The coordinator does not remove it (KIP-345), and the leader
//!   plans with the metadata of its last JoinGroup, which lacks what was assigned to it since. It
//!   needs a session timeout above the rebalance timeout.
//! - A dynamic member whose JoinGroup arrives twice, the second time after it has gone on: the
//!   coordinator takes the old one for its word. (One that is just late is removed, and gets
//!   `UNKNOWN_MEMBER_ID`.)
//! - Under `cooperative-sticky`, a member that joined a generation and did not get its assignment:
//!   leaders before Kafka 3.5 (KAFKA-14016) drop each claim that is older than the newest one.
//!
//! A member whose JoinGroup counted, and whose reply was lost, can't tell this from a missed
//! generation: it loses its partitions in vain, which costs a take-over.
//!
//! The JoinGroup has claimed them all the same, and the plan gives what should move to no other
//! member before this one has joined again without it. So it joins again at once.

use super::Member;
use crate::group::assignor::Assignor;
use crate::planted::{self, Bug};

impl Member {
    /// Why what this member claimed is not its own in the generation that begins; `None` if it is.
    pub(super) fn missed(&self, generation_id: i32, assignor: Assignor) -> Option<String> {
        // The same again: the reply was lost, or the coordinator repeats it.
        let follows = [self.joined_in, self.joined_in.wrapping_add(1)].contains(&generation_id);
        if !follows && !planted::is(Bug::KeepThroughMissedGeneration) {
            return Some(format!(
                "generation {generation_id} follows one that this member, which was last in \
                 generation {}, has missed: another member may have had its partitions meanwhile",
                self.joined_in
            ));
        }
        let is_dropped = assignor == Assignor::CooperativeSticky
            && generation_id > self.confirmed.wrapping_add(1);
        is_dropped.then(|| {
            format!(
                "this member got no assignment in generation {}, so a leader of \
                 `cooperative-sticky` may not count its claims",
                self.joined_in
            )
        })
    }
}
