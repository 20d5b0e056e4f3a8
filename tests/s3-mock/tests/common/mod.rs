//! A small S3 client of the mock's own: signs by the mock's description of the algorithm and
//! speaks HTTP over whatever stream it is given.
#![allow(dead_code, clippy::unwrap_used)] // shared by several test programs

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper::{HeaderMap, Request};
use hyper_util::rt::TokioIo;
use s3_mock::sigv4::{Scope, canonical_request};
use s3_mock::{MockS3, amz_date, percent_encode, sha256_hex};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

pub const BUCKET: &str = "bucket";

/// An answer, read to its end.
#[derive(Debug)]
pub struct Got {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Got {
    pub fn text(&self) -> String {
        String::from_utf8(self.body.to_vec()).unwrap()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// The text of every element of this name.
    pub fn elements(&self, name: &str) -> Vec<String> {
        let text = self.text();
        text.split(&format!("<{name}>"))
            .skip(1)
            .map(|rest| rest.split(&format!("</{name}>")).next().unwrap().to_owned())
            .collect()
    }

    pub fn code(&self) -> String {
        self.elements("Code").first().cloned().unwrap_or_default()
    }
}

/// A request to be signed.
pub struct Ask {
    pub method: &'static str,
    pub path: String,
    pub query: Vec<(String, String)>,
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
    pub host: Option<String>,
    pub secret: Option<String>,
    pub signed_at: Option<i64>,
    /// Sent in place of the body that was signed.
    pub sent_body: Option<Bytes>,
}

impl Ask {
    pub fn new(method: &'static str, path: &str) -> Self {
        Self {
            method,
            path: path.to_owned(),
            query: Vec::new(),
            headers: Vec::new(),
            body: Bytes::new(),
            host: None,
            secret: None,
            signed_at: None,
            sent_body: None,
        }
    }

    pub fn key(method: &'static str, key: &str) -> Self {
        Self::new(method, &format!("/{BUCKET}/{key}"))
    }

    pub fn query(mut self, name: &str, value: &str) -> Self {
        self.query.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    fn build(&self, server: &MockS3) -> Request<Full<Bytes>> {
        let authority = self.host.clone().unwrap_or_else(|| server.authority());
        let timestamp = amz_date(
            self.signed_at
                .unwrap_or_else(|| server.now_millis().div_euclid(1000)),
        );
        let payload = sha256_hex(&self.body);
        let mut headers = self.headers.clone();
        headers.push(("host".to_owned(), authority.clone()));
        headers.push(("x-amz-content-sha256".to_owned(), payload.clone()));
        headers.push(("x-amz-date".to_owned(), timestamp.clone()));
        headers.sort();
        let canonical = canonical_request(
            self.method,
            &self.path,
            &self.query,
            &headers,
            Some(&payload),
        );
        let scope = Scope {
            timestamp: &timestamp,
            region: server.region(),
            service: "s3",
        };
        let secret = self
            .secret
            .as_deref()
            .unwrap_or_else(|| server.secret_key());
        let signature = scope.signature(secret, &canonical);
        let names: Vec<&str> = headers.iter().map(|(name, _)| name.as_str()).collect();
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={}/{}/{}/s3/aws4_request,SignedHeaders={},Signature={signature}",
            server.access_key(),
            &timestamp[..8],
            server.region(),
            names.join(";"),
        );
        let query: Vec<String> = self
            .query
            .iter()
            .map(|(name, value)| {
                format!(
                    "{}={}",
                    percent_encode(name, false),
                    percent_encode(value, false)
                )
            })
            .collect();
        let query = if query.is_empty() {
            String::new()
        } else {
            format!("?{}", query.join("&"))
        };
        let mut request = Request::builder()
            .method(self.method)
            .uri(format!("{}{query}", percent_encode(&self.path, true)))
            .header("authorization", authorization);
        for (name, value) in &headers {
            request = request.header(name, value);
        }
        let body = self.sent_body.clone().unwrap_or_else(|| self.body.clone());
        request.body(Full::new(body)).unwrap()
    }

    /// Sends over a connection of its own.
    pub async fn send(self, server: &MockS3) -> Result<Got, hyper::Error> {
        let stream = TcpStream::connect(server.authority()).await.unwrap();
        self.send_over(server, stream).await
    }

    pub async fn ok(self, server: &MockS3) -> Got {
        self.send(server).await.unwrap()
    }

    /// Sends without any connection.
    pub async fn exchange(self, server: &MockS3) -> Result<Got, s3_mock::Dropped> {
        let (parts, _) = self.build(server).into_parts();
        let body = self.sent_body.unwrap_or(self.body);
        let response = server.exchange(Request::from_parts(parts, body)).await?;
        let (parts, body) = response.into_parts();
        Ok(Got {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body,
        })
    }

    pub async fn send_over<IO>(self, server: &MockS3, io: IO) -> Result<Got, hyper::Error>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (mut sender, connection) = http1::handshake(TokioIo::new(io)).await?;
        let driver = tokio::spawn(connection);
        let response = sender.send_request(self.build(server)).await?;
        let (parts, body) = response.into_parts();
        let body = body.collect().await?.to_bytes();
        drop(sender);
        driver.abort();
        Ok(Got {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body,
        })
    }
}

/// The body of a DeleteObjects request.
pub fn delete_body(quiet: bool, keys: &[&str]) -> Bytes {
    let keys: String = keys
        .iter()
        .map(|key| format!("<Object><Key>{}</Key></Object>", key.replace('&', "&amp;")))
        .collect();
    format!("<Delete><Quiet>{quiet}</Quiet>{keys}</Delete>").into()
}

pub fn delete_objects(quiet: bool, keys: &[&str]) -> Ask {
    let body = delete_body(quiet, keys);
    let md5 = openssl::base64::encode_block(&s3_mock::md5(&body));
    Ask::new("POST", &format!("/{BUCKET}/"))
        .query("delete", "")
        .header("content-md5", &md5)
        .body(body)
}

pub fn list() -> Ask {
    Ask::new("GET", &format!("/{BUCKET}/")).query("list-type", "2")
}

pub async fn server() -> MockS3 {
    MockS3::builder().bucket(BUCKET).start().await.unwrap()
}

/// An unsigned request, its raw answer.
pub async fn http_get(server: &MockS3, path: &str) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(server.authority())
        .await
        .unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}
