//! The daemon as a process, and a client without any cleverness.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::ops::Deref;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use openssl::ssl::{SslConnector, SslMethod, SslStream, SslVerifyMode};
use serde_json::Value;
pub use support::scratch;
use support::{DevDaemon, dev_command, server_command};
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_coffer-server");

/// A process. Killed on drop.
struct Process(Child);

/// A running `coffer-server --dev`.
pub struct Daemon(DevDaemon);

impl Deref for Daemon {
    type Target = DevDaemon;

    fn deref(&self) -> &DevDaemon {
        &self.0
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only when the process is gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A running `coffer-server`, on an installation that is there.
pub struct Installed {
    _process: Process,
    port: u16,
}

impl Installed {
    /// Below `dir`, where the configuration is already.
    pub fn start(dir: &Path) -> Self {
        let mut process = server_command(PROGRAM.as_ref())
            .env("COFFER_LOG", "warn,server::daemon=info")
            .args(["--listen", "127.0.0.1:0", "--dir"])
            .arg(dir)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let port = lines.by_ref().find_map(|line| {
            let line = line.unwrap();
            eprintln!("{line}");
            let (_, after) = line.split_once("listening on 127.0.0.1:")?;
            after.split(',').next()?.parse().ok()
        });
        // It may go on to write.
        std::thread::spawn(move || lines.for_each(drop));
        Self {
            _process: Process(process),
            port: port.unwrap(),
        }
    }

    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

pub fn command(dir: &Path) -> Command {
    dev_command(PROGRAM.as_ref(), dir)
}

/// A directory in which the datastore `local` is there already, as far as the configuration knows:
/// the 65536 directories of a real one take their time.
pub fn quick_dir() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("config");
    std::fs::create_dir(&config).unwrap();
    let path = dir.path().join("datastores/local");
    let text = format!("datastore: local\n\tpath {}\n", path.display());
    std::fs::write(config.join("datastore.cfg"), text).unwrap();
    dir
}

/// The same bytes for a seed, which do not compress.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

impl Daemon {
    pub fn start(dir: &Path) -> Self {
        Self::start_by(&mut command(dir), dir)
    }

    pub fn start_by(command: &mut Command, dir: &Path) -> Self {
        Self(DevDaemon::start(command, dir).unwrap())
    }

    /// Most bytes that it ever had resident.
    pub fn peak_memory(&self) -> u64 {
        self.memory("VmHWM:")
    }

    pub fn tcp(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        stream
    }

    /// A TLS connection to the very server that `env` describes.
    pub fn tls(&self) -> SslStream<TcpStream> {
        self.tls_speaking(b"")
    }

    /// The same, for one of these protocols.
    pub fn tls_speaking(&self, protocols: &[u8]) -> SslStream<TcpStream> {
        let mut connector = SslConnector::builder(SslMethod::tls_client()).unwrap();
        connector.set_verify(SslVerifyMode::NONE);
        if !protocols.is_empty() {
            connector.set_alpn_protos(protocols).unwrap();
        }
        let configuration = connector.build().configure().unwrap();
        let stream = configuration
            .verify_hostname(false)
            .connect("localhost", self.tcp())
            .unwrap();
        let certificate = stream.ssl().peer_certificate().unwrap();
        let fingerprint = server::daemon::certificate::fingerprint(&certificate).unwrap();
        assert_eq!(fingerprint, self.fingerprint);
        stream
    }

    /// One request with these headers on a connection of its own.
    pub fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut stream = self.tls();
        let mut request = format!(
            "{method} {path} HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n",
            body.len()
        );
        // Some clients send no Host.
        for (name, value) in headers {
            request += &format!("{name}: {value}\r\n");
        }
        stream
            .write_all(format!("{request}\r\n{body}").as_bytes())
            .unwrap();
        read_answer(&mut stream)
    }

    pub fn by_token(&self, method: &str, path: &str, body: &str) -> Answer {
        let token = format!("PBSAPIToken={}", self.token);
        self.ask(method, path, &[("Authorization", &token)], body)
    }

    pub fn login(&self, user: &str, password: &str) -> Answer {
        let body = serde_json::json!({ "username": user, "password": password }).to_string();
        let json = ("Content-Type", "application/json");
        self.ask("POST", "//api2/json/access/ticket", &[json], &body)
    }

    /// Ticket and token against request forgery.
    pub fn ticket(&self) -> (String, String) {
        let answer = self.login("admin@pbs", &self.password);
        assert_eq!(answer.status, 200, "{answer:?}");
        let data = answer.json()["data"].clone();
        let text = |name: &str| data[name].as_str().unwrap().to_owned();
        (text("ticket"), text("CSRFPreventionToken"))
    }

    pub fn signal(&self, signal: &str) {
        let pid = self.id().to_string();
        let status = Command::new("kill").args([signal, &pid]).status().unwrap();
        assert!(status.success());
    }

    pub fn wait(&mut self) -> ExitStatus {
        self.0.wait().unwrap()
    }

    /// A figure of the process's memory in bytes, by its name in `/proc`.
    pub fn memory(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id()));
        let status = status.unwrap();
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        kib << 10
    }

    /// Open files of the process.
    pub fn open_files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.id()))
            .unwrap()
            .count()
    }
}

/// Reads to the end of the connection.
pub fn read_answer(stream: &mut SslStream<TcpStream>) -> Answer {
    let mut bytes = Vec::new();
    // The other side may end without saying so in TLS.
    let _ = stream.read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Answer {
        status: status.unwrap_or_else(|| panic!("no answer: {text:?}")),
        head: head.to_ascii_lowercase(),
        body: body.to_owned(),
    }
}
