//! Writing past the page cache.
//!
//! A chunk is written once, and seldom read before the page cache would have dropped it. Through
//! the cache each of its bytes costs a page to be found and a copy into it, on a machine whose
//! memory is used for other things a good part of what a backup costs at all, and takes the place of
//! something that may be read again. So the pages of a large file go to the device at once, from a
//! buffer that is aligned as devices want it; the last, incomplete page goes through the cache.
//!
//! What a file system cannot write in that way it gets in the usual one. Either way nothing is
//! durable before it is synced.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, PoisonError};

use nix::fcntl::{FcntlArg, OFlag, fcntl};

/// Below that a write to the device costs more than the copy: many small ones are put together by
/// the cache.
const MIN: usize = 1 << 20;
/// Bytes that are written at once.
const PIECE: usize = 1 << 20;
/// What devices and file systems demand of addresses, offsets and lengths.
const ALIGNMENT: usize = 4096;
/// Buffers that are kept for the next writer.
const MAX_KEPT: usize = 8;

static KEPT: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// Writes all of `bytes` at the beginning of an empty file.
pub(super) fn write_all(file: &File, bytes: &[u8]) -> io::Result<()> {
    let pages = bytes.len() - bytes.len() % ALIGNMENT;
    let written = match bytes.get(..pages) {
        Some(whole) if bytes.len() >= MIN && set_direct(file, true).is_ok() => {
            let written = write_pieces(file, whole);
            set_direct(file, false)?;
            written?
        }
        _ => 0,
    };
    let rest = bytes.get(written..).unwrap_or_default();
    file.write_all_at(rest, u64::try_from(written).unwrap_or(u64::MAX))
}

/// Writes whole pages; returns how many bytes went that way.
fn write_pieces(file: &File, pages: &[u8]) -> io::Result<usize> {
    let mut buffer = take_buffer();
    let start = buffer.as_ptr().align_offset(ALIGNMENT);
    let mut written = 0;
    let mut result = Ok(());
    for piece in pages.chunks(PIECE) {
        let Some(aligned) = buffer.get_mut(start..start.saturating_add(piece.len())) else {
            break;
        };
        aligned.copy_from_slice(piece);
        let offset = u64::try_from(written).unwrap_or(u64::MAX);
        match file.write_all_at(aligned, offset) {
            Ok(()) => written += piece.len(),
            // Not by this file system, or not from here on.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => break,
            Err(error) => {
                result = Err(error);
                break;
            }
        }
    }
    keep_buffer(buffer);
    result.map(|()| written)
}

fn set_direct(file: &File, direct: bool) -> io::Result<()> {
    let mut flags = OFlag::from_bits_retain(fcntl(file, FcntlArg::F_GETFL)?);
    flags.set(OFlag::O_DIRECT, direct);
    fcntl(file, FcntlArg::F_SETFL(flags))?;
    Ok(())
}

fn take_buffer() -> Vec<u8> {
    let kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner).pop();
    kept.unwrap_or_else(|| vec![0; PIECE + ALIGNMENT])
}

fn keep_buffer(buffer: Vec<u8>) {
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    if kept.len() < MAX_KEPT {
        kept.push(buffer);
    }
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::path::Path;

    use super::*;

    fn check(dir: &Path) {
        for length in [
            0,
            1,
            MIN - 1,
            MIN,
            MIN + 1,
            PIECE + ALIGNMENT,
            2 * PIECE + ALIGNMENT + 1,
            4 * PIECE + 12,
        ] {
            let bytes: Vec<u8> = (0..=250_u8).cycle().take(length).collect();
            let path = dir.join(length.to_string());
            let mut options = OpenOptions::new();
            let file = options.read(true).write(true).create_new(true).open(&path);
            let file = file.unwrap();
            write_all(&file, &bytes).unwrap();
            let flags = OFlag::from_bits_retain(fcntl(&file, FcntlArg::F_GETFL).unwrap());
            assert!(!flags.contains(OFlag::O_DIRECT), "the flag stays");
            assert!(std::fs::read(&path).unwrap() == bytes, "{length}");
        }
    }

    /// On whatever file systems there are: a disk as a rule, and memory.
    #[test]
    fn what_is_written_is_read_back() {
        let here = tempfile::tempdir().unwrap();
        check(here.path());
        let memory = Path::new("/dev/shm");
        if memory.is_dir() {
            check(tempfile::tempdir_in(memory).unwrap().path());
        }
    }
}
