//! A request body with the digests that go along with it, computed once for all attempts.

use api_types::s3::ChecksumMode;
use bytes::Bytes;
use openssl::hash::{Hasher, MessageDigest};
use openssl::sha::Sha256;

use crate::env::Env;
use crate::sigv4::{EMPTY_PAYLOAD, UNSIGNED_PAYLOAD};

/// Bodies above this size are hashed off the async threads.
const INLINE: usize = 256 * 1024;
/// Bytes that one digest is fed with before the next has its turn.
const PIECE: usize = 32 * 1024;

#[derive(Clone, Debug)]
pub(crate) struct Body {
    pub(crate) bytes: Bytes,
    pub(crate) payload_hash: String,
    /// `None` where the system's OpenSSL refuses MD5.
    pub(crate) md5: Option<[u8; 16]>,
    crc32c: Option<u32>,
}

impl Body {
    pub(crate) fn empty(unsigned: bool) -> Self {
        let hash = if unsigned {
            UNSIGNED_PAYLOAD
        } else {
            EMPTY_PAYLOAD
        };
        Self {
            bytes: Bytes::new(),
            payload_hash: hash.to_owned(),
            md5: None,
            crc32c: None,
        }
    }

    pub(crate) async fn new(env: &Env, bytes: Bytes, mode: ChecksumMode, unsigned: bool) -> Self {
        if bytes.len() <= INLINE {
            return Self::compute(bytes, mode, unsigned);
        }
        env.blocking(move || Self::compute(bytes, mode, unsigned))
            .await
    }

    fn compute(bytes: Bytes, mode: ChecksumMode, unsigned: bool) -> Self {
        let mut sha256 = (!unsigned).then(Sha256::new);
        let mut md5 = Hasher::new(MessageDigest::md5()).ok();
        // Piece by piece, so that the second digest finds in the cache what the first has read.
        for piece in bytes.chunks(PIECE) {
            if let Some(sha256) = &mut sha256 {
                sha256.update(piece);
            }
            md5 = md5.and_then(|mut md5| md5.update(piece).is_ok().then_some(md5));
        }
        let payload_hash = match sha256 {
            Some(sha256) => hex::encode(sha256.finish()),
            None => UNSIGNED_PAYLOAD.to_owned(),
        };
        let md5 = md5.and_then(|mut md5| md5.finish().ok());
        Self {
            payload_hash,
            md5: md5.and_then(|md5| <[u8; 16]>::try_from(&*md5).ok()),
            crc32c: (mode == ChecksumMode::Crc32c).then(|| crc32c(&bytes)),
            bytes,
        }
    }

    /// The integrity headers for a body that is not empty.
    pub(crate) fn checksum_headers(
        &self,
        mode: ChecksumMode,
    ) -> Result<Vec<(&'static str, String)>, &'static str> {
        if self.bytes.is_empty() {
            return Ok(Vec::new());
        }
        match (mode, self.md5, self.crc32c) {
            (ChecksumMode::Crc32c, _, Some(crc)) => Ok(vec![
                ("x-amz-sdk-checksum-algorithm", "CRC32C".to_owned()),
                (
                    "x-amz-checksum-crc32c",
                    openssl::base64::encode_block(&crc.to_be_bytes()),
                ),
            ]),
            (ChecksumMode::ContentMd5, Some(md5), _) => {
                Ok(vec![("content-md5", openssl::base64::encode_block(&md5))])
            }
            (ChecksumMode::ContentMd5, None, _) => Err(
                "md5 is not available on this system; set checksum-mode=crc32c or none in the endpoint",
            ),
            _ => Ok(Vec::new()),
        }
    }
}

/// The MD5 of `data`, unless the system forbids it.
pub(crate) fn md5(data: &[u8]) -> Option<[u8; 16]> {
    let digest = openssl::hash::hash(openssl::hash::MessageDigest::md5(), data).ok()?;
    <[u8; 16]>::try_from(&*digest).ok()
}

const CRC32C: [u32; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    let mut seed = 0_u32;
    while index < 256 {
        let mut value = seed;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 {
                value >> 1 ^ 0x82f6_3b78
            } else {
                value >> 1
            };
            bit += 1;
        }
        table[index] = value;
        index += 1;
        seed += 1;
    }
    table
};

/// CRC-32C (Castagnoli), the checksum S3 takes in `x-amz-checksum-crc32c`.
fn crc32c(data: &[u8]) -> u32 {
    !data.iter().fold(!0, |crc: u32, &byte| {
        let [low, ..] = crc.to_le_bytes();
        CRC32C[usize::from(low ^ byte)] ^ crc >> 8
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc32c_check_value() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(b""), 0);
    }

    #[test]
    fn digests_of_a_body_of_many_pieces() {
        let bytes: Vec<u8> = (0..PIECE * 2 + 5)
            .map(|i| u8::try_from(i % 251).unwrap())
            .collect();
        let body = Body::compute(bytes.clone().into(), ChecksumMode::ContentMd5, false);
        assert_eq!(body.payload_hash, crate::sigv4::sha256_hex(&bytes));
        assert_eq!(body.md5, md5(&bytes));
        assert!(body.md5.is_some());
    }

    #[test]
    fn headers_by_mode() {
        let body = |mode| Body::compute(Bytes::from_static(b"chunk-bytes"), mode, false);
        let md5 = body(ChecksumMode::ContentMd5);
        assert_eq!(
            md5.checksum_headers(ChecksumMode::ContentMd5).unwrap(),
            [("content-md5", "dPO08vCxGYmqDLIaw5nt3Q==".to_owned())]
        );
        assert_eq!(
            md5.payload_hash,
            "e2ef7cc216d5b3483493bba2a8ca1be666afc19f7651e4f728fd2a1fb9d6d35d"
        );
        let crc = body(ChecksumMode::Crc32c);
        assert_eq!(crc.checksum_headers(ChecksumMode::Crc32c).unwrap().len(), 2);
        assert!(md5.checksum_headers(ChecksumMode::None).unwrap().is_empty());
        assert!(
            Body::empty(false)
                .checksum_headers(ChecksumMode::ContentMd5)
                .unwrap()
                .is_empty()
        );
        assert_eq!(
            Body::compute(Bytes::new(), ChecksumMode::None, true).payload_hash,
            UNSIGNED_PAYLOAD
        );
    }
}
