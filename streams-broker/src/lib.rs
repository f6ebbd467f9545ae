//! An embedded Kafka broker for tests and first runs.
//!
//! One node, in memory, on loopback, with real transactions: isolation, fencing by epoch and by
//! generation, transaction timeouts, groups, administration. Any Kafka client can talk to it. It is
//! no production broker: nothing is replicated and nothing is encrypted.
//!
//! [`cluster`] is a machine without I/O; a shell over tokio drives it. With
//! [`BrokerBuilder::data_dir`] everything but the members of groups is kept over a restart, kill -9
//! included; members join again.
//!
//! ```
//! let broker = streams_broker::Broker::builder().topic("events", 4).start()?;
//! println!("kcat -L -b {}", broker.bootstrap());
//! # Ok::<(), streams_broker::BrokerError>(())
//! ```

mod builder;
mod clock;
pub mod cluster;
mod status;
mod storage;
mod wire;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

pub use kafka_protocol::messages::ApiKey;
use tokio::sync::mpsc;

pub use crate::builder::BrokerBuilder;
pub use crate::clock::ManualClock;
pub use crate::cluster::{Fault, FaultKind};
pub use crate::status::Status;
pub use crate::storage::Fsync;
use crate::wire::{Input, Shell};

/// Why a broker does not start, or does not do what it is asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BrokerError {
    /// The address can't be listened at.
    #[error("can't listen at {address}: {source}")]
    Listen {
        /// The address.
        address: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// A thread can't be started.
    #[error("can't start the broker's thread: {0}")]
    Thread(std::io::Error),
    /// A topic can't be made.
    #[error("can't make topic `{name}`: Kafka's error code {code}")]
    Topic {
        /// Its name.
        name: String,
        /// Kafka's error code.
        code: i16,
    },
    /// The data directory can't be used.
    #[error("can't use the data directory `{directory}`: {why}")]
    DataDir {
        /// The directory.
        directory: std::path::PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The broker has ended.
    #[error("the broker has ended")]
    Ended,
}

/// A running broker. It ends when it is dropped, with its thread, its port and its records.
pub struct Broker {
    address: SocketAddr,
    machine: mpsc::Sender<Input>,
    shell: Arc<Shell>,
    thread: Option<JoinHandle<()>>,
}

impl Broker {
    /// The settings of a broker.
    pub fn builder() -> BrokerBuilder {
        BrokerBuilder::default()
    }

    /// Where it listens, as clients want it: `127.0.0.1:34567`.
    pub fn bootstrap(&self) -> String {
        self.address.to_string()
    }

    /// Makes a topic.
    ///
    /// # Errors
    /// If the name or the number can't be, or the topic is there.
    pub fn create_topic(&self, name: &str, partitions: i32) -> Result<(), BrokerError> {
        let (done, made) = std::sync::mpsc::channel();
        self.tell(Input::CreateTopic { name: name.to_owned(), partitions, done });
        let made = made.recv().map_err(|_| BrokerError::Ended)?;
        made.map_err(|code| BrokerError::Topic { name: name.to_owned(), code })
    }

    /// Lets requests fail, to see what becomes of their clients.
    pub fn inject(&self, fault: Fault) {
        self.tell(Input::Inject(fault));
    }

    /// Topics, groups, transactions, connections, memory, as they are now.
    ///
    /// # Errors
    /// If the broker has ended.
    pub fn status(&self) -> Result<Status, BrokerError> {
        let (ask, status) = std::sync::mpsc::channel();
        self.tell(Input::Status(ask));
        let cluster = status.recv().map_err(|_| BrokerError::Ended)?;
        Ok(self.shell.status(cluster))
    }

    /// Blocks while the machine's inbox is full, inside an async runtime too.
    fn tell(&self, mut input: Input) {
        use tokio::sync::mpsc::error::TrySendError;
        loop {
            match self.machine.try_send(input) {
                Ok(()) | Err(TrySendError::Closed(_)) => return,
                Err(TrySendError::Full(back)) => {
                    input = back;
                    std::thread::sleep(std::time::Duration::from_millis(1));
                }
            }
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.tell(Input::Stop);
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broker").field("address", &self.address).finish_non_exhaustive()
    }
}
