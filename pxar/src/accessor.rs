//! Single files of an archive that can be read at any place.

use std::io::Read as _;
use std::ops::Range;
use std::vec;

use crate::decoder::{Decoder, check_payload};
use crate::error::Error;
use crate::goodbye::{ENTRY, Search, Slot, Tail};
use crate::inode::{read_inode, read_name, read_node};
use crate::item::{HEADER, Header, Item, Items};
use crate::limits;
use crate::name::hash_name;
use crate::node::{Body, Hardlink, Inode, Node, Payload, Place};
use crate::preamble::Preamble;
use crate::source::{At, Input as _, ReadAt, Section};

/// The shortest child: a name of one byte, a hard link to one.
const MIN_CHILD: u64 = (HEADER + 2) + (HEADER + 10);

/// The content of a file: reads it from its first byte on, or from anywhere.
pub type Contents<'a, A> = At<Section<&'a A>>;

/// Finds files by their paths.
#[derive(Debug)]
pub struct Accessor<A> {
    archive: A,
    payload: Option<A>,
    version: u64,
    root: Span,
}

/// What a path leads to.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its last name; empty for the root.
    pub name: Vec<u8>,
    /// What is there.
    pub node: Node,
    /// Where its name is in the archive, as [`Hardlink::target`] says it; of the root, 0.
    pub position: u64,
    span: Option<Span>,
}

impl Entry {
    /// The file, unless it is a hard link.
    #[must_use]
    pub fn inode(&self) -> Option<&Inode> {
        match &self.node {
            Node::Inode(inode) => Some(inode),
            Node::Hardlink(_) => None,
        }
    }

    /// Whether it is a directory.
    #[must_use]
    pub fn is_directory(&self) -> bool {
        self.span.is_some()
    }
}

/// Where a directory is.
#[derive(Clone, Copy, Debug)]
struct Span {
    /// Its stat.
    start: u64,
    /// Its table.
    table: u64,
    /// Entries of that, without the last one.
    count: u64,
}

impl<A: ReadAt> Accessor<A> {
    /// Opens a whole archive, or one with the metadata, to which `payload` has the contents.
    ///
    /// # Errors
    /// If it does not begin and end like an archive.
    pub fn open(archive: A, payload: Option<A>) -> Result<Self, Error> {
        let mut items = Items::new(At::new(&archive));
        let preamble = Preamble::read(&mut items, Items::skip)?;
        // Of the second version the root's table says where the stream begins.
        let begin = match preamble.version {
            1 => preamble.root.at,
            _ => 0,
        };
        let root = Span::ending_at(&archive, archive.size(), begin)?;
        let root = Span {
            start: preamble.root.at,
            ..root
        };
        Ok(Self {
            version: preamble.version,
            archive,
            payload,
            root,
        })
    }

    /// The version of the format, 1 or 2.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The root directory.
    ///
    /// # Errors
    /// If it is damaged or cannot be read.
    pub fn root(&self) -> Result<Entry, Error> {
        self.directory(Vec::new(), self.root)
    }

    /// What is at a path of names from the root; none if there is nothing.
    ///
    /// # Errors
    /// If a directory on the way is damaged or cannot be read.
    pub fn lookup<'a>(
        &self,
        path: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Option<Entry>, Error> {
        let mut found = self.root()?;
        for name in path {
            match self.child(&found, name)? {
                Some(child) => found = child,
                None => return Ok(None),
            }
        }
        Ok(Some(found))
    }

    /// What has this name in a directory; none if nothing has.
    ///
    /// # Errors
    /// If the directory is damaged or cannot be read.
    pub fn child(&self, directory: &Entry, name: &[u8]) -> Result<Option<Entry>, Error> {
        let Some(span) = directory.span else {
            return Ok(None);
        };
        let mut search = Search::new(hash_name(name), span.count);
        while let Some(slot) = search.next(|place| self.slot(&span, place), span.table)? {
            let (entry, _) = self.entry(&span, span.child(&slot)?, &slot)?;
            if entry.name == name {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }

    /// All that is in a directory, in the archive's order; nothing is in what is none.
    ///
    /// # Errors
    /// If its table is damaged or cannot be read.
    pub fn list(&self, directory: &Entry) -> Result<Listing<'_, A>, Error> {
        self.list_at_most(directory, limits::LISTING)
    }

    /// The same, unless there are more entries than `limit`.
    ///
    /// # Errors
    /// As for [`Accessor::list`], and if there are more.
    pub fn list_at_most(&self, directory: &Entry, limit: u64) -> Result<Listing<'_, A>, Error> {
        let mut children = Vec::new();
        if let Some(span) = &directory.span {
            if span.count > limit {
                return Err(Error::TooLarge {
                    object: "a directory",
                    at: span.table,
                    limit,
                });
            }
            for place in 0..span.count {
                let slot = self.slot(span, place)?;
                children.push((span.child(&slot)?, slot));
            }
            children.sort_unstable_by_key(|child| child.0);
        }
        Ok(Listing {
            accessor: self,
            span: directory.span.unwrap_or(self.root),
            children: children.into_iter(),
            end: 0,
        })
    }

