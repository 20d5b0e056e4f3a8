//! Indexes are replaced and namespaces destroyed while the mark runs (`gc.md` §9, T17, T18): every
//! interleaving with the steps of the collection. Grace is off.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use datastore::format::dynamic_index::DynamicIndexWriter;
use datastore::format::index::IndexIdentity;
use datastore::session::WriterSession;
use s3_client::{PutMode, TaskKind};
use scenarios::facts::check_report;
use scenarios::meanwhile::{
    Story, at_every_interleaving, check_outcome, check_rest, gate_metadata_listing,
};
use scenarios::{BUCKET, Chunk, STORE, Server, Snapshot, World, chunk, chunks, insert, no_grace};

const HOUR: Duration = Duration::from_secs(3600);

// --- T17 ----------------------------------------------------------------------------------------

/// A sync replaces the index of a snapshot: the object first, then the local file.
struct Resynced {
    world: World,
    server: Server,
    snapshot: Snapshot,
    new: Vec<Chunk>,
    body: Bytes,
    session: Option<WriterSession>,
}

impl Resynced {
    /// A snapshot of the chunks 0 and 1, of which the sync makes 1 and 2.
    async fn set_up() -> Result<Self> {
        let (world, server) = World::new().await?;
        let all = chunks("synced", 3);
        let snapshot = server.backup("a", 0, &all[..2]).await?;
        let new = all[1..].to_vec();
        let path = world.cache("download.didx");
        let mut writer = DynamicIndexWriter::create(&path, IndexIdentity::new(&world.env))?;
        let mut start = 0;
        for chunk in &new {
            let size = u64::try_from(chunk.data.len())?;
            writer.add_chunk(start, size, &chunk.digest)?;
            start += size;
        }
        let body = writer.close()?.read()?;
        world.pass(HOUR).await;
        Ok(Self {
            world,
            server,
            snapshot,
            new,
            body,
            session: None,
        })
    }

    fn local(&self) -> PathBuf {
        self.server.snapshot_path(&self.snapshot).join("tree.didx")
    }

    fn key(&self) -> String {
        format!("{STORE}/.cnt/{}/tree.didx", self.snapshot.dir.path())
    }

    /// The index is cut off, here and in the bucket.
    fn corrupt(&self) -> Result<()> {
        let whole = std::fs::read(self.local())?;
        let part = whole[..whole.len() - 7].to_vec();
        std::fs::write(self.local(), &part)?;
        self.world.mock.put(BUCKET, &self.key(), part);
        Ok(())
    }

    fn finished(self) -> (World, Server, Snapshot) {
        let snapshot = Snapshot {
            chunks: self.new,
            ..self.snapshot
        };
        (self.world, self.server, snapshot)
    }
}

impl Story for Resynced {
    const CHANGES: usize = 3;

    fn world(&self) -> &World {
        &self.world
    }

    fn server(&self) -> &Server {
        &self.server
    }

    async fn change(&mut self, which: usize) -> Result<bool> {
        match which {
            0 => {
                // A sync is a writer like any other; its snapshot here is only a place to stand.
                let session = self.server.session("sync", 3600).await?;
                for (chunk, known) in self.new.iter().zip([true, false]) {
                    ensure!(insert(&session, chunk).await?.duplicate == known);
                }
                self.session = Some(session);
            }
            1 => {
                let client = self
                    .server
                    .store
                    .client(TaskKind::Sync, &self.server.cancel);
                let client = client.context("a client")?;
                let backend = self.server.store.backend().s3().context("a bucket")?;
                let relative = format!("{}/tree.didx", self.snapshot.dir.path());
                let key = backend.keys().content_file(&relative)?;
                client
                    .put_object(&key, self.body.clone(), PutMode::Replace)
                    .await?;
            }
            _ => {
                let temp = self.local().with_extension("tmp_didx");
                std::fs::write(&temp, &self.body)?;
                std::fs::rename(&temp, self.local())?;
                self.session.take().context("a session")?.abort().await?;
            }
        }
        Ok(true)
    }
}

/// T17: an index is replaced by another version of the snapshot: nothing of the new version is
/// deleted; what only the old one has goes now or with the next run.
#[tokio::test(start_paused = true)]
async fn t17_a_replaced_index_keeps_the_chunks_of_the_new_version() -> Result<()> {
    let told = at_every_interleaving(
        async || Resynced::set_up().await,
        async |story: Resynced, outcome| {
            let report = check_outcome(&story.server, outcome)?;
            ensure!(report.deleted.count <= 1, "more than the old version's");
            let (world, server, snapshot) = story.finished();
            check_rest(&world, &server, &[&snapshot]).await
        },
    )
    .await?;
    assert!(told > 300, "{told} interleavings");
    Ok(())
}

