//! A verification of a snapshot outlives its re-sync, unless all chunks are there.

use api_types::status::{SnapshotVerifyState, VerifyState};

use super::super::Resynced;
use super::*;

/// A target with a copy of the source's snapshot.
async fn copied(target: &TestStore) -> TestStore {
    let source = TestStore::filesystem().await;
    source.backup("", DIR, &CHUNKS).await;
    let session = begin(target).await;
    copy_files(&source, &session).await;
    session.commit_copy(manifest(&source)).await.unwrap();
    source
}

fn lose(target: &TestStore, data: &[u8]) {
    std::fs::remove_file(target.store.chunks().chunk_path(&digest_of(data))).unwrap();
    if target.server.is_some() {
        target.delete_object(&TestStore::chunk_key(data));
    }
}

/// Records a verification, as one or a collection does.
async fn judge(at: &TestStore, state: VerifyState) {
    let SnapshotPath { ns, dir } = path();
    let upid = "UPID:vm:00000B5D:00032AF6:00000094:69000000:verify:store:root@pam:";
    let state = SnapshotVerifyState {
        upid: upid.parse().unwrap(),
        state,
    };
    let change = |manifest: &mut Manifest| manifest.set_verify_state(Some(&state));
    let updated = at
        .store
        .update_manifest(None, &ns, &dir, &at.cancel, change);
    updated.await.unwrap();
}

async fn note(at: &TestStore, text: &str) {
    let SnapshotPath { ns, dir } = path();
    let noted = at
        .store
        .set_snapshot_notes(None, &ns, &dir, text, &at.cancel);
    noted.await.unwrap();
}

async fn standing(at: &TestStore) -> (Option<VerifyState>, Option<String>) {
    let SnapshotPath { ns, dir } = path();
    let manifest = at.store.load_manifest(&ns, &dir).await.unwrap();
    let state = manifest.verify_state().unwrap().map(|state| state.state);
    (state, manifest.notes().map(str::to_owned))
}

/// What a sync does if all files are as the source has them.
async fn nothing_fetched(source: &TestStore, target: &TestStore) -> crate::Result<Resynced> {
    let session = resync(target).await;
    let listed = Manifest::from_blob(&manifest(source), None).unwrap();
    for file in listed.files() {
        assert!(session.has_file(file).await.unwrap(), "{}", file.filename);
    }
    session.commit(manifest(source), &target.cancel).await
}

async fn failed_stays(target: TestStore) {
    let source = copied(&target).await;
    judge(&source, VerifyState::Ok).await;
    note(&source, "of the source").await;
    lose(&target, CHUNKS[1]);
    judge(&target, VerifyState::Failed).await;

    let missing = Some(digest_of(CHUNKS[1]));
    for _ in 0..2 {
        let resynced = nothing_fetched(&source, &target).await.unwrap();
        assert_eq!(resynced, Resynced::StillFailed { missing });
        let notes = Some("of the source".to_owned());
        assert_eq!(standing(&target).await, (Some(VerifyState::Failed), notes));
    }
    if target.server.is_some() {
        let object = target.object(&format!(".cnt/{DIR}/{}", ArchiveName::MANIFEST));
        assert_eq!(object, file(&target, ArchiveName::MANIFEST));
    }
    // The next backup must upload what is missing.
    let dir = path().dir;
    let time = api_types::names::BackupTime::from_secs(dir.time.secs() + 60).unwrap();
    let options = SessionOptions::new(dir.group, time, "root@pam".parse().unwrap());
    let next = WriterSession::start(&target.store, options, &target.cancel)
        .await
        .unwrap();
    assert!(next.base().is_none());
    let stored = chunk(&source, digest_of(CHUNKS[1])).await;
    let inserted = next.insert_chunk(digest_of(CHUNKS[1]), length(CHUNKS[1]), stored);
    assert!(!inserted.await.unwrap().duplicate);
    next.abort().await.unwrap();

    // Now that all is there, it is the source's word that counts.
    let resynced = nothing_fetched(&source, &target).await.unwrap();
    assert_eq!(resynced, Resynced::Whole);
    assert_same(&source, &target);
}

#[tokio::test(start_paused = true)]
async fn failed_stays_on_a_directory() {
    failed_stays(TestStore::filesystem().await).await;
}

#[tokio::test(start_paused = true)]
async fn failed_stays_in_a_bucket() {
    failed_stays(TestStore::s3().await).await;
}

/// What a collection finds between the look at the chunks and the manifest's lock.
#[tokio::test(start_paused = true)]
async fn what_fails_while_the_session_ends_stays_failed() {
    let target = TestStore::filesystem().await;
    let source = copied(&target).await;
    judge(&source, VerifyState::Ok).await;
    let SnapshotPath { ns, dir } = path();
    let held = target.store.locks().try_manifest(&ns, &dir).unwrap();
    let found = async {
        // The session waits for the lock; whoever has it says that the snapshot has failed.
        target.env.sleep(std::time::Duration::from_secs(1)).await;
        let listed = target.store.load_manifest(&ns, &dir).await.unwrap();
        drop(held);
        drop(listed);
        judge(&target, VerifyState::Failed).await;
    };
    let (resynced, ()) = tokio::join!(nothing_fetched(&source, &target), found);
    let missing = None;
    assert_eq!(resynced.unwrap(), Resynced::StillFailed { missing });
    assert_eq!(standing(&target).await.0, Some(VerifyState::Failed));
}

/// Nothing says which chunks are missing, but such a snapshot is no base, and would be one then.
#[tokio::test(start_paused = true)]
async fn an_unreadable_manifest_is_replaced_only_if_all_chunks_are_there() {
    let target = TestStore::filesystem().await;
    let source = copied(&target).await;
    lose(&target, CHUNKS[0]);
    let SnapshotPath { ns, dir } = path();
    let here = target.store.snapshots().snapshot_path(&ns, &dir);
    std::fs::write(here.join(ArchiveName::MANIFEST), b"no manifest at all").unwrap();
    let refused = nothing_fetched(&source, &target).await.unwrap_err();
    assert!(refused.to_string().contains("resync-corrupt"), "{refused}");
    let stored = chunk(&source, digest_of(CHUNKS[0])).await;
    let session = resync(&target).await;
    let inserted = session.insert_chunk(digest_of(CHUNKS[0]), length(CHUNKS[0]), stored);
    inserted.await.unwrap();
    let commit = session.commit(manifest(&source), &target.cancel);
    assert_eq!(commit.await.unwrap(), Resynced::Whole);
    assert_same(&source, &target);
}
