//! A snapshot: its files, its manifest, the client's log.

use anyhow::{Context as _, Result, ensure};
use api_types::names::{ArchiveName, BackupDir, BackupNamespace, SnapshotPath};
use bytes::Bytes;
use datastore::backend::s3::insert::Payload;
use datastore::format::{DataBlob, FileInfo, MAX_BLOB_PLAIN, Manifest};
use datastore::gc::history::RemovalKind;
use datastore::session::{ResyncSession, Resynced, SessionOptions, WriterSession};
use datastore::task::TaskContext as _;
use s3_client::TaskKind;
use tokio_util::sync::CancellationToken;

use super::Pull;
use super::chunks::Fetch;
use super::source::Reader;
use super::target::Target;
use crate::sync::summary::downloaded;

/// Longest manifest, as stored.
const MAX_MANIFEST: u64 = 16 << 20;
/// Longest index: of more than 25 million chunks.
const MAX_INDEX: u64 = 1 << 30;
/// A blob as it is stored.
const MAX_BLOB_ENCODED: u64 = MAX_BLOB_PLAIN + 44;

impl Pull {
    /// Pulls a snapshot, or what is new of it; with `corrupt` also the chunks that it lacks here.
    pub(super) async fn snapshot(
        &self,
        ns: &BackupNamespace,
        target_ns: &BackupNamespace,
        dir: &BackupDir,
        corrupt: bool,
    ) -> Result<()> {
        let path = SnapshotPath::new(target_ns.clone(), dir.clone());
        let here = self.read_manifest(&path).await?;
        let what = match here {
            Some(_) => "re-sync snapshot",
            None => "start sync",
        };
        self.say(dir, what);
        let opened = self.source.open(ns, dir, self.task.cancel());
        let Some(reader) = self.unless_aborted(opened).await?? else {
            self.say(dir, "skipped - vanished since start of sync");
            return Ok(());
        };
        let raw = reader.file(ArchiveName::MANIFEST, MAX_MANIFEST);
        let Some(raw) = self.unless_aborted(raw).await?? else {
            self.say(dir, "skipped - vanished since start of sync");
            return Ok(());
        };
        if here.as_ref() == Some(&raw) && !corrupt {
            self.client_log(&reader, &path).await?;
            self.say(dir, "no data changes");
            return Ok(());
        }
        let blob = DataBlob::from_bytes(raw)?;
        let manifest = Manifest::from_blob(&blob, None)?;
        ensure!(
            manifest.backup_dir() == *dir,
            "the manifest of {dir} is that of another snapshot, {}",
            manifest.backup_dir()
        );
        let stop = CancellationToken::new();
        let target = self.open_target(&path, here.is_some(), &stop).await?;
        let fetched = self.files(&reader, &target, &manifest, corrupt).await;
        if let Err(error) = fetched {
            target.give_up().await;
            return Err(error);
        }
        let resynced = target.commit(blob, &stop).await?;
        self.client_log(&reader, &path).await?;
        if let Resynced::StillFailed { missing } = resynced {
            let why = missing.map_or_else(String::new, |digest| {
                format!(", as chunk {digest} is missing here; use resync-corrupt to get it")
            });
            self.say(dir, &format!("its verification stays failed{why}"));
        }
        self.say(dir, "sync done");
        Ok(())
    }

    /// The manifest that is here, whatever it says.
    async fn read_manifest(&self, path: &SnapshotPath) -> Result<Option<Bytes>> {
        let (snapshots, path) = (self.store.snapshots().clone(), path.clone());
        let read = move || {
            let name = ArchiveName::MANIFEST;
            snapshots.read_file(&path.ns, &path.dir, name, MAX_BLOB_ENCODED)
        };
        let raw = self.store.env().blocking(read).await?;
        Ok(raw.map(Bytes::from))
    }

    /// Begins to write. `stop` stops requests to the bucket; not the task's own token, which would
    /// also stop that what was begun is removed.
    async fn open_target(
        &self,
        path: &SnapshotPath,
        is_here: bool,
        stop: &CancellationToken,
    ) -> Result<Target> {
        let SnapshotPath { ns, dir } = path;
        if is_here {
            let kind = TaskKind::Sync;
            let session = ResyncSession::start(&self.store, path.clone(), kind, stop).await?;
            return Ok(Target::Existing(Box::new(session)));
        }
        if self.store.snapshots().snapshot_exists(ns, dir)? {
            self.clear_leftovers(path).await?;
        }
        let options = SessionOptions {
            ns: ns.clone(),
            payload: Payload::Cache,
            kind: TaskKind::Sync,
            ..SessionOptions::new(dir.group.clone(), dir.time, self.options.owner.clone())
        };
        let session = WriterSession::start(&self.store, options, stop).await?;
        Ok(Target::New(Box::new(session)))
    }

