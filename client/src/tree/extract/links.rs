//! Files of several names.

use std::collections::HashMap;
use std::io::Read;

use pxar::{Accessor, Body, Error, Hardlink, Inode, ReadAt};

/// A file and what is in it.
pub type Found<'a> = (Inode, Box<dyn Read + 'a>);

/// Finds the file that a hard link is another name of, if that was not restored.
pub trait Follow {
    /// None if the archive only goes forward.
    fn follow(&self, link: &Hardlink) -> Result<Option<Found<'_>>, Error>;
}

/// An archive that only goes forward.
pub struct Never;

impl Follow for Never {
    fn follow(&self, _link: &Hardlink) -> Result<Option<Found<'_>>, Error> {
        Ok(None)
    }
}

impl<A: ReadAt> Follow for Accessor<A> {
    fn follow(&self, link: &Hardlink) -> Result<Option<Found<'_>>, Error> {
        let inode = Accessor::follow(self, link)?;
        let Body::File(payload) = inode.body else {
            return Ok(None);
        };
        let content = self.contents(&payload)?;
        Ok(Some((inode, Box::new(content))))
    }
}

/// Which files were restored, so that other names of them can be made.
#[derive(Default)]
pub struct Restored {
    /// Where the names are in the archive, in ascending order.
    names: Vec<u64>,
    /// Those that took the place of a first name that was not restored, by where that is.
    stand_ins: HashMap<u64, Vec<u8>>,
}

impl Restored {
    /// A file was restored whose name is there in the archive.
    pub fn add(&mut self, name_at: u64) {
        self.names.push(name_at);
    }

    /// A file was restored at `path` instead of the one whose name is there.
    pub fn add_stand_in(&mut self, name_at: u64, path: &[u8]) {
        self.stand_ins.insert(name_at, path.to_vec());
    }

    /// The path, below the target, of the file that the link is another name of, if it was
    /// restored. The target is what `base` leads to in the archive.
    pub fn path<'a>(&'a self, link: &'a Hardlink, base: &[u8]) -> Option<&'a [u8]> {
        if self.names.binary_search(&link.target).is_ok() {
            let below = link.path.strip_prefix(base)?;
            return Some(below.strip_prefix(b"/").unwrap_or(below));
        }
        self.stand_ins.get(&link.target).map(Vec::as_slice)
    }
}
