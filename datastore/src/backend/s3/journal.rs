//! The delete journal (`gc.md` §7): which chunk objects a delete may have been sent for.
//!
//! A record is durable before its request is sent and goes only after the unlinks of its chunk
//! files are durable and none of its digests is suspect any more. There is no time in it: whoever
//! reads a record treats every digest of it as suspect for a full quarantine, whether the request
//! was answered or not.
//!
//! Text, one record a line: `batch <id> <count> <crc32> <digest>…`. The file is only appended to
//! and atomically replaced, so only its last line can be torn; a torn line was never fsynced, so
//! its request was never sent and it is dropped. Damage anywhere else makes the journal unreadable,
//! which means that the local state cannot be trusted (`gc.md` §6.6).

use std::collections::{BTreeMap, HashSet};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use api_types::digest::Digest;

use crate::atomic_file;
use crate::disk::{self, DiskFile};
use crate::error::{Error, Result};
use crate::file_identity::FileIdentity;

/// Identifies a record; they ascend within the file.
pub type RecordId = u64;

/// No journal gets so far; what says so is damaged, and counting on from it would overflow.
const MAX_ID: RecordId = RecordId::MAX >> 1;

/// The journal file with the records that are still open.
///
/// Two locks: one is held over a change of the file and the disk's time for it, the other only for
/// a look at what is open, so that it may be taken in asynchronous code and under shard locks.
/// Taken in that order.
#[derive(Debug)]
pub struct DeleteJournal {
    path: PathBuf,
    file: Mutex<FileState>,
    open: Mutex<BTreeMap<RecordId, Record>>,
}

#[derive(Debug)]
struct FileState {
    next_id: RecordId,
    /// What the file looked like after our last write, to notice another process's records.
    seen: Option<FileIdentity>,
    /// A failed append may have left a part of a record at the end of the file.
    spoiled: bool,
}

#[derive(Debug)]
struct Record {
    digests: Vec<Digest>,
    /// Digests whose delete is in flight or suspect; empty = the record may go.
    unresolved: HashSet<Digest>,
}

impl DeleteJournal {
    /// Creates an empty journal; an existing one is kept.
    ///
    /// # Errors
    /// If the file cannot be created durably.
    pub fn create(path: &Path) -> Result<()> {
        if path.exists() {
            return Ok(());
        }
        Ok(atomic_file::replace_durable(path, b"", 0o600)?)
    }

    /// A journal that has not been read yet: [`reload`](Self::reload) reads it.
    #[must_use]
    pub fn unread(path: PathBuf) -> Self {
        let file = FileState {
            next_id: 1,
            seen: None,
            spoiled: false,
        };
        Self {
            path,
            file: Mutex::new(file),
            open: Mutex::default(),
        }
    }

    /// Replaces the file, unreadable as it may be, by an empty journal. Only after it is recorded
    /// durably that a quarantine must pass, as after a takeover ◆.
    ///
    /// # Errors
    /// If the file cannot be replaced.
    pub fn reset(&self) -> Result<()> {
        let mut file = self.file();
        self.open().clear();
        self.rewrite(&mut file)
    }

