//! `s3s-fs` in this process.

use std::fs;
use std::pin::Pin;

use anyhow::Context as _;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use openssl::ssl::{Ssl, SslAcceptor};
use s3_mock::tls::Identity;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s_fs::FileSystem;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio_openssl::SslStream;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::endpoint::Endpoint;

const ACCESS_KEY: &str = "S3STESTACCESS";
const SECRET_KEY: &str = "s3s-test-secret";

/// An `s3s-fs` server on a temporary directory, with TLS. Stops on drop.
#[derive(Debug)]
pub struct S3sServer {
    dir: TempDir,
    port: u16,
    fingerprint: String,
    _running: DropGuard,
}

impl S3sServer {
    /// Starts the server.
    pub async fn start() -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("coffer-s3s-").tempdir()?;
        let files = FileSystem::new(dir.path())
            .map_err(|error| anyhow::anyhow!("cannot use {}: {error:?}", dir.path().display()))?;
        let mut builder = S3ServiceBuilder::new(files);
        builder.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
        let service = builder.build();
        let identity = Identity::self_signed(&["localhost", "127.0.0.1"])?;
        let acceptor = identity.acceptor()?;
        let listener = TcpListener::bind(("127.0.0.1", 0))
            .await
            .context("cannot listen on 127.0.0.1")?;
        let port = listener.local_addr()?.port();
        let shutdown = CancellationToken::new();
        tokio::spawn(shutdown.clone().run_until_cancelled_owned(accept(
            listener,
            acceptor,
            service,
            shutdown.clone(),
        )));
        let fingerprint = identity.fingerprint()?;
        Ok(Self {
            dir,
            port,
            fingerprint,
            _running: shutdown.drop_guard(),
        })
    }

    /// Makes a bucket: for `s3s-fs` it is a directory.
    pub fn create_bucket(&self, name: &str) -> anyhow::Result<()> {
        let path = self.dir.path().join(name);
        fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))
    }

    /// The server as an endpoint, with this bucket.
    #[must_use]
    pub fn endpoint(&self, bucket: &str) -> Endpoint {
        Endpoint {
            name: "s3s-fs".to_owned(),
            host: "127.0.0.1".to_owned(),
            port: self.port,
            region: "us-west-1".to_owned(),
            access_key: ACCESS_KEY.to_owned(),
            secret_key: SECRET_KEY.to_owned(),
            fingerprint: Some(self.fingerprint.clone()),
            bucket: bucket.to_owned(),
        }
    }
}

async fn accept(
    listener: TcpListener,
    acceptor: SslAcceptor,
    service: S3Service,
    shutdown: CancellationToken,
) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Too many open files: the next connection may do better.
            tokio::task::yield_now().await;
            continue;
        };
        let connection = serve(acceptor.clone(), stream, service.clone());
        tokio::spawn(shutdown.clone().run_until_cancelled_owned(connection));
    }
}

async fn serve(acceptor: SslAcceptor, stream: TcpStream, service: S3Service) {
    // Only about latency: a failure costs nothing.
    let _ = stream.set_nodelay(true);
    let Ok(ssl) = Ssl::new(acceptor.context()) else {
        return;
    };
    let Ok(mut stream) = SslStream::new(ssl, stream) else {
        return;
    };
    if Pin::new(&mut stream).accept().await.is_ok() {
        // An error is a client that has left.
        let _ = http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service)
            .await;
    }
}
