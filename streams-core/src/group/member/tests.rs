//! The member, stepped with a clock of the test's own.

use bytes::Bytes;

use super::pace::JOIN_PATIENCE_MIN;
use super::*;
use crate::group::JoinRequest;
use crate::group::user_data::Instructions;
use crate::group::view::MemberView;
use crate::group::view_wire::WireView;

pub(super) struct Bench {
    pub(super) now: Instant,
    pub(super) member: Member,
    pub(super) assignor: Assignor,
}

pub(super) fn parts(numbers: &[i32]) -> Partitions {
    numbers.iter().map(|n| ("t".to_owned(), *n)).collect()
}

/// What `incr_coop`'s leader says: copies for transitions.
pub(super) fn told(transitions: &[i32], is_drained: bool) -> Instructions {
    let transitions = parts(transitions);
    Instructions { transitions, is_drained, is_complete: true, ..Instructions::default() }
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::with(Assignor::IncrCoop)
    }

    pub(super) fn with(assignor: Assignor) -> Self {
        Self { assignor, ..Self::configured(|_| {}) }
    }

    pub(super) fn configured(configure: impl FnOnce(&mut GroupConfig)) -> Self {
        let now = Instant::now();
        let mut config = GroupConfig::new("g", vec!["t".to_owned()]);
        config.assignors = Assignor::ALL.to_vec();
        configure(&mut config);
        Self { now, member: Member::new(now, config), assignor: Assignor::IncrCoop }
    }

    pub(super) fn request(&mut self) -> Option<GroupRequest> {
        let mut request = self.member.poll_request(self.now);
        if let State::Holding { .. } = self.member.state {
            assert_eq!(request, None, "commits are on their way");
            let hold = self.member.holds;
            self.member.held(self.now, hold, &parts(&[]));
            request = self.member.poll_request(self.now);
        }
        self.member.check_invariants();
        request
    }

    pub(super) fn reply(&mut self, reply: GroupReply) {
        self.member.handle_reply(self.now, Ok(reply));
        self.member.check_invariants();
    }

    pub(super) fn events(&mut self) -> Vec<GroupEvent> {
        let all = std::iter::from_fn(|| self.member.poll_event()).map(uncounted);
        let is_of_each =
            |event: &GroupEvent| matches!(event, GroupEvent::View(_) | GroupEvent::Begun { .. });
        all.filter(|event| !is_of_each(event)).collect()
    }

    /// The next request must be a JoinGroup.
    #[track_caller]
    pub(super) fn join_request(&mut self) -> JoinRequest {
        if matches!(self.member.state, State::Unjoined { .. }) {
            assert!(matches!(self.request(), Some(GroupRequest::FindCoordinator { .. })));
            self.reply(GroupReply::Coordinator);
        }
        match self.request() {
            Some(GroupRequest::Join(join)) => *join,
            other => panic!("no JoinGroup: {other:?}"),
        }
    }

    pub(super) fn joined(&mut self, generation: i32) {
        self.reply(GroupReply::Joined {
            code: 0,
            generation,
            member_id: "m".to_owned(),
            leader: false,
            protocol: self.assignor.name().to_owned(),
            members: BTreeMap::new(),
        });
        assert!(matches!(self.request(), Some(GroupRequest::Sync { .. })));
    }

    pub(super) fn synced(
        &mut self,
        assigned: &[i32],
        instructions: &Instructions,
    ) -> Vec<GroupEvent> {
        let user_data = match self.assignor {
            Assignor::IncrCoop => Some(crate::group::user_data::encode_instructions(
                instructions,
                &Partitions::new(),
                instructions.view.as_ref().and_then(WireView::of).as_ref(),
            )),
            _ => None,
        };
        let assignment = Assignment { partitions: parts(assigned), user_data };
        self.reply(GroupReply::Synced { code: 0, assignment });
        self.events()
    }

    #[track_caller]
    pub(super) fn join(
        &mut self,
        generation: i32,
        assigned: &[i32],
        warm: &[i32],
    ) -> Vec<GroupEvent> {
        self.join_request();
        self.joined(generation);
        self.synced(assigned, &told(warm, false))
    }

    /// A generation in which a partition was given up.
    fn join_again_in_move(&mut self) {
        self.heartbeat(27);
        self.join_request();
        self.joined(2);
        let unowned = parts(&[1]);
        let members = (0..20).map(|n| (format!("m{n}"), MemberView::default())).collect();
        let view = GroupView { generation: 2, members, unowned, ..GroupView::default() };
        self.synced(&[0], &Instructions { view: Some(view), ..told(&[], false) });
    }

    #[track_caller]
    pub(super) fn heartbeat(&mut self, code: i16) {
        self.now += Duration::from_millis(150);
        assert!(matches!(self.request(), Some(GroupRequest::Heartbeat { .. })));
        self.reply(GroupReply::Heartbeat { code });
    }

    pub(super) fn wait(&mut self, time: Duration) {
        self.now += time;
        self.member.handle_timeout(self.now);
        self.member.check_invariants();
    }
}

