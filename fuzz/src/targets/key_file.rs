//! Key files.

use datastore::format::{CryptConfig, Kdf, KeyConfig};
use s3_client::env::Env;
use serde_json::Value;

use crate::Target;

pub const TARGET: Target = Target {
    name: "key_file",
    max_len: 1024,
    check,
    seeds,
    words: &[
        "{\"kdf\":",
        "{\"Scrypt\":{",
        "{\"PBKDF2\":{",
        "\"n\":",
        "\"r\":",
        "\"p\":",
        "\"iter\":",
        "\"salt\":\"",
        "\"created\":\"",
        "\"modified\":\"",
        "\"data\":\"",
        "\"fingerprint\":",
        "\"hint\":",
        "null",
        "==\"",
    ],
    memory: 1 << 20,
};

/// What a derivation may cost here. A real one may take a gigabyte and minutes: whoever gives us
/// a key file pays for it.
const MAX_COST: u64 = 256;

fn seeds() -> Vec<Vec<u8>> {
    let crypt = CryptConfig::new([3; 32]).expect("any key is one");
    let json = r#"{"kdf":{"Scrypt":{"n":2,"r":1,"p":1,"salt":"AAAA"}},"created":"2022-05-02T08:11:33+00:00","modified":"x","data":""#;
    let env = Env::seeded(1, 1_700_000_000);
    let plain = KeyConfig::new(&crypt, Kdf::None, b"", Some("a hint".into()), &env);
    let plain = plain
        .and_then(|key| key.to_json())
        .expect("it can be written");
    vec![plain, format!("{json}{}\"}}", "A".repeat(86)).into_bytes()]
}

fn check(data: &[u8]) -> bool {
    let Ok(key) = KeyConfig::from_json(data) else {
        return false;
    };
    let json = key.to_json().expect("it can be written");
    let again = KeyConfig::from_json(&json).expect("what we write we read");
    assert_eq!(again, key);
    assert_eq!(again.to_json().expect("as before"), json);

    let value: Value = serde_json::from_slice(&json).expect("it is json");
    let secret = value["data"].as_str().expect("it has data");
    let others = [Some(key.created()), Some(key.modified()), key.hint()];
    let told_elsewhere = others
        .into_iter()
        .flatten()
        .any(|text| text.contains(secret));
    assert!(
        secret.len() < 16 || told_elsewhere || !format!("{key:?}").contains(secret),
        "a key was printed"
    );

    if cost(&value["kdf"]).is_some_and(|cost| cost <= MAX_COST) {
        let mut asked = false;
        let opened = key.decrypt(|| {
            asked = true;
            Ok(b"a passphrase".to_vec())
        });
        assert!(!asked || key.kdf() != Kdf::None);
        if let (Ok(crypt), Some(stated)) = (&opened, key.fingerprint()) {
            assert_eq!(crypt.fingerprint(), stated);
        }
    }
    true
}

/// Memory and time of the derivation, in no unit; none if it is beyond counting.
fn cost(kdf: &Value) -> Option<u64> {
    let number = |kind: &str, name: &str| kdf[kind][name].as_u64();
    if kdf.is_null() {
        return Some(0);
    }
    if kdf.get("Scrypt").is_some() {
        let cost = number("Scrypt", "n")?.checked_mul(number("Scrypt", "r")?)?;
        return cost.checked_mul(number("Scrypt", "p")?.max(1));
    }
    number("PBKDF2", "iter")
}
