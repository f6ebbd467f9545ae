//! A live group of other clients' consumers moves to this framework, member by member, and back.

mod group;
mod other;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use streams_tests::broker::TestBroker;
use streams_tests::observer::Observer;
use streams_tests::workload::{Workload, now_us};

use self::group::Group;
use self::other::{Background, Read, Reads};
use super::running_totals::{Setting, rate};

const PATIENCE: Duration = Duration::from_secs(60);
/// More than are sent until the last step is taken.
const RECORDS: u64 = 600_000;
/// All members' session.
const SESSION: Duration = Duration::from_secs(20);
/// Far more than a rebalance takes, also on a busy machine; less than a session: no step waits for
/// the end of one.
const OWNED_WITHIN: Duration = Duration::from_secs(15);
/// After each step, with records flowing.
const REST: Duration = Duration::from_millis(1_500);

type Start = fn(&Setting, &Reads) -> Result<Background>;

/// From librdkafka's `range`, under which all give everything up at each step.
pub(crate) fn range(broker: &TestBroker, prefix: &str) -> Result<()> {
    there_and_back(broker, prefix, "range", other::plain)
}

/// From Java's `cooperative-sticky`.
pub(crate) fn cooperative_sticky(broker: &TestBroker, prefix: &str) -> Result<()> {
    there_and_back(broker, prefix, "cooperative-sticky", other::java)
}

/// Both sides know `shared`; among themselves the framework's members use their own.
fn there_and_back(broker: &TestBroker, prefix: &str, shared: &str, start: Start) -> Result<()> {
    let setting = Setting::new(broker, prefix)?;
    let workload = Workload { records: RECORDS, ids: 200, rate: rate(), seed: 23 };
    let observer = Observer::start(&setting.bootstrap, &setting.topic("out"))?;
    let (group, reads) = (Group::new(&setting)?, Reads::default());
    let assignors = format!("incr_coop,{shared}");
    let session = format!("{}s", SESSION.as_secs());
    let arguments = ["--session-timeout", &session, "--assignors", &assignors];
    let (ours, theirs) = (|| setting.start_with(&arguments), || start(&setting, &reads));
    let mut steps = Steps { group: &group, log: Vec::new() };

    let (one, two) = steps.take("two others", 2, shared, || Ok((theirs()?, theirs()?)))?;
    let watch = Group::new(&setting)?.watch();
    let (bootstrap, input) = (setting.bootstrap.clone(), setting.topic("in"));
    let sender = Background::start(move |stop| {
        workload.send_while(&bootstrap, &input, || !stop.load(Ordering::Relaxed))
    });
    std::thread::sleep(REST);
    let mut first = steps.take("our first joins", 3, shared, ours)?;
    steps.take("the first other leaves", 2, shared, || one.end())?;
    let mut second = steps.take("our second joins", 3, shared, ours)?;
    steps.take("the second other leaves", 2, "incr_coop", || two.end())?;
    observer
        .wait_for(observer.count() + usize::try_from(rate())?, PATIENCE)
        .with_context(|| first.stderr())?;
    let three = steps.take("a third other joins", 3, shared, theirs)?;
    steps.take("our first leaves", 2, shared, || first.stop(PATIENCE))?;
    let four = steps.take("a fourth other joins", 3, shared, theirs)?;
    steps.take("our second leaves", 2, shared, || second.stop(PATIENCE))?;
    let sent = usize::try_from(sender.end().context("sending")?)?;

    let deadline = Instant::now() + PATIENCE;
    while progress(&observer, &reads)?.len() < sent && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(200));
    }
    three.end()?;
    four.end()?;
    watch.end()?;
    let progress = progress(&observer, &reads)?;
    let (ours, theirs, both) = (observer.count(), reads.list().len(), progress.len());
    eprintln!("{sent} updates: {ours} processed by us, {theirs} read by the others");
    ensure!(both == sent, "{both} updates of {sent} were processed: there is a gap");
    let (committed, ends) = (group.committed()?, group.ends()?);
    ensure!(committed == ends, "committed is {committed:?}, and the input ends at {ends:?}");
    steps.check_pauses(&progress)
}

/// Each update, by the time when it was due, when it was first read by others or processed by us.
fn progress(observer: &Observer, reads: &Reads) -> Result<BTreeMap<i64, Read>> {
    let mut progress = BTreeMap::new();
    for one in observer.seen() {
        let read = Read { partition: one.partition, due_us: one.due_us, at_us: one.at_us };
        ensure!(progress.insert(one.due_us, read).is_none(), "{read:?}: it was processed twice");
    }
    for read in reads.list() {
        let first = progress.entry(read.due_us).or_insert(read);
        first.at_us = first.at_us.min(read.at_us);
    }
    Ok(progress)
}

/// The steps of a migration, each with the time when it began.
struct Steps<'a> {
    group: &'a Group,
    log: Vec<(i64, &'static str)>,
}

impl Steps<'_> {
    /// Takes a step, after which the group has so many members, who share by `assignor`.
    fn take<T>(
        &mut self,
        name: &'static str,
        members: usize,
        assignor: &str,
        step: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        self.log.push((now_us(), name));
        let done = step().context(name)?;
        self.group.await_members(members, assignor).context(name)?;
        std::thread::sleep(REST);
        Ok(done)
    }

    /// Nobody waits out a session: how long the updates of each step waited, at the most.
    fn check_pauses(&self, progress: &BTreeMap<i64, Read>) -> Result<()> {
        let mut longest: BTreeMap<usize, Read> = BTreeMap::new();
        for read in progress.values() {
            let step = self.log.partition_point(|(began_us, _)| *began_us <= read.due_us);
            let known = longest.entry(step).or_insert(*read);
            if read.waited() > known.waited() {
                *known = *read;
            }
        }
        for (step, read) in &longest {
            let name = step.checked_sub(1).map_or("before", |step| self.log[step].1);
            eprintln!("{name}: partition {} waited {:?}", read.partition, read.waited());
        }
        let all = longest.into_values().max_by_key(Read::waited).context("no updates")?;
        eprintln!("the longest time without an owner: {:?}", all.waited());
        ensure!(all.waited() < OWNED_WITHIN, "{all:?}: it waited {:?}", all.waited());
        Ok(())
    }
}
