//! One connection to one broker: a request, its reply, the next.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, ApiVersionsRequest, RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Message, Request, StrBytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::ClientError;
use super::security::{BoxStream, Security};

/// The longest reply that is believed, in bytes.
const RESPONSE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How long a connection may take to be made.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
pub(super) const CLIENT_SOFTWARE: &str = "streams-core";
/// The lowest version of ApiVersions that carries the client's name.
const API_VERSIONS: i16 = 3;

/// Kafka's name of a kind of request: `CreateTopics`.
fn api_name(key: i16) -> String {
    ApiKey::try_from(key).map_or_else(|()| format!("API {key}"), |api| format!("{api:?}"))
}

/// A connection to one broker.
pub struct Connection {
    address: String,
    stream: BoxStream,
    client_id: StrBytes,
    correlation_id: i32,
    versions: HashMap<i16, (i16, i16)>,
}

impl Connection {
    /// Connects, and asks what the broker speaks.
    ///
    /// # Errors
    /// If there is nobody, or it does not speak Kafka.
    pub async fn open(address: &str, security: &Security) -> Result<Self, ClientError> {
        let failed = |reason: String| ClientError::connection(address, reason);
        let stream = timeout(CONNECT_TIMEOUT, TcpStream::connect(address))
            .await
            .map_err(|_| failed(format!("no answer within {CONNECT_TIMEOUT:?}")))?
            .map_err(|error| failed(error.to_string()))?;
        stream.set_nodelay(true).map_err(|error| failed(error.to_string()))?;
        let stream = timeout(CONNECT_TIMEOUT, security.secure(stream, address))
            .await
            .map_err(|_| failed(format!("no TLS within {CONNECT_TIMEOUT:?}")))?
            .map_err(&failed)?;
        let mut connection = Self {
            address: address.to_owned(),
            stream,
            client_id: StrBytes::from_static_str(CLIENT_SOFTWARE),
            correlation_id: 0,
            versions: HashMap::new(),
        };
        let hello = ApiVersionsRequest::default()
            .with_client_software_name(StrBytes::from_static_str(CLIENT_SOFTWARE))
            .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION")));
        let reply = connection.exchange(&hello, API_VERSIONS, CONNECT_TIMEOUT).await?;
        if reply.error_code != 0 {
            return Err(ClientError::refused("asking for API versions", reply.error_code));
        }
        let versions = reply.api_keys.iter().map(|k| (k.api_key, (k.min_version, k.max_version)));
        connection.versions = versions.collect();
        Ok(connection)
    }

    /// The name under which the broker knows us from now on.
    #[must_use]
    pub(super) fn named(mut self, client_id: &str) -> Self {
        self.client_id = StrBytes::from_string(client_id.to_owned());
        self
    }

    /// The broker's address.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The highest version of `R`, up to `cap`, that both sides know.
    pub(super) fn version<R: Request>(&self, cap: i16) -> Result<i16, ClientError> {
        let (low, high) = self.versions.get(&R::KEY).copied().unwrap_or((0, -1));
        let (min, max) = (<R as Message>::VERSIONS.min, <R as Message>::VERSIONS.max.min(cap));
        let version = high.min(max);
        if version < low.max(min) {
            let address = self.address.clone();
            return Err(ClientError::Version { address, api: R::KEY, low, high, min, max });
        }
        Ok(version)
    }

    /// Sends `request` and waits for the reply.
    ///
    /// After an error of the connection, or after the future was dropped, the connection can't be
    /// used any more.
    pub(super) async fn call<R: Request>(
        &mut self,
        request: &R,
        cap: i16,
        deadline: Duration,
    ) -> Result<R::Response, ClientError> {
        let version = self.version::<R>(cap)?;
        self.exchange(request, version, deadline).await
    }

    async fn exchange<R: Request>(
        &mut self,
        request: &R,
        version: i16,
        deadline: Duration,
    ) -> Result<R::Response, ClientError> {
        let reply = timeout(deadline, self.round_trip(request, version)).await;
        reply.map_err(|_| {
            let reason = format!("no reply to {} within {deadline:?}", api_name(R::KEY));
            ClientError::connection(&self.address, reason)
        })?
    }

    async fn round_trip<R: Request>(
        &mut self,
        request: &R,
        version: i16,
    ) -> Result<R::Response, ClientError> {
        self.correlation_id = self.correlation_id.wrapping_add(1);
        let frame = encode(request, version, self.correlation_id, &self.client_id)
            .map_err(|reason| ClientError::connection(&self.address, reason))?;
        let reply = self.transfer(&frame).await;
        let mut reply = reply.map_err(|error| ClientError::connection(&self.address, error))?;
        let broken = |reason: String| ClientError::connection(&self.address, reason);
        let header_version = <R::Response as HeaderVersion>::header_version(version);
        let header = ResponseHeader::decode(&mut reply, header_version)
            .map_err(|error| broken(format!("can't read the reply's header: {error}")))?;
        if header.correlation_id != self.correlation_id {
            return Err(broken("the reply belongs to another request".to_owned()));
        }
        R::Response::decode(&mut reply, version).map_err(|error| {
            broken(format!("can't read the reply to {}: {error}", api_name(R::KEY)))
        })
    }

    async fn transfer(&mut self, frame: &[u8]) -> std::io::Result<Bytes> {
        self.stream.write_all(frame).await?;
        let length = self.stream.read_i32().await?;
        let length = usize::try_from(length).ok().filter(|length| *length <= RESPONSE_BYTES_MAX);
        let Some(length) = length else {
            return Err(std::io::Error::other("the reply's length makes no sense"));
        };
        let mut reply = vec![0; length];
        self.stream.read_exact(&mut reply).await?;
        Ok(reply.into())
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Connection").field(&self.address).finish()
    }
}

fn encode<R: Request>(
    request: &R,
    version: i16,
    correlation_id: i32,
    client_id: &StrBytes,
) -> Result<BytesMut, String> {
    let mut frame = BytesMut::new();
    frame.put_i32(0);
    RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_correlation_id(correlation_id)
        .with_client_id(Some(client_id.clone()))
        .encode(&mut frame, R::header_version(version))
        .and_then(|()| request.encode(&mut frame, version))
        .map_err(|error| format!("can't write API {} in version {version}: {error}", R::KEY))?;
    let length =
        i32::try_from(frame.len() - 4).map_err(|_| "the request is too long".to_owned())?;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    Ok(frame)
}
