//! The shell: TCP in, TCP out, and no decisions.
//!
//! One task owns the machine and the clock; each connection has a task of its own. A connection's
//! requests are answered one after the other, as Kafka does it: the next one is read when the one
//! before has its reply. What a connection can take of the broker is bounded: the size of a
//! request, the time that it may take to arrive, and the memory for all that are under way.

mod connection;
mod frame;
mod guard;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use kafka_protocol::messages::RequestKind;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::clock::Clock;
use crate::cluster::{Client, Cluster, ClusterStatus, Fault, Reply, RequestId};
use crate::status::Status;
use crate::storage::Storage;

/// So many requests may wait for the machine; a connection with more is not read.
const INBOX_REQUESTS_MAX: usize = 1_024;
/// After a failure to take a connection (no file handles, say), so long until the next try.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// What the machine's task is told.
pub(crate) enum Input {
    Request {
        client: Client,
        version: i16,
        request: Box<RequestKind>,
        reply: oneshot::Sender<Reply>,
    },
    Inject(Fault),
    CreateTopic {
        name: String,
        partitions: i32,
        done: std::sync::mpsc::Sender<Result<(), i16>>,
    },
    Status(std::sync::mpsc::Sender<ClusterStatus>),
    Stop,
}

/// Makes the channel to the machine.
pub(crate) fn inbox() -> (mpsc::Sender<Input>, mpsc::Receiver<Input>) {
    mpsc::channel(INBOX_REQUESTS_MAX)
}

/// What connections may take.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    pub(crate) connections_max: usize,
    /// The largest request, in bytes, as Kafka's `socket.request.max.bytes`.
    pub(crate) request_bytes_max: usize,
    /// What all requests under way may take, in bytes, as Kafka's `queued.max.request.bytes`.
    pub(crate) requests_bytes_max: usize,
    /// So long a request may stop in the middle.
    pub(crate) stall: Duration,
    /// A line for each client that comes and goes.
    pub(crate) log_clients: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 10_000,
            request_bytes_max: 100 * 1024 * 1024,
            requests_bytes_max: 512 * 1024 * 1024,
            stall: Duration::from_secs(30),
            log_clients: false,
        }
    }
}

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Shell {
    limits: Limits,
    machine: mpsc::Sender<Input>,
    /// A permit is a kilobyte of a request that is under way.
    memory: Semaphore,
    connections: AtomicUsize,
    accepted: AtomicU64,
    refused: AtomicU64,
}

impl Shell {
    pub(crate) fn new(limits: Limits, machine: mpsc::Sender<Input>) -> Arc<Self> {
        let kilobytes = (limits.requests_bytes_max / 1024).clamp(64, Semaphore::MAX_PERMITS);
        Arc::new(Self {
            limits,
            machine,
            memory: Semaphore::new(kilobytes),
            connections: AtomicUsize::new(0),
            accepted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        })
    }

    /// The status, with what the machine says of itself.
    pub(crate) fn status(&self, cluster: ClusterStatus) -> Status {
        Status {
            cluster,
            connections: self.connections.load(Ordering::Relaxed),
            connections_accepted: self.accepted.load(Ordering::Relaxed),
            connections_refused: self.refused.load(Ordering::Relaxed),
            resident_bytes: crate::status::resident_bytes(),
        }
    }
}

/// Runs the machine until it is told to stop.
pub(crate) async fn run_machine(
    mut cluster: Cluster,
    clock: Clock,
    mut storage: Option<Storage>,
    mut inbox: mpsc::Receiver<Input>,
) {
    let mut waiting: HashMap<RequestId, oneshot::Sender<Reply>> = HashMap::new();
    let mut next = 0;
    loop {
        if let (Some(storage), Some(step)) = (&mut storage, cluster.poll_store())
            && let Err(error) = storage.write(&step)
        {
            // A reply would promise what isn't kept.
            return tracing::error!(%error, "the data directory can't be written: the broker ends");
        }
        while let Some((id, reply)) = cluster.poll_reply() {
            if let Some(sender) = waiting.remove(&id) {
                // A connection that is gone wants no reply.
                let _ = sender.send(reply);
            }
        }
        tokio::select! {
            input = inbox.recv() => match input {
                Some(Input::Request { client, version, request, reply }) => {
                    next += 1;
                    waiting.insert(RequestId(next), reply);
                    let id = RequestId(next);
                    cluster.handle_from(&client, clock.now_ms(), id, version, *request);
                }
                Some(Input::Inject(fault)) => cluster.inject(fault),
                Some(Input::CreateTopic { name, partitions, done }) => {
                    let _ = done.send(cluster.create_topic(&name, partitions));
                }
                Some(Input::Status(status)) => {
                    let _ = status.send(cluster.status());
                }
                Some(Input::Stop) | None => return,
            },
            () = clock.wait_until(cluster.poll_timeout()) => {
                cluster.handle_timeout(clock.now_ms());
            }
        }
        debug_assert!({ cluster_is_sound(&cluster, next) });
    }
}

/// The invariants, now and then: they walk all logs.
fn cluster_is_sound(cluster: &Cluster, requests: u64) -> bool {
    if requests.is_multiple_of(4_096) {
        cluster.check_invariants();
    }
    true
}

/// Takes connections until the machine is gone.
pub(crate) async fn accept(listener: TcpListener, shell: Arc<Shell>) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "can't take a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let open = shell.connections.fetch_add(1, Ordering::Relaxed);
        if open >= shell.limits.connections_max {
            shell.connections.fetch_sub(1, Ordering::Relaxed);
            shell.refused.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(limit = shell.limits.connections_max, "too many connections: refused");
            continue;
        }
        let number = shell.accepted.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(connection::serve(stream, Arc::clone(&shell), number));
    }
}

/// Counts a connection as long as it lives.
struct Counted<'a>(&'a AtomicUsize);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
