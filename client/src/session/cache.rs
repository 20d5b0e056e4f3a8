//! Chunks in memory: those that were used last, and those that are on their way.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use api_types::digest::Digest;

/// Keeps values by digest, up to a number of bytes, those used last.
#[derive(Debug)]
pub struct Cache<V> {
    limit: u64,
    state: Mutex<State<V>>,
}

#[derive(Debug)]
struct State<V> {
    entries: HashMap<Digest, Entry<V>>,
    /// The digests by their last use.
    by_use: BTreeMap<u64, Digest>,
    uses: u64,
    bytes: u64,
}

#[derive(Debug)]
struct Entry<V> {
    value: V,
    bytes: u64,
    used: u64,
}

impl<V: Clone> Cache<V> {
    /// An empty one for so many bytes.
    #[must_use]
    pub fn new(limit: u64) -> Self {
        Self {
            limit,
            state: Mutex::new(State {
                entries: HashMap::new(),
                by_use: BTreeMap::new(),
                uses: 0,
                bytes: 0,
            }),
        }
    }

    /// Most bytes that it keeps.
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// The value, made now if it is not there. What was not used for longest makes room.
    pub fn get(&self, digest: &Digest, bytes: u64, make: impl FnOnce() -> V) -> V {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *state;
        state.uses += 1;
        let used = state.uses;
        if let Some(entry) = state.entries.get_mut(digest) {
            state.by_use.remove(&entry.used);
            entry.used = used;
            state.by_use.insert(used, *digest);
            return entry.value.clone();
        }
        state.make_room(self.limit.saturating_sub(bytes));
        let value = make();
        let entry = Entry {
            value: value.clone(),
            bytes,
            used,
        };
        state.bytes += bytes;
        state.entries.insert(*digest, entry);
        state.by_use.insert(used, *digest);
        value
    }

    /// Forgets a value.
    pub fn remove(&self, digest: &Digest) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.remove(digest);
    }
}

impl<V> State<V> {
    fn make_room(&mut self, limit: u64) {
        while self.bytes > limit
            && let Some((_, digest)) = self.by_use.pop_first()
        {
            self.remove(&digest);
        }
    }

    fn remove(&mut self, digest: &Digest) {
        if let Some(entry) = self.entries.remove(digest) {
            self.by_use.remove(&entry.used);
            self.bytes -= entry.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_used_for_longest_goes_first() {
        let cache = Cache::new(100);
        let digest = |byte| Digest::from_bytes([byte; 32]);
        let get = |byte: u8| {
            let mut made = false;
            cache.get(&digest(byte), 40, || {
                made = true;
                byte
            });
            made
        };
        assert!(get(1) && get(2) && !get(1));
        assert!(get(3), "2 makes room");
        assert!(!get(1) && !get(3) && get(2));
        cache.remove(&digest(2));
        assert!(get(2));
        // Larger than all: alone.
        cache.get(&digest(9), 1000, || 9);
        assert!(get(1));
    }
}
