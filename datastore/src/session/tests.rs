//! Snapshots that come whole from another datastore.

mod verdict;

use std::sync::Arc;

use api_types::digest::Digest;
use api_types::names::{ArchiveName, SnapshotPath};
use bytes::Bytes;
use s3_client::TaskKind;

use super::{ResyncSession, SessionOptions, WriterSession};
use crate::format::blob::{DataBlob, MAX_BLOB_PLAIN};
use crate::format::manifest::Manifest;
use crate::gc::options::GcOptions;
use crate::task::SilentTask;
use crate::test_store::{TestStore, digest_of};

const DIR: &str = "host/a/2026-01-15T08:00:00Z";
const CHUNKS: [&[u8]; 2] = [b"the first chunk", b"the second chunk"];
const INDEX: &str = "root.pxar.didx";
const BLOB: &str = "x.conf.blob";

fn path() -> SnapshotPath {
    SnapshotPath::new("".parse().unwrap(), DIR.parse().unwrap())
}

fn name(text: &str) -> ArchiveName {
    text.parse().unwrap()
}

fn length(data: &[u8]) -> u32 {
    u32::try_from(data.len()).unwrap()
}

/// A file of the snapshot.
fn file(at: &TestStore, file: &str) -> Option<Bytes> {
    let snapshots = at.store.snapshots();
    let SnapshotPath { ns, dir } = path();
    let raw = snapshots.read_file(&ns, &dir, file, MAX_BLOB_PLAIN);
    raw.unwrap().map(Bytes::from)
}

fn blob(raw: Bytes) -> DataBlob {
    DataBlob::from_bytes(raw).unwrap()
}

fn manifest(of: &TestStore) -> DataBlob {
    blob(file(of, ArchiveName::MANIFEST).unwrap())
}

async fn chunk(of: &TestStore, digest: Digest) -> DataBlob {
    let read = of
        .store
        .read_chunk(None, digest, crate::backend::s3::insert::Payload::Discard);
    read.await.unwrap()
}

async fn begin(at: &TestStore) -> WriterSession {
    let dir = path().dir;
    let options = SessionOptions::new(dir.group, dir.time, "root@pam".parse().unwrap());
    WriterSession::start(&at.store, options, &at.cancel)
        .await
        .unwrap()
}

async fn resync(at: &TestStore) -> ResyncSession {
    ResyncSession::start(&at.store, path(), TaskKind::Sync, &at.cancel)
        .await
        .unwrap()
}

/// Copies all of a snapshot but its manifest.
async fn copy_files(source: &TestStore, session: &WriterSession) {
    for data in CHUNKS {
        let (digest, length) = (digest_of(data), length(data));
        if !session.touch_known(digest, length).await.unwrap() {
            let blob = chunk(source, digest).await;
            session.insert_chunk(digest, length, blob).await.unwrap();
        }
    }
    let raw = file(source, INDEX).unwrap();
    session.add_index(&name(INDEX), raw).await.unwrap();
    let raw = file(source, BLOB).unwrap();
    session.add_blob(&name(BLOB), raw).await.unwrap();
}

fn assert_same(source: &TestStore, target: &TestStore) {
    for one in [INDEX, BLOB, ArchiveName::MANIFEST] {
        let expected = file(source, one).unwrap();
        assert_eq!(file(target, one).unwrap(), expected, "{one}");
        if target.server.is_some() {
            let object = target.object(&format!(".cnt/{DIR}/{one}"));
            assert_eq!(object.as_ref(), Some(&expected), "{one}");
        }
    }
}

async fn copies_are_equal(target: TestStore) {
    let source = TestStore::filesystem().await;
    source.backup("", DIR, &CHUNKS).await;
    let session = begin(&target).await;
    let raw = file(&source, INDEX).unwrap();
    let early = session.add_index(&name(INDEX), raw).await.unwrap_err();
    assert!(early.to_string().contains("not stored before"), "{early}");
    copy_files(&source, &session).await;
    session.commit_copy(manifest(&source)).await.unwrap();
    drop(session);
    assert_same(&source, &target);
    assert!(target.store.sessions.is_empty());
}

#[tokio::test(start_paused = true)]
async fn copies_on_a_directory_are_equal() {
    copies_are_equal(TestStore::filesystem().await).await;
}

#[tokio::test(start_paused = true)]
async fn copies_in_a_bucket_are_equal() {
    copies_are_equal(TestStore::s3().await).await;
}

