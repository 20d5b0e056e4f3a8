//! The container of every chunk and of every `*.blob` file (formats.md §1).
//!
//! A header (magic, CRC and, when encrypted, IV and tag) and the payload up to the end: raw,
//! compressed, encrypted, or compressed and then encrypted. The CRC covers the payload only, as it
//! is stored. Decoding does not check the CRC; who must check it does so by
//! [`DataBlob::verify_crc`].

use std::borrow::Cow;
use std::io::Read as _;

use api_types::digest::Digest;
use api_types::status::CryptMode;
use bytes::{Bytes, BytesMut};
use openssl::sha::{Sha256, sha256};
use s3_client::env::Env;

use super::FormatError;
use super::crypt::{CryptConfig, IV_LEN, TAG_LEN};

#[cfg(test)]
mod tests;

/// Most plain data in one chunk.
pub const MAX_CHUNK_PLAIN: u64 = 16 << 20;
/// Longest encoded chunk: uncompressed and encrypted.
pub const MAX_CHUNK_ENCODED: u64 = MAX_CHUNK_PLAIN + ENCRYPTED_HEADER_LEN as u64;
/// Most plain data in any blob.
pub const MAX_BLOB_PLAIN: u64 = 128 << 20;
/// Shortest blob: the header of an empty one.
pub const MIN_BLOB_ENCODED: u64 = PLAIN_HEADER_LEN as u64;

const PLAIN_HEADER_LEN: usize = 12;
const ENCRYPTED_HEADER_LEN: usize = PLAIN_HEADER_LEN + IV_LEN + TAG_LEN;
const ZSTD_LEVEL: i32 = 1;
/// Bytes that go through the CRC and the hash while they are in the processor's cache.
const PIECE: usize = 64 << 10;
/// No zstd stream expands further (its densest block is 4 bytes for 128 KiB): a larger promise
/// in a frame header is a lie, not a reason to allocate.
const ZSTD_MAX_RATIO: u64 = 1 << 16;
/// How errors call a blob whose name is not known here.
const OBJECT: &str = "data blob";

/// What the magic number says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlobKind {
    /// Neither compressed nor encrypted.
    Plain,
    /// Compressed.
    PlainZstd,
    /// Encrypted.
    Encrypted,
    /// Compressed, then encrypted.
    EncryptedZstd,
}

impl BlobKind {
    const ALL: [Self; 4] = [
        Self::Plain,
        Self::PlainZstd,
        Self::Encrypted,
        Self::EncryptedZstd,
    ];

    fn new(encrypted: bool, compressed: bool) -> Self {
        match (encrypted, compressed) {
            (false, false) => Self::Plain,
            (false, true) => Self::PlainZstd,
            (true, false) => Self::Encrypted,
            (true, true) => Self::EncryptedZstd,
        }
    }

    /// The first eight bytes of a blob of this kind.
    #[must_use]
    pub fn magic(self) -> [u8; 8] {
        match self {
            Self::Plain => [0x42, 0xab, 0x38, 0x07, 0xbe, 0x83, 0x70, 0xa1],
            Self::PlainZstd => [0x31, 0xb9, 0x58, 0x42, 0x6f, 0xb6, 0xa3, 0x7f],
            Self::Encrypted => [0x7b, 0x67, 0x85, 0xbe, 0x22, 0x2d, 0x4c, 0xf0],
            Self::EncryptedZstd => [0xe6, 0x59, 0x1b, 0xbf, 0x0b, 0xbf, 0xd8, 0x0b],
        }
    }

    /// The kind that starts with these bytes.
    #[must_use]
    pub fn from_magic(magic: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.magic() == magic)
    }

    /// Whether the payload is encrypted.
    #[must_use]
    pub fn is_encrypted(self) -> bool {
        matches!(self, Self::Encrypted | Self::EncryptedZstd)
    }

    /// Whether the data was compressed.
    #[must_use]
    pub fn is_compressed(self) -> bool {
        matches!(self, Self::PlainZstd | Self::EncryptedZstd)
    }

    /// Where the payload starts.
    #[must_use]
    pub fn header_len(self) -> usize {
        if self.is_encrypted() {
            ENCRYPTED_HEADER_LEN
        } else {
            PLAIN_HEADER_LEN
        }
    }
}

/// An encoded blob with a valid header. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct DataBlob {
    raw: Bytes,
    kind: BlobKind,
}

impl std::fmt::Debug for DataBlob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DataBlob")
            .field("kind", &self.kind)
            .field("len", &self.raw.len())
            .finish()
    }
}