/// T17: the old index is cut off: until the sync has replaced it no collection deletes anything,
/// and each says which file is to blame.
#[tokio::test(start_paused = true)]
async fn t17_a_corrupt_index_stops_the_collection_until_it_is_replaced() -> Result<()> {
    let stopped = std::cell::Cell::new(0);
    let told = at_every_interleaving(
        async || {
            let story = Resynced::set_up().await?;
            story.corrupt()?;
            Ok(story)
        },
        async |story: Resynced, outcome| {
            match outcome {
                Ok(report) => check_report(&report, usize::try_from(report.deleted.count)?)?,
                Err(error) => {
                    let text = format!("{error:#}");
                    ensure!(text.contains("tree.didx"), "it does not say which: {text}");
                    ensure!(story.world.delete_requests(0) == 0, "chunks were deleted");
                    stopped.set(stopped.get() + 1);
                }
            }
            let (world, server, snapshot) = story.finished();
            check_rest(&world, &server, &[&snapshot]).await
        },
    )
    .await?;
    assert!(stopped.get() > 0 && stopped.get() < told);
    Ok(())
}

// --- T18 ----------------------------------------------------------------------------------------

/// A namespace is destroyed from its leaves to its root.
struct Destroyed {
    world: World,
    server: Server,
    kept: Snapshot,
}

impl Destroyed {
    async fn set_up() -> Result<Self> {
        let (world, server) = World::new().await?;
        let shared = chunk("shared");
        for ns in ["a", "a/b"] {
            let ns = server.create_namespace(ns).await?;
            let own = [vec![shared.clone()], chunks(&ns.to_string(), 1)].concat();
            server.backup_in(&ns, "g", 0, &own).await?;
        }
        let ns = server.create_namespace("c").await?;
        let kept = server.backup_in(&ns, "g", 0, &[shared, chunk("c")]).await?;
        world.pass(HOUR).await;
        Ok(Self {
            world,
            server,
            kept,
        })
    }

    async fn destroy(&self, ns: &str) -> Result<()> {
        let client = self
            .server
            .store
            .client(TaskKind::Prune, &self.server.cancel);
        let removal = self
            .server
            .store
            .destroy_namespace(client.as_ref(), &ns.parse()?, true, &self.server.cancel)
            .await?;
        ensure!(removal.is_complete() && removal.removed_namespaces == 1);
        Ok(())
    }
}

impl Story for Destroyed {
    const CHANGES: usize = 2;

    fn world(&self) -> &World {
        &self.world
    }

    fn server(&self) -> &Server {
        &self.server
    }

    async fn change(&mut self, which: usize) -> Result<bool> {
        self.destroy(["a/b", "a"][which]).await?;
        Ok(true)
    }
}

/// T18: destroying a namespace is no error, and its chunks are handled as pruned.
#[tokio::test(start_paused = true)]
async fn t18_a_destroyed_namespace_is_no_error() -> Result<()> {
    let freed = std::cell::RefCell::new(std::collections::BTreeSet::new());
    let told = at_every_interleaving(
        async || Destroyed::set_up().await,
        async |story: Destroyed, outcome| {
            let report = check_outcome(&story.server, outcome)?;
            freed.borrow_mut().insert(report.deleted.count);
            let left = story
                .world
                .mock
                .keys(BUCKET, &format!("{STORE}/.cnt/ns/a/"));
            ensure!(left.is_empty(), "left in the bucket: {left:?}");
            check_rest(&story.world, &story.server, &[&story.kept]).await
        },
    )
    .await?;
    assert!(told > 200, "{told} interleavings");
    // Neither, the inner one's, both.
    assert_eq!(freed.into_inner(), [0, 1, 2].into());
    Ok(())
}

// --- The mirror check ---------------------------------------------------------------------------

/// The index is replaced, here and in the bucket, after the mark has read it and before the
/// bucket's list of indexes is looked at: that the two are equal *now* says nothing of what was
/// read. Nobody has stamped the chunks of the new version.
#[tokio::test(start_paused = true)]
async fn an_index_replaced_behind_the_mark_is_read_from_the_bucket() -> Result<()> {
    let mut story = Resynced::set_up().await?;
    // The chunk that only the new version has is old garbage.
    let stray = story.server.backup("stray", 0, &story.new[1..]).await?;
    story.server.forget(&stray).await?;
    let gate = gate_metadata_listing(&story.world);
    let gc = story
        .world
        .collect_until(&story.server, no_grace(), &gate)
        .await?;
    story
        .world
        .mock
        .put(BUCKET, &story.key(), story.body.clone());
    let temp = story.local().with_extension("tmp_didx");
    std::fs::write(&temp, &story.body)?;
    std::fs::rename(&temp, story.local())?;
    gate.release();
    let report = gc.end().await?;
    check_report(&report, 0)?;
    story.session = None;
    let (world, server, snapshot) = story.finished();
    world.check_safe(&server, &[&snapshot]).await
}
