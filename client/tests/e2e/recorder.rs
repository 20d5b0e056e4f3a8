//! Stands between the program and the daemon, and keeps record of all requests.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use openssl::asn1::Asn1Time;
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::rsa::Rsa;
use openssl::ssl::{Ssl, SslAcceptor, SslConnector, SslMethod, SslVerifyMode};
use openssl::x509::X509Builder;
use tokio::net::{TcpListener, TcpStream};
use tokio_openssl::SslStream;

/// A request, and what came back.
#[derive(Clone, Debug, Default)]
pub struct Exchange {
    /// Of a session, not of the connection around it.
    pub in_session: bool,
    pub method: String,
    /// Without slashes in front.
    pub path: String,
    pub query: Vec<(String, String)>,
    pub body: Bytes,
    pub answer: Bytes,
    /// When it began and ended, as numbers of events.
    pub began: usize,
    pub ended: usize,
}

impl Exchange {
    /// A parameter of the query.
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.query.iter().find(|(other, _)| other == name);
        found.map(|(_, value)| value.as_str())
    }

    /// From a method and a URL, whose query needs no decoding.
    pub fn new(method: &str, target: &str) -> Self {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let mut query: Vec<_> = pairs
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        query.sort();
        Self {
            method: method.to_owned(),
            path: path.trim_start_matches('/').to_owned(),
            query,
            ..Self::default()
        }
    }
}

#[derive(Default)]
struct Record {
    exchanges: Vec<Exchange>,
    events: usize,
}

/// The recorder; it ends when dropped.
pub struct Recorder {
    pub port: u16,
    pub fingerprint: String,
    record: Arc<Mutex<Record>>,
    _runtime: tokio::runtime::Runtime,
}

impl Recorder {
    /// In front of the daemon at this port.
    pub fn new(daemon: u16) -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let record = Arc::<Mutex<Record>>::default();
        let (acceptor, fingerprint) = acceptor();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::clone(&record);
        runtime.spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let mut tls = SslStream::new(Ssl::new(acceptor.context()).unwrap(), tcp).unwrap();
                let seen = Arc::clone(&seen);
                tokio::spawn(async move {
                    Pin::new(&mut tls).accept().await.unwrap();
                    let service =
                        service_fn(move |request| forward(Arc::clone(&seen), daemon, request));
                    let served = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(tls), service);
                    // The program ends its connections as it likes.
                    let _ = served.with_upgrades().await;
                });
            }
        });
        Self {
            port,
            fingerprint,
            record,
            _runtime: runtime,
        }
    }

    /// All since it was asked last.
    pub fn take(&self) -> Vec<Exchange> {
        std::mem::take(&mut self.record.lock().unwrap().exchanges)
    }
}

fn acceptor() -> (SslAcceptor, String) {
    let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
    let mut certificate = X509Builder::new().unwrap();
    certificate.set_pubkey(&key).unwrap();
    let (begin, end) = (Asn1Time::days_from_now(0), Asn1Time::days_from_now(1));
    certificate.set_not_before(&begin.unwrap()).unwrap();
    certificate.set_not_after(&end.unwrap()).unwrap();
    certificate.sign(&key, MessageDigest::sha256()).unwrap();
    let certificate = certificate.build();
    let digest = certificate.digest(MessageDigest::sha256()).unwrap();
    let groups: Vec<_> = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls()).unwrap();
    acceptor.set_private_key(&key).unwrap();
    acceptor.set_certificate(&certificate).unwrap();
    (acceptor.build(), groups.join(":"))
}

async fn connect(daemon: u16) -> http1::SendRequest<Full<Bytes>> {
    let tcp = TcpStream::connect(("127.0.0.1", daemon)).await.unwrap();
    let mut builder = SslConnector::builder(SslMethod::tls_client()).unwrap();
    builder.set_verify(SslVerifyMode::NONE);
    let configuration = builder.build().configure().unwrap();
    let mut tls = SslStream::new(configuration.into_ssl("127.0.0.1").unwrap(), tcp).unwrap();
    Pin::new(&mut tls).connect().await.unwrap();
    let (sender, connection) = http1::handshake(TokioIo::new(tls)).await.unwrap();
    tokio::spawn(async move {
        let _ = connection.with_upgrades().await;
    });
    sender
}

/// Reads a request, and notes that it came.
async fn begin(
    record: &Mutex<Record>,
    in_session: bool,
    request: Request<Incoming>,
) -> (usize, Request<Full<Bytes>>) {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let target = parts.uri.path_and_query().unwrap().as_str();
    let mut record = record.lock().unwrap();
    record.events += 1;
    let exchange = Exchange {
        in_session,
        body: body.clone(),
        began: record.events,
        ..Exchange::new(parts.method.as_str(), target)
    };
    record.exchanges.push(exchange);
    let number = record.exchanges.len() - 1;
    (number, Request::from_parts(parts, Full::new(body)))
}

/// Reads an answer, and notes that it goes out.
async fn end(
    record: &Mutex<Record>,
    number: usize,
    response: Response<Incoming>,
) -> Response<Full<Bytes>> {
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let mut record = record.lock().unwrap();
    record.events += 1;
    let ended = record.events;
    if let Some(exchange) = record.exchanges.get_mut(number) {
        (exchange.ended, exchange.answer) = (ended, body.clone());
    }
    Response::from_parts(parts, Full::new(body))
}

async fn forward(
    record: Arc<Mutex<Record>>,
    daemon: u16,
    mut request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let near = hyper::upgrade::on(&mut request);
    let (number, request) = begin(&record, false, request).await;
    let mut daemon = connect(daemon).await;
    let mut response = daemon.send_request(request).await.unwrap();
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let far = hyper::upgrade::on(&mut response);
        let record = Arc::clone(&record);
        tokio::spawn(async move {
            let executor = TokioExecutor::new();
            let far = http2::handshake(executor.clone(), far.await.unwrap()).await;
            let (sender, connection) = far.unwrap();
            tokio::spawn(async move {
                let _ = connection.await;
            });
            let service =
                service_fn(move |request| in_session(Arc::clone(&record), sender.clone(), request));
            let served = hyper::server::conn::http2::Builder::new(executor)
                .serve_connection(near.await.unwrap(), service);
            let _ = served.await;
        });
    }
    Ok(end(&record, number, response).await)
}

async fn in_session(
    record: Arc<Mutex<Record>>,
    mut session: http2::SendRequest<Full<Bytes>>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let (number, request) = begin(&record, true, request).await;
    let response = session.send_request(request).await?;
    Ok(end(&record, number, response).await)
}
