//! Knobs of a datastore: the property string `tuning`.

use std::fmt;
use std::str::FromStr;

use crate::ParseError;
use crate::macros::{named_enum, serde_as_string};
use crate::property::{PropertyReader, PropertyWriter};

const WHAT: &str = "datastore tuning";
const MAX_CONCURRENCY: u32 = 1024;

named_enum! {
    /// Order in which a verification reads chunks.
    ChunkOrder, "chunk order" {
        /// By inode number, which on spinning disks saves seeks.
        Inode = "inode",
        /// As the index lists them.
        None = "none",
    }
}

named_enum! {
    /// When data is forced to disk.
    SyncLevel, "sync level" {
        /// Never.
        None = "none",
        /// Each new chunk and its directory.
        File = "file",
        /// Everything at the end of a backup.
        Filesystem = "filesystem",
    }
}

/// What an operator tuned; each method gives the effective value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct DatastoreTuning {
    /// Order in which a verification reads chunks.
    pub chunk_order: Option<ChunkOrder>,
    /// When data is forced to disk.
    pub sync_level: Option<SyncLevel>,
    /// Whether a garbage collection first proves that access times are kept.
    pub gc_atime_safety_check: Option<bool>,
    /// Minutes for which an unreferenced chunk is kept. Upstream's least is 1; 0 is ours.
    pub gc_atime_cutoff: Option<u32>,
    /// Digests that the mark phase remembers.
    pub gc_cache_capacity: Option<u32>,
    /// Threads that check chunks.
    pub default_verification_workers: Option<u32>,
    /// Threads that read chunks.
    pub default_verification_readers: Option<u32>,
    /// Ours: minutes for which a delete without an answer may still happen.
    pub delete_quarantine: Option<u32>,
    /// Ours: listings at once in a garbage collection.
    pub list_concurrency: Option<u32>,
    /// Ours: delete requests at once in a garbage collection.
    pub delete_concurrency: Option<u32>,
}

impl DatastoreTuning {
    /// Order in which a verification reads chunks.
    #[must_use]
    pub fn chunk_order(&self) -> ChunkOrder {
        self.chunk_order.unwrap_or(ChunkOrder::Inode)
    }

    /// When data is forced to disk.
    #[must_use]
    pub fn sync_level(&self) -> SyncLevel {
        self.sync_level.unwrap_or(SyncLevel::Filesystem)
    }

    /// Whether a garbage collection first proves that access times are kept.
    #[must_use]
    pub fn gc_atime_safety_check(&self) -> bool {
        self.gc_atime_safety_check.unwrap_or(true)
    }

    /// Seconds for which an unreferenced chunk is kept, 24 h 5 min by default.
    #[must_use]
    pub fn gc_cutoff_secs(&self) -> i64 {
        i64::from(self.gc_atime_cutoff.unwrap_or(1445)) * 60
    }

    /// Digests that the mark phase remembers; 0 turns the cache off.
    #[must_use]
    pub fn gc_cache_capacity(&self) -> usize {
        let digests = self.gc_cache_capacity.unwrap_or(1 << 20);
        usize::try_from(digests).unwrap_or(usize::MAX)
    }

    /// Threads that check chunks.
    #[must_use]
    pub fn verification_workers(&self) -> u32 {
        self.default_verification_workers.unwrap_or(4)
    }

    /// Threads that read chunks.
    #[must_use]
    pub fn verification_readers(&self) -> u32 {
        self.default_verification_readers.unwrap_or(1)
    }

    /// Seconds for which a delete without an answer may still happen, 30 min by default.
    #[must_use]
    pub fn delete_quarantine_secs(&self) -> i64 {
        i64::from(self.delete_quarantine.unwrap_or(30)) * 60
    }
}

