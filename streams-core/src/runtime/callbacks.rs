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

/// Which callback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Assigned,
    Activated,
    WillRevoke,
    Revoked,
}

impl Call {
    /// The name of its setting.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Assigned => "on_assigned",
            Self::Activated => "on_activated",
            Self::WillRevoke => "on_will_revoke",
            Self::Revoked => "on_revoked",
        }
    }
}

impl Callbacks {
    pub(crate) fn call(&self, call: Call, partition: &TopicPartition) {
        let callback = match call {
            Call::Assigned => &self.on_assigned,
            Call::Activated => &self.on_activated,
            Call::WillRevoke => &self.on_will_revoke,
            Call::Revoked => &self.on_revoked,
        };
        if let Some(callback) = callback {
            callback(partition);
        }
    }
}

impl fmt::Debug for Callbacks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Callbacks").finish_non_exhaustive()
    }
}
