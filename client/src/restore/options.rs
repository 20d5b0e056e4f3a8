//! What is restored, and where to.

use std::ffi::OsStr;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Result, ensure};
use api_types::names::{ArchiveName, BackupDir, BackupNamespace};
use datastore::format::CryptConfig;

use crate::tree::extract::ExtractOptions;

/// What is restored, and where to.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the group is.
    pub ns: BackupNamespace,
    /// The snapshot.
    pub dir: BackupDir,
    /// The archive; one in two parts by the name of the whole, `root.pxar`.
    pub archive: ArchiveName,
    /// Where it goes.
    pub target: Target,
    /// Of an archive of files, only what is at these paths: directories become the target, anything
    /// else is put into it.
    pub paths: Vec<PathBuf>,
    /// Where the prelude of an archive of files goes, the patterns with which it was made.
    pub prelude: Option<Target>,
    /// How files are restored; whether a file or image is overwritten, too.
    pub extract: ExtractOptions,
    /// What decrypts.
    pub key: Option<Arc<CryptConfig>>,
    /// Where the key is from, for the user.
    pub key_source: Option<String>,
    /// Most bytes a second on the network.
    pub rate: Option<u64>,
    /// Bytes that may pass at once after a pause.
    pub burst: Option<u64>,
}

impl Options {
    /// Whether it is an archive of files, by the name of the whole.
    pub(super) fn is_files(&self) -> bool {
        self.archive.client_name().ends_with(".pxar")
    }

    /// Fails if files are chosen where none can be; nothing that was asked for is left out silently.
    pub(super) fn check(&self) -> Result<()> {
        ensure!(
            self.prelude.is_none() || self.is_files(),
            "--prelude-target is for an archive of files (.pxar), which '{}' is not: leave it away",
            self.archive.client_name()
        );
        ensure!(
            self.prelude.as_ref() != Some(&self.target),
            "the prelude and the archive cannot both go to {}",
            self.target
        );
        let patterns = !self.extract.patterns.is_empty();
        if !patterns && self.paths.is_empty() {
            return Ok(());
        }
        ensure!(
            self.is_files(),
            "--path and --pattern choose files of an archive of files (.pxar), which '{}' is not: \
             leave them away",
            self.archive.client_name()
        );
        ensure!(
            self.target != Target::Stdout || (self.paths.len() == 1 && !patterns),
            "standard output takes a whole archive, or one file of it by one --path; restore \
             several files into a directory"
        );
        Ok(())
    }
}

/// Where something goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Standard output.
    Stdout,
    /// A directory, a file or a device.
    Path(PathBuf),
}

impl From<&OsStr> for Target {
    /// `-` is standard output.
    fn from(text: &OsStr) -> Self {
        match text == "-" {
            true => Self::Stdout,
            false => Self::Path(text.into()),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdout => f.write_str("standard output"),
            Self::Path(path) => write!(f, "'{}'", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::pattern::Pattern;

    #[test]
    fn files_are_chosen_only_where_there_are_any_and_they_have_room() {
        for (archive, target, paths, patterns, good) in [
            ("root.pxar", "-", 0, 0, true),
            ("root.pxar", "-", 1, 0, true),
            ("root.pxar", "-", 2, 0, false),
            ("root.pxar", "-", 0, 1, false),
            ("root.pxar", "dir", 2, 0, true),
            ("root.pxar", "dir", 0, 2, true),
            ("root.mpxar", "file", 1, 0, false),
            ("disk.img", "file", 0, 0, true),
            ("disk.img", "file", 1, 0, false),
            ("machine.conf", "-", 0, 1, false),
        ] {
            let options = Options {
                ns: BackupNamespace::default(),
                dir: "host/a/2026-11-22T08:34:18Z".parse().unwrap(),
                archive: ArchiveName::from_client_name(archive).unwrap(),
                target: Target::from(OsStr::new(target)),
                paths: vec![PathBuf::from("etc/a"); paths],
                prelude: None,
                extract: ExtractOptions {
                    patterns: vec![Pattern::parse(b"*.conf").unwrap(); patterns],
                    ..ExtractOptions::default()
                },
                key: None,
                key_source: None,
                rate: None,
                burst: None,
            };
            let checked = options.check();
            assert_eq!(checked.is_ok(), good, "{archive} {target}: {checked:?}");
            let with_prelude = |to: &str| Options {
                prelude: Some(Target::from(OsStr::new(to))),
                ..options.clone()
            };
            let checked = with_prelude("other").check();
            assert_eq!(
                checked.is_ok(),
                good && archive == "root.pxar",
                "{checked:?}"
            );
            assert!(with_prelude(target).check().is_err());
        }
    }
}