impl FromStr for DatastoreTuning {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let mut reader = PropertyReader::from_string(WHAT, text, None)?;
        let tuning = Self {
            chunk_order: reader.take("chunk-order")?,
            sync_level: reader.take("sync-level")?,
            gc_atime_safety_check: reader.take_bool("gc-atime-safety-check")?,
            gc_atime_cutoff: reader.take_number("gc-atime-cutoff", 0..=2880)?,
            gc_cache_capacity: reader.take_number("gc-cache-capacity", 0..=8_388_608)?,
            default_verification_workers: reader
                .take_number("default-verification-workers", 1..=32)?,
            default_verification_readers: reader
                .take_number("default-verification-readers", 1..=32)?,
            // Servers accept a signature for 15 minutes: a shorter quarantine would prove nothing.
            delete_quarantine: reader.take_number("delete-quarantine", 16..=1440)?,
            list_concurrency: reader.take_number("list-concurrency", 1..=MAX_CONCURRENCY)?,
            delete_concurrency: reader.take_number("delete-concurrency", 1..=MAX_CONCURRENCY)?,
        };
        reader.finish()?;
        Ok(tuning)
    }
}

impl fmt::Display for DatastoreTuning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut writer = PropertyWriter::default();
        writer.push_opt("chunk-order", self.chunk_order.as_ref());
        writer.push_opt("sync-level", self.sync_level.as_ref());
        writer.push_opt("gc-atime-safety-check", self.gc_atime_safety_check.as_ref());
        writer.push_opt("gc-atime-cutoff", self.gc_atime_cutoff.as_ref());
        writer.push_opt("gc-cache-capacity", self.gc_cache_capacity.as_ref());
        writer.push_opt(
            "default-verification-workers",
            self.default_verification_workers.as_ref(),
        );
        writer.push_opt(
            "default-verification-readers",
            self.default_verification_readers.as_ref(),
        );
        writer.push_opt("delete-quarantine", self.delete_quarantine.as_ref());
        writer.push_opt("list-concurrency", self.list_concurrency.as_ref());
        writer.push_opt("delete-concurrency", self.delete_concurrency.as_ref());
        f.pad(&writer.into_string())
    }
}

serde_as_string!(DatastoreTuning, "tuning options like \"sync-level=file\"");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_upstreams() {
        let tuning: DatastoreTuning = "".parse().unwrap();
        assert_eq!(tuning, DatastoreTuning::default());
        assert_eq!(tuning.to_string(), "");
        assert_eq!(tuning.chunk_order(), ChunkOrder::Inode);
        assert_eq!(tuning.sync_level(), SyncLevel::Filesystem);
        assert!(tuning.gc_atime_safety_check());
        assert_eq!(tuning.gc_cutoff_secs(), 86_700);
        assert_eq!(tuning.gc_cache_capacity(), 1_048_576);
        assert_eq!(
            (tuning.verification_workers(), tuning.verification_readers()),
            (4, 1)
        );
        assert_eq!(tuning.delete_quarantine_secs(), 1800);
    }

    #[test]
    fn written_as_read() {
        let text = "chunk-order=none,sync-level=file,gc-atime-safety-check=false,gc-atime-cutoff=0,\
                    gc-cache-capacity=0,default-verification-workers=8,\
                    default-verification-readers=2,delete-quarantine=20,list-concurrency=8,\
                    delete-concurrency=4";
        let tuning: DatastoreTuning = text.parse().unwrap();
        assert_eq!(tuning.to_string(), text);
        assert_eq!(tuning.gc_cutoff_secs(), 0);
        assert_eq!(tuning.delete_quarantine_secs(), 1200);
    }

    #[test]
    fn limits() {
        for bad in [
            "gc-atime-cutoff=2881",
            "gc-atime-cutoff=-1",
            "gc-cache-capacity=8388609",
            "default-verification-workers=0",
            "default-verification-readers=33",
            "delete-quarantine=15",
            "list-concurrency=0",
            "sync-level=all",
            "chunk-order=inode,chunk-order=none",
            "color=red",
            "file",
        ] {
            assert!(bad.parse::<DatastoreTuning>().is_err(), "{bad}");
        }
    }
}
