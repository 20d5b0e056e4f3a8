use proptest::prelude::*;

use super::*;
use crate::format::test_vectors;

fn key() -> CryptConfig {
    CryptConfig::new(std::array::from_fn(|i| u8::try_from(i).unwrap())).unwrap()
}

fn file(name: &str, csum: u8) -> FileInfo {
    FileInfo {
        filename: name.parse().unwrap(),
        crypt_mode: CryptMode::None,
        size: 17,
        csum: Digest::from_bytes([csum; 32]),
    }
}

fn example() -> Manifest {
    let mut manifest = Manifest::new(&"vm/100/2023-11-14T22:13:20Z".parse().unwrap());
    manifest.add_file(file("qemu-server.conf.blob", 1)).unwrap();
    manifest
}

#[test]
fn signed_vector_in_both_directions() {
    let Some(vectors) = test_vectors::load() else {
        return;
    };
    let json = vectors.bytes("manifest_json");
    let manifest = Manifest::from_json(&json).unwrap();
    assert_eq!(manifest.to_json_pretty().unwrap(), json);
    assert_eq!(
        manifest.canonical_json().unwrap(),
        vectors.bytes("manifest_canonical")
    );
    let signature = hex::encode(vectors.bytes("manifest_signature"));
    assert_eq!(manifest.signature(), Some(signature.as_str()));
    assert_eq!(
        manifest.verify_signature(&key()).unwrap(),
        SignatureStatus::Valid
    );

    let mut rebuilt = Manifest::new(&manifest.backup_dir());
    for file in manifest.files() {
        rebuilt.add_file(file.clone()).unwrap();
    }
    rebuilt.sign(&key()).unwrap();
    assert_eq!(rebuilt.to_json_pretty().unwrap(), json);
}

#[test]
fn unsigned_vector_in_both_directions() {
    let Some(vectors) = test_vectors::load() else {
        return;
    };
    let json = vectors.bytes("manifest_unsigned_json");
    let mut manifest = Manifest::from_json(&json).unwrap();
    assert_eq!(manifest.to_json_pretty().unwrap(), json);
    assert_eq!(
        manifest.verify_signature(&key()).unwrap(),
        SignatureStatus::Unsigned
    );
    let stats = ChunkUploadStats {
        size: 17,
        ..Default::default()
    };
    assert_eq!(manifest.chunk_upload_stats().unwrap(), Some(stats));
    manifest.unprotected.clear();
    manifest.set_chunk_upload_stats(&stats);
    assert_eq!(manifest.to_json_pretty().unwrap(), json);
}

#[test]
fn a_changed_file_or_another_key_is_found() {
    let mut manifest = example();
    manifest.sign(&key()).unwrap();
    let other = CryptConfig::new([9; 32]).unwrap();
    assert!(matches!(
        manifest.verify_signature(&other),
        Err(FormatError::WrongKey { .. })
    ));
    manifest.set_notes(Some("not covered"));
    assert!(manifest.verify_signature(&key()).is_ok());
    manifest.files[0].size += 1;
    assert!(manifest.verify_signature(&key()).unwrap_err().is_corrupt());
}

#[test]
fn old_manifests_without_crypt_mode_and_unprotected() {
    let json = br#" {"files":[{"size":5,"filename":"a.img.fidx","extra":1,
        "csum":"0101010101010101010101010101010101010101010101010101010101010101"}],
        "backup-time":1,"backup-id":"x","backup-type":"ct"} "#;
    let manifest = Manifest::from_json(json).unwrap();
    assert_eq!(manifest.files()[0].crypt_mode, CryptMode::None);
    assert!(manifest.unprotected.is_empty() && manifest.signature().is_none());
    let canonical = String::from_utf8(manifest.canonical_json().unwrap()).unwrap();
    assert!(
        canonical.contains(r#"{"crypt-mode":"none","csum":"01"#),
        "{canonical}"
    );
    assert!(!canonical.contains("extra"));
}

#[test]
fn a_small_blob_that_unpacks_to_a_huge_manifest_is_refused() {
    let mut json = example().to_json_pretty().unwrap();
    json.resize(usize::try_from(MAX_MANIFEST_PLAIN).unwrap(), b' ');
    let largest = DataBlob::encode_with_iv(&json, None, true).unwrap();
    assert_eq!(Manifest::from_blob(&largest, None).unwrap(), example());
    json.push(b' ');
    let bomb = DataBlob::encode_with_iv(&json, None, true).unwrap();
    assert!(bomb.raw_size() < 10_000);
    let error = Manifest::from_blob(&bomb, None).unwrap_err();
    assert!(matches!(error, FormatError::TooLarge { .. }), "{error}");

    let mut long = example();
    long.set_notes(Some(&"x".repeat(json.len())));
    let error = long.to_blob().unwrap_err();
    assert!(matches!(error, FormatError::TooLarge { .. }), "{error}");
}

