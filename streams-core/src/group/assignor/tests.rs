//! Plans as data: what the members say, a line each, and what each of them gets.
//!
//! `a: 0 1 2! 3?` owns 0 and 1, has a ready copy of 2 and prepares 3; `4+` and `5-` are a ready and
//! an unfinished standby, `6x` failed, and `7~` is its own and released. After the id come
//! `leaving`, `@rack`, `#generation`, `%instance`. A topic other than `t` goes before the number:
//! `u/3`.

use std::fmt::Write as _;

use super::*;
use crate::group::user_data::{Instructions, MemberMeta};
use crate::group::view::{MemberStatus, MoveReason};

pub(crate) fn partition(text: &str) -> (String, i32) {
    let (topic, number) = text.split_once('/').unwrap_or(("t", text));
    (topic.to_owned(), number.parse().unwrap())
}

fn subscription(topics: &[&str], text: &str) -> (String, Subscription) {
    let (head, body) = text.split_once(':').unwrap();
    let mut words = head.split_whitespace();
    let id = words.next().unwrap().to_owned();
    let topics = topics.iter().map(|topic| (*topic).to_owned()).collect();
    let mut member = Subscription { topics, generation: 1, ..Subscription::default() };
    let mut meta = MemberMeta { knows_standbys: true, ..MemberMeta::default() };
    for word in words {
        match word.split_at(1) {
            ("@", rack) => member.rack = Some(rack.to_owned()),
            ("#", generation) => member.generation = generation.parse().unwrap(),
            ("%", instance) => member.instance_id = Some(instance.to_owned()),
            ("=", wants) => member.topics = wants.split('+').map(str::to_owned).collect(),
            _ => {
                meta.status = MemberStatus::Inactive;
                meta.left_at_ms = word.trim_start_matches("leaving").parse().unwrap_or(1);
            }
        }
    }
    for word in body.split_whitespace() {
        let (number, mark) =
            word.split_at(word.trim_end_matches(['!', '?', '+', '-', 'x', '~']).len());
        let partition = partition(number);
        match mark {
            "!" => drop(meta.ready.insert(partition)),
            "?" => drop(meta.preparing.insert(partition)),
            "+" => drop(meta.standby.insert(partition)),
            "-" => drop(meta.restoring.insert(partition)),
            "~" => drop(meta.released.insert(partition)),
            "x" => drop(meta.failed.insert(partition, "no disk".to_owned())),
            _ => drop(member.owned.insert(partition)),
        }
    }
    member.user_data = Some(meta.encode());
    (id, member)
}

fn show_partitions(partitions: &Partitions, mark: &str) -> String {
    partitions.iter().fold(String::new(), |mut text, (topic, number)| {
        let topic = if topic == "t" { String::new() } else { format!("{topic}/") };
        let _ = write!(text, " {topic}{number}{mark}");
        text
    })
}

fn show(plan: &Plan) -> String {
    let mut text = Vec::new();
    for (id, assignment) in &plan.assignments {
        let told = Instructions::decode(assignment.user_data.as_ref()).unwrap();
        let partitions = show_partitions(&assignment.partitions, "");
        let transitions = show_partitions(&told.transitions, "?");
        let standbys = show_partitions(&told.standbys, "+");
        let drained = if told.is_drained { " drained" } else { "" };
        text.push(format!("{id}:{partitions}{transitions}{standbys}{drained}"));
    }
    text.join(" | ")
}

struct Case {
    assignor: Assignor,
    topics: &'static [(&'static str, i32)],
    settings: PlanSettings,
}

const ONE: PlanSettings =
    PlanSettings { active_transitions: 1, standby_replicas: 0, withholds_unclaimed: false };

impl Case {
    const fn incr_coop(topics: &'static [(&'static str, i32)]) -> Self {
        Self { assignor: Assignor::IncrCoop, topics, settings: ONE }
    }

    const fn of(assignor: Assignor, topics: &'static [(&'static str, i32)]) -> Self {
        Self { assignor, topics, settings: ONE }
    }

    const fn transitions(mut self, active_transitions: usize) -> Self {
        self.settings.active_transitions = active_transitions;
        self
    }

    const fn standbys(mut self, standby_replicas: usize) -> Self {
        self.settings.standby_replicas = standby_replicas;
        self
    }

    fn plan(&self, members: &str) -> Plan {
        let names: Vec<&str> = self.topics.iter().map(|(name, _)| *name).collect();
        let members = members.split('|').map(|text| subscription(&names, text)).collect();
        let topics = self.topics.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect();
        let plan = plan(self.assignor, 5, &members, &topics, &self.settings);
        assert_eq!(plan, super::plan(self.assignor, 5, &members, &topics, &self.settings), "GRP-4");
        plan
    }

    #[track_caller]
    fn check(&self, members: &str, expected: &str) -> &Self {
        assert_eq!(show(&self.plan(members)), expected, "{members}");
        self
    }
}

