//! Shards of the digest space: the string prefixes below `.chunks/` that are listed side by side,
//! and how many of them a run uses.
//!
//! A listing page holds 1000 keys and pages of one prefix come one after the other, so a big store
//! is listed in many shards and a small one in few, for a shard costs at least one request
//! (gc.md §6.2 P2: about 4–20 pages each).

use std::fmt;

use api_types::digest::{DIGEST_LEN, Digest};

/// Keys of a listing page.
const PAGE: u64 = 1000;
/// Pages a shard should not exceed.
const MAX_PAGES: u64 = 20;

/// How many shards a run uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum ShardCount {
    /// Everything in one listing.
    #[default]
    One,
    /// One hex digit.
    N16,
    /// Two hex digits.
    N256,
    /// Three hex digits.
    N4096,
}

impl ShardCount {
    /// The number of shards for a store of that many objects: what the previous run listed, and at
    /// least what the mark found referenced, since the first run knows nothing else.
    #[must_use]
    pub fn choose(previous: Option<u64>, marked: u64) -> Self {
        let expected = previous.unwrap_or(0).max(marked);
        [Self::One, Self::N16, Self::N256]
            .into_iter()
            .find(|count| expected <= count.shards().saturating_mul(MAX_PAGES * PAGE))
            .unwrap_or(Self::N4096)
    }

    /// The number.
    #[must_use]
    pub const fn shards(self) -> u64 {
        1 << (4 * self.digits())
    }

    /// Hex digits of each prefix.
    #[must_use]
    pub const fn digits(self) -> u8 {
        match self {
            Self::One => 0,
            Self::N16 => 1,
            Self::N256 => 2,
            Self::N4096 => 3,
        }
    }

    /// All shards in the order of their digests; together they cover every digest once.
    #[must_use]
    pub fn prefixes(self) -> Vec<ShardPrefix> {
        let digits = self.digits();
        let last = u16::try_from(self.shards() - 1).unwrap_or(u16::MAX);
        (0..=last)
            .map(|value| ShardPrefix { digits, value })
            .collect()
    }
}

/// A prefix of 0 to 3 lower-case hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardPrefix {
    digits: u8,
    value: u16,
}

impl ShardPrefix {
    /// The shard of all digests.
    pub const ALL: Self = Self {
        digits: 0,
        value: 0,
    };

    /// The shard of `digits` (0 to 3) hex digits that holds `digest`.
    #[must_use]
    pub fn of(digest: &Digest, digits: u8) -> Self {
        let digits = digits.min(3);
        Self {
            digits,
            value: truncated(digest.prefix(), digits),
        }
    }

    /// The smallest digest of the shard.
    #[must_use]
    pub fn first(self) -> Digest {
        digest_with_prefix(self.value << (16 - 4 * u16::from(self.digits)).min(15))
    }

    /// The smallest digest behind the shard; none behind the last shard.
    #[must_use]
    pub fn end(self) -> Option<Digest> {
        let next = u32::from(self.value) + 1;
        let shifted = next << (16 - 4 * u32::from(self.digits));
        u16::try_from(shifted).ok().map(digest_with_prefix)
    }

    /// Whether the digest belongs to this shard.
    #[must_use]
    pub fn contains(self, digest: &Digest) -> bool {
        truncated(digest.prefix(), self.digits) == self.value
    }

    /// The chunk directories (first two bytes of their digests) of this shard.
    #[must_use]
    pub fn directories(self) -> std::ops::RangeInclusive<u16> {
        let last = self.end().map_or(u16::MAX, |end| end.prefix() - 1);
        self.first().prefix()..=last
    }
}

impl fmt::Display for ShardPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.digits == 0 {
            return Ok(());
        }
        write!(
            f,
            "{:0width$x}",
            self.value,
            width = usize::from(self.digits)
        )
    }
}

fn truncated(prefix: u16, digits: u8) -> u16 {
    prefix.checked_shr(16 - 4 * u32::from(digits)).unwrap_or(0)
}

fn digest_with_prefix(prefix: u16) -> Digest {
    let mut bytes = [0; DIGEST_LEN];
    bytes[..2].copy_from_slice(&prefix.to_be_bytes());
    Digest::from_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn shards_follow_the_size_of_the_store() {
        for (previous, marked, shards) in [
            (None, 0, 1),
            (Some(0), 0, 1),
            (Some(20_000), 0, 1),
            (Some(20_001), 0, 16),
            (None, 20_001, 16),
            (Some(5), 400_000, 256),
            (Some(320_000), 0, 16),
            (Some(1_500_000), 1_400_000, 256),
            (Some(5_120_001), 0, 4096),
            (Some(u64::MAX), 0, 4096),
        ] {
            assert_eq!(
                ShardCount::choose(previous, marked).shards(),
                shards,
                "{previous:?}"
            );
        }
    }

    #[test]
    fn prefixes_tile_the_digest_space() {
        for count in [
            ShardCount::One,
            ShardCount::N16,
            ShardCount::N256,
            ShardCount::N4096,
        ] {
            let prefixes = count.prefixes();
            assert_eq!(u64::try_from(prefixes.len()).unwrap(), count.shards());
            assert_eq!(prefixes[0].first(), Digest::from_bytes([0; 32]));
            for pair in prefixes.windows(2) {
                assert_eq!(pair[0].end(), Some(pair[1].first()));
                assert!(pair[0].to_string() < pair[1].to_string());
            }
            assert_eq!(prefixes.last().unwrap().end(), None);
        }
        assert_eq!(ShardPrefix::ALL.to_string(), "");
        assert_eq!(ShardPrefix::ALL.directories(), 0..=u16::MAX);
        assert_eq!(ShardCount::N256.prefixes()[10].to_string(), "0a");
        assert_eq!(
            ShardCount::N256.prefixes()[10].directories(),
            0x0a00..=0x0aff
        );
        assert_eq!(ShardCount::N4096.prefixes()[4095].to_string(), "fff");
        assert_eq!(
            ShardCount::N4096.prefixes()[4095].directories(),
            0xfff0..=0xffff
        );
    }

    proptest! {
        #[test]
        fn a_digest_is_in_the_shard_of_its_hex_prefix(bytes: [u8; 32], digits in 0_u8..=3) {
            let digest = Digest::from_bytes(bytes);
            let shard = ShardPrefix::of(&digest, digits);
            prop_assert_eq!(shard.to_string(), digest.to_hex()[..usize::from(digits)].to_owned());
            prop_assert!(shard.contains(&digest));
            prop_assert!(shard.first() <= digest);
            prop_assert!(shard.end().is_none_or(|end| digest < end));
            prop_assert!(shard.directories().contains(&digest.prefix()));
        }
    }
}
