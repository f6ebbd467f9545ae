//! Kafka clients that nobody here wrote: small programs around them, in `tests/clients`, built from
//! a copy under `target` with the versions that lie beside them.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::process::{Program, target_dir};

const PATIENCE: Duration = Duration::from_secs(240);

/// Set to 1, it makes a missing toolchain a failure.
pub const REQUIRE: &str = "STREAMS_REQUIRE_CLIENTS";

/// A client, and how its program is built and run.
#[derive(Clone, Copy, Debug)]
pub struct Client {
    /// Its name, which names its tests too.
    pub name: &'static str,
    /// The folder in `tests/clients`.
    folder: &'static str,
    /// Commands that succeed where its tools are.
    tools: &'static [&'static str],
    /// Commands that build it, in a copy of its folder.
    build: &'static [&'static str],
    /// The command that runs it, in the same place.
    run: &'static str,
    /// What it must have shown in the end.
    steps: &'static [&'static str],
}

const ALL_STEPS: &[&str] = &[
    "administration",
    "commit",
    "abort",
    "read_committed",
    "read_uncommitted",
    "group",
    "offsets",
    "groups",
];

const JAVA_TOOLS: &[&str] = &["java -version", "javac -version", "mvn -version"];
const JAVA_BUILD: &[&str] = &[
    "mvn -q -B dependency:copy-dependencies -DoutputDirectory=libs",
    "javac -d classes -cp libs/* Client.java StreamsApp.java",
];
const JAVA_RUN: &str = "java -XX:TieredStopAtLevel=1 -Dorg.slf4j.simpleLogger.defaultLogLevel=warn \
                        -cp classes:libs/* Client";
const PYTHON_BUILD: &[&str] = &[
    "python3 -m venv --clear venv",
    "venv/bin/pip install -q --disable-pip-version-check -r requirements.txt",
];

/// All of them.
pub const CLIENTS: &[Client] = &[
    Client {
        name: "java",
        folder: "java",
        tools: JAVA_TOOLS,
        build: JAVA_BUILD,
        run: JAVA_RUN,
        steps: ALL_STEPS,
    },
    Client {
        name: "franz_go",
        folder: "go",
        tools: &["go version"],
        build: &["go build -o franz-go ."],
        run: "./franz-go",
        steps: ALL_STEPS,
    },
    Client {
        name: "confluent_kafka",
        folder: "python",
        tools: &["python3 -c __import__('ensurepip')"],
        build: PYTHON_BUILD,
        run: "venv/bin/python confluent.py",
        steps: ALL_STEPS,
    },
    Client {
        name: "aiokafka",
        folder: "python",
        tools: &["python3 -c __import__('ensurepip')"],
        build: PYTHON_BUILD,
        run: "venv/bin/python aio.py",
        steps: ALL_STEPS,
    },
    Client {
        name: "kafkajs",
        folder: "node",
        tools: &["node --version", "npm --version"],
        build: &["npm ci --silent --no-audit --no-fund"],
        run: "node client.js",
        steps: ALL_STEPS,
    },
    Client {
        name: "kcat",
        folder: "kcat",
        tools: &["kcat -V", "bash --version"],
        build: &[],
        run: "bash client.sh",
        steps: &["commit", "abort", "read_committed", "read_uncommitted", "group", "describe"],
    },
];

impl Client {
    /// The client of that name.
    pub fn named(name: &str) -> Option<&'static Self> {
        CLIENTS.iter().find(|client| client.name == name)
    }

    /// Which of its tools is not here, if one isn't.
    pub fn missing(&self) -> Option<String> {
        let there = |line: &&&str| {
            let mut tool = command(line, Path::new("."));
            let tool = tool.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            tool.status().is_ok_and(|status| status.success())
        };
        let missing = self.tools.iter().find(|line| !there(line))?;
        Some(format!("no {}", missing.split(' ').next().unwrap_or(missing)))
    }

    /// Builds it, if that isn't done; returns the folder to run it in.
    ///
    /// # Errors
    /// If it can't be built; what the tool said is in the error.
    pub fn build(&self) -> Result<PathBuf> {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(self.folder);
        let folder = target_dir()?.join("clients").join(self.folder);
        fs::create_dir_all(&folder)?;
        // One process builds, the others wait.
        let lock = File::create(folder.join("lock"))?;
        lock.lock()?;
        let built = folder.join("built");
        let sources = sources(&source)?;
        if fs::read(&built).is_ok_and(|of| of == contents(&sources)) {
            return Ok(folder);
        }
        for (name, bytes) in &sources {
            fs::write(folder.join(name), bytes)?;
        }
        for line in self.build {
            let output = command(line, &folder).output().with_context(|| line.to_string())?;
            let said = String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.success(), "`{line}`: {}\n{said}", output.status);
        }
        fs::write(built, contents(&sources))?;
        Ok(folder)
    }

    /// Starts a program of it, with arguments after its own.
    ///
    /// # Errors
    /// If it can't be built or started.
    pub fn start(&self, run: &str, arguments: &[&str]) -> Result<Program> {
        let folder = self.build()?;
        let words: Vec<&str> = run.split(' ').chain(arguments.iter().copied()).collect();
        let [program, arguments @ ..] = words.as_slice() else {
            bail!("{}: no command", self.name);
        };
        Program::start_in(&folder, &place(program, &folder), arguments)
    }

    /// Runs the scenario against the broker at `bootstrap`.
    ///
    /// # Errors
    /// If it does not end with success, or leaves a step out.
    pub fn run(&self, bootstrap: &str, prefix: &str) -> Result<()> {
        let mut program = self.start(self.run, &[bootstrap, prefix])?;
        let status = program.wait(PATIENCE)?;
        let (stdout, stderr) = (program.stdout(), program.stderr());
        ensure!(status.success(), "it ended with {status}\n{stdout}{stderr}");
        for step in self.steps {
            let shown = stdout.lines().any(|line| line.starts_with(&format!("ok {step}: ")));
            ensure!(shown, "it did not show `{step}`:\n{stdout}{stderr}");
        }
        Ok(())
    }
}

/// The files of a client's folder, by name.
fn sources(folder: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("{}", folder.display()))? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            let name = entry.file_name().to_string_lossy().into_owned();
            found.push((name, fs::read(entry.path())?));
        }
    }
    found.sort();
    Ok(found)
}

fn contents(sources: &[(String, Vec<u8>)]) -> Vec<u8> {
    sources.iter().flat_map(|(name, bytes)| [name.as_bytes(), bytes].concat()).collect()
}

/// A program that lies in the folder, or one of the system's.
fn place(program: &str, folder: &Path) -> PathBuf {
    let local = folder.join(program);
    if local.is_file() { local } else { PathBuf::from(program) }
}

fn command(line: &str, folder: &Path) -> Command {
    let mut words = line.split(' ');
    let mut command = Command::new(place(words.next().unwrap_or_default(), folder));
    command.args(words).current_dir(folder).stdin(Stdio::null());
    command
}
