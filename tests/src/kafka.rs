//! Real Apache Kafka, from Maven's jars: fetched once, started on free ports with a data folder of
//! its own, ended by its process id.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

use crate::probe;
use crate::process::{Program, end, target_dir};
use crate::proxy::Proxy;

const START_TIMEOUT: Duration = Duration::from_secs(120);
const STOP_TIMEOUT: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(50);

const FAST_START: [&str; 2] = ["-Xmx512m", "-XX:TieredStopAtLevel=1"];

/// Set to 1, it makes a missing Java or Maven a failure.
pub const REQUIRE: &str = "STREAMS_REQUIRE_KAFKA";

/// The environment variable that selects one of [`VERSIONS`]; without it, tests run on the newest.
pub const VERSION: &str = "STREAMS_KAFKA_VERSION";

/// The versions of Apache Kafka that tests run on, the newest first.
pub const VERSIONS: [&str; 3] = ["4.4.0", "4.1.0", "3.9.1"];

/// A running Kafka.
#[derive(Debug)]
pub struct Kafka {
    port: u16,
    /// What clients are told: the proxy's, if there is one.
    advertised: u16,
    data: PathBuf,
    child: Child,
    first_answer: Duration,
}

/// Why Kafka can't be started here, if it can't.
pub fn missing() -> Option<String> {
    let there = |program: &str, argument: &str| {
        let mut run = Command::new(program);
        run.arg(argument).stdout(Stdio::null()).stderr(Stdio::null());
        run.status().is_ok_and(|status| status.success())
    };
    match (there("java", "-version"), there("mvn", "-version")) {
        (true, true) => None,
        (false, _) => Some("no java".to_owned()),
        (true, false) => Some("no mvn (Maven)".to_owned()),
    }
}

/// Returns the version that [`VERSION`] selects, in full (`4.1.0`) or without its patch (`4.1`).
///
/// # Errors
/// If the variable names none of [`VERSIONS`].
pub fn version() -> Result<&'static str> {
    let Ok(wanted) = std::env::var(VERSION) else {
        return Ok(VERSIONS[0]);
    };
    let found = VERSIONS.into_iter().find(|version| {
        *version == wanted || version.rsplit_once('.').is_some_and(|(minor, _)| minor == wanted)
    });
    found.with_context(|| format!("{VERSION}={wanted} selects no version: use one of {VERSIONS:?}"))
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Returns the folder of the selected version's jars. Maven fetches them, if they are missing.
fn jars() -> Result<PathBuf> {
    let version = version()?;
    let home = target_dir()?.join("kafka").join(version);
    let libs = home.join("libs");
    fs::create_dir_all(&home)?;
    // One process fetches, the others wait.
    let lock = File::create(home.join("lock"))?;
    lock.lock()?;
    let complete = home.join("complete");
    if !complete.exists() {
        let pom = Path::new(env!("CARGO_MANIFEST_DIR")).join("kafka-pom.xml");
        fs::copy(pom, home.join("pom.xml"))?;
        let fetched = Command::new("mvn")
            .args(["-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=libs"])
            .arg(format!("-Dkafka.version={version}"))
            .current_dir(&home)
            // Maven writes to the standard output, which carries a transcript.
            .stdout(Stdio::null())
            .status()
            .context("running mvn")?;
        if !fetched.success() {
            bail!("mvn could not fetch Kafka's jars: {fetched}");
        }
        File::create(complete)?;
    }
    Ok(libs)
}

/// Starts one of Kafka's command-line tools. It logs to its standard error.
///
/// # Errors
/// If Kafka's jars can't be fetched, or there is no Java.
pub fn tool(class: &str, arguments: &[&str]) -> Result<Program> {
    let class_path = format!("{}/*", jars()?.display());
    let log = Path::new(env!("CARGO_MANIFEST_DIR")).join("kafka-log4j2.properties");
    let log = format!("-Dlog4j2.configurationFile={}", log.display());
    let mut all = vec!["-cp", &class_path, "-Xmx128m", "-XX:TieredStopAtLevel=1", &log, class];
    all.extend(arguments);
    Program::start(Path::new("java"), &all)
}

fn properties(port: u16, advertised: u16, controller: u16, logs: &Path) -> String {
    format!(
        "process.roles=broker,controller\nnode.id=1\n\
         controller.quorum.voters=1@127.0.0.1:{controller}\n\
         listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{advertised}\n\
         controller.listener.names=CONTROLLER\n\
         listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
         log.dirs={}\nnum.partitions=3\noffsets.topic.replication.factor=1\n\
         offsets.topic.num.partitions=5\ntransaction.state.log.replication.factor=1\n\
         transaction.state.log.min.isr=1\ntransaction.state.log.num.partitions=5\n\
         group.initial.rebalance.delay.ms=0\ngroup.min.session.timeout.ms=1000\n\
         auto.create.topics.enable=false\n\
         add.partitions.to.txn.retry.backoff.ms=1\n\
         transaction.abort.timed.out.transaction.cleanup.interval.ms=200\n\
         log.initial.task.delay.ms=0\nlog.retention.check.interval.ms=500\n\
         log.cleaner.backoff.ms=100\n",
        logs.display()
    )
}