#[test]
fn an_unknown_number_does_not_drift_when_it_is_written_again() {
    let number = "1.111111111111111e+47";
    let mut manifest = example();
    let value = serde_json::from_str(number).unwrap();
    manifest.unprotected.insert("x".into(), value);
    let manifest = Manifest::from_json(&manifest.to_json_pretty().unwrap()).unwrap();
    assert_eq!(manifest.unprotected["x"].to_string(), number);
}

#[test]
fn unknown_unprotected_keys_survive() {
    let mut manifest = example();
    manifest
        .unprotected
        .insert("future".into(), json!({"b": [1, null], "a": 2.5}));
    manifest.set_notes(Some("first line\nsecond"));
    let read = Manifest::from_blob(&manifest.to_blob().unwrap(), None).unwrap();
    assert_eq!(read, manifest);
    assert_eq!(read.notes(), Some("first line\nsecond"));
    manifest.set_notes(None);
    assert_eq!(manifest.notes(), None);
    assert!(manifest.unprotected.contains_key("future"));
}

#[test]
fn verify_state_round_trip_and_damage() {
    let mut manifest = example();
    assert_eq!(manifest.verify_state().unwrap(), None);
    let upid = "UPID:host:00000A1B:00000C2D:00000001:65530000:verify:store:root@pam:";
    let stored = json!({"state": "failed", "upid": upid});
    manifest
        .unprotected
        .insert("verify_state".into(), stored.clone());
    let state = manifest.verify_state().unwrap().unwrap();
    manifest.set_verify_state(None);
    assert_eq!(manifest.verify_state().unwrap(), None);
    manifest.set_verify_state(Some(&state));
    assert_eq!(manifest.unprotected["verify_state"], stored);
    manifest.unprotected.insert(
        "verify_state".into(),
        json!({"state": "ok", "upid": "UPID:x"}),
    );
    assert!(manifest.verify_state().unwrap_err().is_corrupt());
}

#[test]
fn bad_manifests_are_corrupt() {
    let good = String::from_utf8(example().to_json_pretty().unwrap()).unwrap();
    for (from, to) in [
        ("\"vm\"", "\"pod\""),
        ("\"100\"", "\"../100\""),
        ("qemu-server.conf.blob", "../../etc/passwd"),
        ("qemu-server.conf.blob", "a/b.blob"),
        ("0101", "01ZZ"),
        ("\"size\": 17", "\"size\": -17"),
        ("1700000000", "\"now\""),
        ("\"unprotected\": {}", "\"unprotected\": []"),
        ("\"signature\": null", "\"signature\": 5"),
    ] {
        let bad = good.replacen(from, to, 1);
        assert_ne!(bad, good, "{from}");
        assert!(
            Manifest::from_json(bad.as_bytes())
                .unwrap_err()
                .is_corrupt(),
            "{to}"
        );
    }
    let deep = "[".repeat(100_000);
    assert!(Manifest::from_json(deep.as_bytes()).is_err());
}

#[test]
fn files_that_do_not_belong_in_a_manifest_are_refused() {
    let mut manifest = example();
    for name in [
        "index.json.blob",
        "client.log.blob",
        "qemu-server.conf.blob",
        "root.pxar",
    ] {
        assert!(manifest.add_file(file(name, 2)).is_err(), "{name}");
    }
    assert_eq!(manifest.files().len(), 1);
    assert!(manifest.lookup_file("qemu-server.conf.blob").is_some());
    assert!(manifest.lookup_file("qemu-server.conf").is_none());
}

#[test]
fn a_blob_with_a_wrong_crc_is_not_believed() {
    let mut raw = example().to_blob().unwrap().into_raw().to_vec();
    raw[9] ^= 1;
    let blob = DataBlob::from_bytes(raw.into()).unwrap();
    assert!(Manifest::from_blob(&blob, None).unwrap_err().is_corrupt());
}

proptest! {
    #[test]
    fn round_trip(names in proptest::collection::btree_set("[a-z][a-z0-9._-]{0,20}", 0..10), notes: String, size: u64) {
        let mut manifest = Manifest::new(&"host/a.b-c/2023-11-14T22:13:20Z".parse().unwrap());
        for name in &names {
            let mut info = file(&format!("{name}.didx"), 3);
            info.size = size;
            info.crypt_mode = CryptMode::SignOnly;
            manifest.add_file(info).unwrap();
        }
        manifest.set_notes(Some(&notes));
        manifest.sign(&key()).unwrap();
        let json = manifest.to_json_pretty().unwrap();
        let read = Manifest::from_json(&json).unwrap();
        prop_assert_eq!(read.verify_signature(&key()).unwrap(), SignatureStatus::Valid);
        prop_assert_eq!(read.to_json_pretty().unwrap(), json);
        prop_assert_eq!(read, manifest);
    }

    #[test]
    fn truncations_and_arbitrary_bytes_are_errors(cut in 0_usize..300, noise in proptest::collection::vec(any::<u8>(), 0..200)) {
        let json = example().to_json_pretty().unwrap();
        prop_assert!(Manifest::from_json(&json[..cut.min(json.len() - 1)]).is_err());
        prop_assert!(Manifest::from_json(&noise).is_err());
    }
}
