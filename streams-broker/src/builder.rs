//! The settings of a broker, and how it starts.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use tokio::net::TcpListener;

use crate::clock::{Clock, ManualClock};
use crate::cluster::{Cluster, Settings};
use crate::storage::{Fsync, Storage};
use crate::wire::{self, Limits, Shell};
use crate::{Broker, BrokerError};

/// The settings of a broker.
#[derive(Clone, Debug)]
pub struct BrokerBuilder {
    listen: String,
    advertised: Option<(String, u16)>,
    settings: Settings,
    limits: Limits,
    clock: Clock,
    topics: Vec<(String, i32)>,
    data_dir: Option<PathBuf>,
    fsync: Fsync,
}

impl Default for BrokerBuilder {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:0".to_owned(),
            advertised: None,
            settings: Settings::default(),
            limits: Limits::default(),
            clock: Clock::System,
            topics: Vec::new(),
            data_dir: None,
            fsync: Fsync::default(),
        }
    }
}

impl BrokerBuilder {
    /// The address to listen at; by default a free port of the loopback address.
    #[must_use]
    pub fn listen(mut self, address: impl Into<String>) -> Self {
        self.listen = address.into();
        self
    }

    /// The port to listen at, of the loopback address.
    #[must_use]
    pub fn port(self, port: u16) -> Self {
        self.listen(format!("127.0.0.1:{port}"))
    }

    /// The host and the port that the broker tells its clients to use, those of a proxy for
    /// example; by default where it listens. Kafka: `advertised.listeners`.
    #[must_use]
    pub fn advertise(mut self, host: impl Into<String>, port: u16) -> Self {
        self.advertised = Some((host.into(), port));
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

    /// The partitions of a topic that does not say how many. By default 1.
    #[must_use]
    pub const fn default_partitions(mut self, partitions: i32) -> Self {
        self.settings.default_partitions = partitions;
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

    /// So many connections may be open; more are closed at once. By default 10,000.
    #[must_use]
    pub const fn connections_max(mut self, connections: usize) -> Self {
        self.limits.connections_max = connections;
        self
    }

    /// The largest request, in bytes; a connection with a larger one is closed. By default
    /// Kafka's, 100 MiB.
    #[must_use]
    pub const fn request_bytes_max(mut self, bytes: usize) -> Self {
        self.limits.request_bytes_max = bytes;
        self
    }

    /// What all requests under way may take, in bytes; beyond that, large ones wait. By default
    /// 512 MiB.
    #[must_use]
    pub const fn requests_bytes_max(mut self, bytes: usize) -> Self {
        self.limits.requests_bytes_max = bytes;
        self
    }

    /// So long a group's first generation waits for more members. By default not at all, where
    /// Kafka waits three seconds.
    #[must_use]
    pub fn group_initial_rebalance_delay(mut self, delay: Duration) -> Self {
        self.settings.group_initial_rebalance_delay_ms = milliseconds(delay);
        self
    }

    /// The session timeouts that members may ask for. By default Kafka's, from 6 seconds to half
    /// an hour.
    #[must_use]
    pub fn group_session_timeouts(mut self, timeouts: RangeInclusive<Duration>) -> Self {
        let ms = |timeout| i32::try_from(milliseconds(timeout)).unwrap_or(i32::MAX);
        self.settings.group_session_timeout_ms = ms(*timeouts.start())..=ms(*timeouts.end());
        self
    }

    /// The most members of a group. By default without limit.
    #[must_use]
    pub const fn group_max_size(mut self, members: usize) -> Self {
        self.settings.group_max_size = members;
        self
    }

    /// All settings of the cluster at once; the methods that set one of them come after this.
    #[must_use]
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// Another clock than the system's.
    #[must_use]
    pub fn clock(mut self, clock: ManualClock) -> Self {
        self.clock = Clock::Manual(clock);
        self
    }

    /// Whether each client that comes and goes is logged: a `tracing` event of level info, target
    /// `streams_broker::clients`. By default not.
    #[must_use]
    pub const fn log_clients(mut self, log: bool) -> Self {
        self.limits.log_clients = log;
        self
    }

    /// Where everything is kept over a restart; by default nowhere. One broker at a time may use
    /// a directory.
    #[must_use]
    pub fn data_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.data_dir = Some(directory.into());
        self
    }

    /// When what is kept has to reach the disk. By default whenever the system sees fit.
    #[must_use]
    pub const fn fsync(mut self, fsync: Fsync) -> Self {
        self.fsync = fsync;
        self
    }

    /// A cluster with what was kept, and where it is kept on.
    fn restored(&self, settings: Settings) -> Result<(Cluster, Option<Storage>), BrokerError> {
        let mut cluster = Cluster::new(settings);
        let Some(directory) = &self.data_dir else {
            return Ok((cluster, None));
        };
        let unusable = |why: String| BrokerError::DataDir { directory: directory.clone(), why };
        let (mut storage, found) =
            Storage::open(directory, self.fsync).map_err(|error| unusable(error.to_string()))?;
        let mut read = |topic, partition| {
            let stored = storage.partition(&found, topic, partition);
            stored.map_err(|error| error.to_string())
        };
        cluster.restore(&found.values, &mut read).map_err(unusable)?;
        cluster.begin_storing();
        Ok((cluster, Some(storage)))
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
        let mut settings = self.settings.clone();
        let listens_at = (address.ip().to_string(), address.port());
        (settings.host, settings.port) = self.advertised.clone().unwrap_or(listens_at);
        if self.data_dir.is_some() && settings.seed == 0 {
            // The ids of topics made before are not to come again.
            settings.seed = self.clock.now_ms().unsigned_abs();
        }
        let (mut cluster, storage) = self.restored(settings)?;
        for (name, partitions) in self.topics {
            // What was kept is there already.
            if storage.is_none() || cluster.topic_id(&name).is_none() {
                cluster
                    .create_topic(&name, partitions)
                    .map_err(|code| BrokerError::Topic { name, code })?;
            }
        }
        let (machine, inbox) = wire::inbox();
        let shell = Shell::new(self.limits, machine.clone());
        let (clock, accepting) = (self.clock, std::sync::Arc::clone(&shell));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(BrokerError::Thread)?;
        let thread = std::thread::Builder::new()
            .name("streams-broker".to_owned())
            .spawn(move || {
                runtime.block_on(async move {
                    match TcpListener::from_std(socket) {
                        Ok(listener) => drop(tokio::spawn(wire::accept(listener, accepting))),
                        Err(error) => return tracing::error!(%error, "can't listen"),
                    }
                    wire::run_machine(cluster, clock, storage, inbox).await;
                });
            })
            .map_err(BrokerError::Thread)?;
        Ok(Broker { address, machine, shell, thread: Some(thread) })
    }
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
