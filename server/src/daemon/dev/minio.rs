//! A MinIO process.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result};
use tokio::process::{Child, Command};

use super::S3Keys;
use crate::paths::create_dir;

/// A MinIO process; it ends with this.
pub struct Minio {
    port: u16,
    _process: Child,
}

impl Minio {
    /// Starts the program on what is in `dir`.
    pub fn start(binary: &Path, dir: &Path, keys: &S3Keys, bucket: &str) -> Result<Self> {
        let data = dir.join("data");
        // For MinIO on one drive a bucket is a directory.
        create_dir(&data.join(bucket), 0o700)?;
        let log_path = dir.join("log");
        let log = File::options()
            .create(true)
            .append(true)
            .open(&log_path)
            .with_context(|| format!("failed to open {}", log_path.display()))?;
        let port = free_port()?;
        let process = Command::new(binary)
            .arg("server")
            .arg("--address")
            .arg(format!("127.0.0.1:{port}"))
            .arg(&data)
            .env("HOME", dir)
            .env("MINIO_ROOT_USER", &keys.access)
            .env("MINIO_ROOT_PASSWORD", &keys.secret)
            .env("MINIO_REGION", "us-west-1")
            .env("MINIO_BROWSER", "off")
            .env("MINIO_UPDATE", "off")
            .env("MINIO_CALLHOME_ENABLE", "off")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // Ctrl-C is for the daemon, which still needs it for a while.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("failed to run {}", binary.display()))?;
        Ok(Self {
            port,
            _process: process,
        })
    }

    /// Where it listens, on loopback.
    pub const fn port(&self) -> u16 {
        self.port
    }
}

/// One that nobody uses at the moment.
fn free_port() -> Result<u16> {
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?;
    Ok(socket.local_addr()?.port())
}
