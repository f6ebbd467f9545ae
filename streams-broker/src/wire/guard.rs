//! Decoding requests of anybody.
//!
//! `kafka-protocol` allocates what an array claims to have: four bytes could ask for gigabytes,
//! and the process would end. Which numbers are lengths only the decoder knows; so it is let loose
//! on a [`Walker`] first, which puts a small number in place of each large one. Were the large one
//! a plain value (a timeout), nothing follows from it. Were it the length of bytes, the next thing
//! asked for are the bytes, and they come whole. Were it the length of an array, another small
//! number leads the decoder another way. So if two small numbers lead it the same way, no array
//! claims more than [`CLAIM_MAX`] elements, and the request can be decoded for good.
//!
//! What a request takes is bounded besides by the number of things that may be read of it.

use bytes::{Buf, Bytes, TryGetError};
use kafka_protocol::messages::{ApiKey, RequestHeader, RequestKind};
use kafka_protocol::protocol::Decodable;
use kafka_protocol::protocol::buf::{ByteBuf, NotEnoughBytesError};

/// The most elements of an array; the least that is suspicious.
const CLAIM_MAX: u32 = 65_536;
/// So many numbers, texts and so on a request may have.
const READS_MAX: u32 = 1_000_000;

/// A number that was put in place of a larger one.
#[derive(Clone, Copy, Debug)]
struct Claim {
    /// The length of bytes that it would be.
    length: usize,
}

/// Bytes that are read with care.
#[derive(Debug)]
struct Walker {
    bytes: Bytes,
    /// How many elements an array is said to have that claims too many.
    elements: u8,
    /// The last thing read, if it was a large number.
    claim: Option<Claim>,
    /// So many bytes of a small varint are still to be read.
    varint_rest: usize,
    /// So many large numbers were no lengths of bytes.
    replaced: u32,
    reads: u32,
    /// Where the reads led: a hash of the positions.
    way: u64,
}

impl Walker {
    const fn new(bytes: Bytes, elements: u8) -> Self {
        Self { bytes, elements, claim: None, varint_rest: 0, replaced: 0, reads: 0, way: 0 }
    }

    fn stepped(&mut self) {
        self.reads = self.reads.saturating_add(1);
        self.way = (self.way ^ self.bytes.len() as u64).wrapping_mul(0x0100_0000_01b3);
        if self.claim.take().is_some() {
            self.replaced += 1;
        }
    }

    /// Whether there is more; there isn't when too much was read.
    const fn left(&self) -> usize {
        if self.reads > READS_MAX { 0 } else { self.bytes.len() }
    }

    /// The varint that begins here, and how many bytes it has.
    fn varint(&self) -> Option<(u32, usize)> {
        let mut value = 0_u32;
        for (at, byte) in self.bytes.iter().take(5).enumerate() {
            value |= u32::from(byte & 0x7f) << (at * 7);
            if byte & 0x80 == 0 {
                return Some((value, at + 1));
            }
        }
        None
    }
}

impl Buf for Walker {
    fn remaining(&self) -> usize {
        self.left()
    }

    fn chunk(&self) -> &[u8] {
        &self.bytes
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
        self.stepped();
        self.varint_rest = 0;
    }

    fn try_get_u8(&mut self) -> Result<u8, TryGetError> {
        let available = self.left();
        if available == 0 {
            return Err(TryGetError { requested: 1, available });
        }
        if self.varint_rest == 0 {
            // Lengths of compact texts, bytes and arrays are one more than they say.
            if let Some((value, length)) = self.varint() {
                if value > CLAIM_MAX {
                    self.bytes.advance(length);
                    self.stepped();
                    self.claim = Some(Claim { length: value as usize - 1 });
                    return Ok(self.elements + 1);
                }
                self.varint_rest = length;
            } else {
                self.varint_rest = 1;
            }
        }
        let rest = self.varint_rest - 1;
        let byte = self.bytes.get_u8();
        self.stepped();
        self.varint_rest = rest;
        Ok(byte)
    }

    fn try_get_i32(&mut self) -> Result<i32, TryGetError> {
        let available = self.left();
        if available < 4 {
            return Err(TryGetError { requested: 4, available });
        }
        let value = self.bytes.get_i32();
        self.stepped();
        self.varint_rest = 0;
        if value <= CLAIM_MAX as i32 {
            return Ok(value);
        }
        self.claim = Some(Claim { length: usize::try_from(value).unwrap_or(usize::MAX) });
        Ok(i32::from(self.elements))
    }
}

