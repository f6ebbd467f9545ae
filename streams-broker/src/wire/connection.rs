//! One connection: a request is read, answered, and the next one read.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::RequestKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{SemaphorePermit, oneshot};
use tokio::time::timeout;

use super::frame::Parsed;
use super::{Counted, Input, Shell, frame};
use crate::cluster::{Client, Reply};

/// A request is read in pieces of that size, and allocated as it comes.
const PIECE_BYTES: usize = 64 * 1024;

/// Why a connection ends.
enum End {
    /// The client has closed it, or the broker ends.
    Gone,
    /// The client has done what it may not.
    Refused(String),
}

pub(super) async fn serve(mut stream: TcpStream, shell: Arc<Shell>, number: u64) {
    let _counted = Counted(&shell.connections);
    let (Ok(()), Ok(peer)) = (stream.set_nodelay(true), stream.peer_addr()) else {
        return;
    };
    let mut client = Client { id: String::new(), host: format!("/{}", peer.ip()) };
    let mut requests = 0_u64;
    let end = loop {
        match next_request(&mut stream, &shell, &mut client).await {
            Ok(()) => requests += 1,
            Err(end) => break end,
        }
        if requests == 1 && shell.limits.log_clients {
            let id = &client.id;
            tracing::info!(target: "streams_broker::clients", number, id, %peer, "come");
        }
    };
    if let End::Refused(reason) = &end {
        tracing::debug!(connection = number, %peer, reason, "closed");
    }
    if shell.limits.log_clients {
        let reason = match end {
            End::Gone => String::new(),
            End::Refused(reason) => reason,
        };
        tracing::info!(
            target: "streams_broker::clients", number, id = client.id, requests, reason, "gone"
        );
    }
}

async fn next_request(
    stream: &mut TcpStream,
    shell: &Shell,
    client: &mut Client,
) -> Result<(), End> {
    let (frame, _memory) = read_frame(stream, shell).await?;
    let parsed = frame::parse(&frame).map_err(End::Refused)?;
    drop(frame);
    let (version, request, correlation_id) = match parsed {
        Parsed::Answer(answer) => return write(stream, &answer).await,
        Parsed::Request { version, request, correlation_id, client_id } => {
            client.id = client_id;
            (version, request, correlation_id)
        }
    };
    let silent = matches!(&*request, RequestKind::Produce(produce) if produce.acks == 0);
    let (reply, response) = oneshot::channel();
    let input = Input::Request { client: client.clone(), version, request, reply };
    shell.machine.send(input).await.map_err(|_| End::Gone)?;
    match response.await {
        Ok(Reply::Response(_)) if silent => Ok(()),
        Ok(Reply::Response(response)) => {
            let answer = frame::encode(&response, version, correlation_id);
            let answer = answer.ok_or_else(|| End::Refused("no answer".to_owned()))?;
            write(stream, &answer).await
        }
        Ok(Reply::Nothing) => Ok(()),
        Ok(Reply::Disconnect) => Err(End::Refused("told to".to_owned())),
        Err(_) => Err(End::Gone),
    }
}

async fn write(stream: &mut TcpStream, bytes: &Bytes) -> Result<(), End> {
    stream.write_all(bytes).await.map_err(|_| End::Gone)
}

/// Reads a request: its length at any time, the rest of it without a long stop.
async fn read_frame<'a>(
    stream: &mut TcpStream,
    shell: &'a Shell,
) -> Result<(Bytes, Option<SemaphorePermit<'a>>), End> {
    let claimed = stream.read_i32().await.map_err(|_| End::Gone)?;
    let length = usize::try_from(claimed).ok();
    let Some(length) = length.filter(|length| *length <= shell.limits.request_bytes_max) else {
        return Err(End::Refused(format!("a request of {claimed} bytes")));
    };
    let stalled = |_| End::Refused("a request that stopped in the middle".to_owned());
    let (mut frame, mut memory) = (BytesMut::new(), None::<SemaphorePermit<'_>>);
    while frame.len() < length {
        let piece = PIECE_BYTES.min(length - frame.len());
        if frame.len() >= PIECE_BYTES {
            // The first piece is free, so that a small request always gets through.
            let permits = u32::try_from(piece.div_ceil(1024)).unwrap_or(u32::MAX);
            let more = timeout(shell.limits.stall, shell.memory.acquire_many(permits)).await;
            let more = more.map_err(stalled)?.map_err(|_| End::Gone)?;
            match &mut memory {
                Some(memory) => memory.merge(more),
                None => memory = Some(more),
            }
        }
        let from = frame.len();
        frame.resize(from + piece, 0);
        let read = timeout(shell.limits.stall, stream.read_exact(&mut frame[from..])).await;
        read.map_err(stalled)?.map_err(|_| End::Gone)?;
    }
    Ok((frame.freeze(), memory))
}
