//! `running_totals` under load, killed, restarted, shared; the oracle is always on.

use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use streams_tests::broker::{TestBroker, create_compacted_topics, create_topics, delete_topic};
use streams_tests::chaos::Health;
use streams_tests::oracle::{check_ticks, check_totals, read_committed};
use streams_tests::process::{Program, example};
use streams_tests::trial::runs_long_rounds;
use streams_tests::workload::{Random, Workload};

const PATIENCE: Duration = Duration::from_secs(90);
/// For the last member of a group.
const END_PATIENCE: Duration = Duration::from_secs(60);
/// The session timeout is ten seconds.
const BEYOND_THE_SESSION: Duration = Duration::from_secs(13);
const PARTITIONS: i32 = 8;

/// The topics of one test, and its program's arguments.
pub(crate) struct Setting {
    pub(crate) bootstrap: String,
    pub(crate) name: String,
}

impl Setting {
    pub(crate) fn new(broker: &TestBroker, name: &str) -> Result<Self> {
        let setting = Self { bootstrap: broker.bootstrap(), name: name.to_owned() };
        broker.create_topics(&[(&setting.topic("in"), PARTITIONS)])?;
        Ok(setting)
    }

    pub(crate) fn topic(&self, kind: &str) -> String {
        format!("{}-{kind}", self.name)
    }

    pub(crate) fn start(&self, instance: &str) -> Result<Program> {
        self.start_with(&["--instance", instance])
    }

    /// Starts a member with further arguments.
    pub(crate) fn start_with(&self, further: &[&str]) -> Result<Program> {
        let (input, output) = (self.topic("in"), self.topic("out"));
        let (changelog, ticks) = (self.topic("changelog"), self.topic("ticks"));
        let partitions = PARTITIONS.to_string();
        let arguments = [
            ("--bootstrap", self.bootstrap.as_str()),
            ("--group", &self.name),
            ("--input", &input),
            ("--output", &output),
            ("--changelog", &changelog),
            ("--partitions", &partitions),
            ("--tick", "100ms"),
            ("--tick-output", &ticks),
        ];
        let mut arguments: Vec<&str> = arguments.iter().flat_map(|(name, v)| [*name, *v]).collect();
        arguments.extend(further);
        Program::start(&example("running_totals")?, &arguments)
    }

    /// All is sent, and through, and the member is healthy; it ends in good order, and the outputs
    /// stay as they are.
    pub(crate) fn finish(
        &self,
        workload: &Workload,
        sender: JoinHandle<Result<()>>,
        member: &mut Program,
    ) -> Result<()> {
        let sent = sender.join().map_err(|_| anyhow::anyhow!("the sender panicked"))?;
        sent.context("sending")?;
        self.check(workload).with_context(|| member.stderr())?;
        let health = Health::wait(member, END_PATIENCE);
        ensure!(health.is_healthy(), "all is processed, and the member is {health:?}");
        member.stop(END_PATIENCE)?;
        self.check(workload)?;
        self.check_ticks()
    }

    /// Sends the updates on a thread of its own.
    pub(crate) fn send(&self, workload: &Workload) -> JoinHandle<Result<()>> {
        let (workload, bootstrap, input) =
            (workload.clone(), self.bootstrap.clone(), self.topic("in"));
        std::thread::spawn(move || workload.send(&bootstrap, &input))
    }

    /// Waits for the outputs of `workload`, and asks the oracle.
    pub(crate) fn check(&self, workload: &Workload) -> Result<()> {
        let expected = usize::try_from(workload.records)?;
        let outputs = read_committed(&self.bootstrap, &self.topic("out"), expected, PATIENCE)?;
        check_totals(&outputs, &workload.totals())
    }

    /// Asks the oracle for the ticks.
    pub(crate) fn check_ticks(&self) -> Result<()> {
        let partitions = usize::try_from(PARTITIONS)?;
        let ticks = read_committed(&self.bootstrap, &self.topic("ticks"), partitions, PATIENCE)?;
        check_ticks(&ticks, partitions)
    }
}

/// The updates in a second. Every member commits each update at once while it can, so that the rate
/// decides how busy the machine is.
pub(crate) fn rate() -> u64 {
    if runs_long_rounds() { 1_000 } else { 400 }
}

