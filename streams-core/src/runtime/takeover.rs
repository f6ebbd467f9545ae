//! Ends what dead owners left open, so that nobody waits for their `transaction.timeout.ms`.
//!
//! In this order, so that a living member's transaction is never aborted:
//!
//! 1. The open transactions of our group's transactional ids are listed, each with its producer.
//! 2. The group's members are asked for. Whoever has an open transaction and is no member any more
//!    has lost its standing, and may not commit (EOS-7).
//! 3. Its transaction is aborted by initialising its producer anew.
//!
//! What it does is to save time: without it, the stable offsets are waited for all the same.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::client::wire::{Admin, ClientError, Endpoint, GroupMember, OpenTransaction};

/// The time between two looks, while partitions are waited for.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Nothing is said of a refusal, if nobody waits for that long.
const PATIENCE: Duration = Duration::from_millis(500);

/// Whose transactions are ours, and who is alive.
#[derive(Clone, Debug)]
pub(crate) struct TakeOver {
    pub(crate) endpoint: Endpoint,
    pub(crate) group: String,
    /// This instance's name.
    pub(crate) instance: String,
    /// How many producers this instance has.
    pub(crate) producers: usize,
    pub(crate) changelog: String,
}

/// The transactional id of an instance's producer.
pub(crate) fn transactional_id(group: &str, instance: &str, slot: usize) -> String {
    format!("{group}-{instance}-{slot}")
}

/// The name that a member without a `group.instance.id` has in the group: others know by it that it
/// is alive.
pub(crate) fn client_id(instance: &str) -> String {
    format!("{CLIENT_ID_PREFIX}{instance}")
}

const CLIENT_ID_PREFIX: &str = "streams-";

impl TakeOver {
    /// Looks for what is left open, again and again until nobody waits any more, at least once.
    pub(crate) async fn run(self, mut waiting: oneshot::Receiver<()>) {
        loop {
            let looked = self.look().await;
            let patience = if looked.is_ok() { LOOK_AGAIN } else { PATIENCE };
            tokio::select! {
                _ = &mut waiting => return,
                () = tokio::time::sleep(patience) => {}
            }
            let Err(error) = looked else {
                continue;
            };
            tracing::warn!(
                group = self.group, %error,
                "what a dead owner left open can't be aborted: its transaction.timeout.ms is \
                 waited for"
            );
            if !error.is_retriable() {
                return;
            }
        }
    }

    async fn look(&self) -> Result<(), ClientError> {
        let mut admin = Admin::new(&self.endpoint);
        let mut open = Vec::new();
        for id in admin.ongoing_transactions().await? {
            if self.owner(&id).is_some() {
                open.extend(admin.open_transaction(&id).await?);
            }
        }
        if open.is_empty() {
            return Ok(());
        }
        // Not before: a member that began its transaction after this would count as dead.
        let members = admin.group_members(&self.group).await?;
        for left in self.left_open(&open, &members) {
            let aborted = admin.abort_transaction(left).await?;
            let transactional_id = left.transactional_id.as_str();
            tracing::info!(transactional_id, aborted, "left open by a dead owner");
        }
        Ok(())
    }

    /// The instance and the slot that a transactional id belongs to, if it is our group's.
    fn owner<'i>(&self, transactional_id: &'i str) -> Option<(&'i str, usize)> {
        let rest = transactional_id.strip_prefix(&self.group)?.strip_prefix('-')?;
        let (instance, slot) = rest.rsplit_once('-')?;
        Some((instance, slot.parse().ok()?))
    }

    /// Those whose owner is dead.
    fn left_open<'o>(
        &self,
        open: &'o [OpenTransaction],
        members: &[GroupMember],
    ) -> Vec<&'o OpenTransaction> {
        let name = |member: &GroupMember| {
            let named = member.client_id.strip_prefix(CLIENT_ID_PREFIX).map(ToOwned::to_owned);
            member.instance_id.clone().or(named)
        };
        let living: BTreeSet<String> = members.iter().filter_map(name).collect();
        // Then the answer is about another generation than the one in which we took over.
        if !living.contains(&self.instance) {
            return Vec::new();
        }
        let is_left = |open: &&OpenTransaction| {
            let Some((instance, slot)) = self.owner(&open.transactional_id) else {
                return false;
            };
            let dead = match instance == self.instance {
                // A predecessor of ours that had more producers.
                true => slot >= self.producers,
                false => !living.contains(instance),
            };
            // `a-b-c-0` is of group `a-b` too, unless it writes to our changelog.
            dead && (!instance.contains('-') || open.topics.contains(&self.changelog))
        };
        open.iter().filter(is_left).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take_over() -> TakeOver {
        TakeOver {
            endpoint: Endpoint::plaintext(""),
            group: "app".to_owned(),
            instance: "me".to_owned(),
            producers: 3,
            changelog: "changes".to_owned(),
        }
    }

    fn open(transactional_id: &str, topics: &[&str]) -> OpenTransaction {
        OpenTransaction {
            transactional_id: transactional_id.to_owned(),
            producer: (1, 0),
            timeout_ms: 60_000,
            topics: topics.iter().map(|topic| (*topic).to_owned()).collect(),
        }
    }

    fn fixed(name: &str) -> GroupMember {
        let instance_id = Some(name.to_owned());
        GroupMember { client_id: "streams-core".to_owned(), instance_id }
    }

    fn left(open: &[OpenTransaction], members: &[GroupMember]) -> Vec<String> {
        let settings = take_over();
        let left = settings.left_open(open, members).into_iter();
        left.map(|open| open.transactional_id.clone()).collect()
    }

    #[test]
    fn what_the_dead_left_open_is_aborted_and_nothing_of_the_living() {
        let random = GroupMember { client_id: client_id("00ff"), instance_id: None };
        let members = [fixed("me"), fixed("pod-1"), random];
        let transactions = [
            open("app-pod-1-0", &["changes", "out"]),
            open("app-pod-2-0", &["changes", "out"]),
            open("app-00ff-1", &["out"]),
            open("app-0aff-1", &["out"]),
            open("other-0aff-1", &["out"]),
            open("app-0aff-x", &["changes"]),
        ];
        assert_eq!(left(&transactions, &members), ["app-pod-2-0", "app-0aff-1"]);
    }

    #[test]
    fn another_group_whose_name_begins_with_ours_is_left_alone() {
        let transactions = [open("app-2-00ff-0", &["out"]), open("app-2-00ff-1", &["changes"])];
        assert_eq!(left(&transactions, &[fixed("me")]), ["app-2-00ff-1"]);
    }

    #[test]
    fn a_larger_pool_of_our_predecessors_is_ended_and_our_own_producers_are_not() {
        let ids = ["app-me-0", "app-me-2", "app-me-3", "app-me-10"];
        let transactions = ids.map(|id| open(id, &["changes"]));
        assert_eq!(left(&transactions, &[fixed("me")]), ["app-me-3", "app-me-10"]);
    }

    #[test]
    fn nobody_is_dead_to_one_who_is_no_member() {
        assert!(left(&[open("app-00ff-1", &["changes"])], &[fixed("pod-1")]).is_empty());
    }
}
