//! The index writers of a session as the client knows them: numbers, kinds, what may be done when
//! (`backup-protocol.md` §3.1–3.3).
//!
//! A state machine without I/O. The entries themselves are in the `datastore` crate's session.

use std::collections::BTreeMap;

use api_types::names::{ArchiveName, ArchiveType};
use datastore::backend::s3::insert::InsertOutcome;
use datastore::format::FIXED_CHUNK_SIZE;
use datastore::session::{IndexProgress, WriterId};

/// Most writers that a session may ever open.
pub const MAX_WRITERS: u32 = 256;

/// What a client opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A stream, in chunks of varying size.
    Dynamic,
    /// An image.
    Fixed {
        /// Its size, unless it is to be found out.
        size: Option<u64>,
        /// It began as a copy of the last backup's.
        incremental: bool,
    },
}

impl Kind {
    /// The word for it in paths and messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dynamic => "dynamic",
            Self::Fixed { .. } => "fixed",
        }
    }

    const fn archive_type(self) -> ArchiveType {
        match self {
            Self::Dynamic => ArchiveType::DynamicIndex,
            Self::Fixed { .. } => ArchiveType::FixedIndex,
        }
    }
}

/// What was uploaded for a writer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UploadStats {
    /// Chunks.
    pub count: u64,
    /// Their plain length.
    pub size: u64,
    /// Their length as stored.
    pub compressed_size: u64,
    /// How many of them were there before.
    pub duplicates: u64,
}

/// An open writer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Writer {
    /// The archive.
    pub name: ArchiveName,
    /// What it is.
    pub kind: Kind,
    /// What was uploaded for it.
    pub stats: UploadStats,
    /// A chunk that only the end of an image can be was uploaded.
    has_end: bool,
}

/// The writers of a session.
#[derive(Debug, Default)]
pub struct Writers {
    open: BTreeMap<u32, Writer>,
    opened: u32,
}

/// A refusal, in the words that clients show.
pub type Refusal = String;

impl Writers {
    /// Takes a place for a writer of this archive, or says why there is none for it.
    pub fn reserve(&mut self, name: &ArchiveName, kind: Kind) -> Result<(), Refusal> {
        if name.archive_type() != Some(kind.archive_type()) {
            return Err(format!("wrong archive extension: '{name}'"));
        }
        if self.opened >= MAX_WRITERS {
            return Err(format!(
                "unable to open more than {MAX_WRITERS} index writers in one backup"
            ));
        }
        self.opened += 1;
        Ok(())
    }

    /// Gives a place back: the writer could not be opened.
    pub fn release(&mut self) {
        self.opened = self.opened.saturating_sub(1);
    }

    /// The writer is open.
    pub fn insert(&mut self, id: WriterId, name: ArchiveName, kind: Kind) {
        let writer = Writer {
            name,
            kind,
            stats: UploadStats::default(),
            has_end: false,
        };
        self.open.insert(id.0, writer);
    }

    /// Whether none is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// The open writer with this number, if it is of this kind (`dynamic` or `fixed`).
    pub fn get(&self, wid: u32, kind: &str) -> Result<&Writer, Refusal> {
        self.open
            .get(&wid)
            .filter(|writer| writer.kind.name() == kind)
            .ok_or_else(|| not_registered(wid, kind))
    }

    /// Whether a chunk of `size` bytes may be uploaded for the writer.
    pub fn check_chunk(&self, wid: u32, kind: &str, size: u32) -> Result<(), Refusal> {
        let writer = self.get(wid, kind)?;
        if writer.kind == Kind::Dynamic {
            return Ok(());
        }
        let (size, name) = (u64::from(size), &writer.name);
        if size > FIXED_CHUNK_SIZE {
            return Err(format!(
                "fixed writer '{name}' - got large chunk ({size} > {FIXED_CHUNK_SIZE})"
            ));
        }
        if size < FIXED_CHUNK_SIZE && writer.has_end {
            return Err(format!(
                "fixed writer '{name}' - detected multiple end chunks (chunk size too small)"
            ));
        }
        Ok(())
    }

