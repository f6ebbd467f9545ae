//! The broker as a program: what it says, and how it ends.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

#[expect(dead_code, reason = "other tests use the rest of it")]
mod client;

use client::{Client, Result};

const PATIENCE: Duration = Duration::from_secs(20);

/// The program; it ends with the test.
struct Program {
    child: Child,
    lines: Receiver<String>,
}

impl Program {
    fn start(arguments: &[&str]) -> Result<Self> {
        let mut child = Command::new(env!("CARGO_BIN_EXE_streams-broker"))
            .args(["--listen", "127.0.0.1:0"])
            .args(arguments)
            .env("NO_COLOR", "1")
            .env("RUST_LOG", "info")
            .stderr(Stdio::piped())
            .spawn()?;
        let stderr = child.stderr.take().context("it is piped")?;
        let (line, lines) = channel();
        std::thread::spawn(move || {
            for read in BufReader::new(stderr).lines().map_while(std::result::Result::ok) {
                if line.send(read).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, lines })
    }

    /// The first line from now on that has this in it.
    fn line(&self, part: &str) -> Result<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left).with_context(|| format!("no `{part}`"))?;
            if line.contains(part) {
                return Ok(line);
            }
        }
    }

    fn address(&self) -> Result<String> {
        let line = self.line("listening at ")?;
        let address = line.split("listening at ").nth(1).and_then(|rest| rest.split(';').next());
        Ok(address.context("an address")?.to_owned())
    }

    fn signal(&self, name: &str) -> Result {
        let sent =
            Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status()?;
        anyhow::ensure!(sent.success(), "kill -s {name}: {sent}");
        Ok(())
    }

    fn end(&mut self) -> Result<ExitStatus> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        bail!("it does not end")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn sigusr1_says_how_it_is_and_sigterm_ends_it() -> Result {
    let mut program = Program::start(&["--topic", "letters:2"])?;
    let mut client = Client::connect(&program.address()?)?;
    let producer = client.init_producer(Some("writer"))?;
    client.produce_transactional("writer", producer, "letters", 1, "a")?;
    program.signal("USR1")?;
    program.line("topic letters-0: offsets 0 to 0, stable to 0")?;
    program.line("topic letters-1: offsets 0 to 1, stable to 0")?;
    program.line("transaction writer: open")?;
    program.line("connections: 1 open")?;
    program.line("memory: ")?;
    client.end("writer", producer, true).context("it goes on")?;
    program.signal("TERM")?;
    assert!(program.end()?.success());
    Ok(())
}

#[test]
fn sigint_ends_it_with_clients_connected() -> Result {
    let mut program = Program::start(&["--topic", "t"])?;
    let mut client = Client::connect(&program.address()?)?;
    client.init_producer(None)?;
    program.signal("INT")?;
    assert!(program.end()?.success());
    Ok(())
}

#[test]
fn log_clients_has_a_line_for_each_that_comes_and_goes() -> Result {
    let program = Program::start(&["--log-clients"])?;
    let mut client = Client::connect(&program.address()?)?;
    client.init_producer(None)?;
    program.line("come")?;
    drop(client);
    program.line("gone")?;
    Ok(())
}

#[test]
fn a_bad_argument_is_named() -> Result {
    let program = Program::start(&["--topic", "t:many"])?;
    program.line("the partitions are no number")?;
    let mut taken = Program::start(&["--topic", "no good/name"])?;
    assert!(!taken.end()?.success());
    taken.line("no good/name")?;
    Ok(())
}
