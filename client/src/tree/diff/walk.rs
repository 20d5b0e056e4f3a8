//! Two archives side by side.

use std::collections::HashSet;
use std::ffi::OsString;
use std::iter::Peekable;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use pxar::{Accessor, Body, Entry, Inode, Listing, Node, ReadAt};

use super::aspects::{Aspects, Contents};
use super::{Change, Difference};
use crate::tree::Error;

/// Two archives side by side.
pub struct Walk<'a, A: ReadAt, B> {
    older: &'a Accessor<A>,
    newer: &'a Accessor<B>,
    contents: Option<Contents>,
    found: &'a mut dyn FnMut(Difference) -> Result<(), Error>,
    open: Vec<Open<'a, A, B>>,
}

/// A directory of one archive or both, whose end was not reached.
struct Open<'a, A: ReadAt, B> {
    path: Vec<u8>,
    /// In the older archive; none if it is none there.
    older: Option<Entry>,
    /// What was not met there yet, while the newer archive is read.
    rest: Option<Peekable<Listing<'a, A>>>,
    newer: Option<Listing<'a, B>>,
    /// Names of the newer one.
    names: HashSet<Vec<u8>>,
}

impl<'a, A: ReadAt, B: ReadAt> Walk<'a, A, B> {
    pub fn new(
        older: &'a Accessor<A>,
        newer: &'a Accessor<B>,
        compare_content: bool,
        found: &'a mut dyn FnMut(Difference) -> Result<(), Error>,
    ) -> Result<Self, Error> {
        let mut walk = Self {
            older,
            newer,
            contents: compare_content.then(Contents::new),
            found,
            open: Vec::new(),
        };
        walk.both(Vec::new(), Some(older.root()?), Some(newer.root()?))?;
        Ok(walk)
    }

    pub fn run(mut self) -> Result<(), Error> {
        while let Some(open) = self.open.last_mut() {
            if let Some(next) = open.newer.as_mut().and_then(Iterator::next) {
                let newer = next?;
                let older = open.counterpart(self.older, &newer.name)?;
                open.names.insert(newer.name.clone());
                let path = joined(&open.path, &newer.name);
                self.both(path, older, Some(newer))?;
                continue;
            }
            if let Some(newer) = open.newer.take() {
                drop(newer);
                // From its beginning.
                open.rest = match &open.older {
                    Some(directory) => Some(self.older.list(directory)?.peekable()),
                    None => None,
                };
            }
            match open.rest.as_mut().and_then(Iterator::next) {
                None => drop(self.open.pop()),
                Some(older) => {
                    let older = older?;
                    if !open.names.contains(&older.name) {
                        let path = joined(&open.path, &older.name);
                        self.both(path, Some(older), None)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Compares what is at a path in both archives, if it is, and enters it.
    fn both(
        &mut self,
        path: Vec<u8>,
        older: Option<Entry>,
        newer: Option<Entry>,
    ) -> Result<(), Error> {
        let old = older.as_ref().map(|it| inode(self.older, it)).transpose()?;
        let new = newer.as_ref().map(|it| inode(self.newer, it)).transpose()?;
        let change = match (&old, &new) {
            (Some(old), Some(new)) => {
                let aspects = self.aspects(old, new)?;
                aspects.any().then_some(Change::Modified(aspects))
            }
            (None, _) => Some(Change::Added),
            (_, None) => Some(Change::Removed),
        };
        if let (Some(change), Some(inode)) = (change, new.or(old)) {
            (self.found)(Difference {
                path: PathBuf::from(OsString::from_vec(path.clone())),
                file_type: inode.metadata.stat.file_type(),
                change,
            })?;
        }
        let directory = |entry: Option<Entry>| entry.filter(Entry::is_directory);
        let (older, newer) = (directory(older), directory(newer));
        if older.is_none() && newer.is_none() {
            return Ok(());
        }
        let rest = older.as_ref().map(|it| self.older.list(it)).transpose()?;
        let listing = newer.as_ref().map(|it| self.newer.list(it)).transpose()?;
        self.open.push(Open {
            path,
            older,
            rest: rest.map(Iterator::peekable),
            newer: listing,
            names: HashSet::new(),
        });
        Ok(())
    }

    fn aspects(&mut self, old: &Inode, new: &Inode) -> Result<Aspects, Error> {
        let mut aspects = Aspects::of(old, new);
        if let (Body::File(old), Body::File(new), Some(contents)) =
            (&old.body, &new.body, &mut self.contents)
            && !aspects.size
        {
            aspects.content = contents.differ((self.older, old), (self.newer, new))?;
        }
        Ok(aspects)
    }
}

impl<A: ReadAt, B> Open<'_, A, B> {
    /// What has this name in the older archive. Both mostly have the same order, so the next one
    /// there is looked at before it is searched for.
    fn counterpart(&mut self, archive: &Accessor<A>, name: &[u8]) -> Result<Option<Entry>, Error> {
        let (Some(rest), Some(directory)) = (&mut self.rest, &self.older) else {
            return Ok(None);
        };
        let before = |next: &Result<Entry, pxar::Error>| {
            next.as_ref().is_ok_and(|it| it.name.as_slice() < name)
        };
        while rest.next_if(before).is_some() {}
        let same =
            |next: &Result<Entry, pxar::Error>| next.as_ref().is_ok_and(|it| it.name == name);
        if let Some(found) = rest.next_if(same) {
            return Ok(Some(found?));
        }
        Ok(archive.child(directory, name)?)
    }
}

/// The file, whichever of its names this is.
fn inode<A: ReadAt>(archive: &Accessor<A>, entry: &Entry) -> Result<Inode, Error> {
    match &entry.node {
        Node::Inode(inode) => Ok((**inode).clone()),
        Node::Hardlink(link) => Ok(archive.follow(link)?),
    }
}

fn joined(path: &[u8], name: &[u8]) -> Vec<u8> {
    match path {
        b"" => name.to_vec(),
        path => [path, name].join(&b'/'),
    }
}
