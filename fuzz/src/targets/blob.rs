//! Chunks and blob files: [`DataBlob`].

use std::sync::OnceLock;

use api_types::digest::Digest;
use bytes::Bytes;
use datastore::format::{BlobKind, CryptConfig, DataBlob, FormatError};
use openssl::sha::sha256;

use crate::Target;

pub const TARGET: Target = Target {
    name: "blob",
    max_len: 8192,
    check,
    seeds,
    words: &["\u{28}\u{b5}/\u{fd}"],
    memory: 1 << 20,
};

/// Most plain data that the checks ask for.
const LIMIT: u64 = 64 << 10;
const IV: [u8; 16] = [7; 16];
const SEALED_HEADER_LEN: usize = 44;

/// How the bytes behind the first one are meant.
const RAW: u8 = 0;
const PLAIN: u8 = 1;
const SEALED: u8 = 2;

pub fn key() -> &'static CryptConfig {
    static KEY: OnceLock<CryptConfig> = OnceLock::new();
    KEY.get_or_init(|| CryptConfig::new([0x42; 32]).expect("any key is one"))
}

fn seeds() -> Vec<Vec<u8>> {
    let texts: [&[u8]; 3] = [b"", b"a chunk", &[b'z'; 3000]];
    let mut seeds = Vec::new();
    for data in texts {
        for (crypt, compress) in [(None, false), (None, true), (Some((key(), IV)), true)] {
            let blob = DataBlob::encode_with_iv(data, crypt, compress).expect("it is small");
            seeds.push([&[RAW], blob.raw().as_ref()].concat());
        }
        seeds.push([&[PLAIN, 3], data].concat());
    }
    let packed = zstd::bulk::compress(&[b'y'; 5000], 3).expect("it can be compressed");
    seeds.push([&[SEALED], packed.as_slice()].concat());
    seeds
}

fn check(data: &[u8]) -> bool {
    let Some((mode, rest)) = data.split_first() else {
        return false;
    };
    match mode % 3 {
        RAW => check_raw(rest),
        PLAIN => check_plain(rest),
        _ => check_sealed(rest),
    }
}

/// Bytes as they come from a bucket or a client.
fn check_raw(raw: &[u8]) -> bool {
    let Ok(mut blob) = DataBlob::from_bytes(Bytes::copy_from_slice(raw)) else {
        return false;
    };
    assert_eq!(blob.raw().as_ref(), raw);
    assert!(raw.len() >= blob.kind().header_len());
    assert_eq!(BlobKind::from_magic(&raw[..8]), Some(blob.kind()));
    assert_eq!(blob.raw_csum(), sha256(raw));

    check_decode(&blob);

    let was_right = blob.verify_crc().is_ok();
    blob.set_crc();
    blob.verify_crc().expect("it was just set");
    assert_eq!(was_right, blob.raw().as_ref() == raw);
    assert_eq!(blob.raw()[..8], raw[..8]);
    assert_eq!(blob.raw()[12..], raw[12..]);
    true
}

fn check_decode(blob: &DataBlob) {
    if blob.is_encrypted() {
        let refused = blob.decode(None, LIMIT).expect_err("there is no key");
        let small = blob.raw_size() <= LIMIT;
        assert!(!small || matches!(refused, FormatError::KeyMissing { .. }));
    }
    let large = blob.decode(Some(key()), LIMIT);
    let small = blob.decode(Some(key()), 16);
    if let Ok(small) = &small {
        assert!(small.len() <= 16);
        assert_eq!(large.as_ref().ok(), Some(small));
    }
    let Ok(plain) = large else { return };
    assert!(plain.len() as u64 <= LIMIT);
    assert_eq!(plain.len() <= 16, small.is_ok());
    assert_eq!(blob.plain(Some(key()), LIMIT).expect("once more"), plain);

    if !blob.is_encrypted() {
        let digest = Digest::from_bytes(sha256(&plain));
        let len = plain.len() as u64;
        blob.verify_digest(&digest, Some(len)).expect("its digest");
        let mut other = *digest.as_bytes();
        other[31] ^= 1;
        let other = Digest::from_bytes(other);
        blob.verify_digest(&other, None)
            .expect_err("another digest");
        blob.verify_digest(&digest, Some(len + 1))
            .expect_err("another length");
    }
    let again = DataBlob::encode_with_iv(&plain, None, true).expect("it is small");
    assert_eq!(again.decode(None, LIMIT).expect("we wrote it"), plain);
}

/// Data to be encoded, and a bit of the result to be turned over.
fn check_plain(input: &[u8]) -> bool {
    let Some((&choice, data)) = input.split_first() else {
        return false;
    };
    let crypt = (choice & 1 != 0).then_some((key(), IV));
    let blob = DataBlob::encode_with_iv(data, crypt, choice & 2 != 0).expect("it is small");
    blob.verify_crc().expect("we wrote it");
    assert_eq!(blob.is_encrypted(), crypt.is_some());
    assert!(blob.raw().len() <= blob.kind().header_len() + data.len());
    assert_eq!(blob.decode(Some(key()), LIMIT).expect("we wrote it"), data);

    let mut damaged = blob.raw().to_vec();
    let at = usize::from(choice >> 2) * damaged.len() / 64;
    damaged[at] ^= 1 << (choice % 8);
    let Ok(damaged) = DataBlob::from_bytes(damaged.into()) else {
        assert!(at < 8, "only the magic number decides");
        return true;
    };
    let header = blob.kind().header_len();
    if (8..12).contains(&at) || at >= header {
        damaged.verify_crc().expect_err("crc or payload is damaged");
    }
    if blob.is_encrypted() && at >= 12 {
        damaged
            .decode(Some(key()), LIMIT)
            .expect_err("it is sealed");
    }
    true
}

/// What a client with the key may have sealed: whatever it decompresses to, it is bounded.
fn check_sealed(payload: &[u8]) -> bool {
    let mut raw = vec![0; SEALED_HEADER_LEN];
    let tag = key()
        .encrypt(&IV, payload, &mut raw)
        .expect("anything can be encrypted");
    raw[..8].copy_from_slice(&BlobKind::EncryptedZstd.magic());
    raw[12..28].copy_from_slice(&IV);
    raw[28..SEALED_HEADER_LEN].copy_from_slice(&tag);
    let blob = DataBlob::from_bytes(raw.into()).expect("the header is right");
    let Ok(plain) = blob.decode(Some(key()), LIMIT) else {
        return false;
    };
    assert!(plain.len() as u64 <= LIMIT);
    true
}
