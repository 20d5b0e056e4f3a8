//! A real MinIO process.

use std::ffi::OsString;
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use openssl::ssl::{SslConnector, SslMethod, SslVerifyMode};
use s3_client::env::Env;
use s3_mock::tls::Identity;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::endpoint::Endpoint;

const ACCESS_KEY: &str = "minio-test-access";
const SECRET_KEY: &str = "minio-test-secret";
const REGION: &str = "us-west-1";

/// How long MinIO may take to get ready: seconds, but minutes on a machine that is very busy.
const READY_WITHIN: Duration = Duration::from_secs(300);
const POLL_EVERY: Duration = Duration::from_millis(50);

/// A MinIO process with data, certificate and port of its own. Killed on drop.
#[derive(Debug)]
pub struct MinioServer {
    process: Child,
    dir: TempDir,
    port: u16,
    binary: PathBuf,
    /// None without TLS.
    fingerprint: Option<String>,
}

impl Drop for MinioServer {
    fn drop(&mut self) {
        // Both fail only when the process is gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl MinioServer {
    /// Starts MinIO with TLS and waits until it is ready.
    pub async fn start() -> anyhow::Result<Self> {
        let identity = Identity::self_signed(&["localhost", "127.0.0.1"])?;
        Self::start_with(Some(&identity)).await
    }

    /// Starts MinIO without TLS, for a test that looks into the connection.
    pub async fn start_plain() -> anyhow::Result<Self> {
        Self::start_with(None).await
    }

    /// The program.
    ///
    /// # Errors
    /// If it is not installed.
    pub fn binary() -> anyhow::Result<PathBuf> {
        find_binary()
    }

    async fn start_with(identity: Option<&Identity>) -> anyhow::Result<Self> {
        let binary = find_binary()?;
        let mut last = None;
        // Somebody else may take the free port before MinIO does.
        for _ in 0..3 {
            match Self::start_once(&binary, identity).await {
                Ok(server) => return Ok(server),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| anyhow::anyhow!("no attempt was made")))
            .with_context(|| format!("cannot start {}", binary.display()))
    }

    async fn start_once(binary: &Path, identity: Option<&Identity>) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("coffer-minio-").tempdir()?;
        let certs = dir.path().join("certs");
        fs::create_dir(&certs)?;
        fs::create_dir(dir.path().join("data"))?;
        if let Some(identity) = identity {
            fs::write(certs.join("public.crt"), identity.certificate_pem()?)?;
            fs::write(certs.join("private.key"), identity.key_pem()?)?;
        }
        let port = free_port()?;
        let mut server = Self {
            process: spawn(binary, dir.path(), port)?,
            dir,
            port,
            binary: binary.to_owned(),
            fingerprint: identity.map(Identity::fingerprint).transpose()?,
        };
        server.wait_ready().await?;
        Ok(server)
    }

