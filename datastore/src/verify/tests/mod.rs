//! Verification, on both kinds of datastore.

mod bucket;
mod directory;
mod synced;

use api_types::names::SnapshotPath;
use api_types::status::VerifyState;

use super::{VerifyMode, VerifyOptions, VerifyReport, VerifyScope};
use crate::task::RecordingTask;
use crate::test_store::{START, TestStore, digest_of};

const FIRST: &str = "vm/100/2026-01-01T00:00:00Z";
const SECOND: &str = "vm/100/2026-01-02T00:00:00Z";

const ONE: &[u8] = &[1; 3000];
const TWO: &[u8] = &[2; 5000];

fn task() -> RecordingTask {
    upid_of(START)
}

fn upid_of(start: i64) -> RecordingTask {
    RecordingTask::with_upid(format!(
        "UPID:vm:00000B5D:00032AF6:00000094:{start:08X}:verify:store:root@pam:"
    ))
}

fn all() -> VerifyOptions {
    VerifyOptions {
        ignore_verified: false,
        ..VerifyOptions::default()
    }
}

fn quick() -> VerifyOptions {
    VerifyOptions {
        mode: VerifyMode::Quick,
        ..all()
    }
}

async fn verify(
    test: &TestStore,
    task: &RecordingTask,
    options: VerifyOptions,
) -> crate::Result<VerifyReport> {
    let everything = |_: &_, _: &_| true;
    let scope = VerifyScope {
        ns: "".parse().unwrap(),
        max_depth: None,
        may_verify: &everything,
    };
    test.store.verify_datastore(task, &scope, options).await
}

async fn state(test: &TestStore, path: &SnapshotPath) -> Option<VerifyState> {
    let manifest = test.store.load_manifest(&path.ns, &path.dir).await.unwrap();
    manifest.verify_state().unwrap().map(|state| state.state)
}

/// Overwrites the chunk file of a filesystem datastore.
fn damage_file(test: &TestStore, data: &[u8]) {
    let path = test.store.chunks().chunk_path(&digest_of(data));
    let mut raw = std::fs::read(&path).unwrap();
    let last = raw.len() - 1;
    raw[last] ^= 1;
    std::fs::write(&path, raw).unwrap();
}

/// Damages a chunk object, past every check.
fn damage_object(test: &TestStore, data: &[u8]) {
    let key = TestStore::chunk_key(data);
    let mut raw = test.object(&key).unwrap().to_vec();
    let last = raw.len() - 1;
    raw[last] ^= 1;
    test.put_object(&key, &raw);
}

fn bad_keys(test: &TestStore) -> Vec<String> {
    test.keys(".chunks/")
        .into_iter()
        .filter(|key| key.ends_with(".bad"))
        .collect()
}
