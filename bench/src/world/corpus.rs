//! Digests made up as needed: the same ones each time, evenly spread, in order if asked by rank.

use api_types::digest::Digest;

/// Chunks that exist only as digests.
#[derive(Clone, Copy, Debug)]
pub struct Corpus {
    count: u64,
    /// Width of the part of the digest space that belongs to one chunk.
    step: u64,
}

impl Corpus {
    /// So many chunks.
    #[must_use]
    pub fn new(count: u64) -> Self {
        let count = count.max(1);
        Self {
            count,
            step: u64::MAX / count,
        }
    }

    /// How many.
    #[must_use]
    pub fn count(self) -> u64 {
        self.count
    }

    /// The digest of that rank in ascending order.
    #[must_use]
    pub fn digest(self, rank: u64) -> Digest {
        let mut bytes = [0; 32];
        let noise = mix(rank);
        let first = rank * self.step + noise % self.step.max(1);
        bytes[..8].copy_from_slice(&first.to_be_bytes());
        for (number, piece) in (1_u64..).zip(bytes[8..].chunks_exact_mut(8)) {
            piece.copy_from_slice(&mix(noise.wrapping_add(number)).to_be_bytes());
        }
        Digest::from_bytes(bytes)
    }

    /// The rank of the first digest that is not below this first part of one.
    #[must_use]
    pub fn rank_of(self, digest: &Digest) -> u64 {
        let bytes = digest.as_bytes();
        let mut first = [0; 8];
        first.copy_from_slice(&bytes[..8]);
        let rank = (u64::from_be_bytes(first) / self.step).min(self.count - 1);
        rank + u64::from(self.digest(rank) < *digest)
    }

    /// The rank of the `i`-th chunk in the order in which they came to be: each rank once.
    #[must_use]
    pub fn born(self, i: u64) -> u64 {
        // A prime that divides no count below it: the steps meet each rank once.
        const STRIDE: u64 = 0x7fff_ffff;
        let wide = u128::from(i % self.count) * u128::from(STRIDE) % u128::from(self.count);
        u64::try_from(wide).unwrap_or(0)
    }
}

/// SplitMix64's output function.
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_ascend_are_found_again_and_come_once() {
        let corpus = Corpus::new(1000);
        let digests: Vec<Digest> = (0..1000).map(|rank| corpus.digest(rank)).collect();
        assert!(digests.windows(2).all(|pair| pair[0] < pair[1]));
        for (rank, digest) in (0..).zip(&digests) {
            assert_eq!(corpus.rank_of(digest), rank);
        }
        assert_eq!(corpus.rank_of(&Digest::from_bytes([0xff; 32])), 1000);
        let born: std::collections::BTreeSet<u64> = (0..1000).map(|i| corpus.born(i)).collect();
        assert_eq!(born.len(), 1000);
    }
}