impl DataBlob {
    /// Takes encoded bytes; checks the magic and the minimal length, nothing else.
    pub fn from_bytes(raw: Bytes) -> Result<Self, FormatError> {
        let Some(magic) = raw.get(..8).filter(|_| raw.len() >= PLAIN_HEADER_LEN) else {
            return Err(too_short(raw.len(), PLAIN_HEADER_LEN));
        };
        let Some(kind) = BlobKind::from_magic(magic) else {
            let why = format!("unknown magic number {}", hex::encode(magic));
            return Err(FormatError::corrupt(OBJECT, why));
        };
        if raw.len() < kind.header_len() {
            return Err(too_short(raw.len(), kind.header_len()));
        }
        Ok(Self { raw, kind })
    }

    /// Encodes `data`: compressed if asked for and if that is not longer, encrypted if there is a
    /// key. The IV comes from `rng`.
    pub fn encode(
        data: &[u8],
        crypt: Option<&CryptConfig>,
        compress: bool,
        rng: &Env,
    ) -> Result<Self, FormatError> {
        let crypt = crypt.map(|crypt| {
            let mut iv = [0; IV_LEN];
            rng.fill_random(&mut iv);
            (crypt, iv)
        });
        Self::encode_with_iv(data, crypt, compress)
    }

    /// [`DataBlob::encode`] with a given IV, which must never be used twice with one key.
    pub fn encode_with_iv(
        data: &[u8],
        crypt: Option<(&CryptConfig, [u8; IV_LEN])>,
        compress: bool,
    ) -> Result<Self, FormatError> {
        if data.len() as u64 > MAX_BLOB_PLAIN {
            return Err(FormatError::TooLarge {
                object: OBJECT.into(),
                limit: MAX_BLOB_PLAIN,
            });
        }
        let (kind, mut raw) = match crypt {
            None => {
                let mut raw = vec![0; PLAIN_HEADER_LEN + data.len()];
                let compressed = compress
                    .then(|| compress_into(data, &mut raw[PLAIN_HEADER_LEN..]))
                    .flatten();
                match compressed {
                    Some(len) => raw.truncate(PLAIN_HEADER_LEN + len),
                    None => raw[PLAIN_HEADER_LEN..].copy_from_slice(data),
                }
                (BlobKind::new(false, compressed.is_some()), raw)
            }
            Some((crypt, iv)) => {
                let mut buffer = if compress {
                    vec![0; data.len()]
                } else {
                    Vec::new()
                };
                let compressed = compress.then(|| compress_into(data, &mut buffer)).flatten();
                let input = compressed.map_or(data, |len| &buffer[..len]);
                let mut raw = Vec::with_capacity(ENCRYPTED_HEADER_LEN + input.len());
                raw.resize(ENCRYPTED_HEADER_LEN, 0);
                let tag = crypt.encrypt(&iv, input, &mut raw)?;
                raw[PLAIN_HEADER_LEN..PLAIN_HEADER_LEN + IV_LEN].copy_from_slice(&iv);
                raw[PLAIN_HEADER_LEN + IV_LEN..ENCRYPTED_HEADER_LEN].copy_from_slice(&tag);
                (BlobKind::new(true, compressed.is_some()), raw)
            }
        };
        raw[..8].copy_from_slice(&kind.magic());
        let crc = crc32fast::hash(&raw[kind.header_len()..]);
        raw[8..PLAIN_HEADER_LEN].copy_from_slice(&crc.to_le_bytes());
        Ok(Self {
            raw: raw.into(),
            kind,
        })
    }

    /// What the magic number says.
    #[must_use]
    pub fn kind(&self) -> BlobKind {
        self.kind
    }

