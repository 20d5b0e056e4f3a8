//! `refresh`: the metadata of many snapshots from a bucket that is far away.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use api_types::digest::Digest;
use api_types::names::{ArchiveType, BackupDir, BackupGroup, BackupTime};
use api_types::status::CryptMode;
use datastore::chunk_store::PrefixDirs;
use datastore::format::manifest::{FileInfo, Manifest};
use datastore::refresh::RefreshOptions;
use datastore::store::create::CreateOptions;
use datastore::store::{BackendOptions, DataStore};
use datastore::task::SilentTask;
use futures_util::future::BoxFuture;
use s3_client::env::Env;
use s3_client::{ListOptions, ListPrefix, S3Client};
use s3_mock::MockS3;
use support::mock_endpoint;

use crate::row::{Bench, Row, Setup, Side, Target, Unit};
use crate::world::corpus::Corpus;
use crate::world::index_file::encode;
use crate::world::store::{STORE, options};

const BUCKET: &str = "bench";
const GROUPS: usize = 20;
const SNAPSHOTS: usize = 1000;
const QUICK_SNAPSHOTS: usize = 40;
/// Of each request.
const LATENCY: Duration = Duration::from_millis(50);
/// Entries of each snapshot's index.
const ENTRIES: u64 = 256;
/// The baseline fetches so many objects and is scaled up: it does nothing but wait, each time as
/// long.
const SAMPLE: usize = 100;

/// The row.
pub struct Refresh;

impl Row for Refresh {
    fn id(&self) -> &'static str {
        "refresh"
    }

    fn measures(&self) -> &'static str {
        "Refresh of 1000 snapshots at 50 ms per request, against one request after the other"
    }

    fn unit(&self) -> Unit {
        Unit::cost("s")
    }

    fn target(&self) -> Target {
        Target::Ratio(10.0)
    }

    fn text(&self) -> &'static str {
        include_str!("../../texts/refresh.md")
    }

    fn prepare<'a>(&'a self, setup: &'a Setup) -> BoxFuture<'a, Result<Box<dyn Bench>>> {
        Box::pin(async move {
            let server = MockS3::builder()
                .bucket(BUCKET)
                .start_time(setup.env.unix_secs())
                .start()
                .await?;
            let client = mock_endpoint(&server, BUCKET)?.client(setup.env.clone())?;
            let base = setup.dir("store");
            let backend = BackendOptions::S3 {
                client: client.clone(),
                max_cache_bytes: None,
            };
            let create = CreateOptions {
                prefix_dirs: PrefixDirs::OnDemand,
                ..CreateOptions::default()
            };
            let options = options(&base, setup, backend)?;
            let store = DataStore::create(options, create, &SilentTask::new()).await?;
            let objects = fill(&server, setup.size(SNAPSHOTS, QUICK_SNAPSHOTS))?;
            server.configure(|behaviour| behaviour.set_latency_of_all(LATENCY));
            let bench = RefreshBench {
                store,
                client,
                base,
                objects,
                sample: setup.size(SAMPLE, 5),
                env: setup.env.clone(),
                aside: setup.dir("aside"),
                _server: server,
            };
            Ok(Box::new(bench) as Box<dyn Bench>)
        })
    }
}

/// Puts the snapshots into the bucket, with one index each; returns the number of objects.
fn fill(server: &MockS3, snapshots: usize) -> Result<u64> {
    let corpus = Corpus::new(ENTRIES * 2);
    let digests: Vec<Digest> = (0..ENTRIES).map(|rank| corpus.digest(rank)).collect();
    let mut objects = 0;
    let mut put = |path: &str, body: Vec<u8>| {
        objects += 1;
        server.put(BUCKET, &format!("{STORE}/.cnt/{path}"), body);
    };
    for number in 0..GROUPS {
        let group: BackupGroup = format!("vm/{}", 100 + number).parse()?;
        put(&format!("{}/owner", group.path()), b"root@pam\n".to_vec());
        for day in 0..snapshots / GROUPS {
            let time = BackupTime::from_secs(1_750_000_000 + i64::try_from(day)? * 86_400)?;
            let dir = BackupDir::new(group.clone(), time);
            let mut uuid = [0; 16];
            uuid[0] = u8::try_from(number)?;
            uuid[1..9].copy_from_slice(&u64::try_from(day)?.to_be_bytes());
            let index = encode(ArchiveType::FixedIndex, &digests, uuid);
            let mut manifest = Manifest::new(&dir);
            manifest.add_file(FileInfo {
                filename: "drive-scsi0.img.fidx".parse()?,
                crypt_mode: CryptMode::None,
                size: ENTRIES << 22,
                csum: Digest::from_bytes(openssl::sha::sha256(&index[4096..])),
            })?;
            put(&format!("{dir}/drive-scsi0.img.fidx"), index);
            let manifest = manifest.to_blob()?.into_raw().to_vec();
            put(&format!("{dir}/index.json.blob"), manifest);
        }
    }
    Ok(objects)
}

struct RefreshBench {
    store: Arc<DataStore>,
    client: S3Client,
    base: PathBuf,
    aside: PathBuf,
    objects: u64,
    sample: usize,
    env: Env,
    _server: MockS3,
}

impl RefreshBench {
    async fn ours(&self) -> Result<f64> {
        for name in ["vm", "host", "ct", "ns"] {
            match std::fs::remove_dir_all(self.base.join(name)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error)?,
                _ => {}
            }
        }
        let started = self.env.now();
        let report = self
            .store
            .s3_refresh(&SilentTask::new(), RefreshOptions::default())
            .await?;
        let seconds = (self.env.now() - started).as_secs_f64();
        let metadata = report.metadata;
        ensure!(
            metadata.fetched == self.objects && metadata.problems.is_empty(),
            "{} of {} objects, {:?}",
            metadata.fetched,
            self.objects,
            metadata.problems
        );
        Ok(seconds)
    }

    /// The listing, then each object; presence of chunks is left out.
    async fn baseline(&self) -> Result<f64> {
        std::fs::create_dir_all(&self.aside)?;
        let started = self.env.now();
        let prefix = ListPrefix::from(
            &self
                .store
                .backend()
                .s3()
                .context("a bucket")?
                .keys()
                .content()?,
        );
        let mut listing = self.client.list(prefix, ListOptions::default());
        let mut keys = Vec::new();
        while let Some(page) = listing.next_page().await {
            keys.extend(page?.objects.into_iter().map(|object| object.key));
        }
        let listed = self.env.now();
        for (number, key) in keys.iter().take(self.sample).enumerate() {
            let object = self.client.get_object(key).await?.context("an object")?;
            std::fs::write(self.aside.join(number.to_string()), object.body)?;
        }
        let each = (self.env.now() - listed).as_secs_f64() / self.sample as f64;
        Ok((listed - started).as_secs_f64() + each * keys.len() as f64)
    }
}

impl Bench for RefreshBench {
    fn run(&mut self, side: Side) -> BoxFuture<'_, Result<f64>> {
        Box::pin(async move {
            match side {
                Side::Ours => self.ours().await,
                Side::Baseline => self.baseline().await,
            }
        })
    }

    fn details(&self) -> Vec<String> {
        vec![format!(
            "{} objects; the baseline fetches {} of them and is scaled up",
            self.objects, self.sample
        )]
    }
}
