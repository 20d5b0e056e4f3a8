//! How a backup is made.

use std::fmt;
use std::str::FromStr;

use api_types::names::{BackupGroup, BackupNamespace, BackupTime};
use datastore::format::DataBlob;

use super::spec::Spec;
use crate::session::Crypt;
use crate::tree::chunker::ChunkSize;
use crate::tree::create::CreateOptions;

/// How a backup is made.
#[derive(Clone, Debug)]
pub struct Options {
    /// What is backed up.
    pub specs: Vec<Spec>,
    /// Where the group is.
    pub ns: BackupNamespace,
    /// The group that gets a snapshot.
    pub group: BackupGroup,
    /// When the backup is said to be made; now if not given.
    pub time: Option<BackupTime>,
    /// How unchanged files are found.
    pub detection: ChangeDetection,
    /// How large chunks of archives of files are.
    pub chunk_size: ChunkSize,
    /// Which files are stored.
    pub tree: CreateOptions,
    /// It is no problem if extended attributes are missing that the system does not give out,
    /// `--skip-e2big-xattr`.
    pub skip_large_attributes: bool,
    /// How it is protected.
    pub protection: Protection,
    /// Only says what would be done.
    pub dry_run: bool,
    /// The server should not keep the chunks in its cache.
    pub no_cache: bool,
    /// Most bytes a second on the network.
    pub rate: Option<u64>,
    /// Bytes that may pass at once after a pause.
    pub burst: Option<u64>,
}

/// How a backup is protected.
#[derive(Clone, Debug, Default)]
pub struct Protection {
    /// Mode and key.
    pub crypt: Crypt,
    /// Where the key is from, for the user.
    pub key_source: Option<String>,
    /// The key for the holder of a master key.
    pub master: Option<MasterKey>,
}

/// The backup's key, encrypted with a master key.
#[derive(Clone, Debug)]
pub struct MasterKey {
    /// Where the master key is from, for the user.
    pub source: String,
    /// What is stored beside the archives.
    pub encrypted: DataBlob,
}

/// How unchanged files are found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChangeDetection {
    /// Not at all: everything is read, into an archive in one part.
    #[default]
    Legacy,
    /// Not at all: everything is read, into an archive in two parts.
    Data,
    /// By their metadata: what is as in the last backup is not read.
    Metadata,
}

impl ChangeDetection {
    /// The modes' names.
    pub const NAMES: [&'static str; 3] = ["legacy", "data", "metadata"];
}

impl FromStr for ChangeDetection {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        match text {
            "legacy" => Ok(Self::Legacy),
            "data" => Ok(Self::Data),
            "metadata" => Ok(Self::Metadata),
            _ => anyhow::bail!(
                "unknown change detection mode '{text}', expected legacy, data or metadata"
            ),
        }
    }
}

impl fmt::Display for ChangeDetection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Legacy => "legacy",
            Self::Data => "data",
            Self::Metadata => "metadata",
        })
    }
}
