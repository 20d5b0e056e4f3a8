//! A datastore in a bucket, with snapshots and garbage, that ours and the baseline clean in turn.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use api_types::datastore::DatastoreTuning;
use api_types::digest::Digest;
use api_types::names::ArchiveName;
use bytes::Bytes;
use datastore::backend::s3::keys::StoreKeys;
use datastore::backend::s3::ownership::Instance;
use datastore::chunk_store::PrefixDirs;
use datastore::gc::{GcOptions, GcReport};
use datastore::store::create::CreateOptions;
use datastore::store::{BackendOptions, DataStore, StoreOptions};
use datastore::task::SilentTask;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use s3_client::env::Env;
use s3_client::{ObjectKey, PutMode, PutOptions, S3Client};
use s3_mock::MockS3;

use super::corpus::Corpus;
use super::series::{Series, Written};
use super::{index_file, markers, snapshots};
use crate::baseline;
use crate::row::Setup;

/// Uploads at once while the data is prepared.
const PARALLEL_PUTS: usize = 32;
/// `Date` headers have whole seconds: what was written later than this ago may look younger than
/// the listing.
const SETTLE: std::time::Duration = std::time::Duration::from_millis(2100);

/// How objects get into the bucket.
#[derive(Clone, Debug)]
pub enum Bucket {
    /// Past the scripted server's network.
    Mock(MockS3, String),
    /// By uploads.
    Uploads,
}

/// What there is to be.
#[derive(Clone, Copy, Debug)]
pub struct Content {
    /// The snapshots.
    pub series: Series,
    /// Chunks in all, of which a tenth is garbage.
    pub chunks: u64,
    /// Bytes of each object.
    pub object_bytes: usize,
}

/// The store, and all that is needed to soil it again.
#[derive(Debug)]
pub struct BucketStore {
    /// Ours.
    pub store: Arc<DataStore>,
    /// The baseline's view of the same files and objects.
    pub baseline: baseline::s3::Store,
    /// What the indexes name.
    pub written: Written,
    bucket: Bucket,
    keys: StoreKeys,
    client: S3Client,
    env: Env,
    garbage: Vec<Digest>,
    object: Bytes,
}

impl BucketStore {
    /// Creates the datastore `name` and fills it.
    pub async fn create(
        setup: &Setup,
        name: &str,
        client: S3Client,
        bucket: Bucket,
        content: Content,
    ) -> Result<Self> {
        let base = setup.dir(name);
        // As upstream has its lock files.
        let locks = setup.memory_dir(&format!("locks-{name}"))?;
        let run = setup.dir(&format!("run-{name}"));
        let store = create_store(&setup.env, name, &base, &run, client.clone()).await?;
        let keys = StoreKeys::new(&name.parse()?)?;
        let corpus = Corpus::new(content.chunks * 2);
        let this = Self {
            baseline: baseline::s3::Store {
                base: base.clone(),
                locks,
                chunks: keys.chunks()?,
                client: client.clone(),
                env: setup.env.clone(),
            },
            store,
            bucket,
            keys,
            client,
            env: setup.env.clone(),
            garbage: Vec::new(),
            object: Bytes::from(vec![0x5a; content.object_bytes]),
            written: Written::default(),
        };
        this.fill(corpus, content).await
    }

    async fn fill(mut self, corpus: Corpus, content: Content) -> Result<Self> {
        let mut objects: Vec<(ObjectKey, Bytes)> = Vec::new();
        let garbage = content.chunks / 10;
        let base = self.baseline.base.clone();
        let mut finished = Vec::new();
        let live = content.chunks - garbage;
        self.written = content.series.for_each(corpus, live, |index| {
            let bytes = index_file::encode(index.kind, &index.digests, index.uuid);
            let path = base.join(index.relative());
            std::fs::create_dir_all(base.join(&index.snapshot))?;
            std::fs::write(&path, &bytes)?;
            let relative = format!("{}/{}", index.snapshot, index.name);
            objects.push((self.keys.content_file(&relative)?, bytes.into()));
            finished.push(index.snapshot);
            Ok(())
        })?;
        for snapshot in finished {
            let bytes = snapshots::manifest(&snapshot)?;
            let relative = format!("{snapshot}/{}", ArchiveName::MANIFEST);
            std::fs::write(base.join(&relative), &bytes)?;
            objects.push((self.keys.content_file(&relative)?, bytes));
        }
        let born = |i| corpus.digest(corpus.born(i));
        let live: Vec<Digest> = (0..self.written.chunks).map(born).collect();
        self.garbage = (self.written.chunks..self.written.chunks + garbage)
            .map(born)
            .collect();
        markers::create(&base.join(".chunks"), &live)?;
        for digest in &live {
            objects.push((self.keys.chunk(digest)?, self.object.clone()));
        }
        self.put(objects).await?;
        Ok(self)
    }

