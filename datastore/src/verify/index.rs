//! The chunks of one index: checksum and size first, then every chunk that the run does not know
//! yet, many at a time.

use std::collections::HashMap;
use std::path::PathBuf;

use api_types::datastore::ChunkOrder;
use api_types::digest::Digest;
use api_types::names::ArchiveType;
use api_types::status::CryptMode;
use futures_util::{StreamExt, stream};

use crate::error::{Error, Result};
use crate::format::index::{AnyIndexReader, IndexFile};
use crate::format::manifest::FileInfo;
use crate::task::Progress;

use super::chunk::{Facts, Known, Verdict};
use super::run::Run;

/// What checking one file found.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct FileResult {
    /// Proven defects.
    pub(super) errors: u64,
    /// Things that could not be looked at.
    pub(super) unknown: u64,
}

/// Counts of the line behind each index.
#[derive(Debug, Default)]
struct Progressed {
    read: u64,
    decoded: u64,
    result: FileResult,
}

impl Run<'_> {
    /// Checks an index and its chunks.
    pub(super) async fn verify_index(
        &self,
        path: PathBuf,
        file: &FileInfo,
        archive_type: ArchiveType,
    ) -> Result<FileResult> {
        let opened = {
            let file = file.clone();
            self.store
                .env
                .blocking(move || read_index(&path, &file, archive_type))
                .await
        };
        let chunks = match opened {
            Ok(chunks) => chunks,
            Err(error) => {
                self.task.log(&format!("{}: {error}", file.filename));
                return Ok(FileResult {
                    errors: 1,
                    unknown: 0,
                });
            }
        };
        let started = self.store.env.now();
        let mut progressed = Progressed::default();
        let encrypted = file.crypt_mode == CryptMode::Encrypt;
        let mut unseen = Vec::new();
        for (digest, len) in chunks {
            match self.known(&digest) {
                Some(known) => self.recall(&mut progressed.result, digest, len, encrypted, known),
                None => unseen.push((digest, len)),
            }
        }
        let unseen = self.in_order(unseen).await;
        let total = u64::try_from(unseen.len()).ok();
        let checks = unseen
            .into_iter()
            .map(|(digest, len)| async move { (digest, len, self.check_chunk(digest, len).await) });
        let mut checks = stream::iter(checks).buffer_unordered(self.width);
        let mut done = 0;
        while let Some((digest, len, verdict)) = checks.next().await {
            self.account(&mut progressed, digest, len, encrypted, verdict?);
            done += 1;
            let phase = file.filename.to_string();
            self.task
                .progress(Progress::new(phase, done, total, "chunks"));
        }
        drop(checks);
        let seconds = (self.store.env.now() - started).as_secs_f64();
        self.task.log(&speed_line(&progressed, seconds));
        Ok(progressed.result)
    }

    /// A chunk that this run has seen before.
    fn recall(
        &self,
        result: &mut FileResult,
        digest: Digest,
        len: u64,
        encrypted: bool,
        known: Known,
    ) {
        match known {
            Known::Sound(facts) => {
                if let Some(reason) = mismatch(facts, len, encrypted) {
                    self.task.log(&format!("chunk {digest}: {reason}"));
                    result.errors += 1;
                }
            }
            Known::Plausible => {}
            Known::Corrupt => {
                self.task
                    .log(&format!("chunk {digest} was found corrupt before"));
                result.errors += 1;
            }
            Known::Missing => {
                self.task
                    .log(&format!("chunk {digest} was found missing before"));
                result.errors += 1;
            }
        }
    }

    fn account(
        &self,
        progressed: &mut Progressed,
        digest: Digest,
        len: u64,
        encrypted: bool,
        verdict: Verdict,
    ) {
        let result = &mut progressed.result;
        match verdict {
            Verdict::Sound(facts) => {
                progressed.read += facts.encoded_size;
                progressed.decoded += len;
                self.recall(result, digest, len, encrypted, Known::Sound(facts));
            }
            Verdict::Plausible => progressed.decoded += len,
            Verdict::Corrupt(reason) => {
                self.task
                    .log(&format!("chunk {digest} is corrupt: {reason}"));
                self.count(|report| report.corrupt_chunks += 1);
                result.errors += 1;
            }
            Verdict::Missing => {
                self.task.log(&format!("chunk {digest} is missing"));
                self.count(|report| report.missing_chunks += 1);
                result.errors += 1;
            }
            Verdict::Trouble(error) => {
                self.task
                    .log(&format!("unable to verify chunk {digest}: {error}"));
                result.unknown += 1;
            }
        }
    }

    /// The order of the disk on a filesystem datastore, unless the tuning says otherwise.
    async fn in_order(&self, unseen: Vec<(Digest, u64)>) -> Vec<(Digest, u64)> {
        if self.remote.is_some() || self.store.tuning().chunk_order() != ChunkOrder::Inode {
            return unseen;
        }
        let chunks = self.store.chunks.clone();
        self.store
            .env
            .blocking(move || {
                let mut unseen = unseen;
                unseen.sort_by_cached_key(|(digest, _)| {
                    chunks
                        .stat_chunk(digest)
                        .ok()
                        .flatten()
                        .map_or(0, |chunk| chunk.inode)
                });
                unseen
            })
            .await
    }
}