/// Formats the storage that the settings in `config` name. All nodes of a cluster have the same
/// cluster id.
///
/// # Errors
/// If Kafka's tool fails.
pub(crate) fn format_storage(config: &Path) -> Result<()> {
    let class_path = format!("{}/*", jars()?.display());
    let formatted = Command::new("java")
        .args(["-cp", &class_path, "-XX:TieredStopAtLevel=1", "kafka.tools.StorageTool"])
        .args(["format", "-t", "MkU3OEVBNTcwNTJENDM2Qg", "-c"])
        .arg(config)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    if !formatted.success() {
        bail!("Kafka's storage could not be formatted: {formatted}");
    }
    Ok(())
}

/// Returns the last lines of the log of the broker in `data`, the last one first.
pub(crate) fn log_tail(data: &Path) -> Vec<String> {
    let log = fs::read_to_string(data.join("kafka.log")).unwrap_or_default();
    log.lines().rev().take(20).map(str::to_owned).collect()
}

/// Starts the broker whose data and settings lie in `data`.
pub(crate) fn spawn(data: &Path, java_options: &[&str]) -> Result<Child> {
    let log = File::options().create(true).append(true).open(data.join("kafka.log"))?;
    // The system ends it if this process is killed; without `setpriv` only an orderly end does.
    let guarded = Path::new("/usr/bin/setpriv").exists();
    let mut command = Command::new(if guarded { "/usr/bin/setpriv" } else { "java" });
    if guarded {
        command.args(["--pdeathsig", "KILL", "java"]);
    }
    let child = command
        .args(["-cp", &format!("{}/*", jars()?.display())])
        .args(java_options)
        .arg("kafka.Kafka")
        .arg(data.join("server.properties"))
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()?;
    Ok(child)
}

impl Kafka {
    /// Starts a Kafka for tests: a small one that starts fast.
    ///
    /// # Errors
    /// If it does not answer within two minutes; the end of its log is in the error.
    pub fn start() -> Result<Self> {
        Self::start_with(&FAST_START)
    }

    /// Starts a Kafka that sends its clients through a proxy.
    ///
    /// # Errors
    /// As [`Kafka::start`].
    pub fn start_behind_proxy() -> Result<(Self, Proxy)> {
        let advertised = free_port()?;
        let kafka = Self::start_at(&FAST_START, Some(advertised))?;
        let proxy = Proxy::start(advertised, format!("127.0.0.1:{}", kafka.port))?;
        Ok((kafka, proxy))
    }

    /// Starts a Kafka with these options of the Java machine.
    ///
    /// # Errors
    /// As [`Kafka::start`].
    pub fn start_with(java_options: &[&str]) -> Result<Self> {
        Self::start_at(java_options, None)
    }

    fn start_at(java_options: &[&str], advertised: Option<u16>) -> Result<Self> {
        let (port, controller) = (free_port()?, free_port()?);
        let name = format!("data-{}-{port}", std::process::id());
        let data = target_dir()?.join("kafka").join(name);
        fs::create_dir_all(&data)?;
        let config = data.join("server.properties");
        let advertised = advertised.unwrap_or(port);
        fs::write(&config, properties(port, advertised, controller, &data.join("logs")))?;
        format_storage(&config)?;
        let spawned = Instant::now();
        let child = spawn(&data, java_options)?;
        let first_answer = Duration::ZERO;
        let mut kafka = Self { port, advertised, data, child, first_answer };
        kafka.await_ready(spawned)?;
        Ok(kafka)
    }

    /// Ends it in order, and starts it again on its data after `away`.
    ///
    /// # Errors
    /// If it can't be ended, or does not come back.
    pub fn restart(&mut self, away: Duration) -> Result<()> {
        end(&mut self.child, STOP_TIMEOUT)?;
        std::thread::sleep(away);
        let spawned = Instant::now();
        self.child = spawn(&self.data, &FAST_START)?;
        self.await_ready(spawned)
    }

    fn await_ready(&mut self, spawned: Instant) -> Result<()> {
        let address = format!("127.0.0.1:{}", self.port);
        let deadline = spawned + START_TIMEOUT;
        while !probe::answers(&address) {
            self.check_starts(deadline)?;
            std::thread::sleep(probe::POLL);
        }
        self.first_answer = spawned.elapsed();
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &address)
            .set("log_level", "0")
            .create()?;
        while consumer.fetch_metadata(None, Duration::from_secs(1)).is_err() {
            self.check_starts(deadline)?;
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    fn check_starts(&mut self, deadline: Instant) -> Result<()> {
        if self.child.try_wait()?.is_none() && Instant::now() < deadline {
            return Ok(());
        }
        let tail = log_tail(&self.data);
        bail!("Kafka did not start; the end of its log, last line first: {tail:#?}");
    }

    /// Where it listens.
    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.advertised)
    }

    /// How long after its process began it answered for the first time.
    pub const fn first_answer(&self) -> Duration {
        self.first_answer
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        if let Err(error) = end(&mut self.child, STOP_TIMEOUT) {
            eprintln!("Kafka {} could not be ended: {error}", self.child.id());
        }
        let _ = fs::remove_dir_all(&self.data);
    }
}
