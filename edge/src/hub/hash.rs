//! Where audiences are found in the hub. Their keys are numbers of our own that count up, which nobody outside can choose:
//! one multiplication spreads them (Fibonacci hashing: Knuth, The Art of Computer Programming, volume 3, section 6.4).
//! A walk looks its audience up three times, which is a fifth of what a batch costs with the hasher of the standard library.

use std::hash::{BuildHasherDefault, Hasher};

/// Makes a hasher for each look-up.
pub(super) type BuildKeyHasher = BuildHasherDefault<KeyHasher>;

/// 2^64 divided by the golden ratio.
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;

/// Hashes the numbers of an interest and an encoding.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct KeyHasher(u64);

impl Hasher for KeyHasher {
    #[inline]
    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0.rotate_left(5) ^ number).wrapping_mul(SPREAD);
    }

    #[inline]
    fn write_u8(&mut self, number: u8) {
        self.write_u64(number.into());
    }

    #[inline]
    fn write_isize(&mut self, number: isize) {
        self.write_u64(number as u64);
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u8(*byte);
        }
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::hash::BuildHasher as _;

    use tailwater_protocol::encoding::Encoding;

    use super::*;

    #[test]
    fn keys_that_count_up_are_spread_over_all_that_a_table_looks_at() {
        let keys = (0..1024_u64).flat_map(|id| Encoding::ALL.map(|encoding| (id, encoding)));
        let hashes: Vec<u64> = keys.map(|key| BuildKeyHasher::default().hash_one(key)).collect();
        let different: HashSet<u64> = hashes.iter().copied().collect();
        assert_eq!(different.len(), hashes.len());
        let buckets: HashSet<u64> = hashes.iter().map(|hash| hash % 4096).collect();
        assert!(buckets.len() > 2048, "{}", buckets.len());
        let tags: HashSet<u64> = hashes.iter().map(|hash| hash >> 57).collect();
        assert_eq!(tags.len(), 128);
    }
}
