//! The digests touched last.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use api_types::digest::Digest;

/// Capacity that upstream uses unless told otherwise.
pub const DEFAULT_CAPACITY: usize = 1 << 20;

/// Digests are hashes already: eight of their bytes will do.
#[derive(Default)]
pub struct DigestHasher(u64);

impl Hasher for DigestHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            self.0 = u64::from_le_bytes(*first);
        }
    }

    fn write_usize(&mut self, _length: usize) {}
}

#[derive(Clone, Copy)]
struct Node {
    digest: Digest,
    newer: u32,
    older: u32,
}

const NONE: u32 = u32::MAX;

/// A set of bounded size that forgets what was used longest ago.
pub struct Lru {
    places: HashMap<Digest, u32, BuildHasherDefault<DigestHasher>>,
    nodes: Vec<Node>,
    newest: u32,
    oldest: u32,
    capacity: usize,
}

impl Lru {
    /// An empty set.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            places: HashMap::with_capacity_and_hasher(capacity, BuildHasherDefault::default()),
            nodes: Vec::with_capacity(capacity),
            newest: NONE,
            oldest: NONE,
            capacity,
        }
    }

    /// Uses a digest; whether it was in the set before.
    pub fn touch(&mut self, digest: &Digest) -> bool {
        if self.capacity == 0 {
            return false;
        }
        if let Some(&place) = self.places.get(digest) {
            self.unlink(place);
            self.link_newest(place);
            return true;
        }
        let place = if self.nodes.len() < self.capacity {
            self.nodes.push(Node {
                digest: *digest,
                newer: NONE,
                older: NONE,
            });
            u32::try_from(self.nodes.len() - 1).unwrap_or(NONE)
        } else {
            let place = self.oldest;
            self.unlink(place);
            let node = &mut self.nodes[index(place)];
            self.places.remove(&node.digest);
            node.digest = *digest;
            place
        };
        self.places.insert(*digest, place);
        self.link_newest(place);
        false
    }

    fn unlink(&mut self, place: u32) {
        let Node { newer, older, .. } = self.nodes[index(place)];
        match self.nodes.get_mut(index(newer)) {
            Some(node) => node.older = older,
            None => self.newest = older,
        }
        match self.nodes.get_mut(index(older)) {
            Some(node) => node.newer = newer,
            None => self.oldest = newer,
        }
    }

    fn link_newest(&mut self, place: u32) {
        let before = std::mem::replace(&mut self.newest, place);
        let node = &mut self.nodes[index(place)];
        (node.newer, node.older) = (NONE, before);
        match self.nodes.get_mut(index(before)) {
            Some(node) => node.newer = place,
            None => self.oldest = place,
        }
    }
}

/// [`NONE`] is beyond every capacity.
fn index(place: u32) -> usize {
    usize::try_from(place).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_longest_ago_is_forgotten() {
        let digest = |n: u8| Digest::from_bytes([n; 32]);
        let mut lru = Lru::new(3);
        let fresh = [1, 2, 3].map(|n| lru.touch(&digest(n)));
        assert_eq!(fresh, [false; 3]);
        assert!(lru.touch(&digest(1)));
        assert!(!lru.touch(&digest(4)));
        assert!(lru.touch(&digest(3)) && lru.touch(&digest(1)) && lru.touch(&digest(4)));
        assert!(!lru.touch(&digest(2)));
        assert!(!lru.touch(&digest(3)));
        assert!(!Lru::new(0).touch(&digest(1)));
    }
}
