//! Cuts where files begin.

use std::collections::VecDeque;

use super::{ChunkSize, Chunker};

/// Cuts a payload stream (`ppxar`): where files begin if possible, otherwise by content. Where it
/// cuts depends on the pieces too in which the bytes come: see [`PIECE`](crate::tree::create::PIECE).
#[derive(Clone, Debug)]
pub struct PayloadChunker {
    chunker: Chunker,
    /// Where the chunk begins in the stream.
    start: u64,
    /// Where files begin, in ascending order.
    suggestions: VecDeque<u64>,
}

impl PayloadChunker {
    /// At the beginning of a stream.
    #[must_use]
    pub fn new(size: ChunkSize) -> Self {
        Self {
            chunker: Chunker::new(size),
            start: 0,
            suggestions: VecDeque::new(),
        }
    }

    /// A file begins at this byte of the stream, counted from its beginning, injected chunks
    /// included. Told in ascending order, before the file's bytes are scanned.
    pub fn suggest(&mut self, position: u64) {
        self.suggestions.push_back(position);
    }

    /// As [`Chunker::scan`].
    pub fn scan(&mut self, bytes: &[u8]) -> usize {
        let before = self.chunker.len();
        let cut = match self.suggested(before, bytes.len()) {
            Some(cut) => {
                self.chunker.end();
                cut
            }
            None => self.chunker.scan(bytes),
        };
        if cut > 0 {
            self.start = self.start.saturating_add((before + cut) as u64);
        }
        cut
    }

    /// The chunk, if one has begun, ends here, and chunks of this length together follow that are
    /// not scanned.
    pub fn inject(&mut self, length: u64) {
        let ended = self.chunker.len() as u64;
        self.chunker.end();
        self.start = self.start.saturating_add(ended).saturating_add(length);
    }

    /// Where to cut within the next bytes because a file begins there.
    fn suggested(&mut self, scanned: usize, new: usize) -> Option<usize> {
        let size = self.chunker.size();
        while let Some(suggestion) = self.suggestions.front() {
            let len = suggestion.checked_sub(self.start).map(usize::try_from);
            match len {
                Some(Err(_)) => return None,
                Some(Ok(len)) if len > scanned + new => return None,
                Some(Ok(len)) if len >= scanned && len > size.max() => return None,
                Some(Ok(len)) if len >= scanned && len >= size.min() => {
                    self.suggestions.pop_front();
                    return (len > scanned).then(|| len - scanned);
                }
                // Passed already, or too near to the beginning.
                _ => self.suggestions.pop_front(),
            };
        }
        None
    }
}