    /// Reads the file if another process may have changed it since the last look; returns the
    /// digests of its records then.
    ///
    /// To be called whenever the process lock has just been taken ◆.
    ///
    /// # Errors
    /// [`Error::NeedsRefresh`] if the journal is missing or unreadable.
    pub fn reload(&self) -> Result<Vec<Digest>> {
        let mut file = self.file();
        let identity = match std::fs::metadata(&self.path) {
            Ok(metadata) => FileIdentity::of(&metadata),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(Error::NeedsRefresh {
                    reason: "the delete journal is missing".into(),
                });
            }
            Err(error) => {
                return Err(Error::io("unable to read the delete journal", &self.path)(
                    error,
                ));
            }
        };
        if file.seen == Some(identity) {
            return Ok(Vec::new());
        }
        let bytes = std::fs::read(&self.path)
            .map_err(Error::io("unable to read the delete journal", &self.path))?;
        let parsed = parse(&bytes).map_err(|reason| Error::NeedsRefresh {
            reason: format!("the delete journal is unreadable: {reason}"),
        })?;
        // Whoever changed the file was alone with it, so what we remember is either in it or over.
        let mut unknown = Vec::new();
        let mut open = BTreeMap::new();
        for (id, digests) in parsed.records {
            file.next_id = file.next_id.max(id.saturating_add(1));
            unknown.extend_from_slice(&digests);
            let unresolved = digests.iter().copied().collect();
            open.insert(
                id,
                Record {
                    digests,
                    unresolved,
                },
            );
        }
        *self.open() = open;
        if parsed.torn {
            self.rewrite(&mut file)?;
        } else {
            file.seen = Some(identity);
        }
        Ok(unknown)
    }

    /// Appends a durable record; nothing may be sent if this fails ◆.
    ///
    /// # Errors
    /// If the record cannot be written or synced, or is about nothing.
    pub fn append(&self, digests: &[Digest]) -> Result<RecordId> {
        if digests.is_empty() {
            // The line would not be readable, nor the journal with it.
            let reason = "a record of the delete journal names at least one chunk";
            return Err(Error::Refused(reason.into()));
        }
        let mut file = self.file();
        let id = file.next_id;
        file.next_id += 1;
        if file.spoiled {
            // Behind the part of a record that a full disk cut off, ours would be unreadable.
            self.rewrite(&mut file)?;
        }
        let line = format_record(id, digests);
        file.spoiled = true;
        file.seen = Some(
            append_durably(&self.path, line.as_bytes()).map_err(Error::io(
                "unable to append to the delete journal",
                &self.path,
            ))?,
        );
        file.spoiled = false;
        let record = Record {
            digests: digests.to_vec(),
            unresolved: digests.iter().copied().collect(),
        };
        self.open().insert(id, record);
        Ok(id)
    }

    /// Records that the request of record `id` can no longer delete `digest`.
    pub fn resolve(&self, id: RecordId, digest: &Digest) {
        if let Some(record) = self.open().get_mut(&id) {
            record.unresolved.remove(digest);
        }
    }

    /// The records whose requests may still delete `digest`.
    #[must_use]
    pub fn records_of(&self, digest: &Digest) -> Vec<RecordId> {
        let open = self.open();
        let of_it = open
            .iter()
            .filter(|(_, record)| record.unresolved.contains(digest));
        of_it.map(|(id, _)| *id).collect()
    }

    /// The records that nothing waits for any more.
    #[must_use]
    pub fn settled(&self) -> Vec<RecordId> {
        let open = self.open();
        let settled = open.iter().filter(|(_, r)| r.unresolved.is_empty());
        settled.map(|(id, _)| *id).collect()
    }

    /// Drops records that were [settled](Self::settled) before the unlinks of their chunk files
    /// were made durable ◆.
    ///
    /// # Errors
    /// If rewriting fails; the file keeps the records then.
    pub fn drop_settled(&self, records: &[RecordId]) -> Result<()> {
        let mut file = self.file();
        {
            let mut open = self.open();
            for id in records {
                if open.get(id).is_some_and(|r| r.unresolved.is_empty()) {
                    open.remove(id);
                }
            }
        }
        self.rewrite(&mut file)
    }

    /// Whether the file was never read and is not empty; no, while somebody is at work on it.
    #[must_use]
    pub fn has_unread_records(&self) -> bool {
        let Ok(file) = self.file.try_lock() else {
            return false;
        };
        file.seen.is_none() && std::fs::metadata(&self.path).is_ok_and(|file| file.len() > 0)
    }

    /// Number of open records.
    #[must_use]
    pub fn open_records(&self) -> usize {
        self.open().len()
    }

    /// Whether no record is open: the precondition of a presence rebuild ◆.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.open().is_empty()
    }

    fn rewrite(&self, file: &mut FileState) -> Result<()> {
        let mut text = String::new();
        for (id, record) in &*self.open() {
            text.push_str(&format_record(*id, &record.digests));
        }
        atomic_file::replace_durable(&self.path, text.as_bytes(), 0o600)?;
        let metadata = std::fs::metadata(&self.path)
            .map_err(Error::io("unable to read the delete journal", &self.path))?;
        file.seen = Some(FileIdentity::of(&metadata));
        file.spoiled = false;
        Ok(())
    }

    fn file(&self) -> MutexGuard<'_, FileState> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<RecordId, Record>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn append_durably(path: &Path, line: &[u8]) -> std::io::Result<FileIdentity> {
    let mut file = DiskFile::append(path)?;
    file.write_all(line)?;
    file.sync_data()?;
    Ok(FileIdentity::of(&file.metadata()?))
}