    /// Whether the payload is encrypted.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.kind.is_encrypted()
    }

    /// Whether the data was compressed.
    #[must_use]
    pub fn is_compressed(&self) -> bool {
        self.kind.is_compressed()
    }

    /// `encrypt` or `none`; a blob as such is never `sign-only`.
    #[must_use]
    pub fn crypt_mode(&self) -> CryptMode {
        if self.is_encrypted() {
            CryptMode::Encrypt
        } else {
            CryptMode::None
        }
    }

    /// The encoded bytes.
    #[must_use]
    pub fn raw(&self) -> &Bytes {
        &self.raw
    }

    /// The encoded bytes.
    #[must_use]
    pub fn into_raw(self) -> Bytes {
        self.raw
    }

    /// Length of the encoded bytes.
    #[must_use]
    pub fn raw_size(&self) -> u64 {
        self.raw.len() as u64
    }

    /// SHA-256 of the encoded bytes: the checksum of a blob file in the manifest.
    #[must_use]
    pub fn raw_csum(&self) -> [u8; 32] {
        sha256(&self.raw)
    }

    /// The CRC as stored.
    #[must_use]
    pub fn crc(&self) -> u32 {
        u32::from_le_bytes(self.header_field(8))
    }

    /// The CRC as it should be.
    #[must_use]
    pub fn compute_crc(&self) -> u32 {
        crc32fast::hash(self.payload())
    }

    /// Makes the stored CRC the right one; copies the data only if it was wrong and shared.
    pub fn set_crc(&mut self) {
        self.put_crc(self.compute_crc());
    }

    /// Takes an uploaded chunk: [`DataBlob::verify_digest`], whose CRC counts for nothing and is
    /// [set](DataBlob::set_crc).
    pub fn accept(
        &mut self,
        expected_digest: &Digest,
        expected_len: u64,
    ) -> Result<(), FormatError> {
        let crc = self.check(expected_digest, Some(expected_len))?;
        self.put_crc(crc);
        Ok(())
    }

    fn put_crc(&mut self, crc: u32) {
        if crc == self.crc() {
            return;
        }
        let mut raw = std::mem::take(&mut self.raw)
            .try_into_mut()
            .unwrap_or_else(|shared| BytesMut::from(shared.as_ref()));
        raw[8..PLAIN_HEADER_LEN].copy_from_slice(&crc.to_le_bytes());
        self.raw = raw.freeze();
    }

    /// Compares the stored CRC with the payload.
    pub fn verify_crc(&self) -> Result<(), FormatError> {
        self.compare_crc(self.compute_crc())
    }

    fn compare_crc(&self, computed: u32) -> Result<(), FormatError> {
        let stored = self.crc();
        if stored == computed {
            return Ok(());
        }
        let why = format!("wrong crc: stored {stored:08x}, computed {computed:08x}");
        Err(FormatError::corrupt(OBJECT, why))
    }

    /// The plain data, of at most `max_plain` bytes. Does not look at the CRC.
    pub fn decode(
        &self,
        crypt: Option<&CryptConfig>,
        max_plain: u64,
    ) -> Result<Vec<u8>, FormatError> {
        self.plain(crypt, max_plain).map(Cow::into_owned)
    }

    /// [`DataBlob::decode`] without a copy where the data is stored as it is.
    pub fn plain(
        &self,
        crypt: Option<&CryptConfig>,
        max_plain: u64,
    ) -> Result<Cow<'_, [u8]>, FormatError> {
        let payload = self.payload();
        if !self.is_compressed() && payload.len() as u64 > max_plain {
            return Err(FormatError::TooLarge {
                object: OBJECT.into(),
                limit: max_plain,
            });
        }
        let payload = if self.is_encrypted() {
            let crypt = crypt.ok_or_else(|| FormatError::KeyMissing {
                object: OBJECT.into(),
            })?;
            let iv = self.header_field(PLAIN_HEADER_LEN);
            let tag = self.header_field(PLAIN_HEADER_LEN + IV_LEN);
            let plain = crypt
                .decrypt(&iv, &tag, payload)
                .map_err(|e| e.with_object(OBJECT))?;
            Cow::Owned(plain)
        } else {
            Cow::Borrowed(payload)
        };
        if self.is_compressed() {
            return decompress(&payload, max_plain).map(Cow::Owned);
        }
        Ok(payload)
    }

    /// Checks what can be checked without a key, CRC included: [`DataBlob::verify_crc`] and
    /// [`DataBlob::verify_digest`].
    pub fn verify_unencrypted(
        &self,
        expected_digest: &Digest,
        expected_len: Option<u64>,
    ) -> Result<(), FormatError> {
        match self.check(expected_digest, expected_len) {
            Ok(crc) => self.compare_crc(crc),
            // A wrong CRC says more: these are not the bytes that were stored.
            Err(error) => self.verify_crc().and(Err(error)),
        }
    }

    /// [`DataBlob::verify_digest`]; gives the CRC as it should be. Data that is stored as it is, is
    /// read once for both.
    fn check(
        &self,
        expected_digest: &Digest,
        expected_len: Option<u64>,
    ) -> Result<u32, FormatError> {
        if self.kind != BlobKind::Plain {
            self.verify_digest(expected_digest, expected_len)?;
            return Ok(self.compute_crc());
        }
        let object = || format!("chunk {expected_digest}");
        let plain = self
            .plain(None, MAX_CHUNK_PLAIN)
            .map_err(|e| e.with_object(object()))?;
        check_len(expected_digest, plain.len(), expected_len)?;
        let (mut crc, mut hash) = (crc32fast::Hasher::new(), Sha256::new());
        for piece in plain.chunks(PIECE) {
            crc.update(piece);
            hash.update(piece);
        }
        check_digest(expected_digest, hash.finish())?;
        Ok(crc.finalize())
    }

    /// Checks length and digest of the plain data of a chunk; an encrypted one passes unseen, since
    /// only its key could tell. Does not look at the CRC: the one of an upload counts for nothing.
    pub fn verify_digest(
        &self,
        expected_digest: &Digest,
        expected_len: Option<u64>,
    ) -> Result<(), FormatError> {
        if self.is_encrypted() {
            return Ok(());
        }
        let object = || format!("chunk {expected_digest}");
        let plain = self
            .plain(None, MAX_CHUNK_PLAIN)
            .map_err(|e| e.with_object(object()))?;
        check_len(expected_digest, plain.len(), expected_len)?;
        check_digest(expected_digest, sha256(&plain))
    }

    fn payload(&self) -> &[u8] {
        &self.raw[self.kind.header_len()..]
    }

    /// A field of the header; `from_bytes` made sure that the header is whole.
    fn header_field<const N: usize>(&self, offset: usize) -> [u8; N] {
        let mut field = [0; N];
        field.copy_from_slice(&self.raw[offset..offset + N]);
        field
    }
}

