//! Writing a catalog: a block whenever a directory ends.

use std::io::Write;

use super::varint::{write_signed, write_unsigned};
use super::{CatalogEntry, CatalogKind, MAGIC, OBJECT, name_error};
use crate::format::FormatError;

/// Writes a catalog to `out` while a tree is walked. Only open directories are in memory.
#[derive(Debug)]
pub struct CatalogWriter<W> {
    out: W,
    position: u64,
    root: Vec<CatalogEntry>,
    open: Vec<OpenDirectory>,
}

#[derive(Debug)]
struct OpenDirectory {
    name: Vec<u8>,
    entries: Vec<CatalogEntry>,
}

impl<W: Write> CatalogWriter<W> {
    /// Starts a catalog.
    pub fn new(out: W) -> Result<Self, FormatError> {
        let mut writer = Self {
            out,
            position: 0,
            root: Vec::new(),
            open: Vec::new(),
        };
        writer.write(&MAGIC)?;
        Ok(writer)
    }

    /// Enters a directory; on the outermost level, an archive by the name the server gives it.
    pub fn start_directory(&mut self, name: &[u8]) -> Result<(), FormatError> {
        check_name(name)?;
        self.open.push(OpenDirectory {
            name: name.to_vec(),
            entries: Vec::new(),
        });
        Ok(())
    }

    /// Leaves the directory entered last.
    pub fn end_directory(&mut self) -> Result<(), FormatError> {
        let Some(directory) = self.open.pop() else {
            return Err(FormatError::refused(
                OBJECT,
                "no directory is open that could end",
            ));
        };
        let block = self.write_block(&directory.entries)?;
        let kind = CatalogKind::Directory { block };
        self.current().push(CatalogEntry {
            name: directory.name,
            kind,
        });
        Ok(())
    }

    /// Adds something other than a directory to the directory entered last.
    pub fn add(&mut self, name: &[u8], kind: CatalogKind) -> Result<(), FormatError> {
        check_name(name)?;
        if matches!(kind, CatalogKind::Directory { .. }) {
            return Err(FormatError::refused(
                OBJECT,
                "a directory is entered, not added",
            ));
        }
        if self.open.is_empty() {
            return Err(FormatError::refused(
                OBJECT,
                "the root has directories only",
            ));
        }
        self.current().push(CatalogEntry {
            name: name.to_vec(),
            kind,
        });
        Ok(())
    }

    /// Ends the catalog; gives back what it was written to.
    pub fn finish(mut self) -> Result<W, FormatError> {
        if !self.open.is_empty() {
            return Err(FormatError::refused(OBJECT, "a directory is still open"));
        }
        let root = std::mem::take(&mut self.root);
        let block = self.write_block(&root)?;
        self.write(&block.to_le_bytes())?;
        self.out.flush().map_err(FormatError::io("write", OBJECT))?;
        Ok(self.out)
    }

    fn current(&mut self) -> &mut Vec<CatalogEntry> {
        self.open
            .last_mut()
            .map_or(&mut self.root, |directory| &mut directory.entries)
    }

    /// Writes the entries of a directory; gives the position of the block.
    fn write_block(&mut self, entries: &[CatalogEntry]) -> Result<u64, FormatError> {
        let block = self.position;
        let mut table = Vec::new();
        write_unsigned(entries.len() as u64, &mut table);
        for entry in entries {
            table.push(entry.kind.type_byte());
            write_unsigned(entry.name.len() as u64, &mut table);
            table.extend_from_slice(&entry.name);
            match entry.kind {
                CatalogKind::Directory { block: child } => {
                    write_unsigned(block - child, &mut table);
                }
                CatalogKind::File { size, mtime } => {
                    write_unsigned(size, &mut table);
                    write_signed(mtime, &mut table);
                }
                _ => {}
            }
        }
        let mut len = Vec::new();
        write_unsigned(table.len() as u64, &mut len);
        self.write(&len)?;
        self.write(&table)?;
        Ok(block)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), FormatError> {
        self.out
            .write_all(bytes)
            .map_err(FormatError::io("write", OBJECT))?;
        self.position += bytes.len() as u64;
        Ok(())
    }
}

fn check_name(name: &[u8]) -> Result<(), FormatError> {
    match name_error(name) {
        None => Ok(()),
        Some(why) => {
            let why = format!("'{}' cannot be listed: {why}", name.escape_ascii());
            Err(FormatError::refused(OBJECT, why))
        }
    }
}
