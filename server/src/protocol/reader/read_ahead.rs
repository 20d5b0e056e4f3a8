//! What a client that reads an archive from a bucket will want next (`s3-backend.md` §6).
//!
//! Pure: says what to fetch and what to give up; `fetch` does it. A client that goes
//! through an index gets a window that doubles with each step, one that jumps about gets none.

use std::collections::{BTreeMap, HashMap};

use api_types::digest::Digest;
use datastore::format::zero_chunk::ZERO_CHUNK_DIGEST;

/// Most chunks ahead of the client.
const MAX_CHUNKS: u32 = 32;
/// Most bytes ahead of the client, as plain data.
const MAX_BYTES: u64 = 64 << 20;
/// Longest chunk, whatever an index claims.
const MAX_CHUNK: u32 = 16 << 20;
/// How far behind the foremost request others may be: clients have several under way.
const DISORDER: u32 = 32;

/// The chunks that a session may read, in the order of their indexes.
#[derive(Debug, Default)]
pub struct Order {
    chunks: Vec<(Digest, u32)>,
    places: HashMap<Digest, u32>,
    /// The chunk of zeros is one of them. It has no place: it is not fetched.
    zeros: bool,
}

impl Order {
    /// Adds a chunk of this length, if it is new.
    pub fn push(&mut self, digest: Digest, size: u32) {
        if digest == ZERO_CHUNK_DIGEST {
            self.zeros = true;
            return;
        }
        let Ok(place) = u32::try_from(self.chunks.len()) else {
            return;
        };
        self.places.entry(digest).or_insert_with(|| {
            self.chunks.push((digest, size.min(MAX_CHUNK)));
            place
        });
    }

    /// Whether the chunk is one of them.
    #[must_use]
    pub fn contains(&self, digest: &Digest) -> bool {
        self.places.contains_key(digest) || (self.zeros && *digest == ZERO_CHUNK_DIGEST)
    }

    /// Length of a chunk; the longest there can be if it is none of them.
    #[must_use]
    pub fn size(&self, digest: &Digest) -> u32 {
        let place = self.places.get(digest).copied().map(usize::try_from);
        match place {
            Some(Ok(place)) => self.chunks.get(place).map(|(_, size)| *size),
            _ => None,
        }
        .unwrap_or(MAX_CHUNK)
    }

    fn from(&self, place: u32) -> impl Iterator<Item = (u32, Digest, u32)> {
        let first = usize::try_from(place).unwrap_or(usize::MAX);
        let chunks = self.chunks.get(first..).unwrap_or_default();
        (place..)
            .zip(chunks)
            .map(|(place, (digest, size))| (place, *digest, *size))
    }
}

/// Where a client is, and what is fetched for it; `T` is a fetch under way or done.
#[derive(Debug)]
pub struct ReadAhead<T> {
    foremost: Option<u32>,
    window: u32,
    ahead: BTreeMap<u32, Fetched<T>>,
}

#[derive(Debug)]
struct Fetched<T> {
    size: u32,
    fetch: T,
}

impl<T> Default for ReadAhead<T> {
    fn default() -> Self {
        Self {
            foremost: None,
            window: 0,
            ahead: BTreeMap::new(),
        }
    }
}

impl<T> ReadAhead<T> {
    /// The client wants this chunk: gives what was fetched of it, starts with `fetch` what it will
    /// want next, as far as that finds room, and drops what it will not.
    pub fn request(
        &mut self,
        order: &Order,
        digest: &Digest,
        mut fetch: impl FnMut(Digest, u32) -> Option<T>,
    ) -> Option<T> {
        let place = *order.places.get(digest)?;
        let fetched = self.ahead.remove(&place).map(|fetched| fetched.fetch);
        self.move_to(place);
        let mut bytes: u64 = self.ahead.values().map(|chunk| u64::from(chunk.size)).sum();
        let foremost = self.foremost.unwrap_or(place);
        let end = foremost.saturating_add(self.window);
        for (place, digest, size) in order.from(foremost.saturating_add(1)) {
            if place > end {
                break;
            }
            if self.ahead.contains_key(&place) {
                continue;
            }
            bytes += u64::from(size);
            if bytes > MAX_BYTES {
                break;
            }
            let Some(fetch) = fetch(digest, size) else {
                break;
            };
            self.ahead.insert(place, Fetched { size, fetch });
        }
        fetched
    }

    /// Drops what was fetched; a client that goes on where it was gets a window anew.
    pub fn forget(&mut self) {
        self.ahead.clear();
        self.window = 0;
    }

