use proptest::prelude::*;

use super::*;
use crate::format::test_vectors;

const FOX: &[u8] =
    b"The quick brown fox. The quick brown fox. The quick brown fox. The quick brown fox.";

fn key() -> CryptConfig {
    CryptConfig::new(std::array::from_fn(|i| u8::try_from(i).unwrap())).unwrap()
}

fn iv() -> [u8; 16] {
    std::array::from_fn(|i| u8::try_from(i).unwrap())
}

fn blob(bytes: Vec<u8>) -> DataBlob {
    DataBlob::from_bytes(bytes.into()).unwrap()
}

#[test]
fn uncompressed_vectors_in_both_directions() {
    let Some(vectors) = test_vectors::load() else {
        return;
    };
    for (name, data, crypt) in [
        ("blob_plain_empty", &b""[..], None),
        ("blob_plain_hello", b"hello", None),
        ("blob_enc_hello", b"hello", Some(key())),
    ] {
        let bytes = vectors.bytes(name);
        let encoded =
            DataBlob::encode_with_iv(data, crypt.as_ref().map(|c| (c, iv())), false).unwrap();
        assert_eq!(encoded.raw().to_vec(), bytes, "{name}");
        let stored = blob(bytes);
        stored.verify_crc().unwrap();
        assert_eq!(stored.decode(crypt.as_ref(), 100).unwrap(), data, "{name}");
    }
}

#[test]
fn compressed_vectors_decode() {
    let Some(vectors) = test_vectors::load() else {
        return;
    };
    for (name, crypt, kind) in [
        ("blob_zstd_fox", None, BlobKind::PlainZstd),
        ("blob_enc_zstd_fox", Some(key()), BlobKind::EncryptedZstd),
    ] {
        let stored = blob(vectors.bytes(name));
        assert_eq!(stored.kind(), kind);
        stored.verify_crc().unwrap();
        assert_eq!(
            stored.decode(crypt.as_ref(), FOX.len() as u64).unwrap(),
            FOX,
            "{name}"
        );
        assert!(matches!(
            stored.decode(crypt.as_ref(), FOX.len() as u64 - 1),
            Err(FormatError::TooLarge { .. })
        ));
    }
}

/// The bytes depend on the zstd version, the rest of the blob does not.
#[test]
fn compressed_vectors_encode_to_the_same_kind() {
    let Some(vectors) = test_vectors::load() else {
        return;
    };
    let plain = DataBlob::encode_with_iv(FOX, None, true).unwrap();
    assert_eq!(plain.raw()[..8], vectors.bytes("blob_zstd_fox")[..8]);
    let encrypted = DataBlob::encode_with_iv(FOX, Some((&key(), iv())), true).unwrap();
    assert_eq!(
        encrypted.raw()[..8],
        vectors.bytes("blob_enc_zstd_fox")[..8]
    );
    assert_eq!(
        encrypted.raw()[12..28],
        vectors.bytes("blob_enc_zstd_fox")[12..28]
    );
}

#[test]
fn incompressible_and_empty_data_is_stored_as_it_is() {
    let mut random = vec![0; 1000];
    Env::seeded(1, 0).fill_random(&mut random);
    for data in [&b""[..], b"x", &random] {
        let stored = DataBlob::encode_with_iv(data, None, true).unwrap();
        assert_eq!(stored.kind(), BlobKind::Plain);
        assert_eq!(stored.raw_size(), 12 + data.len() as u64);
    }
}

#[test]
fn a_decompression_bomb_ends_at_the_limit() {
    // 64 MiB of zeros, both with and without their size in the frame header.
    let zeros = vec![0; 64 << 20];
    let sized = zstd::bulk::compress(&zeros, 1).unwrap();
    let unsized_frame = zstd::stream::encode_all(&zeros[..], 1).unwrap();
    for frame in [sized, unsized_frame] {
        assert!(frame.len() < 100_000);
        let bytes = [&BlobKind::PlainZstd.magic()[..], &[0; 4], &frame].concat();
        let limit = MAX_CHUNK_PLAIN;
        match blob(bytes.clone()).decode(None, limit) {
            Err(FormatError::TooLarge { limit: named, .. }) => assert_eq!(named, limit),
            other => panic!("{:?}", other.map(|v| v.len())),
        }
        assert_eq!(blob(bytes).decode(None, 64 << 20).unwrap(), zeros);
    }
}

#[test]
fn a_frame_that_promises_too_much_is_corrupt() {
    // Single segment, 8-byte content size of 100 MiB, and no block at all.
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0xe0];
    frame.extend((100_u64 << 20).to_le_bytes());
    let bytes = [&BlobKind::PlainZstd.magic()[..], &[0; 4], &frame].concat();
    let error = blob(bytes).decode(None, MAX_BLOB_PLAIN).unwrap_err();
    assert!(error.is_corrupt(), "{error}");
}

