//! What the group's member knows of the coordinator, for the producers.
//!
//! The member and each producer look for the group's coordinator by themselves, and the member
//! finds it first: it asks again and again, while librdkafka may wait for a dead one
//! (`client/rdkafka/calls.rs`).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Tells when the group's coordinator answered the member after the member had looked for it.
///
/// The member writes it, and the producers read it; clones share it.
#[derive(Clone, Debug, Default)]
pub struct CoordinatorWatch(Arc<Mutex<Seen>>);

/// A coordinator's first answers.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    address: String,
    /// When the coordinator first answered after the member last looked for it.
    pub(super) answered_at: Option<Instant>,
    /// When a coordinator at another address than before first answered.
    pub(super) moved_at: Option<Instant>,
}

impl CoordinatorWatch {
    /// Notes that a coordinator has answered that the member had looked for.
    pub(super) fn note_answer(&self, now: Instant, address: &str) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.answered_at = Some(now);
        if seen.address != address {
            if !seen.address.is_empty() {
                seen.moved_at = Some(now);
            }
            address.clone_into(&mut seen.address);
        }
    }

    /// Returns what the member has seen.
    pub(super) fn seen(&self) -> Seen {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_coordinator_has_moved_when_another_address_answers() {
        let watch = CoordinatorWatch::default();
        let now = Instant::now();
        watch.note_answer(now, "a:1");
        assert_eq!((watch.seen().answered_at, watch.seen().moved_at), (Some(now), None));
        let later = Instant::now();
        watch.note_answer(later, "a:1");
        assert_eq!((watch.seen().answered_at, watch.seen().moved_at), (Some(later), None));
        watch.note_answer(later, "b:1");
        assert_eq!(watch.seen().moved_at, Some(later));
    }
}
