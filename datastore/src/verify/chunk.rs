//! One chunk: sound, damaged, missing, or not to be had.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use api_types::digest::Digest;
use bytes::Bytes;

use crate::backend::s3::delete::is_fatal;
use crate::digests::Slot;
use crate::error::{Error, Result};
use crate::format::FormatError;
use crate::format::blob::{DataBlob, MAX_CHUNK_PLAIN};

use super::run::Run;

/// So many chunks in a row that could not be had end the run: it is not about the chunks then.
const MAX_TROUBLE: u32 = 16;

/// What is known of a sound chunk.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Facts {
    pub(super) encrypted: bool,
    /// Length of its data; unknown if it is encrypted.
    pub(super) plain_size: Option<u64>,
    /// Length as stored.
    pub(super) encoded_size: u64,
}

/// What a look at a chunk found.
#[derive(Debug)]
pub(super) enum Verdict {
    Sound(Facts),
    /// There, and of a plausible size (quick runs).
    Plausible,
    Corrupt(String),
    Missing,
    /// Nothing is proven.
    Trouble(Error),
}

/// A verdict to remember for the rest of the run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Known {
    Sound(Facts),
    Plausible,
    Corrupt,
    Missing,
}

/// Checks a chunk as it is stored. An error other than of the cryptographic library means damage.
pub(super) fn examine(raw: Bytes, digest: &Digest) -> Result<Facts, FormatError> {
    let named = |error: FormatError| error.with_object(format!("chunk {digest}"));
    let blob = DataBlob::from_bytes(raw).map_err(named)?;
    blob.verify_crc().map_err(named)?;
    let mut plain_size = None;
    if !blob.is_encrypted() {
        let plain = blob.plain(None, MAX_CHUNK_PLAIN).map_err(named)?;
        let found = Digest::from_bytes(openssl::sha::sha256(&plain));
        if found != *digest {
            let why = format!("its data has digest {found}");
            return Err(FormatError::corrupt(format!("chunk {digest}"), why));
        }
        plain_size = u64::try_from(plain.len()).ok();
    }
    Ok(Facts {
        encrypted: blob.is_encrypted(),
        plain_size,
        encoded_size: blob.raw_size(),
    })
}

/// The verdict on bytes that were read whole.
pub(super) fn judge(raw: Bytes, digest: &Digest) -> Verdict {
    match examine(raw, digest) {
        Ok(facts) => Verdict::Sound(facts),
        Err(error @ FormatError::Crypto { .. }) => {
            Verdict::Trouble(Error::format(format!("chunk {digest}"))(error))
        }
        Err(error) => Verdict::Corrupt(error.to_string()),
    }
}

impl Run<'_> {
    /// Looks at a chunk that an index says to be `len` bytes long, and does what is to be done about
    /// damage.
    ///
    /// An error ends the run: the task is aborted, the bucket is somebody else's, or does not
    /// answer any more.
    pub(super) async fn check_chunk(&self, digest: Digest, len: u64) -> Result<Verdict> {
        if self.task.cancel().is_cancelled() {
            return Err(Error::Aborted);
        }
        let looked = match &self.remote {
            Some(remote) => self.check_object(remote, digest, len).await,
            None => self.check_local(digest).await,
        };
        let verdict = match looked {
            Ok(verdict) => verdict,
            Err(error) => Verdict::Trouble(error),
        };
        self.settle(digest, verdict)
    }

    /// Remembers a verdict; gives up when nothing can be had any more.
    fn settle(&self, digest: Digest, verdict: Verdict) -> Result<Verdict> {
        let known = match &verdict {
            Verdict::Sound(facts) => Known::Sound(*facts),
            Verdict::Plausible => Known::Plausible,
            Verdict::Corrupt(_) => Known::Corrupt,
            Verdict::Missing => Known::Missing,
            Verdict::Trouble(error) => {
                let in_a_row = self.trouble.fetch_add(1, Ordering::Relaxed) + 1;
                if ends_run(error) || in_a_row >= MAX_TROUBLE {
                    let Verdict::Trouble(error) = verdict else {
                        return Ok(verdict);
                    };
                    return Err(error);
                }
                return Ok(verdict);
            }
        };
        self.trouble.store(0, Ordering::Relaxed);
        self.remember(digest, known);
        Ok(verdict)
    }

    /// What this run knows of a chunk.
    pub(super) fn known(&self, digest: &Digest) -> Option<Known> {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(digest)
            .copied()
    }

    pub(super) fn remember(&self, digest: Digest, known: Known) {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(digest, known);
    }

    /// Runs `work` on the digest's slot, on the blocking pool.
    pub(super) async fn with_slot<R, F>(&self, digest: Digest, work: F) -> R
    where
        R: Send + 'static,
        F: FnOnce(&mut Slot<'_>) -> R + Send + 'static,
    {
        let table = self.store.table.clone();
        self.store
            .env
            .blocking(move || table.with(&digest, work))
            .await
    }
}

/// Whether an error is about more than the chunk that met it.
fn ends_run(error: &Error) -> bool {
    is_fatal(error) || matches!(error, Error::S3(error) if error.is_transient())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_is_told_from_soundness() {
        let data = b"some data that is some data that is some data".repeat(20);
        let digest = Digest::from_bytes(openssl::sha::sha256(&data));
        for compress in [true, false] {
            let blob = DataBlob::encode_with_iv(&data, None, compress).unwrap();
            let raw = blob.raw().clone();
            let Verdict::Sound(facts) = judge(raw.clone(), &digest) else {
                panic!("sound")
            };
            assert_eq!(facts.plain_size, Some(900));
            assert_eq!(
                (facts.encrypted, facts.encoded_size),
                (false, blob.raw_size())
            );
            for cut in [0, 5, 12, raw.len() - 1] {
                let verdict = judge(raw.slice(..cut), &digest);
                assert!(matches!(verdict, Verdict::Corrupt(_)), "{cut}: {verdict:?}");
            }
            let mut flipped = raw.to_vec();
            flipped[20] ^= 1;
            assert!(matches!(
                judge(flipped.into(), &digest),
                Verdict::Corrupt(_)
            ));
            let other = Digest::from_bytes([7; 32]);
            assert!(matches!(judge(raw, &other), Verdict::Corrupt(_)));
        }
    }
}
