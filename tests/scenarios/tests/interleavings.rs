//! Others change the set of snapshots while the mark runs (`gc.md` §9, T15–T18): every
//! interleaving of their steps with those of the collection, through the real operations.
//!
//! In a bucket the collection also reads what only the bucket has (P1b), so that most of what the
//! passes over the local tree could miss is caught twice; a datastore in a directory has nothing
//! but the passes. Grace is off.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use api_types::names::{ArchiveName, BackupNamespace};
use bytes::Bytes;
use datastore::format::dynamic_index::DynamicIndexWriter;
use datastore::format::index::IndexIdentity;
use datastore::gc::GcReport;
use datastore::locks::MoveJournal;
use datastore::session::WriterSession;
use s3_client::{PutMode, TaskKind};
use scenarios::facts::check_report;
use scenarios::meanwhile::{Story, at_every_interleaving};
use scenarios::{
    BUCKET, Chunk, STORE, Server, Snapshot, World, chunk, chunks, commit, group, insert,
    write_index,
};

const HOUR: Duration = Duration::from_secs(3600);

async fn world(bucket: bool) -> Result<(World, Server)> {
    match bucket {
        true => World::new().await,
        false => World::directory().await,
    }
}

/// The chunks that must be there are, nothing exceptional is left, and one more collection leaves
/// exactly them.
async fn check_rest(world: &World, server: &Server, live: &[&Snapshot]) -> Result<()> {
    for _ in 0..2 {
        for snapshot in live {
            let whole = server.can_restore(snapshot).await?;
            ensure!(whole, "{} has lost a chunk", snapshot.dir);
        }
        if server.store.backend().s3().is_some() {
            server.check_presence(world)?;
            server.check_settled()?;
        }
        world.pass(HOUR).await;
        server.gc_now().await?;
    }
    let mut expected: Vec<_> = live.iter().flat_map(|snapshot| &snapshot.chunks).collect();
    expected.sort_by_key(|chunk| chunk.digest);
    expected.dedup_by_key(|chunk| chunk.digest);
    if server.store.backend().s3().is_some() {
        let expected: Vec<Chunk> = expected.into_iter().cloned().collect();
        return world.check_objects(&expected);
    }
    let expected: Vec<_> = expected.iter().map(|chunk| chunk.digest).collect();
    ensure!(server.local_digests()? == expected, "garbage is left");
    Ok(())
}

/// Nothing of it counted wrongly; what is deleted in a directory is in upstream's fields only.
fn check_outcome(server: &Server, outcome: Result<GcReport>) -> Result<GcReport> {
    let report = outcome.context("the collection failed")?;
    ensure!(
        server.store.backend().s3().is_none() || report.adds_up(),
        "the report does not add up: {report:?}"
    );
    ensure!(report.missing == 0, "chunks are missing");
    Ok(report)
}

// --- T15 ----------------------------------------------------------------------------------------

#[derive(Clone, Copy, PartialEq)]
enum Reuse {
    /// Through the base: neither uploaded nor asked for.
    Base,
    /// By asking for each chunk.
    Duplicates,
}

/// A new snapshot reuses the chunks of the one before, which is then pruned. In a directory index
/// and manifest appear at different steps.
struct Reused<const BUCKET: bool> {
    world: World,
    server: Server,
    reuse: Reuse,
    old: Snapshot,
    session: Option<WriterSession>,
    new: Option<Snapshot>,
}

impl<const BUCKET: bool> Reused<BUCKET> {
    async fn set_up(reuse: Reuse) -> Result<Self> {
        let (world, server) = world(BUCKET).await?;
        let old = server.backup("a", 0, &chunks("old", 2)).await?;
        world.pass(HOUR).await;
        Ok(Self {
            world,
            server,
            reuse,
            old,
            session: None,
            new: None,
        })
    }

    fn chunks(&self) -> Vec<Chunk> {
        [&self.old.chunks[..], &[chunk("own")]].concat()
    }

