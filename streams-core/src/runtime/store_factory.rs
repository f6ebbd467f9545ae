//! How the stores of a source are created.

use std::fmt;
use std::sync::Arc;

use crate::record::TopicPartition;
use crate::store::StateStore;

type Create<S> = dyn Fn(&TopicPartition) -> S + Send + Sync;

/// Creates the store of a partition: by [`StateStore::create`], or as the application says.
pub(crate) struct StoreFactory<S>(Option<Arc<Create<S>>>);

impl<S: StateStore> StoreFactory<S> {
    pub(super) fn new(create: impl Fn(&TopicPartition) -> S + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(create)))
    }

    pub(super) fn create(&self, partition: &TopicPartition) -> S {
        match &self.0 {
            Some(create) => create(partition),
            None => S::create(partition),
        }
    }
}

impl<S> Default for StoreFactory<S> {
    fn default() -> Self {
        Self(None)
    }
}

impl<S> Clone for StoreFactory<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S> fmt::Debug for StoreFactory<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by = if self.0.is_some() { "the application" } else { "StateStore::create" };
        f.debug_tuple("StoreFactory").field(&by).finish()
    }
}
