//! An installation with an S3 server beside it, and backups written through the library, as the
//! backup server will.

use std::path::Path;

use api_types::auth::Authid;
use api_types::datastore::Operation;
use api_types::digest::Digest;
use api_types::names::{BackupDir, DatastoreName};
use api_types::status::CryptMode;
use datastore::format::blob::DataBlob;
use datastore::format::manifest::Manifest;
use datastore::session::{ExpectedIndex, SessionOptions, WriterSession};
use s3_client::env::Env;
use s3_mock::MockS3;
use serde_json::Value;
use server::config::Config;
use server::datastores::Datastores;
use server::paths::Paths;
use server::s3::{PlainHttp, S3Clients, S3Options};
use tokio_util::sync::CancellationToken;

use crate::support::Installation;

pub const BUCKET: &str = "first-bucket";
pub const STORE: &str = "store1";

/// Three snapshots of one group, by what they are made of: each drops a chunk of the one before.
pub const SNAPSHOTS: [&str; 3] = [
    "vm/100/2026-01-01T00:00:00Z",
    "vm/100/2026-01-02T00:00:00Z",
    "vm/100/2026-01-03T00:00:00Z",
];
const CHUNKS: [&[&[u8]]; 3] = [
    &[b"common", b"only in the first"],
    &[b"common", b"second and third"],
    &[b"common", b"second and third", b"only in the third"],
];

pub struct World {
    pub installation: Installation,
    pub server: Option<MockS3>,
}

impl World {
    /// An installation without datastore.
    pub fn without_s3() -> Self {
        Self {
            installation: Installation::new(),
            server: None,
        }
    }

    /// The same where a datastore is quickly made.
    pub fn in_memory() -> Self {
        Self {
            installation: Installation::in_memory(),
            server: None,
        }
    }

    /// An installation that knows an S3 server with one bucket as the endpoint `mock`.
    pub async fn with_s3() -> Self {
        let server = MockS3::builder().bucket(BUCKET).start().await.unwrap();
        let world = Self {
            installation: Installation::new(),
            server: Some(server),
        };
        world.add_endpoint(&world.installation);
        world
    }

    /// Makes the server known to an installation.
    pub fn add_endpoint(&self, installation: &Installation) {
        let server = self.server();
        let (port, fingerprint) = (server.port().to_string(), server.fingerprint().unwrap());
        installation.ok(&[
            "s3",
            "endpoint",
            "create",
            "mock",
            "--endpoint",
            server.host(),
            "--port",
            &port,
            "--region",
            server.region(),
            "--access-key",
            server.access_key(),
            "--secret-key",
            server.secret_key(),
            "--path-style",
            "--fingerprint",
            &fingerprint,
        ]);
    }

    pub fn server(&self) -> &MockS3 {
        self.server.as_ref().unwrap()
    }

    /// Arguments that create the datastore, its directory named `dir`.
    pub fn create_arguments(&self, dir: &str, more: &[&str]) -> Vec<String> {
        let path = self.installation.path().join(dir);
        let mut arguments = vec![
            "datastore".to_owned(),
            "create".to_owned(),
            STORE.to_owned(),
            "--path".to_owned(),
            path.to_str().unwrap().to_owned(),
        ];
        if self.server.is_some() {
            let backend = format!("type=s3,client=mock,bucket={BUCKET}");
            arguments.extend(["--backend".to_owned(), backend]);
        }
        arguments.extend(more.iter().map(|argument| (*argument).to_owned()));
        arguments
    }

    /// Creates the datastore, its directory named `dir`.
    pub fn create(&self, dir: &str, more: &[&str]) -> crate::support::Ran {
        let arguments = self.create_arguments(dir, more);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        self.installation.ok(&arguments)
    }

    /// Writes the three snapshots.
    pub async fn backup_all(&self) {
        back_up_all(self.installation.path(), STORE, None).await;
    }

    /// The snapshots as listed.
    pub fn listed(&self) -> Vec<String> {
        let items = self.installation.json(&["snapshot", "list", STORE]);
        let mut names: Vec<String> = items.as_array().unwrap().iter().map(name_of).collect();
        names.sort();
        names
    }

    /// Keys below the datastore's prefix, without it.
    pub fn keys(&self, prefix: &str) -> Vec<String> {
        let keys = self.server().keys(BUCKET, &format!("{STORE}/{prefix}"));
        keys.iter()
            .map(|key| key.strip_prefix("store1/").unwrap().to_owned())
            .collect()
    }

    /// The key of a chunk without the prefix.
    pub fn chunk_key(data: &[u8]) -> String {
        let hex = digest_of(data).to_hex();
        format!(".chunks/{}/{hex}", &hex[..4])
    }
}

/// Name of a snapshot in a listing.
fn name_of(item: &Value) -> String {
    let time: i64 = item["backup-time"].as_i64().unwrap();
    let time = api_types::names::BackupTime::from_secs(time).unwrap();
    let (ty, id) = (&item["backup-type"], &item["backup-id"]);
    format!("{}/{}/{time}", ty.as_str().unwrap(), id.as_str().unwrap())
}

pub fn digest_of(data: &[u8]) -> Digest {
    Digest::from_bytes(openssl::sha::sha256(data))
}

/// Writes the three snapshots into a datastore of the installation below `dir`.
pub async fn back_up_all(dir: &Path, store: &str, plain_http: Option<PlainHttp>) {
    for (snapshot, chunks) in SNAPSHOTS.iter().zip(CHUNKS) {
        back_up(dir, store, plain_http, (snapshot, chunks)).await;
    }
}

/// Writes a snapshot of these chunks there.
pub async fn back_up(
    dir: &Path,
    store: &str,
    plain_http: Option<PlainHttp>,
    (snapshot, chunks): (&str, &[&[u8]]),
) {
    let env = Env::system();
    let paths = Paths::below(dir);
    let config = Config::new(&paths, &env);
    let node = config.node().clone();
    let options = S3Options {
        plain_http,
        ..S3Options::default()
    };
    let s3 = S3Clients::new(&options, node, &env).unwrap();
    let datastores = Datastores::new(config, s3.into(), paths, env.clone());
    let name: DatastoreName = store.parse().unwrap();
    let store = datastores.open(&name, Operation::Write).await.unwrap();
    write(&store, &snapshot.parse().unwrap(), chunks, &env).await;
}

async fn write(
    store: &std::sync::Arc<datastore::store::DataStore>,
    dir: &BackupDir,
    chunks: &[&[u8]],
    env: &Env,
) {
    let options = SessionOptions::new(dir.group.clone(), dir.time, Authid::root());
    let session = WriterSession::start(store, options, &CancellationToken::new())
        .await
        .unwrap();
    let archive = "root.pxar.didx".parse().unwrap();
    let id = session.open_dynamic_index(&archive).await.unwrap();
    let mut start = 0;
    let mut entries = Vec::new();
    for data in chunks {
        let blob = DataBlob::encode(data, None, true, env).unwrap();
        let len = u32::try_from(data.len()).unwrap();
        let digest = digest_of(data);
        session.insert_chunk(digest, len, blob).await.unwrap();
        entries.push((start, digest));
        start += u64::from(len);
    }
    session.append(id, entries).await.unwrap();
    session
        .close_index(id, ExpectedIndex::default())
        .await
        .unwrap();
    let mut manifest = Manifest::new(dir);
    for file in session.files() {
        let info = WriterSession::file_info(&file, CryptMode::None);
        manifest.add_file(info).unwrap();
    }
    session.commit(manifest).await.unwrap();
}
