//! What must hold after every scenario, looked up in the bucket and on the disk rather than in the
//! code under test (`gc.md` §8).

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use api_types::digest::Digest;
use datastore::file_time::FileTime;
use datastore::format::blob::DataBlob;
use datastore::gc::GcReport;
use datastore::gc::history::RunFacts;
use datastore::store::state_dir::StateDir;
use s3_mock::Op;

use crate::{BUCKET, Chunk, START, STORE, Server, Snapshot, World, chunk_key, chunks};

/// Keys of these chunks' objects.
#[must_use]
pub fn keys_of(chunks: &[Chunk]) -> BTreeSet<String> {
    chunks
        .iter()
        .map(|chunk| chunk_key(&chunk.digest))
        .collect()
}

impl World {
    /// The chunk objects in the bucket.
    #[must_use]
    pub fn chunk_keys(&self) -> BTreeSet<String> {
        let keys = self.mock.keys(BUCKET, &format!("{STORE}/.chunks/"));
        keys.into_iter().collect()
    }

    /// The chunk objects that were really deleted since the mark, each once; nothing else may be.
    #[must_use]
    pub fn deleted_chunks(&self, mark: u64) -> BTreeSet<String> {
        let keys = self.mock.journal().since(mark).deleted_keys();
        keys.into_iter()
            .filter(|key| key.contains("/.chunks/"))
            .collect()
    }

    /// Number of requests that could delete a chunk object since the mark.
    #[must_use]
    pub fn delete_requests(&self, mark: u64) -> usize {
        let journal = self.mock.journal().since(mark);
        [Op::DeleteObject, Op::DeleteObjects]
            .into_iter()
            .flat_map(|op| journal.requests_of(op))
            .filter(|keys| keys.iter().any(|key| key.contains("/.chunks/")))
            .count()
    }

    /// The chunk objects written since the mark, in order.
    #[must_use]
    pub fn written_chunks(&self, mark: u64) -> Vec<String> {
        let keys = self.mock.journal().since(mark).written_keys();
        keys.into_iter()
            .filter(|key| key.contains("/.chunks/"))
            .collect()
    }

    /// Exactly these chunks have an object.
    pub fn check_objects(&self, expected: &[Chunk]) -> Result<()> {
        let (found, expected) = (self.chunk_keys(), keys_of(expected));
        ensure!(
            found == expected,
            "lost: {:?}, too many: {:?}",
            expected.difference(&found).collect::<Vec<_>>(),
            found.difference(&expected).collect::<Vec<_>>()
        );
        Ok(())
    }

    /// G1: the snapshots restore from the bucket, past the cache. G2: whatever would be answered
    /// "duplicate" has an object. G5 (its half on the disk): see [`Server::check_presence`].
    pub async fn check_safe(&self, server: &Server, live: &[&Snapshot]) -> Result<()> {
        for snapshot in live {
            server.restore(snapshot).await?;
        }
        server.check_presence(self)
    }

    /// Puts `count` old garbage objects with markers into the store, and tells the tripwires that
    /// the last run knew them.
    pub fn known_garbage(&self, server: &Server, count: usize) -> Result<Vec<Chunk>> {
        let garbage = chunks("garbage", count);
        for chunk in &garbage {
            let blob = DataBlob::encode(&chunk.data, None, true, &self.env)?;
            let key = chunk_key(&chunk.digest);
            self.mock
                .put_at(BUCKET, &key, blob.into_raw(), START * 1000);
            server
                .store
                .chunks()
                .create_marker(&chunk.digest, FileTime::from_secs(START))?;
        }
        self.remember_run(server, u64::try_from(count)?, u64::try_from(count)?)?;
        Ok(garbage)
    }

    /// Leaves the record of a last run that left so many objects, so much garbage among them.
    pub fn remember_run(&self, server: &Server, chunks_left: u64, garbage: u64) -> Result<()> {
        let facts = RunFacts {
            chunks_left,
            candidates_left: garbage,
            ..RunFacts::default()
        };
        facts.write(&StateDir::of(server.store.base()).gc_history())?;
        Ok(())
    }

    /// Makes the next run list its chunks in sixteen shards.
    pub fn expect_sixteen_shards(&self, server: &Server) -> Result<()> {
        self.remember_run(server, 30_000, 0)
    }
}

impl Server {
    /// Digests with a local chunk file.
    pub fn local_digests(&self) -> Result<Vec<Digest>> {
        let mut digests = Vec::new();
        for directory in std::fs::read_dir(self.store.chunks().chunk_dir())? {
            let directory = directory?.path();
            if !directory.is_dir() {
                continue;
            }
            for file in std::fs::read_dir(directory)? {
                let name = file?.file_name();
                let name = name.to_str().context("a file name that is no text")?;
                if let Ok(digest) = Digest::from_hex(name) {
                    digests.push(digest);
                }
            }
        }
        digests.sort_unstable();
        Ok(digests)
    }

    /// G2: every ordinary digest with a local file has an object.
    pub fn check_presence(&self, world: &World) -> Result<()> {
        for digest in self.local_digests()? {
            let ordinary = self
                .store
                .digests()
                .with(&digest, |slot| slot.is_ordinary());
            ensure!(
                !ordinary || world.mock.get(BUCKET, &chunk_key(&digest)).is_some(),
                "phantom: {digest} would be answered \"duplicate\" and has no object"
            );
        }
        Ok(())
    }

    /// Nothing is exceptional any more (G11): no state, no suspicion, no open record.
    pub fn check_settled(&self) -> Result<()> {
        let exceptional = self.store.digests().exceptional_count();
        ensure!(
            exceptional == 0,
            "{exceptional} digests are still exceptional"
        );
        let journal = self.delete_journal()?;
        ensure!(journal.is_empty(), "records are still open: {journal}");
        Ok(())
    }

    /// The delete journal as it is on disk.
    pub fn delete_journal(&self) -> Result<String> {
        let path = StateDir::of(self.store.base()).delete_journal();
        Ok(std::fs::read_to_string(path)?)
    }

    /// G5, at the moment when a delete request has arrived at the server: presence is gone and the
    /// record is on disk, for every key.
    pub fn check_announced(&self, keys: &BTreeSet<String>) -> Result<()> {
        let journal = self.delete_journal()?;
        for key in keys {
            let hex = key.rsplit('/').next().unwrap_or_default();
            let digest = Digest::from_hex(hex)?;
            ensure!(
                !self.store.chunks().chunk_path(&digest).exists(),
                "{digest} is still present while its delete is under way"
            );
            ensure!(
                journal.contains(hex),
                "{digest} is being deleted without a record"
            );
        }
        Ok(())
    }
}

/// G12: the report adds up, and names as deleted what the server deleted.
pub fn check_report(report: &GcReport, deleted: usize) -> Result<()> {
    ensure!(report.adds_up(), "the report does not add up: {report:?}");
    ensure!(
        report.deleted.count == u64::try_from(deleted)?,
        "{} reported as deleted instead of {deleted}",
        report.deleted.count
    );
    Ok(())
}

/// Copies a directory with everything in it: a disk image. Chunk files are linked, since reading
/// them would change their times.
pub fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else if entry.file_name().len() == 64 {
            std::fs::hard_link(entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}
