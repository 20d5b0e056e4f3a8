//! A sorted run of digests in a temporary file without a name: it goes when it is closed, crash or
//! not. Blocks carry checksums in memory, because a digest that reads back wrong is a live chunk
//! that would be deleted.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use api_types::digest::{DIGEST_LEN, Digest};

use super::sort::compare;
use crate::disk::{self, DiskFile};
use crate::gc::error::{GcError, GcResult, OnPath};

/// Digests of a block: 64 KiB, the unit of reading.
const BLOCK: usize = 2048;

/// A finished run: strictly ascending digests.
#[derive(Clone, Debug)]
pub(super) struct RunFile {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    file: DiskFile,
    dir: PathBuf,
    count: u64,
    blocks: Vec<BlockMeta>,
}

#[derive(Debug)]
struct BlockMeta {
    first: Digest,
    count: usize,
    crc: u32,
}

impl RunFile {
    pub(super) fn count(&self) -> u64 {
        self.inner.count
    }

    /// The digests from `start` (inclusive) to `end` (exclusive).
    pub(super) fn range(&self, start: &Digest, end: Option<Digest>) -> RunReader {
        RunReader {
            run: self.clone(),
            next_block: self.block_of(start),
            buffer: Vec::new(),
            position: 0,
            start: Some(*start),
            end,
        }
    }

    pub(super) fn contains(&self, digest: &Digest) -> GcResult<bool> {
        let mut buffer = Vec::new();
        if !self.load(self.block_of(digest), &mut buffer)? {
            return Ok(false);
        }
        Ok(buffer
            .binary_search_by(|probe| compare(probe, digest))
            .is_ok())
    }

    /// The only block that can hold `digest`.
    fn block_of(&self, digest: &Digest) -> usize {
        let behind = self
            .inner
            .blocks
            .partition_point(|block| block.first <= *digest);
        behind.saturating_sub(1)
    }

    /// Reads a block; `false` behind the last one.
    fn load(&self, number: usize, buffer: &mut Vec<Digest>) -> GcResult<bool> {
        buffer.clear();
        let Some(meta) = self.inner.blocks.get(number) else {
            return Ok(false);
        };
        let first_digest = u64::try_from(number * BLOCK).unwrap_or(u64::MAX);
        let offset = first_digest.saturating_mul(DIGEST_LEN as u64);
        let mut bytes = vec![0; meta.count * DIGEST_LEN];
        self.inner
            .file
            .read_exact_at(&mut bytes, offset)
            .on("read temporary file of marked chunks in", &self.inner.dir)?;
        if crc32fast::hash(&bytes) != meta.crc {
            return Err(GcError::DamagedSpill {
                dir: self.inner.dir.clone(),
                at: first_digest,
            });
        }
        let (digests, _) = bytes.as_chunks::<DIGEST_LEN>();
        buffer.extend(digests.iter().map(|bytes| Digest::from_bytes(*bytes)));
        Ok(true)
    }
}

/// Streams a part of a run, a block at a time.
#[derive(Debug)]
pub(super) struct RunReader {
    run: RunFile,
    next_block: usize,
    buffer: Vec<Digest>,
    position: usize,
    /// Digests below it are skipped in the first block.
    start: Option<Digest>,
    end: Option<Digest>,
}

impl RunReader {
    pub(super) fn next_digest(&mut self) -> GcResult<Option<Digest>> {
        while self.position >= self.buffer.len() {
            if !self.run.load(self.next_block, &mut self.buffer)? {
                return Ok(None);
            }
            self.next_block += 1;
            let start = self.start.take();
            self.position = start.map_or(0, |start| {
                self.buffer.partition_point(|digest| *digest < start)
            });
        }
        let digest = self.buffer[self.position];
        if self.end.is_some_and(|end| digest >= end) {
            return Ok(None);
        }
        self.position += 1;
        Ok(Some(digest))
    }
}

/// Writes a run. Digests come in strictly ascending order.
pub(super) struct RunWriter {
    file: DiskFile,
    dir: PathBuf,
    count: u64,
    blocks: Vec<BlockMeta>,
    buffer: Vec<u8>,
    first: Option<Digest>,
}

impl RunWriter {
    pub(super) fn create(dir: &Path) -> GcResult<Self> {
        Ok(Self {
            file: nameless_file(dir)?,
            dir: dir.to_path_buf(),
            count: 0,
            blocks: Vec::new(),
            buffer: Vec::with_capacity(BLOCK * DIGEST_LEN),
            first: None,
        })
    }

