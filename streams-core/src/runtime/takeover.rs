//! Aborts orphaned transactions, so that no reader waits for their `transaction.timeout.ms`.
//!
//! # Whose transaction is it
//!
//! The transactional id of a slot is `{group}~streams~{instance}~{slot}`. An instance's name and a
//! slot contain no `~`, so each id has exactly one reading, whatever the group's name contains, and
//! no two groups share an id. The group is the id's literal prefix, because Kafka's ACLs go by
//! prefix: a principal needs WRITE and DESCRIBE on transactional ids with the prefix `{group}~`.
//! Another application's id has this form only if its authors chose the word `streams` between two
//! tildes after this group's name.
//!
//! Earlier versions used `{group}-{instance}-{slot}`, which has several readings and which other
//! applications use too. The take-over counts such an id as this group's only if its transaction
//! holds a partition of this group's changelog.
//!
//! # The order
//!
//! In this order, the take-over never aborts a living member's transaction:
//!
//! 1. The brokers list the ongoing transactions; their coordinators describe those of this group.
//! 2. The group's coordinator lists the members. An owner of an ongoing transaction that is no
//!    member any more may not commit it (EOS-7).
//! 3. The take-over initialises the orphaned transaction's producer anew, which aborts it.
//!
//! The take-over only saves time: without it, a restore waits until the broker aborts the
//! transaction.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::client::wire::{Admin, ClientError, Endpoint, GroupMember, OpenTransaction};

/// The time between two looks, while partitions wait.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// The take-over logs a failed look only if partitions still wait after this time.
const PATIENCE: Duration = Duration::from_millis(500);
/// Partitions that wait for longer than this, though no transaction of the group is listed, wait
/// for one that ListTransactions does not show. Markers take milliseconds.
const HIDDEN_AFTER: Duration = Duration::from_secs(3);

/// Stands between the parts of a transactional id.
const SEPARATOR: char = '~';
/// Tells the ids of this framework from those of other applications.
const ID_WORD: &str = "streams";

/// The group whose orphaned transactions are aborted, and this instance's part of it.
#[derive(Clone, Debug)]
pub(crate) struct TakeOver {
    pub(crate) endpoint: Endpoint,
    pub(crate) group: String,
    /// This instance's name.
    pub(crate) instance: String,
    /// The number of this instance's producers.
    pub(crate) producers: usize,
    pub(crate) changelog: String,
    /// Whether the log has the advice on hidden transactions already.
    pub(crate) said_hidden: Arc<AtomicBool>,
}

/// The transactional id of an instance's producer.
pub(crate) fn transactional_id(group: &str, instance: &str, slot: usize) -> String {
    format!("{group}{SEPARATOR}{ID_WORD}{SEPARATOR}{instance}{SEPARATOR}{slot}")
}

/// The name that a member without a `group.instance.id` has in the group: others know by it that it
/// is alive.
pub(crate) fn client_id(instance: &str) -> String {
    format!("{CLIENT_ID_PREFIX}{instance}")
}

const CLIENT_ID_PREFIX: &str = "streams-";

/// The owner that a transactional id names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Owner<'i> {
    instance: &'i str,
    slot: usize,
    /// Returns true if the id has the form of earlier versions, which other applications and
    /// groups may use too.
    is_ambiguous: bool,
}

/// The result of one look.
#[derive(Debug, Default)]
struct Look {
    /// The number of ongoing transactions whose ids are this group's, its living members' included.
    listed: usize,
    /// The first error; the look continued with the next id.
    error: Option<ClientError>,
}

impl Look {
    fn keep<T>(&mut self, result: Result<T, ClientError>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.error.get_or_insert(error);
                None
            }
        }
    }
}

impl TakeOver {
    /// Looks for orphaned transactions until no partition waits any more, at least once.
    pub(crate) async fn run(self, mut waiting: oneshot::Receiver<()>) {
        let started = Instant::now();
        let mut said = false;
        loop {
            let look = self.look().await;
            let pause = if look.error.is_none() { LOOK_AGAIN } else { PATIENCE };
            tokio::select! {
                _ = &mut waiting => return,
                () = tokio::time::sleep(pause) => {}
            }
            match look.error {
                Some(error) if !said => {
                    said = true;
                    tracing::warn!(
                        group = self.group, %error,
                        "cannot abort all open transactions of members that are gone: waiting \
                         until the broker aborts them after their transaction.timeout.ms"
                    );
                }
                Some(_) => {}
                None if look.listed == 0 && started.elapsed() >= HIDDEN_AFTER => self.say_hidden(),
                None => {}
            }
        }
    }

    /// A broker leaves transactional ids that a principal may not describe out of its list.
    fn say_hidden(&self) {
        if !self.said_hidden.swap(true, Ordering::Relaxed) {
            let (group, prefix) = (&self.group, format!("{}{SEPARATOR}", self.group));
            tracing::warn!(
                group,
                prefix,
                "partitions wait for an open transaction that no broker lists: if the cluster has \
                 ACLs, grant DESCRIBE and WRITE on the transactional ids with this prefix"
            );
        }
    }

