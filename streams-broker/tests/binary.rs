//! The broker as a program: what it says, and how it ends.

use anyhow::Context;

#[expect(dead_code, reason = "other tests use the rest of it")]
mod client;
mod program;

use client::{Client, Result};
use program::Program;

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