    async fn begin(&self) -> Result<WriterSession> {
        let session = self.server.session("a", 3600).await?;
        match self.reuse {
            Reuse::Base => {
                let base = session.base().context("a base")?;
                ensure!(base.dir() == &self.old.dir, "another base");
                let name: ArchiveName = "tree.didx".parse()?;
                session.load_base_index(&name).await?;
            }
            Reuse::Duplicates => {
                for chunk in &self.old.chunks {
                    let size = u32::try_from(chunk.data.len())?;
                    let known = session.touch_known(chunk.digest, size).await?;
                    ensure!(known, "{} is not there", chunk.digest);
                }
            }
        }
        insert(&session, &chunk("own")).await?;
        Ok(session)
    }
}

impl<const BUCKET: bool> Story for Reused<BUCKET> {
    const CHANGES: usize = if BUCKET { 3 } else { 4 };

    fn world(&self) -> &World {
        &self.world
    }

    fn server(&self) -> &Server {
        &self.server
    }

    async fn change(&mut self, which: usize) -> Result<bool> {
        let chunks = self.chunks();
        if which == 0 {
            self.session = Some(self.begin().await?);
        } else if which == Self::CHANGES - 1 {
            self.server.forget(&self.old).await?;
        } else {
            if which == 1 {
                let session = self.session.as_ref().context("a session")?;
                write_index(session, &chunks).await?;
            }
            if which == Self::CHANGES - 2 {
                let session = self.session.take().context("a session")?;
                self.new = Some(commit(session, &chunks).await?);
            }
        }
        Ok(true)
    }
}

async fn reuse_and_prune<const BUCKET: bool>(reuse: Reuse) -> Result<()> {
    let told = at_every_interleaving(
        async || Reused::<BUCKET>::set_up(reuse).await,
        async |story: Reused<BUCKET>, outcome| {
            check_outcome(&story.server, outcome)?;
            let new = story.new.context("a new snapshot")?;
            check_rest(&story.world, &story.server, &[&new]).await
        },
    )
    .await?;
    assert!(told > 400, "{told} interleavings");
    Ok(())
}

/// T15: the PSA case, the chunks known through the base only.
#[tokio::test(start_paused = true)]
async fn t15_reuse_through_the_base_then_prune() -> Result<()> {
    reuse_and_prune::<true>(Reuse::Base).await
}

/// T15 in a directory.
#[tokio::test(start_paused = true)]
async fn t15_reuse_through_the_base_then_prune_in_a_directory() -> Result<()> {
    reuse_and_prune::<false>(Reuse::Base).await
}

/// T15, the chunks known by duplicate answers.
#[tokio::test(start_paused = true)]
async fn t15_reuse_by_duplicates_then_prune() -> Result<()> {
    reuse_and_prune::<true>(Reuse::Duplicates).await
}

// --- T16 ----------------------------------------------------------------------------------------

/// A group of two snapshots moves to a namespace that the walk has passed before, in the order of
/// `s3-backend.md` §11: copies in the bucket, journal, rename, source objects. In a directory the
/// snapshots are renamed at different steps.
struct Moved<const BUCKET: bool> {
    world: World,
    server: Server,
    snapshots: Vec<Snapshot>,
    to: BackupNamespace,
}

impl<const BUCKET: bool> Moved<BUCKET> {
    async fn set_up() -> Result<Self> {
        let (world, server) = world(BUCKET).await?;
        let to = server.create_namespace("a").await?;
        let from = server.create_namespace("b").await?;
        server
            .store
            .snapshots()
            .create_group_dir(&to, &group("g"))?;
        let mut snapshots = Vec::new();
        for (at, name) in [(0, "first"), (60, "second")] {
            snapshots.push(server.backup_in(&from, "g", at, &chunks(name, 1)).await?);
        }
        world.pass(HOUR).await;
        Ok(Self {
            world,
            server,
            snapshots,
            to,
        })
    }

    fn moved(&self, snapshot: &Snapshot) -> Snapshot {
        Snapshot {
            ns: self.to.clone(),
            ..snapshot.clone()
        }
    }