#[test]
fn concatenated_frames_decode() {
    let mut bytes = [&BlobKind::PlainZstd.magic()[..], &[0; 4]].concat();
    bytes.extend(zstd::bulk::compress(b"hello ", 1).unwrap());
    bytes.extend(zstd::stream::encode_all(&b"world"[..], 19).unwrap());
    assert_eq!(blob(bytes).decode(None, 11).unwrap(), b"hello world");
}

#[test]
fn crc_is_checked_and_mended() {
    let good = DataBlob::encode_with_iv(b"hello", None, false).unwrap();
    let mut bytes = good.raw().to_vec();
    bytes[8] ^= 1;
    let mut bad = blob(bytes);
    let shared = bad.clone();
    assert!(bad.verify_crc().unwrap_err().is_corrupt());
    bad.set_crc();
    assert_eq!(bad, good);
    assert_ne!(shared, good);
}

#[test]
fn digest_check_of_chunks() {
    let digest = Digest::from_bytes(sha256(FOX));
    let len = FOX.len() as u64;
    for compress in [false, true] {
        let chunk = DataBlob::encode_with_iv(FOX, None, compress).unwrap();
        chunk.verify_unencrypted(&digest, Some(len)).unwrap();
        chunk.verify_unencrypted(&digest, None).unwrap();
        let error = chunk
            .verify_unencrypted(&digest, Some(len + 1))
            .unwrap_err();
        assert!(error.to_string().contains(&digest.to_string()), "{error}");
        assert!(
            chunk
                .verify_unencrypted(&Digest::from_bytes([1; 32]), None)
                .is_err()
        );
    }
    let encrypted = DataBlob::encode_with_iv(FOX, Some((&key(), iv())), true).unwrap();
    encrypted
        .verify_unencrypted(&Digest::from_bytes([1; 32]), Some(1))
        .unwrap();
    assert!(matches!(
        encrypted.decode(None, 1000),
        Err(FormatError::KeyMissing { .. })
    ));
}

#[test]
fn headers_are_validated() {
    for bytes in [&[][..], &[0x42; 11], &[0; 12], &BlobKind::Plain.magic()] {
        assert!(
            DataBlob::from_bytes(Bytes::copy_from_slice(bytes))
                .unwrap_err()
                .is_corrupt()
        );
    }
    let mut encrypted = vec![0; 43];
    encrypted[..8].copy_from_slice(&BlobKind::Encrypted.magic());
    assert!(DataBlob::from_bytes(encrypted.clone().into()).is_err());
    encrypted.push(0);
    assert!(DataBlob::from_bytes(encrypted.into()).is_ok());
}

proptest! {
    #[test]
    fn round_trip(data in proptest::collection::vec(0_u8..4, 0..5000), compress: bool, encrypt: bool) {
        let crypt = encrypt.then(key);
        let encoded = DataBlob::encode(&data, crypt.as_ref(), compress, &Env::seeded(3, 0)).unwrap();
        encoded.verify_crc().unwrap();
        prop_assert_eq!(encoded.is_encrypted(), encrypt);
        let read = DataBlob::from_bytes(encoded.raw().clone()).unwrap();
        prop_assert_eq!(read.decode(crypt.as_ref(), data.len() as u64).unwrap(), data);
    }

    #[test]
    fn truncations_are_errors(data in proptest::collection::vec(0_u8..4, 100..1000), encrypt: bool, cut in 0.0..1.0) {
        let crypt = encrypt.then(key);
        let encoded = DataBlob::encode(&data, crypt.as_ref(), true, &Env::seeded(3, 0)).unwrap();
        prop_assume!(encoded.is_compressed());
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
        let len = (encoded.raw().len() as f64 * cut) as usize;
        let cut = DataBlob::from_bytes(encoded.raw().slice(..len));
        prop_assert!(cut.and_then(|b| b.decode(crypt.as_ref(), 10_000)).is_err());
    }

    #[test]
    fn arbitrary_bytes_never_panic(kind in 0_usize..5, mut bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        if kind < 4 && bytes.len() >= 8 {
            bytes[..8].copy_from_slice(&BlobKind::ALL[kind].magic());
        }
        if let Ok(mut blob) = DataBlob::from_bytes(bytes.into()) {
            let _ = blob.decode(Some(&key()), 1 << 20);
            let _ = blob.verify_unencrypted(&Digest::from_bytes([0; 32]), None);
            blob.set_crc();
            blob.verify_crc().unwrap();
        }
    }

    #[test]
    fn damaged_zstd_never_panics(at in 12_usize..49, bit in 0_u8..8) {
        let mut bytes = DataBlob::encode_with_iv(FOX, None, true).unwrap().into_raw().to_vec();
        let at = at.min(bytes.len() - 1);
        bytes[at] ^= 1 << bit;
        let damaged = blob(bytes);
        prop_assert!(damaged.verify_crc().is_err());
        let _ = damaged.decode(None, 1 << 20);
    }
}
