//! What is restored, and where to.

use std::ffi::OsStr;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

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
