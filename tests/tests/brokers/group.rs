//! Members come, go, and die; the oracle is always on.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use streams_tests::broker::TestBroker;
use streams_tests::observer::{Observer, Seen, longest_by_partition};
use streams_tests::oracle::check_totals;
use streams_tests::process::Program;
use streams_tests::trial::runs_long_rounds;
use streams_tests::workload::{Random, Workload, now_us};

use super::running_totals::{Setting, rate, seed};

const PATIENCE: Duration = Duration::from_secs(60);
/// Members are expelled after this time without a heartbeat.
const SESSION: Duration = Duration::from_secs(3);
/// Far less than `transaction.timeout.ms`, which is 60 s; far more than it takes on an idle
/// machine.
const TAKEN_OVER_WITHIN: Duration = Duration::from_secs(20);

/// A group under load.
struct Run {
    setting: Setting,
    workload: Workload,
    observer: Observer,
    sender: Option<std::thread::JoinHandle<Result<()>>>,
}

impl Run {
    fn start(broker: &TestBroker, prefix: &str, seconds: u64) -> Result<Self> {
        let setting = Setting::new(broker, prefix)?;
        let workload = Workload { records: seconds * rate(), ids: 200, rate: rate(), seed: seed() };
        let observer = Observer::start(&setting.bootstrap, &setting.topic("out"))?;
        Ok(Self { setting, workload, observer, sender: None })
    }

    /// The load begins.
    fn send(&mut self) {
        self.sender = Some(self.setting.send(&self.workload));
    }

    /// A member without a name.
    fn member(&self) -> Result<Program> {
        self.setting.start_with(&["--session-timeout", "3s"])
    }

    fn named(&self, instance: &str, further: &[&str]) -> Result<Program> {
        let mut arguments = vec!["--session-timeout", "3s", "--instance", instance];
        arguments.extend(further);
        self.setting.start_with(&arguments)
    }

    /// Waits until the updates of so many seconds more are through.
    fn go_on(&self, seconds: u64) -> Result<()> {
        let all = usize::try_from(self.workload.records)?;
        let updates = usize::try_from(seconds * self.workload.rate)?;
        self.observer.wait_for((self.observer.count() + updates).min(all), PATIENCE)
    }

    /// All updates are through, and the oracle is content.
    fn finish(mut self, members: Vec<Program>) -> Result<Vec<Seen>> {
        let logs = |members: &[Program]| {
            let logs =
                members.iter().map(|member| format!("{}\n{}", member.pid(), member.stderr()));
            format!("STREAMS_TEST_SEED={}\n{}", seed(), logs.collect::<Vec<_>>().join("\n"))
        };
        let sender = self.sender.take().context("the load has begun")?;
        let sent = sender.join().map_err(|_| anyhow::anyhow!("the sender panicked"))?;
        sent.context("sending")?;
        let expected = usize::try_from(self.workload.records)?;
        let seen = self.observer.finish(expected, PATIENCE).with_context(|| logs(&members))?;
        let payloads: Vec<_> = seen.iter().map(|one| one.payload.clone()).collect();
        check_totals(&payloads, &self.workload.totals()).with_context(|| logs(&members))?;
        let mut members = members;
        for member in &mut members {
            member.stop(PATIENCE).with_context(|| member.stderr())?;
        }
        self.setting.check(&self.workload).with_context(|| logs(&members))?;
        self.setting.check_ticks().with_context(|| logs(&members))?;
        Ok(seen)
    }
}

fn longest(seen: &[Seen], from_us: i64) -> Duration {
    longest_by_partition(seen, from_us).into_values().max().unwrap_or_default()
}

/// SIGKILL of one of three: what it left open is aborted by whoever takes its partitions over.
pub(crate) fn crash(broker: &TestBroker, prefix: &str) -> Result<()> {
    let mut run = Run::start(broker, prefix, 20)?;
    let mut members = vec![run.member()?, run.member()?, run.member()?];
    run.send();
    run.go_on(6)?;
    let killed_us = now_us();
    members.remove(0).kill()?;
    let seen = run.finish(members)?;
    let longest = longest(&seen, killed_us - 1_000_000);
    eprintln!("the longest pause after a crash: {longest:?}, with a session of {SESSION:?}");
    ensure!(longest < TAKEN_OVER_WITHIN, "a partition stood still for {longest:?}");
    Ok(())
}

/// An instance is killed, and comes back with fewer producers than it had.
pub(crate) fn smaller_pool(broker: &TestBroker, prefix: &str) -> Result<()> {
    let mut run = Run::start(broker, prefix, 12)?;
    run.send();
    for _ in 0..2 {
        let mut member = run.named("a", &["--pool-size", "6"])?;
        run.go_on(2)?;
        member.kill()?;
        let mut member = run.named("a", &["--pool-size", "2"])?;
        run.go_on(1)?;
        member.kill()?;
    }
    let member = run.named("a", &["--pool-size", "2"])?;
    let seen = run.finish(vec![member])?;
    let longest = longest(&seen, 0);
    ensure!(longest < TAKEN_OVER_WITHIN, "a partition stood still for {longest:?}");
    Ok(())
}

/// Waits until a member has made so many partitions active.
pub(crate) fn await_active(member: &Program, partitions: usize) -> Result<()> {
    await_lines(member, " active ", partitions)
}

