//! What a walk finds.

use std::os::fd::OwnedFd;

use pxar::{Body, Metadata};

/// What a walk finds, in the order of the archive.
#[derive(Debug)]
pub enum Found {
    /// A directory; what is in it follows, up to its [`Found::Leave`].
    Enter {
        /// Its name.
        name: Vec<u8>,
        /// What is known of it.
        metadata: Box<Metadata>,
    },
    /// The end of the directory that was entered last.
    Leave,
    /// A regular file.
    File(FoundFile),
    /// A symbolic link, device, pipe or socket.
    Other {
        /// Its name.
        name: Vec<u8>,
        /// What is known of it.
        metadata: Box<Metadata>,
        /// What it is.
        body: Body,
    },
}

impl Found {
    /// Bytes of names and attributes.
    pub fn weight(&self) -> usize {
        let (name, metadata) = match self {
            Self::Leave => return 0,
            Self::Enter { name, metadata } | Self::Other { name, metadata, .. } => (name, metadata),
            Self::File(file) => (&file.path, &file.metadata),
        };
        let xattrs = metadata.xattrs.iter();
        let xattrs: usize = xattrs.map(|it| it.name.len() + it.value.len()).sum();
        name.len() + xattrs
    }
}

/// A regular file.
#[derive(Debug)]
pub struct FoundFile {
    /// From the root.
    pub path: Vec<u8>,
    /// What is known of it.
    pub metadata: Box<Metadata>,
    /// How long it is.
    pub size: u64,
    /// Device and inode.
    pub identity: (u64, u64),
    /// Whether it has other names.
    pub linked: bool,
    /// What is in it; without, it is opened by its path.
    pub content: Option<OwnedFd>,
    /// Where its content is in the previous payload, if it did not change since.
    pub previous: Option<u64>,
}

impl FoundFile {
    /// The last name of its path.
    pub fn name(&self) -> &[u8] {
        let mut names = self.path.rsplit(|byte| *byte == b'/');
        names.next().unwrap_or_default()
    }
}
