//! Processor time: of this process, and what the bytes of an upload cost at least.

use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use openssl::hash::{Hasher, MessageDigest};
use openssl::symm::{Cipher, Crypter, Mode};

/// Bytes in a full TLS record.
const RECORD: usize = 16 << 10;

/// What this process has used, in all its threads.
pub fn used() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let duration = |time: TimeVal| -> Result<Duration> {
        let micros = u64::try_from(time.tv_sec())? * 1_000_000 + u64::try_from(time.tv_usec())?;
        Ok(Duration::from_micros(micros))
    };
    Ok(duration(usage.user_time())? + duration(usage.system_time())?)
}

/// What must be done to each byte of an upload, whoever does it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Demanded {
    /// CRC-32 of the blob's payload: the server sets it.
    crc: Duration,
    /// SHA-256 of the plain data: the server does not believe the digest.
    digest: Duration,
    /// SHA-256 of the object: the signature covers it.
    signature: Duration,
    /// MD5 of the object: `Content-MD5`, and what the ETag is compared with.
    md5: Duration,
    /// AES-256-GCM in records of 16 KiB: TLS.
    tls: Duration,
}

impl Demanded {
    /// All of it.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.crc + self.digest + self.signature + self.md5 + self.tls
    }

    /// Each part, `scale` times.
    #[must_use]
    pub fn describe(&self, scale: f64) -> Vec<String> {
        let parts = [
            ("CRC-32", self.crc),
            ("SHA-256 of the plain data", self.digest),
            ("SHA-256 of the object", self.signature),
            ("MD5", self.md5),
            ("AES-256-GCM", self.tls),
        ];
        let line = |(name, time): &(&str, Duration)| {
            format!("demanded: {name} {:.2} s/GiB", time.as_secs_f64() * scale)
        };
        parts.iter().map(line).collect()
    }
}

/// Measures that over these objects, on this thread.
pub fn demanded<'a>(objects: impl Iterator<Item = &'a Bytes>) -> Result<Demanded> {
    let mut total = Demanded::default();
    for object in objects {
        let plain = object.slice(12..);
        timed(&mut total.crc, || {
            std::hint::black_box(crc32fast::hash(&plain));
            Ok(())
        })?;
        timed(&mut total.digest, || {
            std::hint::black_box(openssl::sha::sha256(&plain));
            Ok(())
        })?;
        timed(&mut total.signature, || {
            std::hint::black_box(openssl::sha::sha256(object));
            Ok(())
        })?;
        timed(&mut total.md5, || {
            let mut md5 = Hasher::new(MessageDigest::md5())?;
            md5.update(object)?;
            std::hint::black_box(md5.finish()?);
            Ok(())
        })?;
        timed(&mut total.tls, || encrypt_records(object))?;
    }
    Ok(total)
}

/// AES-256-GCM over the bytes, in records as TLS has them.
pub fn encrypt_records(bytes: &[u8]) -> Result<()> {
    let (key, nonce) = ([7; 32], [9; 12]);
    let mut record = vec![0; RECORD + 16];
    let mut crypter = Crypter::new(Cipher::aes_256_gcm(), Mode::Encrypt, &key, Some(&nonce))?;
    for piece in bytes.chunks(RECORD) {
        std::hint::black_box(crypter.update(piece, &mut record)?);
    }
    Ok(())
}

/// Adds what `work` uses of the processor.
pub fn timed<T>(total: &mut Duration, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let before = used()?;
    let done = work()?;
    *total += used()? - before;
    Ok(done)
}
