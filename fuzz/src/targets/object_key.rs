//! Object keys, and what a key of a listing means.

use api_types::digest::Digest;
use api_types::names::DatastoreName;
use datastore::backend::s3::keys::StoreKeys;
use datastore::gc::chunk_key::{ChunkKey, bad_chunk_key, chunk_key};
use s3_client::encode::{Query, decode_listed, encode_component, encode_path};
use s3_client::{DirPrefix, MAX_KEY_BYTES, ObjectKey};

use super::text::check_error;
use crate::Target;

pub const TARGET: Target = Target {
    name: "object_key",
    max_len: 1536,
    check,
    seeds,
    words: &[
        ".chunks/", ".cnt/", ".in-use", "/", "//", "..", ".bad", ".0.bad", "%2F", "%25", "%", "+",
        "\u{0}", "\u{e9}",
    ],
    memory: 1 << 20,
};

fn seeds() -> Vec<Vec<u8>> {
    let digest = Digest::from_bytes([0xab; 32]);
    let texts = [
        chunk_key(&digest),
        bad_chunk_key(&digest, 0),
        format!("store1/.chunks/{}", chunk_key(&digest)),
        "store1/.cnt/vm/100/2022-05-02T08:11:33Z/index.json.blob".into(),
        "/a b+c%20d/\u{e9}".into(),
        "a/".into(),
    ];
    texts.map(String::into_bytes).into()
}

fn check(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else {
        return false;
    };
    check_encoding(text);
    let chunk = check_chunk_key(text);
    let key = check_key(text);
    let below_store = check_store_keys(text);
    chunk || key || below_store
}

fn check_encoding(text: &str) {
    for encoded in [encode_path(text), encode_component(text)] {
        assert!(encoded.is_ascii() && !encoded.contains([' ', '+', '?', '#', '&']));
        assert_eq!(decode_listed(&encoded).as_deref(), Ok(text));
    }
    match decode_listed(text) {
        Ok(decoded) => assert!(decoded.len() <= text.len()),
        Err(error) => check_error(&error),
    }
    // Whatever is in a value, it stays one.
    let query = Query::new()
        .with("prefix", text)
        .with("delete", "")
        .with("a", "b");
    assert_eq!(query.canonical().split('&').count(), 3);
    assert_eq!(query.canonical().matches('=').count(), 3);
    assert_eq!(query.wire().split('&').count(), 3);
}

fn check_chunk_key(text: &str) -> bool {
    match ChunkKey::classify(text) {
        ChunkKey::Chunk(digest) => assert_eq!(chunk_key(&digest), text),
        ChunkKey::Bad(digest, number) => assert_eq!(bad_chunk_key(&digest, number), text),
        ChunkKey::Unknown => {
            // Nothing that looks like the name of a chunk in its directory is passed over.
            if let Some((dir, name)) = text.split_once('/') {
                assert!(
                    Digest::from_hex(name).is_err() || !name.starts_with(dir) || dir.len() != 4
                );
            }
            return false;
        }
    }
    true
}

fn check_key(text: &str) -> bool {
    let key = ObjectKey::new(text);
    if let Ok(key) = &key {
        let bytes = key.as_str().len();
        assert!((1..=MAX_KEY_BYTES).contains(&bytes));
        assert_eq!(format!("{}{}", key.parent(), key.file_name()), key.as_str());
        assert_eq!(text.strip_prefix('/').unwrap_or(text), key.as_str());
    }
    let dir = DirPrefix::new(text);
    if let Ok(dir) = &dir {
        assert!(dir.as_str().ends_with('/') && dir.as_str().len() <= MAX_KEY_BYTES);
        assert_eq!(
            DirPrefix::new(format!("/{}", dir.as_str())).as_ref(),
            Ok(dir)
        );
        if let Ok(object) = dir.join("name") {
            assert_eq!(object.relative_to(dir), Some("name"));
            assert_eq!(
                (object.parent(), object.file_name()),
                (dir.as_str(), "name")
            );
        }
        if let Ok(child) = dir.child("child") {
            assert!(child.as_str().starts_with(dir.as_str()));
        }
    }
    for error in [key.as_ref().err(), dir.as_ref().err()]
        .into_iter()
        .flatten()
    {
        check_error(error);
    }
    key.is_ok() || dir.is_ok()
}

/// Keys of one store lie below its prefix, and only there.
fn check_store_keys(text: &str) -> bool {
    let name: DatastoreName = "store1".parse().expect("a name");
    let keys = StoreKeys::new(&name).expect("a prefix");
    let other: DatastoreName = "store11".parse().expect("a name");
    let others = StoreKeys::new(&other).expect("a prefix");
    if let Ok(key) = keys.content_file(text) {
        assert_eq!(keys.content_path(&key), Some(text));
        assert_eq!(others.content_path(&key), None);
    }
    if let Ok(key) = ObjectKey::new(text)
        && let Some(relative) = keys.content_path(&key)
    {
        assert_eq!(others.content_path(&key), None);
        assert!(key.as_str().ends_with(relative));
    }
    let mut bytes = [0; 32];
    let len = text.len().min(32);
    bytes[..len].copy_from_slice(&text.as_bytes()[..len]);
    let digest = Digest::from_bytes(bytes);
    let chunks = keys.chunks().expect("a prefix");
    let key = keys.chunk(&digest).expect("a key");
    let relative = key.relative_to(&chunks).expect("it lies there");
    assert_eq!(ChunkKey::classify(relative), ChunkKey::Chunk(digest));
    let bad = keys.bad_chunk(&digest, 7).expect("a key");
    let relative = bad.relative_to(&chunks).expect("it lies there");
    assert_eq!(ChunkKey::classify(relative), ChunkKey::Bad(digest, 7));
    let shard = keys
        .chunk_shard(&digest.prefix_hex()[..2])
        .expect("a prefix");
    assert!(key.as_str().starts_with(shard.as_str()));
    keys.content_file(text).is_ok()
}