    /// Counts a chunk that was stored, unless it may not be there by now.
    pub fn register_chunk(
        &mut self,
        wid: u32,
        kind: &str,
        size: u32,
        stored: &InsertOutcome,
    ) -> Result<(), Refusal> {
        self.check_chunk(wid, kind, size)?;
        let Some(writer) = self.open.get_mut(&wid) else {
            return Err(not_registered(wid, kind));
        };
        writer.has_end |= u64::from(size) < FIXED_CHUNK_SIZE;
        writer.stats.count += 1;
        writer.stats.size += u64::from(size);
        writer.stats.compressed_size += stored.stored_size;
        writer.stats.duplicates += u64::from(stored.duplicate);
        Ok(())
    }

    /// Takes the writer out, if the client's idea of its archive is right.
    pub fn close(
        &mut self,
        wid: u32,
        kind: &str,
        claimed: Claimed,
        progress: IndexProgress,
    ) -> Result<Writer, Refusal> {
        let writer = self.get(wid, kind)?;
        claimed.check(writer, progress).map_err(|why| {
            let name = &writer.name;
            format!("{kind} writer '{name}' close failed - {why}")
        })?;
        self.open
            .remove(&wid)
            .ok_or_else(|| not_registered(wid, kind))
    }
}

/// What a client says of an archive when it closes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// Number of chunks appended.
    pub chunk_count: u64,
    /// Length.
    pub size: u64,
}

impl Claimed {
    fn check(self, writer: &Writer, index: IndexProgress) -> Result<(), Refusal> {
        let Self { chunk_count, size } = self;
        let differs = |what: &str, ours: u64, theirs: u64| {
            if ours == theirs {
                Ok(())
            } else {
                Err(format!("{what} ({ours} != {theirs})"))
            }
        };
        match writer.kind {
            Kind::Dynamic => {
                differs("unexpected chunk count", index.appended, chunk_count)?;
                differs("unexpected file size", index.size, size)
            }
            Kind::Fixed {
                size: announced,
                incremental,
            } => {
                let what = "received wrong number of chunk";
                differs(what, index.appended, chunk_count)?;
                if incremental {
                    // What is sent then is the number of changed bytes.
                    return Ok(());
                }
                differs("unexpected chunk count", index.slots, chunk_count)?;
                differs("unexpected file size", announced.unwrap_or(size), size)?;
                differs("unexpected size", index.size, size)
            }
        }
    }
}

