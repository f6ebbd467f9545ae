//! The brokers that a client can ask: those of the settings, and those that the cluster has named.
//!
//! With the settings' addresses alone, a member whose only address is that of a dead broker would
//! not find the group's next coordinator, although the other brokers work.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What the clients of one source know of the cluster's brokers. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct KnownBrokers(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    /// The addresses in the last description of the cluster.
    named: Vec<String>,
    /// The address of the broker that answered last.
    answered: Option<String>,
}

impl KnownBrokers {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the addresses to try, each once: the broker that answered last, then those of
    /// `bootstrap`, then those that the cluster has named.
    pub(super) fn to_try(&self, bootstrap: &[String]) -> Vec<String> {
        let known = self.lock();
        let mut addresses: Vec<String> = Vec::new();
        for address in known.answered.iter().chain(bootstrap).chain(&known.named) {
            if !addresses.contains(address) {
                addresses.push(address.clone());
            }
        }
        addresses
    }

    /// The cluster has named its brokers. A description without brokers is that of a broker that
    /// has just started.
    pub(super) fn named(&self, addresses: impl Iterator<Item = String>) {
        let addresses: Vec<String> = addresses.collect();
        if !addresses.is_empty() {
            self.lock().named = addresses;
        }
    }

    /// The broker at this address answers.
    pub(super) fn answered(&self, address: &str) {
        let mut known = self.lock();
        if known.answered.as_deref() != Some(address) {
            known.answered = Some(address.to_owned());
        }
    }

    /// The broker at this address has not answered a request.
    pub(super) fn failed(&self, address: &str) {
        self.lock().answered.take_if(|answered| answered == address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(addresses: &[&str]) -> Vec<String> {
        addresses.iter().map(|address| (*address).to_owned()).collect()
    }

    #[test]
    fn c3_the_broker_that_answered_last_is_tried_first_and_the_named_ones_last() {
        let (known, bootstrap) = (KnownBrokers::default(), names(&["a:1", "b:1"]));
        assert_eq!(known.to_try(&bootstrap), ["a:1", "b:1"]);
        known.named(names(&["b:1", "c:1"]).into_iter());
        assert_eq!(known.clone().to_try(&bootstrap), ["a:1", "b:1", "c:1"], "clones share it");
        known.answered("c:1");
        assert_eq!(known.to_try(&bootstrap), ["c:1", "a:1", "b:1"]);
        known.failed("b:1");
        assert_eq!(known.to_try(&bootstrap), ["c:1", "a:1", "b:1"]);
        known.failed("c:1");
        assert_eq!(known.to_try(&bootstrap), ["a:1", "b:1", "c:1"]);
        known.named(std::iter::empty());
        assert_eq!(known.to_try(&bootstrap), ["a:1", "b:1", "c:1"]);
    }
}
