//! `durable_jobs` killed, stopped and moved: the effects of each step happen exactly once.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use streams_tests::broker::TestBroker;
use streams_tests::oracle::{check_totals, read_committed};
use streams_tests::process::{Program, example, target_dir};
use streams_tests::trial::runs_long_rounds;
use streams_tests::workload::{Random, Totals, Workload};

use super::group::await_active;
use super::running_totals::seed;

const PATIENCE: Duration = Duration::from_secs(120);
const PARTITIONS: i32 = 8;
const KILLS: usize = 10;
/// So many jobs run in chains of three, and so many are pending over a restart.
const CHAINS: u64 = 10_000;
const PENDING: u64 = 100_000;
/// Without the long rounds there are so many times fewer.
const FEWER: u64 = 10;

/// How many jobs a test has, and how often it kills a member.
fn sizes(jobs: u64) -> (u64, usize) {
    match runs_long_rounds() {
        true => (jobs, KILLS),
        false => (jobs / FEWER, KILLS / 3),
    }
}

struct Setting {
    bootstrap: String,
    name: String,
    steps: u32,
    further: Vec<String>,
}

impl Setting {
    fn new(broker: &TestBroker, name: &str, steps: u32, further: &[&str]) -> Result<Self> {
        let (bootstrap, name) = (broker.bootstrap(), name.to_owned());
        let further = further.iter().map(ToString::to_string).collect();
        let setting = Self { bootstrap, name, steps, further };
        broker.create_topics(&[(&setting.topic("in"), PARTITIONS)])?;
        Ok(setting)
    }

    fn topic(&self, kind: &str) -> String {
        format!("{}-{kind}", self.name)
    }

    fn start(&self, instance: &str) -> Result<Program> {
        let (input, output, changelog) =
            (self.topic("in"), self.topic("out"), self.topic("changelog"));
        let (steps, partitions) = (self.steps.to_string(), PARTITIONS.to_string());
        let arguments = [
            ("--bootstrap", self.bootstrap.as_str()),
            ("--group", &self.name),
            ("--input", &input),
            ("--output", &output),
            ("--changelog", &changelog),
            ("--partitions", &partitions),
            ("--instance", instance),
            ("--session-seconds", "3"),
            ("--steps", &steps),
        ];
        let mut arguments: Vec<&str> = arguments.iter().flat_map(|(name, v)| [*name, *v]).collect();
        arguments.extend(self.further.iter().map(String::as_str));
        Program::start(&example("durable_jobs")?, &arguments)
    }

    /// What the finalizers of all steps add up to.
    fn totals(&self, workload: &Workload) -> Totals {
        let steps = u64::from(self.steps);
        let times = |(id, (count, sum))| (id, (steps * count, i64::from(self.steps) * sum));
        workload.totals().into_iter().map(times).collect()
    }

    /// Waits until each step of each job has had its effects, and checks that none had them twice,
    /// and that the steps of an id came in order.
    fn check(&self, workload: &Workload) -> Result<()> {
        let expected = usize::try_from(workload.records * u64::from(self.steps))?;
        let outputs = read_committed(&self.bootstrap, &self.topic("out"), expected, PATIENCE)?;
        ensure!(outputs.len() == expected, "{} outputs of {expected}", outputs.len());
        check_totals(&outputs, &self.totals(workload))?;
        check_order(&outputs)
    }

    /// How many effects are committed so far.
    fn committed(&self) -> Result<usize> {
        Ok(read_committed(&self.bootstrap, &self.topic("out"), 0, PATIENCE)?.len())
    }
}

#[derive(Deserialize)]
struct Step {
    id: String,
    ts: i64,
    step: u32,
}

/// The updates of an id come in the order in which they were sent, and the steps of each one after
/// the other: a chain ends before the next job of its key begins.
fn check_order(outputs: &[Vec<u8>]) -> Result<()> {
    let mut last = BTreeMap::<String, (i64, u32)>::new();
    for output in outputs {
        let Step { id, ts, step } = serde_json::from_slice(output)?;
        let before = last.insert(id.clone(), (ts, step)).unwrap_or_default();
        ensure!(before < (ts, step), "{id}: step {step} of {ts} after {before:?}");
        ensure!(step == 1 || before == (ts, step - 1), "{id}: step {step} of {ts} was skipped");
    }
    Ok(())
}

