use proptest::prelude::*;

use super::*;
use crate::format::{DataBlob, test_vectors};

fn raw_key() -> [u8; 32] {
    std::array::from_fn(|i| u8::try_from(i).unwrap())
}

fn crypt() -> CryptConfig {
    CryptConfig::new(raw_key()).unwrap()
}

fn salt() -> Vec<u8> {
    (0x40..0x60).collect()
}

fn iv() -> [u8; 16] {
    std::array::from_fn(|i| u8::try_from(i).unwrap())
}

fn never() -> io::Result<Vec<u8>> {
    panic!("no passphrase is needed")
}

const CREATED: &str = "2023-11-14T22:13:20+00:00";

#[test]
fn scrypt_vector_in_both_directions() {
    let Some(vectors) = test_vectors::load() else {
        return;
    };
    let kdf = KeyDerivation::Scrypt {
        n: 65536,
        r: 8,
        p: 1,
        salt: salt(),
    };
    assert_eq!(
        kdf.derive(b"secret").unwrap().to_vec(),
        vectors.bytes("keyfile_scrypt_derived")
    );
    let made = KeyConfig::wrap(&crypt(), Some(kdf), b"secret", iv(), CREATED.into(), None).unwrap();
    assert_eq!(made.data, vectors.bytes("keyfile_scrypt_data"));
    let json = vectors.bytes("keyfile_scrypt_json");
    assert_eq!(made.to_json().unwrap(), json);

    let read = KeyConfig::from_json(&json).unwrap();
    assert_eq!(read, made);
    assert_eq!(
        read.decrypt(|| Ok(b"secret".to_vec())).unwrap().key(),
        &raw_key()
    );
    assert!(matches!(
        read.decrypt(|| Ok(b"Secret".to_vec())),
        Err(FormatError::WrongKey { .. })
    ));
    assert!(matches!(
        read.decrypt(|| Ok(b"secr".to_vec())),
        Err(FormatError::Passphrase { .. })
    ));
    assert!(matches!(
        read.decrypt(|| Err(io::ErrorKind::NotFound.into())),
        Err(FormatError::Io { .. })
    ));
}