    fn move_to(&mut self, place: u32) {
        let Some(foremost) = self.foremost else {
            self.foremost = Some(place);
            return;
        };
        let reach = self.window.max(1) + 1;
        if place > foremost && place <= foremost.saturating_add(reach) {
            self.window = (self.window * 2).clamp(2, MAX_CHUNKS);
            self.foremost = Some(place);
            // The client had those in a cache of its own.
            let old = place.saturating_sub(DISORDER);
            self.ahead = self.ahead.split_off(&old);
        } else if place > foremost || place < foremost.saturating_sub(DISORDER) {
            self.window = 0;
            self.foremost = Some(place);
            self.ahead.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(number: u8) -> Digest {
        Digest::from_bytes([number; 32])
    }

    fn order(count: u8, size: u32) -> Order {
        let mut order = Order::default();
        for number in 0..count {
            order.push(digest(number), size);
        }
        order
    }

    /// What each request starts to fetch, and whether it was fetched before.
    fn requests(order: &Order, places: &[u8]) -> Vec<(bool, Vec<u8>)> {
        let mut ahead = ReadAhead::default();
        places
            .iter()
            .map(|place| {
                let mut started = Vec::new();
                let found = ahead.request(order, &digest(*place), |digest, _| {
                    started.push(digest.as_bytes()[0]);
                    Some(())
                });
                (found.is_some(), started)
            })
            .collect()
    }

    #[test]
    fn the_window_grows_step_by_step() {
        assert_eq!(
            requests(&order(100, 1), &[0, 1, 2, 3]),
            [
                (false, vec![]),
                (false, vec![2, 3]),
                (true, vec![4, 5, 6]),
                (true, (7..=11).collect()),
            ]
        );
    }

    #[test]
    fn what_was_forgotten_is_fetched_anew() {
        let order = order(100, 1);
        let mut ahead = ReadAhead::default();
        for place in 0..4 {
            ahead.request(&order, &digest(place), |_, _| Some(()));
        }
        ahead.forget();
        assert!(ahead.ahead.is_empty());
        let found = [4, 5].map(|place| ahead.request(&order, &digest(place), |_, _| Some(())));
        assert_eq!(found, [None, Some(())]);
    }

    #[test]
    fn it_has_an_end() {
        let places: Vec<u8> = (0..90).collect();
        let order = order(100, 1);
        let mut ahead = ReadAhead::default();
        for place in places {
            let found = ahead.request(&order, &digest(place), |_, _| Some(()));
            assert_eq!(found.is_some(), place > 1, "{place}");
            assert!(ahead.ahead.len() <= 32);
        }
    }

    #[test]
    fn bytes_count_too() {
        let order = order(100, 16 << 20);
        let mut ahead = ReadAhead::default();
        for place in 0..50 {
            ahead.request(&order, &digest(place), |_, _| Some(()));
            assert!(ahead.ahead.len() <= 4);
        }
    }

    #[test]
    fn jumps_give_up_everything() {
        let order = order(200, 1);
        let mut ahead = ReadAhead::default();
        for place in [0, 1, 2, 3, 150] {
            ahead.request(&order, &digest(place), |_, _| Some(()));
        }
        assert!(ahead.ahead.is_empty());
        let started = requests(&order, &[0, 100, 50, 199]);
        assert!(started.iter().all(|(_, started)| started.is_empty()));
    }

    #[test]
    fn a_little_disorder_is_no_jump() {
        let found = requests(&order(100, 1), &[0, 1, 3, 2, 4]);
        assert_eq!(found[3], (true, vec![]));
        assert!(found[4].0);
    }

    #[test]
    fn zeros_are_allowed_where_they_are_named_and_never_fetched() {
        let mut order = order(4, 1);
        assert!(!order.contains(&ZERO_CHUNK_DIGEST));
        order.push(ZERO_CHUNK_DIGEST, 4 << 20);
        order.push(digest(4), 1);
        assert!(order.contains(&ZERO_CHUNK_DIGEST));
        let started = requests(&order, &[0, 1, 2, 3]);
        let started: Vec<_> = started
            .into_iter()
            .flat_map(|(_, started)| started)
            .collect();
        assert_eq!(started, [2, 3, 4]);
    }

    #[test]
    fn repeats_have_one_place() {
        let mut order = Order::default();
        for number in [0, 1, 1, 1, 2] {
            order.push(digest(number), 1);
        }
        assert_eq!(order.chunks.len(), 3);
        assert!(order.contains(&digest(2)) && !order.contains(&digest(3)));
        let mut ahead = ReadAhead::<()>::default();
        assert!(ahead.request(&order, &digest(9), |_, _| Some(())).is_none());
    }
}
