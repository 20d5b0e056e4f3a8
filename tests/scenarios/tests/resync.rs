//! A sync makes a snapshot what its source has, while and after others look at it.

use anyhow::Result;
use api_types::names::{ArchiveName, SnapshotPath};
use api_types::status::VerifyState;
use datastore::format::DataBlob;
use datastore::session::{ResyncSession, Resynced};
use s3_client::TaskKind;
use scenarios::{BUCKET, Chunk, Server, Snapshot, World, chunk_key, chunks, finish, insert};

/// The manifest as its source has it, which knows nothing of what happens here.
fn manifest(server: &Server, snapshot: &Snapshot) -> Result<DataBlob> {
    let path = server.snapshot_path(snapshot).join(ArchiveName::MANIFEST);
    Ok(DataBlob::from_bytes(std::fs::read(path)?.into())?)
}

async fn resync(server: &Server, snapshot: &Snapshot, manifest: DataBlob) -> Result<Resynced> {
    let path = SnapshotPath::new(snapshot.ns.clone(), snapshot.dir.clone());
    let session = ResyncSession::start(&server.store, path, TaskKind::Sync, &server.cancel).await?;
    Ok(session.commit(manifest, &server.cancel).await?)
}

async fn state(server: &Server, snapshot: &Snapshot) -> Result<Option<VerifyState>> {
    let loaded = server
        .store
        .load_manifest(&snapshot.ns, &snapshot.dir)
        .await?;
    Ok(loaded.verify_state()?.map(|state| state.state))
}

/// The next backup of a group is not built upon what is not there.
async fn uploads_again(server: &Server, at: i64, lost: &Chunk) -> Result<Snapshot> {
    let session = server.session("a", at).await?;
    assert!(session.base().is_none(), "it failed");
    assert!(!insert(&session, lost).await?.duplicate);
    finish(session, std::slice::from_ref(lost)).await
}

/// G13: a collection finds a chunk missing and fails the snapshot; a sync, for which all files are as
/// they should be, comes between that and the next backup, after a restart.
async fn a_failed_snapshot_stays_failed(world: World, server: Server) -> Result<()> {
    let all = chunks("a", 3);
    let snapshot = server.backup("a", 0, &all).await?;
    let source = manifest(&server, &snapshot)?;
    let lost = &all[1];
    world.mock.delete(BUCKET, &chunk_key(&lost.digest));
    server.store.chunks().remove_chunk(&lost.digest)?;
    assert_eq!(server.gc().await?.missing, 1);
    assert_eq!(state(&server, &snapshot).await?, Some(VerifyState::Failed));

    let missing = Some(lost.digest);
    let resynced = resync(&server, &snapshot, source.clone()).await?;
    assert_eq!(resynced, Resynced::StillFailed { missing });
    let server = match server.store.backend().s3() {
        Some(_) => world.restart(server)?,
        None => server,
    };
    assert_eq!(state(&server, &snapshot).await?, Some(VerifyState::Failed));
    let next = uploads_again(&server, 3600, lost).await?;

    let again = resync(&server, &next, manifest(&server, &next)?).await?;
    assert_eq!(again, Resynced::Whole);
    assert_eq!(
        resync(&server, &snapshot, source).await?,
        Resynced::Whole,
        "all chunks are there again"
    );
    assert_eq!(state(&server, &snapshot).await?, None);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_failed_snapshot_stays_failed_in_a_bucket() -> Result<()> {
    let (world, server) = World::new().await?;
    a_failed_snapshot_stays_failed(world, server).await
}

#[tokio::test(start_paused = true)]
async fn a_failed_snapshot_stays_failed_in_a_directory() -> Result<()> {
    let (world, server) = World::directory().await?;
    a_failed_snapshot_stays_failed(world, server).await
}
