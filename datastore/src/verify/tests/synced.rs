//! A sync makes another backup of a snapshot while it is verified.

use std::time::Duration;

use api_types::names::ArchiveName;
use api_types::status::SnapshotVerifyState;
use bytes::Bytes;
use s3_client::TaskKind;
use s3_mock::Op;

use super::*;
use crate::backend::s3::insert::Payload;
use crate::format::blob::DataBlob;
use crate::format::manifest::Manifest;
use crate::session::{ResyncSession, Resynced};
use crate::task::TaskContext as _;

const INDEX: &str = "root.pxar.didx";

fn name(text: &str) -> ArchiveName {
    text.parse().unwrap()
}

/// A file of the first snapshot.
fn file(at: &TestStore, name: &str) -> Bytes {
    let path = at.base().join(FIRST).join(name);
    std::fs::read(path).unwrap().into()
}

/// Another datastore's snapshot of the same name, of chunk TWO.
async fn other() -> TestStore {
    let other = TestStore::filesystem().await;
    other.backup("", FIRST, &[TWO]).await;
    other
}

async fn begin(target: &TestStore, path: &SnapshotPath) -> ResyncSession {
    let (store, cancel) = (&target.store, &target.cancel);
    ResyncSession::start(store, path.clone(), TaskKind::Sync, cancel)
        .await
        .unwrap()
}

async fn replace_index(session: &ResyncSession, source: &TestStore) {
    let length = u32::try_from(TWO.len()).unwrap();
    let blob = DataBlob::encode(TWO, None, true, &source.env).unwrap();
    let inserted = session.insert_chunk(digest_of(TWO), length, blob);
    inserted.await.unwrap();
    let raw = file(source, INDEX);
    session.replace_index(&name(INDEX), raw).await.unwrap();
}

/// Makes it what the other datastore has.
async fn sync(target: &TestStore, source: &TestStore, path: &SnapshotPath) {
    let session = begin(target, path).await;
    replace_index(&session, source).await;
    let raw = file(source, "x.conf.blob");
    session
        .replace_blob(&name("x.conf.blob"), raw)
        .await
        .unwrap();
    let manifest = DataBlob::from_bytes(file(source, ArchiveName::MANIFEST)).unwrap();
    let commit = session.commit(manifest, &target.cancel);
    assert_eq!(commit.await.unwrap(), Resynced::Whole);
}

/// Verifies, and syncs while the only chunk is being looked at.
async fn verify_beside_a_sync(damaged: bool) -> (TestStore, SnapshotPath) {
    let (test, source) = (TestStore::s3().await, other().await);
    let path = test.backup_with("", FIRST, &[ONE], Payload::Discard).await;
    if damaged {
        damage_object(&test, ONE);
    }
    let gate = test
        .server()
        .gate(Op::GetObject, format!("*{}", TestStore::chunk_key(ONE)));
    let synced = async {
        gate.arrived().await;
        sync(&test, &source, &path).await;
        gate.release();
    };
    let task = task();
    let (report, ()) = tokio::join!(verify(&test, &task, all()), synced);
    assert_eq!(report.unwrap().failed.len(), usize::from(damaged));
    assert!(task.contains("was synced while it was verified"));
    (test, path)
}

#[tokio::test(start_paused = true)]
async fn what_was_not_looked_at_is_not_said_to_be_sound() {
    let (test, path) = verify_beside_a_sync(false).await;
    assert_eq!(state(&test, &path).await, None);
    verify(&test, &task(), all()).await.unwrap();
    assert_eq!(state(&test, &path).await, Some(VerifyState::Ok));
}

/// It may name the same damaged chunk, and would be a base.
#[tokio::test(start_paused = true)]
async fn that_it_failed_is_said_all_the_same() {
    let (test, path) = verify_beside_a_sync(true).await;
    assert_eq!(state(&test, &path).await, Some(VerifyState::Failed));
}

/// A collection finds the chunk missing after it was read.
#[tokio::test(start_paused = true)]
async fn what_failed_while_it_was_verified_stays_failed() {
    let test = TestStore::s3().await;
    let path = test.backup_with("", FIRST, &[ONE], Payload::Discard).await;
    let gate = test
        .server()
        .gate(Op::GetObject, format!("*{}", TestStore::chunk_key(ONE)));
    let failed = async {
        gate.arrived().await;
        let state = SnapshotVerifyState {
            upid: upid_of(START + 1).upid().unwrap().parse().unwrap(),
            state: VerifyState::Failed,
        };
        let SnapshotPath { ns, dir } = &path;
        let change = |manifest: &mut Manifest| manifest.set_verify_state(Some(&state));
        let changed = test
            .store
            .update_manifest(None, ns, dir, &test.cancel, change);
        changed.await.unwrap();
        gate.release();
    };
    let task = task();
    let (report, ()) = tokio::join!(verify(&test, &task, all()), failed);
    assert_eq!(report.unwrap().sound, 1);
    assert_eq!(state(&test, &path).await, Some(VerifyState::Failed));
    // Who begins after that has the last word.
    verify(&test, &task, all()).await.unwrap();
    assert_eq!(state(&test, &path).await, Some(VerifyState::Ok));
}

/// Between the object and the local file of a new index, the old local file is no reason to put the
/// object right.
#[tokio::test(start_paused = true)]
async fn the_copy_of_a_new_index_is_not_replaced_by_the_old_one() {
    let (test, source) = (TestStore::s3().await, other().await);
    let path = test.backup_with("", FIRST, &[ONE], Payload::Discard).await;
    let object = format!(".cnt/{FIRST}/{INDEX}");
    test.put_object(&object, b"damaged");
    let session = begin(&test, &path).await;
    let gate = test.server().gate(Op::GetObject, format!("*{object}"));
    let replaced = async {
        gate.arrived().await;
        let wait = async {
            test.env.sleep(Duration::from_secs(1)).await;
            gate.release();
        };
        tokio::join!(replace_index(&session, &source), wait);
    };
    let task = task();
    let (report, ()) = tokio::join!(verify(&test, &task, all()), replaced);
    report.unwrap();
    let new = file(&source, INDEX);
    assert_eq!(file(&test, INDEX), new);
    assert_eq!(test.object(&object), Some(new), "{:?}", task.lines());
}

/// The other order: what is being put is not compared, and no reason to fail.
#[tokio::test(start_paused = true)]
async fn a_file_that_is_being_synced_is_not_compared() {
    let (test, source) = (TestStore::s3().await, other().await);
    let path = test.backup_with("", FIRST, &[ONE], Payload::Discard).await;
    let object = format!(".cnt/{FIRST}/{INDEX}");
    test.put_object(&object, b"damaged");
    let session = begin(&test, &path).await;
    let gate = test.server().gate(Op::PutObject, format!("*{object}"));
    let task = task();
    let verified = async {
        gate.arrived().await;
        let wait = async {
            test.env.sleep(Duration::from_secs(60)).await;
            gate.release();
        };
        tokio::join!(verify(&test, &task, all()), wait).0
    };
    let (report, ()) = tokio::join!(verified, replace_index(&session, &source));
    assert_eq!(report.unwrap().sound, 1);
    assert!(task.contains("was not compared"));
    assert_eq!(test.object(&object), Some(file(&source, INDEX)));
    assert_eq!(file(&test, INDEX), file(&source, INDEX));
}
