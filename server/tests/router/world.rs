//! A server with a datastore that has a snapshot, two callers, and an eye on all files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use api_types::access::Role;
use api_types::auth::Authid;
use api_types::datastore::DatastoreTuning;
use api_types::names::{BackupDir, BackupNamespace};
use bytes::Bytes;
use datastore::backend::s3::ownership::Instance;
use datastore::chunk_store::PrefixDirs;
use datastore::format::DataBlob;
use datastore::format::manifest::Manifest;
use datastore::session::{ExpectedIndex, SessionOptions, WriterSession};
use datastore::store::create::CreateOptions;
use datastore::store::{BackendOptions, DataStore, StoreOptions};
use datastore::task::SilentTask;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::header::{CONTENT_TYPE, SET_COOKIE};
use s3_client::env::Env;
use server::config::ConfigError;
use server::daemon::Server;
use server::paths::Paths;
use server::rest::dispatch::respond;
use server::s3::S3Options;
use tokio_util::sync::CancellationToken;

/// What is in the snapshot, and part of its name: nobody without rights ever sees them.
pub const SECRETS: [&str; 2] = ["what only its owner knows", "7f3a"];
const SNAPSHOT: &str = "host/box-7f3a/2026-01-01T00:00:00Z";

pub struct World {
    server: Arc<Server>,
    dir: tempfile::TempDir,
    /// The headers of the two callers.
    pub admin: String,
    pub weak: String,
    before: Files,
}

type Files = BTreeMap<PathBuf, Vec<u8>>;

pub struct Got {
    pub status: u16,
    pub body: String,
    pub forgets_ticket: bool,
    /// Not in the form of a REST answer: a download.
    pub is_raw: bool,
}

/// Which files are not what they were.
pub struct Changes {
    pub inside: Vec<PathBuf>,
    pub outside: Vec<PathBuf>,
}

/// What the daemon writes whoever asks for what: locks, logs, states.
const OWN: [&str; 3] = ["run", "log", "state"];
/// What belongs to the installation.
const INSIDE: [&str; 2] = ["config", "stores"];

impl World {
    pub async fn create() -> Self {
        let dir = support::scratch().unwrap();
        let env = Env::system();
        snapshot(dir.path(), &env).await;
        let paths = Paths::below(dir.path());
        let server = Server::open(paths, &S3Options::default(), env).unwrap();
        let store = dir.path().join("stores/one");
        let text = format!("datastore: one\n\tpath {}\n", store.display());
        std::fs::write(server.paths.config.join("datastore.cfg"), text).unwrap();
        let users = "user: a@pbs\n\nuser: weak@pbs\n\ntoken: root@pam!t\n\ntoken: weak@pbs!t\n";
        std::fs::write(server.paths.config.join("user.cfg"), users).unwrap();
        let user = "a@pbs".parse().unwrap();
        server.access.set_password(&user, "secret12").await.unwrap();
        let (admin, weak) = (
            token(&server, "root@pam!t").await,
            token(&server, "weak@pbs!t").await,
        );
        let given = server.access.acl().update(None, |tree| {
            let who: Authid = "root@pam!t".parse().unwrap();
            tree.insert(&"/".parse().unwrap(), who, Role::Admin, true);
            Ok::<_, ConfigError>(())
        });
        given.await.unwrap();
        let outside = dir.path().join("outside");
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("secret.blob"), "not yours").unwrap();
        let before = files(dir.path());
        Self {
            server,
            dir,
            admin,
            weak,
            before,
        }
    }

    /// The answer, if there is one within a minute of the server's clock.
    pub async fn ask(&self, request: Request<Full<Bytes>>) -> Option<Got> {
        let answered = respond(&self.server, request, None);
        let answered = tokio::time::timeout(Duration::from_secs(60), answered)
            .await
            .ok()?;
        let (parts, body) = answered.response.into_parts();
        let body = body.collect().await.ok()?.to_bytes();
        let is_json = parts.headers.get(CONTENT_TYPE).is_some_and(|kind| {
            kind.as_bytes().starts_with(b"application/json")
                || kind.as_bytes().starts_with(b"text/plain")
        });
        // What it began may go on for a while, by the machine's clock: the runtime, which lets its own
        // clock jump when it has nothing to do, does not know of all threads that are at work.
        tokio::time::resume();
        assert!(self.server.wait_for_tasks(Duration::from_secs(600)).await);
        tokio::time::pause();
        Some(Got {
            status: parts.status.as_u16(),
            body: String::from_utf8_lossy(&body).into_owned(),
            forgets_ticket: parts.headers.contains_key(SET_COOKIE),
            is_raw: parts.status == 200 && !is_json,
        })
    }

    pub fn changes(&self) -> Changes {
        let now = files(self.dir.path());
        let paths = self.before.keys().chain(now.keys());
        let mut changed: Vec<PathBuf> = paths
            .filter(|path| self.before.get(*path) != now.get(*path))
            .cloned()
            .collect();
        changed.sort();
        changed.dedup();
        let (inside, outside) = changed
            .into_iter()
            .partition(|path| INSIDE.iter().any(|dir| path.starts_with(dir)));
        Changes { inside, outside }
    }

    /// Puts back what a caller was allowed to change.
    pub fn restore(&self, changes: &Changes) {
        for relative in &changes.inside {
            let path = self.dir.path().join(relative);
            match self.before.get(relative) {
                Some(content) => {
                    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                    let fresh = path.with_extension("restored");
                    std::fs::write(&fresh, content).unwrap();
                    std::fs::rename(fresh, path).unwrap();
                }
                None => std::fs::remove_file(path).unwrap(),
            }
        }
    }
}