    async fn look(&self) -> Look {
        let mut look = Look::default();
        let mut admin = Admin::new(&self.endpoint);
        let Some(ids) = look.keep(admin.ongoing_transactions().await) else {
            return look;
        };
        let mut open = Vec::new();
        for id in ids.iter().filter(|id| self.owner(id).is_some()) {
            look.listed += 1;
            open.extend(look.keep(admin.open_transaction(id).await).flatten());
        }
        if open.is_empty() {
            return look;
        }
        // Not before: a member that began its transaction after this would count as dead.
        let Some(members) = look.keep(admin.group_members(&self.group).await) else {
            return look;
        };
        for left in self.left_open(&open, &members) {
            if let Some(aborted) = look.keep(admin.abort_transaction(left).await) {
                let transactional_id = left.transactional_id.as_str();
                tracing::info!(transactional_id, aborted, "aborted an orphaned transaction");
            }
        }
        look
    }

    /// Returns the owner of a transactional id, if the id may be this group's.
    fn owner<'i>(&self, transactional_id: &'i str) -> Option<Owner<'i>> {
        let rest = transactional_id.strip_prefix(&self.group)?;
        let (form, is_ambiguous) = match rest.strip_prefix(SEPARATOR) {
            Some(rest) => (rest.strip_prefix(ID_WORD)?.strip_prefix(SEPARATOR)?, false),
            None => (rest.strip_prefix('-')?, true),
        };
        let separator = if is_ambiguous { '-' } else { SEPARATOR };
        let (instance, slot) = form.rsplit_once(separator)?;
        let slot = slot.parse().ok()?;
        // Then it is an id of the group `{group}~streams~..`.
        let is_other = !is_ambiguous && instance.contains(SEPARATOR);
        (!is_other).then_some(Owner { instance, slot, is_ambiguous })
    }

    /// Returns the orphaned transactions among `open`.
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
            let Some(owner) = self.owner(&open.transactional_id) else {
                return false;
            };
            let is_gone = match owner.instance == self.instance {
                // A predecessor had more producers, or was of a version whose ids this one does
                // not use.
                true => owner.is_ambiguous || owner.slot >= self.producers,
                false => !living.contains(owner.instance),
            };
            is_gone && (!owner.is_ambiguous || open.topics.contains(&self.changelog))
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
            said_hidden: Arc::default(),
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
    fn c6_an_id_has_one_reading_whatever_the_groups_name_is() {
        let names = ["a", "a-b", "b", "a~b", "a~streams~b", "a~streams", "1", "0"];
        let mut seen = std::collections::BTreeMap::new();
        for group in names {
            for instance in names.into_iter().filter(|name| !name.contains('~')) {
                for slot in [0, 1, 10] {
                    let id = transactional_id(group, instance, slot);
                    let former = seen.insert(id.clone(), (group, instance, slot));
                    assert_eq!(former, None, "`{id}` is {group}, {instance}, {slot} too");
                    for other in names {
                        let settings = TakeOver { group: other.to_owned(), ..take_over() };
                        let owner = settings.owner(&id).filter(|owner| !owner.is_ambiguous);
                        let expected = Owner { instance, slot, is_ambiguous: false };
                        assert_eq!(owner, (other == group).then_some(expected), "`{id}`");
                    }
                }
            }
        }
    }

    #[test]
    fn what_the_dead_left_open_is_aborted_and_nothing_of_the_living() {
        let random = GroupMember { client_id: client_id("00ff"), instance_id: None };
        let members = [fixed("me"), fixed("pod-1"), random];
        let transactions = [
            open("app~streams~pod-1~0", &["changes", "out"]),
            open("app~streams~pod-2~0", &["changes", "out"]),
            open("app~streams~00ff~1", &["out"]),
            open("app~streams~0aff~1", &["out"]),
            open("other~streams~0aff~1", &["out"]),
            open("app~streams~0aff~x", &["changes"]),
        ];
        assert_eq!(left(&transactions, &members), ["app~streams~pod-2~0", "app~streams~0aff~1"]);
    }

    #[test]
    fn u2_a_dead_instance_with_a_dash_in_its_name_needs_no_changelog_record() {
        let id = transactional_id("app", "pod-7", 0);
        assert_eq!(left(&[open(&id, &["out"])], &[fixed("me")]), [id]);
    }

    #[test]
    fn c7_an_id_that_other_applications_use_is_ours_only_with_our_changelog() {
        let ids = ["app-tx-0", "app-2-00ff-0", "app~tx~0", "app~streams~a~b~0", "app-0"];
        let transactions = ids.map(|id| open(id, &["out", "__consumer_offsets"]));
        assert_eq!(left(&transactions, &[fixed("me")]), [""; 0]);
    }

    #[test]
    fn transactions_of_an_earlier_version_are_known_by_the_changelog() {
        let members = [fixed("me"), fixed("pod-1")];
        let transactions = [
            open("app-pod-1-0", &["changes", "out"]),
            open("app-pod-2-0", &["changes", "out"]),
            open("app-me-0", &["changes"]),
            open("app-me-0", &["out"]),
        ];
        assert_eq!(left(&transactions, &members), ["app-pod-2-0", "app-me-0"]);
    }

    #[test]
    fn a_larger_pool_of_a_predecessor_is_ended_and_this_members_producers_are_not() {
        let ids = [0, 2, 3, 10].map(|slot| transactional_id("app", "me", slot));
        let transactions = ids.map(|id| open(&id, &["changes"]));
        let expected = ["app~streams~me~3", "app~streams~me~10"];
        assert_eq!(left(&transactions, &[fixed("me")]), expected);
    }

    #[test]
    fn a_process_outside_of_the_group_aborts_nothing() {
        let transactions = [open("app~streams~00ff~1", &["changes"])];
        assert!(left(&transactions, &[fixed("pod-1")]).is_empty());
    }
}
