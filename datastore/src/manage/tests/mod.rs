//! Management of snapshots, groups and namespaces, on both kinds of datastore.

mod changes;
mod destroy;
mod relocate;
mod removal;

use std::collections::BTreeSet;

use api_types::names::{BackupGroup, BackupNamespace, SnapshotPath};

use crate::test_store::TestStore;

const FIRST: &str = "vm/100/2026-01-01T00:00:00Z";
const SECOND: &str = "vm/100/2026-01-02T00:00:00Z";

fn ns(text: &str) -> BackupNamespace {
    text.parse().unwrap()
}

fn group(text: &str) -> BackupGroup {
    text.parse().unwrap()
}

/// The metadata in the bucket, and the same by the local tree.
fn mirror(test: &TestStore) -> (BTreeSet<String>, BTreeSet<String>) {
    let remote = test
        .keys(".cnt/")
        .iter()
        .map(|key| key[".cnt/".len()..].to_owned())
        .collect();
    let mut local = BTreeSet::new();
    let mut pending = vec![test.base()];
    while let Some(dir) = pending.pop() {
        for entry in std::fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let relative = path
                .strip_prefix(test.base())
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned();
            if path.is_dir() && !name.starts_with('.') {
                let parent = dir.file_name().unwrap();
                if parent == "ns" {
                    local.insert(format!("{relative}/.namespace"));
                }
                pending.push(path);
            } else if !name.starts_with('.') || name == ".protected" {
                local.insert(relative);
            }
        }
    }
    (remote, local)
}

fn assert_mirrored(test: &TestStore) {
    let (remote, local) = mirror(test);
    assert_eq!(remote, local);
}

async fn forget(test: &TestStore, path: &SnapshotPath) -> crate::Result<()> {
    test.store.forget_snapshot(None, path, &test.cancel).await
}