/// Which hold it is the tests don't count.
fn uncounted(event: GroupEvent) -> GroupEvent {
    match event {
        GroupEvent::Rejoining { outgoing, .. } => GroupEvent::Rejoining { hold: 0, outgoing },
        other => other,
    }
}

fn rejoining() -> GroupEvent {
    GroupEvent::Rejoining { hold: 0, outgoing: parts(&[]) }
}

fn waiting() -> GroupEvent {
    GroupEvent::Waiting { resumed: parts(&[]) }
}

pub(super) fn joined(events: &[GroupEvent]) -> [Partitions; 4] {
    let joined = events.iter().find_map(|event| match event {
        GroupEvent::Joined { assigned, revoked, owned, warm, .. } => {
            Some([assigned.clone(), revoked.clone(), owned.clone(), warm.clone()])
        }
        _ => None,
    });
    joined.unwrap_or_else(|| panic!("not joined: {events:?}"))
}

pub(super) fn meta(join: &JoinRequest) -> MemberMeta {
    let (_, subscription) =
        join.protocols.iter().find(|(name, _)| name == "incr_coop").expect("it is offered");
    MemberMeta::decode(subscription.user_data.as_ref()).unwrap()
}

pub(super) fn owned(join: &JoinRequest, assignor: Assignor) -> Partitions {
    let of = join.protocols.iter().find(|(name, _)| name == assignor.name());
    of.expect("it is offered").1.owned.clone()
}

#[test]
fn a_rebalance_revokes_then_joins_again_with_less() {
    let mut bench = Bench::new();
    let none = parts(&[]);
    let events = bench.join(1, &[0, 1], &[]);
    assert_eq!(joined(&events), [parts(&[0, 1]), none.clone(), parts(&[0, 1]), none.clone()]);
    bench.heartbeat(27);
    let events = bench.join(2, &[0], &[]);
    assert_eq!(events[0], rejoining(), "commits pause before the generation changes");
    assert_eq!(joined(&events), [none.clone(), parts(&[1]), parts(&[0]), none]);
    // Until it is drained it heartbeats, and claims what it still has.
    bench.heartbeat(0);
    bench.member.acknowledge_revoked(bench.now, &parts(&[1]), 9);
    let join = bench.join_request();
    for assignor in [Assignor::IncrCoop, Assignor::CooperativeSticky] {
        assert_eq!(owned(&join, assignor), parts(&[0]));
    }
    assert_eq!(owned(&join, Assignor::Range), parts(&[]), "eager assignors see nothing");
    assert_eq!(join.protocols[0].1.generation, 2);
}

#[test]
fn one_that_comes_back_while_it_is_given_up_is_still_given_up() {
    let mut bench = Bench::new();
    bench.join(1, &[0, 1], &[]);
    bench.heartbeat(27);
    bench.join(2, &[0], &[]);
    bench.heartbeat(27);
    let events = bench.join(3, &[0, 1], &[]);
    assert_eq!(joined(&events)[..3], [parts(&[]), parts(&[1]), parts(&[0])]);
}