impl ByteBuf for Walker {
    fn peek_bytes(&mut self, range: std::ops::Range<usize>) -> Bytes {
        self.bytes.slice(range)
    }

    fn get_bytes(&mut self, size: usize) -> Bytes {
        let bytes = self.bytes.split_to(size);
        self.stepped();
        self.varint_rest = 0;
        bytes
    }

    fn try_get_bytes(&mut self, size: usize) -> Result<Bytes, NotEnoughBytesError> {
        // The large number before was their length.
        let size = self.claim.take().map_or(size, |claim| claim.length);
        if self.left() < size { Err(NotEnoughBytesError) } else { Ok(self.get_bytes(size)) }
    }
}

macro_rules! decoders {
    ($($api:ident $request:ident)*) => {
        fn decode_with<B: ByteBuf>(
            api: ApiKey,
            bytes: &mut B,
            version: i16,
        ) -> Result<RequestKind, String> {
            let decoded = match api {
                $(ApiKey::$api => {
                    kafka_protocol::messages::$request::decode(bytes, version)
                        .map(RequestKind::$api)
                })*
                other => return Err(format!("{other:?} is not served")),
            };
            decoded.map_err(|error| error.to_string())
        }

        #[cfg(test)]
        const DECODED: &[ApiKey] = &[$(ApiKey::$api),*];
    };
}

decoders! {
    Produce ProduceRequest
    Fetch FetchRequest
    ListOffsets ListOffsetsRequest
    Metadata MetadataRequest
    OffsetCommit OffsetCommitRequest
    OffsetFetch OffsetFetchRequest
    FindCoordinator FindCoordinatorRequest
    JoinGroup JoinGroupRequest
    Heartbeat HeartbeatRequest
    LeaveGroup LeaveGroupRequest
    SyncGroup SyncGroupRequest
    DescribeGroups DescribeGroupsRequest
    ListGroups ListGroupsRequest
    ApiVersions ApiVersionsRequest
    CreateTopics CreateTopicsRequest
    DeleteTopics DeleteTopicsRequest
    DeleteRecords DeleteRecordsRequest
    InitProducerId InitProducerIdRequest
    OffsetForLeaderEpoch OffsetForLeaderEpochRequest
    AddPartitionsToTxn AddPartitionsToTxnRequest
    AddOffsetsToTxn AddOffsetsToTxnRequest
    EndTxn EndTxnRequest
    TxnOffsetCommit TxnOffsetCommitRequest
    DescribeConfigs DescribeConfigsRequest
    AlterConfigs AlterConfigsRequest
    CreatePartitions CreatePartitionsRequest
    DeleteGroups DeleteGroupsRequest
    IncrementalAlterConfigs IncrementalAlterConfigsRequest
    OffsetDelete OffsetDeleteRequest
    DescribeCluster DescribeClusterRequest
    DescribeProducers DescribeProducersRequest
    DescribeTransactions DescribeTransactionsRequest
    ListTransactions ListTransactionsRequest
    DescribeTopicPartitions DescribeTopicPartitionsRequest
}

/// Decodes a request, header and all.
///
/// # Errors
/// If it can't be read, or claims to have more than it may.
pub(super) fn decode(
    api: ApiKey,
    version: i16,
    frame: &Bytes,
) -> Result<(RequestHeader, RequestKind), String> {
    let header_version = api.request_header_version(version);
    let walk = |elements: u8| {
        let mut walker = Walker::new(frame.clone(), elements);
        let header = RequestHeader::decode(&mut walker, header_version);
        let header = header.map_err(|error| format!("a header that can't be read: {error}"))?;
        let request = decode_with(api, &mut walker, version)?;
        walker.stepped();
        Ok::<_, String>((walker, header, request))
    };
    let (first, header, request) = walk(0)?;
    if first.replaced == 0 {
        return Ok((header, request));
    }
    let (second, ..) = walk(1)?;
    if first.way != second.way {
        return Err(format!("an array claims more than {CLAIM_MAX} elements"));
    }
    let mut bytes = frame.clone();
    let header = RequestHeader::decode(&mut bytes, header_version);
    let header = header.map_err(|error| error.to_string())?;
    Ok((header, decode_with(api, &mut bytes, version)?))
}

