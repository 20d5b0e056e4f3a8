//! A chunk object that was there before us: good, or to be replaced (`s3-backend.md` §5)?
//!
//! A 412 is a claim, not a proof: the object may be damaged, or the store may answer it wrongly
//! (H7). Same length and, where the ETag is an MD5, same content is believed; anything else is
//! fetched and checked.
//!
//! Nor is presence a proof to who brings a plain chunk: the digest of an encrypted one is taken at
//! its word, so one that lies under the digest of other bytes is there to spoil their backups. What
//! kind an object is a marker may say; else its first bytes do, once (ADR 16).

use api_types::digest::Digest;
use s3_client::{ObjectHead, PutMode, PutOutcome, S3Client};

use crate::error::{Error, Result};
use crate::format::{self, blob::DataBlob};

use super::S3Backend;
use super::bounded::{Bounded, can_be_chunk};

/// First bytes that tell the kind of a blob.
const MAGIC_LEN: u64 = 8;
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
    /// The kind of a stored payload of that length.
    #[must_use]
    pub fn stored(kind: format::BlobKind, encoded_size: u64) -> Self {
        Self {
            encoded_size,
            encrypted: kind.is_encrypted(),
            compressed: kind.is_compressed(),
        }
    }

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
    /// The new one replaces it: it is smaller, or plain where the stored one cannot be true.
    Replace,
    /// One of the two is forged.
    Forged(&'static str),
}

impl Clash {
    /// The rule for two valid blobs of one digest.
    #[must_use]
    pub fn between(stored: BlobKind, new: BlobKind) -> Self {
        if stored.encrypted && !new.encrypted {
            // ◆ The digest of the new one was compared with its bytes.
            return Self::Replace;
        }
        if stored.encoded_size == new.encoded_size {
            return Self::KeepStored;
        }
        match (new.encrypted, stored.encrypted) {
            (true, false) => Self::Forged("an encrypted chunk must not replace a plain one"),
            (true, true) if !stored.compressed && !new.compressed => {
                Self::Forged("two uncompressed encrypted chunks of one digest differ in size")
            }
            (true, true) => Self::KeepStored,
            (false, _) if new.encoded_size < stored.encoded_size => Self::Replace,
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
            Self::KeepStored | Self::Replace => Ok(()),
        }
    }
}

/// What the first bytes of an object say.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Stored {
    /// A plain chunk, which was compared with its digest before it was stored.
    Plain,
    /// An encrypted one, or none.
    Other,
    /// Proven absent.
    Absent,
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
            let answer = client.put_object(&key, blob.raw().clone(), mode).await?;
            match answer.outcome {
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

    /// Asks for the first bytes of a chunk object.
    pub(super) async fn look_at_kind(&self, client: &S3Client, digest: &Digest) -> Result<Stored> {
        let key = self.keys.chunk(digest)?;
        let object = match client.get_object_range(&key, 0..MAGIC_LEN).await {
            Ok(object) => object,
            // An empty object has no first byte, and no chunk is longer than any may be.
            Err(error) if error.is_out_of_range() || error.is_too_large() => {
                return Ok(Stored::Other);
            }
            Err(error) => return Err(error.into()),
        };
        let Some(object) = object else {
            return Ok(Stored::Absent);
        };
        let kind = format::BlobKind::from_magic(&object.body);
        Ok(match kind {
            Some(kind) if !kind.is_encrypted() => Stored::Plain,
            _ => Stored::Other,
        })
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
        if !blob.is_encrypted() && is_as_long(&head, blob) && !has_md5(&head) {
            // Nothing but the length has been compared, which can be forged as well.
            return Ok(match self.look_at_kind(client, &digest).await? {
                Stored::Plain => Verdict::Keep,
                Stored::Other => Verdict::Replace { damaged: true },
                Stored::Absent => Verdict::Gone,
            });
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
            Clash::Replace => Verdict::Replace { damaged: false },
            Clash::KeepStored | Clash::Forged(_) => Verdict::Keep,
        })
    }
}

/// Same length and same MD5; of an encrypted chunk nothing more can be told than the length where
/// the ETag is no MD5.
fn looks_like(head: &ObjectHead, blob: &DataBlob) -> bool {
    let same_content = match head.etag.as_ref().and_then(s3_client::ETag::md5) {
        Some(md5) => md5 == md5_of(blob),
        None => blob.is_encrypted(),
    };
    is_as_long(head, blob) && same_content
}

fn is_as_long(head: &ObjectHead, blob: &DataBlob) -> bool {
    head.size == blob.raw_size()
}

fn has_md5(head: &ObjectHead) -> bool {
    head.etag.as_ref().is_some_and(|etag| etag.md5().is_some())
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
        assert_eq!(Clash::between(plain(10), plain(9)), Clash::Replace);
        assert_eq!(Clash::between(plain(9), plain(10)), Clash::KeepStored);
        let encrypted = |size, compressed| kind(size, true, compressed);
        for size in [9, 10, 11] {
            let clash = Clash::between(encrypted(10, true), plain(size));
            assert_eq!(clash, Clash::Replace);
        }
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