    /// Removes what a crash has left of an earlier attempt.
    async fn clear_leftovers(&self, path: &SnapshotPath) -> Result<()> {
        let cancel = self.task.cancel();
        let client = self.store.client(TaskKind::Sync, cancel);
        let paths = std::slice::from_ref(path);
        let forgotten = self
            .store
            .forget_snapshots(client.as_ref(), paths, RemovalKind::Cleanup, cancel)
            .await;
        let failed = forgotten.failed.into_iter().map(|(_, error)| error);
        match failed.chain(forgotten.stopped).next() {
            None => Ok(()),
            Some(error) => Err(error)
                .with_context(|| format!("failed to remove the unfinished snapshot {}", path.dir)),
        }
    }

    /// Fetches the files that differ.
    async fn files(
        &self,
        reader: &Reader,
        target: &Target,
        manifest: &Manifest,
        corrupt: bool,
    ) -> Result<()> {
        let dir = manifest.backup_dir();
        for file in manifest.files() {
            let name = &file.filename;
            let is_here = target.has_file(file).await?;
            if is_here && !(corrupt && name.is_index()) {
                continue;
            }
            self.say_of(&dir, name, "sync archive");
            let limit = match name.is_index() {
                true => MAX_INDEX,
                false => MAX_BLOB_ENCODED,
            };
            let raw = self
                .unless_aborted(reader.file(name.as_str(), limit))
                .await??;
            let raw = raw.with_context(|| format!("the source lacks {name} of {dir}"))?;
            if name.is_index() {
                self.index(reader, target, file, &raw, &dir)
                    .await
                    .with_context(|| format!("failed to sync {dir}/{name}"))?;
                if !is_here {
                    target.put_index(name, raw).await?;
                }
            } else {
                self.check_blob(file, raw.clone()).await?;
                target.put_blob(name, raw).await?;
            }
        }
        Ok(())
    }

    async fn index(
        &self,
        reader: &Reader,
        target: &Target,
        file: &FileInfo,
        raw: &Bytes,
        dir: &BackupDir,
    ) -> Result<()> {
        let env = self.store.env();
        let fetch = Fetch {
            env,
            reader,
            target,
            turns: &self.turns,
            totals: &self.totals,
        };
        let begun = env.now();
        let bytes = self.unless_aborted(fetch.index(file, raw)).await??;
        let line = downloaded(bytes, env.now() - begun);
        self.say_of(dir, &file.filename, &line);
        Ok(())
    }

    /// Refuses a blob that is not the one that the manifest lists.
    async fn check_blob(&self, file: &FileInfo, raw: Bytes) -> Result<()> {
        let file = file.clone();
        let check = move || {
            let blob = DataBlob::from_bytes(raw)?;
            ensure!(
                blob.raw_size() == file.size && blob.raw_csum() == *file.csum.as_bytes(),
                "{} is not the file that the manifest lists",
                file.filename
            );
            Ok(())
        };
        self.store.env().blocking(check).await
    }

    /// Fetches the client's log, which may come late, if there is one and it is not here yet.
    async fn client_log(&self, reader: &Reader, path: &SnapshotPath) -> Result<()> {
        let SnapshotPath { ns, dir } = path;
        let name = ArchiveName::CLIENT_LOG;
        let info = self.store.snapshots().snapshot_info(ns, dir)?;
        let is_here = info.is_none_or(|info| info.files.iter().any(|file| file == name));
        if is_here {
            return Ok(());
        }
        let log = self.unless_aborted(reader.client_log(MAX_BLOB_ENCODED));
        let Some(raw) = log.await? else {
            return Ok(());
        };
        let cancel = self.task.cancel();
        let client = self.store.client(TaskKind::Sync, cancel);
        let stored = self
            .store
            .store_client_log(client.as_ref(), ns, dir, raw, cancel);
        stored
            .await
            .with_context(|| format!("failed to store {name} of {dir}"))?;
        let group = &dir.group;
        self.log(&format!(
            "[{group}]: Snapshot {dir}: got backup log file {name}"
        ));
        Ok(())
    }

    fn say(&self, dir: &BackupDir, what: &str) {
        self.log(&format!("[{}]: {}: {what}", dir.group, dir.time));
    }

    fn say_of(&self, dir: &BackupDir, name: &ArchiveName, what: &str) {
        self.log(&format!("[{}]: {}/{name}: {what}", dir.group, dir.time));
    }
}
