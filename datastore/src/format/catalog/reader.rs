//! Reading a catalog, a directory at a time.

use std::io::{Read, Seek, SeekFrom};

use super::varint::{read_signed, read_unsigned};
use super::{CatalogEntry, CatalogKind, MAGIC, OBJECT, name_error};
use crate::format::FormatError;

const FIRST_BLOCK: u64 = 8;
const TRAILER_LEN: u64 = 8;
/// Longest table that is read into memory: a directory with millions of entries.
const MAX_TABLE_LEN: u64 = 256 << 20;
const MAX_VARINT_LEN: u64 = 10;

/// A catalog opened for reading.
#[derive(Debug)]
pub struct CatalogReader<R> {
    input: R,
    /// End of the last block.
    end: u64,
    root: u64,
    max_table: u64,
}

impl<R: Read + Seek> CatalogReader<R> {
    /// Checks magic and trailer.
    pub fn new(mut input: R) -> Result<Self, FormatError> {
        let len = input
            .seek(SeekFrom::End(0))
            .map_err(FormatError::io("read", OBJECT))?;
        let end = len.saturating_sub(TRAILER_LEN);
        if end <= FIRST_BLOCK {
            return Err(corrupt(format!("{len} bytes are not a whole catalog")));
        }
        let mut reader = Self {
            input,
            end,
            root: 0,
            max_table: MAX_TABLE_LEN,
        };
        let magic: [u8; 8] = reader.read_array(0)?;
        if magic != MAGIC {
            let found = hex::encode(magic);
            return Err(corrupt(format!(
                "magic number {found} is not that of a catalog"
            )));
        }
        reader.root = u64::from_le_bytes(reader.read_array(end)?);
        Ok(reader)
    }

    /// With another limit for the bytes of a directory.
    #[must_use]
    pub fn with_max_table(self, max_table: u64) -> Self {
        Self { max_table, ..self }
    }

    /// The directories of the root, one per archive.
    pub fn root(&mut self) -> Result<CatalogTable, FormatError> {
        self.read_directory(self.root)
    }

    /// The entries of the directory whose block starts at `block`
    /// ([`CatalogKind::Directory::block`](CatalogKind::Directory)).
    pub fn read_directory(&mut self, block: u64) -> Result<CatalogTable, FormatError> {
        if !(FIRST_BLOCK..self.end).contains(&block) {
            return Err(corrupt(format!(
                "it refers to a directory at {block}, outside of it"
            )));
        }
        let mut prefix = [0; 10];
        let prefix_len = (self.end - block).min(MAX_VARINT_LEN);
        let prefix = &mut prefix[..usize::try_from(prefix_len).unwrap_or(0)];
        self.read_at(prefix, block)?;
        let mut rest = &*prefix;
        let table_len = read_unsigned(&mut rest);
        let table_at = block + (prefix_len - rest.len() as u64);
        let table_len = table_len
            .filter(|len| (1..=self.end - table_at).contains(len))
            .ok_or_else(|| corrupt(format!("the directory at {block} has no valid length")))?;
        if table_len > self.max_table {
            return Err(FormatError::TooLarge {
                object: format!("directory at {block} of the catalog"),
                limit: self.max_table,
            });
        }
        let mut data = vec![0; usize::try_from(table_len).unwrap_or(0)];
        self.read_at(&mut data, table_at)?;
        CatalogTable::new(block, data)
    }

    /// The entry at a path of names, from the root on; `None` if there is none.
    pub fn lookup(&mut self, path: &[&[u8]]) -> Result<Option<CatalogEntry>, FormatError> {
        let mut block = self.root;
        let mut found = None;
        for (depth, name) in path.iter().enumerate() {
            let entry = self.read_directory(block)?.find_name(name)?;
            match entry.as_ref().map(|entry| entry.kind) {
                Some(CatalogKind::Directory { block: child }) => block = child,
                Some(_) if depth + 1 == path.len() => {}
                _ => return Ok(None),
            }
            found = entry;
        }
        Ok(found)
    }

