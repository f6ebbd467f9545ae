//! Handlers under test, without Kafka.

use std::sync::Arc;

use crate::handler::{Completion, CompletionSink, EventContext};
use crate::record::TopicPartition;
use crate::store::StateStore;

/// A context with an empty store, to call a handler with.
pub fn context<S: StateStore>() -> EventContext<S> {
    EventContext::new(TopicPartition::new("test", 0), "test-changelog".into(), Arc::new(Nowhere))
}

struct Nowhere;

impl<S: 'static> CompletionSink<S> for Nowhere {
    fn complete(&self, _: Completion<S>) {}
}
