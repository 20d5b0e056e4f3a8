//! What differs between the archives of two snapshots.

use std::io::{IsTerminal as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;

use anyhow::Result;
use api_types::names::{ArchiveName, BackupDir};
use clap::{Args, ValueEnum};
use datastore::env::Env;
use pxar::mode;

use super::catalog::shown;
use crate::cli::options::{
    KeyArguments, NamespaceOptions, ReadArguments, RepositoryOptions, SnapshotOrGroup,
    archive_name, snapshot,
};
use crate::cli::output::to_reader;
use crate::session::{PxarArchive, SMALL_CACHE};
use crate::tree::diff::{Aspects, Change, Difference, diff};

/// When lines are coloured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// Always
    Always,
    /// On a terminal
    #[default]
    Auto,
    /// Never
    Never,
}

/// Show what differs between the archives of two snapshots
///
/// Each line has A for what was added, D for what was removed and M for what was modified; then the
/// type of the file, its path, and what of it differs.
#[derive(Clone, Debug, Args)]
pub struct DiffArguments {
    /// The older snapshot
    #[arg(value_parser = snapshot)]
    pub prev_snapshot: BackupDir,
    /// The newer snapshot
    #[arg(value_parser = snapshot)]
    pub snapshot: BackupDir,
    /// The archive in both, like root.pxar
    #[arg(value_parser = archive_name)]
    pub archive_name: ArchiveName,
    /// Compare contents also where size and time are the same
    #[arg(long)]
    pub compare_content: bool,
    /// When lines are coloured
    #[arg(long, value_enum, default_value_t)]
    pub color: Color,
    /// Which key.
    #[command(flatten)]
    pub key: KeyArguments,
    /// Where.
    #[command(flatten)]
    pub repository: RepositoryOptions,
    /// In which namespace.
    #[command(flatten)]
    pub ns: NamespaceOptions,
}

impl DiffArguments {
    pub(crate) async fn run(&self) -> Result<()> {
        let remote = self.repository.connect().await?;
        let read = ReadArguments {
            snapshot: SnapshotOrGroup::Snapshot(self.snapshot.clone()),
            key: self.key.clone(),
            repository: self.repository.clone(),
            ns: self.ns.clone(),
        };
        let older = read
            .open_other(&remote, &self.prev_snapshot, SMALL_CACHE)
            .await?;
        let newer = read
            .open_other(&remote, &self.snapshot, SMALL_CACHE)
            .await?;
        let older = older.pxar(&self.archive_name).await?;
        let newer = newer.pxar(&self.archive_name).await?;
        let compare = self.compare_content;
        let color = match self.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => std::io::stdout().is_terminal(),
        };
        let env = Env::system();
        env.blocking(move || print_all(&older, &newer, compare, color))
            .await
    }
}

fn print_all(older: &PxarArchive, newer: &PxarArchive, compare: bool, color: bool) -> Result<()> {
    let (older, newer) = (older.accessor()?, newer.accessor()?);
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let mut failure = None;
    diff(&older, &newer, compare, &mut |found| {
        if failure.is_none() {
            failure = writeln!(out, "{}", line(&found, color)).err();
        }
        Ok(())
    })?;
    to_reader(failure.map_or_else(|| out.flush(), Err))
}

fn line(found: &Difference, color: bool) -> String {
    let (letter, code, aspects) = match &found.change {
        Change::Added => ('A', 32, String::new()),
        Change::Removed => ('D', 31, String::new()),
        Change::Modified(aspects) => ('M', 33, format!(" ({})", names(aspects).join(", "))),
    };
    let kind = match found.file_type {
        mode::DIRECTORY => 'd',
        mode::FILE => 'f',
        mode::SYMLINK => 'l',
        mode::BLOCK_DEVICE => 'b',
        mode::CHAR_DEVICE => 'c',
        mode::FIFO => 'p',
        mode::SOCKET => 's',
        _ => '?',
    };
    let path = shown(found.path.as_os_str().as_bytes());
    let text = format!("{letter} {kind} {path}{aspects}");
    match color {
        true => format!("\x1b[{code}m{text}\x1b[0m"),
        false => text,
    }
}

fn names(aspects: &Aspects) -> Vec<&'static str> {
    let all = [
        (aspects.file_type, "type"),
        (aspects.content, "content"),
        (aspects.size, "size"),
        (aspects.mtime, "mtime"),
        (aspects.mode, "mode"),
        (aspects.owner, "owner"),
        (aspects.xattrs, "xattrs"),
        (aspects.acl, "acl"),
        (aspects.flags, "flags"),
    ];
    let differing = all.into_iter().filter(|(differs, _)| *differs);
    differing.map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_a_line() {
        let found = |change| Difference {
            path: "/a\nb".into(),
            file_type: mode::FILE,
            change,
        };
        assert_eq!(line(&found(Change::Added), false), "A f \"/a\\nb\"");
        let aspects = Aspects {
            content: true,
            mtime: true,
            ..Aspects::default()
        };
        assert_eq!(
            line(&found(Change::Modified(aspects)), false),
            "M f \"/a\\nb\" (content, mtime)"
        );
        let colored = line(&found(Change::Removed), true);
        assert_eq!(colored, "\x1b[31mD f \"/a\\nb\"\x1b[0m");
    }
}
