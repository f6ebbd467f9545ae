//! Child processes: the examples, started as a user would, and signals to them by id.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

const POLL: Duration = Duration::from_millis(10);

/// Cargo's target folder, from this program's own place in it.
///
/// # Errors
/// If the program does not lie in one.
pub fn target_dir() -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    let is_target = |folder: &&std::path::Path| {
        folder.join("CACHEDIR.TAG").exists() || folder.ends_with("target")
    };
    let found = program.ancestors().find(is_target);
    found.map(PathBuf::from).ok_or_else(|| anyhow!("{program:?} is in no target folder"))
}

/// The built example, of the profile of this program.
///
/// # Errors
/// If it is not built.
pub fn example(name: &str) -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    let path = program
        .ancestors()
        .map(|folder| folder.join("examples").join(name))
        .find(|path| path.is_file());
    path.ok_or_else(|| anyhow!("example `{name}` is not built: run `cargo build --examples`"))
}

/// Sends a signal to a process.
///
/// # Errors
/// If there is no such process.
#[expect(unsafe_code, reason = "the standard library sends no signals but SIGKILL")]
pub fn signal(pid: u32, signal: i32) -> Result<()> {
    let pid = i32::try_from(pid)?;
    // SAFETY: `kill` takes two numbers and touches no memory of ours.
    if unsafe { libc::kill(pid, signal) } == 0 {
        return Ok(());
    }
    Err(std::io::Error::last_os_error()).with_context(|| format!("signal {signal} to {pid}"))
}

/// Ends a child: SIGTERM, and SIGKILL after `patience`.
///
/// # Errors
/// If it can't be waited for.
pub fn end(child: &mut Child, patience: Duration) -> Result<ExitStatus> {
    if let Some(status) = child.try_wait()? {
        return Ok(status);
    }
    signal(child.id(), libc::SIGTERM)?;
    let deadline = Instant::now() + patience;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        std::thread::sleep(POLL);
    }
    child.kill()?;
    Ok(child.wait()?)
}

/// A running program, with its output in files.
#[derive(Debug)]
pub struct Program {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Program {
    /// Starts a program.
    ///
    /// # Errors
    /// If it can't be started.
    pub fn start(path: &Path, arguments: &[&str]) -> Result<Self> {
        Self::start_in(Path::new("."), path, arguments)
    }

    /// Starts a program in a folder; its path is not relative to that.
    ///
    /// # Errors
    /// If it can't be started.
    pub fn start_in(folder: &Path, path: &Path, arguments: &[&str]) -> Result<Self> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let logs = target_dir()?.join("test-logs");
        fs::create_dir_all(&logs)?;
        let file = |kind: &str| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            logs.join(format!("{name}-{}-{number}.{kind}", std::process::id()))
        };
        let (stdout, stderr) = (file("out"), file("err"));
        let child = Command::new(path)
            .args(arguments)
            .current_dir(folder)
            .env("RUST_LOG", std::env::var("STREAMS_TEST_LOG").as_deref().unwrap_or("info"))
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(File::create(&stdout)?)
            .stderr(File::create(&stderr)?)
            .spawn()
            .with_context(|| format!("starting {}", path.display()))?;
        Ok(Self { child, stdout, stderr })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns how the program has ended, if it has.
    ///
    /// # Errors
    /// If the system does not tell.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// What it has printed so far.
    pub fn stdout(&self) -> String {
        fs::read_to_string(&self.stdout).unwrap_or_default()
    }

    /// What it prints, from the beginning, to be read while it comes.
    ///
    /// # Errors
    /// If the file is gone.
    pub fn open_stdout(&self) -> Result<File> {
        File::open(&self.stdout).with_context(|| format!("{}", self.stdout.display()))
    }

    /// What it has logged so far.
    pub fn stderr(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap_or_default()
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// If it is gone.
    pub fn signal(&self, number: i32) -> Result<()> {
        signal(self.pid(), number)
    }

    /// Kills it at once (SIGKILL).
    ///
    /// # Errors
    /// If it has ended by itself already: then something is wrong with it.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("it had ended by itself: {status}\n{}", self.stderr());
        }
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// If it has not ended after `patience`.
    pub fn wait(&mut self, patience: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() >= deadline {
                bail!("it has not ended after {patience:?}\n{}", self.stderr());
            }
            std::thread::sleep(POLL);
        }
    }

    /// Asks it to end (SIGTERM), and checks that it does so in good order.
    ///
    /// # Errors
    /// If it does not end in time, or not with 0.
    pub fn stop(&mut self, patience: Duration) -> Result<()> {
        self.signal(libc::SIGTERM)?;
        let status = self.wait(patience)?;
        if !status.success() {
            bail!("it ended with {status}\n{}", self.stderr());
        }
        Ok(())
    }

    /// Waits until it has printed `text`.
    ///
    /// # Errors
    /// If it does not within `patience`.
    pub fn await_stdout(&mut self, text: &str, patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        while !self.stdout().contains(text) {
            if Instant::now() >= deadline || self.child.try_wait()?.is_some() {
                bail!("no `{text}` in: {}\n{}", self.stdout(), self.stderr());
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
