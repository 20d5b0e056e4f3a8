//! The ceiling: a server that receives chunks through TLS and HTTP/2, computes their SHA-256 and
//! throws them away; or sends the same few ones again and again.
//!
//! TLS, HTTP/2 and their settings are those of the daemon, the bytes and the client too. Whatever
//! a backup server does beyond this is what the rows are about.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use openssl::sha::Sha256;
use s3_client::env::Env;
use serde::{Deserialize, Serialize};
use server::config::node::NodeFile;
use server::daemon::certificate::CertificateFiles;
use server::daemon::tls::Tls;
use server::protocol::http;
use tokio::net::{TcpListener, TcpStream};

use crate::world::load::{CHUNK, Data, Load};

/// Different chunks that it sends.
const CHUNKS: usize = 32;

/// What it sends and is sent.
#[derive(Debug, Deserialize, Serialize)]
pub struct Task {
    /// Of this kind.
    pub data: Data,
    /// Where its certificate goes.
    pub dir: PathBuf,
}

/// Serves until the input ends; its port is the first line of its output.
pub async fn run(task: &Task) -> Result<()> {
    super::end_with_parent();
    let load = Arc::new(Load::new(task.data, CHUNKS)?);
    let env = Env::system();
    let node = NodeFile::new(&task.dir, env.clone());
    let tls = Tls::open(CertificateFiles::new(&task.dir), node, &env)?;
    let tls = Arc::new(tls);
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    println!("{}", socket.local_addr()?.port());
    loop {
        let (stream, _) = socket.accept().await?;
        tokio::spawn(serve(Arc::clone(&tls), stream, Arc::clone(&load)));
    }
}

async fn serve(tls: Arc<Tls>, stream: TcpStream, load: Arc<Load>) -> Result<()> {
    stream.set_nodelay(true)?;
    let stream = tls.accept(stream).await?;
    let service = service_fn(move |request| {
        let load = Arc::clone(&load);
        async move { Ok::<_, Infallible>(answer(request, &load).await) }
    });
    http::builder(TokioExecutor::new())
        .serve_connection(TokioIo::new(stream), service)
        .await
        .context("the connection broke")
}

async fn answer(request: Request<Incoming>, load: &Load) -> Response<Full<Bytes>> {
    let answered = match *request.method() {
        Method::GET => send(request.uri().query().unwrap_or_default(), load),
        _ => take(request.into_body(), load.data()).await,
    };
    answered.map_or_else(
        |error| {
            let mut refusal = Response::new(Full::from(format!("{error:#}")));
            *refusal.status_mut() = hyper::StatusCode::BAD_REQUEST;
            refusal
        },
        |body| Response::new(Full::new(body)),
    )
}

/// The chunk of this number.
fn send(number: &str, load: &Load) -> Result<Bytes> {
    let number: usize = number.parse().context("which chunk?")?;
    Ok(load.chunk(number % CHUNKS)?.encoded)
}

/// Hashes as many bytes as the plain chunk has.
async fn take(mut body: Incoming, data: Data) -> Result<Bytes> {
    let mut frames = Vec::new();
    while let Some(frame) = body.frame().await {
        frames.extend(frame?.into_data());
    }
    let digest = tokio::task::spawn_blocking(move || {
        let mut hash = Sha256::new();
        match data {
            Data::Random => frames.iter().for_each(|frame| hash.update(frame)),
            // What it would be decompressed to.
            Data::Text => hash.update(&ZEROS),
        }
        hash.finish()
    });
    Ok(hex::encode(digest.await?).into())
}

static ZEROS: [u8; CHUNK] = [0; CHUNK];
