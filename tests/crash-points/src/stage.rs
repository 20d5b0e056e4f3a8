//! A world with one datastore in it, wherever that keeps its chunks.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use api_types::datastore::DatastoreTuning;
use datastore::chunk_store::PrefixDirs;
use datastore::store::create::CreateOptions;
use datastore::store::{BackendOptions, DataStore, StoreOptions};
use datastore::task::SilentTask;
use nix::sys::stat::{UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;
use scenarios::{Server, World};
use tokio_util::sync::CancellationToken;

/// Where a datastore keeps its chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a bucket, with a cache on the disk.
    Bucket,
    /// In a directory.
    Directory,
}

/// Disk, bucket, clock and the datastore on them.
#[derive(Debug)]
pub struct Stage {
    /// The world.
    pub world: World,
    place: Place,
}

const CACHE: &str = "cache";

impl Stage {
    /// A world without a datastore.
    ///
    /// # Errors
    /// If there is no room for it.
    pub async fn new(place: Place) -> Result<Self> {
        let world = World::empty(1).await?;
        // Env and server agree on the time from their first look at the clock.
        let _ = world.env.unix_millis();
        Ok(Self { world, place })
    }

    /// Where the datastore keeps its chunks.
    #[must_use]
    pub fn place(&self) -> Place {
        self.place
    }

    /// What the datastore is created and opened with.
    ///
    /// # Errors
    /// If there is no client.
    pub fn options(&self) -> Result<StoreOptions> {
        let options = self.world.options(CACHE)?;
        Ok(match self.place {
            Place::Bucket => options,
            Place::Directory => StoreOptions {
                backend: BackendOptions::Filesystem,
                tuning: DatastoreTuning {
                    gc_atime_safety_check: Some(false),
                    ..DatastoreTuning::default()
                },
                ..options
            },
        })
    }

    /// Creates the datastore.
    ///
    /// # Errors
    /// If that fails.
    pub async fn create(&self) -> Result<Server> {
        self.create_with(CreateOptions::default()).await
    }

    /// Creates the datastore where that was tried before; re-uses what is there if it must.
    ///
    /// # Errors
    /// If that fails as well.
    pub async fn create_anew(&self) -> Result<Server> {
        match self.create().await {
            Ok(server) => Ok(server),
            Err(refused) => {
                let reuse = CreateOptions {
                    reuse: true,
                    ..CreateOptions::default()
                };
                let created = self.create_with(reuse).await;
                created.with_context(|| format!("not without re-use: {refused:#}"))
            }
        }
    }

    async fn create_with(&self, options: CreateOptions) -> Result<Server> {
        let options = CreateOptions {
            prefix_dirs: PrefixDirs::OnDemand,
            ..options
        };
        let task = SilentTask::new();
        let store = DataStore::create(self.options()?, options, &task).await?;
        Ok(server(store))
    }

    /// Opens the datastore as a new process.
    ///
    /// # Errors
    /// If that fails.
    pub fn open(&self) -> Result<Server> {
        Ok(server(DataStore::open(self.options()?)?))
    }

    /// The datastore's directory.
    #[must_use]
    pub fn base(&self) -> PathBuf {
        self.world.cache(CACHE)
    }

    /// Gives what was written by the machine's clock the time of the virtual one.
    ///
    /// # Errors
    /// If a file resists.
    pub fn settle_times(&self) -> Result<()> {
        let now = TimeSpec::new(self.world.env.unix_secs(), 0);
        settle(self.world.dir(), &now)
    }
}

fn server(store: std::sync::Arc<DataStore>) -> Server {
    Server {
        store,
        cancel: CancellationToken::new(),
    }
}

fn settle(path: &Path, now: &TimeSpec) -> Result<()> {
    use std::os::unix::fs::MetadataExt;
    let metadata = path.symlink_metadata()?;
    if metadata.is_dir() {
        for entry in path.read_dir()? {
            settle(&entry?.path(), now)?;
        }
    }
    let settled = |seconds| match seconds > now.tv_sec() {
        true => *now,
        false => TimeSpec::UTIME_OMIT,
    };
    let (accessed, modified) = (settled(metadata.atime()), settled(metadata.mtime()));
    let flag = UtimensatFlags::NoFollowSymlink;
    utimensat(nix::fcntl::AT_FDCWD, path, &accessed, &modified, flag)?;
    Ok(())
}
