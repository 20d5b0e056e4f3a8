//! Directories of archives as files that other systems can unpack: tar and zip.
//!
//! Archives may be hostile, and so may be what they unpack to. Names are checked by the reader
//! ([`pxar`]); here, nothing is packed to go through a symbolic link of the same archive, and hard
//! links lead to what was packed.

mod names;
mod tar;
#[cfg(test)]
mod tests;
mod zip;

use std::io::{self, Read, Write};

use anyhow::{Result, bail};
use pxar::{Accessor, Body, Entry, Hardlink, Inode, Metadata, Node, ReadAt, Step};

use names::Names;

/// What is to be packed.
pub struct Source<'a, A> {
    /// The archive.
    pub accessor: &'a Accessor<A>,
    /// The directory.
    pub directory: &'a Entry,
    /// Its path.
    pub path: &'a [&'a [u8]],
    /// Whether anybody still waits for the result.
    pub wanted: &'a dyn Fn() -> bool,
}

/// Packs as zip. Devices, pipes and sockets are left out.
pub fn zip<A: ReadAt>(source: &Source<'_, A>, out: impl Write) -> Result<()> {
    let mut packer = zip::Packer::new(out);
    pack(source, &mut packer)?;
    packer.finish()
}

/// Packs as tar, compressed with zstd. Sockets are left out.
pub fn tar_zst<A: ReadAt>(source: &Source<'_, A>, out: impl Write) -> Result<()> {
    let mut packer = tar::Packer::new(out)?;
    pack(source, &mut packer)?;
    packer.finish()
}

/// What makes the result. Paths are relative.
trait Packer {
    fn directory(&mut self, path: &[u8], metadata: &Metadata) -> Result<()>;

    /// A regular file of `size` bytes.
    fn file(
        &mut self,
        path: &[u8],
        metadata: &Metadata,
        size: u64,
        content: &mut dyn Read,
    ) -> Result<()>;

    fn symlink(&mut self, path: &[u8], metadata: &Metadata, target: &[u8]) -> Result<()>;

    /// A device, pipe or socket.
    fn special(&mut self, path: &[u8], metadata: &Metadata, body: &Body) -> Result<()>;

    /// Another name of the file that was packed as `first`; false if there is no such thing.
    fn link(&mut self, path: &[u8], first: &[u8]) -> Result<bool>;
}

fn pack<A: ReadAt>(source: &Source<'_, A>, packer: &mut dyn Packer) -> Result<()> {
    // The last name of the directory is part of the paths, what it is in is not.
    let mut path = source.path.join(&b'/');
    let directory_len = path.len();
    let parent_len = directory_len - source.path.last().map_or(0, |name| name.len());
    let mut names = Names::default();
    let mut walk = source.accessor.walk(source.directory)?;
    while let Some(step) = walk.step()? {
        if !(source.wanted)() {
            bail!("nobody waits for it any more");
        }
        let Step::Enter(node) = step else {
            names.leave();
            continue;
        };
        path.truncate(directory_len);
        if !path.is_empty() && !walk.path().is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(walk.path());
        names.enter(walk.name(), walk.position(), &path, &node)?;
        let packed = path.get(parent_len..).unwrap_or_default();
        // The root of an archive has no name.
        if packed.is_empty() {
            continue;
        }
        match node {
            Node::Hardlink(link) => {
                let first = names.first(&link).and_then(|first| first.get(parent_len..));
                let linked = match first {
                    Some(first) => packer.link(packed, first)?,
                    None => false,
                };
                if !linked {
                    copy(source, packer, packed, &link)?;
                }
            }
            Node::Inode(inode) => {
                let Inode { metadata, body } = *inode;
                match body {
                    Body::Directory => packer.directory(packed, &metadata)?,
                    Body::Symlink(target) => packer.symlink(packed, &metadata, &target)?,
                    Body::File(payload) => {
                        let Some(content) = walk.contents()? else {
                            bail!("a file without content");
                        };
                        let mut content = Watched(content, source.wanted);
                        packer.file(packed, &metadata, payload.size, &mut content)?;
                    }
                    body => packer.special(packed, &metadata, &body)?,
                }
            }
        }
    }
    Ok(())
}

/// Packs the file that a hard link is another name of.
fn copy<A: ReadAt>(
    source: &Source<'_, A>,
    packer: &mut dyn Packer,
    path: &[u8],
    link: &Hardlink,
) -> Result<()> {
    let Inode { metadata, body } = source.accessor.follow(link)?;
    let Body::File(payload) = body else {
        bail!("a hard link to no regular file");
    };
    let content = source.accessor.contents(&payload)?;
    let mut content = Watched(content, source.wanted);
    packer.file(path, &metadata, payload.size, &mut content)
}

/// Ends when nobody waits for what is read: much may be read for little that is sent.
struct Watched<'a, R>(R, &'a dyn Fn() -> bool);

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !(self.1)() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.0.read(buffer)
    }
}