#[test]
fn grp2_what_nobody_has_is_assigned_at_once() {
    Case::incr_coop(&[("t", 4)])
        .check("a:", "a: 0 1 2 3")
        .check("a: | b:", "a: 0 2 | b: 1 3")
        .check("a: 0 1 | b:", "a: 0 1 | b: 2 3")
        .check("a: 0 1 2 | b: 9", "a: 0 1 2 | b: 3 0?")
        // Not to one that wants to leave, if there is another.
        .check("a leaving: 0 | b: 1", "a: 0 | b: 1 2 3 0?")
        .check("a leaving: 0", "a: 0 drained");
}

#[test]
fn grp2_what_nobody_has_goes_to_whoever_is_warm() {
    Case::incr_coop(&[("t", 4)])
        .check("a: 0 1 | b: 2 3+", "a: 0 1 | b: 2 3")
        .check("a: 0 1 3+ | b: 2", "a: 0 1 3 | b: 2 0?")
        .check("a: 0 1 3? | b: 2", "a: 0 1 3 | b: 2 0?")
        .check("a: 0 1 3? | b: 2 3!", "a: 0 1 | b: 2 3")
        .check("a: 0 1 3! | b: 2 3+", "a: 0 1 | b: 2 3")
        .check("a: 0 1 | b: 2 3x", "a: 0 1 3 | b: 2 0?")
        // It said that it was ready, the owner gave it up, and then it failed: it tries again.
        .check("a: 0 1 | b: 2 3x 3?", "a: 0 1 3 | b: 2 0?")
        .check("a: 0 1 | b: 2 3x 3!", "a: 0 1 | b: 2 3");
}

#[test]
fn the_life_of_a_moved_partition() {
    Case::incr_coop(&[("t", 4)])
        .check("a: 0 1 2 3 | b:", "a: 0 1 2 3 | b: 0?")
        .check("a: 0 1 2 3 | b: 0?", "a: 0 1 2 3 | b: 0?")
        .check("a: 0 1 2 3 | b: 0!", "a: 1 2 3 | b: 0?")
        .check("a: 1 2 3 | b: 0!", "a: 1 2 3 | b: 0 1?")
        .check("a: 1 2 3 | b: 0 1!", "a: 2 3 | b: 0 1?")
        .check("a: 2 3 | b: 0 1!", "a: 2 3 | b: 0 1");
}

#[test]
fn what_is_released_is_given_on_at_once_to_whoever_is_ready_for_it() {
    Case::incr_coop(&[("t", 4)])
        // The next move begins in the same generation: this one is not on its way any more.
        .check("a: 1 2 3 0~ | b: 0!", "a: 1 2 3 | b: 0 1?")
        .check("a: 2 3 1~ | b: 0 1!", "a: 2 3 | b: 0 1")
        // Nobody is ready, or wants it: its owner goes on.
        .check("a: 1 2 3 0~ | b: 0?", "a: 0 1 2 3 | b: 0?")
        .check("a: 1 0~ | b: 2 3 0!", "a: 0 1 | b: 2 3")
        // Somebody claims it: what was released before is of an earlier generation.
        .check("a: 1 0~ | b: 0 2 3", "a: 1 0? | b: 0 2 3")
        .check("a: 0~ | b: 0 1 2 3", "a: 0? | b: 0 1 2 3");
    // A static member that missed the last generation: it may have had the partition again since.
    // So the partition is given to the member with the ready copy as if its owner had died.
    let case = Case::incr_coop(&[("t", 4)]);
    let case = case.check("a #1: 1 2 3 0~ | b #2: 0!", "a: 1 2 3 | b: 0 1?");
    let plan = case.plan("a #1: 1 2 3 0~ | b #2: 0!");
    let told = Instructions::decode(plan.assignments["b"].user_data.as_ref()).unwrap();
    assert_eq!(told.handed_over, Partitions::new());
    // A leaving member that has nothing else that could be moved is told so at once.
    Case::incr_coop(&[("t", 3)])
        .check("a leaving: 1 0~ | b: 2 0! 1x", "a: 1 drained | b: 0 2")
        .check("a leaving: 1 0~ | b: 2 0!", "a: 1 | b: 0 2 1?");
    // Of a unit all has to be released.
    Case::incr_coop(&[("t", 2), ("u", 2)])
        .check("a: t/1 u/1 t/0~ u/0~ | b: t/0! u/0!", "a: 1 u/1 | b: 0 u/0")
        .check("a: t/1 u/1 u/0 t/0~ | b: t/0! u/0!", "a: 1 u/1 | b: 0? u/0?");
}

