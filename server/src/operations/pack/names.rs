//! What was packed under which name.

use std::collections::HashSet;

use anyhow::{Result, bail};
use pxar::{Body, Hardlink, Node, hash_name};

/// How much is remembered of either. Beyond it, hard links become files, and symbolic links are
/// refused.
const MAX_REMEMBERED: usize = 8 << 20;

/// Names of what is being packed.
#[derive(Debug, Default)]
pub struct Names {
    /// For each open directory, the symbolic links in it, by the hashes of their names.
    symlinks: Vec<HashSet<u64>>,
    remembered: usize,
    /// Each regular file: where its name is in the archive, and the hash of its path. In the
    /// archive's order, so the first numbers ascend.
    files: Vec<(u64, u64)>,
}

impl Names {
    /// Something is packed. Its name is at `position` of the archive.
    pub fn enter(&mut self, name: &[u8], position: u64, path: &[u8], node: &Node) -> Result<()> {
        let hash = hash_name(name);
        if let Some(symlinks) = self.symlinks.last_mut() {
            if symlinks.contains(&hash) {
                let path = path.escape_ascii();
                bail!("refusing to pack '{path}': a symbolic link has the same name");
            }
            if is_symlink(node) {
                if self.remembered == MAX_REMEMBERED {
                    bail!("too many symbolic links to pack");
                }
                self.remembered += usize::from(symlinks.insert(hash));
            }
        }
        match node {
            Node::Inode(inode) => match inode.body {
                Body::Directory => self.symlinks.push(HashSet::new()),
                Body::File(_) if self.files.len() < MAX_REMEMBERED => {
                    self.files.push((position, hash_name(path)));
                }
                _ => {}
            },
            Node::Hardlink(_) => {}
        }
        Ok(())
    }

    /// A directory ends.
    pub fn leave(&mut self) {
        if let Some(symlinks) = self.symlinks.pop() {
            self.remembered -= symlinks.len();
        }
    }

    /// The path of what a hard link leads to, if it was packed under that.
    pub fn first<'a>(&self, link: &'a Hardlink) -> Option<&'a [u8]> {
        let found = self
            .files
            .binary_search_by_key(&link.target, |(position, _)| *position);
        let (_, hash) = self.files.get(found.ok()?)?;
        (*hash == hash_name(&link.path)).then_some(link.path.as_slice())
    }
}

fn is_symlink(node: &Node) -> bool {
    matches!(node, Node::Inode(inode) if matches!(inode.body, Body::Symlink(_)))
}
