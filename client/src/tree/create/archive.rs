//! What was found into the archive, and into the catalog.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use datastore::format::catalog::{CatalogKind, CatalogWriter};
use pxar::{Body, Encoder, Metadata, Stat, mode};
use rustix::fs::{FileType, Mode, OFlags, fstat, open};
use rustix::io::Errno;

use super::found::{Found, FoundFile};
use super::metadata::convert;
use super::sink::PayloadSink;
use super::walk::EXCLUDE_CLI;
use super::{CreateOptions, Summary};
use crate::tree::Error;
use crate::tree::observer::Problem;
use crate::tree::report::Reporter;
use crate::tree::sys::open::{open_for_reading, open_parent};

/// Writes what a walk finds.
pub struct Archiver<'a, W, P, C> {
    encoder: Encoder<W, P>,
    catalog: Option<&'a mut CatalogWriter<C>>,
    reporter: &'a Reporter<'a>,
    /// Where files are opened again by their paths.
    root: OwnedFd,
    /// Files of several names, by device and inode.
    links: HashMap<(u64, u64), Linked>,
    summary: Summary,
}

/// A file of several names.
struct Linked {
    /// The first of them.
    path: Vec<u8>,
    /// Where that is in the archive, once it is.
    name_at: Option<u64>,
}

