//! The chunk of zeros: images are full of it, and everybody knows what is in it.

use std::sync::LazyLock;

use api_types::digest::Digest;

use super::{DataBlob, FIXED_CHUNK_SIZE, FormatError};

/// SHA-256 of 4 MiB of zeros. An encrypted chunk of zeros has another digest.
pub const ZERO_CHUNK_DIGEST: Digest = Digest::from_bytes([
    0xbb, 0x9f, 0x8d, 0xf6, 0x14, 0x74, 0xd2, 0x5e, 0x71, 0xfa, 0x00, 0x72, 0x23, 0x18, 0xcd, 0x38,
    0x73, 0x96, 0xca, 0x17, 0x36, 0x60, 0x5e, 0x12, 0x48, 0x82, 0x1c, 0xc0, 0xde, 0x3d, 0x3a, 0xf8,
]);

/// The chunk of zeros as a blob: some hundred bytes, compressed.
///
/// # Errors
/// If it could not be compressed.
pub fn zero_chunk() -> Result<DataBlob, FormatError> {
    static ZEROS: LazyLock<Option<DataBlob>> = LazyLock::new(|| encode().ok());
    match &*ZEROS {
        Some(blob) => Ok(blob.clone()),
        None => encode(),
    }
}

fn encode() -> Result<DataBlob, FormatError> {
    let size = usize::try_from(FIXED_CHUNK_SIZE).unwrap_or(usize::MAX);
    DataBlob::encode_with_iv(&vec![0; size], None, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_what_it_says() {
        for _ in 0..2 {
            let blob = zero_chunk().unwrap();
            blob.verify_unencrypted(&ZERO_CHUNK_DIGEST, Some(FIXED_CHUNK_SIZE))
                .unwrap();
            assert!(blob.raw_size() < 1000);
        }
    }
}
