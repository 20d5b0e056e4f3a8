//! The daemon with the real server's configuration files.

use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper::Method;
use protocol_client::rest::Rest;
use serde_json::{Value, json};
use support::Endpoint;
use tempfile::TempDir;

use super::bodies::Stored;
use super::parse::{Exchange, rest_calls};
use super::replay::Replay;
use crate::support::{Installed, scratch};

/// Where the real server had its datastores.
const REAL_PATH: &str = "/srv/data";
const USER: &str = "test@pbs";
const PASSWORD: &str = "test12345";

/// An installation that is configured as the real one was.
pub struct World {
    pub fixtures: PathBuf,
    /// What the real server stored, unpacked.
    real: [TempDir; 2],
    // Ended before its data is removed.
    daemon: Installed,
    dir: TempDir,
}

impl World {
    /// With these sections of `datastore.cfg`, in which the real paths are replaced, and this
    /// endpoint. None without the fixtures.
    pub fn start(datastores: &str, endpoint: Option<&Endpoint>) -> Option<Self> {
        let fixtures = support::fixtures::fixtures_dir().unwrap()?;
        let real = ["datastore", "bucket"].map(|name| files_of(&fixtures, name));
        let dir = scratch().unwrap();
        let config = dir.path().join("config");
        std::fs::create_dir(&config).unwrap();
        for name in [
            "user.cfg",
            "acl.cfg",
            "domains.cfg",
            "shadow.json",
            "token.shadow",
        ] {
            let content = std::fs::read_to_string(fixtures.join("config").join(name)).unwrap();
            write_private(&config.join(name), &content);
        }
        let data = dir.path().join("data");
        std::fs::create_dir(&data).unwrap();
        let datastores = datastores.replace(REAL_PATH, data.to_str().unwrap());
        write_private(&config.join("datastore.cfg"), &datastores);
        if let Some(endpoint) = endpoint {
            write_private(&config.join("s3.cfg"), &s3_cfg(endpoint));
        }
        let daemon = Installed::start(dir.path());
        Some(Self {
            fixtures,
            real,
            dir,
            daemon,
        })
    }

    /// Where a datastore is.
    pub fn path(&self, store: &str) -> PathBuf {
        self.dir.path().join("data").join(store)
    }

    /// The real server's datastore `samples`.
    pub fn real_datastore(&self) -> PathBuf {
        self.real[0].path().join("samples")
    }

    pub async fn login(&self) -> Rest {
        let rest = Rest::new(self.daemon.address());
        rest.login(USER, PASSWORD).await.unwrap()
    }

    /// Creates a datastore and waits for it.
    pub async fn create(&self, settings: Value) {
        let rest = self.login().await;
        let path = "/api2/json/config/datastore";
        let answer = rest.request(Method::POST, path, Some(settings)).await;
        let upid = answer.unwrap().data().unwrap();
        let end = ended(&rest, upid.as_str().unwrap()).await;
        // In memory it is not safe, and the task says so.
        assert!(["OK", "WARNINGS: 1"].contains(&&*end), "{end}");
    }

    /// Creates an empty one with a directory.
    pub async fn create_empty(&self, name: &str) {
        let path = self.path(name);
        self.create(json!({ "name": name, "path": path })).await;
    }

    /// A client that knows what the real server stored.
    pub fn replay(&self, store: &str) -> Replay {
        let stored = Stored::below(&[self.real[0].path(), self.real[1].path()]);
        let rest = Rest::new(self.daemon.address());
        let real = format!("{REAL_PATH}/{store}");
        Replay::new(rest, stored, (&real, self.path(store).to_str().unwrap()))
    }

    /// The recordings of a folder in their order, by name.
    pub fn recordings(&self, folder: &str) -> Vec<(String, String)> {
        let folder = self.fixtures.join("recordings").join(folder);
        let entries = std::fs::read_dir(folder).unwrap();
        let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.retain(|path| !path.to_str().unwrap().ends_with(".s3.txt"));
        paths.sort();
        let read = |path: &PathBuf| {
            let text = std::fs::read(path).unwrap();
            let name = path.file_name().unwrap().to_str().unwrap();
            (name.to_owned(), String::from_utf8_lossy(&text).into_owned())
        };
        paths.iter().map(read).collect()
    }

    /// The calls of `rest.txt`.
    pub fn rest_calls(&self) -> Vec<Exchange> {
        let path = self.fixtures.join("recordings/rest.txt");
        rest_calls(&std::fs::read_to_string(path).unwrap())
    }
}

/// Waits for the end of a task; what it was.
pub async fn ended(rest: &Rest, upid: &str) -> String {
    let path = format!("/api2/json/nodes/localhost/tasks/{upid}/status");
    loop {
        let answer = rest.request(Method::GET, &path, None).await.unwrap();
        let state = answer.data().unwrap();
        if state["status"] == "stopped" {
            return state["exitstatus"].as_str().unwrap().to_owned();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Unpacks the files of a fixture archive, without the directories that are empty.
fn files_of(fixtures: &Path, name: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let archive = fixtures.join(format!("{name}.tar.zst"));
    let script = "tar --zstd -tf \"$0\" | grep -v '/$' | tar --zstd -xf \"$0\" -C \"$1\" -T -";
    let mut command = std::process::Command::new("sh");
    let command = command.args(["-c", script]).arg(archive).arg(dir.path());
    assert!(command.status().unwrap().success());
    dir
}

fn s3_cfg(endpoint: &Endpoint) -> String {
    format!(
        "s3-endpoint: s3peer\n\taccess-key {}\n\tendpoint {}\n\tfingerprint {}\n\tpath-style true\n\
         \tport {}\n\tregion {}\n\tsecret-key {}\n",
        endpoint.access_key,
        endpoint.host,
        endpoint.fingerprint.as_deref().unwrap(),
        endpoint.port,
        endpoint.region,
        endpoint.secret_key,
    )
}

fn write_private(path: &Path, content: &str) {
    use std::io::Write as _;
    let mut options = std::fs::OpenOptions::new();
    let file = options.create_new(true).write(true).mode(0o600).open(path);
    file.unwrap().write_all(content.as_bytes()).unwrap();
}
