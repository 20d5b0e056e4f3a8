//! Answers to the kernel.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fuser::{
    Errno, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, LockOwner, OpenFlags,
    ReplyAttr, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyXattr, Request,
};
use pxar::{Accessor, Body, Entry, Inode, Node, ReadAt};

use super::attributes::{attribute, attribute_names, kind, stat};

/// An archive does not change.
const VALID: Duration = Duration::from_secs(24 * 60 * 60);

/// The number of the root. Other files have that of the place of their (first) name in the archive,
/// which is never as low as this.
const ROOT: u64 = INodeNo::ROOT.0;

/// An archive as a file system.
pub struct FileSystem<A> {
    archive: Accessor<A>,
    /// Files that the kernel has not forgotten.
    known: Mutex<HashMap<u64, Known>>,
    listings: Mutex<HashMap<u64, Arc<Vec<Name>>>>,
    next_listing: AtomicU64,
}

#[derive(Clone)]
struct Known {
    entry: Arc<Entry>,
    inode: Arc<Inode>,
    parent: u64,
    /// How often the kernel was told of it.
    lookups: u64,
    /// Whether its content was found where the archive says it is.
    found: Arc<AtomicBool>,
}

/// A name in a directory.
struct Name {
    name: OsString,
    number: u64,
    kind: FileType,
}

impl<A: ReadAt> FileSystem<A> {
    /// Of all that is in an archive.
    pub fn new(archive: Accessor<A>) -> Result<Self, pxar::Error> {
        let entry = archive.root()?;
        let root = Known {
            inode: Arc::new(resolve(&archive, &entry)?.1),
            entry: Arc::new(entry),
            parent: ROOT,
            lookups: 1,
            found: Arc::default(),
        };
        Ok(Self {
            archive,
            known: Mutex::new(HashMap::from([(ROOT, root)])),
            listings: Mutex::default(),
            next_listing: AtomicU64::new(1),
        })
    }

    fn known(&self) -> MutexGuard<'_, HashMap<u64, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn listings(&self) -> MutexGuard<'_, HashMap<u64, Arc<Vec<Name>>>> {
        self.listings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, number: INodeNo) -> Result<Known, Errno> {
        self.known().get(&number.0).cloned().ok_or(Errno::ESTALE)
    }

    fn find(&self, parent: INodeNo, name: &OsStr) -> Result<fuser::FileAttr, Errno> {
        let directory = self.get(parent)?;
        let found = self.archive.child(&directory.entry, name.as_bytes());
        let entry = found.map_err(damaged)?.ok_or(Errno::ENOENT)?;
        let (number, inode) = resolve(&self.archive, &entry).map_err(damaged)?;
        let attributes = stat(number, &inode);
        let mut known = self.known();
        let new = known.entry(number).or_insert_with(|| Known {
            entry: Arc::new(entry),
            inode: Arc::new(inode),
            parent: parent.0,
            lookups: 0,
            found: Arc::default(),
        });
        new.lookups += 1;
        Ok(attributes)
    }

    fn list(&self, number: INodeNo) -> Result<Vec<Name>, Errno> {
        let directory = self.get(number)?;
        let special = |name: &str, number: u64| Name {
            name: name.into(),
            number,
            kind: FileType::Directory,
        };
        let mut names = vec![special(".", number.0), special("..", directory.parent)];
        for entry in self.archive.list(&directory.entry).map_err(damaged)? {
            let entry = entry.map_err(damaged)?;
            let (number, kind) = match &entry.node {
                Node::Inode(inode) => (entry.position, kind(&inode.body)),
                Node::Hardlink(link) => (link.target, FileType::RegularFile),
            };
            names.push(Name {
                name: OsString::from_vec(entry.name),
                number,
                kind,
            });
        }
        Ok(names)
    }

