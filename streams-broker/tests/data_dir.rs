//! A data directory: kill -9 in the middle of load, a torn end, one broker at a time.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use streams_broker::{Broker, BrokerError, Fsync};

mod client;
#[expect(dead_code, reason = "other tests use the rest of it")]
mod program;

use client::{Client, Result};
use program::Program;

/// A directory of its own, gone at the end.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Result<Self> {
        let path = std::env::temp_dir().join(format!("streams-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The broker with its data in a directory.
fn start(directory: &Path) -> Result<Program> {
    let directory = directory.to_str().context("a path in UTF-8")?;
    Program::start(&["--topic", "t:2", "--data-dir", directory])
}

#[test]
fn what_was_acknowledged_before_kill_9_is_there_once_and_in_order() -> Result {
    let directory = Directory::new("kill")?;
    let (mut acknowledged, mut next) = (Vec::new(), 0_u64);
    let mut last_offset = -1;
    for round in 0..5_u64 {
        let mut program = start(&directory.0)?;
        let mut client = Client::connect(&program.address()?)?;
        let (id, epoch) = client.init_producer(Some("kill"))?;
        let read = client.committed("t", 0)?;
        // What is there is what was acknowledged, and at most the one more that was under way.
        let extra = read.len() - acknowledged.len();
        assert!(extra <= 1, "round {round}: {extra} more than acknowledged");
        assert_eq!(read[..acknowledged.len()], acknowledged[..], "round {round}");
        acknowledged = read;
        let offset = client.offset("g", "t", 0)?;
        assert!(offset >= last_offset, "a committed offset never goes back");
        assert_eq!(offset.max(0), acknowledged.len() as i64, "offsets and records are one");
        last_offset = offset;
        let (mut epoch, mut done) = (epoch, 0);
        // The kill comes from another thread, in the middle of something.
        let killer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(60 + 40 * round));
            program.kill()
        });
        loop {
            let value = format!("v{next}");
            let transaction = client
                .produce_transactional("kill", (id, epoch), "t", 0, &value)
                .and_then(|()| {
                    let offset = acknowledged.len() as i64 + 1;
                    client.commit_offset_in("kill", (id, epoch), "g", ("t", 0), offset)
                })
                .and_then(|()| client.end("kill", (id, epoch), done % 4 != 3));
            match transaction {
                Err(_) => break,
                Ok(bumped) => {
                    epoch = bumped;
                    if done % 4 != 3 {
                        acknowledged.push(value);
                    }
                }
            }
            next += 1;
            done += 1;
        }
        next += 1;
        killer.join().expect("it does not panic")?;
        assert!(done > 0, "round {round}: there was load");
    }
    Ok(())
}

#[test]
fn a_torn_end_is_cut_off_at_every_byte() -> Result {
    let directory = Directory::new("torn")?;
    let start = || Broker::builder().topic("t", 1).data_dir(&directory.0).start();
    let broker = start()?;
    let mut client = Client::connect(&broker.bootstrap())?;
    for value in ["first", "second"] {
        client.produce("t", 0, value)?;
    }
    drop((client, broker));
    let file = std::fs::read_dir(directory.0.join("partitions"))?.flatten().next();
    let file = file.expect("a partition's file").path();
    let whole = std::fs::read(&file)?;
    // Two records of the same length, each in one record of the file.
    let (first, two) = (whole.len() / 2, whole.len());
    for cut in first..two {
        std::fs::write(&file, &whole[..cut])?;
        let broker = start()?;
        let mut client = Client::connect(&broker.bootstrap())?;
        assert_eq!(client.committed("t", 0)?.len(), usize::from(cut > 0), "cut at {cut}");
        drop((client, broker));
        assert!(std::fs::metadata(&file)?.len() <= cut as u64);
    }
    // A bit that fell over counts as torn too.
    let mut broken = whole;
    broken[two - 3] ^= 1;
    std::fs::write(&file, &broken)?;
    let broker = start()?;
    let mut client = Client::connect(&broker.bootstrap())?;
    assert_eq!(client.committed("t", 0)?, ["first"]);
    client.produce("t", 0, "third")?;
    drop((client, broker));
    let broker = start()?;
    assert_eq!(Client::connect(&broker.bootstrap())?.committed("t", 0)?, ["first", "third"]);
    Ok(())
}

#[test]
fn one_broker_at_a_time_and_topics_come_back() -> Result {
    let directory = Directory::new("lock")?;
    let builder = Broker::builder().topic("t", 3).data_dir(&directory.0).fsync(Fsync::Always);
    let broker = builder.clone().start()?;
    let refused = builder.clone().start();
    assert!(matches!(refused, Err(BrokerError::DataDir { .. })), "{refused:?}");
    Client::connect(&broker.bootstrap())?.produce("t", 2, "kept")?;
    drop(broker);
    let broker = Broker::builder().data_dir(&directory.0).start()?;
    assert_eq!(broker.status()?.cluster.partitions.len(), 3);
    assert_eq!(Client::connect(&broker.bootstrap())?.committed("t", 2)?, ["kept"]);
    Ok(())
}
