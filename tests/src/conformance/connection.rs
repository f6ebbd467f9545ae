//! A connection that sends what it is told, bad requests too, and checks what comes back.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};

/// No case waits longer for a reply.
const REPLY_TIMEOUT: Duration = Duration::from_secs(40);
const RESPONSE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The broker closed the connection instead of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the broker closed the connection")]
pub(super) struct Closed;

/// A connection to the broker.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    sent: i32,
    received: i32,
}

impl Connection {
    pub(crate) fn open(bootstrap: &str) -> Result<Self> {
        let stream = TcpStream::connect(bootstrap).context("connecting")?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(REPLY_TIMEOUT))?;
        Ok(Self { stream, sent: 0, received: 0 })
    }

    /// Sends a request, and waits for the response.
    pub(crate) fn call<R: Request>(&mut self, version: i16, request: &R) -> Result<R::Response> {
        self.send(version, request)?;
        self.receive::<R>(version)
    }

    /// Sends a request; responses are to be received in the order of the requests.
    pub(super) fn send<R: Request>(&mut self, version: i16, request: &R) -> Result<()> {
        let mut body = BytesMut::new();
        request
            .encode(&mut body, version)
            .with_context(|| format!("writing API {} in version {version}", R::KEY))?;
        self.send_body(R::KEY, version, R::header_version(version), &body)
    }

    /// Sends a body that need not be one.
    pub(super) fn send_body(
        &mut self,
        api: i16,
        version: i16,
        header_version: i16,
        body: &[u8],
    ) -> Result<()> {
        self.sent += 1;
        let mut frame = BytesMut::new();
        frame.put_i32(0);
        RequestHeader::default()
            .with_request_api_key(api)
            .with_request_api_version(version)
            .with_correlation_id(self.sent)
            .with_client_id(Some(StrBytes::from_static_str("conformance")))
            .encode(&mut frame, header_version)?;
        frame.extend_from_slice(body);
        let length = i32::try_from(frame.len() - 4)?;
        frame[..4].copy_from_slice(&length.to_be_bytes());
        self.write(&frame)
    }

    /// Sends bytes that need not be a request.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).map_err(closed)
    }

    /// The response to the oldest request without one.
    pub(super) fn receive<R: Request>(&mut self, version: i16) -> Result<R::Response> {
        let mut frame = self.receive_frame()?;
        self.received += 1;
        let header_version = <R::Response as HeaderVersion>::header_version(version);
        let header = ResponseHeader::decode(&mut frame, header_version)?;
        ensure!(header.correlation_id == self.received, "a reply to another request");
        let response = R::Response::decode(&mut frame, version)
            .with_context(|| format!("reading the reply to API {} v{version}", R::KEY))?;
        ensure!(!frame.has_remaining(), "{} bytes behind the reply", frame.remaining());
        Ok(response)
    }

    pub(super) fn receive_frame(&mut self) -> Result<Bytes> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).map_err(closed)?;
        let length = usize::try_from(i32::from_be_bytes(length)).context("a negative length")?;
        if length > RESPONSE_BYTES_MAX {
            bail!("a reply of {length} bytes");
        }
        let mut frame = vec![0; length];
        self.stream.read_exact(&mut frame).map_err(closed)?;
        Ok(frame.into())
    }
}

fn closed(error: std::io::Error) -> anyhow::Error {
    match error.kind() {
        ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => {
            Closed.into()
        }
        ErrorKind::WouldBlock | ErrorKind::TimedOut => anyhow::anyhow!("no reply"),
        _ => error.into(),
    }
}