    /// Length of what holds blocks.
    pub(super) fn blocks_len(&self) -> u64 {
        self.end - FIRST_BLOCK
    }

    fn read_array<const N: usize>(&mut self, position: u64) -> Result<[u8; N], FormatError> {
        let mut array = [0; N];
        self.read_at(&mut array, position)?;
        Ok(array)
    }

    fn read_at(&mut self, buffer: &mut [u8], position: u64) -> Result<(), FormatError> {
        self.input
            .seek(SeekFrom::Start(position))
            .and_then(|_| self.input.read_exact(buffer))
            .map_err(FormatError::io("read", OBJECT))
    }
}

/// The entries of a directory, decoded one by one. After an error it is at its end.
#[derive(Debug)]
pub struct CatalogTable {
    block: u64,
    data: Vec<u8>,
    at: usize,
    left: u64,
}

impl CatalogTable {
    fn new(block: u64, data: Vec<u8>) -> Result<Self, FormatError> {
        let mut rest = &data[..];
        let left = read_unsigned(&mut rest)
            .ok_or_else(|| corrupt(format!("the directory at {block} has no valid count")))?;
        let at = data.len() - rest.len();
        let table = Self {
            block,
            data,
            at,
            left,
        };
        table.check_end()?;
        Ok(table)
    }

    /// Length of the table, without the length in front of it.
    pub(super) fn len(&self) -> u64 {
        self.data.len() as u64
    }

    fn find_name(self, name: &[u8]) -> Result<Option<CatalogEntry>, FormatError> {
        for entry in self {
            let entry = entry?;
            if entry.name == *name {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }

    fn check_end(&self) -> Result<(), FormatError> {
        let bytes = self.data.len() - self.at;
        if self.left == 0 && bytes > 0 {
            let why = format!("the directory at {} has {bytes} bytes too many", self.block);
            return Err(corrupt(why));
        }
        Ok(())
    }

    fn read_entry(&mut self) -> Result<CatalogEntry, FormatError> {
        let block = self.block;
        let mut rest = &self.data[self.at..];
        let entry = decode_entry(&mut rest, block).ok_or_else(|| {
            corrupt(format!(
                "an entry of the directory at {block} cannot be read"
            ))
        })?;
        if let Some(why) = name_error(&entry.name) {
            let name = entry.name.escape_ascii();
            return Err(corrupt(format!(
                "the directory at {block} lists '{name}': {why}"
            )));
        }
        self.at = self.data.len() - rest.len();
        self.left -= 1;
        self.check_end()?;
        Ok(entry)
    }
}

impl Iterator for CatalogTable {
    type Item = Result<CatalogEntry, FormatError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        let entry = self.read_entry();
        if entry.is_err() {
            self.left = 0;
        }
        Some(entry)
    }
}

fn decode_entry(input: &mut &[u8], block: u64) -> Option<CatalogEntry> {
    let (type_byte, rest) = input.split_first()?;
    *input = rest;
    let name_len = usize::try_from(read_unsigned(input)?).ok()?;
    let (name, rest) = input.split_at_checked(name_len)?;
    *input = rest;
    let kind = match type_byte {
        b'd' => {
            // Children come first: a distance of zero or less would be a circle.
            let distance = read_unsigned(input).filter(|distance| *distance > 0)?;
            CatalogKind::Directory {
                block: block.checked_sub(distance)?,
            }
        }
        b'f' => CatalogKind::File {
            size: read_unsigned(input)?,
            mtime: read_signed(input)?,
        },
        b'l' => CatalogKind::Symlink,
        b'h' => CatalogKind::Hardlink,
        b'b' => CatalogKind::BlockDevice,
        b'c' => CatalogKind::CharDevice,
        b'p' => CatalogKind::Fifo,
        b's' => CatalogKind::Socket,
        _ => return None,
    };
    Some(CatalogEntry {
        name: name.to_vec(),
        kind,
    })
}

pub(super) fn corrupt(why: impl Into<String>) -> FormatError {
    FormatError::corrupt(OBJECT, why)
}
