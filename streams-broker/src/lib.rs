//! An embedded Kafka broker for tests and first runs.
//!
//! One node, in memory, on loopback, with real transactions: isolation, fencing by epoch and by
//! generation, transaction timeouts, groups. Any Kafka client can talk to it. It is no production
//! broker: nothing is replicated, nothing is kept, nothing is encrypted.
//!
//! [`cluster`] is a machine without I/O; a shell over tokio drives it.
//!
//! ```
//! let broker = streams_broker::Broker::builder().topic("events", 4).start()?;
//! println!("kcat -L -b {}", broker.bootstrap());
//! # Ok::<(), streams_broker::BrokerError>(())
//! ```

pub mod cluster;
mod wire;

use std::fmt;
use std::net::SocketAddr;
use std::thread::JoinHandle;

pub use kafka_protocol::messages::ApiKey;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::cluster::{Cluster, Settings};
pub use crate::cluster::{Fault, FaultKind};
use crate::wire::Input;

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
    /// The broker has ended.
    #[error("the broker has ended")]
    Ended,
}

/// The settings of a broker.
#[derive(Clone, Debug)]
pub struct BrokerBuilder {
    listen: String,
    settings: Settings,
    topics: Vec<(String, i32)>,
}

impl BrokerBuilder {
    /// The address to listen at; by default a free port of the loopback address.
    #[must_use]
    pub fn listen(mut self, address: impl Into<String>) -> Self {
        self.listen = address.into();
        self
    }

    /// A topic that is there from the start.
    #[must_use]
    pub fn topic(mut self, name: impl Into<String>, partitions: i32) -> Self {
        self.topics.push((name.into(), partitions));
        self
    }

    /// Whether a topic that a client asks for is made. By default not.
    #[must_use]
    pub const fn auto_create_topics(mut self, auto_create: bool) -> Self {
        self.settings.auto_create_topics = auto_create;
        self
    }

    /// The largest record batch, in bytes. By default Kafka's, 1,048,588.
    #[must_use]
    pub const fn max_message_bytes(mut self, bytes: usize) -> Self {
        self.settings.max_message_bytes = bytes;
        self
    }

    /// What all records together may take, in bytes; producers are refused beyond it. By default
    /// 4 GiB.
    #[must_use]
    pub const fn memory_bytes_max(mut self, bytes: usize) -> Self {
        self.settings.memory_bytes_max = bytes;
        self
    }

    /// Starts the broker, on a thread of its own.
    ///
    /// # Errors
    /// If the address can't be listened at, or a topic can't be made.
    pub fn start(self) -> Result<Broker, BrokerError> {
        let listen = |source| BrokerError::Listen { address: self.listen.clone(), source };
        let socket = std::net::TcpListener::bind(&self.listen).map_err(listen)?;
        socket.set_nonblocking(true).map_err(listen)?;
        let address = socket.local_addr().map_err(listen)?;
        let mut settings = self.settings;
        settings.host = address.ip().to_string();
        settings.port = address.port();
        let mut cluster = Cluster::new(settings);
        for (name, partitions) in self.topics {
            cluster
                .create_topic(&name, partitions)
                .map_err(|code| BrokerError::Topic { name, code })?;
        }
        let (machine, inbox) = wire::inbox();
        let to_machine = machine.clone();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(BrokerError::Thread)?;
        let thread = std::thread::Builder::new()
            .name("streams-broker".to_owned())
            .spawn(move || {
                runtime.block_on(async move {
                    match TcpListener::from_std(socket) {
                        Ok(listener) => drop(tokio::spawn(wire::accept(listener, to_machine))),
                        Err(error) => return tracing::error!(%error, "can't listen"),
                    }
                    wire::run_machine(cluster, inbox).await;
                });
            })
            .map_err(BrokerError::Thread)?;
        Ok(Broker { address, machine, thread: Some(thread) })
    }
}

/// A running broker. It ends when it is dropped, with its thread, its port and its records.
pub struct Broker {
    address: SocketAddr,
    machine: mpsc::Sender<Input>,
    thread: Option<JoinHandle<()>>,
}

impl Broker {
    /// The settings of a broker.
    pub fn builder() -> BrokerBuilder {
        BrokerBuilder {
            listen: "127.0.0.1:0".to_owned(),
            settings: Settings::default(),
            topics: Vec::new(),
        }
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
