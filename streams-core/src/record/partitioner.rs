//! Which partition a key belongs to: murmur2, bit for bit as Kafka's Java client has it.

const SEED: u32 = 0x9747_b28c;
const MULTIPLIER: u32 = 0x5bd1_e995;
const SHIFT: u32 = 24;

/// The 32-bit murmur2 hash of Kafka's Java client (`Utils.murmur2`).
pub fn murmur2(key: &[u8]) -> u32 {
    // Java's `data.length` is an `int`; keys are far shorter than that.
    #[expect(clippy::cast_possible_truncation, reason = "as Java's int")]
    let mut hash = SEED ^ (key.len() as u32);
    let mut words = key.chunks_exact(4);
    for word in words.by_ref() {
        let mut k = word.iter().rev().fold(0, |k, byte| (k << 8) | u32::from(*byte));
        k = k.wrapping_mul(MULTIPLIER);
        k ^= k >> SHIFT;
        k = k.wrapping_mul(MULTIPLIER);
        hash = hash.wrapping_mul(MULTIPLIER) ^ k;
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        hash ^= rest.iter().rev().fold(0, |k, byte| (k << 8) | u32::from(*byte));
        hash = hash.wrapping_mul(MULTIPLIER);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(MULTIPLIER);
    hash ^ (hash >> 15)
}

/// The partition, of `partitions`, that Java's default partitioner gives to `key`.
///
/// # Panics
/// If `partitions` is not positive: no topic has no partition.
pub fn partition_for_key(key: &[u8], partitions: i32) -> i32 {
    let partitions =
        u32::try_from(partitions).ok().filter(|n| *n > 0).expect("a topic has partitions");
    // `Utils.toPositive`: the sign bit is dropped, not negated.
    let positive = murmur2(key) & 0x7fff_ffff;
    i32::try_from(positive % partitions).expect("less than the number of partitions")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The cases of Kafka's own `UtilsTest.testMurmur2`.
    #[test]
    fn hashes_as_java_does() {
        let cases: [(&[u8], i32); 7] = [
            (b"21", -973_932_308),
            (b"foobar", -790_332_482),
            (b"a-little-bit-long-string", -985_981_536),
            (b"a-little-bit-longer-string", -1_486_304_829),
            (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            (b"abc", 479_470_107),
            (b"", 275_646_681),
        ];
        for (key, hash) in cases {
            assert_eq!(murmur2(key).cast_signed(), hash, "{}", String::from_utf8_lossy(key));
        }
    }

    #[test]
    fn the_partition_is_in_range() {
        for n in 1..50 {
            assert!((0..n).contains(&partition_for_key(b"foobar", n)));
        }
    }
}