impl<'a, W: Write, P: PayloadSink, C: Write> Archiver<'a, W, P, C> {
    pub fn new(
        encoder: Encoder<W, P>,
        catalog: Option<&'a mut CatalogWriter<C>>,
        root: &Path,
        reporter: &'a Reporter<'a>,
    ) -> Result<Self, Error> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = open(root, flags, Mode::empty()).map_err(|error| Error::Io {
            action: "open",
            path: root.to_path_buf(),
            source: error.into(),
        })?;
        let summary = Summary {
            directories: 1,
            ..Summary::default()
        };
        Ok(Self {
            encoder,
            catalog,
            reporter,
            root,
            links: HashMap::new(),
            summary,
        })
    }

    /// What was stored so far.
    pub fn summary(&mut self) -> &mut Summary {
        &mut self.summary
    }

    /// Where the next byte of the payload goes.
    pub fn payload_position(&self) -> u64 {
        self.encoder.payload_position().unwrap_or_default()
    }

    /// The payload, and how to skip what it gets from elsewhere.
    pub fn encoder(&mut self) -> &mut Encoder<W, P> {
        &mut self.encoder
    }

    /// Whether this is a further name of a file that was found before.
    pub fn is_further_name(&mut self, file: &FoundFile) -> bool {
        if !file.linked {
            return false;
        }
        let first = self.links.entry(file.identity).or_insert_with(|| Linked {
            path: file.path.clone(),
            name_at: None,
        });
        first.path != file.path
    }

    /// Stores what was found. `reused` says where in the payload the content of a file is already.
    pub fn store(&mut self, found: Found, reused: Option<u64>) -> Result<(), Error> {
        match found {
            Found::Enter { name, metadata } => {
                self.summary.directories += 1;
                self.encoder.enter(&name, &metadata)?;
                if let Some(catalog) = &mut self.catalog {
                    catalog.start_directory(&name)?;
                }
                Ok(())
            }
            Found::Leave => {
                self.encoder.leave()?;
                if let Some(catalog) = &mut self.catalog {
                    catalog.end_directory()?;
                }
                Ok(())
            }
            Found::Other {
                name,
                metadata,
                body,
            } => {
                self.summary.others += 1;
                self.encoder.special(&name, &metadata, &body)?;
                self.list(&name, kind(&body))
            }
            Found::File(file) => self.file(file, reused),
        }
    }

    fn file(&mut self, mut file: FoundFile, reused: Option<u64>) -> Result<(), Error> {
        if file.linked
            && let Some(first) = self.links.get(&file.identity)
            && let Some(target) = first.name_at
        {
            self.summary.hard_links += 1;
            let name = file.name();
            self.encoder.hard_link(name, &first.path, target)?;
            return self.list(name, CatalogKind::Hardlink);
        }
        let name_at = match reused {
            Some(offset) => {
                let reuse = &mut self.summary.reuse;
                (reuse.files, reuse.bytes) = (reuse.files + 1, reuse.bytes + file.size);
                let written =
                    self.encoder
                        .reused_file(file.name(), &file.metadata, offset, file.size)?;
                written.name_at
            }
            None => match self.content(&mut file) {
                Err(error) => {
                    self.reporter.refused(&file.path, "open", error);
                    return Ok(());
                }
                Ok(content) => self.read_file(&file, content)?,
            },
        };
        self.summary.files += 1;
        self.summary.bytes += file.size;
        if file.linked {
            let path = file.path.clone();
            let name_at = Some(name_at);
            self.links.insert(file.identity, Linked { path, name_at });
        }
        let mtime = file.metadata.stat.mtime.secs;
        let size = file.size;
        self.list(file.name(), CatalogKind::File { size, mtime })
    }

    /// What is in a file, which is opened again if it is not open any more.
    fn content(&self, file: &mut FoundFile) -> rustix::io::Result<OwnedFd> {
        if let Some(content) = file.content.take() {
            return Ok(content);
        }
        let (directory, name) = open_parent(&self.root, &file.path)?;
        let content = open_for_reading(directory, name, OFlags::empty())?;
        let stat = fstat(&content)?;
        let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        if !regular || (stat.st_dev, stat.st_ino) != file.identity {
            return Err(Errno::NOENT);
        }
        file.size = u64::try_from(stat.st_size).unwrap_or_default();
        let flags = file.metadata.stat.flags;
        file.metadata.stat = convert(&stat);
        file.metadata.stat.flags = flags;
        Ok(content)
    }

    /// Stores a file with its content; where its name is.
    fn read_file(&mut self, file: &FoundFile, content: OwnedFd) -> Result<u64, Error> {
        if let Some(position) = self.encoder.payload_position()
            && let Some(payload) = self.encoder.payload_mut()
        {
            payload.suggest_boundary(position);
        }
        let reuse = &mut self.summary.reuse;
        (reuse.read_files, reuse.read_bytes) = (reuse.read_files + 1, reuse.read_bytes + file.size);
        let mut content = Content {
            file: content,
            error: None,
        };
        let written = self
            .encoder
            .file(file.name(), &file.metadata, file.size, &mut content)?;
        let missing = written.missing;
        if let Some(error) = content.error {
            self.reporter.refused(&file.path, "read all of", error);
        } else if missing > 0 {
            let problem = Problem::Shrank { missing };
            self.reporter.problem(&file.path, problem);
        } else if fstat(content.file.as_fd())
            .is_ok_and(|stat| u64::try_from(stat.st_size).is_ok_and(|size| size > file.size))
        {
            let problem = Problem::Grew { size: file.size };
            self.reporter.problem(&file.path, problem);
        }
        Ok(written.name_at)
    }

    fn list(&mut self, name: &[u8], kind: CatalogKind) -> Result<(), Error> {
        if let Some(catalog) = &mut self.catalog {
            catalog.add(name, kind)?;
        }
        Ok(())
    }

    /// Notes the patterns of the command line, as archives in one part do.
    pub fn note_patterns(&mut self, options: &CreateOptions) -> Result<(), Error> {
        let Some(patterns) = pattern_lines(options) else {
            return Ok(());
        };
        let metadata = Metadata {
            stat: Stat {
                mode: mode::FILE | 0o600,
                uid: rustix::process::geteuid().as_raw(),
                gid: rustix::process::getegid().as_raw(),
                ..Stat::default()
            },
            ..Metadata::default()
        };
        let size = patterns.len() as u64;
        self.encoder
            .file(EXCLUDE_CLI, &metadata, size, &patterns[..])?;
        self.list(EXCLUDE_CLI, CatalogKind::File { size, mtime: 0 })
    }

    /// Ends the archive.
    pub fn finish(mut self) -> Result<Summary, Error> {
        self.encoder.finish()?;
        self.summary.problems = self.reporter.problems();
        Ok(self.summary)
    }
}

/// The patterns of the command line, one a line; none if there are none.
pub fn pattern_lines(options: &CreateOptions) -> Option<Vec<u8>> {
    let mut lines = Vec::new();
    for pattern in &options.exclude {
        lines.extend_from_slice(pattern.text());
        lines.push(b'\n');
    }
    (!lines.is_empty()).then_some(lines)
}

fn kind(body: &Body) -> CatalogKind {
    match body {
        Body::BlockDevice(_) => CatalogKind::BlockDevice,
        Body::CharDevice(_) => CatalogKind::CharDevice,
        Body::Fifo => CatalogKind::Fifo,
        Body::Socket => CatalogKind::Socket,
        Body::Symlink(_) | Body::Directory | Body::File(_) => CatalogKind::Symlink,
    }
}

/// Reads what is in a file. After an error it ends: the rest becomes zeros.
struct Content {
    file: OwnedFd,
    error: Option<Errno>,
}

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match rustix::io::read(&self.file, buffer) {
            Err(Errno::INTR) => Err(Errno::INTR.into()),
            Err(error) => {
                self.error = Some(error);
                Ok(0)
            }
            Ok(count) => Ok(count),
        }
    }
}
