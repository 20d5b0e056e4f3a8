//! Writing an archive: the same tree comes to the same bytes as with upstream's encoder, if names
//! come in ascending order in each directory.

mod metadata;
mod table;

use std::io::{self, Read, Write};

use crate::error::Error;
use crate::goodbye::Slot;
use crate::item::{HEADER, Item};
use crate::name::{hash_name, name_error};
use crate::node::{Body, Metadata, mode};

const PAYLOAD_START: u64 = 0x834c_68c2_194a_4ed2;
const PAYLOAD_TAIL: u64 = 0x6c72_b78b_984c_81b5;
/// Bytes of a file that are read at once.
const BUFFER: usize = 256 << 10;

/// Writes an archive while a tree is walked. Of that, only the entries of open directories are in
/// memory.
///
/// It writes many small pieces; what it writes to should gather them.
#[derive(Debug)]
pub struct Encoder<W, P = W> {
    out: Counted<W>,
    /// Where contents go in an archive in two parts.
    payload: Option<Counted<P>>,
    open: Vec<Directory>,
    /// What contents are copied through.
    buffer: Vec<u8>,
    /// The entry that is made: it is written once nothing is wrong with it.
    entry: Vec<u8>,
}

/// A directory that did not end yet.
#[derive(Debug)]
struct Directory {
    /// Where its name is; the root has none.
    name: Option<(u64, u64)>,
    /// Where its table says that it begins.
    start: u64,
    children: Vec<Child>,
}

/// Something in a directory.
#[derive(Debug)]
struct Child {
    hash: u64,
    /// Where its name is.
    at: u64,
    size: u64,
}

/// A regular file that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Where its name is in the archive: what a hard link to it needs.
    pub name_at: u64,
    /// Bytes that the content lacked. They were written as zeros.
    pub missing: u64,
}

impl<W: Write> Encoder<W> {
    /// Begins an archive in one part, version 1.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn unified(out: W, root: &Metadata) -> Result<Self, Error> {
        Self::new(Counted::new(out), None).begin(root)
    }
}

