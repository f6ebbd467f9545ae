//! Partitions that do not advance although they have further records.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::{FromWorker, Worker};
use crate::client::{Fetcher, TxnProducer};
use crate::handler::EventSource;
use crate::task::TaskState;

/// The time between two looks at the positions.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The positions of a worker's partitions, as they were seen last.
#[derive(Debug, Default)]
pub(super) struct Advance {
    next_look: Option<Instant>,
    seen: BTreeMap<i32, Seen>,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    position: i64,
    since: Instant,
    is_stalled: bool,
}

impl<A: EventSource, P: TxnProducer, F: Fetcher> Worker<A, P, F> {
    /// Looks whether each partition advances. The worker reports a partition whose position has not
    /// moved for `stalled_after` although its end is ahead. The worker itself holds a suspended or
    /// paused partition back.
    pub(super) fn look_at_positions(&mut self, now: Instant) {
        if self.advance.next_look.is_some_and(|due| now < due) {
            return;
        }
        self.advance.next_look = Some(now + LOOK_EVERY);
        let tasks = &self.tasks;
        self.advance.seen.retain(|partition, _| tasks.contains_key(partition));
        for (partition, task) in &self.tasks {
            let at = task.topic_partition();
            let place = match &task.state {
                TaskState::Active if task.is_held_back() => None,
                TaskState::Active => self.fetcher.position(at).zip(self.fetcher.end(at)),
                TaskState::Restoring(restore) => Some((restore.position(), restore.end())),
                _ => None,
            };
            // Without an answer of the broker nothing is known.
            let (position, end) = place.unwrap_or_default();
            let seen = self.advance.seen.entry(*partition);
            let seen = seen.or_insert(Seen { position, since: now, is_stalled: false });
            if position >= end || position != seen.position {
                let was_stalled = seen.is_stalled;
                *seen = Seen { position, since: now, is_stalled: false };
                if was_stalled {
                    tracing::info!(partition = %at, position, "the partition advances again");
                    (self.parts.report)(FromWorker::Stalled(at.clone(), None));
                }
                continue;
            }
            let waited = now.saturating_duration_since(seen.since);
            if !seen.is_stalled && waited >= self.parts.stalled_after {
                seen.is_stalled = true;
                let why = match (&task.state, self.full) {
                    (TaskState::Restoring(_), _) => "its changelog brings no further records",
                    (_, true) => "no transaction takes a further event",
                    (_, false) => {
                        "no record comes: a producer may have left a transaction open, or the \
                         broker does not answer"
                    }
                };
                let reason = format!(
                    "its position {position} has not moved for {waited:?}, and its log ends at \
                     {end}: {why}"
                );
                tracing::warn!(partition = %at, position, end, why, "the partition is stalled");
                (self.parts.report)(FromWorker::Stalled(at.clone(), Some(reason)));
            }
        }
    }
}
