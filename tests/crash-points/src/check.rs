//! What a new process must find, and what must become of it.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail, ensure};
use api_types::digest::Digest;
use api_types::names::{BackupNamespace, SnapshotPath};
use datastore::gc::GcReport;
use datastore::refresh::RefreshOptions;
use datastore::task::SilentTask;
use s3_client::TaskKind;
use scenarios::power::Loss;
use scenarios::{AFTER_GRACE, AFTER_QUARANTINE, BUCKET, STORE, Server, Snapshot, chunk_key};

use crate::leftovers;
use crate::story::Fate;
use crate::{Cut, Kind, Place, Stage, Story};

/// Everything.
///
/// # Errors
/// What does not hold.
pub async fn all(stage: &Stage, server: &Server, story: &Story, cut: &Cut) -> Result<()> {
    committed(stage, server, story, cut)
        .await
        .context("right after the crash")?;
    // A directory's chunks are on disk when their session has ended. What a power failure leaves
    // of an unfinished one is believed, as upstream believes it, if its length is right: only a
    // verification finds that.
    if stage.place() == Place::Bucket || !cut.is_power() {
        duplicates(stage, server, story).await?;
    }
    if stage.place() == Place::Directory {
        forget_unfinished(server).await?;
    }
    let mut last = None;
    for round in ["first", "second"] {
        stage.world.pass(AFTER_GRACE).await;
        server.store.tend(&server.cancel).await.context("tend")?;
        let (report, task) = server.gc_with(datastore::gc::GcOptions::default()).await;
        let report = report.with_context(|| format!("the {round} collection"))?;
        ensure!(
            stage.place() == Place::Directory || report.adds_up(),
            "the report does not add up: {report:?}"
        );
        last = Some((report, task));
    }
    // As a daemon does once a minute.
    for _ in 0..2 {
        stage.world.pass(AFTER_QUARANTINE).await;
        server.store.tend(&server.cancel).await.context("tend")?;
    }
    let (report, task) = last.context("no collection")?;
    converged(stage, server, story, cut, &report)
        .await
        .with_context(|| format!("after two collections, {:?}", task.warning_texts()))
}

/// Every committed snapshot is there and whole; there is none that nobody made.
async fn committed(stage: &Stage, server: &Server, story: &Story, cut: &Cut) -> Result<()> {
    let (local, bucket) = (finished(server)?, in_bucket(stage));
    let known = story.all();
    for (snapshot, fate) in &known {
        let path = relative(server, snapshot);
        let (here, there) = (local.contains(&path), bucket.contains(&path));
        if *fate == Fate::Kept {
            ensure!(here, "{path} is not there");
            ensure!(
                there || stage.place() == Place::Directory,
                "{path} is not in the bucket"
            );
        }
        if fate == &Fate::Gone && !cut.is_power() {
            ensure!(!here && !there, "{path} is there again");
        }
        if (here || there) && !may_be_broken(*fate, cut) {
            whole(stage, server, snapshot, here, there)
                .await
                .with_context(|| format!("{path} is not whole"))?;
        }
    }
    let known: BTreeSet<String> = known.iter().map(|(s, _)| relative(server, s)).collect();
    for path in local.union(&bucket) {
        ensure!(known.contains(path), "nobody made {path}");
    }
    Ok(())
}

/// Nothing is synced in between when a snapshot is removed, and where names reach the disk in any
/// order, its index may go before its name does.
fn may_be_broken(fate: Fate, cut: &Cut) -> bool {
    fate.is_removed() && matches!(cut.kind, Kind::Power(Loss::Any { .. }))
}

/// Its indexes name its chunks, and all of them can be read.
async fn whole(
    stage: &Stage,
    server: &Server,
    snapshot: &Snapshot,
    here: bool,
    there: bool,
) -> Result<()> {
    if here {
        server
            .store
            .load_manifest(&snapshot.ns, &snapshot.dir)
            .await?;
        let index = std::fs::read(server.snapshot_path(snapshot).join("tree.didx"))?;
        names_chunks(&index, snapshot).context("the index here")?;
    }
    if there {
        let key = format!("{STORE}/.cnt/{}/tree.didx", relative(server, snapshot));
        let index = stage.world.mock.get(BUCKET, &key);
        names_chunks(&index.context("no index in the bucket")?, snapshot)
            .context("the index in the bucket")?;
    }
    for chunk in &snapshot.chunks {
        ensure!(server.can_read(chunk).await?, "{} is gone", chunk.digest);
    }
    Ok(())
}

fn names_chunks(index: &[u8], snapshot: &Snapshot) -> Result<()> {
    let entries = index.get(4096..).context("it has no header")?;
    let found: Vec<&[u8]> = entries.chunks(40).map(|entry| &entry[8..]).collect();
    let expected: Vec<&[u8]> = snapshot
        .chunks
        .iter()
        .map(|chunk| &chunk.digest.as_bytes()[..])
        .collect();
    ensure!(found == expected, "it names other chunks");
    Ok(())
}

/// A backup of everything that was ever backed up is whole: nobody is told "duplicate" of what is
/// not there, or damaged. Removed again, it makes everything garbage that is not in use.
async fn duplicates(stage: &Stage, server: &Server, story: &Story) -> Result<()> {
    let chunks = story.chunks();
    let again = server
        .backup("again", 1_000_000, &chunks)
        .await
        .context("a backup of all chunks")?;
    let in_bucket = stage.place() == Place::Bucket;
    whole(stage, server, &again, true, in_bucket)
        .await
        .context("a backup of all chunks is not whole")?;
    if in_bucket {
        server.check_presence(&stage.world)?;
    }
    server.forget(&again).await.context("forget")
}