/// Waits until a member has logged so many lines with this text.
fn await_lines(member: &Program, text: &str, count: usize) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while member.stderr().matches(text).count() < count {
        let late = Instant::now() >= deadline;
        ensure!(!late, "not {count} times `{text}`: {}", member.stderr());
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// One member, then three, one after the other, and back to one by SIGTERM: each partition moves to
/// a member that is warm, so that nobody waits for a restore.
pub(crate) fn three_and_back(broker: &TestBroker, prefix: &str) -> Result<()> {
    let mut run = Run::start(broker, prefix, 30)?;
    let mut first = run.member()?;
    run.send();
    run.go_on(3)?;
    let moving_us = now_us();
    let second = run.member()?;
    await_active(&second, 4)?;
    let third = run.member()?;
    await_active(&third, 2)?;
    run.go_on(1)?;
    first.stop(PATIENCE).with_context(|| first.stderr())?;
    let mut second = second;
    second.stop(PATIENCE).with_context(|| second.stderr())?;
    let (log, moves) = (third.stderr(), third.stderr().matches(" moved ").count());
    let seen = run.finish(vec![third])?;
    let longest = longest(&seen, moving_us);
    eprintln!("the longest pause while members came and went: {longest:?}, {moves} moves");
    ensure!(longest < TAKEN_OVER_WITHIN, "a partition stood still for {longest:?}: {log}");
    Ok(())
}

/// A crash, with standbys: whoever takes over has the stores already.
pub(crate) fn standby(broker: &TestBroker, prefix: &str) -> Result<()> {
    let mut run = Run::start(broker, prefix, 20)?;
    let member = || run.setting.start_with(&["--session-timeout", "3s", "--standby", "1"]);
    let mut members = vec![member()?, member()?, member()?];
    run.send();
    run.go_on(8)?;
    let killed_us = now_us();
    members.remove(0).kill()?;
    let warm = |member: &Program| member.stderr().contains("the warm copy is ours");
    let deadline = Instant::now() + PATIENCE;
    while !members.iter().any(warm) {
        ensure!(Instant::now() < deadline, "no member took over from a warm copy");
        std::thread::sleep(Duration::from_millis(50));
    }
    let longest = longest(&run.finish(members)?, killed_us - 1_000_000);
    eprintln!("the longest pause after a crash with standbys: {longest:?}");
    ensure!(longest < TAKEN_OVER_WITHIN, "a partition stood still for {longest:?}");
    Ok(())
}

/// With a standby, a store that moves away stays as a copy; it takes over when the new owner dies.
pub(crate) fn retired(broker: &TestBroker, prefix: &str) -> Result<()> {
    let mut run = Run::start(broker, prefix, 20)?;
    let arguments = ["--session-timeout", "3s", "--standby", "1"];
    let first = run.setting.start_with(&arguments)?;
    run.send();
    run.go_on(3)?;
    let mut second = run.setting.start_with(&arguments)?;
    await_active(&second, 4)?;
    run.go_on(3)?;
    let killed_us = now_us();
    second.kill()?;
    await_lines(&first, "the warm copy is ours", 4)?;
    run.go_on(1)?;
    let log = first.stderr();
    let count = |text: &str| log.matches(text).count();
    let (retired, taken, new) =
        (count(" retired "), count("the warm copy is ours"), count("start=0"));
    ensure!(retired == 4 && taken == 4, "{retired} retired, {taken} taken: {log}");
    ensure!(new == 0, "a copy was made anew: {log}");
    let longest = longest(&run.finish(vec![first])?, killed_us - 1_000_000);
    ensure!(longest < TAKEN_OVER_WITHIN, "a partition stood still for {longest:?}");
    Ok(())
}

/// Three members, each of which is stopped and started again under its name.
pub(crate) fn rolling_restart(broker: &TestBroker, prefix: &str) -> Result<()> {
    let mut run = Run::start(broker, prefix, 30)?;
    let names = ["a", "b", "c"];
    let mut members =
        names.map(|name| run.named(name, &[])).into_iter().collect::<Result<Vec<_>>>()?;
    run.send();
    run.go_on(3)?;
    let begin_us = now_us();
    for (place, name) in names.into_iter().enumerate() {
        members[place].stop(PATIENCE).with_context(|| members[place].stderr())?;
        members[place] = run.named(name, &[])?;
        run.go_on(1)?;
    }
    let longest = longest(&run.finish(members)?, begin_us);
    eprintln!("the longest pause of a rolling restart: {longest:?}");
    ensure!(longest < TAKEN_OVER_WITHIN, "a partition stood still for {longest:?}");
    Ok(())
}

/// Sets the rounds of the test below; without it there is one, or three if long rounds run.
const ZOMBIE_ROUNDS: &str = "STREAMS_ZOMBIE_ROUNDS";

/// EOS-7: one of three is stopped for twice its session, at a random point, and goes on.
pub(crate) fn zombies(broker: &TestBroker, prefix: &str) -> Result<()> {
    let rounds = std::env::var(ZOMBIE_ROUNDS).ok().and_then(|rounds| rounds.parse().ok());
    let rounds: u64 = rounds.unwrap_or_else(|| if runs_long_rounds() { 3 } else { 1 });
    let mut run = Run::start(broker, prefix, 6 + 12 * rounds)?;
    let members = vec![run.member()?, run.member()?, run.member()?];
    let joins = |member: &Program| member.stderr().matches(" joined generation=").count();
    let mut random = Random::new(seed());
    run.send();
    run.go_on(2)?;
    for _ in 0..rounds {
        std::thread::sleep(Duration::from_millis(random.below(1_000)));
        let member = &members[usize::try_from(random.below(3))?];
        let before = joins(member);
        member.signal(libc::SIGSTOP)?;
        std::thread::sleep(SESSION * 2);
        member.signal(libc::SIGCONT)?;
        let deadline = Instant::now() + PATIENCE;
        while joins(member) == before {
            ensure!(Instant::now() < deadline, "it does not come back: {}", member.stderr());
            std::thread::sleep(Duration::from_millis(50));
        }
        run.go_on(1)?;
    }
    run.finish(members)?;
    Ok(())
}
