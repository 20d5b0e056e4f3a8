//! Phase 1 of the baseline: each digest of each index is touched, unless it was lately.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use api_types::digest::Digest;
use nix::errno::Errno;
use nix::sys::stat::{UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;

use super::lru::Lru;

const HEADER_LEN: u64 = 4096;
/// Bytes of a read, a multiple of both entry lengths.
const BLOCK: usize = 40 * 32 * 1024;

/// What a mark has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marked {
    /// Index files read.
    pub indexes: u64,
    /// Their entries.
    pub references: u64,
    /// Chunk files touched.
    pub touched: u64,
    /// Digests without a chunk file.
    pub missing: u64,
}

/// Touches a chunk file.
pub trait Touch {
    /// Whether there was one.
    fn touch(&mut self, digest: &Digest) -> Result<bool>;
}

/// Chunk files below `.chunks`: `utimensat`, access time now, relative to the open directory.
#[derive(Debug)]
pub struct TouchFiles {
    chunks: File,
    path: ChunkPath,
}

impl TouchFiles {
    /// Those of the store at `base`.
    pub fn new(base: &Path) -> Result<Self> {
        let path = base.join(".chunks");
        let chunks =
            File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
        Ok(Self {
            chunks,
            path: ChunkPath::default(),
        })
    }
}

impl Touch for TouchFiles {
    fn touch(&mut self, digest: &Digest) -> Result<bool> {
        let touched = utimensat(
            self.chunks.as_fd(),
            self.path.of(digest),
            &TimeSpec::UTIME_NOW,
            &TimeSpec::UTIME_OMIT,
            UtimensatFlags::NoFollowSymlink,
        );
        match touched {
            Ok(()) => Ok(true),
            Err(Errno::ENOENT) => Ok(false),
            Err(errno) => Err(errno).with_context(|| format!("cannot touch chunk {digest}")),
        }
    }
}

/// `hhhh/<64 hex digits>`, formatted in place.
#[derive(Debug)]
pub struct ChunkPath {
    text: [u8; 69],
}

impl Default for ChunkPath {
    fn default() -> Self {
        Self { text: [b'/'; 69] }
    }
}

impl ChunkPath {
    /// The path of that chunk below `.chunks`.
    pub fn of(&mut self, digest: &Digest) -> &Path {
        // The buffer is exactly as long as needed.
        let _ = hex::encode_to_slice(digest.as_bytes(), &mut self.text[5..]);
        self.text.copy_within(5..9, 0);
        Path::new(std::str::from_utf8(&self.text).unwrap_or_default())
    }

    /// The name alone.
    pub fn name_of(&mut self, digest: &Digest) -> &str {
        let _ = hex::encode_to_slice(digest.as_bytes(), &mut self.text[5..]);
        std::str::from_utf8(&self.text[5..]).unwrap_or_default()
    }
}

/// Marks all indexes below `base`, within each group the newest snapshot first.
pub fn mark(base: &Path, touch: &mut dyn Touch, cache_capacity: usize) -> Result<Marked> {
    let mut lru = Lru::new(cache_capacity);
    let mut marked = Marked::default();
    let mut block = vec![0; BLOCK];
    for path in index_files(base)? {
        marked.indexes += 1;
        let file = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
        let entry_len = if path.extension().is_some_and(|e| e == "didx") {
            40
        } else {
            32
        };
        let end = file.metadata()?.len();
        let mut at = HEADER_LEN;
        while at < end {
            let length = usize::try_from(end - at).map_or(BLOCK, |left| left.min(BLOCK));
            ensure!(length % entry_len == 0, "{} is cut short", path.display());
            let read = &mut block[..length];
            file.read_exact_at(read, at)?;
            at += u64::try_from(length)?;
            for entry in read.chunks_exact(entry_len) {
                let Some(bytes) = entry.last_chunk() else {
                    continue;
                };
                let digest = Digest::from_bytes(*bytes);
                marked.references += 1;
                if !lru.touch(&digest) {
                    let found = touch.touch(&digest)?;
                    marked.touched += u64::from(found);
                    marked.missing += u64::from(!found);
                }
            }
        }
    }
    Ok(marked)
}

/// All index files; directories in ascending order, within a group the newest snapshot first.
fn index_files(base: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut pending = vec![base.to_path_buf()];
    while let Some(directory) = pending.pop() {
        let read = std::fs::read_dir(&directory)
            .with_context(|| format!("cannot read {}", directory.display()))?;
        let mut below = Vec::new();
        for entry in read {
            let entry = entry?;
            let path = entry.path();
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            if entry.file_type()?.is_dir() {
                below.push(path);
            } else if path.extension().is_some_and(|e| e == "fidx" || e == "didx") {
                found.push(path);
            }
        }
        // The last one is visited first: the newest snapshot of a group.
        below.sort();
        pending.append(&mut below);
    }
    Ok(found)
}