fn format_record(id: RecordId, digests: &[Digest]) -> String {
    use std::fmt::Write as _;
    let mut list = String::with_capacity(digests.len() * 65);
    for digest in digests {
        let _ = write!(list, " {digest}");
    }
    format!(
        "batch {id} {} {:08x}{list}\n",
        digests.len(),
        crc32fast::hash(list.as_bytes())
    )
}

struct Parsed {
    records: Vec<(RecordId, Vec<Digest>)>,
    torn: bool,
}

fn parse(bytes: &[u8]) -> std::result::Result<Parsed, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not text".to_owned())?;
    let mut records: Vec<(RecordId, Vec<Digest>)> = Vec::new();
    let mut torn = false;
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let Some(complete) = line.strip_suffix('\n') else {
            torn = true;
            break;
        };
        // Ids ascend: of two records with one id, the second would hide the first.
        let last = records.last().map_or(0, |(id, _)| *id);
        let record = parse_record(complete).filter(|(id, _)| (last + 1..=MAX_ID).contains(id));
        records.push(record.ok_or_else(|| format!("line {} is damaged", index + 1))?);
    }
    Ok(Parsed { records, torn })
}

fn parse_record(line: &str) -> Option<(RecordId, Vec<Digest>)> {
    let mut words = line.splitn(5, ' ');
    if words.next()? != "batch" {
        return None;
    }
    let id = words.next()?.parse().ok()?;
    let count: usize = words.next()?.parse().ok()?;
    let crc = u32::from_str_radix(words.next()?, 16).ok()?;
    let list = words.next()?;
    if crc32fast::hash(format!(" {list}").as_bytes()) != crc {
        return None;
    }
    let digests: Vec<Digest> = list
        .split(' ')
        .map(|word| Digest::from_hex(word).ok())
        .collect::<Option<_>>()?;
    (digests.len() == count).then_some((id, digests))
}

