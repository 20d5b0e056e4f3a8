//! A set of digests that takes little memory: the chunks of an image of 16 TiB are 4 million.

use api_types::digest::Digest;

/// Bytes of a digest that say which part it is in.
const PREFIX: usize = 2;
const PARTS: usize = 1 << (8 * PREFIX);

type Rest = [u8; 32 - PREFIX];

/// Digests in parts, by their first bytes; each part in order. A million takes about 35 MiB, and
/// room is never made by copying more than a part.
#[derive(Debug, Default)]
pub struct DigestSet {
    /// None before the first digest.
    parts: Vec<Vec<Rest>>,
    len: usize,
}

impl DigestSet {
    /// Whether it is in the set.
    #[must_use]
    pub fn contains(&self, digest: &Digest) -> bool {
        let (part, rest) = split(digest);
        let part = self.parts.get(part);
        part.is_some_and(|part| part.binary_search(&rest).is_ok())
    }

    /// Adds it; whether it is new.
    pub fn insert(&mut self, digest: &Digest) -> bool {
        let (part, rest) = split(digest);
        if self.parts.is_empty() {
            self.parts.resize_with(PARTS, Vec::new);
        }
        let Some(part) = self.parts.get_mut(part) else {
            return false;
        };
        let Err(at) = part.binary_search(&rest) else {
            return false;
        };
        if part.len() == part.capacity() {
            // Less than a vector would by itself, which doubles.
            part.reserve_exact(part.len() / 8 + 2);
        }
        part.insert(at, rest);
        self.len += 1;
        true
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that it takes.
    #[must_use]
    pub fn memory(&self) -> usize {
        let room: usize = self.parts.iter().map(Vec::capacity).sum();
        room * size_of::<Rest>() + self.parts.capacity() * size_of::<Vec<Rest>>()
    }
}

fn split(digest: &Digest) -> (usize, Rest) {
    let [a, b, rest @ ..] = *digest.as_bytes();
    (usize::from(u16::from_be_bytes([a, b])), rest)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use openssl::sha::sha256;

    use super::*;

    fn digest(number: u32) -> Digest {
        Digest::from_bytes(sha256(&number.to_le_bytes()))
    }

    #[test]
    fn it_knows_what_was_added_and_nothing_else() {
        let (mut set, mut model) = (DigestSet::default(), HashSet::new());
        assert!(set.is_empty() && !set.contains(&digest(0)));
        // Of one part, too: they differ in their last byte alone.
        let near = (0..=255).map(|last| {
            let mut bytes = [7; 32];
            bytes[31] = last;
            Digest::from_bytes(bytes)
        });
        let numbers = (0..20_000).map(|number| digest(number % 15_000));
        for digest in near.rev().step_by(2).chain(numbers) {
            assert_eq!(set.insert(&digest), model.insert(digest));
            assert!(set.contains(&digest));
        }
        assert_eq!(set.len(), model.len());
        for other in [digest(15_000), Digest::from_bytes([8; 32])] {
            assert!(!set.contains(&other));
        }
        let mut bytes = [7; 32];
        bytes[31] = 254;
        assert!(!set.contains(&Digest::from_bytes(bytes)), "every other one");
    }

    #[test]
    fn a_million_take_little_memory() {
        let mut set = DigestSet::default();
        for number in 0..1_000_000 {
            set.insert(&digest(number));
        }
        let mib = set.memory() >> 20;
        assert!((28..42).contains(&mib), "{mib} MiB");
    }
}
