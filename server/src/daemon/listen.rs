//! Connections: accepted, limited, spoken to, ended.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use openssl::ssl::SslRef;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::access_log::AccessLog;
use super::idle::Activity;
use super::redirect::redirect;
use super::server::Server;
use super::tls::{Secure, Tls};
use crate::quota::{Quota, Share};
use crate::rest::answer::AnswerBody;
use crate::rest::dispatch::respond;
use crate::traffic::stream::LimitedStream;
use crate::traffic::{self, Connection};

/// Connections at the same time; more wait until others end.
const MAX_CONNECTIONS: u32 = 2048;
/// Those of one address, so that nobody alone takes them all.
const MAX_FROM_ADDRESS: u64 = 512;
/// How often it is logged that somebody has too many.
const REFUSALS_LOGGED: Duration = Duration::from_secs(60);
/// How long the beginning of a connection may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may be idle, and how long the head of a request may take.
const HEADER_TIMEOUT: Duration = Duration::from_secs(60);
/// After this long without a packet the other side is asked whether it is still there.
const KEEPALIVE: Duration = Duration::from_secs(120);
/// Largest head of a request.
const MAX_HEAD: usize = 64 * 1024;
/// Requests at the same time on an HTTP/2 connection.
const MAX_STREAMS: u32 = 64;
/// Pause after an error of the listening socket, which is mostly too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where connections come in.
pub struct Listener {
    server: Arc<Server>,
    tls: Arc<Tls>,
    places: Arc<Semaphore>,
    by_address: Arc<Quota>,
    header_timeout: Duration,
}

impl Listener {
    /// Connections to `server`, accepted by `tls`.
    #[must_use]
    pub fn new(server: Arc<Server>, tls: Arc<Tls>) -> Self {
        Self {
            server,
            tls,
            places: Arc::new(Semaphore::new(MAX_CONNECTIONS as usize)),
            by_address: Quota::new(u64::MAX, MAX_FROM_ADDRESS),
            header_timeout: HEADER_TIMEOUT,
        }
    }

    /// With another limit for the connections of one address.
    #[must_use]
    pub fn with_max_from_address(self, connections: u64) -> Self {
        Self {
            by_address: Quota::new(u64::MAX, connections),
            ..self
        }
    }

    /// With another limit for idle connections.
    #[must_use]
    pub fn with_header_timeout(self, header_timeout: Duration) -> Self {
        Self {
            header_timeout,
            ..self
        }
    }

