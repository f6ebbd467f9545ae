//! Random histories of a group: joins, leaves, crashes, drains, processes that are stopped or cut
//! off, static members that come back, requests and replies that are lost, copies that are slow or
//! fail, leaders that go, coordinators that move. A third of the groups is being migrated: some of
//! its members offer another assignor alone, some both.
//!
//! After each step GRP-1 to GRP-4 hold, no more moves are made than balance needs, and in the end
//! the group is balanced, everybody who wanted to leave has left, and nobody joins again.
//!
//! Bugs that are planted in the assignor are found out by the same histories.
//!
//! `STREAMS_HISTORIES=10000` sets how many, as the gate does: that found a move too many, a copy
//! that was tried again before the leader knew that it had failed, and a session that was counted
//! too long. `STREAMS_HISTORY=<seed>` runs a single one.

mod check;
mod coordinator;
mod world;

use std::collections::BTreeMap;
use std::panic::catch_unwind;
use std::time::Duration;

use self::check::Round;
use self::world::{Loss, World, ms};
use super::Partitions;
use super::assignor::{Assignment, Assignor, PlanSettings, Subscription};
use super::user_data::{Instructions, MemberMeta, encode_instructions};
use crate::planted::{self, Bug};

const HISTORIES_DEFAULT: u64 = 40;
/// Within so many histories a planted bug shows.
const PLANTED_SHOWS: u64 = 100;
const MEMBERS_MAX: usize = 7;
/// A group that joins again after this time has not settled: a failure is forgotten after 30 s.
const QUIET: Duration = Duration::from_secs(45);
/// The longest time for which a process is stopped.
const TWINS_OVER: Duration = Duration::from_secs(24);
const SETTLED_WITHIN: Duration = Duration::from_secs(3_600);

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[test]
fn grp1_grp2_grp3_grp4_hold_through_random_histories() {
    let seeds: Vec<u64> = match number("STREAMS_HISTORY") {
        Some(seed) => vec![seed],
        None => {
            let histories = number("STREAMS_HISTORIES").unwrap_or(HISTORIES_DEFAULT);
            (0..histories).collect()
        }
    };
    let mut joins = 0;
    for seed in seeds {
        let rerun = Rerun(seed);
        joins += history(seed);
        drop(rerun);
    }
    println!("{joins} JoinGroups");
}

/// Says how to run a history that failed again.
struct Rerun(u64);

impl Drop for Rerun {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("STREAMS_HISTORY={} cargo test -p streams-core histories", self.0);
        }
    }
}

fn history(seed: u64) -> u64 {
    let mut world = World::new(seed);
    world.start();
    for _ in 0..4 + world.random.below(20) {
        disturb(&mut world);
        let pause = match world.random.below(3) {
            0 => world.random.below(100),
            1 => world.random.below(3_000),
            _ => world.random.below(20_000),
        };
        world.run(world.now + ms(pause));
    }
    if world.has_static {
        // A process that takes the place of a former one begins no generation: what the leader
        // planned for the former one stays, until another member joins.
        world.run(world.now + TWINS_OVER);
        world.start();
    }
    if world.alive().iter().all(|client| world.clients[*client].is_leaving) {
        world.start();
    }
    world.temper.failing_percent = 0;
    settle(&mut world);
    let alive = world.alive();
    assert!(alive.iter().all(|client| !world.clients[*client].is_leaving), "all drains end");
    let loads = &world.effect.loads;
    assert_eq!(loads.len(), alive.len(), "{loads:?}");
    assert!(world.effect.given_up.is_empty() && world.effect.leaving == 0);
    let (least, most) = (loads.iter().min().copied(), loads.iter().max().copied());
    assert!(most <= least.map(|least| least + 1), "balanced: {loads:?}");
    world.joins
}

fn disturb(world: &mut World) {
    let alive = world.alive();
    let client = alive.get(world.random.index(alive.len())).copied();
    // Up to three rebalance timeouts, from time to time.
    let longest = if world.random.below(4) == 0 { 24_000 } else { 12_000 };
    let time = ms(world.random.below(longest));
    match (world.random.below(19), client) {
        (0..5, _) if alive.len() < MEMBERS_MAX => drop(world.start()),
        (0..3, Some(client)) => world.drain(client),
        (5..8, Some(client)) => {
            world.crash(client);
            if world.clients[client].instance.is_some() && world.random.below(2) == 0 {
                world.restart(client);
            }
        }
        (8..11, Some(client)) => world.drain(client),
        (11, Some(client)) => world.leave(client),
        (12 | 13, Some(client)) => world.stop(client, time),
        (14, Some(client)) => world.cut(client, time),
        (15, _) => world.move_coordinator(time / 10),
        (16 | 17, Some(client)) => {
            let (loss, skip) = (*world.random.pick(&Loss::ALL), world.random.below(5));
            // What a new member was given just now is in no JoinGroup of its own.
            let is_new = alive.len() < MEMBERS_MAX && world.random.below(2) == 0;
            let client = if is_new { world.start() } else { client };
            world.lose(client, loss, skip);
        }
        // It is believed to be gone, and is not.
        (18, Some(client)) if world.clients[client].can_be_replaced() => {
            world.stop(client, time);
            world.restart(client);
        }
        _ => drop(world.start()),
    }
}

