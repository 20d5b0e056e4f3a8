//! The liveness stamps of one shard, small.
//!
//! A stamp is kept from the first insert or duplicate answer until a collection whose floor is above
//! it has ended, so a store that is never collected keeps one for every digest that its backups
//! used. Therefore a stamp is not found by the whole digest but by eight bytes of it: 16 bytes an
//! entry and one of the table, at most 39 bytes with the table's free places, whatever the number
//! (ADR 0009). Two digests of a shard that share these bytes share the later stamp of the two,
//! which keeps a chunk longer and never shorter ◆; with a billion stamps that is one chunk in some
//! ten thousand collections, and whoever makes such digests on purpose keeps his own garbage.

use std::collections::HashMap;

use api_types::digest::Digest;

use super::Generation;

#[derive(Debug, Default)]
pub(super) struct Stamps(HashMap<u64, Generation>);

impl Stamps {
    pub fn get(&self, digest: &Digest) -> Option<Generation> {
        self.0.get(&key(digest)).copied()
    }

    /// Sets a stamp; it never falls.
    pub fn set(&mut self, digest: &Digest, generation: Generation) {
        let stamp = self.0.entry(key(digest)).or_insert(generation);
        *stamp = generation.max(*stamp);
    }

    /// Forgets older stamps, and gives their memory back.
    pub fn drop_below(&mut self, floor: Generation) {
        self.0.retain(|_, stamp| *stamp >= floor);
        self.0.shrink_to_fit();
    }
}

/// Eight bytes behind the one that chose the shard.
fn key(digest: &Digest) -> u64 {
    let mut key = [0; 8];
    key.copy_from_slice(&digest.as_bytes()[1..9]);
    u64::from_le_bytes(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(bytes: &[u8]) -> Digest {
        let mut digest = [0; 32];
        digest[..bytes.len()].copy_from_slice(bytes);
        Digest::from_bytes(digest)
    }

    #[test]
    fn digests_that_look_alike_share_the_later_stamp() {
        let (a, b) = (digest(&[1; 9]), digest(&[1; 10]));
        let other = digest(&[1, 1, 1, 1, 1, 1, 1, 1, 2]);
        let mut stamps = Stamps::default();
        stamps.set(&a, 5);
        stamps.set(&b, 4);
        assert_eq!((stamps.get(&a), stamps.get(&b)), (Some(5), Some(5)));
        assert_eq!(stamps.get(&other), None);
        stamps.drop_below(5);
        assert_eq!(stamps.get(&a), Some(5));
        stamps.drop_below(6);
        assert_eq!(stamps.get(&a), None);
        assert_eq!(stamps.0.capacity(), 0, "the memory is given back");
    }

    /// The bound that ADR 0009 states, by the table's own account.
    #[test]
    fn a_stamp_takes_less_than_forty_bytes() {
        let mut stamps = Stamps::default();
        for count in 1..=200_000_u32 {
            let mut bytes = [0; 9];
            bytes[1..5].copy_from_slice(&count.to_le_bytes());
            stamps.set(&digest(&bytes), 1);
            if count > 1000 {
                // `capacity` is seven eighths of the places, each with a byte of its own.
                let places = stamps.0.capacity() / 7 * 8;
                let bytes = places * (size_of::<(u64, Generation)>() + 1);
                assert!(bytes / stamps.0.len() < 40, "{bytes} for {count}");
            }
        }
    }
}