    /// The regular file that a hard link is another name of.
    ///
    /// # Errors
    /// If there is none, or it cannot be read.
    pub fn follow(&self, link: &Hardlink) -> Result<Inode, Error> {
        let mut items = self.items(link.target)?;
        let (header, _) = Self::name(&mut items)?;
        match read_node(&mut items, header.at)? {
            Node::Inode(inode) if matches!(inode.body, Body::File(_)) => Ok(*inode),
            _ => Err(Error::corrupt(header.at, "a hard link to no regular file")),
        }
    }

    /// The content of a regular file.
    ///
    /// # Errors
    /// If it is not where the archive says, or in a payload archive that was not given.
    pub fn contents(&self, payload: &Payload) -> Result<Contents<'_, A>, Error> {
        self.place(payload)?;
        self.contents_again(payload)
    }

    /// The same of a file whose content was found before: nothing of the archive is read to find it
    /// again, so that whoever reads on is seen to.
    ///
    /// # Errors
    /// If the payload archive was not given.
    pub fn contents_again(&self, payload: &Payload) -> Result<Contents<'_, A>, Error> {
        let (source, range) = self.span(payload)?;
        let size = range.end - range.start;
        Ok(At::new(Section::new(source, range.start, size)))
    }

    /// Where the content of a regular file is: in this archive or the one with the payload.
    ///
    /// # Errors
    /// As for [`Accessor::contents`].
    pub fn place(&self, payload: &Payload) -> Result<(&A, Range<u64>), Error> {
        if let (Place::Reference(at), Some(source)) = (payload.place, &self.payload) {
            check_payload(&mut At::new(source), at, payload.size)?;
        }
        self.span(payload)
    }

    /// The same without a look at what is there.
    fn span(&self, payload: &Payload) -> Result<(&A, Range<u64>), Error> {
        let (source, at) = match payload.place {
            Place::Inline(at) => (&self.archive, Some(at)),
            Place::Reference(at) => {
                let source = self.payload.as_ref().ok_or(Error::NoPayload)?;
                (source, at.checked_add(HEADER))
            }
        };
        let at = at.unwrap_or(u64::MAX);
        let end = at.checked_add(payload.size);
        let end = end.filter(|end| *end <= source.size());
        let end = end.ok_or_else(|| Error::corrupt(at, "the archive ends within this file"))?;
        Ok((source, at..end))
    }

    /// Everything in a directory and below it, in the archive's order. Paths begin in it.
    ///
    /// # Errors
    /// If it is none, or cannot be read.
    pub fn walk(&self, directory: &Entry) -> Result<Decoder<At<&A>>, Error> {
        let Some(span) = directory.span else {
            return Err(Error::corrupt(0, "what is walked is no directory"));
        };
        let mut items = self.items(span.start)?;
        let start = items.expect()?;
        let payload = self.payload.as_ref().map(At::new);
        Ok(Decoder::inside(items, payload, self.version, start))
    }

    fn items(&self, at: u64) -> Result<Items<At<&A>>, Error> {
        let mut input = At::new(&self.archive);
        input.move_to(at).map_err(Error::read(at))?;
        Ok(Items::new(input))
    }

    /// A name, where there must be one.
    fn name(items: &mut Items<At<&A>>) -> Result<(Header, Vec<u8>), Error> {
        let header = items.expect()?;
        if header.item != Item::Filename {
            return Err(header.unexpected("a name"));
        }
        let name = read_name(items, &header)?;
        Ok((header, name))
    }

    fn slot(&self, span: &Span, place: u64) -> Result<Slot, Error> {
        let at = span.table + HEADER + place * ENTRY;
        Ok(Slot::decode(&read_slot(&self.archive, at)?))
    }

    fn directory(&self, name: Vec<u8>, span: Span) -> Result<Entry, Error> {
        let mut items = self.items(span.start)?;
        let header = items.expect()?;
        let inode = read_inode(&mut items, &header)?;
        if inode.body != Body::Directory {
            return Err(Error::corrupt(header.at, "its root is no directory"));
        }
        Ok(Entry {
            name,
            node: Node::Inode(Box::new(inode)),
            position: 0,
            span: Some(span),
        })
    }

    /// The child of a directory whose name is at `at`, and where its metadata ends.
    fn entry(&self, parent: &Span, at: u64, slot: &Slot) -> Result<(Entry, u64), Error> {
        let mut items = self.items(at)?;
        let (header, name) = Self::name(&mut items)?;
        if hash_name(&name) != slot.hash {
            let why = "the table of its directory has another hash of this name";
            return Err(Error::corrupt(at, why));
        }
        let start = header.end();
        let node = read_node(&mut items, at)?;
        let end = items.position();
        let span = match &node {
            Node::Inode(inode) if inode.body == Body::Directory => {
                let inside = at.checked_add(slot.size);
                let inside = inside.filter(|end| *end <= parent.table);
                let end = inside.ok_or_else(|| {
                    Error::corrupt(at, "a directory reaches beyond the one it is in")
                })?;
                Some(Span::ending_at(&self.archive, end, start)?)
            }
            _ => None,
        };
        let entry = Entry {
            name,
            node,
            position: at,
            span,
        };
        Ok((entry, end))
    }
}

