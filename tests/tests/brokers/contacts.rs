//! The contacts example, and kcat as a client that nobody here wrote.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use streams_tests::broker::TestBroker;
use streams_tests::process::{Program, example};

const PATIENCE: Duration = Duration::from_secs(30);

const FOUR_LINES: &str = "Created contact: 123\nNotifying contact: 123 by email\n\
                          Deleted contact: 123\nContact 123 does not exist!\n";

pub(crate) fn once(broker: &TestBroker, prefix: &str) -> Result<()> {
    let bootstrap = broker.bootstrap();
    let mut arguments = vec!["--once", "--group", prefix, "--input", prefix];
    // The embedded one is the program's own, as for a new user.
    if matches!(broker, TestBroker::Kafka(_)) {
        arguments.extend(["--bootstrap", &bootstrap]);
    }
    let mut program = Program::start(&example("contacts")?, &arguments)?;
    let status = program.wait(PATIENCE)?;
    ensure!(status.success(), "{status}: {}", program.stderr());
    ensure!(program.stdout() == FOUR_LINES, "it printed: {}", program.stdout());
    Ok(())
}

pub(crate) fn kcat(broker: &TestBroker, prefix: &str) -> Result<()> {
    let bootstrap = broker.bootstrap();
    let arguments = ["--bootstrap", &bootstrap, "--group", prefix, "--input", prefix];
    let mut program = Program::start(&example("contacts")?, &arguments)?;
    program.await_stdout("Read what the application says", PATIENCE)?;
    let event = r#"123:{"id":"123","email":"b@b.com","first_name":"Billy","last_name":"Bob"}"#;
    let mut sender = Command::new("kcat")
        .args(["-P", "-b", &bootstrap, "-t", prefix, "-K:", "-H", "__grt__=CreateContact"])
        .stdin(Stdio::piped())
        .spawn()?;
    sender.stdin.take().context("stdin")?.write_all(event.as_bytes())?;
    ensure!(sender.wait()?.success(), "kcat could not send");
    program.await_stdout("Created contact: 123", PATIENCE)?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let read = Command::new("kcat")
            .args(["-C", "-b", &bootstrap, "-t", "contact-notices", "-e", "-q"])
            .args(["-X", "isolation.level=read_committed", "-f", "%k|%h|%s\n"])
            .output()?;
        let text = String::from_utf8_lossy(&read.stdout).into_owned();
        if text.contains("123|__grt__=Said|Created contact: 123") {
            break;
        }
        ensure!(Instant::now() < deadline, "kcat read: {text}\n{}", program.stderr());
    }
    program.signal(libc::SIGINT)?;
    let status = program.wait(PATIENCE)?;
    ensure!(status.success(), "after Ctrl-C: {status}: {}", program.stderr());
    Ok(())
}
