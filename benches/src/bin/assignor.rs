//! How long one plan of `incr_coop` takes: 200 members, 10,000 partitions.
//!
//! What counts is the whole of what a leader does between JoinGroup and SyncGroup: read all user
//! data, plan, write all assignments. Prints the median and the longest of some runs a case.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::Parser;
use streams_core::group::Partitions;
use streams_core::group::assignor::{Assignor, PlanSettings, Subscription, plan};

/// One plan of `incr_coop`.
#[derive(Parser, Debug)]
struct Args {
    #[arg(long, default_value_t = 200)]
    members: usize,
    #[arg(long, default_value_t = 10_000)]
    partitions: i32,
    #[arg(long, default_value_t = 15)]
    runs: usize,
    /// Fails if a median is longer.
    #[arg(long, default_value_t = 100)]
    limit_ms: u64,
}

type Members = BTreeMap<String, Subscription>;

fn member(owned: Partitions) -> Subscription {
    let topics = vec!["payments".to_owned()];
    Subscription { topics, owned, generation: 1, ..Subscription::default() }
}

fn group(members: usize, owned: impl Fn(usize) -> Vec<i32>) -> Members {
    let named = |n: i32| ("payments".to_owned(), n);
    let one = |index| {
        let owned = owned(index).into_iter().map(named).collect();
        (format!("payments-{index:03}-6f1c2a40-2b9e-4f57"), member(owned))
    };
    (0..members).map(one).collect()
}

/// What the members say after a plan was followed.
fn after(members: &Members, args: &Args, settings: &PlanSettings) -> Members {
    let topics = BTreeMap::from([("payments".to_owned(), args.partitions)]);
    let plan = plan(Assignor::IncrCoop, 1, members, &topics, settings);
    let follow = |(id, assignment): (String, streams_core::group::assignor::Assignment)| {
        let told =
            streams_core::group::user_data::Instructions::decode(assignment.user_data.as_ref());
        let told = told.unwrap_or_default();
        let meta = streams_core::group::user_data::MemberMeta {
            standby: told.standbys,
            preparing: told.transitions,
            knows_standbys: true,
            ..Default::default()
        };
        let user_data = Some(meta.encode());
        (id, Subscription { user_data, ..member(assignment.partitions) })
    };
    plan.assignments.into_iter().map(follow).collect()
}

fn measure(name: &str, members: &Members, args: &Args, standby_replicas: usize) -> Result<()> {
    let topics = BTreeMap::from([("payments".to_owned(), args.partitions)]);
    let settings =
        PlanSettings { active_transitions: 10, standby_replicas, withholds_unclaimed: false };
    let mut times: Vec<Duration> = (0..args.runs.max(1))
        .map(|_| {
            let start = Instant::now();
            black_box(plan(Assignor::IncrCoop, 2, black_box(members), &topics, &settings));
            start.elapsed()
        })
        .collect();
    times.sort();
    let (median, longest) = (times[times.len() / 2], times[times.len() - 1]);
    println!(
        "{name:<34} standbys {standby_replicas}: median {median:>7.1?}, longest {longest:.1?}"
    );
    ensure!(median < Duration::from_millis(args.limit_ms), "{name} took {median:?}");
    Ok(())
}

fn main() -> Result<()> {
    let args = Args::parse();
    let all: Vec<i32> = (0..args.partitions).collect();
    for standby_replicas in [0, 1] {
        let settings =
            PlanSettings { active_transitions: 10, standby_replicas, withholds_unclaimed: false };
        let fresh = group(args.members, |_| Vec::new());
        measure("nobody has anything", &fresh, &args, standby_replicas)?;
        let first = group(args.members, |index| if index == 0 { all.clone() } else { vec![] });
        measure("one has everything", &first, &args, standby_replicas)?;
        let mut settled = after(&fresh, &args, &settings);
        measure("balanced", &settled, &args, standby_replicas)?;
        settled.pop_first();
        measure("balanced, then one died", &settled, &args, standby_replicas)?;
        settled.insert("payments-999".to_owned(), member(Partitions::new()));
        let settled = after(&settled, &args, &settings);
        measure("balanced, one died, one joined", &settled, &args, standby_replicas)?;
    }
    Ok(())
}
