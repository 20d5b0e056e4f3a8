//! What the previous archive has in a directory.

use std::iter::Peekable;
use std::sync::Arc;

use pxar::{Accessor, Body, Entry, Error, Listing, Metadata, Payload, Place, ReadAt};

/// The metadata of the previous archive.
pub type Archive = Accessor<Arc<dyn ReadAt + Send + Sync>>;

/// What the previous archive has in a directory. Archives have names in ascending order, so one
/// walk through both finds all that agree; in one that has not, changes are seen where there are
/// none.
pub struct Siblings<'a> {
    entries: Peekable<Listing<'a, Arc<dyn ReadAt + Send + Sync>>>,
}

impl<'a> Siblings<'a> {
    /// Of this directory.
    pub fn of(archive: &'a Archive, directory: &Entry) -> Result<Self, Error> {
        Ok(Self {
            entries: archive.list(directory)?.peekable(),
        })
    }

    /// The one with this name; names are asked for in ascending order.
    pub fn find(&mut self, name: &[u8]) -> Result<Option<Entry>, Error> {
        let passed = |entry: &Result<Entry, Error>| {
            entry
                .as_ref()
                .is_ok_and(|entry| entry.name.as_slice() < name)
        };
        while self.entries.next_if(passed).is_some() {}
        let wanted =
            |entry: &Result<Entry, Error>| entry.as_ref().map_or(true, |entry| entry.name == name);
        self.entries.next_if(wanted).transpose()
    }
}

/// Where the content of a file is in the previous payload, if it did not change since.
pub fn unchanged(previous: &Entry, metadata: &Metadata, size: u64) -> Option<u64> {
    let inode = previous.inode()?;
    let Body::File(Payload {
        place: Place::Reference(offset),
        size: previous_size,
    }) = inode.body
    else {
        return None;
    };
    let old = &inode.metadata;
    // The values of attributes may differ: they say nothing of the content, and are stored anew.
    let names = old.xattrs.iter().map(|it| &it.name);
    let same = size == previous_size
        && old.stat == metadata.stat
        && old.acl == metadata.acl
        && old.fcaps == metadata.fcaps
        && old.quota_project_id == metadata.quota_project_id
        && names.eq(metadata.xattrs.iter().map(|it| &it.name));
    same.then_some(offset)
}
