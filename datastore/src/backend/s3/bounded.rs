//! GETs of objects whose kind bounds their length.
//!
//! What lies under the key of a chunk or of one of our small objects may have been put there by
//! anybody: it is not read into memory beyond the longest legal object of its kind. A longer one is
//! damage and not trouble: no repetition makes it shorter.
//!
//! | object | a longer one is |
//! |---|---|
//! | chunk, on a read | [`Error::CorruptChunk`] |
//! | chunk, by verify | damaged: set aside or on the bad list |
//! | chunk, where an upload met a 412 | damaged: replaced |
//! | in-use marker | an unreadable marker, so somebody else's |
//! | epoch | unreadable: the local state has to be rebuilt |
//! | metadata file | an error that names it |

use api_types::digest::Digest;
use bytes::Bytes;
use s3_client::{Object, ObjectKey, S3Client};

use crate::error::Result;
use crate::format::blob::MAX_CHUNK_ENCODED;

use super::S3Backend;

/// Longest in-use marker or epoch; ours take some hundred bytes.
const MAX_SMALL: usize = 64 * 1024;
/// Room for a metadata file to grow between its listing and its GET.
const MAX_GROWTH: u64 = 16 << 20;

/// What is said of a chunk object that is too long.
pub(crate) const OVERSIZED: &str = "the object is larger than any chunk";

/// An object, as far as it can be what it should be.
#[derive(Debug)]
pub(crate) enum Bounded<T> {
    /// Proven absent.
    Absent,
    /// Longer than its kind allows.
    Oversized,
    Found(T),
}

impl S3Backend {
    /// GETs a chunk object.
    pub(crate) async fn get_chunk(
        &self,
        client: &S3Client,
        digest: &Digest,
    ) -> Result<Bounded<Bytes>> {
        let limit = usize::try_from(MAX_CHUNK_ENCODED).unwrap_or(usize::MAX);
        let object = get(client, &self.keys.chunk(digest)?, limit).await?;
        Ok(match object {
            Bounded::Absent => Bounded::Absent,
            Bounded::Oversized => Bounded::Oversized,
            Bounded::Found(object) => Bounded::Found(object.body),
        })
    }
}

/// Whether an object of that length can be a chunk.
pub(crate) fn can_be_chunk(size: u64) -> bool {
    size <= MAX_CHUNK_ENCODED
}

/// GETs a small object of ours.
pub(crate) async fn get_small(client: &S3Client, key: &ObjectKey) -> Result<Bounded<Object>> {
    get(client, key, MAX_SMALL).await
}

/// GETs a metadata file that was listed with that length; `None` = proven absent.
///
/// # Errors
/// If it is far longer by now, or the bucket does not answer.
pub(crate) async fn get_listed(
    client: &S3Client,
    key: &ObjectKey,
    listed: u64,
) -> Result<Option<Object>> {
    let limit = usize::try_from(listed.saturating_add(MAX_GROWTH)).unwrap_or(usize::MAX);
    Ok(client.get_object_limited(key, limit).await?)
}

async fn get(client: &S3Client, key: &ObjectKey, limit: usize) -> Result<Bounded<Object>> {
    match client.get_object_limited(key, limit).await {
        Ok(None) => Ok(Bounded::Absent),
        Ok(Some(object)) => Ok(Bounded::Found(object)),
        Err(error) if error.is_too_large() => Ok(Bounded::Oversized),
        Err(error) => Err(error.into()),
    }
}
