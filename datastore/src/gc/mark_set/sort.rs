//! Sorting digests. They are hashes, so one radix step cuts a list into 256 even buckets of a size
//! that fits a near cache; comparisons look at 8 bytes at a time.

use std::cmp::Ordering;

use api_types::digest::Digest;

/// Below this a comparison sort wins.
const SMALL: usize = 2048;

/// Sorts and removes duplicates.
pub fn sort_unique(digests: &mut Vec<Digest>) {
    if !is_strictly_sorted(digests) {
        sort(digests);
        digests.dedup();
    }
}

/// Whether each digest is greater than the one before it.
#[must_use]
pub fn is_strictly_sorted(digests: &[Digest]) -> bool {
    digests
        .windows(2)
        .all(|pair| compare(&pair[0], &pair[1]) == Ordering::Less)
}

/// Bytewise comparison, the order of the hex names.
#[inline]
#[must_use]
pub fn compare(a: &Digest, b: &Digest) -> Ordering {
    head(a)
        .cmp(&head(b))
        .then_with(|| a.as_bytes().cmp(b.as_bytes()))
}

#[inline]
fn head(digest: &Digest) -> u64 {
    let bytes = digest.as_bytes();
    u64::from_be_bytes([
        bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5], bytes[6], bytes[7],
    ])
}

fn sort(digests: &mut Vec<Digest>) {
    if digests.len() < SMALL {
        digests.sort_unstable_by(compare);
        return;
    }
    // Digests of one partition share their first byte; the radix goes on the first that differs.
    let byte = first_differing_byte(digests);
    let mut starts = [0_usize; 257];
    for digest in digests.iter() {
        starts[usize::from(digest.as_bytes()[byte]) + 1] += 1;
    }
    for i in 1..starts.len() {
        starts[i] += starts[i - 1];
    }
    let mut next = starts;
    let mut scattered = digests.clone();
    for digest in digests.iter() {
        let slot = &mut next[usize::from(digest.as_bytes()[byte])];
        scattered[*slot] = *digest;
        *slot += 1;
    }
    for bucket in starts.windows(2) {
        scattered[bucket[0]..bucket[1]].sort_unstable_by(compare);
    }
    *digests = scattered;
}

/// The first byte in which not all digests are equal (31 if all are).
fn first_differing_byte(digests: &[Digest]) -> usize {
    let Some(first) = digests.first().map(Digest::as_bytes) else {
        return 0;
    };
    let common = |digest: &Digest| {
        let bytes = digest.as_bytes();
        first.iter().zip(bytes).take_while(|(a, b)| a == b).count()
    };
    digests
        .iter()
        .map(common)
        .min()
        .unwrap_or(0)
        .min(first.len() - 1)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::env::Env;

    fn random(env: &Env, count: usize, shape: impl Fn(&mut [u8; 32])) -> Vec<Digest> {
        let make = |_| {
            let mut bytes = [0; 32];
            env.fill_random(&mut bytes);
            shape(&mut bytes);
            Digest::from_bytes(bytes)
        };
        (0..count).map(make).collect()
    }

    #[test]
    fn agrees_with_a_set_for_every_shape() {
        let env = Env::seeded(7, 1_700_000_000);
        let shapes: [fn(&mut [u8; 32]); 5] = [
            |_| {},
            |bytes| bytes[0] = 0xab,
            |bytes| bytes[..31].fill(1),
            |bytes| bytes.fill(9),
            |bytes| bytes[..8].fill(0xff),
        ];
        for shape in shapes {
            for count in [0, 1, 2, SMALL - 1, SMALL, 3 * SMALL] {
                let mut digests = random(&env, count, shape);
                digests.extend_from_within(..count / 3);
                let expected: BTreeSet<Digest> = digests.iter().copied().collect();
                sort_unique(&mut digests);
                assert!(digests.iter().eq(expected.iter()), "{count}");
                assert!(is_strictly_sorted(&digests));
            }
        }
    }
}