    pub(super) fn push(&mut self, digest: &Digest) -> GcResult<()> {
        self.first.get_or_insert(*digest);
        self.buffer.extend_from_slice(digest.as_bytes());
        self.count += 1;
        if self.buffer.len() == BLOCK * DIGEST_LEN {
            self.flush()?;
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> GcResult<RunFile> {
        self.flush()?;
        let Self {
            file,
            dir,
            count,
            blocks,
            ..
        } = self;
        Ok(RunFile {
            inner: Arc::new(Inner {
                file,
                dir,
                count,
                blocks,
            }),
        })
    }

    fn flush(&mut self) -> GcResult<()> {
        let Some(first) = self.first.take() else {
            return Ok(());
        };
        use std::io::Write as _;
        self.file
            .write_all(&self.buffer)
            .on("write temporary file of marked chunks in", &self.dir)?;
        let count = self.buffer.len() / DIGEST_LEN;
        self.blocks.push(BlockMeta {
            first,
            count,
            crc: crc32fast::hash(&self.buffer),
        });
        self.buffer.clear();
        Ok(())
    }
}

/// Merges runs into one, each digest once.
pub(super) fn merge(runs: &[RunFile], dir: &Path) -> GcResult<RunFile> {
    let smallest = Digest::from_bytes([0; DIGEST_LEN]);
    let mut readers: Vec<RunReader> = runs.iter().map(|run| run.range(&smallest, None)).collect();
    let mut heads: Vec<Option<Digest>> = readers
        .iter_mut()
        .map(RunReader::next_digest)
        .collect::<GcResult<_>>()?;
    let mut writer = RunWriter::create(dir)?;
    // A level has few runs, so that looking at all heads costs less than keeping a heap.
    while let Some(lowest) = heads.iter().flatten().min().copied() {
        writer.push(&lowest)?;
        for (head, reader) in heads.iter_mut().zip(&mut readers) {
            if *head == Some(lowest) {
                *head = reader.next_digest()?;
            }
        }
    }
    writer.finish()
}

fn nameless_file(dir: &Path) -> GcResult<DiskFile> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    disk::create_dir_all(dir, 0o755).on("create directory", dir)?;
    loop {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let path = dir.join(format!("marked-{}-{number}.tmp", std::process::id()));
        match DiskFile::create_new(&path, 0o600) {
            Ok(file) => {
                disk::remove_file(&path).on("unlink temporary file", &path)?;
                return Ok(file);
            }
            // Left by a crash between creation and removal, under a process id used again.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error).on("create temporary file", &path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(number: u32) -> Digest {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        Digest::from_bytes(bytes)
    }

    fn run(dir: &Path, numbers: impl Iterator<Item = u32>) -> RunFile {
        let mut writer = RunWriter::create(dir).unwrap();
        for number in numbers {
            writer.push(&digest(number)).unwrap();
        }
        writer.finish().unwrap()
    }

    fn all(mut reader: RunReader) -> Vec<Digest> {
        std::iter::from_fn(|| reader.next_digest().unwrap()).collect()
    }

    #[test]
    fn ranges_start_and_end_anywhere() {
        let dir = tempfile::tempdir().unwrap();
        let run = run(dir.path(), (0..10_000).map(|n| 2 * n));
        assert_eq!(run.count(), 10_000);
        for (start, end) in [
            (0, 20_000),
            (1, 4097),
            (4096, 4097),
            (8191, 8192),
            (30_000, 40_000),
        ] {
            let read = all(run.range(&digest(start), Some(digest(end))));
            let expected: Vec<Digest> = (start..end)
                .filter(|n| n % 2 == 0 && *n < 20_000)
                .map(digest)
                .collect();
            assert_eq!(read, expected, "{start}..{end}");
        }
        for (number, there) in [(0, true), (1, false), (19_998, true), (20_000, false)] {
            assert_eq!(run.contains(&digest(number)).unwrap(), there, "{number}");
        }
        assert_eq!(
            std::fs::read_dir(dir.path()).unwrap().count(),
            0,
            "runs have no name"
        );
    }

    #[test]
    fn an_empty_run_is_fine() {
        let dir = tempfile::tempdir().unwrap();
        let run = run(dir.path(), std::iter::empty());
        assert!(!run.contains(&digest(1)).unwrap());
        assert_eq!(
            all(merge(&[run], dir.path()).unwrap().range(&digest(0), None)),
            []
        );
    }

    #[test]
    fn a_flipped_bit_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let run = run(dir.path(), 0..5000);
        let mut byte = [0];
        run.inner
            .file
            .read_exact_at(&mut byte, 4000 * 32 + 3)
            .unwrap();
        run.inner
            .file
            .write_all_at(&[byte[0] ^ 1], 4000 * 32 + 3)
            .unwrap();
        assert!(run.contains(&digest(10)).unwrap());
        let error = run.contains(&digest(4001)).unwrap_err();
        assert!(
            matches!(error, GcError::DamagedSpill { at: 2048, .. }),
            "{error}"
        );
        assert!(merge(&[run], dir.path()).is_err());
    }
}
