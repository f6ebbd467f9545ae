//! Plans of a leader whose brokers, or members, are odd.

use std::collections::BTreeMap;
use std::time::Duration;

use super::UNREADABLE_DELAY;
use crate::group::assignor::{Assignment, Assignor, Subscription};
use crate::group::member::tests::{Bench, parts, told};
use crate::group::{GroupEvent, GroupReply, GroupRequest, Partitions};

fn member(generation: i32, owned: &[i32]) -> Result<Subscription, String> {
    let topics = vec!["t".to_owned()];
    Ok(Subscription { topics, owned: parts(owned), generation, ..Subscription::default() })
}

/// A leader that knows of four partitions.
fn leader() -> Bench {
    Bench::configured(|config| config.partitions = [("t".to_owned(), 4)].into())
}

impl Bench {
    /// The member leads the generation. Returns the topics that it asks for.
    #[track_caller]
    fn lead(&mut self, generation: i32, others: &[(&str, Result<Subscription, String>)]) {
        let own = self.join_request().protocols[0].1.clone();
        self.events();
        let mut members: BTreeMap<_, _> =
            others.iter().map(|(id, member)| ((*id).to_owned(), member.clone())).collect();
        members.insert("m".to_owned(), Ok(own));
        self.reply(GroupReply::Joined {
            code: 0,
            generation,
            member_id: "m".to_owned(),
            leader: true,
            protocol: Assignor::IncrCoop.name().to_owned(),
            members,
        });
        let request = self.request();
        assert!(matches!(request, Some(GroupRequest::Partitions { .. })), "{request:?}");
    }

    /// The brokers describe the topic. Returns what each member gets.
    #[track_caller]
    fn count(&mut self, count: Result<i32, i16>) -> BTreeMap<String, Partitions> {
        self.reply(GroupReply::Partitions { partitions: [("t".to_owned(), count)].into() });
        match self.request() {
            Some(GroupRequest::Sync { assignments, .. }) => {
                assignments.into_iter().map(|(id, of)| (id, of.partitions)).collect()
            }
            other => panic!("no SyncGroup: {other:?}, {:?}", self.events()),
        }
    }
}

/// The broker has just started, and does not know the topic, or not all of it.
#[test]
fn s5_a_topic_that_no_broker_knows_for_a_moment_is_taken_from_nobody() {
    for count in [Err(3), Err(5), Ok(2)] {
        let mut bench = leader();
        bench.lead(1, &[]);
        assert_eq!(bench.count(count)["m"], parts(&[0, 1, 2, 3]), "{count:?}");
    }
}

#[test]
fn s5_a_leader_that_knows_nothing_asks_again() {
    let mut bench = Bench::new();
    bench.lead(1, &[]);
    bench.reply(GroupReply::Partitions { partitions: [("t".to_owned(), Err(3))].into() });
    assert_eq!(bench.request(), None, "not at once");
    let wait = bench.member.poll_timeout().expect("it waits for a while") - bench.now;
    assert!(wait > Duration::ZERO && wait <= Duration::from_secs(1), "{wait:?}");
    bench.wait(wait);
    let request = bench.request();
    assert!(matches!(request, Some(GroupRequest::Partitions { .. })), "{request:?}");
    assert_eq!(bench.count(Ok(2))["m"], parts(&[0, 1]));
}

/// Another application's member in the group may use topics that this one may not see.
#[test]
fn u9_topics_of_other_members_do_not_end_the_leader() {
    let mut bench = leader();
    bench.lead(1, &[]);
    let partitions = [("t", Ok(4)), ("secret", Err(29)), ("odd name", Err(17)), ("gone", Err(3))];
    let partitions = partitions.map(|(topic, count)| (topic.to_owned(), count)).into();
    bench.reply(GroupReply::Partitions { partitions });
    let request = bench.request();
    assert!(matches!(request, Some(GroupRequest::Sync { .. })), "{request:?}");
}

