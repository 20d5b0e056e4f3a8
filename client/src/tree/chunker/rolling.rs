//! Cuts where the hash of the last 64 bytes says so.

use super::ChunkSize;
use super::table::TABLE;

const WINDOW: usize = 64;

/// Cuts by content: unified archives, `mpxar`, catalogs. Where it cuts depends on the bytes of the
/// stream only, not on the pieces they come in.
#[derive(Clone, Debug)]
pub struct Chunker {
    size: ChunkSize,
    /// Bytes of the chunk so far.
    len: usize,
    /// The hash of the window. A byte that left it left no trace: it was rotated by 64, twice
    /// around, and taken out. So nothing is hashed before the last 64 bytes of the shortest chunk.
    hash: u32,
    /// The last bytes of the chunk, the oldest first, once it has the shortest length.
    window: [u8; WINDOW],
}

impl Chunker {
    /// At the beginning of a stream.
    #[must_use]
    pub fn new(size: ChunkSize) -> Self {
        Self {
            size,
            len: 0,
            hash: 0,
            window: [0; WINDOW],
        }
    }

    /// Looks at the next bytes of the stream; how many of them belong to the chunk that ends with
    /// them, or 0 if it does not end here. After a cut, go on with the rest of `bytes`.
    pub fn scan(&mut self, bytes: &[u8]) -> usize {
        let begun = self.begin(bytes);
        if self.len < self.size.min() {
            return 0;
        }
        if begun > 0 && self.ends(self.hash) {
            self.end();
            return begun;
        }
        let rest = bytes.get(begun..).unwrap_or_default();
        let room = self.size.max() - self.len;
        let rest = rest.get(..room).unwrap_or(rest);
        let rolled = match self.roll(rest) {
            Some(cut) => cut,
            None if rest.len() == room => room,
            None => {
                self.len += rest.len();
                return 0;
            }
        };
        self.end();
        begun + rolled
    }

    /// The end of the chunk, wherever it is.
    pub(super) fn end(&mut self) {
        self.len = 0;
        self.hash = 0;
    }

    /// Bytes of the chunk so far.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn size(&self) -> ChunkSize {
        self.size
    }

    /// Takes bytes up to the shortest length, hashing only those that matter; how many.
    fn begin(&mut self, bytes: &[u8]) -> usize {
        let (min, first) = (self.size.min(), self.size.min() - WINDOW);
        let taken = min.saturating_sub(self.len).min(bytes.len());
        let skipped = first.saturating_sub(self.len).min(taken);
        self.len += skipped;
        for byte in bytes.get(skipped..taken).unwrap_or_default() {
            if let Some(place) = self.window.get_mut(self.len - first) {
                *place = *byte;
            }
            self.hash = self.hash.rotate_left(1) ^ value(*byte);
            self.len += 1;
        }
        taken
    }

    /// Moves the window over `bytes`; up to where, if the hash says so there.
    fn roll(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut hash = self.hash;
        // First the window's bytes leave, then those of `bytes` itself.
        let leaving = self.window.iter().chain(bytes);
        let (front, back) = bytes.split_at(WINDOW.min(bytes.len()));
        for (count, (new, old)) in front.iter().zip(leaving).enumerate() {
            hash = hash.rotate_left(1) ^ value(*new) ^ value(*old);
            if self.ends(hash) {
                return Some(count + 1);
            }
        }
        for (count, (new, old)) in back.iter().zip(bytes).enumerate() {
            hash = hash.rotate_left(1) ^ value(*new) ^ value(*old);
            if self.ends(hash) {
                return Some(front.len() + count + 1);
            }
        }
        self.hash = hash;
        let kept = bytes.last_chunk::<WINDOW>();
        match kept {
            Some(last) => self.window = *last,
            None => {
                self.window.rotate_left(bytes.len());
                let start = WINDOW - bytes.len();
                if let Some(end) = self.window.get_mut(start..) {
                    end.copy_from_slice(bytes);
                }
            }
        }
        None
    }

    fn ends(&self, hash: u32) -> bool {
        hash & self.size.mask() >= self.size.mask() - 2
    }
}

fn value(byte: u8) -> u32 {
    TABLE[usize::from(byte)]
}