impl Span {
    /// The directory that ends at `end` and must begin at `start`.
    fn ending_at<A: ReadAt>(archive: &A, end: u64, start: u64) -> Result<Self, Error> {
        let Some(at) = end.checked_sub(ENTRY) else {
            return Err(Error::corrupt(end, "a directory without a table"));
        };
        let tail = Tail::decode(&read_slot(archive, at)?, end)?;
        let table = end - tail.size;
        let mut bytes = [0; 16];
        read_exact(archive, &mut bytes, table)?;
        let header = Header::decode(bytes, table)?;
        if header.item != Item::Goodbye || header.end() != end {
            return Err(header.unexpected("the table of a directory"));
        }
        if table.checked_sub(tail.offset) != Some(start) {
            let why = "a table belongs to another directory";
            return Err(Error::corrupt(table, why));
        }
        let count = header.len / ENTRY - 1;
        if count > (table - start) / MIN_CHILD {
            return Err(Error::corrupt(table, "a table has too many entries"));
        }
        Ok(Self {
            start,
            table,
            count,
        })
    }

    /// Where the name of a child is.
    fn child(&self, slot: &Slot) -> Result<u64, Error> {
        let at = self.table.checked_sub(slot.offset);
        let at = at.filter(|at| *at > self.start && *at < self.table);
        at.ok_or_else(|| Error::corrupt(self.table, "a table points outside of its directory"))
    }
}

fn read_slot<A: ReadAt>(archive: &A, at: u64) -> Result<[u8; 24], Error> {
    let mut bytes = [0; 24];
    read_exact(archive, &mut bytes, at)?;
    Ok(bytes)
}

fn read_exact<A: ReadAt>(archive: &A, buffer: &mut [u8], at: u64) -> Result<(), Error> {
    let mut input = At::new(Section::new(archive, at, buffer.len() as u64));
    input.read_exact(buffer).map_err(Error::read(at))
}

/// The entries of a directory. After an error it is at its end.
#[derive(Debug)]
pub struct Listing<'a, A> {
    accessor: &'a Accessor<A>,
    span: Span,
    children: vec::IntoIter<(u64, Slot)>,
    /// Where the last one ended.
    end: u64,
}

impl<A: ReadAt> Listing<'_, A> {
    fn entry(&mut self, at: u64, slot: &Slot) -> Result<Entry, Error> {
        if at < self.end {
            return Err(Error::corrupt(at, "two names of a directory overlap"));
        }
        let (entry, end) = self.accessor.entry(&self.span, at, slot)?;
        self.end = match entry.span {
            Some(span) => span.table,
            None => end,
        };
        Ok(entry)
    }
}

impl<A: ReadAt> Iterator for Listing<'_, A> {
    type Item = Result<Entry, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let (at, slot) = self.children.next()?;
        let entry = self.entry(at, &slot);
        if entry.is_err() {
            self.children = Vec::new().into_iter();
        }
        Some(entry)
    }
}