/// Nothing is lost, nothing is left over.
async fn converged(
    stage: &Stage,
    server: &Server,
    story: &Story,
    cut: &Cut,
    report: &GcReport,
) -> Result<()> {
    ensure!(report.missing == 0, "{} chunks are missing", report.missing);
    committed(stage, server, story, cut).await?;
    if stage.place() == Place::Bucket {
        server.check_settled()?;
        server.check_presence(&stage.world)?;
    }
    let (local, bucket) = (finished(server)?, in_bucket(stage));
    let mut live = BTreeSet::new();
    let mut found = stored(stage, server)?;
    for (snapshot, fate) in story.all() {
        let path = relative(server, &snapshot);
        let digests = snapshot.chunks.iter().map(|chunk| chunk.digest);
        if may_be_broken(fate, cut) && (local.contains(&path) || bucket.contains(&path)) {
            found.extend(digests.clone());
        }
        if local.contains(&path) || bucket.contains(&path) {
            live.extend(digests);
        }
    }
    let names = |digests: Vec<&Digest>| digests.iter().map(ToString::to_string).collect::<Vec<_>>();
    ensure!(
        found == live,
        "lost: {:?}, garbage: {:?}",
        names(live.difference(&found).collect()),
        names(found.difference(&live).collect())
    );
    if stage.place() == Place::Bucket && local != bucket {
        ensure!(
            cut.is_power() || bucket.is_superset(&local),
            "only here: {:?}",
            local.difference(&bucket).collect::<Vec<_>>()
        );
        refresh(server).await?;
        ensure!(finished(server)? == bucket, "a refresh did not help");
    }
    leftovers::check(stage, server)
}

/// A collection of a directory leaves unfinished snapshots to whoever runs a prune.
async fn forget_unfinished(server: &Server) -> Result<()> {
    let snapshots = server.store.snapshots();
    for ns in snapshots.namespaces(&BackupNamespace::root(), None)? {
        for group in snapshots.list_groups(&ns)? {
            for info in snapshots.list_snapshots(&ns, &group)? {
                if !info.is_finished() {
                    let path = SnapshotPath::new(ns.clone(), info.dir);
                    server
                        .store
                        .forget_snapshot(None, &path, &server.cancel)
                        .await?;
                }
            }
        }
    }
    Ok(())
}

/// Rebuilds everything from the bucket.
///
/// # Errors
/// If that fails.
pub async fn refresh(server: &Server) -> Result<()> {
    let task = SilentTask::new();
    let options = RefreshOptions::default();
    server
        .store
        .s3_refresh(&task, options)
        .await
        .context("refresh")?;
    Ok(())
}

/// Finished snapshots here, by their paths.
fn finished(server: &Server) -> Result<BTreeSet<String>> {
    let snapshots = server.store.snapshots();
    let mut found = BTreeSet::new();
    for ns in snapshots.namespaces(&BackupNamespace::root(), None)? {
        for group in snapshots.list_groups(&ns)? {
            for info in snapshots.list_snapshots(&ns, &group)? {
                if info.is_finished() {
                    let snapshot = Snapshot {
                        ns: ns.clone(),
                        dir: info.dir,
                        chunks: Vec::new(),
                    };
                    found.insert(relative(server, &snapshot));
                }
            }
        }
    }
    Ok(found)
}

/// Committed snapshots in the bucket, by their paths.
fn in_bucket(stage: &Stage) -> BTreeSet<String> {
    let root = format!("{STORE}/.cnt/");
    let keys = stage.world.mock.keys(BUCKET, &root);
    keys.iter()
        .filter_map(|key| key.strip_prefix(&root)?.strip_suffix("/index.json.blob"))
        .map(str::to_owned)
        .collect()
}

/// The chunks that the store has.
fn stored(stage: &Stage, server: &Server) -> Result<BTreeSet<Digest>> {
    if stage.place() == Place::Directory {
        return Ok(server.local_digests()?.into_iter().collect());
    }
    let keys = stage.world.chunk_keys();
    let digest = |key: &String| Digest::from_hex(key.rsplit('/').next().unwrap_or_default());
    let digests: BTreeSet<Digest> = keys.iter().map(digest).collect::<Result<_, _>>()?;
    if let Some(digest) = digests.iter().find(|d| !keys.contains(&chunk_key(d))) {
        bail!("{digest} is elsewhere");
    }
    Ok(digests)
}

fn relative(server: &Server, snapshot: &Snapshot) -> String {
    let path = server.snapshot_path(snapshot);
    let relative = path.strip_prefix(server.store.base());
    relative.unwrap_or(&path).display().to_string()
}

/// Removes a snapshot; from then on it must be gone.
///
/// # Errors
/// If it cannot be removed.
pub async fn forget(server: &Server, story: &Story, snapshot: &Snapshot) -> Result<()> {
    let client = server.store.client(TaskKind::Prune, &server.cancel);
    let path = SnapshotPath::new(snapshot.ns.clone(), snapshot.dir.clone());
    server
        .store
        .forget_snapshot(client.as_ref(), &path, &server.cancel)
        .await?;
    story.set(snapshot, Fate::Gone);
    Ok(())
}
