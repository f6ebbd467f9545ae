//! Who chooses the partition of a record.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};

use super::partition_for_key;

/// Chooses the partition of records that name none. GKES: `kgo.Partitioner`.
///
/// A [`Topic`](crate::Topic) has one by [`Topic::partitioner`](crate::Topic::partitioner); without
/// one, the key's murmur2 hash decides, as in Kafka's Java client.
///
/// # Examples
/// ```
/// use streams_core::prelude::*;
/// use streams_core::record::Partitioner;
///
/// /// Large customers have partition 0 for themselves.
/// #[derive(Debug)]
/// struct LargeFirst;
///
/// impl Partitioner for LargeFirst {
///     fn partition(&self, _topic: &str, key: Option<&[u8]>, partitions: i32) -> i32 {
///         let key = key.unwrap_or_default();
///         match key.starts_with(b"large-") || partitions == 1 {
///             true => 0,
///             false => 1 + streams_core::record::partition_for_key(key, partitions - 1),
///         }
///     }
/// }
///
/// #[derive(Events)]
/// enum Invoice {
///     Sent(i64),
/// }
///
/// static INVOICES: Topic<Invoice> = Topic::new("invoices").partitioner(&LargeFirst);
/// # fn main() {
/// assert_eq!(LargeFirst.partition("invoices", Some(b"large-1"), 4), 0);
/// # }
/// ```
pub trait Partitioner: fmt::Debug + Send + Sync + 'static {
    /// Returns the partition for a record with this key: 0 to `partitions` - 1. Any other number
    /// fails the record.
    ///
    /// It must not block: a handler's worker or the client's thread calls it.
    fn partition(&self, topic: &str, key: Option<&[u8]>, partitions: i32) -> i32;

    /// Returns true if each record must name its partition, as with [`Manual`].
    fn chooses_none(&self) -> bool {
        false
    }
}

/// The partition that Kafka's Java client chooses for a key; records without a key go round.
///
/// This is what a topic without a partitioner does with keys.
#[derive(Debug, Default)]
pub struct Murmur2 {
    keyless: RoundRobin,
}

impl Murmur2 {
    /// Returns the partitioner, for a `static`.
    pub const fn new() -> Self {
        Self { keyless: RoundRobin::new() }
    }
}

impl Partitioner for Murmur2 {
    fn partition(&self, topic: &str, key: Option<&[u8]>, partitions: i32) -> i32 {
        match key {
            Some(key) if partitions > 0 => partition_for_key(key, partitions),
            _ => self.keyless.partition(topic, key, partitions),
        }
    }
}

/// One partition after the other, whatever the key is.
///
/// # Examples
/// ```
/// use streams_core::record::{Partitioner, RoundRobin};
///
/// static TURNS: RoundRobin = RoundRobin::new();
/// let chosen = [(); 4].map(|()| TURNS.partition("t", Some(b"key"), 3));
/// assert_eq!(chosen, [0, 1, 2, 0]);
/// ```
#[derive(Debug, Default)]
pub struct RoundRobin {
    next: AtomicU32,
}

impl RoundRobin {
    /// Returns the partitioner, for a `static`.
    pub const fn new() -> Self {
        Self { next: AtomicU32::new(0) }
    }
}

impl Partitioner for RoundRobin {
    fn partition(&self, _topic: &str, _key: Option<&[u8]>, partitions: i32) -> i32 {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        match u32::try_from(partitions) {
            Ok(partitions) if partitions > 0 => {
                i32::try_from(turn % partitions).unwrap_or_default()
            }
            _ => -1,
        }
    }
}

/// No partition: each record must name its own, and a record that does not is an error. GKES: an
/// `OptionalPartitioner` without a fallback.
#[derive(Clone, Copy, Debug, Default)]
pub struct Manual;

impl Partitioner for Manual {
    fn partition(&self, _topic: &str, _key: Option<&[u8]>, _partitions: i32) -> i32 {
        -1
    }

    fn chooses_none(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn murmur2_goes_by_the_key_and_without_one_in_turn() {
        let murmur2 = Murmur2::new();
        let expected = partition_for_key(b"foobar", 12);
        assert_eq!(murmur2.partition("t", Some(b"foobar"), 12), expected);
        let keyless = [(); 3].map(|()| murmur2.partition("t", None, 2));
        assert_eq!(keyless, [0, 1, 0]);
        assert_eq!(murmur2.partition("t", Some(b"foobar"), 0), -1, "no topic has none");
    }

    #[test]
    fn a_manual_partition_is_not_chosen() {
        assert_eq!(Manual.partition("t", Some(b"a"), 3), -1);
    }
}
