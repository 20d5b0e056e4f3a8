//! A datastore for tests: in a temporary directory, alone or in front of the scripted server.
//!
//! Time is virtual and no socket is involved, so a test with a paused runtime takes no real time.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use api_types::digest::Digest;
use api_types::names::SnapshotPath;
use api_types::s3::S3EndpointConfig;
use api_types::status::CryptMode;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use s3_client::transport::{Attempt, Response, Transport, TransportError, TransportErrorKind};
use s3_client::{S3Client, S3ClientOptions};
use s3_mock::MockS3;
use tokio_util::sync::CancellationToken;

use crate::backend::s3::insert::Payload;
use crate::backend::s3::ownership::Instance;
use crate::chunk_store::PrefixDirs;
use crate::env::Env;
use crate::format::blob::DataBlob;
use crate::format::manifest::Manifest;
use crate::session::{ExpectedIndex, SessionOptions, WriterSession};
use crate::store::create::CreateOptions;
use crate::store::{BackendOptions, DataStore, StoreOptions};
use crate::task::SilentTask;

/// 2026-01-15T08:15:30Z
pub(crate) const START: i64 = 1_768_464_930;
const BUCKET: &str = "bucket";
/// Name of the datastore, and so the prefix of its keys.
pub(crate) const STORE: &str = "store";

/// The scripted server as a transport.
struct InMemory(Arc<MockS3>);

impl Transport for InMemory {
    fn send(&self, attempt: Attempt) -> BoxFuture<'_, Result<Response, TransportError>> {
        Box::pin(async move {
            let target = attempt.request.target();
            let mut request = hyper::Request::builder()
                .method(attempt.request.method.clone())
                .uri(&target);
            for (name, value) in attempt.headers() {
                request = request.header(name, value);
            }
            let request = request.body(attempt.request.body.clone()).unwrap();
            attempt.sent.store(true, Ordering::SeqCst);
            let answer = self
                .0
                .exchange(request)
                .await
                .map_err(|dropped| TransportError {
                    kind: TransportErrorKind::Broken,
                    message: dropped.to_string(),
                    may_have_arrived: true,
                    stale_connection: false,
                })?;
            let (parts, body) = answer.into_parts();
            if body.len() > attempt.request.body_limit {
                return Err(TransportError::too_large(attempt.request.body_limit));
            }
            Ok(Response {
                status: parts.status.as_u16(),
                headers: parts.headers,
                body,
                received_at: None,
            })
        })
    }
}

/// A datastore with what a test needs around it.
pub(crate) struct TestStore {
    pub(crate) store: Arc<DataStore>,
    pub(crate) server: Option<Arc<MockS3>>,
    pub(crate) cancel: CancellationToken,
    pub(crate) env: Env,
    dir: tempfile::TempDir,
}

impl TestStore {
    /// A filesystem datastore.
    pub(crate) async fn filesystem() -> Self {
        let env = Env::seeded(1, START);
        Self::create(env, None, BackendOptions::Filesystem).await
    }

    /// An S3 datastore.
    pub(crate) async fn s3() -> Self {
        let env = Env::seeded(1, START);
        let server = MockS3::builder()
            .bucket(BUCKET)
            .start_time(START)
            .start()
            .await
            .unwrap();
        let server = Arc::new(server);
        let mut endpoint = S3EndpointConfig::new(
            "mock".parse().unwrap(),
            server.host().parse().unwrap(),
            server.access_key().parse().unwrap(),
            server.secret_key().parse().unwrap(),
        );
        endpoint.region = Some(server.region().parse().unwrap());
        endpoint.path_style = Some(true);
        let options = S3ClientOptions::new(endpoint, Some(BUCKET.parse().unwrap()));
        let transport = Arc::new(InMemory(Arc::clone(&server)));
        let client = S3Client::with_transport(options, env.clone(), transport).unwrap();
        let backend = BackendOptions::S3 {
            client,
            max_cache_bytes: None,
        };
        Self::create(env, Some(server), backend).await
    }