#[test]
fn copies_are_made_reported_taken_over_and_forgotten() {
    let mut bench = Bench::new();
    let events = bench.join(1, &[0], &[1, 2]);
    assert_eq!(joined(&events)[3], parts(&[1, 2]));
    // Two that catch up together cost one rebalance.
    bench.member.warmed(bench.now, &parts(&[1]));
    assert!(bench.request().is_none(), "the second may follow");
    bench.member.warmed(bench.now, &parts(&[2]));
    bench.wait(WARMED_DELAY);
    let join = bench.join_request();
    assert_eq!((meta(&join).ready, meta(&join).preparing), (parts(&[1, 2]), parts(&[])));
    bench.joined(2);
    let events = bench.synced(&[0, 1], &told(&[], false));
    assert_eq!(joined(&events), [parts(&[1]), parts(&[]), parts(&[0, 1]), parts(&[])]);
    bench.heartbeat(0);
    assert!(bench.request().is_none(), "nobody waits for anything");
}

#[test]
fn a_copy_that_fails_is_given_back_and_remembered_for_a_while() {
    let mut bench = Bench::new();
    bench.join(1, &[], &[1]);
    bench.member.warm_failed(bench.now, &parts(&[1]), "no disk");
    bench.wait(WARMED_DELAY);
    let join = bench.join_request();
    assert_eq!(meta(&join).failed, [(("t".to_owned(), 1), "no disk".to_owned())].into());
    assert_eq!(meta(&join).preparing, parts(&[]));
    bench.joined(2);
    assert_eq!(joined(&bench.synced(&[], &told(&[], false)))[3], parts(&[]));
    // After a while it says so, once; the next failure counts for twice as long.
    for _ in 0..190 {
        bench.heartbeat(0);
    }
    bench.wait(Duration::from_secs(2));
    assert!(meta(&bench.join_request()).failed.is_empty());
    bench.joined(3);
    bench.synced(&[], &told(&[1], false));
    bench.member.warm_failed(bench.now, &parts(&[1]), "no disk");
    bench.wait(Duration::from_secs(1));
    bench.join(4, &[], &[]);
    for _ in 0..390 {
        bench.heartbeat(0);
    }
    bench.wait(Duration::from_secs(2));
    bench.join_request();
}

#[test]
fn a_copy_that_fails_while_the_leader_plans_it_is_not_tried_again() {
    let mut bench = Bench::new();
    bench.join(1, &[0], &[1]);
    bench.heartbeat(27);
    bench.join_request();
    bench.joined(2);
    bench.member.warm_failed(bench.now, &parts(&[1]), "no disk");
    let events = bench.synced(&[0], &told(&[1], false));
    assert_eq!(joined(&events)[3], parts(&[]), "the leader did not know");
    bench.wait(WARMED_DELAY);
    let join = bench.join_request();
    assert_eq!((meta(&join).failed.len(), meta(&join).preparing), (1, parts(&[])));
    // Now it knows, and has nobody else.
    bench.joined(3);
    let events = bench.synced(&[0], &told(&[1], false));
    assert_eq!(joined(&events)[3], parts(&[1]));
}

#[test]
fn standbys_that_are_ready_wait_for_the_next_rebalance() {
    let mut bench = Bench::new();
    bench.join_request();
    bench.joined(1);
    let standbys = Instructions { standbys: parts(&[3]), ..told(&[], false) };
    assert_eq!(joined(&bench.synced(&[0], &standbys))[3], parts(&[3]));
    bench.member.warmed(bench.now, &parts(&[3]));
    bench.heartbeat(0);
    assert!(bench.request().is_none());
    bench.heartbeat(27);
    let join = bench.join_request();
    assert_eq!(meta(&join).standby, parts(&[3]));
    // Told to take it over, it says that it can, now that its owner knows.
    bench.joined(2);
    bench.synced(&[0], &told(&[3], false));
    bench.wait(WARMED_DELAY);
    assert_eq!(meta(&bench.join_request()).ready, parts(&[3]));
}

