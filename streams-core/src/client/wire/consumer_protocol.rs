//! The consumer protocol's bytes: what members tell each other through the coordinator.
//!
//! Read and written by hand: other members' bytes are not to be trusted, and `kafka-protocol`
//! allocates whatever length an array claims to have.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::group::Partitions;
use crate::group::assignor::Subscription;

/// The version that is written: with owned partitions (1), generation (2) and rack (3).
const VERSION: i16 = 3;

/// A subscription as JoinGroup carries it.
pub(super) fn encode_subscription(member: &Subscription) -> Bytes {
    let mut out = BytesMut::new();
    out.put_i16(VERSION);
    put_length(&mut out, member.topics.len());
    member.topics.iter().for_each(|topic| put_string(&mut out, topic));
    put_bytes(&mut out, member.user_data.as_ref());
    put_partitions(&mut out, &member.owned);
    out.put_i32(member.generation);
    out.put_i16(-1); // no rack
    out.freeze()
}

/// Reads a subscription of any version; a later one is read as far as it is known.
///
/// # Errors
/// If the bytes end too early, or make no sense.
pub(super) fn decode_subscription(mut bytes: Bytes) -> Result<Subscription, String> {
    let version = get_i16(&mut bytes)?;
    let mut member = Subscription { generation: -1, ..Subscription::default() };
    for _ in 0..get_length(&mut bytes)? {
        member.topics.push(get_string(&mut bytes)?);
    }
    member.user_data = get_bytes(&mut bytes)?;
    if version >= 1 {
        member.owned = get_partitions(&mut bytes)?;
    }
    if version >= 2 {
        member.generation = get_i32(&mut bytes)?;
    }
    Ok(member)
}

/// An assignment as SyncGroup carries it.
pub(super) fn encode_assignment(partitions: &Partitions) -> Bytes {
    let mut out = BytesMut::new();
    out.put_i16(VERSION);
    put_partitions(&mut out, partitions);
    put_bytes(&mut out, None);
    out.freeze()
}

/// Reads an assignment. A member without partitions may get no bytes at all.
///
/// # Errors
/// If the bytes end too early, or make no sense.
pub(super) fn decode_assignment(mut bytes: Bytes) -> Result<Partitions, String> {
    if bytes.is_empty() {
        return Ok(Partitions::new());
    }
    get_i16(&mut bytes)?;
    get_partitions(&mut bytes)
}

fn put_length(out: &mut BytesMut, length: usize) {
    out.put_i32(i32::try_from(length).expect("a group's topics and partitions fit in 31 bits"));
}

fn put_string(out: &mut BytesMut, text: &str) {
    out.put_i16(i16::try_from(text.len()).expect("a topic's name has at most 249 bytes"));
    out.put_slice(text.as_bytes());
}

fn put_bytes(out: &mut BytesMut, bytes: Option<&Bytes>) {
    match bytes {
        None => out.put_i32(-1),
        Some(bytes) => {
            put_length(out, bytes.len());
            out.put_slice(bytes);
        }
    }
}

fn put_partitions(out: &mut BytesMut, partitions: &Partitions) {
    let sorted: Vec<_> = partitions.iter().collect();
    let topics: Vec<_> = sorted.chunk_by(|a, b| a.0 == b.0).collect();
    put_length(out, topics.len());
    for topic in topics {
        put_string(out, &topic[0].0);
        put_length(out, topic.len());
        topic.iter().for_each(|(_, partition)| out.put_i32(*partition));
    }
}

const ENDS_EARLY: &str = "the bytes end too early";

fn get_i16(bytes: &mut Bytes) -> Result<i16, String> {
    bytes.try_get_i16().map_err(|_| ENDS_EARLY.to_owned())
}

fn get_i32(bytes: &mut Bytes) -> Result<i32, String> {
    bytes.try_get_i32().map_err(|_| ENDS_EARLY.to_owned())
}

/// An array's length: each element has a byte at least.
fn get_length(bytes: &mut Bytes) -> Result<usize, String> {
    let length = get_i32(bytes)?.max(0);
    let length = usize::try_from(length).map_err(|error| error.to_string())?;
    if length > bytes.len() {
        return Err(ENDS_EARLY.to_owned());
    }
    Ok(length)
}

fn get_slice(bytes: &mut Bytes, length: usize) -> Result<Bytes, String> {
    if length > bytes.len() {
        return Err(ENDS_EARLY.to_owned());
    }
    Ok(bytes.split_to(length))
}

fn get_string(bytes: &mut Bytes) -> Result<String, String> {
    let length = usize::try_from(get_i16(bytes)?).map_err(|_| "a null name".to_owned())?;
    let text = get_slice(bytes, length)?;
    String::from_utf8(text.to_vec()).map_err(|_| "a name that is not UTF-8".to_owned())
}

fn get_bytes(bytes: &mut Bytes) -> Result<Option<Bytes>, String> {
    match usize::try_from(get_i32(bytes)?) {
        Err(_) => Ok(None),
        Ok(length) => get_slice(bytes, length).map(Some),
    }
}

fn get_partitions(bytes: &mut Bytes) -> Result<Partitions, String> {
    let mut partitions = Partitions::new();
    for _ in 0..get_length(bytes)? {
        let topic = get_string(bytes)?;
        for _ in 0..get_length(bytes)? {
            partitions.insert((topic.clone(), get_i32(bytes)?));
        }
    }
    Ok(partitions)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member() -> Subscription {
        let owned = [("a", 1), ("a", 3), ("b", 0)].map(|(t, p)| (t.to_owned(), p)).into();
        Subscription {
            topics: vec!["a".to_owned(), "b".to_owned()],
            owned,
            generation: 7,
            user_data: Some(Bytes::from_static(b"{}")),
        }
    }

    #[test]
    fn subscription_and_assignment_round_trip() {
        let member = member();
        assert_eq!(decode_subscription(encode_subscription(&member)), Ok(member.clone()));
        assert_eq!(decode_assignment(encode_assignment(&member.owned)), Ok(member.owned));
        assert_eq!(decode_assignment(Bytes::new()), Ok(Partitions::new()));
    }

    /// `kafka-protocol`'s own codec agrees, so the bytes are Kafka's.
    #[test]
    fn the_bytes_are_kafkas() {
        use kafka_protocol::messages::ConsumerProtocolSubscription;
        use kafka_protocol::protocol::Decodable;
        let mut bytes = encode_subscription(&member());
        assert_eq!(bytes.get_i16(), VERSION);
        let read = ConsumerProtocolSubscription::decode(&mut bytes, VERSION).unwrap();
        assert!(bytes.is_empty());
        assert_eq!(read.generation_id, 7);
        assert_eq!(read.owned_partitions[0].partitions, [1, 3]);
    }

    #[test]
    fn broken_bytes_are_an_error_and_allocate_nothing() {
        let good = encode_subscription(&member());
        for end in 0..good.len() - 2 {
            assert!(decode_subscription(good.slice(..end)).is_err(), "cut at {end}");
        }
        for bytes in [&b"\0\x03\x7f\xff\xff\xff\xff\xff"[..], b"\0\x00\0\0\0\x01\xff\xff"] {
            assert!(decode_subscription(Bytes::from_static(bytes)).is_err());
        }
    }
}