#[tokio::test(start_paused = true)]
async fn a_manifest_that_lists_something_else_commits_nothing() {
    let (source, target) = (TestStore::filesystem().await, TestStore::s3().await);
    source.backup("", DIR, &CHUNKS).await;
    let session = begin(&target).await;
    for data in CHUNKS {
        let blob = chunk(&source, digest_of(data)).await;
        let stored = session.insert_chunk(digest_of(data), length(data), blob);
        stored.await.unwrap();
    }
    let raw = file(&source, INDEX).unwrap();
    session.add_index(&name(INDEX), raw).await.unwrap();
    let refused = session.commit_copy(manifest(&source)).await.unwrap_err();
    assert!(refused.to_string().contains(BLOB), "{refused}");
    let raw = file(&source, BLOB).unwrap();
    session.add_blob(&name(BLOB), raw).await.unwrap();
    let more = blob(file(&source, BLOB).unwrap()).into_raw();
    session
        .add_blob(&name("more.conf.blob"), more)
        .await
        .unwrap();
    let refused = session.commit_copy(manifest(&source)).await.unwrap_err();
    assert!(refused.to_string().contains("not all"), "{refused}");
    session.abort().await.unwrap();
    assert_eq!(target.keys(".cnt/host/"), Vec::<String>::new());
}

/// A snapshot whose chunk was lost here, and whose notes changed at the source.
async fn damage_is_mended(target: TestStore) {
    let source = TestStore::filesystem().await;
    source.backup("", DIR, &CHUNKS).await;
    let session = begin(&target).await;
    copy_files(&source, &session).await;
    session.commit_copy(manifest(&source)).await.unwrap();
    drop(session);
    let lost = digest_of(CHUNKS[1]);
    std::fs::remove_file(target.store.chunks().chunk_path(&lost)).unwrap();
    if target.server.is_some() {
        target.delete_object(&TestStore::chunk_key(CHUNKS[1]));
    }
    let SnapshotPath { ns, dir } = path();
    let extra = target.store.snapshots().snapshot_path(&ns, &dir);
    std::fs::write(extra.join("old.conf.blob"), b"not listed").unwrap();
    let noted = source
        .store
        .set_snapshot_notes(None, &ns, &dir, "changed", &source.cancel);
    noted.await.unwrap();

    let session = resync(&target).await;
    let found = Manifest::from_blob(&manifest(&source), None).unwrap();
    for file in found.files() {
        assert!(session.has_file(file).await.unwrap(), "{}", file.filename);
    }
    let lost_length = length(CHUNKS[1]);
    assert!(!session.touch_known(lost, lost_length).await.unwrap());
    let raw = file(&source, INDEX).unwrap();
    let early = session.replace_index(&name(INDEX), raw.clone()).await;
    assert!(early.is_err(), "a chunk is missing");
    let mended = chunk(&source, lost).await;
    session
        .insert_chunk(lost, lost_length, mended)
        .await
        .unwrap();
    let first = session.touch_known(digest_of(CHUNKS[0]), length(CHUNKS[0]));
    assert!(first.await.unwrap());
    session.replace_index(&name(INDEX), raw).await.unwrap();
    let commit = session.commit(manifest(&source), &target.cancel);
    commit.await.unwrap();
    assert_same(&source, &target);
    assert_eq!(file(&target, "old.conf.blob"), None);
    assert_eq!(chunk(&target, lost).await, chunk(&source, lost).await);
    assert!(target.store.sessions.is_empty());
    // Nothing is locked any more.
    target.store.locks().snapshot_exclusive(&ns, &dir).unwrap();
}

#[tokio::test(start_paused = true)]
async fn damage_on_a_directory_is_mended() {
    damage_is_mended(TestStore::filesystem().await).await;
}

#[tokio::test(start_paused = true)]
async fn damage_in_a_bucket_is_mended() {
    damage_is_mended(TestStore::s3().await).await;
}

#[tokio::test(start_paused = true)]
async fn a_collection_spares_what_a_resync_has_inserted() {
    let target = TestStore::filesystem().await;
    target.backup("", DIR, &CHUNKS).await;
    let session = resync(&target).await;
    let data: &[u8] = b"a chunk that no index names yet";
    let blob = DataBlob::encode(data, None, true, &target.env).unwrap();
    let stored = session.insert_chunk(digest_of(data), length(data), blob);
    stored.await.unwrap();
    let days = 3 * 24 * 3600 * 1000;
    let collect = async || {
        target.env.jump_wall_clock(days);
        let task = Arc::new(SilentTask::new());
        let collected = target
            .store
            .garbage_collection(task, GcOptions::default())
            .await;
        collected.unwrap();
        target.store.chunks().chunk_path(&digest_of(data)).exists()
    };
    assert!(collect().await);
    // Nobody removes it meanwhile, either.
    let SnapshotPath { ns, dir } = path();
    assert!(target.store.locks().snapshot_exclusive(&ns, &dir).is_err());
    drop(session);
    assert!(!collect().await);
}
