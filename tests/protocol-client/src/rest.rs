//! TLS, login, REST requests and the upgrade.

use std::net::SocketAddr;
use std::pin::Pin;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, COOKIE, HOST, UPGRADE};
use hyper::upgrade::Upgraded;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use openssl::hash::MessageDigest;
use openssl::ssl::{SslConnector, SslMethod, SslVerifyMode};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_openssl::SslStream;

use crate::backup::Backup;
use crate::connection::{Answer, Connection};
use crate::reader::Reader;

const BACKUP_PROTOCOL: &str = "proxmox-backup-protocol-v1";
const READER_PROTOCOL: &str = "proxmox-backup-reader-protocol-v1";

/// Who the client is.
#[derive(Clone)]
pub enum Credentials {
    /// Nobody.
    None,
    /// After a login.
    Ticket {
        /// The cookie.
        ticket: String,
        /// For requests that change something.
        csrf: String,
    },
    /// `user@realm!name` and the secret.
    Token {
        /// The token.
        id: String,
        /// Its secret.
        secret: String,
    },
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Ticket { .. } => "Ticket",
            Self::Token { .. } => "Token",
        })
    }
}

/// A server, and who asks it. Each request has a connection of its own.
#[derive(Clone, Debug)]
pub struct Rest {
    address: SocketAddr,
    /// Of the certificate, which otherwise is not looked at.
    pub fingerprint: Option<String>,
    /// Who asks.
    pub credentials: Credentials,
}

impl Rest {
    /// The server at this address.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            fingerprint: None,
            credentials: Credentials::None,
        }
    }

    /// With an API token.
    #[must_use]
    pub fn with_token(mut self, id: &str, secret: &str) -> Self {
        self.credentials = Credentials::Token {
            id: id.to_owned(),
            secret: secret.to_owned(),
        };
        self
    }

    /// Logs in by password.
    pub async fn login(mut self, user: &str, password: &str) -> Result<Self> {
        let body = json!({ "username": user, "password": password });
        let path = "/api2/json/access/ticket";
        let data = self.request(Method::POST, path, Some(body)).await?.data()?;
        let text = |name: &str| {
            let value = data.get(name).and_then(Value::as_str);
            value
                .map(str::to_owned)
                .with_context(|| format!("the login's answer has no {name}"))
        };
        self.credentials = Credentials::Ticket {
            ticket: text("ticket")?,
            csrf: text("CSRFPreventionToken")?,
        };
        Ok(self)
    }

    /// Makes a REST request; `path` begins with `/api2`.
    pub async fn request(&self, method: Method, path: &str, body: Option<Value>) -> Result<Answer> {
        let mut request = self.builder(&method, path);
        let body = match body {
            Some(value) => {
                request = request.header(CONTENT_TYPE, "application/json");
                value.to_string().into()
            }
            None => Bytes::new(),
        };
        let (answer, _) = self.send(request.body(Full::new(body))?).await?;
        Ok(answer)
    }

    /// Sends a request as it is, on a connection of its own; with the connection, if the server
    /// agreed to another protocol.
    pub async fn send(&self, request: Request<Full<Bytes>>) -> Result<(Answer, Option<Upgraded>)> {
        let mut sender = self.connect().await?;
        let mut response = sender.send_request(request).await?;
        let upgraded = match response.status() {
            StatusCode::SWITCHING_PROTOCOLS => {
                let upgraded = hyper::upgrade::on(&mut response).await;
                Some(upgraded.context("the connection was not upgraded")?)
            }
            _ => None,
        };
        let (head, body) = response.into_parts();
        let body = match upgraded {
            Some(_) => Bytes::new(),
            None => body.collect().await?.to_bytes(),
        };
        let (status, headers) = (head.status, head.headers);
        let answer = Answer {
            status,
            headers,
            body,
        };
        Ok((answer, upgraded))
    }

    /// Opens a backup session; `query` without its question mark.
    pub async fn backup(&self, query: &str) -> Result<Backup> {
        let path = format!("//api2/json/backup?{query}");
        let upgraded = self.upgrade(&path, BACKUP_PROTOCOL).await?;
        Ok(Backup::new(Connection::over(upgraded).await?))
    }

    /// Opens a reader session; `query` without its question mark.
    pub async fn reader(&self, query: &str) -> Result<Reader> {
        let path = format!("//api2/json/reader?{query}");
        let upgraded = self.upgrade(&path, READER_PROTOCOL).await?;
        Ok(Reader::new(Connection::over(upgraded).await?))
    }

    /// Asks for another protocol.
    pub async fn upgrade(&self, path: &str, protocol: &str) -> Result<Upgraded> {
        let request = self
            .builder(&Method::GET, path)
            .header(CONNECTION, "upgrade")
            .header(UPGRADE, protocol)
            .body(Full::default())?;
        let (answer, upgraded) = self.send(request).await?;
        upgraded.with_context(|| format!("{}: {}", answer.status, answer.text()))
    }

    fn builder(&self, method: &Method, path: &str) -> hyper::http::request::Builder {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, self.address.to_string());
        match &self.credentials {
            Credentials::None => request,
            Credentials::Ticket { ticket, csrf } => request
                .header(COOKIE, format!("PBSAuthCookie={ticket}"))
                .header("CSRFPreventionToken", csrf),
            Credentials::Token { id, secret } => {
                request.header(AUTHORIZATION, format!("PBSAPIToken={id}:{secret}"))
            }
        }
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>> {
        let tls = connect_tls(self.address).await?;
        if let Some(expected) = &self.fingerprint {
            check_fingerprint(&tls, expected)?;
        }
        let (sender, connection) = http1::handshake(TokioIo::new(tls)).await?;
        tokio::spawn(async move {
            // Whoever waits for an answer hears of it.
            let _ = connection.with_upgrades().await;
        });
        Ok(sender)
    }
}

/// A TLS connection; the certificate is not looked at.
pub async fn connect_tls(address: SocketAddr) -> Result<SslStream<TcpStream>> {
    let tcp = TcpStream::connect(address)
        .await
        .with_context(|| format!("failed to connect to {address}"))?;
    tcp.set_nodelay(true)?;
    let mut connector = SslConnector::builder(SslMethod::tls_client())?;
    connector.set_verify(SslVerifyMode::NONE);
    let mut config = connector.build().configure()?;
    config.set_verify_hostname(false);
    let mut tls = SslStream::new(config.into_ssl("localhost")?, tcp)?;
    Pin::new(&mut tls)
        .connect()
        .await
        .context("the TLS handshake failed")?;
    Ok(tls)
}

fn check_fingerprint(tls: &SslStream<TcpStream>, expected: &str) -> Result<()> {
    let certificate = tls.ssl().peer_certificate().context("no certificate")?;
    let digest = certificate.digest(MessageDigest::sha256())?;
    let found: Vec<_> = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let found = found.join(":");
    ensure!(
        found == expected.to_lowercase(),
        "the server's certificate has the fingerprint {found}, not {expected}"
    );
    Ok(())
}