/// 10,000 jobs of 20 ms in chains of three steps; two members, of which one or the other is killed,
/// ten times in all, and one leaves and comes back in the middle. A tenth of it without the long
/// rounds.
pub(crate) fn killed(broker: &TestBroker, prefix: &str) -> Result<()> {
    let (jobs, kills) = sizes(CHAINS);
    // The short form has to last for its kills too.
    let concurrency = if runs_long_rounds() { "8" } else { "2" };
    let setting = Setting::new(broker, prefix, 3, &["--concurrency", concurrency])?;
    let workload = Workload { records: jobs, ids: 2_000, rate: 0, seed: seed() };
    let mut random = Random::new(seed());
    let mut members = [setting.start("a")?, setting.start("b")?];
    let names = ["a", "b"];
    workload.send(&setting.bootstrap, &setting.topic("in"))?;
    let mut seen = vec![];
    for kill in 0..kills {
        std::thread::sleep(Duration::from_millis(400 + random.below(600)));
        let which = kill % 2;
        if kill == kills / 2 {
            // Its partitions move to the other one, which warms up first.
            members[which].stop(PATIENCE).with_context(|| members[which].stderr())?;
            members[which] = setting.start(names[which])?;
            await_active(&members[which], 1)?;
        }
        members[which].kill()?;
        seen.push(setting.committed()?);
        members[which] = setting.start(names[which])?;
    }
    let logs = |members: &[Program; 2]| {
        let logs: Vec<_> = members.iter().map(Program::stderr).collect();
        format!(
            "STREAMS_TEST_SEED={}; committed at each kill: {seen:?}\n{}",
            seed(),
            logs.join("\n")
        )
    };
    setting.check(&workload).with_context(|| logs(&members))?;
    eprintln!("effects committed at each kill: {seen:?}");
    let all = usize::try_from(workload.records)? * 3;
    ensure!(seen.iter().filter(|count| **count < all).count() >= kills / 2, "too fast: {seen:?}");
    for member in &mut members {
        member.stop(PATIENCE)?;
    }
    setting.check(&workload)
}

/// 100,000 jobs are pending when the source is killed, and when it is stopped; then they run. A
/// tenth of it without the long rounds.
pub(crate) fn restarted(broker: &TestBroker, prefix: &str) -> Result<()> {
    let gate: PathBuf = target_dir()?.join("test-logs").join(format!("{prefix}.gate"));
    let path = gate.to_string_lossy().into_owned();
    let further = ["--gate", &path, "--concurrency", "1000", "--work-ms", "0"];
    let (pending, _) = sizes(PENDING);
    let setting = Setting::new(broker, prefix, 1, &further)?;
    let workload = Workload { records: pending, ids: pending, rate: 0, seed: 19 };
    workload.send(&setting.bootstrap, &setting.topic("in"))?;
    let mut source = setting.start("a")?;
    await_active(&source, usize::try_from(PARTITIONS)?)?;
    await_scheduled(&setting, workload.records).with_context(|| source.stderr())?;
    source.kill()?;
    let mut source = setting.start("a")?;
    await_active(&source, usize::try_from(PARTITIONS)?)?;
    source.stop(PATIENCE).with_context(|| source.stderr())?;
    ensure!(setting.committed()? == 0, "no job has ended");
    std::fs::write(&gate, "open")?;
    let mut source = setting.start("a")?;
    let checked = setting.check(&workload).with_context(|| source.stderr());
    std::fs::remove_file(&gate)?;
    checked?;
    source.stop(PATIENCE)
}

/// Waits until the group has committed all updates: their jobs are in the changelog.
fn await_scheduled(setting: &Setting, records: u64) -> Result<()> {
    use rdkafka::consumer::{BaseConsumer, Consumer};
    let consumer: BaseConsumer = rdkafka::ClientConfig::new()
        .set("bootstrap.servers", &setting.bootstrap)
        .set("group.id", &setting.name)
        .create()?;
    let mut partitions = rdkafka::TopicPartitionList::new();
    partitions.add_partition_range(&setting.topic("in"), 0, PARTITIONS - 1);
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        let committed = consumer.committed_offsets(partitions.clone(), Duration::from_secs(10))?;
        let offsets = committed.elements().into_iter().filter_map(|one| one.offset().to_raw());
        let sum: i64 = offsets.map(|offset| offset.max(0)).sum();
        if u64::try_from(sum)? >= records {
            return Ok(());
        }
        ensure!(std::time::Instant::now() < deadline, "{sum} of {records} updates are committed");
        std::thread::sleep(Duration::from_millis(100));
    }
}
