//! A server below a temporary directory, and somebody who calls it.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use api_types::access::Role;
use api_types::upid::Upid;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{HeaderMap, Method};
use s3_client::env::Env;
use s3_mock::MockS3;
use serde_json::{Value, json};

use crate::access::attempts::Turn;
use crate::config::ConfigError;
use crate::daemon::Server;
use crate::paths::Paths;
use crate::rest::answer::Answer;
use crate::rest::call::Call;
use crate::rest::dispatch::check_access;
use crate::rest::error::RestError;
use crate::rest::params::{Params, Source};
use crate::rest::path::components;
use crate::rest::table::{Found, Table};
use crate::s3::S3Options;

/// The datastore of the fixtures.
pub const STORE: &str = "samples";
/// The time of the first backup of host/plain.
pub const PLAIN: &str = "backup-type=host&backup-id=plain&backup-time=1795336451";

pub struct World {
    pub server: Arc<Server>,
    pub dir: tempfile::TempDir,
}

impl World {
    /// A server without datastores. The users are those of the fixtures, and `nothing@pbs`.
    pub fn empty() -> Self {
        let dir = support::scratch().unwrap();
        let paths = Paths::below(dir.path());
        let server = Server::open(paths, &S3Options::default(), Env::system()).unwrap();
        let users = "user: test@pbs\n\nuser: nothing@pbs\n\ntoken: test@pbs!tok1\n\n\
                     token: test@pbs!tok2\n";
        std::fs::write(server.paths.config.join("user.cfg"), users).unwrap();
        Self { server, dir }
    }

    /// A server with the datastore of the fixtures, if they are there.
    pub fn with_samples() -> Option<Self> {
        let archive = crate::testing::fixtures("")?.join("datastore.tar.zst");
        let world = Self::empty();
        // The files only: 65536 empty directories for chunks would take most of the test's time.
        let tar = |arguments: &[&str]| {
            let mut command = Command::new("tar");
            command
                .arg("--zstd")
                .args(arguments)
                .arg("-f")
                .arg(&archive);
            command.current_dir(world.path());
            command
        };
        let listed = tar(&["-t"]).output().unwrap();
        let files: Vec<&str> = std::str::from_utf8(&listed.stdout)
            .unwrap()
            .lines()
            .filter(|name| !name.ends_with('/'))
            .collect();
        std::fs::write(world.path().join("files"), files.join("\n")).unwrap();
        let unpacked = tar(&["-x", "-T", "files"]).status().unwrap();
        assert!(unpacked.success());
        world.configure(&[STORE]);
        Some(world)
    }