    /// Number of garbage chunks after [`Self::soil`].
    #[must_use]
    pub fn garbage(&self) -> u64 {
        u64::try_from(self.garbage.len()).unwrap_or(u64::MAX)
    }

    /// Number of chunk objects after [`Self::soil`].
    #[must_use]
    pub fn objects(&self) -> u64 {
        self.written.chunks + self.garbage()
    }

    /// Puts the garbage back, objects and markers.
    pub async fn soil(&self) -> Result<()> {
        markers::create(&self.baseline.base.join(".chunks"), &self.garbage)?;
        let key = |digest: &Digest| Ok((self.keys.chunk(digest)?, self.object.clone()));
        let objects = self.garbage.iter().map(key).collect::<Result<Vec<_>>>()?;
        self.put(objects).await?;
        self.env.sleep(SETTLE).await;
        Ok(())
    }

    async fn put(&self, objects: Vec<(ObjectKey, Bytes)>) -> Result<()> {
        if let Bucket::Mock(mock, bucket) = &self.bucket {
            for (key, body) in objects {
                mock.put(bucket, key.as_str(), body);
            }
            return Ok(());
        }
        stream::iter(objects)
            .map(|(key, body)| async move {
                let options = PutOptions::chunk(PutMode::Replace);
                self.client.put_object(&key, body, options).await?;
                Ok::<_, anyhow::Error>(())
            })
            .buffer_unordered(PARALLEL_PUTS)
            .try_collect::<Vec<()>>()
            .await?;
        Ok(())
    }

    /// Our collection of the soiled store; what it took, and its report.
    pub async fn collect(&self) -> Result<(f64, GcReport)> {
        let options = GcOptions {
            grace: Some(std::time::Duration::ZERO),
            ..GcOptions::default()
        };
        let started = self.env.now();
        let report = self
            .store
            .garbage_collection(Arc::new(SilentTask::new()), options)
            .await?;
        let seconds = (self.env.now() - started).as_secs_f64();
        ensure!(
            report.adds_up()
                && report.deleted.count == self.garbage()
                && report.listing.live == self.written.chunks,
            "the collection did something else: deleted {}, live {}, pending {:?}",
            report.deleted.count,
            report.listing.live,
            report.pending
        );
        Ok((seconds, report))
    }

    /// The baseline's collection of the soiled store.
    pub async fn collect_baseline(&self) -> Result<(f64, baseline::s3::Collected)> {
        let started = self.env.now();
        let collected = baseline::s3::collect(&self.baseline).await?;
        let seconds = (self.env.now() - started).as_secs_f64();
        ensure!(
            collected.deleted == self.garbage() && collected.listed == self.objects(),
            "the baseline did something else: {collected:?}"
        );
        Ok((seconds, collected))
    }
}

/// Creates a datastore on an empty prefix and an empty directory.
pub async fn create_store(
    env: &Env,
    name: &str,
    base: &Path,
    run: &Path,
    client: S3Client,
) -> Result<Arc<DataStore>> {
    let options = StoreOptions {
        name: name.parse()?,
        path: base.to_path_buf(),
        lock_dir: run.to_path_buf(),
        // Both sides do without: it waits for a second, whatever the size of the store.
        tuning: DatastoreTuning {
            gc_atime_safety_check: Some(false),
            ..DatastoreTuning::default()
        },
        backend: BackendOptions::S3 {
            client,
            max_cache_bytes: None,
        },
        instance: Instance {
            id: format!("bench-{name}"),
            hostname: "bench".to_owned(),
        },
        quarantine: None,
        env: env.clone(),
    };
    let create = CreateOptions {
        prefix_dirs: PrefixDirs::OnDemand,
        ..CreateOptions::default()
    };
    DataStore::create(options, create, &SilentTask::new())
        .await
        .with_context(|| format!("cannot create the datastore {name}"))
}
