//! A chunk object that was there before us: good, or to be replaced (`s3-backend.md` §5)?
//!
//! A 412 is a claim, not a proof: the object may be damaged, or the store may answer it wrongly
//! (H7). Same length and, where the ETag is an MD5, same content is believed; anything else is
//! fetched and checked.

use api_types::digest::Digest;
use s3_client::{ObjectHead, PutMode, PutOutcome, S3Client};

use crate::error::{Error, Result};
use crate::format::blob::DataBlob;

use super::S3Backend;
use super::bounded::{Bounded, can_be_chunk};

/// Rounds of "already exists" and "gone again" before an upload gives up.
const MAX_ROUNDS: usize = 4;

/// What the rules for two encodings of one digest look at.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BlobKind {
    /// Length of the encoded blob.
    pub encoded_size: u64,
    /// Encrypted?
    pub encrypted: bool,
    /// Compressed?
    pub compressed: bool,
}

impl BlobKind {
    /// The kind of `blob`.
    #[must_use]
    pub fn of(blob: &DataBlob) -> Self {
        Self {
            encoded_size: blob.raw_size(),
            encrypted: blob.is_encrypted(),
            compressed: blob.is_compressed(),
        }
    }
}

/// What to do with a new encoding of a stored digest (`datastore-layout.md` §6).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Clash {
    /// Keep the stored one.
    KeepStored,
    /// The new one is smaller and may replace it.
    Smaller,
    /// One of the two is forged.
    Forged(&'static str),
}

impl Clash {
    /// The rule for two valid blobs of one digest.
    #[must_use]
    pub fn between(stored: BlobKind, new: BlobKind) -> Self {
        if stored.encoded_size == new.encoded_size {
            return Self::KeepStored;
        }
        match (new.encrypted, stored.encrypted) {
            (true, false) => Self::Forged("an encrypted chunk must not replace a plain one"),
            (true, true) if !stored.compressed && !new.compressed => {
                Self::Forged("two uncompressed encrypted chunks of one digest differ in size")
            }
            (true, true) => Self::KeepStored,
            (false, _) if new.encoded_size < stored.encoded_size => Self::Smaller,
            (false, _) => Self::KeepStored,
        }
    }

    /// An error if one of the two blobs must be forged.
    ///
    /// # Errors
    /// [`Error::Refused`], naming the digest and the reason.
    pub fn refuse_forgery(self, digest: &Digest) -> Result<()> {
        match self {
            Self::Forged(reason) => Err(Error::Refused(format!(
                "refusing chunk {digest}: {reason}; the client's data or its key is not to be trusted"
            ))),
            Self::KeepStored | Self::Smaller => Ok(()),
        }
    }
}

enum Verdict {
    Keep,
    Replace { damaged: bool },
    Gone,
}

impl S3Backend {
    /// Puts a chunk object so that afterwards a good object is proven to be there.
    pub(crate) async fn put_validated(
        &self,
        client: &S3Client,
        digest: Digest,
        blob: &DataBlob,
        mut mode: PutMode,
    ) -> Result<()> {
        let key = self.keys.chunk(&digest)?;
        for _ in 0..MAX_ROUNDS {
            match client.put_object(&key, blob.raw().clone(), mode).await? {
                PutOutcome::Created { .. } | PutOutcome::Replaced { .. } => return Ok(()),
                PutOutcome::AlreadyExists => {
                    match self.judge_existing(client, digest, blob).await? {
                        Verdict::Keep => return Ok(()),
                        Verdict::Gone => {}
                        Verdict::Replace { damaged } => {
                            mode = PutMode::Replace;
                            if damaged {
                                tracing::warn!(%key, "replacing a damaged chunk object");
                                self.count_healed();
                            }
                        }
                    }
                }
            }
        }
        Err(Error::Refused(format!(
            "unable to upload chunk {digest}: the store keeps answering that {key} exists and then \
             that it does not; check that no other server writes to this bucket"
        )))
    }

    async fn judge_existing(
        &self,
        client: &S3Client,
        digest: Digest,
        blob: &DataBlob,
    ) -> Result<Verdict> {
        let key = self.keys.chunk(&digest)?;
        let Some(head) = client.head_object(&key).await? else {
            return Ok(Verdict::Gone);
        };
        if looks_like(&head, blob) {
            return Ok(Verdict::Keep);
        }
        if !can_be_chunk(head.size) {
            return Ok(Verdict::Replace { damaged: true });
        }
        let body = match self.get_chunk(client, &digest).await? {
            Bounded::Found(body) => body,
            Bounded::Absent => return Ok(Verdict::Gone),
            Bounded::Oversized => return Ok(Verdict::Replace { damaged: true }),
        };
        let Ok(stored) = DataBlob::from_bytes(body) else {
            return Ok(Verdict::Replace { damaged: true });
        };
        if stored.verify_unencrypted(&digest, None).is_err() {
            return Ok(Verdict::Replace { damaged: true });
        }
        let clash = Clash::between(BlobKind::of(&stored), BlobKind::of(blob));
        clash.refuse_forgery(&digest)?;
        Ok(match clash {
            Clash::Smaller => Verdict::Replace { damaged: false },
            Clash::KeepStored | Clash::Forged(_) => Verdict::Keep,
        })
    }
}

/// Same length, and same MD5 where the ETag is one.
fn looks_like(head: &ObjectHead, blob: &DataBlob) -> bool {
    let same_size = head.size == blob.raw_size();
    let same_content = head
        .etag
        .as_ref()
        .and_then(s3_client::ETag::md5)
        .is_none_or(|md5| md5 == md5_of(blob));
    same_size && same_content
}

fn md5_of(blob: &DataBlob) -> [u8; 16] {
    let mut md5 = [0; 16];
    if let Ok(digest) = openssl::hash::hash(openssl::hash::MessageDigest::md5(), blob.raw())
        && digest.len() == md5.len()
    {
        md5.copy_from_slice(&digest);
    }
    md5
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(encoded_size: u64, encrypted: bool, compressed: bool) -> BlobKind {
        BlobKind {
            encoded_size,
            encrypted,
            compressed,
        }
    }

    #[test]
    fn the_table_of_rules() {
        let plain = |size| kind(size, false, true);
        assert_eq!(Clash::between(plain(10), plain(10)), Clash::KeepStored);
        assert_eq!(Clash::between(plain(10), plain(9)), Clash::Smaller);
        assert_eq!(Clash::between(plain(9), plain(10)), Clash::KeepStored);
        let encrypted = |size, compressed| kind(size, true, compressed);
        assert!(matches!(
            Clash::between(plain(10), encrypted(9, true)),
            Clash::Forged(_)
        ));
        let forged = Clash::between(encrypted(10, false), encrypted(9, false));
        assert!(matches!(forged, Clash::Forged(_)));
        assert_eq!(
            Clash::between(encrypted(10, true), encrypted(9, false)),
            Clash::KeepStored
        );
        assert_eq!(
            Clash::between(encrypted(10, false), encrypted(9, true)),
            Clash::KeepStored
        );
    }
}
