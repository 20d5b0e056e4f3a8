//! An S3 server in this process (`s3s-fs`): objects are files below a directory.

use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s_fs::FileSystem;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::S3Keys;
use crate::paths::create_dir;

/// The server; it ends with this.
pub struct Embedded {
    port: u16,
    _running: DropGuard,
}

impl Embedded {
    /// Serves what is in `dir` on loopback.
    pub async fn start(dir: &Path, keys: &S3Keys, bucket: &str) -> Result<Self> {
        // For s3s-fs a bucket is a directory.
        create_dir(&dir.join(bucket), 0o700)?;
        let files = FileSystem::new(dir)
            .map_err(|error| anyhow!("failed to serve {} by S3: {error:?}", dir.display()))?;
        let mut builder = S3ServiceBuilder::new(files);
        builder.set_auth(SimpleAuth::from_single(&*keys.access, &*keys.secret));
        let service = builder.build();
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .context("failed to listen on loopback")?;
        let port = socket.local_addr()?.port();
        let shutdown = CancellationToken::new();
        let accepting = accept(socket, service, shutdown.clone());
        tokio::spawn(shutdown.clone().run_until_cancelled_owned(accepting));
        Ok(Self {
            port,
            _running: shutdown.drop_guard(),
        })
    }

    /// Where it listens, on loopback.
    pub const fn port(&self) -> u16 {
        self.port
    }
}

async fn accept(socket: TcpListener, service: S3Service, shutdown: CancellationToken) {
    loop {
        let Ok((stream, _)) = socket.accept().await else {
            // Too many open files: the next connection may do better.
            tokio::task::yield_now().await;
            continue;
        };
        // Only about latency: a failure costs nothing.
        let _ = stream.set_nodelay(true);
        let service = service.clone();
        let connection = async move {
            // An error is a client that has left.
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        };
        tokio::spawn(shutdown.clone().run_until_cancelled_owned(connection));
    }
}
