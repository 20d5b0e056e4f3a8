//! The entries of an index, wherever they lie: random access with bounded reads.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use api_types::digest::Digest;
use bytes::Bytes;
use uuid::Uuid;

use super::{ChunkReadInfo, INDEX_HEADER_LEN, IndexIdentity};
use crate::format::FormatError;

/// Bytes of the header that mean something; the rest is zero.
pub(crate) const HEADER_FIELDS_LEN: usize = 80;
const DIGEST_LEN: u64 = 32;
const DYNAMIC_ENTRY_LEN: u64 = 8 + DIGEST_LEN;

/// How the entries of one kind look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Digests; all chunks but the last have one length.
    Fixed { size: u64, chunk_size: u64 },
    /// End offset and digest.
    Dynamic { size: u64 },
}

impl Layout {
    pub(crate) fn entry_len(self) -> u64 {
        match self {
            Self::Fixed { .. } => DIGEST_LEN,
            Self::Dynamic { .. } => DYNAMIC_ENTRY_LEN,
        }
    }
}

/// A file or memory, with the name that errors give it.
#[derive(Debug)]
pub(crate) struct Source {
    name: String,
    len: u64,
    data: Data,
}

#[derive(Debug)]
enum Data {
    File(File),
    Bytes(Bytes),
}

impl Source {
    pub(crate) fn file(file: File, name: impl Into<String>) -> Result<Self, FormatError> {
        let name = name.into();
        let metadata = file
            .metadata()
            .map_err(FormatError::io("stat index", name.as_str()))?;
        if !metadata.is_file() {
            return Err(FormatError::corrupt(name, "it is not a regular file"));
        }
        Ok(Self {
            name,
            len: metadata.len(),
            data: Data::File(file),
        })
    }

    pub(crate) fn bytes(bytes: Bytes, name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            len: bytes.len() as u64,
            data: Data::Bytes(bytes),
        }
    }

    pub(crate) fn corrupt(&self, why: impl Into<String>) -> FormatError {
        FormatError::corrupt(self.name.as_str(), why)
    }

    pub(crate) fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<(), FormatError> {
        let read = match &self.data {
            Data::File(file) => file.read_exact_at(buffer, offset),
            Data::Bytes(bytes) => usize::try_from(offset)
                .ok()
                .and_then(|start| bytes.get(start..start.checked_add(buffer.len())?))
                .map(|part| buffer.copy_from_slice(part))
                .ok_or_else(|| io::ErrorKind::UnexpectedEof.into()),
        };
        read.map_err(|error| {
            if error.kind() == io::ErrorKind::UnexpectedEof {
                self.corrupt("it ends early")
            } else {
                FormatError::io("read index", self.name.as_str())(error)
            }
        })
    }

    /// Length of everything behind the header.
    pub(crate) fn body_len(&self) -> u64 {
        self.len.saturating_sub(INDEX_HEADER_LEN)
    }

    /// The header fields, once magic and length are right.
    pub(crate) fn read_header(&self, magic: [u8; 8], kind: &str) -> Result<Header, FormatError> {
        if self.len < INDEX_HEADER_LEN {
            let why = format!(
                "{} bytes are less than the header of {INDEX_HEADER_LEN}",
                self.len
            );
            return Err(self.corrupt(why));
        }
        let mut fields = [0; HEADER_FIELDS_LEN];
        self.read_exact_at(&mut fields, 0)?;
        if fields[..8] != magic {
            let found = hex::encode(&fields[..8]);
            return Err(self.corrupt(format!("magic number {found} is not that of a {kind}")));
        }
        Ok(Header {
            identity: IndexIdentity {
                uuid: Uuid::from_bytes(array(&fields, 8)),
                ctime: i64::from_le_bytes(array(&fields, 24)),
            },
            csum: array(&fields, 32),
            size: u64::from_le_bytes(array(&fields, 64)),
            chunk_size: u64::from_le_bytes(array(&fields, 72)),
        })
    }
}

/// The fields of a header; a dynamic one has no size and no chunk size.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    pub identity: IndexIdentity,
    pub csum: [u8; 32],
    pub size: u64,
    pub chunk_size: u64,
}

