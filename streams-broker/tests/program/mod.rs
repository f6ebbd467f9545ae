//! The broker as a program, with its lines.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

const PATIENCE: Duration = Duration::from_secs(20);

/// The program; dropped, it is killed.
pub(crate) struct Program {
    child: Child,
    lines: Receiver<String>,
}

impl Program {
    pub(crate) fn start(arguments: &[&str]) -> Result<Self> {
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
    pub(crate) fn line(&self, part: &str) -> Result<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left).with_context(|| format!("no `{part}`"))?;
            if line.contains(part) {
                return Ok(line);
            }
        }
    }

    pub(crate) fn address(&self) -> Result<String> {
        let line = self.line("listening at ")?;
        let address = line.split("listening at ").nth(1).and_then(|rest| rest.split(';').next());
        Ok(address.context("an address")?.to_owned())
    }

    pub(crate) fn signal(&self, name: &str) -> Result<()> {
        let sent =
            Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status()?;
        anyhow::ensure!(sent.success(), "kill -s {name}: {sent}");
        Ok(())
    }

    pub(crate) fn end(&mut self) -> Result<ExitStatus> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        bail!("it does not end")
    }

    /// SIGKILL: it can't do anything about it.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}