#[test]
fn pbkdf2_vector_in_both_directions() {
    let Some(vectors) = test_vectors::load() else {
        return;
    };
    let kdf = KeyDerivation::Pbkdf2 {
        iter: 65535,
        salt: salt(),
    };
    assert_eq!(
        kdf.derive(b"secret").unwrap().to_vec(),
        vectors.bytes("keyfile_pbkdf2_derived")
    );
    let made = KeyConfig::wrap(&crypt(), Some(kdf), b"secret", iv(), CREATED.into(), None).unwrap();
    assert_eq!(made.data, vectors.bytes("keyfile_pbkdf2_data"));
    let json = made.to_json().unwrap();
    assert!(json.starts_with(br#"{"kdf":{"PBKDF2":{"iter":65535,"salt":"QEFC"#));
    let read = KeyConfig::from_json(&json).unwrap();
    assert_eq!(
        read.decrypt(|| Ok(b"secret".to_vec())).unwrap().key(),
        &raw_key()
    );
}

#[test]
fn unprotected_vector_in_both_directions() {
    let Some(vectors) = test_vectors::load() else {
        return;
    };
    let json = vectors.bytes("keyfile_none_json");
    let made = KeyConfig::wrap(&crypt(), None, b"", iv(), CREATED.into(), None).unwrap();
    assert_eq!(made.to_json().unwrap(), json);
    let read = KeyConfig::from_json(&json).unwrap();
    assert_eq!((read.created(), read.modified()), (CREATED, CREATED));
    assert_eq!(read.decrypt(never).unwrap().key(), &raw_key());
}

#[test]
fn key_files_of_the_real_system() {
    let Some(plain) = test_vectors::read_shared("fixtures/keys/plain.key") else {
        return;
    };
    let Some(scrypt) = test_vectors::read_shared("fixtures/keys/scrypt.key") else {
        return;
    };
    let plain = KeyConfig::from_json(plain.trim_ascii()).unwrap();
    let opened = plain.decrypt(never).unwrap();
    assert_eq!(plain.fingerprint(), Some(opened.fingerprint()));
    let scrypt_key = KeyConfig::from_json(&scrypt).unwrap();
    assert_eq!(scrypt_key.kdf(), Kdf::Scrypt);
    let opened = scrypt_key.decrypt(|| Ok(b"keypass123".to_vec())).unwrap();
    assert_eq!(scrypt_key.fingerprint(), Some(opened.fingerprint()));
    assert_eq!(scrypt_key.to_json().unwrap(), scrypt.trim_ascii());
}

#[test]
fn master_key_of_the_real_system() {
    let Some(public) = test_vectors::read_shared("fixtures/keys/master-public.pem") else {
        return;
    };
    let Some(private) = test_vectors::read_shared("fixtures/keys/master-private.pem") else {
        return;
    };
    let file = KeyConfig::new(&crypt(), Kdf::Pbkdf2, b"secret", None, &Env::system()).unwrap();
    let blob = file.encrypt_for_master(&crypt(), &public).unwrap();
    assert_eq!(blob.kind(), crate::format::BlobKind::Plain);
    let pass = || Ok(b"masterpass123".to_vec());
    let (key, opened) = KeyConfig::decrypt_with_master(&blob, &private, pass).unwrap();
    assert_eq!(opened.key(), &raw_key());
    assert_eq!(key.created(), file.created());

    let wrong = || Ok(b"masterpass124".to_vec());
    let error = KeyConfig::decrypt_with_master(&blob, &private, wrong).unwrap_err();
    assert!(matches!(error, FormatError::WrongKey { .. }), "{error}");
    let long = || Ok(vec![b'x'; 100_000]);
    for result in [
        KeyConfig::decrypt_with_master(&blob, &private, long),
        KeyConfig::decrypt_with_master(&blob, &private, || Ok(Vec::new())),
    ] {
        assert!(matches!(result, Err(FormatError::Passphrase { .. })));
    }
    let no_terminal = || Err(io::ErrorKind::NotFound.into());
    let error = KeyConfig::decrypt_with_master(&blob, &private, no_terminal).unwrap_err();
    assert!(matches!(error, FormatError::Io { .. }), "{error}");
}

#[test]
fn wrong_master_keys_and_damaged_blobs() {
    let make = |bits| openssl::rsa::Rsa::generate(bits).unwrap();
    let (master, other, small) = (make(3072), make(3072), make(1024));
    let file = KeyConfig::new(&crypt(), Kdf::None, b"", None, &Env::system()).unwrap();
    let blob = file
        .encrypt_for_master(&crypt(), &master.public_key_to_pem().unwrap())
        .unwrap();
    let error = file
        .encrypt_for_master(&crypt(), &small.public_key_to_pem().unwrap())
        .unwrap_err();
    assert!(error.to_string().contains("larger master key"), "{error}");
    assert!(
        file.encrypt_for_master(&crypt(), b"no pem")
            .unwrap_err()
            .is_corrupt()
    );

    let open = |blob: &DataBlob, key: &Rsa| {
        KeyConfig::decrypt_with_master(blob, &key.private_key_to_pem().unwrap(), never)
    };
    assert!(open(&blob, &master).is_ok());
    assert!(matches!(
        open(&blob, &other),
        Err(FormatError::WrongKey { .. })
    ));
    for data in [&b""[..], &[1; 5], &[0xff; 384], &[1; 5000]] {
        let damaged = DataBlob::encode_with_iv(data, None, false).unwrap();
        assert!(open(&damaged, &master).is_err(), "{} bytes", data.len());
    }
    assert!(
        KeyConfig::decrypt_with_master(&blob, b"no pem", never)
            .unwrap_err()
            .is_corrupt()
    );
}

type Rsa = openssl::rsa::Rsa<openssl::pkey::Private>;

#[test]
fn new_key_files_open_again() {
    let env = Env::seeded(5, 1_700_000_000);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let _context = runtime.enter();
    for kdf in [Kdf::None, Kdf::Scrypt, Kdf::Pbkdf2] {
        let hint = Some("the usual".to_string());
        let made = KeyConfig::new(&crypt(), kdf, b"secret", hint, &env).unwrap();
        let read = KeyConfig::from_json(&made.to_json().unwrap()).unwrap();
        assert_eq!((read.kdf(), read.hint()), (kdf, Some("the usual")));
        assert_eq!(
            read.decrypt(|| Ok(b"secret".to_vec())).unwrap().key(),
            &raw_key()
        );
        assert_eq!(made.created().len(), CREATED.len());
        assert!(made.created().parse::<jiff::Timestamp>().is_ok());
    }
    assert!(KeyConfig::new(&crypt(), Kdf::Scrypt, b"four", None, &env).is_err());
}

#[test]
fn debug_output_hides_the_key() {
    let file = KeyConfig::wrap(&crypt(), None, b"", iv(), CREATED.into(), None).unwrap();
    let shown = format!("{file:?}");
    assert!(
        shown.contains("redacted") && !shown.contains("1, 2, 3"),
        "{shown}"
    );
}

#[test]
fn damaged_key_files_are_errors() {
    let good = KeyConfig::wrap(&crypt(), None, b"", iv(), CREATED.into(), None).unwrap();
    let mut wrong_fingerprint = good.clone();
    wrong_fingerprint.fingerprint = Some(Fingerprint::from_bytes([1; 32]));
    assert!(matches!(
        wrong_fingerprint.decrypt(never),
        Err(FormatError::WrongKey { .. })
    ));
    let mut no_fingerprint = good.clone();
    no_fingerprint.fingerprint = None;
    assert!(no_fingerprint.decrypt(never).is_ok());
    assert!(
        !String::from_utf8(no_fingerprint.to_json().unwrap())
            .unwrap()
            .contains("finger")
    );
    let mut short = good.clone();
    short.data.pop();
    assert!(short.decrypt(never).unwrap_err().is_corrupt());
    let mut unwrapped = good;
    unwrapped.kdf = Some(KeyDerivation::Pbkdf2 {
        iter: 1,
        salt: salt(),
    });
    assert!(
        unwrapped.decrypt(never).unwrap_err().is_corrupt(),
        "32 bytes are not wrapped"
    );
}

#[test]
fn absurd_parameters_are_errors() {
    let derive = |kdf: KeyDerivation| kdf.derive(b"secret");
    for (n, r, p) in [
        (0, 8, 1),
        (3, 8, 1),
        (1 << 40, 8, 1),
        (65536, u64::MAX, 1),
        (2, 8, 1 << 30),
    ] {
        let kdf = KeyDerivation::Scrypt {
            n,
            r,
            p,
            salt: salt(),
        };
        assert!(derive(kdf).unwrap_err().is_corrupt(), "{n} {r} {p}");
    }
    for iter in [0, 1 << 31, u64::MAX] {
        assert!(
            derive(KeyDerivation::Pbkdf2 { iter, salt: salt() })
                .unwrap_err()
                .is_corrupt()
        );
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_and_truncations_are_errors(noise in proptest::collection::vec(any::<u8>(), 0..300), cut in 0_usize..300) {
        prop_assert!(KeyConfig::from_json(&noise).is_err());
        let json = KeyConfig::wrap(&crypt(), None, b"", iv(), CREATED.into(), None).unwrap().to_json().unwrap();
        prop_assert!(KeyConfig::from_json(&json[..cut.min(json.len() - 1)]).is_err());
    }
}
