//! Phases 2 and 3 of the baseline on a bucket: each listed key is locked and looked up, one page
//! after the other; deletes of 100 keys, one after the other; then the scan of the chunk
//! directories.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use api_types::digest::Digest;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, Flock, FlockArg, OFlag, openat};
use nix::sys::stat::{FileStat, Mode, fstat, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use s3_client::env::Env;
use s3_client::{DirPrefix, ListOptions, ListPrefix, ObjectKey, S3Client};

use super::lru::DEFAULT_CAPACITY;
use super::mark::{ChunkPath, Marked, TouchFiles, mark};

/// Candidates, with their locks held, that make a delete request.
const BATCH: usize = 100;

/// What the baseline works on.
#[derive(Clone, Debug)]
pub struct Store {
    /// Its directory, with `.chunks`.
    pub base: PathBuf,
    /// Where lock files go; upstream's are in memory, so should these be.
    pub locks: PathBuf,
    /// `<store>/.chunks`
    pub chunks: DirPrefix,
    /// The client, the same as ours.
    pub client: S3Client,
    /// The machine's clock.
    pub env: Env,
}

/// What a collection has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Phase 1.
    pub marked: Marked,
    /// Keys listed.
    pub listed: u64,
    /// Objects deleted.
    pub deleted: u64,
    /// Delete requests sent.
    pub delete_requests: u64,
    /// Chunk files looked at in phase 3.
    pub scanned: u64,
}

/// A candidate, locked until its delete is answered.
struct Candidate {
    key: ObjectKey,
    _lock: Flock<std::os::fd::OwnedFd>,
}

/// Collects garbage: whatever is not touched from now on, without a grace period.
pub async fn collect(store: &Store) -> Result<Collected> {
    store.client.head_bucket().await?;
    // File systems keep times with the granularity of their clock tick: what was touched before
    // must be seen to be older.
    store.env.sleep(std::time::Duration::from_millis(20)).await;
    let min_atime = store.env.unix_millis() - 10;
    let base = store.base.clone();
    let marked = store
        .env
        .blocking(move || mark(&base, &mut TouchFiles::new(&base)?, DEFAULT_CAPACITY))
        .await?;
    let mut sweep = Sweep {
        directory: open_directory(&store.base.join(".chunks"))?,
        base: store.base.join(".chunks"),
        locks: open_directory(&store.locks)?,
        path: ChunkPath::default(),
        min_atime,
        batch: Vec::new(),
        collected: Collected {
            marked,
            ..Collected::default()
        },
    };
    let options = ListOptions {
        prefetch: false,
        ..ListOptions::default()
    };
    let mut listing = store.client.list(ListPrefix::from(&store.chunks), options);
    while let Some(page) = listing.next_page().await {
        for object in page?.objects {
            sweep.collected.listed += 1;
            let name = object.key.file_name();
            let Ok(digest) = Digest::from_hex(name) else {
                continue;
            };
            sweep.judge(&digest, object.key)?;
            if sweep.batch.len() >= BATCH {
                sweep.send(&store.client).await?;
            }
        }
    }
    sweep.send(&store.client).await?;
    let collected = store.env.blocking(move || sweep.scan()).await?;
    Ok(collected)
}

struct Sweep {
    /// `.chunks`
    base: PathBuf,
    directory: File,
    locks: File,
    path: ChunkPath,
    min_atime: i64,
    batch: Vec<Candidate>,
    collected: Collected,
}

impl Sweep {
    /// Locks the digest and looks at its chunk file.
    fn judge(&mut self, digest: &Digest, key: ObjectKey) -> Result<()> {
        let Some(lock) = self.lock(digest)? else {
            return Ok(());
        };
        let path = self.path.of(digest);
        let stat = fstatat(self.directory.as_fd(), path, AtFlags::AT_SYMLINK_NOFOLLOW);
        match stat {
            Ok(stat) if accessed(&stat) >= self.min_atime => return Ok(()),
            Ok(_) => unlinkat(self.directory.as_fd(), path, UnlinkatFlags::NoRemoveDir)
                .with_context(|| format!("cannot remove chunk {digest}"))?,
            Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno).with_context(|| format!("cannot look at {digest}")),
        }
        self.batch.push(Candidate { key, _lock: lock });
        Ok(())
    }

    /// Create and open, flock without waiting, fstat: whether it is still the file of that name.
    fn lock(&mut self, digest: &Digest) -> Result<Option<Flock<std::os::fd::OwnedFd>>> {
        let name = self.path.name_of(digest);
        let flags = OFlag::O_CREAT | OFlag::O_RDWR | OFlag::O_CLOEXEC;
        let file = openat(
            self.locks.as_fd(),
            name,
            flags,
            Mode::from_bits_truncate(0o600),
        )
        .with_context(|| format!("cannot open the lock of {digest}"))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => {
                let stat = fstat(&*lock).context("cannot look at a lock")?;
                Ok((stat.st_nlink > 0).then_some(lock))
            }
            Err((_, Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, errno)) => Err(errno).with_context(|| format!("cannot lock {digest}")),
        }
    }

    async fn send(&mut self, client: &S3Client) -> Result<()> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let keys: Vec<ObjectKey> = self.batch.iter().map(|entry| entry.key.clone()).collect();
        let report = client.delete_objects(&keys).await?;
        if !report.is_complete() {
            bail!("the baseline could not delete {} keys", keys.len());
        }
        self.collected.delete_requests += 1;
        self.collected.deleted += u64::try_from(keys.len())?;
        self.batch.clear();
        Ok(())
    }

    /// All 65 536 directories: markers that nobody touched go.
    fn scan(mut self) -> Result<Collected> {
        for prefix in 0..=u16::MAX {
            let directory = self.base.join(format!("{prefix:04x}"));
            let entries = match std::fs::read_dir(&directory) {
                Ok(entries) => entries,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => {
                    return Err(error)
                        .with_context(|| format!("cannot read {}", directory.display()));
                }
            };
            for entry in entries {
                let name = entry?.file_name();
                let digest = name.to_str().and_then(|name| Digest::from_hex(name).ok());
                let Some(digest) = digest else { continue };
                self.collected.scanned += 1;
                let path = self.path.of(&digest);
                let stat = fstatat(self.directory.as_fd(), path, AtFlags::AT_SYMLINK_NOFOLLOW)?;
                if accessed(&stat) < self.min_atime {
                    unlinkat(self.directory.as_fd(), path, UnlinkatFlags::NoRemoveDir)?;
                }
            }
        }
        Ok(self.collected)
    }
}

fn open_directory(path: &Path) -> Result<File> {
    File::open(path).with_context(|| format!("cannot open {}", path.display()))
}

fn accessed(stat: &FileStat) -> i64 {
    stat.st_atime * 1000 + stat.st_atime_nsec / 1_000_000
}
