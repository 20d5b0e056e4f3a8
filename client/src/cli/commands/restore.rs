//! Restoring from a snapshot.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Result, ensure};
use api_types::names::ArchiveName;
use clap::Args;
use datastore::env::Env;

use super::backup::{RateArguments, pattern};
use crate::cli::Outcome;
use crate::cli::options::{
    CryptArguments, NamespaceOptions, RepositoryOptions, SnapshotOrGroup, archive_name, key_for,
};
use crate::cli::progress::Console;
use crate::keys::KeyOptions;
use crate::restore::{Options, Target, run};
use crate::tree::extract::{ExtractOptions, Ignore, Overwrite};
use crate::tree::pattern::Pattern;

/// Restore an archive
#[derive(Clone, Debug, Args)]
pub struct RestoreArguments {
    /// The snapshot, TYPE/ID/TIME, or a group, TYPE/ID, for its newest one
    pub snapshot: SnapshotOrGroup,
    /// The archive, like root.pxar
    #[arg(value_parser = archive_name)]
    pub archive_name: ArchiveName,
    /// Where to: a directory for a .pxar, otherwise a file or a device; - is standard output
    pub target: OsString,
    /// Only what matches this pattern; may be repeated
    #[arg(long, value_name = "PATTERN", value_parser = pattern)]
    pub pattern: Vec<Pattern>,
    /// Only what is at this path of the archive, whose other parts are not read; may be repeated
    #[arg(long, value_name = "PATH", conflicts_with = "pattern")]
    pub path: Vec<PathBuf>,
    /// Write the patterns with which an archive in two parts was made to this file; - is standard
    /// output
    #[arg(long, value_name = "FILE")]
    pub prelude_target: Option<OsString>,
    /// Restore into directories that exist
    #[arg(long)]
    pub allow_existing_dirs: bool,
    /// Replace files, symbolic and hard links that exist
    #[arg(long)]
    pub overwrite: bool,
    /// Replace files that exist
    #[arg(long)]
    pub overwrite_files: bool,
    /// Replace what exists by symbolic links
    #[arg(long)]
    pub overwrite_symlinks: bool,
    /// Replace what exists by hard links
    #[arg(long)]
    pub overwrite_hardlinks: bool,
    /// Do not restore access lists
    #[arg(long)]
    pub ignore_acls: bool,
    /// Do not restore extended attributes
    #[arg(long)]
    pub ignore_xattrs: bool,
    /// Do not restore owner and group
    #[arg(long)]
    pub ignore_ownership: bool,
    /// Do not restore permissions
    #[arg(long)]
    pub ignore_permissions: bool,
    /// Go on where devices cannot be made
    #[arg(long)]
    pub ignore_extract_device_errors: bool,
    /// End at the first file that cannot be restored as it was
    #[arg(long)]
    pub strict: bool,
    /// Which key.
    #[command(flatten)]
    pub crypt: CryptArguments,
    /// How fast it is transferred.
    #[command(flatten)]
    pub rate: RateArguments,
    /// Only say what goes wrong
    #[arg(long)]
    pub quiet: bool,
    /// Where.
    #[command(flatten)]
    pub repository: RepositoryOptions,
    /// In which namespace.
    #[command(flatten)]
    pub ns: NamespaceOptions,
}

impl RestoreArguments {
    pub(crate) async fn run(&self) -> Result<Outcome> {
        let env = Env::system();
        let targets = [Some(&self.target), self.prelude_target.as_ref()];
        for target in targets.into_iter().flatten() {
            ensure!(!target.as_bytes().is_empty(), "the target has no name");
        }
        let remote = self.repository.connect().await?;
        let dir = self.snapshot.resolve(&remote, &self.ns).await?;
        let key = key_for(&KeyOptions::from(&self.crypt), &remote, &self.ns, &dir).await?;
        let bytes = |size: Option<api_types::human::ByteSize>| size.map(|size| size.bytes());
        let options = Options {
            ns: self.ns.ns.clone(),
            dir,
            archive: self.archive_name.clone(),
            target: Target::from(self.target.as_os_str()),
            paths: self.path.clone(),
            prelude: self.prelude_target.as_deref().map(Target::from),
            extract: self.extract(),
            key_source: key.as_ref().map(|key| key.source.clone()),
            key: key.map(|key| key.crypt),
            rate: bytes(self.rate.rate),
            burst: bytes(self.rate.burst),
        };
        let console = Arc::new(Console::new(self.quiet));
        let outcome = run(&remote, &options, console, &env).await?;
        Ok(Outcome::with_problems(outcome.problems))
    }

    fn extract(&self) -> ExtractOptions {
        ExtractOptions {
            overwrite: match self.overwrite {
                true => Overwrite::ALL,
                false => Overwrite {
                    files: self.overwrite_files,
                    symlinks: self.overwrite_symlinks,
                    hardlinks: self.overwrite_hardlinks,
                },
            },
            allow_existing_dirs: self.allow_existing_dirs,
            ignore: Ignore {
                acls: self.ignore_acls,
                xattrs: self.ignore_xattrs,
                ownership: self.ignore_ownership,
                permissions: self.ignore_permissions,
                device_errors: self.ignore_extract_device_errors,
            },
            patterns: self.pattern.clone(),
            strict: self.strict,
        }
    }
}