#[test]
fn a_leader_of_gkes_tells_only_what_is_new() {
    let mut bench = Bench::new();
    let mut says = |generation, json: &'static str| {
        if generation > 1 {
            bench.heartbeat(27);
        }
        bench.join_request();
        bench.joined(generation);
        let user_data = Some(Bytes::from_static(json.as_bytes()));
        let assignment = Assignment { partitions: parts(&[0]), user_data };
        bench.reply(GroupReply::Synced { code: 0, assignment });
        joined(&bench.events())[3].clone()
    };
    let prepare = r#"{"Prepare":[{"Partition":1,"Topic":"t"}],"Forget":null}"#;
    assert_eq!(says(1, prepare), parts(&[1]));
    assert_eq!(says(2, r#"{"Prepare":null,"Forget":null}"#), parts(&[1]));
    assert_eq!(says(3, r#"{"Forget":[{"Partition":1,"Topic":"t"}]}"#), parts(&[]));
}

#[test]
fn a_drain_ends_when_everything_has_moved() {
    let mut bench = Bench::new();
    bench.join(1, &[0], &[]);
    bench.member.drain(bench.now, SystemTime::UNIX_EPOCH + Duration::from_millis(7));
    let join = bench.join_request();
    assert_eq!((meta(&join).status, meta(&join).left_at_ms), (MemberStatus::Inactive, 7));
    bench.joined(2);
    assert_eq!(bench.synced(&[0], &told(&[], false)).len(), 2, "its partition stays for now");
    bench.heartbeat(27);
    let events = bench.join(3, &[], &[]);
    assert_eq!(joined(&events)[1], parts(&[0]));
    bench.member.acknowledge_revoked(bench.now, &parts(&[0]), 9);
    assert_eq!(bench.events(), [GroupEvent::Drained]);
    bench.member.leave(bench.now);
    assert!(matches!(bench.request(), Some(GroupRequest::Leave { .. })));
}

#[test]
fn a_drain_ends_where_nobody_can_take_anything() {
    // The leader says so.
    let mut bench = Bench::new();
    bench.join(1, &[0], &[]);
    bench.member.drain(bench.now, SystemTime::UNIX_EPOCH);
    bench.join_request();
    bench.joined(2);
    assert_eq!(bench.synced(&[0], &told(&[], true)).last(), Some(&GroupEvent::Drained));
    // Other assignors know no drain.
    let mut bench = Bench::with(Assignor::CooperativeSticky);
    bench.join(1, &[0], &[]);
    bench.member.drain(bench.now, SystemTime::UNIX_EPOCH);
    assert_eq!(bench.events(), [GroupEvent::Drained]);
    // Nothing is owned yet.
    let mut bench = Bench::new();
    bench.member.drain(bench.now, SystemTime::UNIX_EPOCH);
    assert_eq!(bench.events(), [GroupEvent::Drained]);
}

#[test]
fn eager_assignors_have_everything_given_up_first() {
    let mut bench = Bench::with(Assignor::Range);
    bench.join(1, &[0, 1], &[]);
    bench.heartbeat(27);
    assert_eq!(bench.events(), [GroupEvent::Revoked { partitions: parts(&[0, 1]) }]);
    bench.member.acknowledge_revoked(bench.now, &parts(&[0]), 9);
    // It heartbeats meanwhile, and hears of the rebalance again.
    bench.heartbeat(27);
    assert!(bench.events().is_empty());
    bench.member.acknowledge_revoked(bench.now, &parts(&[1]), 9);
    let join = bench.join_request();
    assert_eq!(owned(&join, Assignor::IncrCoop), parts(&[]));
    bench.joined(2);
    let events = bench.synced(&[1], &told(&[], false));
    assert_eq!(joined(&events)[..3], [parts(&[1]), parts(&[]), parts(&[1])]);
}

#[test]
fn a_fall_back_to_an_eager_assignor_loses_what_is_held() {
    let mut bench = Bench::new();
    bench.join(1, &[0, 1], &[]);
    bench.heartbeat(27);
    bench.assignor = Assignor::Range;
    bench.join_request();
    bench.joined(2);
    let events = bench.synced(&[1], &told(&[], false));
    assert!(
        matches!(events[..2], [GroupEvent::Rejoining { .. }, GroupEvent::Lost { .. }]),
        "{events:?}"
    );
    assert_eq!(joined(&events)[..3], [parts(&[1]), parts(&[]), parts(&[1])]);
}

/// From the member's word that it joins to the next one: events, and where the requests are.
#[test]
fn eos7_commits_are_held_as_long_as_it_is_open_which_generation_they_need() {
    let all = |bench: &mut Bench| {
        std::iter::from_fn(|| bench.member.poll_event()).map(uncounted).collect::<Vec<_>>()
    };
    let mut bench = Bench::new();
    bench.join(1, &[0], &[]);
    bench.heartbeat(27);
    assert_eq!(bench.member.poll_request(bench.now), None, "commits are on their way");
    assert_eq!(all(&mut bench), [rejoining()]);
    assert_eq!(bench.member.poll_timeout(), Some(bench.now + HOLD_MAX));
    bench.member.held(bench.now, bench.member.holds, &parts(&[]));
    assert!(matches!(bench.member.poll_request(bench.now), Some(GroupRequest::Join(_))));
    bench.wait(JOIN_PATIENCE_MIN - Duration::from_millis(1));
    assert_eq!(all(&mut bench), [], "the reply may be on its way");
    bench.wait(Duration::from_millis(1));
    assert_eq!(all(&mut bench), [waiting()]);
    bench.joined(2);
    let events = all(&mut bench);
    let is_second = |generation: &Generation| generation.generation_id == 2;
    assert!(
        matches!(&events[..], [GroupEvent::Begun { generation, .. }] if is_second(generation)),
        "before the assignment: {events:?}"
    );
    // Nobody says that they have arrived, and the coordinator answers at once.
    bench.synced(&[0], &told(&[], false));
    bench.heartbeat(27);
    assert_eq!(bench.member.poll_request(bench.now), None);
    bench.now += HOLD_MAX;
    assert!(matches!(bench.member.poll_request(bench.now), Some(GroupRequest::Join(_))));
    bench.joined(3);
    assert!(matches!(
        all(&mut bench)[..],
        [GroupEvent::Rejoining { .. }, GroupEvent::Begun { .. }]
    ));
    // Refused for now: the old generation still stands.
    bench.synced(&[0], &told(&[], false));
    bench.heartbeat(27);
    bench.join_request();
    bench.reply(GroupReply::Refused { code: 14 });
    assert_eq!(bench.events(), [rejoining(), waiting()]);
}

#[test]
fn who_begins_a_rebalance_holds_commits_only_if_the_others_hear_of_it_soon() {
    let mut bench = Bench::new();
    bench.join(1, &[0], &[1]);
    // Alone, or not told of others: the reply may come at once.
    bench.member.warmed(bench.now, &parts(&[1]));
    bench.wait(WARMED_DELAY);
    bench.join_request();
    assert_eq!(bench.events(), [rejoining()]);
    bench.joined(2);
    let members = ["m", "n"].map(|id| (id.to_owned(), MemberView::default()));
    let view = GroupView { generation: 2, members: members.into(), ..GroupView::default() };
    let instructions = Instructions { view: Some(view), ..told(&[2], false) };
    bench.synced(&[0], &instructions);
    bench.member.warmed(bench.now, &parts(&[2]));
    bench.wait(WARMED_DELAY);
    // At once: it need not wait for its own commits.
    assert!(matches!(bench.request(), Some(GroupRequest::Join(_))));
    assert_eq!(bench.events(), [rejoining()], "the others hear of it in 2.5 ms");
    bench.wait(Duration::from_micros(2_500 + 100_000 + 20_000 - 1_000));
    assert_eq!(bench.events(), []);
    bench.wait(Duration::from_millis(1));
    assert_eq!(bench.events(), [waiting()], "they have other things to do");
    bench.joined(3);
    let instructions = Instructions { view: instructions.view, ..told(&[3], false) };
    bench.synced(&[0], &instructions);
    bench.wait(Duration::from_millis(100));
    bench.heartbeat(0);
    bench.member.warmed(bench.now, &parts(&[3]));
    bench.wait(WARMED_DELAY);
    bench.join_request();
    assert_eq!(bench.events(), [waiting()], "it may take them 15 ms");
    bench.joined(4);
    bench.synced(&[0], &instructions);
    bench.heartbeat(27);
    bench.join_request();
    assert_eq!(bench.events(), [rejoining()], "it may be the last one");
    bench.joined(5);
    let assignment = Assignment { partitions: parts(&[]), user_data: None };
    bench.reply(GroupReply::Synced { code: 27, assignment });
    assert_eq!(bench.member.poll_request(bench.now), None);
    assert!(matches!(bench.member.state, State::Holding { .. }), "others have begun it");
}

#[test]
fn heartbeats_come_fast_after_a_rebalance() {
    let mut bench = Bench::new();
    let waits = |bench: &mut Bench, count: usize| {
        let wait = |_| {
            let (at, before) = (bench.member.poll_timeout().unwrap(), bench.now);
            bench.now = at;
            assert!(matches!(bench.request(), Some(GroupRequest::Heartbeat { .. })));
            bench.reply(GroupReply::Heartbeat { code: 0 });
            (at - before).as_millis()
        };
        (0..count).map(wait).collect::<Vec<_>>()
    };
    bench.join(1, &[0], &[]);
    let waits_at_rest = waits(&mut bench, 31);
    bench.join_again_in_move();
    let waits_in_move = waits(&mut bench, 140);
    assert_eq!(waits_in_move[..9], [2; 9]);
    assert_eq!(waits_in_move[27..100], [10; 73]);
    assert_eq!(waits_in_move[139], 150, "a move that does not end is forgotten");
    assert_eq!(waits_at_rest[..9], [2; 9]);
    assert_eq!(waits_at_rest[20..], [8, 9, 10, 11, 13, 14, 16, 18, 21, 23, 26]);
}

/// What a heartbeat's error does to a member that has a partition.
#[test]
fn each_error_of_a_heartbeat() {
    let after = |code| {
        let mut bench = Bench::new();
        bench.join(1, &[0], &[]);
        bench.heartbeat(code);
        let lost = match &bench.events()[..] {
            [] => "keeps",
            [GroupEvent::Lost { .. }] => "loses",
            [GroupEvent::Failed { reason }] => return format!("fails: {reason}"),
            other => panic!("{other:?}"),
        };
        bench.now += BACKOFF_MIN;
        let next = match bench.request() {
            Some(GroupRequest::Join(join)) => format!("joins as `{}`", join.member_id),
            Some(GroupRequest::FindCoordinator { .. }) => "looks for the coordinator".to_owned(),
            Some(GroupRequest::Heartbeat { .. }) => "asks again".to_owned(),
            other => panic!("{other:?}"),
        };
        format!("{lost}, {next}")
    };
    for (code, expected) in [
        (27, "keeps, joins as `m`"),
        (22, "loses, joins as `m`"),
        (25, "loses, joins as ``"),
        (69, "loses, joins as ``"),
        (15, "keeps, looks for the coordinator"),
        (16, "keeps, looks for the coordinator"),
        (14, "keeps, asks again"),
        (7, "keeps, asks again"),
        (-1, "keeps, asks again"),
        (56, "keeps, asks again"),
        (29, "keeps, asks again"),
        (30, "keeps, asks again"),
        (31, "keeps, asks again"),
    ] {
        assert_eq!(after(code), expected, "{code}");
    }
    for (code, name) in [
        (23, "INCONSISTENT_GROUP_PROTOCOL"),
        (24, "INVALID_GROUP_ID"),
        (26, "INVALID_SESSION_TIMEOUT"),
        (35, "UNSUPPORTED_VERSION"),
        (42, "INVALID_REQUEST"),
        (81, "GROUP_MAX_SIZE_REACHED"),
        (82, "FENCED_INSTANCE_ID"),
    ] {
        assert!(after(code).starts_with(&format!("fails: group `g`: {name}: ")), "{}", after(code));
    }
}

/// The module's table and the code say the same.
#[test]
fn the_table_of_errors_is_true() {
    let table = include_str!("errors.rs");
    for line in table.lines().filter(|line| line.starts_with("//! | ") && line.contains('`')) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let code: i16 = cells[1].parse().expect("a code");
        let name = cells[2].trim_matches('`');
        assert_eq!(crate::client::wire::error_name(code), name);
        let said = cells[3].split([':', ';', ' ']).next().unwrap_or_default();
        let expected = match action(code) {
            Action::Rejoin | Action::TakeMemberId => "joins",
            Action::Lost => "`Lost`",
            Action::LostMember if code == 25 => "`Lost`",
            Action::FindCoordinator if code == 15 => "looks",
            Action::LostMember | Action::FindCoordinator | Action::Retry => "the",
            Action::Fail(_) | Action::Denied(_) => "ends",
        };
        assert_eq!(said, expected, "{name}");
    }
    assert_eq!(table.matches("//! | ").count(), 22);
}

#[test]
fn a_coordinator_that_moves_costs_no_generation() {
    let mut bench = Bench::new();
    bench.join(1, &[0], &[]);
    bench.heartbeat(16);
    bench.now += BACKOFF_MIN;
    assert!(matches!(bench.request(), Some(GroupRequest::FindCoordinator { .. })));
    bench.reply(GroupReply::Refused { code: 15 });
    bench.now += BACKOFF_MIN * 2;
    assert!(matches!(bench.request(), Some(GroupRequest::FindCoordinator { .. })));
    bench.reply(GroupReply::Coordinator);
    assert!(matches!(bench.request(), Some(GroupRequest::Heartbeat { .. })), "not a JoinGroup");
    assert!(bench.events().is_empty());
}

#[test]
fn a_join_that_is_refused_again_and_again_is_not_repeated_without_a_pause() {
    for code in [27, 22, 25, 14, 79] {
        let mut bench = Bench::new();
        bench.join_request();
        let (start, mut times) = (bench.now, 0);
        while bench.now - start < Duration::from_secs(60) {
            times += 1;
            bench.reply(GroupReply::Joined {
                code,
                generation: -1,
                member_id: "given".to_owned(),
                leader: false,
                protocol: String::new(),
                members: BTreeMap::new(),
            });
            bench.now = bench.member.poll_timeout().unwrap().max(bench.now);
            bench.join_request();
        }
        assert!((60..140).contains(&times), "{code}: {times} in a minute");
    }
}

#[test]
fn without_a_coordinator_the_partitions_are_lost_when_the_session_ends() {
    let mut bench = Bench::new();
    bench.join(1, &[0], &[]);
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
fn a_heartbeat_that_gets_no_answer_does_not_hide_the_sessions_end() {
    let mut bench = Bench::new();
    bench.join(1, &[0], &[]);
    bench.wait(Duration::from_millis(150));
    assert!(matches!(bench.request(), Some(GroupRequest::Heartbeat { .. })));
    assert_eq!(bench.member.poll_timeout(), Some(bench.now + Duration::from_millis(9_850)));
    bench.wait(Duration::from_millis(9_850));
    assert!(matches!(bench.events()[..], [GroupEvent::Lost { .. }]));
    assert!(!bench.member.is_waiting(), "the heartbeat is given up");
}

/// Stopped for longer than its session, with the reply to the last heartbeat in its socket.
#[test]
fn a_zombie_finds_out_by_itself() {
    for reply_first in [false, true] {
        let mut bench = Bench::new();
        bench.join(1, &[0], &[1]);
        bench.wait(Duration::from_millis(150));
        assert!(matches!(bench.request(), Some(GroupRequest::Heartbeat { .. })));
        bench.now += Duration::from_secs(20);
        match reply_first {
            true => bench.reply(GroupReply::Heartbeat { code: 0 }),
            false => bench.wait(Duration::ZERO),
        }
        assert!(matches!(bench.events()[..], [GroupEvent::Lost { .. }]), "{reply_first}");
        let join = bench.join_request();
        assert_eq!((join.member_id.as_str(), owned(&join, Assignor::IncrCoop)), ("", parts(&[])));
        assert_eq!(meta(&join).preparing, parts(&[1]), "its copies are as good as before");
    }
}

/// The same, stopped while it waited for its assignment: the old one is not taken unseen.
#[test]
fn an_assignment_that_comes_late_is_confirmed_by_a_heartbeat() {
    for (code, lost, seconds) in [(0, false, 20), (25, true, 20), (0, false, 5), (25, true, 5)] {
        let mut bench = Bench::new();
        bench.join_request();
        bench.joined(1);
        bench.now += Duration::from_secs(seconds);
        assert!(bench.synced(&[0], &told(&[], false)).is_empty());
        assert!(matches!(bench.request(), Some(GroupRequest::Heartbeat { .. })));
        bench.reply(GroupReply::Heartbeat { code });
        let events = bench.events();
        assert_eq!(matches!(events[..], [GroupEvent::Lost { .. }]), lost, "{events:?}");
        assert_eq!(matches!(events[..], [GroupEvent::Joined { .. }]), !lost, "{events:?}");
    }
}

/// And one that comes earlier counts from when it was asked for: the coordinator has heard nothing
/// since.
#[test]
fn a_session_begins_when_the_assignment_was_asked_for() {
    let mut bench = Bench::new();
    bench.join_request();
    bench.joined(1);
    bench.now += Duration::from_secs(4);
    assert!(!bench.synced(&[0], &told(&[], false)).is_empty());
    bench.wait(Duration::from_millis(5_999));
    assert!(bench.events().is_empty());
    bench.wait(Duration::from_millis(1));
    assert!(matches!(bench.events()[..], [GroupEvent::Lost { .. }]));
}

#[test]
fn the_member_id_of_the_first_reply_is_taken() {
    let mut bench = Bench::new();
    bench.join_request();
    bench.reply(GroupReply::Joined {
        code: 79,
        generation: -1,
        member_id: "given".to_owned(),
        leader: false,
        protocol: String::new(),
        members: BTreeMap::new(),
    });
    assert_eq!(bench.join_request().member_id, "given", "at once");
}

#[test]
fn the_leader_counts_partitions_and_assigns() {
    let mut bench = Bench::new();
    bench.join_request();
    let subscription = Subscription { topics: vec!["t".to_owned()], ..Subscription::default() };
    bench.reply(GroupReply::Joined {
        code: 0,
        generation: 1,
        member_id: "m".to_owned(),
        leader: true,
        protocol: Assignor::IncrCoop.name().to_owned(),
        members: [("m".to_owned(), Ok(subscription))].into(),
    });
    assert!(matches!(bench.request(), Some(GroupRequest::Partitions { .. })));
    bench.reply(GroupReply::Partitions { partitions: [("t".to_owned(), Ok(2))].into() });
    let Some(GroupRequest::Sync { assignments, .. }) = bench.request() else {
        panic!("syncs");
    };
    assert_eq!(assignments["m"].partitions, parts(&[0, 1]));
    assert_eq!(assignments.len(), 1);
    let assignment = assignments["m"].clone();
    bench.reply(GroupReply::Synced { code: 0, assignment });
    let view = std::iter::from_fn(|| bench.member.poll_event()).find_map(|event| match event {
        GroupEvent::View(view) => Some(view),
        _ => None,
    });
    assert_eq!(view.expect("a view").members["m"].owned, parts(&[0, 1]));
}

#[test]
fn leaving_ends_even_without_a_coordinator() {
    let mut bench = Bench::new();
    bench.join(1, &[0], &[]);
    bench.member.leave(bench.now);
    bench.member.leave(bench.now);
    assert!(matches!(bench.request(), Some(GroupRequest::Leave { .. })));
    bench.member.handle_reply(bench.now, Err("connection reset".to_owned()));
    assert_eq!(bench.events(), [GroupEvent::Left]);
    assert!(bench.member.is_ended());
}
