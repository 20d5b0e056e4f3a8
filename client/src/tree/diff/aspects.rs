//! What of a file differs.

use std::io::{self, Read};

use pxar::{Accessor, Body, Error, Inode, Metadata, Payload, ReadAt, Xattr};

/// Bytes of two files that are compared at once.
const BUFFER: usize = 256 << 10;

/// What of a file differs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Aspects {
    /// Its type.
    pub file_type: bool,
    /// What is in it: bytes, target, device. Of files whose size or time differs, whether it does
    /// is known only if contents were compared.
    pub content: bool,
    /// Its size.
    pub size: bool,
    /// When it changed.
    pub mtime: bool,
    /// Permissions.
    pub mode: bool,
    /// Owner or group.
    pub owner: bool,
    /// Extended attributes, capabilities included.
    pub xattrs: bool,
    /// Access lists.
    pub acl: bool,
    /// Flags of `chattr(1)`, quota project.
    pub flags: bool,
}

impl Aspects {
    /// Whether anything differs.
    #[must_use]
    pub fn any(&self) -> bool {
        *self != Self::default()
    }

    /// What two files differ in, without reading them.
    #[must_use]
    pub fn of(older: &Inode, newer: &Inode) -> Self {
        let (old, new) = (&older.metadata, &newer.metadata);
        let mut aspects = Self {
            file_type: old.stat.file_type() != new.stat.file_type(),
            mtime: old.stat.mtime != new.stat.mtime,
            mode: old.stat.permissions() != new.stat.permissions(),
            owner: (old.stat.uid, old.stat.gid) != (new.stat.uid, new.stat.gid),
            xattrs: attributes(old) != attributes(new) || old.fcaps != new.fcaps,
            acl: old.acl != new.acl,
            flags: (old.stat.flags, old.quota_project_id) != (new.stat.flags, new.quota_project_id),
            ..Self::default()
        };
        match (&older.body, &newer.body) {
            (Body::File(old), Body::File(new)) => {
                aspects.size = old.size != new.size;
                aspects.content = aspects.size;
            }
            (old, new) => aspects.content = !aspects.file_type && old != new,
        }
        aspects
    }
}

/// In no particular order, since the kernel has none.
fn attributes(metadata: &Metadata) -> Vec<&Xattr> {
    let mut attributes: Vec<&Xattr> = metadata.xattrs.iter().collect();
    attributes.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    attributes
}

/// Compares what is in files; keeps its memory from file to file.
pub struct Contents {
    older: Vec<u8>,
    newer: Vec<u8>,
}

impl Contents {
    pub fn new() -> Self {
        Self {
            older: vec![0; BUFFER],
            newer: vec![0; BUFFER],
        }
    }

    /// Whether two files of the same size differ.
    pub fn differ<A: ReadAt, B: ReadAt>(
        &mut self,
        older: (&Accessor<A>, &Payload),
        newer: (&Accessor<B>, &Payload),
    ) -> Result<bool, Error> {
        let mut left = older.1.size;
        let (mut older, mut newer) = (older.0.contents(older.1)?, newer.0.contents(newer.1)?);
        let read = |from: &mut dyn Read, into: &mut [u8]| {
            let read = from.read_exact(into);
            read.map_err(|source: io::Error| Error::Io {
                action: "read",
                source,
            })
        };
        while left > 0 {
            let len = usize::try_from(left).map_or(BUFFER, |left| left.min(BUFFER));
            let (old, new) = (&mut self.older[..len], &mut self.newer[..len]);
            read(&mut older, old)?;
            read(&mut newer, new)?;
            if old != new {
                return Ok(true);
            }
            left -= len as u64;
        }
        Ok(false)
    }
}
