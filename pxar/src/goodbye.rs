//! The table that ends a directory (`pxar.md` §6): its names by their hashes, as a binary search
//! tree in an array, and where the directory begins.

use crate::error::Error;
use crate::item::{Header, Items, number};
use crate::limits;
use crate::source::Input;

/// Bytes of an entry.
pub const ENTRY: u64 = 24;
/// What the last entry has for a hash.
pub const TAIL_MARKER: u64 = 0xef5e_ed5b_753e_1555;

/// An entry of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    pub hash: u64,
    /// How far before the table the name is.
    pub offset: u64,
    /// How far from there it reaches. Only for a directory is that true in every archive.
    pub size: u64,
}

impl Slot {
    pub fn decode(bytes: &[u8; 24]) -> Self {
        let [hash, offset, size] = [0, 8, 16].map(|at| number(bytes.get(at..).unwrap_or_default()));
        Self { hash, offset, size }
    }
}

/// The last entry: where the table and its directory begin.
#[derive(Clone, Copy, Debug)]
pub struct Tail {
    /// How far before the table the directory begins.
    pub offset: u64,
    /// Length of the whole item.
    pub size: u64,
}

impl Tail {
    /// The last 24 bytes of a directory that ends at `end`.
    pub fn decode(bytes: &[u8; 24], end: u64) -> Result<Self, Error> {
        let Slot { hash, offset, size } = Slot::decode(bytes);
        let entries = size.checked_sub(16).filter(|len| *len >= ENTRY);
        let whole = entries.is_some_and(|len| len % ENTRY == 0);
        if hash != TAIL_MARKER || !whole || size > end {
            let why = "a directory does not end with the end of a table";
            return Err(Error::corrupt(end.saturating_sub(ENTRY), why));
        }
        Ok(Self { offset, size })
    }

    /// The end of the table that begins at `header`; the rest of it is passed over.
    pub fn read<I: Input>(items: &mut Items<I>, header: &Header) -> Result<Self, Error> {
        let mut bytes = [0; 24];
        let input = &mut items.input;
        let moved = input.move_to(header.end() - ENTRY);
        let read = moved.and_then(|()| input.read_exact(&mut bytes));
        read.map_err(Error::read(header.at))?;
        let tail = Self::decode(&bytes, header.end())?;
        if tail.size != header.end() - header.at {
            return Err(Error::corrupt(header.at, "a table has two lengths"));
        }
        Ok(tail)
    }
}

/// Walks down the tree of `count` entries to those with this hash. Equal ones can be on both sides
/// of each other.
#[derive(Debug)]
pub struct Search {
    hash: u64,
    count: u64,
    /// Places that are still to be looked at.
    open: Vec<u64>,
    found: usize,
}

impl Search {
    pub fn new(hash: u64, count: u64) -> Self {
        Self {
            hash,
            count,
            open: vec![0],
            found: 0,
        }
    }

    /// The next entry with the hash. `slot` gives the one at a place.
    pub fn next(
        &mut self,
        mut slot: impl FnMut(u64) -> Result<Slot, Error>,
        table: u64,
    ) -> Result<Option<Slot>, Error> {
        while let Some(place) = self.open.pop() {
            if place >= self.count {
                continue;
            }
            let found = slot(place)?;
            let (smaller, larger) = (2 * place + 1, 2 * place + 2);
            if self.hash >= found.hash {
                self.open.push(larger);
            }
            if self.hash <= found.hash {
                self.open.push(smaller);
            }
            if self.hash == found.hash {
                self.found += 1;
                if self.found > limits::COLLISIONS {
                    return Err(Error::TooLarge {
                        object: "the number of names with one hash",
                        at: table,
                        limit: limits::COLLISIONS as u64,
                    });
                }
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}
