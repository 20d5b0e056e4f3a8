//! What a walk finds.

use std::os::fd::OwnedFd;

use pxar::{AclEntry, Body, Metadata, Xattr};
use rustix::fs::Stat;

use super::look::Unseen;
use super::parent::Parent;
use crate::tree::observer::Problem;

/// What a walk finds, in the order of the archive.
#[derive(Debug)]
pub enum Found {
    /// A directory; what is in it follows, up to its [`Found::Leave`].
    Enter {
        /// From the root.
        path: Vec<u8>,
        /// What is known of it.
        metadata: Box<Metadata>,
    },
    /// The end of the directory that was entered last.
    Leave,
    /// A regular file.
    File(FoundFile),
    /// A symbolic link, device, pipe or socket.
    Other {
        /// From the root.
        path: Vec<u8>,
        /// What is known of it.
        metadata: Box<Metadata>,
        /// What it is.
        body: Body,
    },
}

/// What is wrong with files, by their paths.
pub type Told = Vec<(Vec<u8>, Problem)>;

/// What a walk comes by.
#[derive(Debug)]
pub struct Sight {
    /// What was wrong on the way there.
    pub told: Told,
    pub what: What,
}

impl Sight {
    /// Bytes of names and attributes, once it was looked at.
    pub fn weight(&self) -> usize {
        match &self.what {
            What::Found(found) => found.weight(),
            What::Nothing | What::Unseen(_) => 0,
        }
    }
}

/// What is there.
#[derive(Debug)]
pub enum What {
    Found(Found),
    /// Nothing that could be stored.
    Nothing,
    /// It has yet to be looked at.
    Unseen(Unseen),
}

impl Found {
    /// Where it is, from the root.
    pub fn path(&self) -> Option<&[u8]> {
        match self {
            Self::Leave => None,
            Self::Enter { path, .. } | Self::Other { path, .. } => Some(path),
            Self::File(file) => Some(&file.path),
        }
    }

    /// Bytes of names and attributes.
    pub fn weight(&self) -> usize {
        let (name, metadata) = match self {
            Self::Leave => return 0,
            Self::Enter { path, metadata } | Self::Other { path, metadata, .. } => (path, metadata),
            Self::File(file) => (&file.path, &file.metadata),
        };
        let xattrs = metadata.xattrs.iter();
        let xattrs: usize = xattrs
            .map(|it| size_of::<Xattr>() + it.name.len() + it.value.len())
            .sum();
        let acl = &metadata.acl;
        let lists = [
            &acl.users,
            &acl.groups,
            &acl.default_users,
            &acl.default_groups,
        ];
        let entries: usize = lists.iter().map(|list| list.len()).sum();
        let fcaps = metadata.fcaps.as_ref().map_or(0, Vec::len);
        name.len() + xattrs + entries * size_of::<AclEntry>() + fcaps
    }
}

/// A regular file.
#[derive(Debug)]
pub struct FoundFile {
    /// From the root.
    pub path: Vec<u8>,
    /// Where it was found.
    pub parent: Parent,
    /// What is known of it.
    pub metadata: Box<Metadata>,
    /// How long it is.
    pub size: u64,
    /// Which file it is.
    pub identity: Identity,
    /// Whether it has other names.
    pub linked: bool,
    /// What is in it; without, it is opened again.
    pub content: Option<Inside>,
    /// Where its content is in the previous payload, if it did not change since.
    pub previous: Option<u64>,
    /// What was wrong with its attributes, and is told: if it is opened again, that is so again.
    pub told: Vec<String>,
}

/// Which file it is, as it was when it was looked at. The number of an inode alone says little once
/// that is removed: it is soon given to another. What changed meanwhile counts as another file too:
/// rather stored twice than with what is not in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    device: u64,
    inode: u64,
    size: i64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Identity {
    /// Of the file of which this was said.
    pub fn of(stat: &Stat) -> Self {
        // Some file systems in user space say what cannot be.
        let nanos = |nanos| i64::try_from(nanos).unwrap_or_default();
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            size: stat.st_size,
            modified: (stat.st_mtime, nanos(stat.st_mtime_nsec)),
            changed: (stat.st_ctime, nanos(stat.st_ctime_nsec)),
        }
    }
}

/// What is in a file.
#[derive(Debug)]
pub enum Inside {
    /// To be read from there.
    Open(OwnedFd),
    /// It was read, all of it.
    Read(Vec<u8>),
}

impl FoundFile {
    /// The last name of its path.
    pub fn name(&self) -> &[u8] {
        last_name(&self.path)
    }
}

/// The last name of a path.
pub fn last_name(path: &[u8]) -> &[u8] {
    let mut names = path.rsplit(|byte| *byte == b'/');
    names.next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use pxar::Acl;

    use super::*;

    #[test]
    fn all_that_can_be_long_weighs() {
        let weight = |metadata: Metadata| {
            let path = b"dir".to_vec();
            let metadata = Box::new(metadata);
            Found::Enter { path, metadata }.weight()
        };
        let entry = AclEntry {
            id: 1,
            permissions: 7,
        };
        let acl = |change: fn(&mut Acl, Vec<AclEntry>)| {
            let mut metadata = Metadata::default();
            change(&mut metadata.acl, vec![entry; 1000]);
            weight(metadata)
        };
        assert_eq!(weight(Metadata::default()), 3);
        assert_eq!(acl(|acl, list| acl.users = list), 16_003);
        assert_eq!(acl(|acl, list| acl.groups = list), 16_003);
        assert_eq!(acl(|acl, list| acl.default_users = list), 16_003);
        assert_eq!(acl(|acl, list| acl.default_groups = list), 16_003);
        let fcaps = Some(vec![0; 20]);
        let fcaps = Metadata {
            fcaps,
            ..Metadata::default()
        };
        assert_eq!(weight(fcaps), 23);
        let xattrs = vec![Xattr {
            name: b"user.a".to_vec(),
            value: vec![0; 100],
        }];
        let xattrs = Metadata {
            xattrs,
            ..Metadata::default()
        };
        assert!(weight(xattrs) >= 109);
    }
}
