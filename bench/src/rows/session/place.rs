//! A daemon with its datastores, in processes of their own.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use anyhow::{Context as _, Result};
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use protocol_client::Rest;
use support::{MinioServer, exported};

use crate::children::{Task, daemon};
use crate::world::process::{self, Process, Used};

/// Where chunks are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Home {
    /// A directory.
    Filesystem,
    /// A bucket of MinIO, with a cache on disk.
    Minio,
}

impl Home {
    /// Name of the datastore.
    #[must_use]
    pub fn store(self) -> &'static str {
        match self {
            Self::Filesystem => "local",
            Self::Minio => "dev",
        }
    }
}

/// The installation and its running daemon.
pub struct Place {
    daemon: Process,
    /// The way to it.
    pub rest: Rest,
    minio: u32,
    dir: tempfile::TempDir,
}

/// Processor time of the servers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Servers {
    /// The daemon.
    pub daemon: Used,
    /// Its S3 server.
    pub minio: Used,
}

impl Servers {
    /// What was used since `before`.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            daemon: self.daemon.since(before.daemon),
            minio: self.minio.since(before.minio),
        }
    }
}

impl Place {
    /// A new installation below `parent`.
    pub fn start(parent: &Path) -> Result<Self> {
        std::fs::create_dir_all(parent)?;
        let dir = tempfile::tempdir_in(parent)?;
        // Known to the configuration already: its 65 536 directories are made as they are needed.
        let config = dir.path().join("config");
        std::fs::create_dir(&config)?;
        let path = dir.path().join("datastores/local");
        std::fs::create_dir_all(path.join(".chunks"))?;
        let text = format!("datastore: local\n\tpath {}\n", path.display());
        std::fs::write(config.join("datastore.cfg"), text)?;
        Self::run(dir)
    }

    fn run(dir: tempfile::TempDir) -> Result<Self> {
        let daemon = Process::start(&Task::Daemon(daemon::Task {
            dir: dir.path().to_owned(),
            minio: MinioServer::binary()?,
        }))?;
        let env = std::fs::read_to_string(dir.path().join("env"))?;
        let repository = exported(&env, "PBS_REPOSITORY")?;
        let port = repository.split(':').nth(1).context("no port")?.parse()?;
        let token = exported(&env, "COFFER_API_TOKEN")?;
        let (token, secret) = token.split_once(':').context("no token")?;
        let minio = process::started_by(daemon.id())?;
        Ok(Self {
            rest: Rest::new(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
                .with_token(token, secret),
            minio: *minio.first().context("the daemon has no S3 server")?,
            daemon,
            dir,
        })
    }

    /// Another daemon on the same data.
    pub fn restart(self) -> Result<Self> {
        let Self {
            mut daemon, dir, ..
        } = self;
        daemon.end()?;
        Self::run(dir)
    }

    /// Makes sure that everything is on disk, so that nobody waits for it later.
    pub fn settle(&self) {
        nix::unistd::sync();
    }

    /// Chunk files are not in memory any more.
    pub fn cool(&self) -> Result<()> {
        self.settle();
        cool(self.dir.path())
    }

    /// What a client of this datastore finds in its environment.
    pub fn client_environment(&self, store: &str) -> Result<Vec<(&'static str, String)>> {
        let env = std::fs::read_to_string(self.dir.path().join("env"))?;
        let repository = exported(&env, "PBS_REPOSITORY")?;
        let (server, _) = repository.rsplit_once(':').context("no datastore")?;
        Ok(vec![
            ("PBS_REPOSITORY", format!("{server}:{store}")),
            ("PBS_PASSWORD", exported(&env, "PBS_PASSWORD")?),
            ("PBS_FINGERPRINT", exported(&env, "PBS_FINGERPRINT")?),
            // Tickets are kept there.
            ("HOME", self.dir.path().display().to_string()),
            ("XDG_RUNTIME_DIR", self.dir.path().display().to_string()),
        ])
    }

    /// The S3 server, as the daemon is configured for it.
    pub fn s3(&self) -> Result<S3> {
        let config = self.dir.path().join("config");
        let endpoint = std::fs::read_to_string(config.join("s3.cfg"))?;
        let value = |name: &str| {
            let found = endpoint
                .lines()
                .find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(' '));
            let found = found.with_context(|| format!("there is no {name} in s3.cfg"))?;
            Ok::<_, anyhow::Error>(found.trim().to_owned())
        };
        let stores = std::fs::read_to_string(config.join("datastore.cfg"))?;
        let bucket = stores
            .split([',', '\n', ' ', '\t'])
            .find_map(|part| part.strip_prefix("bucket="));
        Ok(S3 {
            port: value("port")?.parse()?,
            bucket: bucket.context("there is no bucket")?.to_owned(),
            region: value("region")?,
            access_key: value("access-key")?,
            secret_key: value("secret-key")?,
        })
    }

    /// What the servers have used.
    pub fn used(&self) -> Result<Servers> {
        Ok(Servers {
            daemon: process::used(self.daemon.id())?,
            minio: process::used(self.minio)?,
        })
    }

    /// Most memory that the daemon ever had.
    pub fn peak_memory(&self) -> Result<u64> {
        process::peak_memory(&self.daemon.id().to_string())
    }
}

/// An S3 server on loopback, and the bucket of the datastore.
pub struct S3 {
    /// Its port.
    pub port: u16,
    /// The bucket.
    pub bucket: String,
    /// Its region.
    pub region: String,
    /// The key's id.
    pub access_key: String,
    /// The key.
    pub secret_key: String,
}

/// Drops what the kernel keeps of the large files below `dir`.
fn cool(dir: &Path) -> Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            cool(&entry.path())?;
        } else if kind.is_file() && entry.metadata()?.len() > 64 << 10 {
            let file = std::fs::File::open(entry.path())?;
            posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)?;
        }
    }
    Ok(())
}