    /// Makes datastores known, without a look at their directories.
    pub fn configure(&self, names: &[&str]) {
        let sections: Vec<String> = names
            .iter()
            .map(|name| {
                format!(
                    "datastore: {name}\n\tpath {}\n",
                    self.path().join(name).display()
                )
            })
            .collect();
        let file = self.server.paths.config.join("datastore.cfg");
        std::fs::write(file, sections.join("\n")).unwrap();
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Gives a role.
    pub async fn grant(&self, who: &str, path: &str, role: Role) {
        self.server
            .access
            .acl()
            .update(None, |tree| {
                tree.insert(&path.parse().unwrap(), who.parse().unwrap(), role, true);
                Ok::<_, ConfigError>(())
            })
            .await
            .unwrap();
    }

    /// Calls an endpoint, as the table says it may be called.
    pub async fn call(
        &self,
        who: &str,
        method: Method,
        path: &str,
        form: &str,
    ) -> Result<Value, RestError> {
        self.call_with(who, method, path, form, Bytes::new()).await
    }

    pub async fn call_with(
        &self,
        who: &str,
        method: Method,
        path: &str,
        form: &str,
        body: Bytes,
    ) -> Result<Value, RestError> {
        Ok(match self.answer(who, method, path, form, body).await? {
            Answer::Data(data) => json!({ "data": data }),
            Answer::Rich {
                data,
                mut attributes,
            } => {
                attributes.insert("data".into(), data);
                Value::Object(attributes)
            }
            Answer::Json { data, .. } => {
                let data: Value = serde_json::from_slice(&data).map_err(anyhow::Error::from)?;
                json!({ "data": data })
            }
            Answer::Response(response) => {
                let body = response.into_body().collect().await;
                let bytes = body.map_err(RestError::from)?.to_bytes();
                json!({ "sha256": hex::encode(openssl::sha::sha256(&bytes)),
                        "len": bytes.len(),
                        "text": String::from_utf8_lossy(&bytes) })
            }
        })
    }

    /// Calls an endpoint; its answer as it is.
    pub async fn answer(
        &self,
        who: &str,
        method: Method,
        path: &str,
        form: &str,
        body: Bytes,
    ) -> Result<Answer, RestError> {
        let Found::Endpoint(endpoint, in_path) =
            Table::global().find(&method, &components(path).unwrap())
        else {
            panic!("nothing at {method} {path}");
        };
        let auth_id = who.parse().unwrap();
        check_access(&self.server, endpoint, &in_path, &auth_id)?;
        let given = Source::from_texts(form, "")?;
        let call = Call {
            server: Arc::clone(&self.server),
            auth_id,
            params: Params::check(endpoint.params, &in_path, given)?,
            peer: None,
            peer_address: None,
            turn: Arc::new(Turn::of_nobody(self.server.env.clone())),
            headers: HeaderMap::new(),
            body: Full::new(body).map_err(|never| match never {}).boxed(),
            upgrade: None,
        };
        (endpoint.handler)(call).await
    }

    /// Makes a scripted S3 server known as the endpoint `mock`.
    pub async fn endpoint(&self, mock: &MockS3) {
        let form = format!(
            "id=mock&endpoint={}&port={}&region={}&access-key={}&secret-key={}&path-style=1&\
             fingerprint={}",
            mock.host(),
            mock.port(),
            mock.region(),
            mock.access_key(),
            mock.secret_key().replace('+', "%2B"),
            mock.fingerprint().unwrap()
        );
        self.post("/config/s3", &form).await;
    }

    pub async fn get(&self, path: &str, form: &str) -> Value {
        self.data("root@pam", Method::GET, path, form).await
    }

    pub async fn put(&self, path: &str, form: &str) -> Value {
        self.data("root@pam", Method::PUT, path, form).await
    }

    pub async fn post(&self, path: &str, form: &str) -> Value {
        self.data("root@pam", Method::POST, path, form).await
    }

    pub async fn delete(&self, path: &str, form: &str) -> Value {
        self.data("root@pam", Method::DELETE, path, form).await
    }

    async fn data(&self, who: &str, method: Method, path: &str, form: &str) -> Value {
        let called = format!("{method} {path} {form}");
        let mut answer = self
            .call(who, method, path, form)
            .await
            .unwrap_or_else(|error| panic!("{called}: {error}"));
        answer["data"].take()
    }

    /// Status and text of a refusal.
    pub async fn refusal(
        &self,
        who: &str,
        method: Method,
        path: &str,
        form: &str,
    ) -> (u16, String) {
        let called = format!("{who} {method} {path} {form}");
        let error = match self.call(who, method, path, form).await {
            Err(error) => error,
            Ok(answer) => panic!("{called}: {answer}"),
        };
        (error.status.as_u16(), error.message)
    }

    /// Waits for a task, whose id is `upid`; how it ended.
    pub async fn end(&self, upid: &Value) -> String {
        let upid: Upid = upid.as_str().unwrap().parse().unwrap();
        for _ in 0..12_000 {
            if !self.server.tasks.is_running(&upid) {
                return self.server.tasks.end(&upid).status.to_string();
            }
            self.server.env.sleep(Duration::from_millis(50)).await;
        }
        panic!("{upid} does not end");
    }

    /// The log of a task.
    pub fn log(&self, upid: &Value) -> String {
        let upid: Upid = upid.as_str().unwrap().parse().unwrap();
        let page = self.server.tasks.log(&upid, 0, 0).unwrap();
        let lines: Vec<String> = page.lines.into_iter().map(|line| line.t).collect();
        lines.join("\n")
    }
}

/// The data of an answer of the real system to `GET <path>`.
pub fn recorded(call: &str) -> Option<Value> {
    let text = std::fs::read_to_string(crate::testing::fixtures("recordings")?.join("rest.txt"));
    let text = text.unwrap().replace("\r\n", "\n");
    let (_, rest) = text.split_once(&format!("##### {call}\n")).unwrap();
    let (_, body) = rest.split_once("\n\n").unwrap();
    let mut answer: Value = serde_json::from_str(body.lines().next().unwrap()).unwrap();
    Some(answer["data"].take())
}

/// A list in an order of its own: the real system's is none.
pub fn sorted(list: Value) -> Vec<Value> {
    let Value::Array(mut list) = list else {
        panic!("no list: {list}");
    };
    list.sort_by_key(|item| {
        let key = |name: &str| item[name].to_string();
        (key("backup-type"), key("backup-id"), key("backup-time"))
    });
    list
}

/// What only lists the names of the members of an object.
pub fn members(value: &Value) -> Vec<&str> {
    let mut names: Vec<&str> = value
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    names.sort_unstable();
    names
}