impl<W: Write, P: Write> Encoder<W, P> {
    /// Begins an archive in two parts, version 2.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn split(
        out: W,
        payload: P,
        prelude: Option<&[u8]>,
        root: &Metadata,
    ) -> Result<Self, Error> {
        let (mut out, mut payload) = (Counted::new(out), Counted::new(payload));
        out.item(Item::FormatVersion, &2_u64.to_le_bytes())?;
        if let Some(prelude) = prelude {
            out.item(Item::Prelude, prelude)?;
        }
        payload.header(PAYLOAD_START, 0)?;
        Self::new(out, Some(payload)).begin(root)
    }

    fn new(out: Counted<W>, payload: Option<Counted<P>>) -> Self {
        Self {
            out,
            payload,
            open: Vec::new(),
            buffer: Vec::new(),
            entry: Vec::new(),
        }
    }

    fn begin(mut self, root: &Metadata) -> Result<Self, Error> {
        let start = match self.payload {
            None => self.out.position,
            // Of the root in two parts, the table says the beginning of the stream.
            Some(_) => 0,
        };
        metadata::write(&mut self.out, root, &Body::Directory)?;
        self.open.push(Directory {
            name: None,
            start,
            children: Vec::new(),
        });
        Ok(self)
    }

    /// Enters a directory.
    ///
    /// # Errors
    /// If the archive cannot hold it, of which nothing is written then, or cannot be written.
    pub fn enter(&mut self, name: &[u8], metadata: &Metadata) -> Result<(), Error> {
        let at = self.out.position;
        self.begin_entry(name, |entry| {
            metadata::write(entry, metadata, &Body::Directory)
        })?;
        let start = at + HEADER + name.len() as u64 + 1;
        self.write_entry()?;
        self.open.push(Directory {
            name: Some((hash_name(name), at)),
            start,
            children: Vec::new(),
        });
        Ok(())
    }

    /// Leaves the directory that was entered last.
    ///
    /// # Errors
    /// If none is open but the root, or the archive cannot be written.
    pub fn leave(&mut self) -> Result<(), Error> {
        let (hash, at) = match self.open.last().and_then(|directory| directory.name) {
            Some(name) => name,
            None => return Err(Error::refused("no directory is open that could end")),
        };
        self.end_directory()?;
        let size = self.out.position - at;
        self.add(Child { hash, at, size });
        Ok(())
    }

    /// Adds a regular file of `size` bytes. What `content` has beyond is not read.
    ///
    /// In an archive in one part, a content that cannot be read any more is missing from there on.
    ///
    /// # Errors
    /// If the archive cannot hold it or cannot be written; [`Error::Content`] if the content cannot
    /// be read, in an archive in one part from its beginning on. The archive has no such file then,
    /// and can go on.
    pub fn file(
        &mut self,
        name: &[u8],
        metadata: &Metadata,
        size: u64,
        mut content: impl Read,
    ) -> Result<Written, Error> {
        let at = self.out.position;
        let reference = self
            .payload
            .as_ref()
            .map(|payload| [payload.position.to_le_bytes(), size.to_le_bytes()].concat());
        self.begin_entry(name, |entry| {
            metadata::write_attributes(entry, metadata, mode::FILE)?;
            match &reference {
                None => Ok(()),
                Some(reference) => entry.item(Item::PayloadRef, reference),
            }
        })?;
        self.buffer.resize(BUFFER, 0);
        let first = read(&mut content, size, &mut self.buffer).map_err(Error::content)?;
        let (in_payload, missing) = match &mut self.payload {
            None => {
                self.write_entry()?;
                let (missing, _) = self.out.file(first, content, size, &mut self.buffer)?;
                self.out.zeros(missing)?;
                (0, missing)
            }
            Some(payload) => {
                let (missing, error) = payload.file(first, content, size, &mut self.buffer)?;
                if let Some(error) = error {
                    // What was read is a gap that nothing refers to.
                    return Err(Error::content(error));
                }
                payload.zeros(missing)?;
                self.write_entry()?;
                (size, missing)
            }
        };
        self.add(Child {
            hash: hash_name(name),
            at,
            // As upstream has it: with what is in the other stream.
            size: self.out.position - at + in_payload,
        });
        Ok(Written {
            name_at: at,
            missing,
        })
    }

    /// Adds a regular file whose content is in the payload stream already, behind the header at
    /// `offset`.
    ///
    /// # Errors
    /// If the archive cannot hold it, or cannot be written.
    pub fn reused_file(
        &mut self,
        name: &[u8],
        metadata: &Metadata,
        offset: u64,
        size: u64,
    ) -> Result<Written, Error> {
        if self.payload.is_none() {
            return Err(Error::refused("the archive has no payload to refer to"));
        }
        let at = self.out.position;
        let reference = [offset.to_le_bytes(), size.to_le_bytes()].concat();
        self.begin_entry(name, |entry| {
            metadata::write_attributes(entry, metadata, mode::FILE)?;
            entry.item(Item::PayloadRef, &reference)
        })?;
        self.write_entry()?;
        self.end_entry(name, at);
        Ok(Written {
            name_at: at,
            missing: 0,
        })
    }

    /// Adds another name of a file whose first name, at `target`, had this path.
    ///
    /// # Errors
    /// If the archive cannot hold it, or cannot be written.
    pub fn hard_link(&mut self, name: &[u8], path: &[u8], target: u64) -> Result<(), Error> {
        metadata::check_text(path)?;
        let distance = self.out.position.checked_sub(target);
        let Some(distance) = distance.filter(|distance| *distance > 0) else {
            return Err(Error::refused("a hard link leads to what came before"));
        };
        let at = self.out.position;
        let content = [&distance.to_le_bytes()[..], path, b"\0"].concat();
        self.begin_entry(name, |entry| entry.item(Item::Hardlink, &content))?;
        self.write_entry()?;
        self.end_entry(name, at);
        Ok(())
    }

    /// Adds a symbolic link, device, pipe or socket.
    ///
    /// # Errors
    /// If the archive cannot hold it, cannot be written, or the body is that of a directory or a
    /// regular file.
    pub fn special(&mut self, name: &[u8], metadata: &Metadata, body: &Body) -> Result<(), Error> {
        if matches!(body, Body::Directory | Body::File(_)) {
            return Err(Error::refused(
                "directories and files have ways of their own",
            ));
        }
        let at = self.out.position;
        self.begin_entry(name, |entry| metadata::write(entry, metadata, body))?;
        self.write_entry()?;
        self.end_entry(name, at);
        Ok(())
    }

    /// Where the next byte of the payload goes; the client makes a chunk begin there.
    pub fn payload_position(&self) -> Option<u64> {
        self.payload.as_ref().map(|payload| payload.position)
    }

    /// What the payload is written to.
    pub fn payload_mut(&mut self) -> Option<&mut P> {
        self.payload.as_mut().map(|payload| &mut payload.out)
    }

    /// Bytes of the payload that come from elsewhere: chunks of the last backup.
    pub fn skip_payload(&mut self, bytes: u64) {
        if let Some(payload) = &mut self.payload {
            payload.position = payload.position.saturating_add(bytes);
        }
    }

    /// Ends the archive; gives back what it was written to.
    ///
    /// # Errors
    /// If a directory is still open, or it cannot be written.
    pub fn finish(mut self) -> Result<(W, Option<P>), Error> {
        if self.open.len() != 1 {
            return Err(Error::refused("a directory is still open"));
        }
        self.end_directory()?;
        if let Some(payload) = &mut self.payload {
            payload.header(PAYLOAD_TAIL, 0)?;
            payload.out.flush().map_err(Error::write)?;
        }
        self.out.out.flush().map_err(Error::write)?;
        Ok((self.out.out, self.payload.map(|payload| payload.out)))
    }

    /// Makes an entry with this name and what `rest` writes. If it cannot be, the archive is as it
    /// was.
    fn begin_entry(
        &mut self,
        name: &[u8],
        rest: impl FnOnce(&mut Counted<&mut Vec<u8>>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if let Some(why) = name_error(name) {
            let name = name.escape_ascii();
            return Err(Error::refused(format!("'{name}': {why}")));
        }
        self.entry.clear();
        let mut entry = Counted::new(&mut self.entry);
        entry.item(Item::Filename, &[name, b"\0"].concat())?;
        rest(&mut entry)
    }

    /// Writes the entry that was made.
    fn write_entry(&mut self) -> Result<(), Error> {
        self.out.bytes(&self.entry)
    }

    fn end_entry(&mut self, name: &[u8], at: u64) {
        let size = self.out.position - at;
        let hash = hash_name(name);
        self.add(Child { hash, at, size });
    }

    fn add(&mut self, child: Child) {
        if let Some(directory) = self.open.last_mut() {
            directory.children.push(child);
        }
    }

    /// Writes the table of the directory that was entered last.
    fn end_directory(&mut self) -> Result<(), Error> {
        let Some(mut directory) = self.open.pop() else {
            return Ok(());
        };
        let table = self.out.position;
        directory.children.sort_by_key(|child| child.hash);
        let slots: Vec<Slot> = directory
            .children
            .iter()
            .map(|child| Slot {
                hash: child.hash,
                offset: table - child.at,
                size: child.size,
            })
            .collect();
        let content = table::encode(&slots, table - directory.start);
        self.out.item(Item::Goodbye, &content)
    }
}

