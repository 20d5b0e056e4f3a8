//! Sessions without a daemon: a datastore, a connection in memory, a client.

use std::sync::Arc;

use anyhow::Result;
use api_types::datastore::DatastoreTuning;
use api_types::names::{BackupDir, BackupNamespace};
use datastore::backend::s3::ownership::Instance;
use datastore::chunk_store::PrefixDirs;
use datastore::store::create::CreateOptions;
use datastore::store::{BackendOptions, DataStore, StoreOptions};
use datastore::task::{RecordingTask, SilentTask};
use hyper_util::rt::TokioIo;
use protocol_client::Connection;
use s3_client::env::Env;
use s3_mock::MockS3;
use tokio::task::JoinHandle;

use super::backup::{Backup, BackupOptions};
use super::endpoint::Session;
use super::http;
use super::reader::{Reader, ReaderOptions};
use crate::rest::error::RestError;

/// A datastore.
pub(crate) struct World {
    pub store: Arc<DataStore>,
    pub server: Option<MockS3>,
    _dir: tempfile::TempDir,
}

/// A session under way: the client's side, and what the server will say of its end.
pub(crate) struct Running<C> {
    pub client: C,
    pub task: Arc<RecordingTask>,
    pub end: JoinHandle<Result<()>>,
}

impl<C> Running<C> {
    /// Cuts the connection; gives how the task ends.
    pub async fn disconnect(self) -> (Arc<RecordingTask>, Result<()>) {
        drop(self.client);
        (self.task, self.end.await.unwrap())
    }
}

impl World {
    pub async fn filesystem() -> Self {
        Self::create(None, BackendOptions::Filesystem).await
    }

    pub async fn s3() -> Self {
        let server = MockS3::builder().bucket("bucket").start().await.unwrap();
        let client = support::memory_client(&server, "bucket", Env::system()).unwrap();
        let backend = BackendOptions::S3 {
            client,
            max_cache_bytes: None,
        };
        Self::create(Some(server), backend).await
    }

    async fn create(server: Option<MockS3>, backend: BackendOptions) -> Self {
        let dir = support::scratch().unwrap();
        let options = StoreOptions {
            name: "store1".parse().unwrap(),
            path: dir.path().join("base"),
            lock_dir: dir.path().join("locks"),
            tuning: DatastoreTuning::default(),
            backend,
            instance: Instance {
                id: "11111111".into(),
                hostname: "test".into(),
            },
            quarantine: None,
            env: Env::system(),
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
            _dir: dir,
        }
    }

    pub async fn open(
        &self,
        options: BackupOptions,
    ) -> Result<Running<protocol_client::Backup>, RestError> {
        let opened = Backup::open(Arc::clone(&self.store), options).await?;
        let task = Arc::new(RecordingTask::new());
        let session = opened.into_task(task.clone(), &Arc::default(), "127.0.0.1");
        let (connection, near) = connect().await;
        let end = tokio::spawn(async move {
            let served = http::run(near, &session).await;
            session.end(served).await
        });
        Ok(Running {
            client: protocol_client::Backup::new(connection.await.unwrap().unwrap()),
            task,
            end,
        })
    }

    /// A backup by `root@pam` that succeeds to begin.
    pub async fn backup(&self, dir: &str) -> Running<protocol_client::Backup> {
        self.open(options(dir)).await.unwrap()
    }

    pub async fn open_reader(
        &self,
        dir: &str,
    ) -> Result<Running<protocol_client::Reader>, RestError> {
        let options = ReaderOptions {
            ns: BackupNamespace::root(),
            dir: dir.parse().unwrap(),
            debug: true,
        };
        let opened = Reader::open(Arc::clone(&self.store), options).await?;
        let task = Arc::new(RecordingTask::new());
        let session = opened.into_task(task.clone(), &Arc::default());
        assert!(session.is_verbose());
        let (connection, near) = connect().await;
        let end = tokio::spawn(async move { http::run(near, &session).await });
        Ok(Running {
            client: protocol_client::Reader::new(connection.await.unwrap().unwrap()),
            task,
            end,
        })
    }

    pub async fn reader(&self, dir: &str) -> Running<protocol_client::Reader> {
        self.open_reader(dir).await.unwrap()
    }

    pub fn exists(&self, dir: &str) -> bool {
        let dir: BackupDir = dir.parse().unwrap();
        let ns = BackupNamespace::root();
        self.store.snapshots().snapshot_exists(&ns, &dir).unwrap()
    }
}

/// What a plain backup of this snapshot asks for.
pub(crate) fn options(dir: &str) -> BackupOptions {
    BackupOptions {
        ns: BackupNamespace::root(),
        dir: dir.parse().unwrap(),
        auth_id: "root@pam".parse().unwrap(),
        debug: true,
        benchmark: false,
        no_cache: false,
        verify: false,
    }
}

/// A client's side, and the server's side, of a connection in memory.
async fn connect() -> (
    JoinHandle<Result<Connection>>,
    impl Future<Output = Result<TokioIo<tokio::io::DuplexStream>>>,
) {
    let (far, near) = tokio::io::duplex(256 << 10);
    // The client begins at once, before the server listens.
    let connection = tokio::spawn(Connection::over(TokioIo::new(far)));
    (connection, async move { Ok(TokioIo::new(near)) })
}