    async fn create(env: Env, server: Option<Arc<MockS3>>, backend: BackendOptions) -> Self {
        let dir = support::scratch().unwrap();
        let options = StoreOptions {
            name: STORE.parse().unwrap(),
            path: dir.path().join("base"),
            lock_dir: dir.path().join("locks"),
            tuning: api_types::datastore::DatastoreTuning::default(),
            backend,
            instance: Instance {
                id: "11111111".into(),
                hostname: "test".into(),
            },
            quarantine: None,
            env: env.clone(),
        };
        let create = CreateOptions {
            prefix_dirs: PrefixDirs::OnDemand,
            ..CreateOptions::default()
        };
        let store = DataStore::create(options, create, &SilentTask::new())
            .await
            .unwrap();
        Self {
            store,
            server,
            cancel: CancellationToken::new(),
            env,
            dir,
        }
    }

    /// The scripted server of an S3 datastore.
    pub(crate) fn server(&self) -> &MockS3 {
        self.server.as_deref().unwrap()
    }

    /// The directory of the datastore.
    pub(crate) fn base(&self) -> PathBuf {
        self.dir.path().join("base")
    }

    /// Keys below the datastore's prefix, without it.
    pub(crate) fn keys(&self, prefix: &str) -> Vec<String> {
        let keys = self.server().keys(BUCKET, &format!("{STORE}/{prefix}"));
        keys.iter()
            .map(|key| key.strip_prefix("store/").unwrap().to_owned())
            .collect()
    }

    /// An object by its key without the prefix.
    pub(crate) fn object(&self, key: &str) -> Option<Bytes> {
        self.server().get(BUCKET, &format!("{STORE}/{key}"))
    }

    pub(crate) fn put_object(&self, key: &str, body: &[u8]) {
        self.server()
            .put(BUCKET, &format!("{STORE}/{key}"), body.to_vec());
    }

    pub(crate) fn delete_object(&self, key: &str) {
        assert!(
            self.server().delete(BUCKET, &format!("{STORE}/{key}")),
            "{key}"
        );
    }

    /// The key of a chunk without the prefix.
    pub(crate) fn chunk_key(data: &[u8]) -> String {
        format!(
            ".chunks/{}",
            crate::gc::chunk_key::chunk_key(&digest_of(data))
        )
    }

    /// A finished backup of one archive `root.pxar.didx` made of `chunks`, and a blob.
    pub(crate) async fn backup(&self, ns: &str, dir: &str, chunks: &[&[u8]]) -> SnapshotPath {
        self.backup_with(ns, dir, chunks, Payload::Cache).await
    }

    /// The same; `payload` = whether the chunks stay in the local cache.
    pub(crate) async fn backup_with(
        &self,
        ns: &str,
        dir: &str,
        chunks: &[&[u8]],
        payload: Payload,
    ) -> SnapshotPath {
        let path = SnapshotPath::new(ns.parse().unwrap(), dir.parse().unwrap());
        let owner = "root@pam".parse().unwrap();
        let mut options = SessionOptions::new(path.dir.group.clone(), path.dir.time, owner);
        options.ns = path.ns.clone();
        options.payload = payload;
        let session = WriterSession::start(&self.store, options, &self.cancel)
            .await
            .unwrap();
        let id = session
            .open_dynamic_index(&"root.pxar.didx".parse().unwrap())
            .await
            .unwrap();
        let mut start = 0;
        let mut entries = Vec::new();
        for data in chunks {
            let blob = DataBlob::encode(data, None, true, &self.env).unwrap();
            let digest = digest_of(data);
            let len = u32::try_from(data.len()).unwrap();
            session.insert_chunk(digest, len, blob).await.unwrap();
            entries.push((start, digest));
            start += u64::from(len);
        }
        session.append(id, entries).await.unwrap();
        session
            .close_index(id, ExpectedIndex::default())
            .await
            .unwrap();
        let blob = DataBlob::encode(b"configuration", None, true, &self.env).unwrap();
        session
            .add_blob(&"x.conf.blob".parse().unwrap(), blob.into_raw())
            .await
            .unwrap();
        let mut manifest = Manifest::new(&path.dir);
        for file in session.files() {
            manifest
                .add_file(WriterSession::file_info(&file, CryptMode::None))
                .unwrap();
        }
        session.commit(manifest).await.unwrap();
        path
    }
}

/// The digest of a plain chunk.
pub(crate) fn digest_of(data: &[u8]) -> Digest {
    Digest::from_bytes(openssl::sha::sha256(data))
}