fn check_len(chunk: &Digest, len: usize, expected: Option<u64>) -> Result<(), FormatError> {
    match expected {
        Some(expected) if expected != len as u64 => {
            let why = format!("its data has {len} bytes instead of {expected}");
            Err(FormatError::corrupt(format!("chunk {chunk}"), why))
        }
        _ => Ok(()),
    }
}

fn check_digest(chunk: &Digest, found: [u8; 32]) -> Result<(), FormatError> {
    let found = Digest::from_bytes(found);
    if found == *chunk {
        return Ok(());
    }
    let why = format!("its data has digest {found}");
    Err(FormatError::corrupt(format!("chunk {chunk}"), why))
}

fn too_short(len: usize, needed: usize) -> FormatError {
    FormatError::corrupt(
        OBJECT,
        format!("{len} bytes are less than its header of {needed}"),
    )
}

/// Compresses into `out`, which is as long as `data`; `None` if that does not fit.
fn compress_into(data: &[u8], out: &mut [u8]) -> Option<usize> {
    if data.is_empty() {
        return None;
    }
    zstd::bulk::compress_to_buffer(data, out, ZSTD_LEVEL).ok()
}

/// Decompresses every frame of `data`; memory stays in proportion to `limit` whatever the frame
/// headers promise.
fn decompress(data: &[u8], limit: u64) -> Result<Vec<u8>, FormatError> {
    let corrupt = |why: &str| FormatError::corrupt(OBJECT, format!("bad zstd data: {why}"));
    if data.is_empty() {
        return Err(corrupt("nothing there"));
    }
    // The usual case, one frame of known size: no window to copy through.
    if let Some(out) = decompress_single_frame(data, limit) {
        return Ok(out);
    }
    let decoder = zstd::stream::read::Decoder::with_buffer(data)
        .map_err(FormatError::io("start decompression of", OBJECT))?;
    let mut out = Vec::new();
    decoder
        .take(limit.saturating_add(1))
        .read_to_end(&mut out)
        .map_err(|error| corrupt(&error.to_string()))?;
    if out.len() as u64 > limit {
        return Err(FormatError::TooLarge {
            object: OBJECT.into(),
            limit,
        });
    }
    Ok(out)
}

fn decompress_single_frame(data: &[u8], limit: u64) -> Option<Vec<u8>> {
    let size = zstd::zstd_safe::get_frame_content_size(data).ok()??;
    if size > limit || size / ZSTD_MAX_RATIO > data.len() as u64 {
        return None;
    }
    let mut out = Vec::with_capacity(usize::try_from(size).ok()?);
    let mut decompressor = zstd::bulk::Decompressor::new().ok()?;
    decompressor.decompress_to_buffer(data, &mut out).ok()?;
    Some(out)
}
