//! The member, stepped with a clock of the test's own.

use super::*;

struct Bench {
    now: Instant,
    member: Member,
}

fn parts(numbers: &[i32]) -> Partitions {
    numbers.iter().map(|n| ("t".to_owned(), *n)).collect()
}

impl Bench {
    fn new() -> Self {
        let now = Instant::now();
        let config = GroupConfig::new("g", vec!["t".to_owned()]);
        Self { now, member: Member::new(now, config) }
    }

    fn request(&mut self) -> Option<GroupRequest> {
        let request = self.member.poll_request(self.now);
        self.member.check_invariants();
        request
    }

    fn reply(&mut self, reply: GroupReply) {
        self.member.handle_reply(self.now, Ok(reply));
        self.member.check_invariants();
    }

    fn events(&mut self) -> Vec<GroupEvent> {
        std::iter::from_fn(|| self.member.poll_event()).collect()
    }

    fn join(&mut self, generation: i32, assigned: &[i32]) -> Vec<GroupEvent> {
        if matches!(self.member.state, State::Unjoined { .. }) {
            assert!(matches!(self.request(), Some(GroupRequest::FindCoordinator { .. })));
            self.reply(GroupReply::Coordinator);
        }
        assert!(matches!(self.request(), Some(GroupRequest::Join(_))));
        self.reply(GroupReply::Joined {
            code: 0,
            generation,
            member_id: "m".to_owned(),
            leader: false,
            protocol: STICKY.to_owned(),
            members: BTreeMap::new(),
        });
        assert!(matches!(self.request(), Some(GroupRequest::Sync { .. })));
        self.reply(GroupReply::Synced { code: 0, partitions: parts(assigned) });
        self.events()
    }

    fn heartbeat(&mut self, code: i16) {
        self.now += Duration::from_millis(150);
        assert!(matches!(self.request(), Some(GroupRequest::Heartbeat { .. })));
        self.reply(GroupReply::Heartbeat { code });
    }
}

fn joined(events: &[GroupEvent]) -> (Partitions, Partitions, Partitions) {
    match events.last() {
        Some(GroupEvent::Joined { assigned, revoked, owned, .. }) => {
            (assigned.clone(), revoked.clone(), owned.clone())
        }
        other => panic!("not joined: {other:?}"),
    }
}

#[test]
fn a_rebalance_revokes_then_joins_again_with_less() {
    let mut bench = Bench::new();
    assert_eq!(joined(&bench.join(1, &[0, 1])), (parts(&[0, 1]), parts(&[]), parts(&[0, 1])));
    bench.heartbeat(27);
    let events = bench.join(2, &[0]);
    assert_eq!(events[0], GroupEvent::Rejoining, "commits pause before the generation changes");
    assert_eq!(joined(&events), (parts(&[]), parts(&[1]), parts(&[0])));
    // Until it is drained it heartbeats, and claims what it still has.
    bench.heartbeat(0);
    bench.member.acknowledge_revoked(bench.now, &parts(&[1]));
    let Some(GroupRequest::Join(join)) = bench.request() else {
        panic!("joins again");
    };
    assert_eq!((join.subscription.owned, join.subscription.generation), (parts(&[0]), 2));
}

#[test]
fn one_that_comes_back_while_it_is_given_up_is_still_given_up() {
    let mut bench = Bench::new();
    bench.join(1, &[0, 1]);
    bench.heartbeat(27);
    bench.join(2, &[0]);
    bench.heartbeat(27);
    let (assigned, revoked, owned) = joined(&bench.join(3, &[0, 1]));
    assert_eq!((assigned, revoked, owned), (parts(&[]), parts(&[1]), parts(&[0])));
}

#[test]
fn each_error_of_a_heartbeat() {
    for (code, lost, member_id) in [(22, true, "m"), (25, true, ""), (27, false, "m")] {
        let mut bench = Bench::new();
        bench.join(1, &[0]);
        bench.heartbeat(code);
        assert_eq!(!bench.events().is_empty(), lost, "{code}");
        let Some(GroupRequest::Join(join)) = bench.request() else {
            panic!("{code}: joins again");
        };
        assert_eq!(join.member_id, member_id, "{code}");
        assert_eq!(join.subscription.owned.is_empty(), lost, "{code}");
    }
    for code in [23, 26, 30, 81, 82] {
        let mut bench = Bench::new();
        bench.join(1, &[0]);
        bench.heartbeat(code);
        assert!(matches!(bench.events()[..], [GroupEvent::Failed { .. }]), "{code}");
        assert!(bench.member.is_ended());
    }
    for code in [15, 16] {
        let mut bench = Bench::new();
        bench.join(1, &[0]);
        bench.heartbeat(code);
        assert!(bench.events().is_empty(), "{code}: the partitions are kept");
        bench.now += Duration::from_secs(1);
        assert!(matches!(bench.request(), Some(GroupRequest::FindCoordinator { .. })), "{code}");
    }
}

#[test]
fn without_a_coordinator_the_partitions_are_lost_when_the_session_ends() {
    let mut bench = Bench::new();
    bench.join(1, &[0]);
    let joined_at = bench.now;
    while bench.events().is_empty() {
        bench.now = bench.member.poll_timeout().expect("it waits for something");
        bench.member.handle_timeout(bench.now);
        if bench.request().is_some() {
            bench.member.handle_reply(bench.now, Err("connection refused".to_owned()));
        }
        bench.member.check_invariants();
    }
    assert_eq!(bench.now - joined_at, Duration::from_secs(10));
    assert!(bench.member.owned.is_empty());
}

#[test]
fn the_member_id_of_the_first_reply_is_taken() {
    let mut bench = Bench::new();
    bench.request();
    bench.reply(GroupReply::Coordinator);
    bench.request();
    bench.reply(GroupReply::Joined {
        code: 79,
        generation: -1,
        member_id: "given".to_owned(),
        leader: false,
        protocol: String::new(),
        members: BTreeMap::new(),
    });
    let Some(GroupRequest::Join(join)) = bench.request() else {
        panic!("joins again at once");
    };
    assert_eq!(join.member_id, "given");
}

#[test]
fn the_leader_counts_partitions_and_assigns() {
    let mut bench = Bench::new();
    bench.request();
    bench.reply(GroupReply::Coordinator);
    bench.request();
    let subscription = Subscription { topics: vec!["t".to_owned()], ..Subscription::default() };
    let unreadable = Err("no version".to_owned());
    bench.reply(GroupReply::Joined {
        code: 0,
        generation: 1,
        member_id: "m".to_owned(),
        leader: true,
        protocol: STICKY.to_owned(),
        members: [("m".to_owned(), Ok(subscription)), ("x".to_owned(), unreadable)].into(),
    });
    assert!(matches!(bench.request(), Some(GroupRequest::Partitions { .. })));
    bench.reply(GroupReply::Partitions { partitions: [("t".to_owned(), 2)].into() });
    let Some(GroupRequest::Sync { assignments, .. }) = bench.request() else {
        panic!("syncs");
    };
    assert_eq!(assignments, [("m".to_owned(), parts(&[0, 1]))].into());
}

#[test]
fn leaving_ends_even_without_a_coordinator() {
    let mut bench = Bench::new();
    bench.join(1, &[0]);
    bench.member.leave(bench.now);
    assert!(matches!(bench.request(), Some(GroupRequest::Leave { .. })));
    bench.member.handle_reply(bench.now, Err("connection reset".to_owned()));
    assert_eq!(bench.events(), [GroupEvent::Left]);
    assert!(bench.member.is_ended());
}
