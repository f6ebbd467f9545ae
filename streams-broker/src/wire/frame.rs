//! Frames: a request out of bytes, a response into bytes.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, RequestKind, ResponseHeader, ResponseKind};
use kafka_protocol::protocol::Encodable;

use super::guard;
use crate::cluster::{api_versions, codes, is_served};

/// What came in.
pub(super) enum Parsed {
    /// It is answered without the machine.
    Answer(Bytes),
    Request {
        version: i16,
        request: Box<RequestKind>,
        correlation_id: i32,
        client_id: String,
    },
}

/// Reads a request.
pub(super) fn parse(frame: &Bytes) -> Result<Parsed, String> {
    if frame.len() < 8 {
        return Err("a request without a header".to_owned());
    }
    let (key, version) = ((&frame[0..2]).get_i16(), (&frame[2..4]).get_i16());
    let correlation_id = (&frame[4..8]).get_i32();
    let api = ApiKey::try_from(key).map_err(|()| format!("API {key} is not known"))?;
    if !is_served(api, version) {
        // As Kafka does: the client learns the versions, and asks again.
        if api == ApiKey::ApiVersions {
            let refusal = api_versions(0, codes::UNSUPPORTED_VERSION, 2);
            let refusal = ResponseKind::ApiVersions(refusal);
            let answer = encode(&refusal, 0, correlation_id);
            return answer.map(Parsed::Answer).ok_or_else(|| "no answer".to_owned());
        }
        return Err(format!("version {version} of {api:?} is not served"));
    }
    let (header, request) = guard::decode(api, version, frame)
        .map_err(|error| format!("version {version} of {api:?} can't be read: {error}"))?;
    let client_id = header.client_id.map(|id| id.to_string()).unwrap_or_default();
    let request = Box::new(request);
    Ok(Parsed::Request { version, request, correlation_id, client_id })
}

/// Writes a response.
pub(super) fn encode(response: &ResponseKind, version: i16, correlation_id: i32) -> Option<Bytes> {
    let mut frame = BytesMut::new();
    frame.put_i32(0);
    let header = ResponseHeader::default().with_correlation_id(correlation_id);
    let encoded = header
        .encode(&mut frame, response.header_version(version))
        .and_then(|()| response.encode(&mut frame, version));
    if let Err(error) = encoded {
        tracing::error!(%error, version, "a response can't be written");
        return None;
    }
    let length = i32::try_from(frame.len() - 4).ok()?;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    Some(frame.freeze())
}
