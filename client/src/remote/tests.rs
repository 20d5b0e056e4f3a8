//! Logins and connections, against a server that only keeps record.

use std::sync::atomic::{AtomicU64, Ordering};

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use openssl::asn1::Asn1Time;
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::rsa::Rsa;
use openssl::ssl::{Ssl, SslAcceptor, SslMethod};
use openssl::x509::X509Builder;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_openssl::SslStream;

use super::*;
use crate::remote::dirs::Dirs;

const PASSWORD: &str = "right";
/// Right too, but of a user with a second factor.
const HALF_PASSWORD: &str = "half";

/// What the server has seen.
#[derive(Debug, Default)]
struct Record {
    connections: AtomicU64,
    /// Passwords of logins.
    logins: Mutex<Vec<String>>,
    /// Tickets from this number on are good.
    first_good: AtomicU64,
    /// Ends a connection after so many answers, if not zero.
    patience: AtomicU64,
}

struct Server {
    record: Arc<Record>,
    repository: Repository,
}

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let record = Arc::new(Record::default());
        let (seen, acceptor) = (Arc::clone(&record), acceptor());
        tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                seen.connections.fetch_add(1, Ordering::SeqCst);
                let mut tls = SslStream::new(Ssl::new(acceptor.context()).unwrap(), tcp).unwrap();
                let seen = Arc::clone(&seen);
                tokio::spawn(async move {
                    // A client that does not trust us goes away.
                    if std::pin::Pin::new(&mut tls).accept().await.is_err() {
                        return;
                    }
                    let answers = Arc::new(AtomicU64::new(0));
                    let service = service_fn(move |request| {
                        let count = answers.fetch_add(1, Ordering::SeqCst) + 1;
                        answer(Arc::clone(&seen), request, count)
                    });
                    let served = hyper::server::conn::http1::Builder::new();
                    let served = served.serve_connection(TokioIo::new(tls), service);
                    let _ = served.with_upgrades().await;
                });
            }
        });
        Self {
            record,
            repository: format!("a@pbs@127.0.0.1:{port}:main").parse().unwrap(),
        }
    }

    async fn fingerprint(&self) -> api_types::digest::Fingerprint {
        let address = self.repository.server();
        let tcp = tokio::net::TcpStream::connect(address).await.unwrap();
        let (_, seen) = trust::handshake("127.0.0.1", tcp).await.unwrap();
        self.record.connections.store(0, Ordering::SeqCst);
        seen.fingerprint.unwrap()
    }

    async fn options(&self, password: &str, dirs: &Dirs) -> ConnectOptions {
        let secret = Secret::new(password.to_owned());
        ConnectOptions {
            fingerprint: Some(self.fingerprint().await),
            dirs: dirs.clone(),
            ..ConnectOptions::with_password(PasswordSource::Given(secret))
        }
    }

    fn connections(&self) -> u64 {
        self.record.connections.load(Ordering::SeqCst)
    }

    fn logins(&self) -> Vec<String> {
        self.record.logins.lock().unwrap().clone()
    }
}

fn acceptor() -> SslAcceptor {
    let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
    let mut certificate = X509Builder::new().unwrap();
    certificate.set_pubkey(&key).unwrap();
    let (begin, end) = (Asn1Time::days_from_now(0), Asn1Time::days_from_now(1));
    certificate.set_not_before(&begin.unwrap()).unwrap();
    certificate.set_not_after(&end.unwrap()).unwrap();
    certificate.sign(&key, MessageDigest::sha256()).unwrap();
    let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls()).unwrap();
    acceptor.set_private_key(&key).unwrap();
    acceptor.set_certificate(&certificate.build()).unwrap();
    acceptor.build()
}

async fn answer(
    record: Arc<Record>,
    request: Request<Incoming>,
    count: u64,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let header = |name: &str| {
        let value = request.headers().get(name);
        value.map(|value| value.to_str().unwrap().to_owned())
    };
    let cookie = header("cookie");
    if header("upgrade").is_some() {
        // A session that nobody serves.
        tokio::spawn(async move {
            let _held = hyper::upgrade::on(request).await.unwrap();
            std::future::pending::<()>().await;
        });
        let response = Response::builder().status(StatusCode::SWITCHING_PROTOCOLS);
        let response = response
            .header(CONNECTION, "upgrade")
            .header(UPGRADE, "silence");
        return Ok(response.body(Full::default()).unwrap());
    }
    let path = request.uri().path().to_owned();
    let body = request.into_body().collect().await?.to_bytes();
    let refuse = |text: &str| {
        let response = Response::builder().status(StatusCode::UNAUTHORIZED);
        Ok(response.body(Full::from(text.to_owned())).unwrap())
    };
    let data = if path == "/api2/json/access/ticket" {
        assert_eq!(cookie, None, "a login carries no credentials");
        let body: Value = serde_json::from_slice(&body).unwrap();
        let password = body["password"].as_str().unwrap().to_owned();
        let mut logins = record.logins.lock().unwrap();
        logins.push(password.clone());
        if password == HALF_PASSWORD {
            let challenge = "PBS:!tfa!{\"totp\"%3Atrue}:6B02A904::c2ln";
            let half = json!({ "ticket": challenge, "CSRFPreventionToken": "invalid" });
            return Ok(Response::new(Full::from(
                json!({ "data": half }).to_string(),
            )));
        }
        if password != PASSWORD && !password.starts_with("PBS:") {
            return refuse("permission check failed.");
        }
        let number = logins.len();
        json!({ "ticket": format!("PBS:{number}"), "CSRFPreventionToken": "csrf" })
    } else {
        let number = cookie.and_then(|cookie| cookie.rsplit_once(':')?.1.parse().ok());
        if number < Some(record.first_good.load(Ordering::SeqCst)) || number.is_none() {
            return refuse("authentication failed");
        }
        json!(path)
    };
    let mut response = Response::builder();
    if count == record.patience.load(Ordering::SeqCst) {
        response = response.header(CONNECTION, "close");
    }
    let body = json!({ "data": data }).to_string();
    Ok(response.body(Full::from(body)).unwrap())
}

