//! What each step of a transfer costs by itself: the same chunks, one step, one thread.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use datastore::format::{DataBlob, FIXED_CHUNK_SIZE};
use openssl::hash::{MessageDigest, hash};
use openssl::sha::sha256;

use super::cpu::{encrypt_records, timed};
use super::load::Load;

/// Chunks that are measured.
const SAMPLE: usize = 48;

/// A step, and the processor seconds that it costs for a GiB of plain data.
pub type Step = (&'static str, f64);

/// The steps.
#[derive(Clone, Copy, Debug)]
pub struct Steps {
    /// AES-256-GCM in records.
    pub tls: f64,
    /// SHA-256 of the plain data.
    pub sha256: f64,
    /// CRC-32 of the blob.
    pub crc: f64,
    /// Decompression.
    pub zstd: f64,
    /// Writing to files.
    pub write: f64,
    /// Reading from files that are in memory.
    pub read: f64,
    /// SHA-256 and MD5 of an uploaded object.
    pub object: f64,
}

impl Steps {
    /// Measures them with chunks of `load` and files in `dir`.
    pub fn measure(load: &Load, dir: &Path) -> Result<Self> {
        let count = SAMPLE.min(load.count());
        let per_gib = f64::from(1 << 30) / (count as u64 * FIXED_CHUNK_SIZE) as f64;
        let mut spent = [Duration::ZERO; 7];
        let [tls, digest, crc, zstd, write, read, object] = &mut spent;
        for number in 0..count {
            let blob = DataBlob::from_bytes(load.chunk(number)?.encoded)?;
            let path = dir.join("step");
            timed(tls, || encrypt_records(blob.raw()))?;
            timed(crc, || Ok(blob.verify_crc()?))?;
            let plain = timed(zstd, || Ok(blob.plain(None, FIXED_CHUNK_SIZE)?))?;
            timed(digest, || Ok(std::hint::black_box(sha256(&plain))))?;
            timed(object, || {
                std::hint::black_box(sha256(blob.raw()));
                Ok(hash(MessageDigest::md5(), blob.raw())?)
            })?;
            timed(write, || Ok(std::fs::write(&path, blob.raw())?))?;
            timed(read, || Ok(std::fs::read(&path)?))?;
            std::fs::remove_file(&path)?;
        }
        let [tls, sha256, crc, zstd, write, read, object] =
            spent.map(|spent| spent.as_secs_f64() * per_gib);
        Ok(Self {
            tls,
            sha256,
            crc,
            zstd,
            write,
            read,
            object,
        })
    }
}

/// The shares of these steps in a processor time per GiB, in words.
#[must_use]
pub fn shares(steps: &[Step], total: f64) -> String {
    let mut texts = Vec::new();
    let mut rest = total;
    for (name, seconds) in steps {
        rest -= seconds;
        texts.push(format!("{name} {:.0} %", 100.0 * seconds / total));
    }
    let rest = 100.0 * rest.max(0.0) / total;
    texts.push(format!("sockets, HTTP/2, memory and the rest {rest:.0} %"));
    texts.join(", ")
}
