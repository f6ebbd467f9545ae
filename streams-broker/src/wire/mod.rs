//! The shell: TCP in, TCP out, and no decisions.
//!
//! One task owns the machine and the clock; each connection has a task that reads and one that
//! writes. A connection's replies go out in the order of its requests, as Kafka's do.

mod frame;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use kafka_protocol::messages::RequestKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};

use crate::cluster::{Client, Cluster, Fault, Reply, RequestId};
use frame::Parsed;

/// The largest request, in bytes, as Kafka's `socket.request.max.bytes`.
const REQUEST_BYTES_MAX: usize = 100 * 1024 * 1024;
/// So many requests may wait for the machine; a connection with more is not read.
const INBOX_REQUESTS_MAX: usize = 1_024;
/// So many requests of one connection may wait for their replies.
const PIPELINE_MAX: usize = 256;

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
    Stop,
}

/// Makes the channel to the machine.
pub(crate) fn inbox() -> (mpsc::Sender<Input>, mpsc::Receiver<Input>) {
    mpsc::channel(INBOX_REQUESTS_MAX)
}

fn wall_clock_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Runs the machine until it is told to stop.
pub(crate) async fn run_machine(mut cluster: Cluster, mut inbox: mpsc::Receiver<Input>) {
    let mut waiting: HashMap<RequestId, oneshot::Sender<Reply>> = HashMap::new();
    let mut next = 0;
    loop {
        while let Some((id, reply)) = cluster.poll_reply() {
            if let Some(sender) = waiting.remove(&id) {
                // A connection that is gone wants no reply.
                let _ = sender.send(reply);
            }
        }
        let wait = cluster.poll_timeout().map(|at| at.saturating_sub(wall_clock_ms()).max(0));
        let wait = wait.and_then(|ms| u64::try_from(ms).ok()).unwrap_or(3_600_000);
        tokio::select! {
            input = inbox.recv() => match input {
                Some(Input::Request { client, version, request, reply }) => {
                    next += 1;
                    waiting.insert(RequestId(next), reply);
                    let id = RequestId(next);
                    cluster.handle_from(&client, wall_clock_ms(), id, version, *request);
                }
                Some(Input::Inject(fault)) => cluster.inject(fault),
                Some(Input::CreateTopic { name, partitions, done }) => {
                    let _ = done.send(cluster.create_topic(&name, partitions));
                }
                Some(Input::Stop) | None => return,
            },
            () = tokio::time::sleep(Duration::from_millis(wait)) => {
                cluster.handle_timeout(wall_clock_ms());
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
pub(crate) async fn accept(listener: TcpListener, machine: mpsc::Sender<Input>) {
    static CONNECTIONS: AtomicU64 = AtomicU64::new(0);
    while let Ok((stream, _)) = listener.accept().await {
        let number = CONNECTIONS.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(serve(stream, machine.clone(), number));
    }
}

async fn serve(stream: TcpStream, machine: mpsc::Sender<Input>, number: u64) {
    let (Ok(()), Ok(peer)) = (stream.set_nodelay(true), stream.peer_addr()) else {
        return;
    };
    let host = format!("/{}", peer.ip());
    let (mut reader, mut writer) = stream.into_split();
    let (replies, mut to_write) = mpsc::channel::<Pending>(PIPELINE_MAX);
    let gone = Arc::new(tokio::sync::Notify::new());
    let closed = Arc::clone(&gone);
    let write = tokio::spawn(async move {
        while let Some(pending) = to_write.recv().await {
            let Some(frame) = pending.frame().await else {
                break;
            };
            if writer.write_all(&frame).await.is_err() {
                break;
            }
        }
        closed.notify_one();
    });
    loop {
        let frame = tokio::select! {
            frame = read_frame(&mut reader) => frame,
            () = gone.notified() => break,
        };
        let Some(frame) = frame else {
            break;
        };
        let pending = match frame::parse(frame) {
            Ok(Parsed::Answer(bytes)) => Pending::Ready(bytes),
            Ok(Parsed::Request { version, request, correlation_id, client_id, silent }) => {
                let (reply, response) = oneshot::channel();
                let client = Client { id: client_id, host: host.clone() };
                let input = Input::Request { client, version, request, reply };
                if machine.send(input).await.is_err() {
                    break;
                }
                if silent {
                    continue;
                }
                Pending::Later { version, correlation_id, response }
            }
            Err(reason) => {
                tracing::debug!(connection = number, reason, "closed");
                break;
            }
        };
        if replies.send(pending).await.is_err() {
            break;
        }
    }
    drop(replies);
    let _ = write.await;
}

enum Pending {
    Ready(Bytes),
    Later { version: i16, correlation_id: i32, response: oneshot::Receiver<Reply> },
}

impl Pending {
    /// The frame to write; `None` closes the connection.
    async fn frame(self) -> Option<Bytes> {
        match self {
            Self::Ready(bytes) => Some(bytes),
            Self::Later { version, correlation_id, response } => match response.await.ok()? {
                Reply::Response(response) => frame::encode(&response, version, correlation_id),
                Reply::Disconnect => None,
            },
        }
    }
}

async fn read_frame(reader: &mut (impl AsyncReadExt + Unpin)) -> Option<Bytes> {
    let length = usize::try_from(reader.read_i32().await.ok()?).ok()?;
    if length > REQUEST_BYTES_MAX {
        return None;
    }
    // What is claimed is allocated only as it comes.
    let mut frame = Vec::with_capacity(length.min(64 * 1024));
    let read = reader.take(length as u64).read_to_end(&mut frame).await.ok()?;
    (read == length).then(|| frame.into())
}
