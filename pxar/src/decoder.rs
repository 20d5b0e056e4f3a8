//! An archive from the first byte to the last.

use std::io::{self, Read};

use crate::error::Error;
use crate::goodbye::Tail;
use crate::inode::{read_inode, read_name, read_node};
use crate::item::{HEADER, Header, Item, Items};
use crate::limits;
use crate::node::{Body, Node, Payload, Place};
use crate::preamble::Preamble;
use crate::source::Input;

/// What comes next in an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Something at [`Decoder::path`]. What follows a directory is in it, up to its [`Step::Leave`].
    Enter(Node),
    /// The directory at [`Decoder::path`] ends.
    Leave,
}

/// Reads an archive in its own order.
#[derive(Debug)]
pub struct Decoder<I> {
    items: Items<I>,
    payload: Option<I>,
    version: u64,
    prelude: Option<Vec<u8>>,
    /// The first item of the root, until that was read.
    start: Option<Header>,
    path: Vec<u8>,
    /// Directories that did not end yet, each by the length of its path.
    open: Vec<usize>,
    /// Where the last name is.
    position: u64,
    /// The file that was read last.
    current: Option<Payload>,
    /// Whether something may follow the root.
    inside: bool,
}

impl<I: Input> Decoder<I> {
    /// Begins at the first byte of `input`: a whole archive, or one with the metadata, to which
    /// `payload` has the contents. Without that, they cannot be read.
    ///
    /// # Errors
    /// If it does not begin like an archive.
    pub fn new(input: I, payload: Option<I>) -> Result<Self, Error> {
        let mut items = Items::new(input);
        let mut prelude = None;
        let preamble = Preamble::read(&mut items, |items, header| {
            prelude = Some(items.bytes(header)?);
            Ok(())
        })?;
        let mut decoder = Self::at(items, payload, preamble.root);
        decoder.version = preamble.version;
        decoder.prelude = prelude;
        Ok(decoder)
    }

    /// Begins at a directory within the archive, whose stat is at the header.
    pub(crate) fn inside(items: Items<I>, payload: Option<I>, version: u64, start: Header) -> Self {
        let mut decoder = Self::at(items, payload, start);
        decoder.version = version;
        decoder.inside = true;
        decoder
    }

    fn at(items: Items<I>, payload: Option<I>, start: Header) -> Self {
        Self {
            items,
            payload,
            version: 1,
            prelude: None,
            start: Some(start),
            path: Vec::new(),
            open: Vec::new(),
            position: 0,
            current: None,
            inside: false,
        }
    }

    /// The version of the format, 1 or 2.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// What the client wrote in front of the tree (`pxar.md` §3.3).
    pub fn prelude(&self) -> Option<&[u8]> {
        self.prelude.as_deref()
    }

    /// Where the last step was: names joined by slashes, none of it for the root.
    pub fn path(&self) -> &[u8] {
        &self.path
    }

    /// The last name of [`Decoder::path`].
    pub fn name(&self) -> &[u8] {
        let mut names = self.path.rsplit(|byte| *byte == b'/');
        names.next().unwrap_or_default()
    }

    /// Where in the archive the last name is that was entered, as [`Hardlink::target`] says it.
    ///
    /// [`Hardlink::target`]: crate::Hardlink::target
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Directories around the next step.
    pub fn depth(&self) -> usize {
        self.open.len()
    }

    /// The next step; none behind the root. After an error there is nothing more.
    ///
    /// # Errors
    /// If the archive is damaged or cannot be read.
    pub fn step(&mut self) -> Result<Option<Step>, Error> {
        let step = self.advance();
        if step.is_err() {
            self.open.clear();
            self.start = None;
        }
        step
    }

    fn advance(&mut self) -> Result<Option<Step>, Error> {
        if let Some(Payload {
            place: Place::Inline(start),
            size,
        }) = self.current.take()
        {
            let end = start.saturating_add(size);
            let moved = self.items.input.move_to(end);
            moved.map_err(Error::read(start))?;
        }
        if let Some(start) = self.start.take() {
            return self.root(&start).map(Some);
        }
        let Some(parent) = self.open.last().copied() else {
            return Ok(None);
        };
        self.path.truncate(parent);
        let header = self.items.expect()?;
        match header.item {
            Item::Filename => self.enter(&header).map(Some),
            Item::Goodbye => self.leave(&header).map(Some),
            _ => Err(header.unexpected("a name or the end of the directory")),
        }
    }

