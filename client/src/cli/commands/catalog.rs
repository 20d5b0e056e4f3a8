//! The files in the archives of a snapshot.

use std::io::{Read, Seek, SeekFrom, Write as _};

use anyhow::{Context as _, Result};
use api_types::names::ArchiveName;
use clap::{Args, Subcommand};
use datastore::env::Env;
use datastore::format::catalog::{CatalogKind, CatalogReader};
use pxar::{Body, Node, ReadAt, Step};

use super::shell::Shell;
use crate::cli::options::{ReadArguments, archive_name};
use crate::cli::output::to_reader;
use crate::session::{Archive, PxarArchive, ReaderSession};

/// What to do with the files.
#[derive(Clone, Debug, Subcommand)]
pub enum CatalogCommand {
    /// List all files
    Dump(ReadArguments),
    /// Look around in an archive, and restore from it
    Shell(ShellArguments),
}

/// Which archive is looked into.
#[derive(Clone, Debug, Args)]
pub struct ShellArguments {
    /// Which snapshot.
    #[command(flatten)]
    pub read: ReadArguments,
    /// The archive, like root.pxar
    #[arg(value_parser = archive_name)]
    pub archive_name: ArchiveName,
}

impl CatalogCommand {
    pub(crate) async fn run(&self) -> Result<()> {
        match self {
            Self::Dump(read) => dump(&read.open().await?).await,
            Self::Shell(ShellArguments { read, archive_name }) => {
                let session = read.open().await?;
                let archive = session.pxar(archive_name).await?;
                let shell = move || Shell::new(&archive)?.run();
                Env::system().blocking(shell).await
            }
        }
    }
}

/// All files: as the catalog lists them, or the archives of metadata that need none.
async fn dump(session: &ReaderSession) -> Result<()> {
    let files = session.manifest().files().iter();
    let names: Vec<ArchiveName> = files.map(|file| file.filename.clone()).collect();
    let env = Env::system();
    let has_catalog = names
        .iter()
        .any(|name| name.as_str() == ArchiveName::CATALOG);
    if has_catalog {
        let catalog = session.archive(&ArchiveName::CATALOG.parse()?).await?;
        env.blocking(move || dump_catalog(catalog.streaming()))
            .await?;
    }
    for name in names
        .iter()
        .filter(|name| name.client_name().ends_with(".mpxar"))
    {
        let archive = session.archive(name).await?;
        let tree = PxarArchive {
            archive,
            payload: None,
        };
        let dumped = env.blocking(move || dump_archive(&tree)).await;
        dumped.with_context(|| format!("failed to list {name}"))?;
    }
    Ok(())
}

fn dump_catalog(catalog: Archive) -> Result<()> {
    let mut reader = CatalogReader::new(Positioned {
        source: catalog,
        position: 0,
    })?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for found in reader.walk()? {
        let (path, entry) = found?;
        let (kind, times) = match entry.kind {
            CatalogKind::Directory { .. } => ('d', None),
            CatalogKind::File { size, mtime } => ('f', Some((size, mtime))),
            CatalogKind::Symlink => ('l', None),
            CatalogKind::Hardlink => ('h', None),
            CatalogKind::BlockDevice => ('b', None),
            CatalogKind::CharDevice => ('c', None),
            CatalogKind::Fifo => ('p', None),
            CatalogKind::Socket => ('s', None),
        };
        to_reader(writeln!(out, "{}", line(kind, &path, times)))?;
    }
    to_reader(out.flush())
}

fn dump_archive(archive: &PxarArchive) -> Result<()> {
    let name = archive.archive.name().to_string();
    let mut decoder = archive.decoder(true)?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    while let Some(step) = decoder.step()? {
        let Step::Enter(node) = step else { continue };
        if decoder.path().is_empty() {
            continue;
        }
        let (kind, times) = kind_of(&node);
        let path = [name.as_bytes(), b"/", decoder.path()].concat();
        to_reader(writeln!(out, "{}", line(kind, &path, times)))?;
    }
    to_reader(out.flush())
}

/// The letter of a file's type; of regular files size and time, too.
pub(super) fn kind_of(node: &Node) -> (char, Option<(u64, i64)>) {
    let Node::Inode(inode) = node else {
        return ('h', None);
    };
    match &inode.body {
        Body::Directory => ('d', None),
        Body::File(payload) => ('f', Some((payload.size, inode.metadata.stat.mtime.secs))),
        Body::Symlink(_) => ('l', None),
        Body::BlockDevice(_) => ('b', None),
        Body::CharDevice(_) => ('c', None),
        Body::Fifo => ('p', None),
        Body::Socket => ('s', None),
    }
}

fn line(kind: char, path: &[u8], times: Option<(u64, i64)>) -> String {
    let path = shown(&[b"./", path].concat());
    match times {
        Some((size, mtime)) => format!("{kind} {path} {size} {}", utc(mtime)),
        None => format!("{kind} {path}"),
    }
}

/// A path in quotes, with nothing in it that would disturb a terminal.
pub(super) fn shown(path: &[u8]) -> String {
    use std::os::unix::ffi::OsStrExt as _;
    format!("{:?}", std::ffi::OsStr::from_bytes(path))
}

/// `2026-11-22T08:17:33Z`.
pub(super) fn utc(secs: i64) -> String {
    match jiff::Timestamp::from_second(secs) {
        Ok(time) => time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        Err(_) => secs.to_string(),
    }
}

/// Reads and seeks in what can be read anywhere.
struct Positioned {
    source: Archive,
    position: u64,
}

impl Read for Positioned {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.source.read_at(buffer, self.position)?;
        self.position += count as u64;
        Ok(count)
    }
}

impl Seek for Positioned {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(offset) => self.source.size().checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = position.ok_or(std::io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_look_like_upstream_s() {
        assert_eq!(
            line(
                'f',
                "root.pxar.didx/ünï".as_bytes(),
                Some((15, 1_795_335_453))
            ),
            "f \"./root.pxar.didx/ünï\" 15 2026-11-22T08:17:33Z"
        );
        assert_eq!(line('d', b"a\xff\x1b", None), "d \"./a\\xFF\\u{1b}\"");
    }
}