/// Makes every unlink below `base` durable.
///
/// # Errors
/// If the file system cannot be synced.
pub fn sync_file_system(base: &Path) -> Result<()> {
    disk::sync_file_system(base).map_err(Error::io("unable to sync the file system of", base))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(byte: u8) -> Digest {
        Digest::from_bytes([byte; 32])
    }

    fn journal(dir: &Path) -> DeleteJournal {
        let path = dir.join("delete-journal");
        DeleteJournal::create(&path).unwrap();
        let journal = DeleteJournal::unread(path);
        assert_eq!(journal.reload().unwrap(), Vec::new());
        journal
    }

    #[test]
    fn records_survive_a_restart_until_they_are_resolved_and_synced() {
        let dir = tempfile::tempdir().unwrap();
        let first = journal(dir.path());
        let id = first.append(&[digest(1), digest(2)]).unwrap();
        first.append(&[digest(3)]).unwrap();
        first.resolve(id, &digest(1));
        first.resolve(id, &digest(2));

        let second = DeleteJournal::unread(dir.path().join("delete-journal"));
        assert_eq!(
            second.reload().unwrap(),
            vec![digest(1), digest(2), digest(3)]
        );

        let settled = first.settled();
        assert_eq!(settled, [id]);
        first.drop_settled(&settled).unwrap();
        assert_eq!(first.open_records(), 1);
        let third = DeleteJournal::unread(dir.path().join("delete-journal"));
        assert_eq!(third.reload().unwrap(), vec![digest(3)]);
    }

    /// A full disk in the middle of a record must not make the journal unreadable for ever.
    #[test]
    fn an_append_after_a_failed_one_mends_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("delete-journal");
        let journal = journal(dir.path());
        journal.append(&[digest(1)]).unwrap();
        std::fs::rename(&path, dir.path().join("away")).unwrap();
        assert!(journal.append(&[digest(2)]).is_err());
        std::fs::rename(dir.path().join("away"), &path).unwrap();
        // What a write that was cut off leaves.
        let mut text = std::fs::read(&path).unwrap();
        text.extend_from_slice(b"batch 2 1 0000");
        std::fs::write(&path, text).unwrap();
        journal.append(&[digest(3)]).unwrap();
        let known = DeleteJournal::unread(path).reload().unwrap();
        assert_eq!(known, [digest(1), digest(3)]);
    }

    #[test]
    fn records_that_would_hide_each_other_or_not_be_readable_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("delete-journal");
        let journal = journal(dir.path());
        assert!(journal.append(&[]).is_err());
        journal.append(&[digest(1)]).unwrap();
        assert_eq!(
            DeleteJournal::unread(path.clone()).reload().unwrap(),
            [digest(1)]
        );

        let (one, two) = (
            format_record(7, &[digest(1)]),
            format_record(7, &[digest(2)]),
        );
        let last = format_record(RecordId::MAX, &[digest(3)]);
        for damaged in [format!("{one}{two}"), format!("{one}{last}")] {
            std::fs::write(&path, damaged).unwrap();
            let error = DeleteJournal::unread(path.clone()).reload().unwrap_err();
            assert!(error.to_string().contains("line 2 is damaged"), "{error}");
        }
    }

    /// What a quarantine ends are the records that it began with: a later delete of the digest stays
    /// open.
    #[test]
    fn a_later_record_of_a_digest_is_not_resolved_with_an_earlier_one() {
        let dir = tempfile::tempdir().unwrap();
        let journal = journal(dir.path());
        let first = journal.append(&[digest(1), digest(2)]).unwrap();
        let known = journal.records_of(&digest(1));
        assert_eq!(known, [first]);
        let second = journal.append(&[digest(1)]).unwrap();
        for record in known {
            journal.resolve(record, &digest(1));
        }
        assert_eq!(journal.records_of(&digest(1)), [second]);
        assert_eq!(journal.records_of(&digest(2)), [first]);
        assert!(journal.settled().is_empty());
    }

    #[test]
    fn a_reset_journal_is_empty_and_readable() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("delete-journal");
        std::fs::write(&path, "rubbish\nmore\n").unwrap();
        let journal = DeleteJournal::unread(path.clone());
        assert!(journal.reload().is_err());
        journal.reset().unwrap();
        assert!(DeleteJournal::unread(path).reload().unwrap().is_empty());
    }

    #[test]
    fn a_torn_last_line_is_dropped_and_damage_elsewhere_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("delete-journal");
        let whole = format_record(1, &[digest(1)]) + &format_record(2, &[digest(2)]);
        for cut in 0..whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let known = DeleteJournal::unread(path.clone()).reload().unwrap();
            assert!(known.len() <= 1, "cut at {cut}");
            assert!(!std::fs::read_to_string(&path).unwrap().ends_with("batch"));
        }
        let damaged = whole.replacen("01010101", "01010102", 1);
        std::fs::write(&path, damaged).unwrap();
        let error = DeleteJournal::unread(path).reload().unwrap_err();
        assert!(matches!(error, Error::NeedsRefresh { .. }), "{error}");
    }

    #[test]
    fn a_missing_journal_is_not_an_empty_one() {
        let dir = tempfile::tempdir().unwrap();
        let journal = DeleteJournal::unread(dir.path().join("delete-journal"));
        assert!(matches!(journal.reload(), Err(Error::NeedsRefresh { .. })));
    }

    /// What asynchronous code asks must not wait for the disk.
    #[test]
    fn looks_do_not_wait_for_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let journal = journal(dir.path());
        let id = journal.append(&[digest(1)]).unwrap();
        let _busy = journal.file();
        journal.resolve(id, &digest(1));
        assert_eq!(journal.settled(), [id]);
        assert!(!journal.is_empty() && !journal.has_unread_records());
    }

    #[test]
    fn another_processs_records_are_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let ours = journal(dir.path());
        let theirs = DeleteJournal::unread(dir.path().join("delete-journal"));
        theirs.reload().unwrap();
        theirs.append(&[digest(5)]).unwrap();
        assert_eq!(ours.reload().unwrap(), vec![digest(5)]);
        assert_eq!(ours.reload().unwrap(), Vec::new());
    }
}