    /// Kills MinIO at once, as a crash does. Its data stays.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.process.kill().context("cannot kill minio")?;
        self.process.wait().context("cannot wait for minio")?;
        Ok(())
    }

    /// Starts MinIO again after [`MinioServer::kill`], on the same port with the same data, and
    /// waits until it is ready.
    pub async fn start_again(&mut self) -> anyhow::Result<()> {
        self.process = spawn(&self.binary, self.dir.path(), self.port)?;
        self.wait_ready().await
    }

    /// The process, for signals.
    #[must_use]
    pub fn process_id(&self) -> u32 {
        self.process.id()
    }

    /// Where it listens, on loopback.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    async fn wait_ready(&mut self) -> anyhow::Result<()> {
        let env = Env::system();
        let deadline = env.now() + READY_WITHIN;
        loop {
            if let Some(status) = self.process.try_wait()? {
                bail!("minio ended with {status}: {}", self.log_tail());
            }
            if self.is_ready().await.unwrap_or(false) {
                return Ok(());
            }
            if env.now() >= deadline {
                bail!(
                    "minio is not ready after {READY_WITHIN:?}: {}",
                    self.log_tail()
                );
            }
            env.sleep(POLL_EVERY).await;
        }
    }

    async fn is_ready(&self) -> anyhow::Result<bool> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
        if self.fingerprint.is_none() {
            return asks_ready(&mut stream).await;
        }
        let mut connector = SslConnector::builder(SslMethod::tls_client())?;
        connector.set_verify(SslVerifyMode::NONE);
        let ssl = connector
            .build()
            .configure()?
            .verify_hostname(false)
            .into_ssl("localhost")?;
        let mut stream = tokio_openssl::SslStream::new(ssl, stream)?;
        Pin::new(&mut stream).connect().await?;
        asks_ready(&mut stream).await
    }

    /// The last lines that MinIO wrote.
    #[must_use]
    pub fn log_tail(&self) -> String {
        let log = fs::read(self.dir.path().join("log")).unwrap_or_default();
        String::from_utf8_lossy(&log[log.len().saturating_sub(2000)..]).into_owned()
    }

    /// Makes a bucket: for MinIO on one drive it is a directory.
    pub fn create_bucket(&self, name: &str) -> anyhow::Result<()> {
        let path = self.dir.path().join("data").join(name);
        fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))
    }

    /// The server as an endpoint, with this bucket.
    #[must_use]
    pub fn endpoint(&self, bucket: &str) -> Endpoint {
        Endpoint {
            name: "minio".to_owned(),
            host: "127.0.0.1".to_owned(),
            port: self.port,
            region: REGION.to_owned(),
            access_key: ACCESS_KEY.to_owned(),
            secret_key: SECRET_KEY.to_owned(),
            fingerprint: self.fingerprint.clone(),
            bucket: bucket.to_owned(),
        }
    }
}

/// Runs the program on what is in `dir`.
fn spawn(binary: &Path, dir: &Path, port: u16) -> anyhow::Result<Child> {
    let log = File::options()
        .create(true)
        .append(true)
        .open(dir.join("log"))?;
    Command::new(binary)
        .arg("server")
        .arg("--address")
        .arg(format!("127.0.0.1:{port}"))
        .arg("--certs-dir")
        .arg(dir.join("certs"))
        .arg(dir.join("data"))
        .env("HOME", dir)
        .env("MINIO_ROOT_USER", ACCESS_KEY)
        .env("MINIO_ROOT_PASSWORD", SECRET_KEY)
        .env("MINIO_REGION", REGION)
        .env("MINIO_BROWSER", "off")
        .env("MINIO_UPDATE", "off")
        .env("MINIO_CALLHOME_ENABLE", "off")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("cannot run the program")
}

/// Asks for MinIO's own word on its readiness.
async fn asks_ready(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> anyhow::Result<bool> {
    let request =
        "GET /minio/health/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await?;
    let mut status = [0; 12];
    stream.read_exact(&mut status).await?;
    Ok(status.ends_with(b" 200"))
}

fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// `MINIO_BIN`, else `minio` in `PATH`, else where `go install` puts it.
fn find_binary() -> anyhow::Result<PathBuf> {
    if let Some(path) = std::env::var_os("MINIO_BIN").filter(|path| !path.is_empty()) {
        let path = PathBuf::from(path);
        if path.is_file() {
            return Ok(path);
        }
        bail!(
            "MINIO_BIN names {}, which is no file; run `make minio`",
            path.display()
        );
    }
    let dirs = |list: OsString| std::env::split_paths(&list).collect::<Vec<_>>();
    let mut candidates = std::env::var_os("PATH").map(dirs).unwrap_or_default();
    candidates.extend(std::env::var_os("HOME").map(|home| PathBuf::from(home).join("go/bin")));
    candidates
        .into_iter()
        .map(|dir| dir.join("minio"))
        .find(|path| path.is_file())
        .context("minio is neither in PATH nor in ~/go/bin; run `make minio` or set MINIO_BIN")
}
