//! The consumer protocol's bytes: what members tell each other through the coordinator.
//!
//! Read and written by hand: other members' bytes are not to be trusted, and `kafka-protocol`
//! allocates whatever length an array claims to have.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::group::Partitions;
use crate::group::assignor::{Assignment, Subscription};
use crate::group::budget::Budget;

/// The version that is written: with owned partitions (1), generation (2) and rack (3). Members
/// that know less read as much of it as they know.
pub(super) const VERSION: i16 = 3;

/// A subscription as JoinGroup carries it.
pub(super) fn encode_subscription(version: i16, member: &Subscription) -> Bytes {
    let mut out = BytesMut::new();
    out.put_i16(version);
    put_length(&mut out, member.topics.len());
    member.topics.iter().for_each(|topic| put_string(&mut out, topic));
    put_bytes(&mut out, member.user_data.as_ref());
    if version >= 1 {
        put_partitions(&mut out, &member.owned);
    }
    if version >= 2 {
        out.put_i32(member.generation);
    }
    if version >= 3 {
        match &member.rack {
            Some(rack) => put_string(&mut out, rack),
            None => out.put_i16(-1),
        }
    }
    out.freeze()
}

/// Reads a subscription of any version; a later one is read as far as it is known.
///
/// # Errors
/// If the bytes end too early, make no sense, or would take too much memory.
pub(super) fn decode_subscription(mut bytes: Bytes) -> Result<Subscription, String> {
    let version = get_version(&mut bytes)?;
    let mut budget = Budget::new();
    let mut member = Subscription { generation: -1, ..Subscription::default() };
    for _ in 0..get_length(&mut bytes)? {
        member.topics.push(get_topic(&mut bytes, &mut budget)?);
    }
    member.user_data = get_bytes(&mut bytes)?;
    if version >= 1 {
        member.owned = get_partitions(&mut bytes, &mut budget)?;
    }
    if version >= 2 {
        member.generation = get_i32(&mut bytes)?;
    }
    if version >= 3 {
        member.rack = get_string(&mut bytes)?;
    }
    Ok(member)
}

/// An assignment as SyncGroup carries it. All versions look the same.
pub(super) fn encode_assignment(version: i16, assignment: &Assignment) -> Bytes {
    let mut out = BytesMut::new();
    out.put_i16(version);
    put_partitions(&mut out, &assignment.partitions);
    put_bytes(&mut out, assignment.user_data.as_ref());
    out.freeze()
}

