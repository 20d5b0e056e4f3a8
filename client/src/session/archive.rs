//! The bytes of an archive of chunks, at any place: fetched when they are asked for, and ahead of
//! that where they are read in a row.

use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use api_types::names::ArchiveName;
use bytes::Bytes;
use datastore::format::FormatError;
use datastore::format::index::{AnyIndexReader, ChunkReadInfo, IndexFile as _};
use pxar::ReadAt;

use super::fault::Fault;
use super::fetcher::Wanted;
use super::progress::Progress;
use super::reader::ReaderSession;

/// Chunks that were read in a row before it is taken for granted that this goes on.
const STREAK: u64 = 2;
/// Most chunks that are fetched ahead, however small they are.
const MOST_AHEAD: u64 = 64;

/// An archive. Reading blocks, and is for threads outside of the runtime. Clones share nothing but
/// the chunks: each knows where it is being read.
#[derive(Debug)]
pub struct Archive {
    source: Arc<Source>,
    /// Whether it will be read to its end.
    streaming: bool,
    /// Where what is read is counted.
    progress: Option<Arc<Progress>>,
    place: Mutex<Place>,
}

#[derive(Debug)]
struct Source {
    session: ReaderSession,
    name: ArchiveName,
    index: AnyIndexReader,
    encrypted: bool,
}

/// Where it is being read.
#[derive(Debug, Default)]
struct Place {
    /// The chunk that was read last.
    chunk: Option<Current>,
    /// Chunks that were read in a row.
    streak: u64,
    /// The first chunk that was not fetched ahead in this row.
    next: u64,
}

#[derive(Clone, Debug)]
struct Current {
    number: u64,
    range: Range<u64>,
    data: Bytes,
}

impl Clone for Archive {
    fn clone(&self) -> Self {
        Self {
            source: Arc::clone(&self.source),
            streaming: self.streaming,
            progress: self.progress.clone(),
            place: Mutex::default(),
        }
    }
}

impl Archive {
    pub(super) fn new(
        session: ReaderSession,
        name: &ArchiveName,
        index: AnyIndexReader,
        encrypted: bool,
    ) -> Self {
        Self {
            source: Arc::new(Source {
                session,
                name: name.clone(),
                index,
                encrypted,
            }),
            streaming: false,
            progress: None,
            place: Mutex::default(),
        }
    }

    /// To be read from the first byte to the last: chunks are fetched ahead from the beginning.
    #[must_use]
    pub fn streaming(mut self) -> Self {
        self.streaming = true;
        self
    }

    /// Counts what is read.
    #[must_use]
    pub fn counted(mut self, progress: &Arc<Progress>) -> Self {
        self.progress = Some(Arc::clone(progress));
        self
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &ArchiveName {
        &self.source.name
    }

    /// Its index.
    #[must_use]
    pub fn index(&self) -> &AnyIndexReader {
        &self.source.index
    }

    /// The bytes from `offset` to the end of their chunk; none at and behind the end.
    pub fn rest_of_chunk(&self, offset: u64) -> io::Result<Bytes> {
        let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        let current = match &place.chunk {
            Some(current) if current.range.contains(&offset) => current,
            _ => {
                let found = self.source.index.chunk_from_offset(offset);
                let Some((number, _)) = found.map_err(io::Error::other)? else {
                    return Ok(Bytes::new());
                };
                self.read(&mut place, number)?
            }
        };
        // The chunk was checked to be as long as its range.
        let start = usize::try_from(offset - current.range.start).unwrap_or(usize::MAX);
        Ok(current.data.slice(start.min(current.data.len())..))
    }

    /// Reads a chunk, and begins to fetch those that will be read next.
    fn read<'a>(&self, place: &'a mut Place, number: u64) -> io::Result<&'a Current> {
        let before = place.chunk.as_ref().map(|current| current.number);
        if before.is_some_and(|before| before + 1 == number) {
            place.streak += 1;
        } else {
            (place.streak, place.next) = (0, number);
        }
        let info = self.info(number).map_err(io::Error::other)?;
        let info = info.ok_or(io::ErrorKind::UnexpectedEof)?;
        let chunk = self.source.session.chunk(self.wanted(&info));
        self.fetch_ahead(place, &info, number)
            .map_err(io::Error::other)?;
        let data = self.source.session.handle().block_on(chunk);
        let data = data.map_err(|error| {
            let why = format!("{}: {error:#}", self.source.name);
            io::Error::new(Fault::of(&error).kind(), why)
        })?;
        if let Some(progress) = &self.progress {
            progress.add(data.len() as u64, 0, 0);
        }
        Ok(place.chunk.insert(Current {
            number,
            range: info.range,
            data,
        }))
    }

    /// Begins to fetch chunks behind this one, as many as make sense.
    fn fetch_ahead(
        &self,
        place: &mut Place,
        current: &ChunkReadInfo,
        number: u64,
    ) -> Result<(), FormatError> {
        let most = if self.streaming {
            MOST_AHEAD
        } else {
            place.streak.saturating_sub(STREAK).min(MOST_AHEAD)
        };
        place.next = place.next.max(number + 1);
        while place.next <= number + most
            && let Some(info) = self.info(place.next)?
            && info.range.end - current.range.end <= self.source.session.ahead()
        {
            // Its task runs whether somebody waits or not.
            drop(self.source.session.chunk(self.wanted(&info)));
            place.next += 1;
        }
        Ok(())
    }

    fn info(&self, number: u64) -> Result<Option<ChunkReadInfo>, FormatError> {
        self.source.index.chunk_info(number)
    }

    fn wanted(&self, info: &ChunkReadInfo) -> Wanted {
        Wanted {
            digest: info.digest,
            size: info.size(),
            encrypted: self.source.encrypted,
        }
    }
}

impl ReadAt for Archive {
    fn size(&self) -> u64 {
        self.source.index.index_bytes()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let data = self.rest_of_chunk(offset)?;
        let count = data.len().min(buffer.len());
        buffer[..count].copy_from_slice(&data[..count]);
        Ok(count)
    }
}