#[tokio::test]
async fn one_connection_serves_many_requests() {
    let server = Server::start().await;
    let options = server.options(PASSWORD, &Dirs::default()).await;
    let remote = Remote::connect(&server.repository, &options).await.unwrap();
    for _ in 0..3 {
        let data = remote.get("/x", &[("a", "b")]).await.unwrap();
        assert_eq!(data, "/api2/json/x");
        remote.post("/y", &json!({})).await.unwrap();
    }
    assert_eq!(server.connections(), 1);
    // What the server ends is opened again.
    server.record.patience.store(8, Ordering::SeqCst);
    for _ in 0..4 {
        remote.put("/z", &json!({ "a": 1 })).await.unwrap();
    }
    assert_eq!(server.connections(), 2);
    assert_eq!(server.logins(), [PASSWORD]);
}

#[tokio::test]
async fn a_kept_ticket_is_used_until_the_server_refuses_it() {
    let server = Server::start().await;
    let dir = tempfile::tempdir().unwrap();
    let dirs = Dirs {
        config: None,
        runtime: Some(dir.path().to_owned()),
    };
    let options = server.options(PASSWORD, &dirs).await;
    let connect = || Remote::connect(&server.repository, &options);
    let first = connect().await.unwrap();
    assert!(first.ticket_is_kept());
    connect().await.unwrap().get("/x", &[]).await.unwrap();
    assert_eq!(server.logins(), [PASSWORD], "one login for both");
    server.record.first_good.store(2, Ordering::SeqCst);
    connect().await.unwrap().get("/x", &[]).await.unwrap();
    assert_eq!(server.logins(), [PASSWORD; 2]);
    // Of this invocation, a refusal is one.
    server.record.first_good.store(9, Ordering::SeqCst);
    let error = first.get("/x", &[]).await.unwrap_err();
    assert_eq!(error.to_string(), "authentication failed");
    Remote::forget_login(&server.repository, &options).unwrap();
    let wrong = server.options("pizza", &dirs).await;
    let error = Remote::connect(&server.repository, &wrong)
        .await
        .unwrap_err();
    let text = format!("{error:#}");
    assert!(text.contains("password is wrong"), "{text}");
    assert!(!text.contains("pizza"), "{text}");
}

/// Half a login is none: it is kept nowhere, and what is needed is said.
#[tokio::test]
async fn a_second_factor_is_said_to_be_needed() {
    let server = Server::start().await;
    let dir = tempfile::tempdir().unwrap();
    let dirs = Dirs {
        config: None,
        runtime: Some(dir.path().to_owned()),
    };
    let options = server.options(HALF_PASSWORD, &dirs).await;
    let error = Remote::connect(&server.repository, &options).await;
    let text = format!("{:#}", error.unwrap_err());
    let token = format!(
        "PBS_REPOSITORY=a@pbs!TOKEN@{}:main",
        server.repository.server()
    );
    for part in [
        "second factor",
        "the password is right",
        "API token",
        &token,
    ] {
        assert!(text.contains(part), "no '{part}' in {text}");
    }
    assert!(
        !text.contains("password is wrong") && !text.contains("!tfa!"),
        "{text}"
    );
    assert_eq!(server.logins(), [HALF_PASSWORD], "it is asked once");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_ticket_is_renewed_by_itself() {
    let server = Server::start().await;
    let options = server.options(PASSWORD, &Dirs::default()).await;
    let remote = Remote::connect(&server.repository, &options).await.unwrap();
    remote.inner.renew().await.unwrap();
    assert_eq!(server.logins(), [PASSWORD, "PBS:1"]);
    server.record.first_good.store(2, Ordering::SeqCst);
    remote.get("/x", &[]).await.unwrap();
}

#[tokio::test]
async fn nothing_is_sent_to_a_server_that_is_not_the_right_one() {
    let server = Server::start().await;
    let options = ConnectOptions {
        fingerprint: None,
        ..server.options(PASSWORD, &Dirs::default()).await
    };
    let error = Remote::connect(&server.repository, &options)
        .await
        .unwrap_err();
    let text = format!("{error:#}");
    let fingerprint = server.fingerprint().await.to_string();
    assert!(
        text.contains(&fingerprint) && text.contains("PBS_FINGERPRINT"),
        "{text}"
    );
    assert_eq!(server.logins(), [""; 0]);
}

#[tokio::test]
async fn a_session_whose_server_falls_silent_ends() {
    let server = Server::start().await;
    let options = server.options(PASSWORD, &Dirs::default()).await;
    let remote = Remote::connect(&server.repository, &options).await.unwrap();
    let mut session = remote.upgrade("/backup", &[], "silence").await.unwrap();
    session.ready().await.unwrap();
    let request = Request::get("https://localhost/x").body(Full::default());
    let answer = session.send_request(request.unwrap());
    // From here on hours pass as soon as nobody has anything to do.
    tokio::time::pause();
    let answer = tokio::time::timeout(Duration::from_secs(600), answer).await;
    let error = answer.expect("the client waits for ever").unwrap_err();
    assert!(error.is_timeout(), "{error:?}");
}