#[test]
fn members_are_told_what_goes_and_what_nobody_works_on_any_more() {
    let case = Case::incr_coop(&[("t", 4)]);
    let told = |plan: &Plan, id: &str| {
        Instructions::decode(plan.assignments[id].user_data.as_ref()).unwrap()
    };
    let plan = case.plan("a: 1 2 3 0~ | b: 0!");
    assert_eq!(told(&plan, "a").outgoing, [partition("1")].into());
    assert_eq!(told(&plan, "b").handed_over, [partition("0")].into());
    let moved = &plan.view.moved[0];
    let ends = (moved.from.as_deref(), moved.to.as_deref(), moved.reason);
    assert_eq!(ends, (Some("a"), Some("b"), MoveReason::Balance));
    assert!(plan.view.unowned.is_empty());
    // Given up in the generation before: its owner may have died since.
    let plan = case.plan("a: 1 2 3 | b: 0!");
    assert_eq!(told(&plan, "b").handed_over, Partitions::new());
    // It is being given up: that is not what it may release.
    let plan = case.plan("a: 0 1 2 3 | b: 0!");
    assert_eq!(told(&plan, "a").outgoing, Partitions::new());
}

#[test]
fn grp3_no_more_than_the_budget_is_on_its_way() {
    Case::incr_coop(&[("t", 6)]).check("a: 0 1 2 3 4 5 | b: | c:", "a: 0 1 2 3 4 5 | b: 0? | c:");
    Case::incr_coop(&[("t", 6)])
        .transitions(3)
        .check("a: 0 1 2 3 4 5 | b: | c:", "a: 0 1 2 3 4 5 | b: 0? 2? | c: 1?")
        .check("a: 0 1 2 3 4 5 | b: 0! 2? | c: 1!", "a: 2 3 4 5 | b: 0? 2? | c: 1?")
        // Of more than the budget the surplus is forgotten, the ready ones last.
        .check("a: 0 1 2 3 4 5 | b: 0? 1? | c: 2? 3!", "a: 0 1 2 4 5 | b: 0? 1? | c: 3?");
}

#[test]
fn no_more_moves_than_balance_needs() {
    Case::incr_coop(&[("t", 5)])
        .transitions(9)
        .check("a: 0 1 2 | b: 3 4", "a: 0 1 2 | b: 3 4")
        .check("a: 0 1 2 | b: 3 4 | c:", "a: 0 1 2 | b: 3 4 | c: 0?")
        .check("a: 0 1 2 3 | b: 4", "a: 0 1 2 3 | b: 4 0?")
        // One on its way is dropped when it is not needed any more.
        .check("a: 0 1 2 | b: 3 4 0?", "a: 0 1 2 | b: 3 4");
}

#[test]
fn what_is_on_its_way_is_kept_between_equals() {
    Case::incr_coop(&[("t", 4)])
        .check("a: 0 1 | b: 2 3 | c: 2?", "a: 0 1 | b: 2 3 | c: 2?")
        .check("a: 0 1 2 3 | b: | c: 3?", "a: 0 1 2 3 | b: | c: 3?");
}

#[test]
fn leaving_members_are_emptied_first_come_first_served() {
    Case::incr_coop(&[("t", 4)])
        .check("a leaving2: 0 1 | b leaving1: 2 | c: 3", "a: 0 1 | b: 2 | c: 3 2?")
        .check("a leaving: 0 | b: 1 2 3 0!", "a: | b: 1 2 3 0?")
        .check("a leaving: | b: 1 2 3 0!", "a: drained | b: 0 1 2 3")
        .check("a leaving: 3 | b: 0 1 2 | c:", "a: 3 | b: 0 1 2 | c: 3?");
}

#[test]
fn a_failed_preparation_goes_to_another() {
    Case::incr_coop(&[("t", 3)])
        .check("a: 0 1 2 | b: 0x | c:", "a: 0 1 2 | b: | c: 0?")
        .check("a: 0 1 2 | b: 0x 1x 2x | c: 0x", "a: 0 1 2 | b: | c: 1?")
        .check("a: 0 1 2 | b: 0x 1x 2x", "a: 0 1 2 | b:")
        // What a leaving member has may go to one that has enough; and stays where nobody can.
        .check("a leaving: 0 | b: 1 | c: 2 | d: 0x", "a: 0 | b: 1 0? | c: 2 | d:")
        .check("a leaving: 0 | b: 1 0x | c: 2 0x", "a: 0 drained | b: 1 | c: 2");
}