pub(crate) fn seed() -> u64 {
    let given = std::env::var("STREAMS_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    given.unwrap_or_else(|| u64::from(std::process::id()))
}

pub(crate) fn sigkill(broker: &TestBroker, prefix: &str) -> Result<()> {
    let seed = seed();
    let setting = Setting::new(broker, prefix)?;
    let workload = Workload { records: 20_000, ids: 200, rate: 4_000, seed };
    let sender = setting.send(&workload);
    let mut random = Random::new(seed);
    let mut program = setting.start("a")?;
    for _ in 0..3 {
        std::thread::sleep(Duration::from_millis(500 + random.below(1_500)));
        program.kill()?;
        program = setting.start("a")?;
    }
    let sent = sender.join().map_err(|_| anyhow::anyhow!("the sender panicked"))?;
    sent.context("sending")?;
    let rerun = format!("rerun with STREAMS_TEST_SEED={seed}; {}", program.stderr());
    setting.check(&workload).context(rerun.clone())?;
    program.stop(PATIENCE).context(rerun.clone())?;
    setting.check(&workload).context(rerun.clone())?;
    setting.check_ticks().context(rerun)
}

pub(crate) fn restart(broker: &TestBroker, prefix: &str) -> Result<()> {
    let setting = Setting::new(broker, prefix)?;
    let half = Workload { records: 1_000, ids: 50, rate: 0, seed: 7 };
    let all = Workload { records: 2_000, ..half.clone() };
    let mut program = setting.start("a")?;
    half.send(&setting.bootstrap, &setting.topic("in"))?;
    setting.check(&half)?;
    program.stop(PATIENCE)?;
    // The second half is the same updates again: every count goes on where it was.
    half.send(&setting.bootstrap, &setting.topic("in"))?;
    let mut program = setting.start("a")?;
    let outputs = read_committed(&setting.bootstrap, &setting.topic("out"), 2_000, PATIENCE)?;
    let doubled = half.totals().into_iter().map(|(id, (n, sum))| (id, (2 * n, 2 * sum)));
    check_totals(&outputs, &doubled.collect())?;
    ensure!(all.records == 2_000);
    program.stop(PATIENCE)?;
    setting.check_ticks()
}

pub(crate) fn two_members(broker: &TestBroker, prefix: &str) -> Result<()> {
    let setting = Setting::new(broker, prefix)?;
    let workload = Workload { records: 12_000, ids: 200, rate: 2_000, seed: 11 };
    let sender = setting.send(&workload);
    let mut first = setting.start("a")?;
    std::thread::sleep(Duration::from_millis(1_500));
    let mut second = setting.start("b")?;
    std::thread::sleep(Duration::from_millis(2_000));
    first.stop(PATIENCE).context("the first member leaves")?;
    setting.finish(&workload, sender, &mut second)
}

/// EOS-7: a member that is stopped for longer than its session, and comes back, commits nothing of
/// what it had open; it joins anew.
pub(crate) fn zombie(broker: &TestBroker, prefix: &str) -> Result<()> {
    let setting = Setting::new(broker, prefix)?;
    let workload = Workload { records: 20 * rate(), ids: 200, rate: rate(), seed: 13 };
    let sender = setting.send(&workload);
    let mut stopped = setting.start("a")?;
    let mut other = setting.start("b")?;
    std::thread::sleep(Duration::from_millis(3_000));
    stopped.signal(libc::SIGSTOP)?;
    std::thread::sleep(BEYOND_THE_SESSION);
    stopped.signal(libc::SIGCONT)?;
    let sent = sender.join().map_err(|_| anyhow::anyhow!("the sender panicked"))?;
    sent.context("sending")?;
    setting
        .check(&workload)
        .with_context(|| format!("{}\n{}", stopped.stderr(), other.stderr()))?;
    // It is a member again, and takes over what the other one leaves.
    other.stop(PATIENCE)?;
    let more = Workload { records: 1_000, ids: 200, rate: 0, seed: 17 };
    more.send(&setting.bootstrap, &setting.topic("in"))?;
    let mut totals = workload.totals();
    for (id, (count, sum)) in more.totals() {
        let total = totals.entry(id).or_default();
        *total = (total.0 + count, total.1 + sum);
    }
    let expected = usize::try_from(workload.records + more.records)?;
    let outputs = read_committed(&setting.bootstrap, &setting.topic("out"), expected, PATIENCE)?;
    check_totals(&outputs, &totals).with_context(|| stopped.stderr())?;
    stopped.stop(PATIENCE)?;
    setting.check_ticks()
}

pub(crate) fn partitions(broker: &TestBroker, prefix: &str) -> Result<()> {
    let setting = Setting::new(broker, prefix)?;
    broker.create_topics(&[(&setting.topic("changelog"), 3)])?;
    let mut program = setting.start("a")?;
    let status = program.wait(PATIENCE)?;
    ensure!(!status.success(), "it must not run");
    let said = program.stderr();
    ensure!(said.contains("has 8 partitions") && said.contains("has 3"), "it said: {said}");
    Ok(())
}

/// The program must not run, and must say why.
fn refused(setting: &Setting, says: &str) -> Result<()> {
    let mut program = setting.start("a")?;
    let status = program.wait(PATIENCE)?;
    let said = program.stderr();
    ensure!(!status.success(), "it must not run: {said}");
    ensure!(said.contains(says), "it said: {said}");
    Ok(())
}

pub(crate) fn changelog_lost(broker: &TestBroker, prefix: &str) -> Result<()> {
    let setting = Setting::new(broker, prefix)?;
    let workload = Workload { records: 100, ids: 10, rate: 0, seed: 5 };
    let mut program = setting.start("a")?;
    workload.send(&setting.bootstrap, &setting.topic("in"))?;
    setting.check(&workload)?;
    program.stop(PATIENCE)?;
    let changelog = setting.topic("changelog");
    delete_topic(&setting.bootstrap, &changelog)?;
    refused(&setting, &format!("the changelog `{changelog}` does not exist, but group"))?;
    create_topics(&setting.bootstrap, &[(&changelog, PARTITIONS)])?;
    refused(&setting, "`cleanup.policy` `delete`")?;
    delete_topic(&setting.bootstrap, &changelog)?;
    create_compacted_topics(&setting.bootstrap, &[(&changelog, PARTITIONS)])?;
    refused(&setting, "is not the topic that group")?;
    setting.check(&workload)
}

pub(crate) fn undecodable(broker: &TestBroker, prefix: &str) -> Result<()> {
    let setting = Setting::new(broker, prefix)?;
    let good = Workload { records: 100, ids: 10, rate: 0, seed: 3 };
    good.send(&setting.bootstrap, &setting.topic("in"))?;
    let mut program = setting.start("a")?;
    setting.check(&good)?;
    let input = setting.topic("in");
    send_raw(&setting.bootstrap, &input, "Update", b"not json")?;
    let status = program.wait(PATIENCE)?;
    let said = program.stderr();
    ensure!(!status.success(), "it must stop: {said}");
    ensure!(said.contains("can't be decoded") && said.contains(&input), "it said: {said}");
    // Nothing is lost and nothing doubled: the next start meets the same record.
    setting.check(&good)?;
    let mut again = setting.start("a")?;
    ensure!(!again.wait(PATIENCE)?.success(), "no offset is committed past the bad record");
    setting.check(&good)
}

fn send_raw(bootstrap: &str, topic: &str, record_type: &str, value: &[u8]) -> Result<()> {
    use rdkafka::message::{Header, OwnedHeaders};
    use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
    let producer: BaseProducer =
        rdkafka::ClientConfig::new().set("bootstrap.servers", bootstrap).create()?;
    let headers = OwnedHeaders::new().insert(Header { key: "__grt__", value: Some(record_type) });
    let record = BaseRecord::to(topic).key("bad").payload(value).headers(headers);
    producer.send(record).map_err(|(error, _)| error)?;
    producer.flush(PATIENCE)?;
    Ok(())
}

/// Nobody listens there: an error that names the address, within ten seconds.
pub(crate) fn no_broker() -> Result<()> {
    let started = Instant::now();
    let arguments = ["--bootstrap", "127.0.0.1:1"];
    let mut program = Program::start(&example("running_totals")?, &arguments)?;
    let status = program.wait(Duration::from_secs(10))?;
    ensure!(!status.success());
    let said = program.stderr();
    ensure!(said.contains("127.0.0.1:1") && said.contains("no broker"), "it said: {said}");
    ensure!(started.elapsed() < Duration::from_secs(10));
    Ok(())
}
