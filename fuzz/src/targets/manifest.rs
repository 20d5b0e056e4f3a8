//! Manifests, and the JSON forms that their signatures depend on.

use api_types::digest::Digest;
use api_types::names::BackupDir;
use api_types::status::CryptMode;
use bytes::Bytes;
use datastore::format::canonical_json::{to_canonical, to_pretty};
use datastore::format::{ChunkUploadStats, DataBlob, FileInfo, Manifest, SignatureStatus};
use serde_json::Value;

use super::blob::key;
use crate::Target;

pub const MANIFEST: Target = Target {
    name: "manifest",
    max_len: 4096,
    check: check_manifest,
    seeds: manifest_seeds,
    words: &[
        "\"backup-type\":",
        "\"backup-id\":",
        "\"backup-time\":",
        "\"files\":[",
        "\"filename\":",
        "\"crypt-mode\":",
        "\"encrypt\"",
        "\"sign-only\"",
        "\"none\"",
        "\"csum\":",
        "\"size\":",
        "\"signature\":",
        "\"unprotected\":{",
        "\"notes\":",
        "\"verify_state\":",
        "\"chunk_upload_stats\":",
        "\"key-fingerprint\":",
        ".img.fidx\"",
        ".pxar.didx\"",
        "index.json.blob",
        "null",
    ],
    memory: 1 << 20,
};

pub const CANONICAL_JSON: Target = Target {
    name: "canonical_json",
    max_len: 2048,
    check: check_json,
    seeds: json_seeds,
    words: &[
        "null",
        "true",
        "false",
        "\\u0000",
        "\\ud83d\\ude00",
        "1e308",
        "-0.0",
        "1.5",
        "[[",
        "{\"",
        "\":",
        "18446744073709551615",
        "-9223372036854775808",
    ],
    memory: 1 << 20,
};

/// Longest manifest in a blob that is looked at.
const MAX_PLAIN: u64 = 8192;
const JSON: u8 = 0;
const BLOB: u8 = 1;

fn sample() -> Manifest {
    let dir: BackupDir = "vm/100/2022-05-02T08:11:33Z".parse().expect("a snapshot");
    let mut manifest = Manifest::new(&dir);
    for (name, crypt_mode) in [
        ("drive-scsi0.img.fidx", CryptMode::Encrypt),
        ("root.pxar.didx", CryptMode::SignOnly),
        ("qemu-server.conf.blob", CryptMode::None),
    ] {
        let file = FileInfo {
            filename: name.parse().expect("an archive name"),
            crypt_mode,
            size: 1 << 33,
            csum: Digest::from_bytes([9; 32]),
        };
        manifest.add_file(file).expect("the names differ");
    }
    manifest
}

fn manifest_seeds() -> Vec<Vec<u8>> {
    let plain = sample();
    let mut signed = sample();
    signed.set_notes(Some("a note\nof two lines"));
    signed.set_chunk_upload_stats(&ChunkUploadStats {
        count: 3,
        ..ChunkUploadStats::default()
    });
    signed.sign(key()).expect("it can be signed");
    let json = |manifest: &Manifest| manifest.to_json_pretty().expect("it can be written");
    let compact = to_canonical(&serde_json::from_slice(&json(&plain)).expect("it is json"));
    let blob = signed.to_blob().expect("it can be written");
    vec![
        [&[JSON], json(&plain).as_slice()].concat(),
        [&[JSON], json(&signed).as_slice()].concat(),
        [&[JSON], compact.unwrap_or_else(|_| json(&plain)).as_slice()].concat(),
        [&[BLOB], blob.raw().as_ref()].concat(),
    ]
}

fn check_manifest(data: &[u8]) -> bool {
    let Some((mode, rest)) = data.split_first() else {
        return false;
    };
    let parsed = if mode % 2 == JSON {
        Manifest::from_json(rest)
    } else {
        DataBlob::from_bytes(Bytes::copy_from_slice(rest)).and_then(|mut blob| {
            blob.set_crc();
            // What unpacks to megabytes is allowed to take as many; here it only takes time.
            blob.decode(Some(key()), MAX_PLAIN)?;
            Manifest::from_blob(&blob, Some(key()))
        })
    };
    let Ok(manifest) = parsed else { return false };

    let json = manifest.to_json_pretty().expect("it can be written");
    let again = Manifest::from_json(&json).expect("what we write we read");
    assert_eq!(again, manifest);
    assert_eq!(again.to_json_pretty().expect("as before"), json);
    let blob = manifest.to_blob().expect("it can be written");
    assert_eq!(
        Manifest::from_blob(&blob, None).expect("we wrote it"),
        manifest
    );

    let dir = manifest.backup_dir();
    assert_eq!(
        (dir.group.ty, dir.time),
        (manifest.backup_type, manifest.backup_time)
    );
    for file in manifest.files() {
        assert!(manifest.lookup_file(file.filename.as_str()).is_some());
    }
    let _ = (
        manifest.notes(),
        manifest.verify_state(),
        manifest.chunk_upload_stats(),
    );
    check_signature(&manifest);
    true
}

fn check_signature(manifest: &Manifest) {
    let canonical = manifest.canonical_json().expect("there is no null in it");
    let value: Value = serde_json::from_slice(&canonical).expect("it is json");
    assert_eq!(to_canonical(&value).expect("as before"), canonical);

    let status = manifest.verify_signature(key());
    match manifest.signature() {
        None => assert!(matches!(status, Ok(SignatureStatus::Unsigned))),
        Some(text) => {
            let tag = hex::encode(key().compute_auth_tag(&canonical).expect("a tag"));
            assert!(status.is_err() || text == tag, "a signature that is none");
        }
    }
    let mut signed = manifest.clone();
    signed.sign(key()).expect("anything can be signed");
    // What a server may write does not matter, everything else does.
    signed.set_notes(Some("written later"));
    let status = signed.verify_signature(key()).expect("it was just signed");
    assert_eq!(status, SignatureStatus::Valid);
    let mut altered = signed.clone();
    let file = FileInfo {
        filename: "added.conf.blob".parse().expect("an archive name"),
        crypt_mode: CryptMode::None,
        size: 1,
        csum: Digest::from_bytes([0; 32]),
    };
    if altered.add_file(file).is_ok() {
        altered
            .verify_signature(key())
            .expect_err("a file was added");
    }
}

fn json_seeds() -> Vec<Vec<u8>> {
    let manifest = sample().to_json_pretty().expect("it can be written");
    let values =
        r#"{"b":[1,-2,0.5,true,[]],"a":{"é":"\"\\\u0001😀","":{}},"c":18446744073709551615}"#;
    vec![
        manifest,
        values.into(),
        b"[[[[1]]]]".to_vec(),
        b"\"text\"".to_vec(),
    ]
}

fn check_json(data: &[u8]) -> bool {
    let Ok(value) = serde_json::from_slice::<Value>(data) else {
        return false;
    };
    let pretty = to_pretty(&value).expect("anything can be written");
    let read: Value = serde_json::from_slice(&pretty).expect("it is json");
    assert_eq!(read, value);
    match to_canonical(&value) {
        Err(_) => assert!(has_null(&value), "only null is refused"),
        Ok(canonical) => {
            assert!(!has_null(&value));
            let read: Value = serde_json::from_slice(&canonical).expect("it is json");
            assert_eq!(read, value);
            assert_eq!(to_canonical(&read).expect("as before"), canonical);
        }
    }
    true
}

fn has_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.iter().any(has_null),
        Value::Object(members) => members.values().any(has_null),
        _ => false,
    }
}
