//! Cuts a stream into chunks.

use std::io::{self, Read};

use bytes::{Bytes, BytesMut};

/// Every chunk of a fixed index but the last has this length.
const FIXED: usize = 4 << 20;
/// Bounds of the chunks of a dynamic index. Real clients cut at 4 MiB on average; a demonstration
/// of garbage collection is more interesting with many small chunks.
const MIN: usize = 16 << 10;
const MAX: usize = 256 << 10;
/// A cut where these bits of the rolling hash are zero: 48 KiB behind `MIN` on average.
const CUT_MASK: u64 = 0xffff_0000_0000_0000;

/// Where chunks end.
#[derive(Clone, Copy, Debug)]
pub enum Cut {
    /// At multiples of 4 MiB.
    Fixed,
    /// Where the content says so: an insertion changes the chunks around it, not those behind it.
    ByContent,
}

/// An iterator over the chunks of a stream.
pub struct Chunker<R> {
    input: R,
    cut: Cut,
    buffer: BytesMut,
    gear: [u64; 256],
    ended: bool,
}

impl<R: Read> Chunker<R> {
    /// Cuts what `input` yields.
    pub fn new(input: R, cut: Cut) -> Self {
        let mut seed = 0x00c0_ffe5;
        Self {
            input,
            cut,
            buffer: BytesMut::new(),
            gear: std::array::from_fn(|_| crate::data::next_random(&mut seed)),
            ended: false,
        }
    }

    fn longest(&self) -> usize {
        match self.cut {
            Cut::Fixed => FIXED,
            Cut::ByContent => MAX,
        }
    }

    fn fill(&mut self) -> io::Result<()> {
        let wanted = self.longest();
        while !self.ended && self.buffer.len() < wanted {
            let start = self.buffer.len();
            self.buffer.resize(wanted, 0);
            let read = self.input.read(&mut self.buffer[start..]);
            self.buffer
                .truncate(start + read.as_ref().copied().unwrap_or(0));
            self.ended = read? == 0;
        }
        Ok(())
    }

    /// Length of the chunk at the start of the filled buffer.
    fn boundary(&self) -> usize {
        let available = self.buffer.len().min(self.longest());
        if matches!(self.cut, Cut::Fixed) {
            return available;
        }
        let mut hash = 0_u64;
        for (position, byte) in self.buffer[..available].iter().enumerate().skip(MIN - 64) {
            hash = (hash << 1).wrapping_add(self.gear[usize::from(*byte)]);
            if position >= MIN && hash & CUT_MASK == 0 {
                return position + 1;
            }
        }
        available
    }
}

impl<R: Read> Iterator for Chunker<R> {
    type Item = io::Result<Bytes>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Err(error) = self.fill() {
            self.ended = true;
            self.buffer.clear();
            return Some(Err(error));
        }
        let length = self.boundary();
        (length > 0).then(|| Ok(self.buffer.split_to(length).freeze()))
    }
}