/// Reads an index whole; its distinct chunks in their order, if it is what the manifest says.
fn read_index(
    path: &std::path::Path,
    file: &FileInfo,
    archive_type: ArchiveType,
) -> Result<Vec<(Digest, u64)>> {
    let what = || path.display().to_string();
    let index = AnyIndexReader::open(path, archive_type).map_err(Error::format(what()))?;
    let mut entries = index.entries();
    let mut lengths: HashMap<Digest, u64> = HashMap::new();
    let mut chunks = Vec::new();
    while let Some(entry) = entries.next_entry().map_err(Error::format(what()))? {
        let len = entry.size();
        match lengths.insert(entry.digest, len) {
            None => chunks.push((entry.digest, len)),
            Some(before) if before == len => {}
            Some(before) => {
                return Err(Error::Refused(format!(
                    "chunk {} is listed with {before} and with {len} bytes",
                    entry.digest
                )));
            }
        }
    }
    let summary = entries.finish().map_err(Error::format(what()))?;
    if summary.size != file.size {
        let text = format!("wrong size ({} != {})", file.size, summary.size);
        return Err(Error::Refused(text));
    }
    if Digest::from_bytes(summary.csum) != file.csum {
        return Err(Error::Refused("wrong index checksum".into()));
    }
    Ok(chunks)
}

/// What is wrong with a sound chunk in the place where an index names it.
fn mismatch(facts: Facts, len: u64, encrypted: bool) -> Option<String> {
    match (facts.encrypted, encrypted) {
        (true, false) => return Some("it is encrypted, its archive is not".into()),
        (false, true) => return Some("it is not encrypted, its archive is".into()),
        _ => {}
    }
    let plain = facts.plain_size.filter(|plain| *plain != len)?;
    Some(format!("it has {plain} bytes, its archive expects {len}"))
}

#[allow(clippy::cast_precision_loss)]
fn mib(bytes: u64) -> f64 {
    bytes as f64 / (1024.0 * 1024.0)
}

fn speed_line(progressed: &Progressed, seconds: f64) -> String {
    let speed = |amount: f64| if seconds > 0.0 { amount / seconds } else { 0.0 };
    let (read, decoded) = (mib(progressed.read), mib(progressed.decoded));
    format!(
        "  verified {read:.2}/{decoded:.2} MiB in {seconds:.2} seconds, speed {:.2}/{:.2} MiB/s \
         ({} errors)",
        speed(read),
        speed(decoded),
        progressed.result.errors + progressed.result.unknown
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_reads_as_upstreams() {
        let progressed = Progressed {
            read: 503_316,
            decoded: 32 << 20,
            result: FileResult {
                errors: 1,
                unknown: 1,
            },
        };
        assert_eq!(
            speed_line(&progressed, 0.05),
            "  verified 0.48/32.00 MiB in 0.05 seconds, speed 9.60/640.00 MiB/s (2 errors)"
        );
        assert!(
            speed_line(&Progressed::default(), 0.0).ends_with("speed 0.00/0.00 MiB/s (0 errors)")
        );
    }

    #[test]
    fn a_sound_chunk_in_the_wrong_place_is_an_error() {
        let facts = Facts {
            encrypted: false,
            plain_size: Some(10),
            encoded_size: 22,
        };
        assert_eq!(mismatch(facts, 10, false), None);
        assert!(mismatch(facts, 11, false).is_some());
        assert!(mismatch(facts, 10, true).is_some());
        let secret = Facts {
            encrypted: true,
            plain_size: None,
            encoded_size: 54,
        };
        assert_eq!(mismatch(secret, 999, true), None);
        assert!(mismatch(secret, 10, false).is_some());
    }
}