fn settle(world: &mut World) {
    let from = world.now;
    loop {
        world.run(world.now + ms(5_000));
        if world.now - world.last_join >= QUIET && world.now - from >= QUIET {
            return;
        }
        assert!(world.now - from < SETTLED_WITHIN, "it joins again and again");
    }
}

fn parts(numbers: &[i32]) -> Partitions {
    numbers.iter().map(|number| ("t".to_owned(), *number)).collect()
}

/// A round of two members; `a` has 0 to 3, and `b` has copies. It gets what the caller says.
fn round(ready: &[i32], a: &[i32], b: &[i32], transitions: &[i32]) -> Round {
    let member = |owned, ready| {
        let meta = MemberMeta { ready, knows_standbys: true, ..MemberMeta::default() };
        let topics = vec!["t".to_owned()];
        let user_data = Some(meta.encode());
        Subscription { topics, owned, generation: 1, user_data, ..Subscription::default() }
    };
    let assignment = |partitions, transitions| {
        let told = Instructions { transitions, is_complete: true, ..Instructions::default() };
        let user_data = Some(encode_instructions(&told, &Partitions::new(), None));
        Assignment { partitions, user_data }
    };
    Round {
        assignor: Assignor::IncrCoop,
        generation: 2,
        partitions: 4,
        settings: PlanSettings {
            active_transitions: 1,
            standby_replicas: 0,
            withholds_unclaimed: false,
        },
        has_late: false,
        members: BTreeMap::from([
            ("a".to_owned(), member(parts(&[0, 1, 2, 3]), parts(&[]))),
            ("b".to_owned(), member(parts(&[]), parts(ready))),
        ]),
        assignments: BTreeMap::from([
            ("a".to_owned(), assignment(parts(a), parts(&[]))),
            ("b".to_owned(), assignment(parts(b), parts(transitions))),
        ]),
    }
}

/// The check can tell a good round from bad ones.
#[test]
fn planted_plans_are_found_out() {
    let verdict = |round: &Round| match round.check_without_plan() {
        Ok(_) => "good".to_owned(),
        Err(broken) => broken.split(": ").next().unwrap_or_default().to_owned(),
    };
    assert_eq!(verdict(&round(&[], &[0, 1, 2, 3], &[], &[0])), "good");
    assert_eq!(verdict(&round(&[0], &[1, 2, 3], &[], &[0])), "good");
    // Handed over before anybody is ready.
    let early = verdict(&round(&[], &[1, 2, 3], &[], &[0]));
    assert!(early.ends_with("nobody is ready for it"), "{early}");
    // Two owners in one generation, and one that is taken over while its owner has it.
    assert_eq!(verdict(&round(&[0], &[0, 1, 2, 3], &[0], &[])), "GRP-1");
    assert_eq!(verdict(&round(&[0], &[1, 2, 3], &[0], &[])), "GRP-1");
    // The budget is ignored.
    assert_eq!(verdict(&round(&[], &[0, 1, 2, 3], &[], &[0, 1])), "GRP-3");
    // Another plan than the assignor's.
    let other = round(&[0], &[0, 1, 2, 3], &[], &[0]).check();
    assert!(other.is_err_and(|broken| broken.starts_with("GRP-4")));
}

/// Runs histories with a bug in the assignor, until one fails. Returns what it says.
fn found_out(bug: Bug) -> String {
    let failure = |seed| {
        planted::plant(Some(bug));
        let failed = catch_unwind(|| history(seed)).err();
        planted::plant(None);
        let panic = failed?;
        println!("{bug:?} is found out by history {seed}");
        let text = panic.downcast_ref::<&str>().map(ToString::to_string);
        text.or_else(|| panic.downcast_ref::<String>().cloned())
    };
    (0..PLANTED_SHOWS).find_map(failure).unwrap_or_else(|| panic!("{bug:?} goes unnoticed"))
}

#[test]
fn a_hand_over_to_a_member_that_is_not_ready_is_found_out() {
    let broken = found_out(Bug::HandOverUnready);
    assert!(broken.contains("is given up, and nobody is ready for it"), "{broken}");
}

#[test]
fn grp1_a_second_owner_in_a_generation_is_found_out() {
    let broken = found_out(Bug::TakeWhileOwned);
    assert!(broken.starts_with("GRP-1: "), "{broken}");
}

#[test]
fn d2_a_member_that_keeps_its_partitions_through_a_missed_generation_is_found_out() {
    let broken = found_out(Bug::KeepThroughMissedGeneration);
    assert!(broken.starts_with("GRP-1: "), "{broken}");
}

#[test]
fn a_move_too_many_is_found_out() {
    let broken = found_out(Bug::MoveTooMany);
    assert!(broken.contains(" moves, not "), "{broken}");
}