    /// Accepts connections until the server is to end.
    pub async fn run(self: Arc<Self>, socket: TcpListener) {
        let shutdown = self.server.shutdown.clone();
        let mut refused: Option<Instant> = None;
        loop {
            let Ok(place) = Arc::clone(&self.places).acquire_owned().await else {
                return;
            };
            let accepted = tokio::select! {
                accepted = socket.accept() => accepted,
                () = shutdown.cancelled() => return,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let mut share = self.by_address.share(self.counted(peer));
                    if share.take(1) {
                        let place = (place, share);
                        tokio::spawn(Arc::clone(&self).connection(stream, peer, place));
                        continue;
                    }
                    let now = self.server.env.now();
                    if refused.is_none_or(|last| now.duration_since(last) >= REFUSALS_LOGGED) {
                        refused = Some(now);
                        tracing::warn!("connection from {peer} refused: that address has too many");
                    }
                }
                Err(error) => {
                    tracing::error!("failed to accept a connection: {error}");
                    self.server.env.sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// The address that a connection counts for; none if it is a proxy's, which speaks for many.
    fn counted(&self, peer: SocketAddr) -> Option<IpAddr> {
        let proxies = self.server.proxies.get();
        let is_proxy = proxies.is_some_and(|proxies| proxies.trusts(peer.ip()));
        (!is_proxy).then(|| peer.ip())
    }

    /// Waits until all connections have ended, but not longer than `limit`; says whether they have.
    pub async fn wait(&self, limit: Duration) -> bool {
        tokio::select! {
            all = self.places.acquire_many(MAX_CONNECTIONS) => all.is_ok(),
            () = self.server.env.sleep(limit) => false,
        }
    }

    async fn connection(
        self: Arc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        _place: (OwnedSemaphorePermit, Share),
    ) {
        if let Err(error) = self.serve(stream, peer).await {
            // Clients go as they like, and port scanners are about.
            tracing::debug!("connection from {peer}: {error:#}");
        }
    }

    async fn serve(&self, stream: TcpStream, peer: SocketAddr) -> Result<()> {
        stream.set_nodelay(true)?;
        let keepalive = TcpKeepalive::new().with_time(KEEPALIVE);
        SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
        let connection = Connection::new(&self.server.traffic, peer.ip());
        let limited = Arc::clone(&connection);
        let begin = async {
            let mut first = [0];
            stream.peek(&mut first).await?;
            if first != [TLS_HANDSHAKE] {
                return Ok(Beginning::Plain(stream));
            }
            let stream = LimitedStream::new(stream, limited);
            self.tls.accept(stream).await.map(Beginning::Tls)
        };
        let beginning = tokio::select! {
            beginning = begin => beginning?,
            () = self.server.env.sleep(HANDSHAKE_TIMEOUT) => {
                anyhow::bail!("no TLS connection after {HANDSHAKE_TIMEOUT:?}");
            }
            () = self.server.shutdown.cancelled() => return Ok(()),
        };
        match beginning {
            Beginning::Plain(stream) => self.serve_plain(stream).await,
            Beginning::Tls(stream) if is_http2(stream.ssl()) => {
                self.serve_http2(TokioIo::new(stream), peer, &connection)
                    .await
            }
            Beginning::Tls(stream) => {
                self.serve_http1(TokioIo::new(stream), peer, &connection)
                    .await
            }
        }
    }

    async fn serve_http1(
        &self,
        io: TokioIo<Encrypted>,
        peer: SocketAddr,
        who: &Arc<Connection>,
    ) -> Result<()> {
        let service = service_fn(|request| answer(&self.server, request, peer, who));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.header_timeout)
            .max_buf_size(MAX_HEAD)
            .half_close(false)
            .serve_connection(io, service)
            .with_upgrades();
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            result = &mut connection => return Ok(result?),
            () = self.server.shutdown.cancelled() => connection.as_mut().graceful_shutdown(),
        }
        tokio::select! {
            result = connection => Ok(result?),
            () = self.server.abort.cancelled() => Ok(()),
        }
    }

    async fn serve_http2(
        &self,
        io: TokioIo<Encrypted>,
        peer: SocketAddr,
        who: &Arc<Connection>,
    ) -> Result<()> {
        let (server, who) = (Arc::clone(&self.server), Arc::clone(who));
        let activity = Activity::default();
        let counted = activity.clone();
        let service = service_fn(move |request| {
            let (server, who, busy) = (Arc::clone(&server), Arc::clone(&who), counted.begin());
            async move {
                let answered = answer(&server, request, peer, &who).await;
                answered.map(|response| busy.until_sent(response))
            }
        });
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(Some(HEADER_TIMEOUT))
            .keep_alive_timeout(HANDSHAKE_TIMEOUT)
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(MAX_HEAD_U32)
            .serve_connection(io, service);
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            result = &mut connection => return Ok(result?),
            () = activity.idle_for(self.header_timeout, &self.server.env) => {
                connection.as_mut().graceful_shutdown();
                // Who says nothing does not say goodbye either.
                let patience = self.header_timeout.min(HANDSHAKE_TIMEOUT);
                return tokio::select! {
                    result = connection => Ok(result?),
                    () = self.server.env.sleep(patience) => Ok(()),
                };
            }
            () = self.server.shutdown.cancelled() => connection.as_mut().graceful_shutdown(),
        }
        tokio::select! {
            result = connection => Ok(result?),
            () = self.server.abort.cancelled() => Ok(()),
        }
    }

    /// Somebody who does not know that this is not plain HTTP.
    async fn serve_plain(&self, stream: TcpStream) -> Result<()> {
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HANDSHAKE_TIMEOUT)
            .max_buf_size(MAX_HEAD)
            .keep_alive(false)
            .serve_connection(
                TokioIo::new(stream),
                service_fn(async |request| Ok::<_, Infallible>(redirect(&request))),
            );
        connection.await.context("plain HTTP")
    }
}

async fn answer(
    server: &Arc<Server>,
    request: Request<Incoming>,
    peer: SocketAddr,
    who: &Connection,
) -> Result<Response<AnswerBody>, Infallible> {
    // Behind a proxy, whom it speaks for.
    let peer = match server.proxies.get() {
        Some(proxies) => proxies.client(peer, request.headers()),
        None => peer,
    };
    who.comes_from(peer.ip());
    let log = AccessLog::begin(&request, peer);
    let answered = respond(server, request, Some(peer)).await;
    if let Some(auth_id) = &answered.auth_id {
        who.belongs_to(auth_id);
    }
    log.end(&answered, server.env.unix_secs());
    Ok(answered.response)
}

/// The first byte of a TLS connection.
const TLS_HANDSHAKE: u8 = 0x16;
const MAX_HEAD_U32: u32 = 64 * 1024;

/// A connection that keeps to its rate, encrypted.
type Encrypted = Secure<LimitedStream<TcpStream, traffic::Connection>>;

/// How a connection begins.
enum Beginning {
    Plain(TcpStream),
    Tls(Encrypted),
}

fn is_http2(ssl: &SslRef) -> bool {
    ssl.selected_alpn_protocol() == Some(b"h2")
}

#[cfg(test)]
mod tests;