impl Header {
    /// The first bytes of the file.
    pub(crate) fn encode(&self, magic: [u8; 8]) -> [u8; HEADER_FIELDS_LEN] {
        let mut fields = [0; HEADER_FIELDS_LEN];
        fields[..8].copy_from_slice(&magic);
        fields[8..24].copy_from_slice(self.identity.uuid.as_bytes());
        fields[24..32].copy_from_slice(&self.identity.ctime.to_le_bytes());
        fields[32..64].copy_from_slice(&self.csum);
        fields[64..72].copy_from_slice(&self.size.to_le_bytes());
        fields[72..].copy_from_slice(&self.chunk_size.to_le_bytes());
        fields
    }
}

/// The entries of an index file.
#[derive(Debug)]
pub struct IndexBody {
    source: Source,
    layout: Layout,
    count: u64,
}

impl IndexBody {
    /// `count` entries, which the caller has compared with the length of `source`.
    pub(crate) fn new(source: Source, layout: Layout, count: u64) -> Self {
        Self {
            source,
            layout,
            count,
        }
    }

    pub(crate) fn source(&self) -> &Source {
        &self.source
    }

    pub(crate) fn layout(&self) -> Layout {
        self.layout
    }

    pub(crate) fn name(&self) -> &str {
        &self.source.name
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    pub(crate) fn size(&self) -> u64 {
        match self.layout {
            Layout::Fixed { size, .. } | Layout::Dynamic { size } => size,
        }
    }

    /// Decodes entry `i` from its bytes; `start` is the end of the entry before it.
    pub(crate) fn decode_entry(
        &self,
        i: u64,
        start: u64,
        entry: &[u8],
    ) -> Result<ChunkReadInfo, FormatError> {
        let digest_at = entry.len().saturating_sub(32);
        let digest = Digest::from_bytes(array(entry, digest_at));
        let range = match self.layout {
            Layout::Fixed { size, chunk_size } => {
                let start = i.saturating_mul(chunk_size);
                start..start.saturating_add(chunk_size).min(size)
            }
            Layout::Dynamic { .. } => start..u64::from_le_bytes(array(entry, 0)),
        };
        if range.start >= range.end {
            let why = format!(
                "end offset {} of entry {i} is not above {}",
                range.end, range.start
            );
            return Err(self.source.corrupt(why));
        }
        Ok(ChunkReadInfo { range, digest })
    }

    pub(crate) fn chunk_info(&self, i: u64) -> Result<Option<ChunkReadInfo>, FormatError> {
        if i >= self.count {
            return Ok(None);
        }
        let start = match self.layout {
            Layout::Dynamic { .. } if i > 0 => self.end_offset(i - 1)?,
            _ => 0,
        };
        let mut entry = [0; 40];
        let len = if matches!(self.layout, Layout::Fixed { .. }) {
            32
        } else {
            40
        };
        self.source
            .read_exact_at(&mut entry[..len], self.position(i))?;
        self.decode_entry(i, start, &entry[..len]).map(Some)
    }

    pub(crate) fn chunk_from_offset(&self, offset: u64) -> Result<Option<(u64, u64)>, FormatError> {
        if offset >= self.size() {
            return Ok(None);
        }
        if let Layout::Fixed { chunk_size, .. } = self.layout {
            return Ok(Some((offset / chunk_size, offset % chunk_size)));
        }
        // The first entry that ends behind `offset`; the last one does, see above.
        let (mut low, mut high) = (0, self.count - 1);
        while low < high {
            let middle = low + (high - low) / 2;
            if offset < self.end_offset(middle)? {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        let start = if low == 0 {
            0
        } else {
            self.end_offset(low - 1)?
        };
        match offset.checked_sub(start) {
            Some(inside) => Ok(Some((low, inside))),
            None => Err(self.source.corrupt("its end offsets do not ascend")),
        }
    }

    /// Where entry `i` starts in the file. Cannot overflow: the file was long enough at opening.
    fn position(&self, i: u64) -> u64 {
        INDEX_HEADER_LEN + i * self.layout.entry_len()
    }

    fn end_offset(&self, i: u64) -> Result<u64, FormatError> {
        let mut end = [0; 8];
        self.source.read_exact_at(&mut end, self.position(i))?;
        Ok(u64::from_le_bytes(end))
    }
}

/// `N` bytes from `at`; zeros if they are not there, which callers rule out.
fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut field = [0; N];
    if let Some(part) = bytes.get(at..at + N) {
        field.copy_from_slice(part);
    }
    field
}
