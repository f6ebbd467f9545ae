//! When a broker answers for the first time, to the millisecond.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

/// How often it is asked.
pub const POLL: Duration = Duration::from_millis(1);
const PATIENCE: Duration = Duration::from_secs(30);

/// ApiVersions, version 0, from a client without a name.
const API_VERSIONS: [u8; 14] = [0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 7, 255, 255];

/// Whether a broker at `address` answers, now.
pub fn answers(address: &str) -> bool {
    ask(address).is_ok()
}

/// Asks until a broker at `address` answers.
///
/// # Errors
/// If it does not within 30 seconds.
pub fn await_answer(address: &str) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !answers(address) {
        ensure!(Instant::now() < deadline, "no answer from {address} within {PATIENCE:?}");
        std::thread::sleep(POLL);
    }
    Ok(())
}

fn ask(address: &str) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&API_VERSIONS)?;
    let mut head = [0; 10];
    stream.read_exact(&mut head)?;
    // The correlation id comes back, and no error.
    match head[4..] == [0, 0, 0, 7, 0, 0] {
        true => Ok(()),
        false => Err(std::io::Error::new(ErrorKind::InvalidData, "another answer")),
    }
}