/// What is written to, and how far.
#[derive(Debug)]
struct Counted<W> {
    out: W,
    position: u64,
}

impl<W: Write> Counted<W> {
    fn new(out: W) -> Self {
        Self { out, position: 0 }
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.out.write_all(bytes).map_err(Error::write)?;
        self.position += bytes.len() as u64;
        Ok(())
    }

    fn header(&mut self, code: u64, len: u64) -> Result<(), Error> {
        let full = len.checked_add(HEADER);
        let full = full.ok_or_else(|| Error::refused("a file is too large"))?;
        let mut bytes = [0; 16];
        let (first, second) = bytes.split_at_mut(8);
        first.copy_from_slice(&code.to_le_bytes());
        second.copy_from_slice(&full.to_le_bytes());
        self.bytes(&bytes)
    }

    fn item(&mut self, item: Item, content: &[u8]) -> Result<(), Error> {
        let len = content.len() as u64;
        if !item.lengths().contains(&len) {
            let why = format!("{item:?} cannot have a content of {len} bytes");
            return Err(Error::refused(why));
        }
        self.header(item.code(), len)?;
        self.bytes(content)
    }

    /// Writes a header and `size` bytes of `content`, of which the first are in the buffer; how
    /// many are missing, and the error because of which they are, if one is.
    fn file(
        &mut self,
        first: usize,
        mut content: impl Read,
        size: u64,
        buffer: &mut [u8],
    ) -> Result<(u64, Option<io::Error>), Error> {
        self.header(Item::Payload.code(), size)?;
        let (mut count, mut left) = (first, size);
        while count > 0 {
            self.bytes(&buffer[..count])?;
            left -= count as u64;
            count = match read(&mut content, left, buffer) {
                Ok(count) => count,
                Err(error) => return Ok((left, Some(error))),
            };
        }
        Ok((left, None))
    }

    fn zeros(&mut self, count: u64) -> Result<(), Error> {
        let zeros = &mut io::repeat(0).take(count);
        io::copy(zeros, &mut self.out).map_err(Error::write)?;
        self.position += count;
        Ok(())
    }
}

/// Reads some of the `left` bytes of a content; none at its end.
fn read(content: &mut impl Read, left: u64, buffer: &mut [u8]) -> io::Result<usize> {
    let room = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
    if room == 0 {
        return Ok(0);
    }
    loop {
        match content.read(&mut buffer[..room]) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}