#[cfg(test)]
mod tests {
    use bytes::{BufMut, BytesMut};
    use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
    use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
    use kafka_protocol::messages::{FetchRequest, MetadataRequest, ProduceRequest, TopicName};
    use kafka_protocol::protocol::{Encodable, StrBytes};

    use super::*;
    use crate::cluster::is_served;

    fn frame(api: ApiKey, version: i16, request: &impl Encodable) -> Bytes {
        let mut bytes = BytesMut::new();
        let header = RequestHeader::default()
            .with_request_api_key(api as i16)
            .with_request_api_version(version)
            .with_client_id(Some(StrBytes::from_static_str("client")));
        header.encode(&mut bytes, api.request_header_version(version)).unwrap();
        request.encode(&mut bytes, version).unwrap();
        bytes.freeze()
    }

    fn topic(name: &str) -> TopicName {
        TopicName(StrBytes::from_string(name.to_owned()))
    }

    #[test]
    fn all_that_is_served_can_be_decoded() {
        for api in ApiKey::iter() {
            let served = (0..32).any(|version| is_served(api, version));
            assert!(!served || DECODED.contains(&api), "{api:?}");
        }
    }

    #[test]
    fn large_values_and_large_bytes_come_through() {
        let partition = FetchPartition::default().with_partition_max_bytes(1 << 20);
        let fetch = FetchTopic::default().with_topic(topic("t")).with_partitions(vec![partition]);
        let fetch = FetchRequest::default()
            .with_max_wait_ms(500_000)
            .with_max_bytes(i32::MAX)
            .with_topics(vec![fetch]);
        for version in [4, 11, 12] {
            let (header, request) =
                decode(ApiKey::Fetch, version, &frame(ApiKey::Fetch, version, &fetch)).unwrap();
            assert_eq!(header.client_id.as_deref(), Some("client"));
            assert_eq!(request, RequestKind::Fetch(fetch.clone()), "{version}");
        }
        let records = Bytes::from(vec![7; 200_000]);
        let data = PartitionProduceData::default().with_records(Some(records));
        let data = TopicProduceData::default()
            .with_name(topic("t"))
            .with_partition_data(vec![data.clone(), data]);
        let produce =
            ProduceRequest::default().with_timeout_ms(1_000_000).with_topic_data(vec![data]);
        for version in [3, 8, 9, 12] {
            let bytes = frame(ApiKey::Produce, version, &produce);
            let (_, request) = decode(ApiKey::Produce, version, &bytes).unwrap();
            assert_eq!(request, RequestKind::Produce(produce.clone()), "{version}");
        }
    }

    #[test]
    fn an_array_that_claims_too_much_is_refused_before_anything_is_allocated() {
        for (version, at_end) in [(8, 3), (4, 1), (1, 0)] {
            let bytes = frame(ApiKey::Metadata, version, &MetadataRequest::default());
            // The array's length is the first thing behind the header.
            let at = bytes.len() - at_end - 4;
            let mut bytes = BytesMut::from(&bytes[..]);
            for claim in [i32::MAX, 2_000_000_000, 65_537] {
                bytes[at..at + 4].copy_from_slice(&claim.to_be_bytes());
                assert!(decode(ApiKey::Metadata, version, &bytes.clone().freeze()).is_err());
            }
        }
        let bytes = frame(ApiKey::Metadata, 9, &MetadataRequest::default().with_topics(None));
        let mut longer = BytesMut::from(&bytes[..bytes.len() - 5]);
        longer.put_slice(&[0xff, 0xff, 0xff, 0xff, 0x0f]);
        longer.put_slice(&bytes[bytes.len() - 4..]);
        assert!(decode(ApiKey::Metadata, 9, &longer.freeze()).is_err(), "a varint");
    }

    #[test]
    fn a_request_with_too_many_parts_is_refused() {
        let mut bytes =
            BytesMut::from(&frame(ApiKey::Metadata, 0, &MetadataRequest::default())[..]);
        bytes.truncate(bytes.len() - 4);
        let small = bytes.clone();
        bytes.put_i32(65_536);
        bytes.put_bytes(0, 2 * 65_536);
        assert!(decode(ApiKey::Metadata, 0, &bytes.freeze()).is_ok());
        let mut bytes = small;
        bytes.put_i32(65_536);
        bytes.put_bytes(0, 2 * 65_535);
        assert!(decode(ApiKey::Metadata, 0, &bytes.freeze()).is_err(), "one is missing");
    }
}