    async fn copy_objects(&self) -> Result<()> {
        let Some(backend) = self.server.store.backend().s3() else {
            return Ok(());
        };
        for snapshot in &self.snapshots {
            for file in ["tree.didx", "index.json.blob"] {
                let from = backend.keys().content_file(&relative(snapshot, file))?;
                let to = relative(&self.moved(snapshot), file);
                let to = backend.keys().content_file(&to)?;
                backend.client().copy_object(&from, &to).await?;
            }
        }
        Ok(())
    }

    fn journal(&self) -> Result<bool> {
        let lock_dir = match self.server.store.backend().s3() {
            Some(_) => self.world.options("cache")?.lock_dir,
            None => self.world.options("store")?.lock_dir,
        };
        // The mark reads it at this step: the mover waits.
        let journal = MoveJournal::new(&lock_dir, self.world.env.clone());
        let Ok(mut journal) = journal.try_lock() else {
            return Ok(false);
        };
        let path = |snapshot: &Snapshot| -> PathBuf {
            let dir = self.server.snapshot_path(&self.moved(snapshot));
            dir.join("tree.didx")
        };
        let paths: Vec<PathBuf> = self.snapshots.iter().map(path).collect();
        journal.append(&paths)?;
        Ok(true)
    }

    fn rename(&mut self, index: usize) -> Result<()> {
        let moved = self.moved(&self.snapshots[index]);
        let (from, to) = (
            self.server.snapshot_path(&self.snapshots[index]),
            self.server.snapshot_path(&moved),
        );
        std::fs::rename(from, to)?;
        Ok(())
    }

    async fn delete_sources(&self) -> Result<()> {
        let Some(backend) = self.server.store.backend().s3() else {
            return Ok(());
        };
        for snapshot in &self.snapshots {
            for file in ["index.json.blob", "tree.didx"] {
                let key = backend.keys().content_file(&relative(snapshot, file))?;
                backend.client().delete_object(&key).await?;
            }
        }
        Ok(())
    }
}

fn relative(snapshot: &Snapshot, file: &str) -> String {
    format!("{}/{}/{file}", snapshot.ns.path(), snapshot.dir.path())
}

impl<const BUCKET: bool> Story for Moved<BUCKET> {
    const CHANGES: usize = if BUCKET { 2 } else { 3 };

    fn world(&self) -> &World {
        &self.world
    }

    fn server(&self) -> &Server {
        &self.server
    }

    async fn change(&mut self, which: usize) -> Result<bool> {
        if which == 0 {
            if !self.journal()? {
                return Ok(false);
            }
            self.copy_objects().await?;
            return Ok(true);
        }
        if which == 1 {
            self.rename(0)?;
        }
        if which == Self::CHANGES - 1 {
            self.rename(1)?;
            self.delete_sources().await?;
        }
        Ok(true)
    }
}

async fn move_group<const BUCKET: bool>() -> Result<()> {
    let told = at_every_interleaving(
        async || Moved::<BUCKET>::set_up().await,
        async |story: Moved<BUCKET>, outcome| {
            let report = check_outcome(&story.server, outcome)?;
            ensure!(report.deleted.count == 0, "something was deleted");
            let moved = |snapshot| story.moved(snapshot);
            let live: Vec<Snapshot> = story.snapshots.iter().map(moved).collect();
            let live: Vec<&Snapshot> = live.iter().collect();
            check_rest(&story.world, &story.server, &live).await
        },
    )
    .await?;
    assert!(told > 150, "{told} interleavings");
    Ok(())
}

/// T16: a group is moved between namespaces.
#[tokio::test(start_paused = true)]
async fn t16_moved_groups_keep_their_chunks() -> Result<()> {
    move_group::<true>().await
}

/// T16 in a directory, where only the journal tells.
#[tokio::test(start_paused = true)]
async fn t16_moved_groups_keep_their_chunks_in_a_directory() -> Result<()> {
    move_group::<false>().await
}

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
