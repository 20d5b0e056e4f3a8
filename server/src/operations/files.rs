//! Single files of the archives that hold files: pxar, in one part or two.

use std::ops::Range;
use std::sync::Arc;

use anyhow::{Result, bail};
use api_types::names::{ArchiveName, SnapshotPath};
use datastore::store::DataStore;
use pxar::{Accessor, Body, Entry, Inode, Node};

use super::archive::{Archive, ArchiveReader};
use crate::protocol::memory::Memory;

/// Files of an archive, found by their paths.
#[derive(Debug)]
pub struct Files(Accessor<ArchiveReader>);

/// What a path leads to.
#[derive(Debug)]
pub enum Found {
    /// A directory.
    Directory(Entry),
    /// The content of a file: these bytes of the archive.
    File(Arc<Archive>, Range<u64>),
}

/// What the names of archives with files end with.
const WHOLE: &str = ".pxar.didx";
const METADATA: &str = ".mpxar.didx";
const PAYLOAD: &str = ".ppxar.didx";

/// The archive with the contents, if `name` has only the tree.
fn payload_of(name: &ArchiveName) -> Result<Option<ArchiveName>> {
    let text = name.as_str();
    if text.ends_with(WHOLE) {
        return Ok(None);
    }
    match text.strip_suffix(METADATA) {
        Some(base) => Ok(Some(format!("{base}{PAYLOAD}").parse()?)),
        None => {
            bail!("'{text}' is no archive of files, whose names end with {WHOLE} or {METADATA}")
        }
    }
}

impl Files {
    /// Opens the archive `name` of a snapshot. Only with `contents` can more than metadata be read,
    /// if those are in an archive of their own.
    pub async fn open(
        memory: &Arc<Memory>,
        store: &Arc<DataStore>,
        snapshot: &SnapshotPath,
        name: &ArchiveName,
        contents: bool,
    ) -> Result<Self> {
        let payload = payload_of(name)?.filter(|_| contents);
        let open = async |name| {
            let archive = Archive::open(memory, store, snapshot, name).await?;
            anyhow::Ok(archive.into_reader())
        };
        let archive = open(name).await?;
        let payload = match &payload {
            Some(name) => Some(open(name).await?),
            None => None,
        };
        let opened = store
            .env()
            .blocking(move || Accessor::open(archive, payload))
            .await?;
        Ok(Self(opened))
    }

    /// The archive.
    #[must_use]
    pub fn accessor(&self) -> &Accessor<ArchiveReader> {
        &self.0
    }

    /// What is at a path, without a look at hard links. Waits for chunks.
    pub fn lookup(&self, path: &[&[u8]]) -> Result<Entry> {
        match self.0.lookup(path.iter().copied())? {
            Some(entry) => Ok(entry),
            None => bail!("no file '{}' in the archive", shown(path)),
        }
    }

    /// What can be downloaded at a path. Waits for chunks.
    pub fn find(&self, path: &[&[u8]]) -> Result<Found> {
        let entry = self.lookup(path)?;
        if entry.is_directory() {
            return Ok(Found::Directory(entry));
        }
        let inode = match entry.node {
            Node::Inode(inode) => *inode,
            Node::Hardlink(link) => self.0.follow(&link)?,
        };
        let Inode {
            body: Body::File(payload),
            ..
        } = inode
        else {
            bail!("'{}' is neither a file nor a directory", shown(path));
        };
        let (reader, range) = self.0.place(&payload)?;
        Ok(Found::File(Arc::clone(reader.archive()), range))
    }
}

/// A path for people to read.
#[must_use]
pub fn shown(path: &[&[u8]]) -> String {
    let names = path.iter().map(|name| String::from_utf8_lossy(name));
    names.fold(String::new(), |path, name| format!("{path}/{name}"))
}
