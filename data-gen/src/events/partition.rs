//! Which partition a key belongs to.

/// The partition that the default partitioner of Kafka's Java client, and so Debezium, chooses for a key.
pub fn partition_of_key(key: &[u8], partitions: i32) -> i32 {
    // The Java client clears the sign bit, which makes -1 the largest number, not 1.
    (murmur2(key) & i32::MAX) % partitions.max(1)
}

/// MurmurHash 2 with the seed and the signedness of `org.apache.kafka.common.utils.Utils.murmur2`.
fn murmur2(bytes: &[u8]) -> i32 {
    const SEED: u32 = 0x9747_b28c;
    const MULTIPLIER: u32 = 0x5bd1_e995;
    const SHIFT: u32 = 24;

    let mut hash = SEED ^ bytes.len() as u32;
    let (words, rest) = bytes.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(MULTIPLIER);
        k ^= k >> SHIFT;
        hash = hash.wrapping_mul(MULTIPLIER) ^ k.wrapping_mul(MULTIPLIER);
    }
    if !rest.is_empty() {
        let last = rest.iter().rev().fold(0, |word, byte| word << 8 | u32::from(*byte));
        hash = (hash ^ last).wrapping_mul(MULTIPLIER);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(MULTIPLIER);
    (hash ^ hash >> 15).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn murmur2_is_kafkas() {
        // From UtilsTest.testMurmur2 of Apache Kafka.
        for (text, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(text.as_bytes()), hash, "{text}");
        }
    }

    #[test]
    fn keys_spread_over_partitions() {
        let mut keys_of = [0_u32; 4];
        for id in 0..40_000 {
            let key = format!("{{\"customer_id\":{id}}}");
            keys_of[usize::try_from(partition_of_key(key.as_bytes(), 4)).unwrap()] += 1;
        }
        assert!(keys_of.iter().all(|keys| (9_000..11_000).contains(keys)), "{keys_of:?}");
    }
}
