//! Where an archive's bytes come from.

use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;

/// Bytes in a row, some of which can be passed over.
pub trait Input: Read {
    /// Where the next byte is read.
    fn position(&self) -> u64;

    /// Reads on at `position`.
    ///
    /// # Errors
    /// If it lies before the current one and this input only goes forward; not if it lies beyond
    /// the end, where nothing can be read.
    fn move_to(&mut self, position: u64) -> io::Result<()>;
}

/// An input that only goes forward: a pipe, a connection.
#[derive(Debug)]
pub struct Forward<R> {
    reader: R,
    position: u64,
}

impl<R> Forward<R> {
    /// Starts where `reader` is.
    pub fn new(reader: R) -> Self {
        Self {
            reader,
            position: 0,
        }
    }
}

impl<R: Read> Read for Forward<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.position = self.position.saturating_add(count as u64);
        Ok(count)
    }
}

impl<R: Read> Input for Forward<R> {
    fn position(&self) -> u64 {
        self.position
    }

    fn move_to(&mut self, position: u64) -> io::Result<()> {
        let Some(skipped) = position.checked_sub(self.position) else {
            let why = format!("byte {position} has passed already");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        };
        io::copy(&mut self.by_ref().take(skipped), &mut io::sink())?;
        Ok(())
    }
}

/// Bytes that can be read at any place.
pub trait ReadAt {
    /// How many there are.
    fn size(&self) -> u64;

    /// Reads some bytes at `offset`; none only at and behind the end.
    ///
    /// # Errors
    /// If they cannot be had.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
}

impl ReadAt for [u8] {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let mut rest = self.get(start..).unwrap_or_default();
        rest.read(buffer)
    }
}

impl<T: ReadAt + ?Sized> ReadAt for &T {
    fn size(&self) -> u64 {
        (**self).size()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        (**self).read_at(buffer, offset)
    }
}

impl<T: ReadAt + ?Sized> ReadAt for Arc<T> {
    fn size(&self) -> u64 {
        (**self).size()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        (**self).read_at(buffer, offset)
    }
}

/// A part of something else.
#[derive(Clone, Debug)]
pub struct Section<A> {
    source: A,
    start: u64,
    size: u64,
}

impl<A: ReadAt> Section<A> {
    /// The `size` bytes at `start`. Where `source` ends before that, reading them fails.
    pub fn new(source: A, start: u64, size: u64) -> Self {
        Self {
            source,
            start,
            size,
        }
    }
}

impl<A: ReadAt> ReadAt for Section<A> {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let left = self.size.saturating_sub(offset);
        let count = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        if count == 0 {
            return Ok(0);
        }
        let at = self.start.checked_add(offset);
        let at = at.ok_or(io::ErrorKind::InvalidInput)?;
        match self.source.read_at(&mut buffer[..count], at)? {
            0 => {
                let why = "the archive ends within this part of it";
                Err(io::Error::new(io::ErrorKind::UnexpectedEof, why))
            }
            count => Ok(count),
        }
    }
}

/// Reads one byte after the other of what can be read anywhere.
#[derive(Clone, Debug)]
pub struct At<A> {
    source: A,
    position: u64,
}

impl<A: ReadAt> At<A> {
    /// Begins at the first byte.
    pub fn new(source: A) -> Self {
        Self {
            source,
            position: 0,
        }
    }
}

impl<A: ReadAt> Read for At<A> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read_at(buffer, self.position)?;
        self.position = self.position.saturating_add(count as u64);
        Ok(count)
    }
}

impl<A: ReadAt> Input for At<A> {
    fn position(&self) -> u64 {
        self.position
    }

    fn move_to(&mut self, position: u64) -> io::Result<()> {
        self.position = position;
        Ok(())
    }
}

impl<A: ReadAt> Seek for At<A> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(offset) => self.source.size().checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = target.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forward_goes_forward() {
        let mut input = Forward::new(&b"0123456789"[..]);
        input.move_to(3).unwrap();
        let mut two = [0; 2];
        input.read_exact(&mut two).unwrap();
        assert_eq!((&two, input.position()), (b"34", 5));
        assert!(input.move_to(4).is_err());
        input.move_to(20).unwrap();
        assert_eq!(input.read(&mut two).unwrap(), 0);
    }

    #[test]
    fn a_section_ends_with_itself_and_notices_if_its_source_ends_before() {
        let all = |section: Section<&[u8]>| {
            let mut found = Vec::new();
            At::new(section).read_to_end(&mut found).map(|_| found)
        };
        let source = &b"0123456789"[..];
        assert_eq!(all(Section::new(source, 2, 3)).unwrap(), b"234");
        assert_eq!(all(Section::new(source, 10, 0)).unwrap(), b"");
        for (start, size) in [(8, 3), (20, 1), (u64::MAX, 2)] {
            assert!(all(Section::new(source, start, size)).is_err());
        }
    }

    #[test]
    fn places_are_as_with_files() {
        let mut at = At::new(&b"0123456789"[..]);
        assert_eq!(at.seek(SeekFrom::End(-2)).unwrap(), 8);
        assert_eq!(at.seek(SeekFrom::Current(-3)).unwrap(), 5);
        let mut rest = String::new();
        at.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "56789");
        assert!(at.seek(SeekFrom::Current(-11)).is_err());
    }
}