#[test]
fn the_members_own_topic_must_be_visible() {
    let mut bench = leader();
    bench.lead(1, &[]);
    bench.reply(GroupReply::Partitions { partitions: [("t".to_owned(), Err(29))].into() });
    let events = bench.events();
    let Some(GroupEvent::Failed { reason }) = events.last() else { panic!("{events:?}") };
    assert!(reason.contains("grant DESCRIBE and READ") && reason.contains("`t`"), "{reason}");
}

#[test]
fn s5_the_leader_begins_a_rebalance_for_new_partitions() {
    let mut bench = leader();
    bench.lead(1, &[]);
    bench.count(Ok(4));
    bench.synced(&[0, 1, 2, 3], &told(&[], false));
    bench.member.grown(bench.now, "t", 4);
    bench.heartbeat(0);
    assert_eq!(bench.request(), None, "there is nothing new");
    bench.member.grown(bench.now, "t", 6);
    bench.lead(2, &[]);
    assert_eq!(bench.count(Ok(6))["m"], parts(&[0, 1, 2, 3, 4, 5]));
    bench.synced(&[0, 1, 2, 3, 4, 5], &told(&[], false));
    bench.member.grown(bench.now, "t", 6);
    bench.heartbeat(0);
    assert_eq!(bench.request(), None, "once");
}

/// A static leader that was restarted is not told that it leads.
#[test]
fn s5_another_member_begins_the_rebalance_if_the_leader_does_not() {
    let mut bench = leader();
    bench.join(1, &[0], &[]);
    bench.member.grown(bench.now, "t", 6);
    bench.heartbeat(0);
    assert_eq!(bench.request(), None, "the leader comes first");
    bench.member.grown(bench.now, "t", 6);
    bench.join(2, &[0], &[]);
    // The generation has begun since: it is planned with them.
    bench.member.grown(bench.now, "t", 6);
    bench.member.grown(bench.now, "t", 6);
    bench.heartbeat(0);
    assert_eq!(bench.request(), None);
    // A generation that began in the first place is enough.
    bench.member.grown(bench.now, "t", 8);
    bench.heartbeat(27);
    bench.join(3, &[0], &[]);
    bench.member.grown(bench.now, "t", 8);
    bench.member.grown(bench.now, "t", 8);
    bench.heartbeat(0);
    assert_eq!(bench.request(), None);
}

#[test]
fn u9_what_an_unreadable_member_may_have_is_given_to_nobody_at_once() {
    let unreadable = || ("x", Err("the bytes end too early".to_owned()));
    let mut bench = leader();
    bench.lead(1, &[("b", member(0, &[1])), unreadable()]);
    let plan = bench.count(Ok(4));
    assert_eq!(plan["b"], parts(&[1]), "U9: claims of other members hold");
    assert_eq!(plan["m"], parts(&[]), "U9: it may be x's, which may commit in this generation");
    assert_eq!(plan["x"], parts(&[]), "it is told that it has nothing");
    bench.synced(&[], &told(&[], false));
    // In the next generation it has nothing, and is not waited for any more.
    bench.now += UNREADABLE_DELAY;
    bench.lead(2, &[("b", member(1, &[1])), unreadable()]);
    let plan = bench.count(Ok(4));
    assert_eq!(plan["m"].len() + plan["b"].len(), 4, "{plan:?}");
    bench.synced(&[0, 2], &told(&[], false));
    bench.heartbeat(0);
    assert_eq!(bench.request(), None, "there is nothing more to do");
}

/// The generation in which it was told so was never delivered.
#[test]
fn u9_an_unreadable_member_that_was_not_told_is_waited_for_again() {
    let unreadable = || ("x", Err("odd".to_owned()));
    let mut bench = leader();
    bench.lead(1, &[unreadable()]);
    bench.count(Ok(4));
    bench.reply(GroupReply::Synced { code: 27, assignment: Assignment::default() });
    bench.now += Duration::from_secs(1);
    bench.lead(2, &[unreadable()]);
    assert_eq!(bench.count(Ok(4))["m"], parts(&[]));
}