async fn token(server: &Server, id: &str) -> String {
    let secret = server
        .access
        .new_token_secret(&id.parse().unwrap())
        .await
        .unwrap();
    format!("PBSAPIToken={id}:{secret}")
}

/// All files, but for those that the daemon writes for itself.
fn files(root: &Path) -> Files {
    let mut files = Files::new();
    let mut dirs = vec![root.to_path_buf()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            let relative = path.strip_prefix(root).unwrap().to_path_buf();
            let is_own = OWN.iter().any(|own| relative.starts_with(own));
            let name = relative.file_name().unwrap().to_string_lossy().into_owned();
            if is_own || is_bookkeeping(&name) {
                continue;
            }
            if path.is_dir() {
                dirs.push(path);
            } else {
                files.insert(relative, std::fs::read(&path).unwrap());
            }
        }
    }
    files
}

/// Files that say nothing of what there is: locks, and what collections note.
fn is_bookkeeping(name: &str) -> bool {
    name.ends_with(".lck") || [".lock", ".x-coffer", ".gc-status"].contains(&name)
}

/// A datastore with one snapshot.
async fn snapshot(root: &Path, env: &Env) {
    let options = StoreOptions {
        name: "one".parse().unwrap(),
        path: root.join("stores/one"),
        lock_dir: root.join("run/locks/one"),
        tuning: DatastoreTuning::default(),
        backend: BackendOptions::Filesystem,
        instance: Instance {
            id: "1".into(),
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
    assert!(
        store
            .snapshots()
            .namespace_exists(&BackupNamespace::root())
            .unwrap()
    );
    let dir: BackupDir = SNAPSHOT.parse().unwrap();
    let session = SessionOptions::new(dir.group.clone(), dir.time, "root@pam".parse().unwrap());
    let never = CancellationToken::new();
    let session = WriterSession::start(&store, session, &never).await.unwrap();
    let content = SECRETS[0].as_bytes();
    let blob = DataBlob::encode_with_iv(content, None, false).unwrap();
    let digest = api_types::digest::Digest::from_bytes(openssl::sha::sha256(content));
    let length = u32::try_from(content.len()).unwrap();
    session
        .add_blob(&"a.conf.blob".parse().unwrap(), blob.raw().clone())
        .await
        .unwrap();
    session.insert_chunk(digest, length, blob).await.unwrap();
    let index = session
        .open_dynamic_index(&"root.pxar.didx".parse().unwrap())
        .await
        .unwrap();
    session.append(index, vec![(0, digest)]).await.unwrap();
    session
        .close_index(index, ExpectedIndex::default())
        .await
        .unwrap();
    let mut manifest = Manifest::new(&dir);
    for file in session.files() {
        let info = WriterSession::file_info(&file, api_types::status::CryptMode::None);
        manifest.add_file(info).unwrap();
    }
    session.commit(manifest).await.unwrap();
}

/// The most memory that this process has had, in bytes.
pub fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib << 10
}
