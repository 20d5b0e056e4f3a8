//! What chunks and blobs are made of: few contents, so that they meet again.

use api_types::digest::Digest;
use bytes::Bytes;
use datastore::format::{BlobKind, DataBlob};
use openssl::sha::sha256;

/// How many there are.
pub const COUNT: usize = 8;

const FULL: usize = 4 << 20;

/// A content, and how it is sent.
pub struct Piece {
    pub data: Vec<u8>,
    pub digest: Digest,
    /// As it is, and compressed.
    encoded: [Bytes; 2],
    /// As something encrypted, that nobody here can look into.
    pub sealed: Bytes,
    /// The digest that its client gives that.
    pub sealed_digest: Digest,
}

impl Piece {
    fn new(number: u8, data: Vec<u8>) -> Self {
        let encode = |compress| {
            let blob = DataBlob::encode_with_iv(&data, None, compress).expect("it is short enough");
            blob.into_raw()
        };
        let mut sealed = BlobKind::Encrypted.magic().to_vec();
        sealed.resize(BlobKind::Encrypted.header_len(), number);
        sealed.extend_from_slice(&[number; 20]);
        let mut blob = DataBlob::from_bytes(sealed.into()).expect("it looks like a blob");
        blob.set_crc();
        Self {
            digest: Digest::from_bytes(sha256(&data)),
            encoded: [encode(false), encode(true)],
            sealed: blob.into_raw(),
            sealed_digest: Digest::from_bytes(sha256(&[b's', number])),
            data,
        }
    }

    /// As it is sent; compressed in any case if it is large, for the fuzzer's speed.
    pub fn encoded(&self, compressed: bool) -> &Bytes {
        &self.encoded[usize::from(compressed || self.data.len() >= FULL)]
    }
}

thread_local! {
    static PIECES: &'static [Piece; COUNT] = Box::leak(Box::new(make()));
}

fn make() -> [Piece; COUNT] {
    let data = [
        vec![1],
        b"Hello, world!".to_vec(),
        (0..64).collect(),
        vec![0; 1000],
        vec![0; FULL],
        vec![0x5a; FULL],
        vec![0; FULL + 1],
        (0..100).map(|n: u8| n.wrapping_mul(37)).collect(),
    ];
    let mut number = 0;
    data.map(|data| {
        number += 1;
        Piece::new(number, data)
    })
}

/// Makes them, so that their memory is not that of the first input that needs them.
pub fn prepare() {
    PIECES.with(|_| ());
}

/// The piece with this number, or a lower one.
pub fn piece(number: u8) -> &'static Piece {
    PIECES.with(|pieces| &pieces[usize::from(number) % COUNT])
}

/// Whether that is the digest of something encrypted.
pub fn is_sealed(digest: &Digest) -> bool {
    PIECES.with(|pieces| pieces.iter().any(|piece| piece.sealed_digest == *digest))
}

/// Whether that is, byte by byte, what was once sent of the content with this digest.
pub fn is_known(digest: &Digest, raw: &[u8]) -> bool {
    let is_it = |piece: &Piece| {
        let is_plain = piece.digest == *digest && piece.encoded.iter().any(|known| *known == raw);
        is_plain || piece.sealed_digest == *digest && piece.sealed == raw
    };
    PIECES.with(|pieces| pieces.iter().any(is_it))
}