#[test]
fn grp1_what_is_claimed_is_given_to_nobody_else() {
    Case::incr_coop(&[("t", 2)])
        // An earlier generation loses; one that is alone with its claim keeps it.
        .check("a #1: 0 1 | b #2: 1", "a: 0 | b: 1")
        .check("a #1: 0 | b #2: 1", "a: 0 | b: 1")
        // Two of the same generation both give it up.
        .check("a: 0 1 | b: 1", "a: 0 | b:")
        .check("a: 0 | b:", "a: 0 | b: 1");
    // One that does not want the topic any more gives it up first.
    Case::incr_coop(&[("t", 2), ("u", 1)]).check("a =u: 0 | b: 1", "a: u/0 | b: 1");
}

#[test]
fn co_partitioned_topics_stay_together() {
    Case::incr_coop(&[("t", 2), ("u", 2)])
        .check("a: | b:", "a: 0 u/0 | b: 1 u/1")
        .check("a: 0 u/0 1 u/1 | b:", "a: 0 1 u/0 u/1 | b: 0? u/0?")
        .check("a: 0 u/0 1 u/1 | b: 0! u/0?", "a: 0 1 u/0 u/1 | b: 0? u/0?")
        .check("a: 0 u/0 1 u/1 | b: 0! u/0!", "a: 1 u/1 | b: 0? u/0?")
        .check("a: 1 u/1 | b: 0! u/0!", "a: 1 u/1 | b: 0 u/0")
        // Apart for some reason: the lesser part is given up, then it follows.
        .check("a: 0 1 u/1 | b: u/0", "a: 0 1 u/1 | b: 0? u/0?")
        .check("a: 0 1 u/1 | b:", "a: 0 1 u/0 u/1 | b: 0? u/0?");
}

#[test]
fn standbys_are_spread_and_kept() {
    Case::incr_coop(&[("t", 4)])
        .standbys(1)
        .check("a: 0 1 | b: 2 3", "a: 0 1 2+ 3+ | b: 2 3 0+ 1+")
        .check("a: 0 1 2+ 3+ | b: 2 3 0+ 1-", "a: 0 1 2+ 3+ | b: 2 3 0+ 1+")
        .check("a: 0 1 2 3", "a: 0 1 2 3")
        .check("a: 0 1 | b: 2 | c: 3", "a: 0 1 2+ 3+ | b: 2 0+ | c: 3 1+")
        // A crash: its partitions go to their standbys, and get new ones.
        .check("a: 0 1 2+ | b: 2 0+ 3+", "a: 0 1 2+ 3+ | b: 2 3 0+ 1+");
    // A ready standby takes over without preparation: it and the owner are told, the owner releases
    // it, or gives it up, and stands by.
    Case::incr_coop(&[("t", 2)])
        .standbys(1)
        .check("a: 0 1 | b: 0+ 1+", "a: 0 1 | b: 0? 1+")
        .check("a: 1 0~ | b: 0! 1+", "a: 1 0+ | b: 0 1+")
        .check("a: 0 1 | b: 0! 1+", "a: 1 0+ | b: 0? 1+")
        .check("a: 1 | b: 0! 1+", "a: 1 0+ | b: 0 1+")
        .check("a: 1 | b: 0+ 1+", "a: 1 0+ | b: 0 1+");
    // Its own copy counts meanwhile: no third member makes one. Then the former owner has one.
    Case::incr_coop(&[("t", 3)])
        .standbys(1)
        .check("a: 0+ | b: 2 1+ | c: 0 1 2+", "a: 0? | b: 2 1+ | c: 0 1 2+")
        .check("a: 0! | b: 2 1+ | c: 1 0~ 2+", "a: 0 2+ | b: 2 1+ | c: 1 0+ 2+");
}

#[test]
fn standbys_prefer_other_racks() {
    Case::incr_coop(&[("t", 3)])
        .standbys(1)
        .check("a @x: 0 | b @x: 1 | c @y: 2", "a: 0 2+ | b: 1 | c: 2 0+ 1+")
        // A ready copy in the owner's rack is kept until the better one is ready.
        .check("a @x: 0 2+ | b @x: 1 0+ | c @y: 2 1+", "a: 0 2+ | b: 1 0+ | c: 2 0+ 1+")
        .check("a @x: 0 2+ | b @x: 1 0+ | c @y: 2 1+ 0+", "a: 0 2+ | b: 1 | c: 2 0+ 1+");
}

