//! Membership in the consumer group.

use std::sync::Arc;

/// A member's standing in its group: what every offset commit carries (EOS-7, KIP-447).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generation {
    /// The group.
    pub group_id: Arc<str>,
    /// The member, as the coordinator named it.
    pub member_id: Arc<str>,
    /// The generation.
    pub generation_id: i32,
    /// The static member's name, if it has one (KIP-345).
    pub instance_id: Option<Arc<str>>,
}