/// Reads an assignment. A member without partitions may get no bytes at all.
///
/// # Errors
/// If the bytes end too early, make no sense, or would take too much memory.
pub(super) fn decode_assignment(mut bytes: Bytes) -> Result<Assignment, String> {
    if bytes.is_empty() {
        return Ok(Assignment::default());
    }
    get_version(&mut bytes)?;
    let partitions = get_partitions(&mut bytes, &mut Budget::new())?;
    let user_data = get_bytes(&mut bytes)?;
    Ok(Assignment { partitions, user_data })
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

fn get_version(bytes: &mut Bytes) -> Result<i16, String> {
    match get_i16(bytes)? {
        version @ 0.. => Ok(version),
        version => Err(format!("{version} is no version")),
    }
}

fn get_string(bytes: &mut Bytes) -> Result<Option<String>, String> {
    let Ok(length) = usize::try_from(get_i16(bytes)?) else {
        return Ok(None);
    };
    let text = get_slice(bytes, length)?;
    let text = String::from_utf8(text.to_vec());
    text.map(Some).map_err(|_| "a name that is not UTF-8".to_owned())
}

fn get_topic(bytes: &mut Bytes, budget: &mut Budget) -> Result<String, String> {
    let name = get_string(bytes)?.ok_or_else(|| "a null name".to_owned())?;
    budget.pay_for(&name, 1)?;
    Ok(name)
}

fn get_bytes(bytes: &mut Bytes) -> Result<Option<Bytes>, String> {
    match usize::try_from(get_i32(bytes)?) {
        Err(_) => Ok(None),
        Ok(length) => get_slice(bytes, length).map(Some),
    }
}

fn get_partitions(bytes: &mut Bytes, budget: &mut Budget) -> Result<Partitions, String> {
    let mut partitions = Vec::new();
    for _ in 0..get_length(bytes)? {
        let topic = get_topic(bytes, budget)?;
        let count = get_length(bytes)?;
        budget.pay_for(&topic, count)?;
        for _ in 0..count {
            match get_i32(bytes)? {
                partition @ 0.. => partitions.push((topic.clone(), partition)),
                partition => return Err(format!("{partition} is no partition")),
            }
        }
    }
    Ok(partitions.into_iter().collect())
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
            rack: Some("r1".to_owned()),
            instance_id: None,
        }
    }

    /// What version `version` can say of it.
    fn known(version: i16, member: &Subscription) -> Subscription {
        let mut known = member.clone();
        if version < 3 {
            known.rack = None;
        }
        if version < 2 {
            known.generation = -1;
        }
        if version < 1 {
            known.owned.clear();
        }
        known
    }

    #[test]
    fn each_version_round_trips_as_far_as_it_goes() {
        let member = member();
        for version in 0..=3 {
            let bytes = encode_subscription(version, &member);
            assert_eq!(decode_subscription(bytes), Ok(known(version, &member)), "{version}");
            let user_data = Some(Bytes::from_static(b"x"));
            let assignment = Assignment { partitions: member.owned.clone(), user_data };
            let bytes = encode_assignment(version, &assignment);
            assert_eq!(decode_assignment(bytes), Ok(assignment), "{version}");
        }
        assert_eq!(decode_assignment(Bytes::new()), Ok(Assignment::default()));
    }

    #[test]
    fn a_later_version_is_read_as_far_as_it_is_known() {
        let mut bytes = BytesMut::from(&encode_subscription(3, &member())[..]);
        bytes[1] = 9;
        bytes.put_slice(b"what comes later");
        assert_eq!(decode_subscription(bytes.freeze()), Ok(member()));
    }

    /// `kafka-protocol`'s own codec writes the same bytes, so they are Kafka's.
    #[test]
    fn the_bytes_are_kafkas() {
        use kafka_protocol::messages::consumer_protocol_subscription::TopicPartition;
        use kafka_protocol::messages::{ConsumerProtocolSubscription, TopicName};
        use kafka_protocol::protocol::{Encodable, StrBytes};
        let text = |text: &str| StrBytes::from_string(text.to_owned());
        let owned = |topic: &str, partitions: Vec<i32>| {
            let topic = TopicName(text(topic));
            TopicPartition::default().with_topic(topic).with_partitions(partitions)
        };
        for version in 0..=3_i16 {
            let mut theirs = ConsumerProtocolSubscription::default()
                .with_topics(vec![text("a"), text("b")])
                .with_user_data(Some(Bytes::from_static(b"{}")));
            if version >= 1 {
                theirs.owned_partitions = vec![owned("a", vec![1, 3]), owned("b", vec![0])];
            }
            if version >= 2 {
                theirs.generation_id = 7;
            }
            if version >= 3 {
                theirs.rack_id = Some(text("r1"));
            }
            let mut bytes = BytesMut::new();
            bytes.put_i16(version);
            theirs.encode(&mut bytes, version).unwrap();
            assert_eq!(encode_subscription(version, &member()), bytes.freeze(), "{version}");
        }
    }

    #[test]
    fn broken_bytes_are_an_error_and_allocate_nothing() {
        let good = encode_subscription(VERSION, &member());
        for end in 0..good.len() {
            assert!(decode_subscription(good.slice(..end)).is_err(), "cut at {end}");
        }
        let broken = [
            &b"\0\x03\x7f\xff\xff\xff\xff\xff"[..],
            b"\0\x00\0\0\0\x01\xff\xff",
            b"\xff\xff\0\0\0\0\0\0\0\0",
        ];
        for bytes in broken {
            assert!(decode_subscription(Bytes::from_static(bytes)).is_err());
        }
    }

    /// One long name and many numbers would take the name's length for each of them.
    #[test]
    fn a_short_message_does_not_become_a_large_set() {
        let message = |name: usize, count: i32| {
            let mut bytes = BytesMut::from(&b"\0\x01\0\0\0\0\xff\xff\xff\xff\0\0\0\x01"[..]);
            bytes.put_i16(i16::try_from(name).expect("it is short"));
            bytes.put_bytes(b'x', name);
            bytes.put_i32(count);
            bytes.put_bytes(0, usize::try_from(count).expect("not negative") * 4);
            bytes.freeze()
        };
        assert!(decode_subscription(message(30_000, 100)).is_err());
        assert!(decode_subscription(message(249, 1_000_000)).is_err());
        assert!(decode_subscription(message(249, 1_000)).is_ok());
    }

    #[test]
    fn u9_a_member_with_very_many_partitions_can_be_read() {
        let owned: Partitions = (0..300_000).map(|n| ("orders".to_owned(), n)).collect();
        let member = Subscription { owned, ..member() };
        let bytes = encode_subscription(VERSION, &member);
        assert_eq!(decode_subscription(bytes), Ok(member.clone()));
        let assignment = Assignment { partitions: member.owned, user_data: None };
        let bytes = encode_assignment(VERSION, &assignment);
        assert_eq!(decode_assignment(bytes), Ok(assignment));
    }

    #[test]
    fn u9_partitions_that_can_not_exist_are_refused() {
        let partitions = [("t".to_owned(), -1)].into();
        let bytes = encode_assignment(VERSION, &Assignment { partitions, user_data: None });
        assert_eq!(decode_assignment(bytes), Err("-1 is no partition".to_owned()));
    }

    /// Each byte of good messages is turned into others, and random bytes are read: an error or a
    /// value, and no panic.
    #[test]
    fn u9_odd_bytes_are_no_panic() {
        let assignment =
            Assignment { partitions: member().owned, user_data: Some(Bytes::from_static(b"{}")) };
        let good =
            [encode_subscription(VERSION, &member()), encode_assignment(VERSION, &assignment)];
        let read = |bytes: Vec<u8>| {
            let bytes = Bytes::from(bytes);
            let _ = decode_subscription(bytes.clone());
            let _ = decode_assignment(bytes);
        };
        for message in &good {
            for at in 0..message.len() {
                for byte in [0, 1, 0x7f, 0x80, 0xff] {
                    let mut odd = message.to_vec();
                    odd[at] = byte;
                    read(odd);
                }
            }
        }
        let mut random = 7_u64;
        for length in 0..2_000 {
            let byte = |_| {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                // Small numbers are lengths that fit.
                let byte = random.to_be_bytes()[0];
                if byte & 1 == 0 { byte & 3 } else { byte }
            };
            read((0..length % 200).map(byte).collect());
        }
    }
}