#[test]
fn the_view_says_what_moves_and_why() {
    let case = Case::incr_coop(&[("t", 4)]);
    let plan = case.plan("a: 0 1 2 | b: 0! | c leaving:");
    let view = &plan.view;
    assert_eq!(view.transitions.len(), 1);
    assert_eq!((view.transitions[0].from.as_str(), view.transitions[0].to.as_str()), ("a", "b"));
    assert_eq!(view.unowned, [partition("0")].into());
    let moved: Vec<_> =
        view.moved.iter().map(|m| (m.partition.1, m.to.as_deref(), m.reason)).collect();
    assert_eq!(
        moved,
        [(0, Some("b"), MoveReason::Balance), (3, Some("b"), MoveReason::UnownedCold)]
    );
    assert_eq!(view.members["c"].status, MemberStatus::Defunct);
    for assignment in plan.assignments.values() {
        let told = Instructions::decode(assignment.user_data.as_ref()).unwrap();
        assert_eq!(told.view.as_ref(), Some(view));
    }
}

#[test]
fn a_large_groups_view_is_bounded() {
    let members: Vec<String> = (0..200).map(|n| format!("member-{n:03}-{n:040}:")).collect();
    let case = Case::incr_coop(&[("t", 10_000)]).standbys(1);
    let plan = case.plan(&members.join("|"));
    let bytes: usize =
        plan.assignments.values().filter_map(|a| a.user_data.as_ref()).map(Bytes::len).sum();
    assert!(bytes < 1_000_000, "{bytes} bytes go into one record of the coordinator");
    let told = &plan.assignments.values().next().unwrap().user_data;
    let told = Instructions::decode(told.as_ref()).unwrap();
    assert!(told.view.is_none_or(|view| view.is_partial));
    assert!(!told.standbys.is_empty());
}

/// Results of Java's `RangeAssignor`; librdkafka's are the same.
#[test]
fn range_is_javas() {
    Case::of(Assignor::Range, &[("t", 3), ("u", 3)])
        .check("a: | b:", "a: 0 1 u/0 u/1 | b: 2 u/2")
        .check("a: | b: | c: | d:", "a: 0 u/0 | b: 1 u/1 | c: 2 u/2 | d:")
        .check("a =t: | b: | c =u:", "a: 0 1 | b: 2 u/0 u/1 | c: u/2")
        // Static members come first, by instance id.
        .check("a: | b %2: | c %1:", "a: 2 u/2 | b: 1 u/1 | c: 0 u/0")
        // Who has what does not matter.
        .check("a: 2 | b: 0", "a: 0 1 u/0 u/1 | b: 2 u/2");
    Case::of(Assignor::Range, &[("t", 7)]).check("a: | b: | c:", "a: 0 1 2 | b: 3 4 | c: 5 6");
}

/// Results of Java's `RoundRobinAssignor`; librdkafka's are the same.
#[test]
fn round_robin_is_javas() {
    Case::of(Assignor::RoundRobin, &[("t", 3), ("u", 3)])
        .check("a: | b:", "a: 0 2 u/1 | b: 1 u/0 u/2")
        .check("a =t: | b: | c =u:", "a: 0 2 | b: 1 u/0 u/2 | c: u/1")
        .check("a: | b %2: | c %1:", "a: 2 u/2 | b: 1 u/1 | c: 0 u/0")
        .check("a =v: | b =v:", "a: | b:");
}

#[test]
fn cooperative_sticky_keeps_and_balances() {
    Case::of(Assignor::CooperativeSticky, &[("t", 4)])
        .check("a: | b:", "a: 0 1 | b: 2 3")
        .check("a: 0 1 2 3 | b:", "a: 0 1 | b:")
        .check("a: 0 1 | b:", "a: 0 1 | b: 2 3")
        .check("a: 0 3 | b: 1", "a: 0 3 | b: 1 2")
        .check("a #1: 0 1 | b #2: 1 2", "a: 0 3 | b: 1 2");
}

/// It would take what it likes from members that have it.
#[test]
fn u9_a_claim_of_a_generation_that_has_not_begun_loses() {
    for topics in [&[("t", 4)][..], &[("t", 2), ("u", 2)]] {
        for generation in [5, 6, i32::MAX] {
            let members = format!("a #4: 0 1 | x #{generation}: 0 1");
            let sticky = Case::of(Assignor::CooperativeSticky, topics);
            for case in [Case::incr_coop(topics), sticky] {
                let plan = case.plan(&members);
                let owned = &plan.assignments["a"].partitions;
                assert!(owned.contains(&partition("0")) && owned.contains(&partition("1")));
            }
        }
    }
}
