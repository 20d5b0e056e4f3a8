use std::net::Ipv4Addr;
use std::pin::Pin;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use openssl::ssl::{SslConnector, SslMethod, SslVerifyMode};
use s3_client::env::Env;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_openssl::SslStream;

use super::*;
use crate::paths::Paths;
use crate::s3::S3Options;

struct World {
    server: Arc<Server>,
    listener: Arc<Listener>,
    address: SocketAddr,
    _dir: tempfile::TempDir,
}

async fn world(header_timeout: Duration) -> World {
    world_with(|listener| listener.with_header_timeout(header_timeout)).await
}

async fn world_with(set: impl FnOnce(Listener) -> Listener) -> World {
    let dir = support::scratch().unwrap();
    let paths = Paths::below(dir.path());
    let server = Server::open(paths, &S3Options::default(), Env::system()).unwrap();
    let listener = Listener::new(Arc::clone(&server), Arc::clone(&server.tls));
    let listener = Arc::new(set(listener));
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(Arc::clone(&listener).run(socket));
    World {
        server,
        listener,
        address,
        _dir: dir,
    }
}

impl World {
    async fn connect(&self, protocols: &[u8]) -> SslStream<TcpStream> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let mut connector = SslConnector::builder(SslMethod::tls_client()).unwrap();
        connector.set_verify(SslVerifyMode::NONE);
        if !protocols.is_empty() {
            connector.set_alpn_protos(protocols).unwrap();
        }
        let ssl = connector.build().configure().unwrap();
        let ssl = ssl.verify_hostname(false).into_ssl("localhost").unwrap();
        let mut stream = SslStream::new(ssl, stream).unwrap();
        Pin::new(&mut stream).connect().await.unwrap();
        stream
    }
}

const PING: &[u8] = b"GET /api2/json/ping HTTP/1.1\r\n\r\n";

#[tokio::test]
async fn an_idle_connection_ends() {
    let world = world(Duration::from_millis(300)).await;
    let mut never = world.connect(b"").await;
    let mut half = world.connect(b"").await;
    half.write_all(b"GET /api2/json/ping HTTP/1.1\r\nHo")
        .await
        .unwrap();
    let mut once = world.connect(b"\x08http/1.1").await;
    once.write_all(PING).await.unwrap();
    // Not even the first words of HTTP/2; and no request after them.
    let mut mute = world.connect(b"\x02h2").await;
    let mut polite = world.connect(b"\x02h2").await;
    polite
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .await
        .unwrap();
    for stream in [&mut never, &mut half, &mut once, &mut mute, &mut polite] {
        let mut all = Vec::new();
        let end = stream.read_to_end(&mut all);
        let ended = tokio::time::timeout(Duration::from_secs(30), end).await;
        assert!(ended.is_ok(), "{}", String::from_utf8_lossy(&all));
    }
    world.server.shutdown.cancel();
    assert!(world.listener.wait(Duration::from_secs(10)).await);
}

#[tokio::test]
async fn http2_for_whoever_wants_it() {
    let world = world(HEADER_TIMEOUT).await;
    let stream = world.connect(b"\x02h2\x08http/1.1").await;
    assert!(is_http2(stream.ssl()));
    let (mut client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    let connection = tokio::spawn(connection);
    for _ in 0..3 {
        let request = Request::builder()
            .uri("https://localhost/api2/json/ping")
            .body(Empty::<Bytes>::new())
            .unwrap();
        let response = client.send_request(request).await.unwrap();
        assert_eq!(response.status(), 200);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(&*body, br#"{"data":{"pong":true}}"#);
    }
    // The end of the server ends the connection, though the client would like to go on.
    world.server.shutdown.cancel();
    assert!(world.listener.wait(Duration::from_secs(10)).await);
    let _ = connection.await;
}

#[tokio::test]
async fn one_address_does_not_take_all_places() {
    let world = world_with(|listener| listener.with_max_from_address(2)).await;
    let first = world.connect(b"").await;
    let _second = world.connect(b"").await;
    let mut third = TcpStream::connect(world.address).await.unwrap();
    assert_eq!(third.read(&mut [0]).await.unwrap_or_default(), 0);

    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut other = socket.connect(world.address).await.unwrap();
    let mut answer = Vec::new();
    other.write_all(PING).await.unwrap();
    other.read_to_end(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 400"), "{answer:?}");

    drop(first);
    let again = async {
        loop {
            let mut stream = TcpStream::connect(world.address).await.unwrap();
            stream.write_all(PING).await.unwrap();
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer).await;
            if !answer.is_empty() {
                return;
            }
            world.server.env.sleep(Duration::from_millis(10)).await;
        }
    };
    let again = tokio::time::timeout(Duration::from_secs(10), again);
    again.await.unwrap();
}
