//! What is backed up: `root.pxar:/`, `disk.img:/dev/vda`, `machine.conf:/etc/machine`.

use std::fmt;
use std::fs::Metadata;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context as _, Result, bail, ensure};
use api_types::names::ArchiveName;

/// Where standard input is meant.
const STDIN: &str = "-";

/// One archive of a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    name: ArchiveName,
    kind: Kind,
    source: PathBuf,
}

/// What an archive is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory, `.pxar`.
    Directory,
    /// A block device, a file or a pipe, `.img`.
    Image,
    /// A file that is kept in one piece, `.conf`.
    Config,
    /// The same, `.log`.
    Log,
}

impl FromStr for Spec {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let expected = || {
            format!(
                "'{text}' does not say what to back up; expected NAME.pxar:DIRECTORY, \
                 NAME.img:DEVICE-OR-FILE, NAME.conf:FILE or NAME.log:FILE"
            )
        };
        let (name, source) = text.split_once(':').with_context(expected)?;
        let (stem, extension) = name.split_once('.').with_context(expected)?;
        let kind = match extension {
            "pxar" => Kind::Directory,
            "img" => Kind::Image,
            "conf" => Kind::Config,
            "log" => Kind::Log,
            _ => bail!(expected()),
        };
        let usual = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        ensure!(
            !source.is_empty() && !stem.is_empty() && stem.chars().all(usual),
            expected()
        );
        Ok(Self {
            name: ArchiveName::from_client_name(name).with_context(expected)?,
            kind,
            source: source.into(),
        })
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.name.client_name(), self.source.display())
    }
}

impl Spec {
    /// The archive, as the server names it; of a directory in two parts, it is in neither name.
    #[must_use]
    pub fn name(&self) -> &ArchiveName {
        &self.name
    }

    /// What it is made of.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What to read.
    #[must_use]
    pub fn source(&self) -> &Path {
        &self.source
    }

    /// Whether it is standard input.
    #[must_use]
    pub fn is_stdin(&self) -> bool {
        self.source.as_os_str() == STDIN && self.kind != Kind::Directory
    }

    /// Checks that the source is there and of the right type, before anything is begun.
    pub fn check(&self) -> Result<()> {
        if self.is_stdin() {
            return Ok(());
        }
        let metadata = std::fs::metadata(&self.source);
        let metadata = metadata.with_context(|| format!("cannot back up '{self}'"))?;
        ensure!(
            self.kind.fits(&metadata),
            "cannot back up '{self}': '{}' is not {}",
            self.source.display(),
            self.kind.wanted()
        );
        Ok(())
    }
}

impl Kind {
    /// How messages call it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Directory => "directory",
            Self::Image => "image",
            Self::Config => "config file",
            Self::Log => "log file",
        }
    }

    fn wanted(self) -> &'static str {
        match self {
            Self::Directory => "a directory",
            Self::Image => "a file, block device or pipe",
            Self::Config | Self::Log => "a file or a pipe",
        }
    }

    fn fits(self, metadata: &Metadata) -> bool {
        let kind = metadata.file_type();
        let pipe = kind.is_fifo() || kind.is_char_device();
        match self {
            Self::Directory => kind.is_dir(),
            Self::Image => kind.is_file() || kind.is_block_device() || pipe,
            Self::Config | Self::Log => kind.is_file() || pipe,
        }
    }
}

/// Checks a list of them: there is one, and no archive twice.
pub(super) fn check_all(specs: &[Spec]) -> Result<()> {
    ensure!(
        !specs.is_empty(),
        "nothing to back up; name at least one archive, like root.pxar:/"
    );
    for (number, spec) in specs.iter().enumerate() {
        let name = spec.name();
        ensure!(
            specs[..number].iter().all(|before| before.name() != name),
            "the archive {} is named twice",
            name.client_name()
        );
        ensure!(
            *name.as_str() != *ArchiveName::CLIENT_LOG,
            "{} is the name of the log that 'upload-log' adds to a snapshot",
            name.client_name()
        );
        spec.check()?;
    }
    let pipes = specs.iter().filter(|spec| spec.is_stdin()).count();
    ensure!(pipes <= 1, "only one archive can come from standard input");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(text: &str) -> Spec {
        text.parse().unwrap()
    }

    #[test]
    fn a_spec_is_a_name_and_a_source() {
        let spec = spec("drive-scsi0.img:/dev/disk/by-path/pci-0:1");
        assert_eq!(spec.name().as_str(), "drive-scsi0.img.fidx");
        assert_eq!(spec.kind(), Kind::Image);
        assert_eq!(spec.source(), Path::new("/dev/disk/by-path/pci-0:1"));
        assert_eq!(
            spec.to_string(),
            "drive-scsi0.img:/dev/disk/by-path/pci-0:1"
        );
    }

    #[test]
    fn others_are_refused() {
        for text in [
            "",
            "root.pxar",
            "root.pxar:",
            ".pxar:/",
            "root:/",
            "root.mpxar:/",
            "root.pxar.didx:/",
            "a.b.img:/",
            "ro ot.pxar:/",
            "../root.pxar:/",
        ] {
            assert!(text.parse::<Spec>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn sources_are_checked_before() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().display();
        let check = |specs: &[&str]| {
            let specs: Vec<_> = specs.iter().map(|text| spec(text)).collect();
            check_all(&specs).map_err(|error| format!("{error:#}"))
        };
        check(&[&format!("a.pxar:{path}"), "b.img:-"]).unwrap();
        for (bad, why) in [
            (vec![], "nothing to back up"),
            (vec![format!("a.img:{path}")], "is not a file, block device"),
            (vec!["a.pxar:/dev/null".to_owned()], "is not a directory"),
            (vec![format!("a.conf:{path}/none")], "No such file"),
            (
                vec!["a.img:-".to_owned(), "b.conf:-".to_owned()],
                "only one",
            ),
            (
                vec![format!("a.pxar:{path}"), "a.pxar:/".to_owned()],
                "twice",
            ),
            (vec!["client.log:-".to_owned()], "upload-log"),
        ] {
            let bad: Vec<_> = bad.iter().map(String::as_str).collect();
            let error = check(&bad).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }
}