    fn root(&mut self, start: &Header) -> Result<Step, Error> {
        let inode = read_inode(&mut self.items, start)?;
        if inode.body != Body::Directory {
            return Err(Error::corrupt(start.at, "its root is no directory"));
        }
        self.open.push(0);
        Ok(Step::Enter(Node::Inode(Box::new(inode))))
    }

    fn enter(&mut self, header: &Header) -> Result<Step, Error> {
        let name = read_name(&mut self.items, header)?;
        self.position = header.at;
        if self.path.len() + 1 + name.len() > limits::PATH {
            return Err(Error::TooLarge {
                object: "a path",
                at: header.at,
                limit: limits::PATH as u64,
            });
        }
        if !self.path.is_empty() {
            self.path.push(b'/');
        }
        self.path.extend_from_slice(&name);
        let node = read_node(&mut self.items, header.at)?;
        if let Node::Inode(inode) = &node {
            match &inode.body {
                Body::Directory => self.open.push(self.path.len()),
                Body::File(payload) => self.current = Some(self.checked(header, *payload)?),
                _ => {}
            }
        }
        Ok(Step::Enter(node))
    }

    /// Whether an archive of this version can have such a file.
    fn checked(&self, header: &Header, payload: Payload) -> Result<Payload, Error> {
        if self.version == 1 && matches!(payload.place, Place::Reference(_)) {
            let why = "a reference to a payload archive, but it is not in two parts";
            return Err(Error::corrupt(header.at, why));
        }
        Ok(payload)
    }

    fn leave(&mut self, header: &Header) -> Result<Step, Error> {
        Tail::read(&mut self.items, header)?;
        self.open.pop();
        if self.open.is_empty() && !self.inside && self.items.next()?.is_some() {
            return Err(Error::corrupt(header.end(), "something follows the root"));
        }
        Ok(Step::Leave)
    }

    /// The content of the regular file of the last step; none if that was something else. It can be
    /// read once.
    ///
    /// # Errors
    /// If it is not where the archive says.
    pub fn contents(&mut self) -> Result<Option<FileReader<'_, I>>, Error> {
        let Some(payload) = self.current else {
            return Ok(None);
        };
        let (input, at) = match payload.place {
            Place::Inline(at) => (&mut self.items.input, at),
            Place::Reference(at) => {
                let input = self.payload.as_mut().ok_or(Error::NoPayload)?;
                check_payload(input, at, payload.size)?;
                (input, at + HEADER)
            }
        };
        input.move_to(at).map_err(Error::read(at))?;
        Ok(Some(FileReader {
            input,
            left: payload.size,
        }))
    }
}

/// Checks that the content of a file of `size` bytes begins with the header at `at`.
pub fn check_payload<I: Input>(input: &mut I, at: u64, size: u64) -> Result<(), Error> {
    let mut bytes = [0; 16];
    let read = input
        .move_to(at)
        .and_then(|()| input.read_exact(&mut bytes));
    read.map_err(Error::read(at))?;
    let header = Header::decode(bytes, at);
    if !header.is_ok_and(|header| header.item == Item::Payload && header.len == size) {
        let why = format!("the payload archive has no content of {size} bytes there");
        return Err(Error::corrupt(at, why));
    }
    Ok(())
}

/// Reads what is in a file.
#[derive(Debug)]
pub struct FileReader<'a, I> {
    input: &'a mut I,
    left: u64,
}

impl<I: Input> Read for FileReader<'_, I> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = !buffer.is_empty() && self.left > 0;
        let count = self.input.take(self.left).read(buffer)?;
        if wanted && count == 0 {
            let why = "the archive ends within this file";
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, why));
        }
        self.left -= count as u64;
        Ok(count)
    }
}
