//! All entries of a catalog, depth first, without recursion.

use std::io::{Read, Seek};

use super::reader::{CatalogReader, CatalogTable, corrupt};
use super::{CatalogEntry, CatalogKind};
use crate::format::FormatError;

/// Longest path that is followed.
const MAX_PATH_LEN: usize = 64 << 10;

/// A path of the catalog: names joined by `/`, without one in front.
pub type CatalogPath = Vec<u8>;

/// A walk through a catalog: each entry with its path, a directory before its children. After an
/// error it is at its end.
#[derive(Debug)]
pub struct CatalogWalk<'a, R> {
    reader: &'a mut CatalogReader<R>,
    /// Directories that are open, each with the length of its path.
    open: Vec<(CatalogTable, usize)>,
    path: CatalogPath,
    /// Bytes of blocks that can be left. In a real catalog every block has one parent; without
    /// this bound, a crafted one with shared blocks would be walked for ever.
    budget: u64,
    /// The block to enter next.
    enter: Option<u64>,
}

impl<R: Read + Seek> CatalogReader<R> {
    /// Walks through everything.
    pub fn walk(&mut self) -> Result<CatalogWalk<'_, R>, FormatError> {
        let root = self.root()?;
        let budget = self.blocks_len().saturating_sub(root.len());
        let open = vec![(root, 0)];
        Ok(CatalogWalk {
            reader: self,
            open,
            path: Vec::new(),
            budget,
            enter: None,
        })
    }
}

impl<R: Read + Seek> CatalogWalk<'_, R> {
    fn step(&mut self) -> Result<Option<(CatalogPath, CatalogEntry)>, FormatError> {
        if let Some(block) = self.enter.take() {
            let table = self.reader.read_directory(block)?;
            self.budget = self
                .budget
                .checked_sub(table.len() + 1)
                .ok_or_else(|| corrupt("it has directories with several parents"))?;
            self.open.push((table, self.path.len()));
        }
        while let Some((table, path_len)) = self.open.last_mut() {
            self.path.truncate(*path_len);
            let Some(entry) = table.next() else {
                self.open.pop();
                continue;
            };
            let entry = entry?;
            if !self.path.is_empty() {
                self.path.push(b'/');
            }
            self.path.extend_from_slice(&entry.name);
            if self.path.len() > MAX_PATH_LEN {
                return Err(FormatError::TooLarge {
                    object: "path in the catalog".into(),
                    limit: MAX_PATH_LEN as u64,
                });
            }
            if let CatalogKind::Directory { block } = entry.kind {
                self.enter = Some(block);
            }
            return Ok(Some((self.path.clone(), entry)));
        }
        Ok(None)
    }
}

impl<R: Read + Seek> Iterator for CatalogWalk<'_, R> {
    type Item = Result<(CatalogPath, CatalogEntry), FormatError>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step();
        if step.is_err() {
            self.open.clear();
        }
        step.transpose()
    }
}
