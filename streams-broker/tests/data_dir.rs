//! A data directory: kill -9 in the middle of load, a torn end, one broker at a time.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use streams_broker::{Broker, BrokerError, Fsync};

mod client;

use client::{Client, Result};

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

/// The broker as a process.
struct Process {
    child: Child,
    address: String,
}

impl Process {
    fn start(directory: &Path) -> Result<Self> {
        let mut child = Command::new(env!("CARGO_BIN_EXE_streams-broker"))
            .args(["--listen", "127.0.0.1:0", "--topic", "t:2", "--data-dir"])
            .arg(directory)
            .stderr(Stdio::piped())
            .spawn()?;
        let stderr = child.stderr.take().expect("it is piped");
        let mut lines = BufReader::new(stderr).lines();
        for line in &mut lines {
            let line = line?;
            if let Some(rest) = line.strip_prefix("listening at ") {
                let address = rest.split(';').next().unwrap_or_default().to_owned();
                // The rest is read away, so that the broker is never held up by it.
                std::thread::spawn(move || lines.for_each(drop));
                return Ok(Self { child, address });
            }
        }
        anyhow::bail!("it does not listen")
    }

    fn kill(mut self) -> Result {
        // SIGKILL: it can't do anything about it.
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

#[test]
fn what_was_acknowledged_before_kill_9_is_there_once_and_in_order() -> Result {
    let directory = Directory::new("kill")?;
    let (mut acknowledged, mut next) = (Vec::new(), 0_u64);
    let mut last_offset = -1;
    for round in 0..5_u64 {
        let process = Process::start(&directory.0)?;
        let mut client = Client::connect(&process.address)?;
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
        let pid = process.child.id();
        let killer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(60 + 40 * round));
            process.kill().map(|()| pid)
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