fn not_registered(wid: u32, kind: &str) -> Refusal {
    format!("{kind} writer '{wid}' not registered")
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: u32 = 4 << 20;
    const IMAGE: Kind = Kind::Fixed {
        size: Some(5 << 20),
        incremental: false,
    };

    fn open(kind: Kind) -> Writers {
        let name: ArchiveName = match kind {
            Kind::Dynamic => "a.pxar.didx",
            Kind::Fixed { .. } => "a.img.fidx",
        }
        .parse()
        .unwrap();
        let mut writers = Writers::default();
        writers.reserve(&name, kind).unwrap();
        writers.insert(WriterId(1), name, kind);
        writers
    }

    fn stored() -> InsertOutcome {
        InsertOutcome {
            duplicate: true,
            stored_size: 7,
        }
    }

    fn progress(appended: u64, slots: u64, size: u64) -> IndexProgress {
        IndexProgress {
            appended,
            slots,
            size,
        }
    }

    fn closed(kind: Kind, claimed: (u64, u64), index: IndexProgress) -> String {
        let claimed = Claimed {
            chunk_count: claimed.0,
            size: claimed.1,
        };
        match open(kind).close(1, kind.name(), claimed, index) {
            Ok(_) => "closed".into(),
            Err(why) => why.split_once(" - ").unwrap().1.to_owned(),
        }
    }

    #[test]
    fn kinds_and_extensions_belong_together() {
        let mut writers = Writers::default();
        let name: ArchiveName = "a.pxar.didx".parse().unwrap();
        assert_eq!(
            writers.reserve(&name, IMAGE),
            Err("wrong archive extension: 'a.pxar.didx'".into())
        );
        let writers = open(Kind::Dynamic);
        let refused = writers.get(1, "fixed").unwrap_err();
        assert_eq!(refused, "fixed writer '1' not registered");
        assert!(writers.get(1, "dynamic").is_ok());
        assert!(writers.get(2, "dynamic").is_err());
    }

    #[test]
    fn there_are_256_numbers() {
        let mut writers = Writers::default();
        let name: ArchiveName = "a.didx".parse().unwrap();
        for _ in 0..MAX_WRITERS {
            writers.reserve(&name, Kind::Dynamic).unwrap();
        }
        assert!(writers.reserve(&name, Kind::Dynamic).is_err());
        writers.release();
        assert!(writers.reserve(&name, Kind::Dynamic).is_ok());
    }

    #[test]
    fn an_image_has_one_end() {
        let mut writers = open(IMAGE);
        for size in [FULL, 100, FULL] {
            writers.register_chunk(1, "fixed", size, &stored()).unwrap();
        }
        let refused = writers.register_chunk(1, "fixed", 100, &stored());
        assert!(
            refused
                .unwrap_err()
                .contains("detected multiple end chunks")
        );
        assert!(writers.check_chunk(1, "fixed", FULL + 1).is_err());
        assert_eq!(
            writers.get(1, "fixed").unwrap().stats,
            UploadStats {
                count: 3,
                size: 2 * u64::from(FULL) + 100,
                compressed_size: 21,
                duplicates: 3,
            }
        );
        let mut writers = open(Kind::Dynamic);
        for size in [100, 100, 16 << 20] {
            writers
                .register_chunk(1, "dynamic", size, &stored())
                .unwrap();
        }
    }

    #[test]
    fn closing_compares() {
        let at = progress(2, 2, 5 << 20);
        assert_eq!(closed(IMAGE, (2, 5 << 20), at), "closed");
        assert_eq!(
            closed(IMAGE, (3, 5 << 20), at),
            "received wrong number of chunk (2 != 3)"
        );
        assert_eq!(
            closed(IMAGE, (1, 5 << 20), progress(1, 2, 5 << 20)),
            "unexpected chunk count (2 != 1)"
        );
        assert_eq!(
            closed(IMAGE, (2, 1), at),
            format!("unexpected file size ({} != 1)", 5 << 20)
        );
        let growing = Kind::Fixed {
            size: None,
            incremental: false,
        };
        assert_eq!(
            closed(growing, (2, 1), at),
            format!("unexpected size ({} != 1)", 5 << 20)
        );
        let incremental = Kind::Fixed {
            size: Some(5 << 20),
            incremental: true,
        };
        assert_eq!(
            closed(incremental, (0, 0), progress(0, 2, 5 << 20)),
            "closed"
        );
        assert_eq!(
            closed(incremental, (1, 0), progress(0, 2, 5 << 20)),
            "received wrong number of chunk (0 != 1)"
        );
        assert_eq!(closed(Kind::Dynamic, (2, 9), progress(2, 2, 9)), "closed");
        assert_eq!(
            closed(Kind::Dynamic, (2, 8), progress(2, 2, 9)),
            "unexpected file size (9 != 8)"
        );
        assert_eq!(
            closed(Kind::Dynamic, (1, 9), progress(2, 2, 9)),
            "unexpected chunk count (2 != 1)"
        );
    }

    #[test]
    fn a_refused_close_leaves_the_writer_open() {
        let mut writers = open(Kind::Dynamic);
        let claimed = Claimed {
            chunk_count: 1,
            size: 1,
        };
        let refused = writers.close(1, "dynamic", claimed, progress(2, 2, 1));
        assert!(refused.is_err() && !writers.is_empty());
        let closed = writers.close(1, "dynamic", claimed, progress(1, 1, 1));
        assert!(closed.is_ok() && writers.is_empty());
    }
}
