//! What an application wants to know of its partitions.

use std::fmt;
use std::sync::Arc;

use crate::record::TopicPartition;

type Callback = Arc<dyn Fn(&TopicPartition) + Send + Sync>;

/// Called on the worker's thread, in the order of each partition's life.
#[derive(Clone, Default)]
pub(crate) struct Callbacks {
    pub(super) on_assigned: Option<Callback>,
    pub(super) on_activated: Option<Callback>,
    pub(super) on_will_revoke: Option<Callback>,
    pub(super) on_revoked: Option<Callback>,
}

fn call(callback: Option<&Callback>, partition: &TopicPartition) {
    if let Some(callback) = callback {
        callback(partition);
    }
}

impl Callbacks {
    pub(crate) fn assigned(&self, partition: &TopicPartition) {
        call(self.on_assigned.as_ref(), partition);
    }

    pub(crate) fn activated(&self, partition: &TopicPartition) {
        call(self.on_activated.as_ref(), partition);
    }

    pub(crate) fn will_revoke(&self, partition: &TopicPartition) {
        call(self.on_will_revoke.as_ref(), partition);
    }

    pub(crate) fn revoked(&self, partition: &TopicPartition) {
        call(self.on_revoked.as_ref(), partition);
    }
}

impl fmt::Debug for Callbacks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Callbacks").finish_non_exhaustive()
    }
}