    fn content(&self, number: INodeNo, offset: u64, size: u32) -> Result<Vec<u8>, Errno> {
        let known = self.get(number)?;
        let Body::File(payload) = &known.inode.body else {
            return Err(Errno::EINVAL);
        };
        let left = payload.size.saturating_sub(offset).min(size.into());
        // Once: who reads what is in front of a file before each piece of it does not read in a row.
        let content = match known.found.load(Ordering::Relaxed) {
            true => self.archive.contents_again(payload),
            false => self.archive.contents(payload),
        };
        let mut content = content.map_err(damaged)?;
        known.found.store(true, Ordering::Relaxed);
        let mut bytes = Vec::new();
        content
            .seek(SeekFrom::Start(offset))
            .and_then(|_| content.take(left).read_to_end(&mut bytes))
            .map_err(damaged)?;
        Ok(bytes)
    }
}

/// The number of a file, and the file, whichever of its names this is.
fn resolve<A: ReadAt>(archive: &Accessor<A>, entry: &Entry) -> Result<(u64, Inode), pxar::Error> {
    match &entry.node {
        Node::Inode(inode) => Ok((entry.position, (**inode).clone())),
        Node::Hardlink(link) => Ok((link.target, archive.follow(link)?)),
    }
}

fn damaged<E>(_error: E) -> Errno {
    Errno::EIO
}

/// Answers with a size if only that is wanted.
fn answer(reply: ReplyXattr, size: u32, value: &[u8]) {
    let len = u32::try_from(value.len()).unwrap_or(u32::MAX);
    match size {
        0 => reply.size(len),
        size if size < len => reply.error(Errno::ERANGE),
        _ => reply.data(value),
    }
}

impl<A: ReadAt + Send + Sync + 'static> Filesystem for FileSystem<A> {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.find(parent, name) {
            Ok(attributes) => reply.entry(&VALID, &attributes, Generation(0)),
            Err(error) => reply.error(error),
        }
    }

    fn forget(&self, _: &Request, number: INodeNo, count: u64) {
        let mut known = self.known();
        if number.0 != ROOT
            && let Some(file) = known.get_mut(&number.0)
        {
            file.lookups = file.lookups.saturating_sub(count);
            if file.lookups == 0 {
                known.remove(&number.0);
            }
        }
    }

    fn getattr(&self, _: &Request, number: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.get(number) {
            Ok(known) => reply.attr(&VALID, &stat(number.0, &known.inode)),
            Err(error) => reply.error(error),
        }
    }

    fn readlink(&self, _: &Request, number: INodeNo, reply: ReplyData) {
        match self.get(number).map(|known| known.inode) {
            Ok(inode) => match &inode.body {
                Body::Symlink(target) => reply.data(target),
                _ => reply.error(Errno::EINVAL),
            },
            Err(error) => reply.error(error),
        }
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE);
    }

    fn read(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.content(number, offset, size) {
            Ok(bytes) => reply.data(&bytes),
            Err(error) => reply.error(error),
        }
    }

    fn opendir(&self, _: &Request, number: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.list(number) {
            Ok(names) => {
                let handle = self.next_listing.fetch_add(1, Ordering::Relaxed);
                self.listings().insert(handle, Arc::new(names));
                reply.opened(FileHandle(handle), FopenFlags::empty());
            }
            Err(error) => reply.error(error),
        }
    }

    fn readdir(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let Some(names) = self.listings().get(&handle.0).cloned() else {
            return reply.error(Errno::EBADF);
        };
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let rest = names.get(start..).unwrap_or_default();
        for (name, next) in rest.iter().zip(offset + 1..) {
            if reply.add(INodeNo(name.number), next, name.kind, &name.name) {
                break;
            }
        }
        reply.ok();
    }

    fn releasedir(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        reply: ReplyEmpty,
    ) {
        self.listings().remove(&handle.0);
        reply.ok();
    }

    fn getxattr(&self, _: &Request, number: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        match self.get(number).map(|known| known.inode) {
            Ok(inode) => match attribute(&inode, name.as_bytes()) {
                Some(value) => answer(reply, size, value),
                None => reply.error(Errno::ENODATA),
            },
            Err(error) => reply.error(error),
        }
    }

    fn listxattr(&self, _: &Request, number: INodeNo, size: u32, reply: ReplyXattr) {
        match self.get(number) {
            Ok(known) => answer(reply, size, &attribute_names(&known.inode)),
            Err(error) => reply.error(error),
        }
    }
}
