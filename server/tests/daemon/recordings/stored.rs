//! What is stored at the end, file by file beside what the real server stored.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use bytes::Bytes;
use datastore::format::DataBlob;
use datastore::format::manifest::Manifest;
use serde_json::Value;

use super::compare::differences;

/// Files or objects by their names.
pub type Files = BTreeMap<String, Bytes>;

/// Names that each server has of its own.
const OWN: [&str; 4] = [".lock", ".gc-status", ".in-use", ".x-coffer/"];

/// The files below a directory.
pub fn files_below(root: &Path) -> Files {
    let mut files = Files::new();
    let mut open = vec![root.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap();
                files.insert(name.to_owned(), std::fs::read(&path).unwrap().into());
            }
        }
    }
    files
}

/// The differences, one to a line.
pub fn stored_differences(real: &Files, ours: &Files) -> String {
    let mut found = String::new();
    let is_data = |name: &String| !OWN.iter().any(|own| name.starts_with(own));
    for name in real.keys().filter(|name| is_data(name)) {
        if !ours.contains_key(name) {
            let _ = writeln!(found, "{name}: missing");
        }
    }
    for (name, content) in ours.iter().filter(|(name, _)| is_data(name)) {
        let Some(other) = real.get(name) else {
            let _ = writeln!(found, "{name}: more");
            continue;
        };
        let difference = difference(name, other, content);
        if !difference.is_empty() {
            let _ = writeln!(found, "{name}: {difference}");
        }
    }
    found
}

fn difference(name: &str, real: &Bytes, ours: &Bytes) -> String {
    if name.ends_with("/index.json.blob") {
        return differences(&manifest(real), &manifest(ours));
    }
    let same = if name.ends_with("idx") {
        without_identity(real) == without_identity(ours)
    } else {
        real == ours
    };
    if same {
        String::new()
    } else {
        "another content".to_owned()
    }
}

fn manifest(raw: &Bytes) -> Value {
    let blob = DataBlob::from_bytes(raw.clone()).unwrap();
    let manifest = Manifest::from_blob(&blob, None).unwrap();
    serde_json::from_slice(&manifest.to_json_pretty().unwrap()).unwrap()
}

/// An index without its UUID and its time.
fn without_identity(index: &Bytes) -> Vec<u8> {
    let mut index = index.to_vec();
    index[8..32].fill(0);
    index
}
