//! TLS, fingerprints and the proxy, over real sockets.
#![allow(clippy::unwrap_used)] // also in the helpers of tests

mod common;

use common::key;
use common::live::{BUCKET, client_with, server, start};
use s3_client::env::Env;
use s3_client::{S3Client, S3ErrorKind, Scheme};
use s3_mock::MockS3;
use s3_mock::tls::Identity;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const OTHER: &str = "00:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:ff:00:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:ff";

#[derive(Clone, Copy, Debug, PartialEq)]
enum Configured {
    Nothing,
    Right,
    Wrong,
}

async fn talks(
    server: &MockS3,
    trusted: bool,
    fingerprint: Configured,
    strict: bool,
) -> Result<(), String> {
    let client = client_with(server, |options| {
        options.scheme = Scheme::Https;
        options.endpoint.ca_cert =
            trusted.then(|| server.certificate_pem().unwrap().parse().unwrap());
        options.endpoint.fingerprint = match fingerprint {
            Configured::Nothing => None,
            Configured::Right => Some(server.fingerprint().unwrap().parse().unwrap()),
            Configured::Wrong => Some(OTHER.parse().unwrap()),
        };
        options.endpoint.strict_fingerprint = strict.then_some(true);
    });
    client.head_bucket().await.map_err(|error| {
        assert_eq!(
            error.context().attempts,
            1,
            "a wrong certificate stays wrong"
        );
        assert!(matches!(
            error.kind(),
            S3ErrorKind::Connect {
                retryable: false,
                ..
            }
        ));
        error.to_string()
    })
}

#[tokio::test]
async fn fingerprint_matrix() {
    use Configured::{Nothing, Right, Wrong};
    let server = start(|b| b.identity(Identity::self_signed(&["127.0.0.1"]).unwrap())).await;
    for (trusted, fingerprint, strict, accepted) in [
        (true, Nothing, false, true),
        (true, Right, false, true),
        (true, Wrong, false, true),
        (true, Right, true, true),
        (true, Wrong, true, false),
        (false, Nothing, false, false),
        (false, Right, false, true),
        (false, Wrong, false, false),
        (false, Right, true, true),
        (false, Wrong, true, false),
    ] {
        let result = talks(&server, trusted, fingerprint, strict).await;
        assert_eq!(
            result.is_ok(),
            accepted,
            "{trusted} {fingerprint:?} {strict}: {result:?}"
        );
        if let Err(text) = result {
            assert!(
                text.contains(&server.fingerprint().unwrap()),
                "the seen one is named: {text}"
            );
            assert_eq!(text.contains(OTHER), fingerprint == Wrong, "{text}");
        }
    }
    let refused = 4;
    let requests = server.counters().total();
    assert_eq!(
        requests,
        10 - refused,
        "nothing is sent to a server that is not trusted"
    );
}

#[tokio::test]
async fn a_certificate_for_another_name_needs_the_fingerprint() {
    let server = start(|b| b.identity(Identity::self_signed(&["s3.example.test"]).unwrap())).await;
    let error = talks(&server, true, Configured::Nothing, false)
        .await
        .unwrap_err();
    assert!(error.contains("mismatch"), "{error}");
    talks(&server, true, Configured::Right, false)
        .await
        .unwrap();
}

#[tokio::test]
async fn the_name_is_sent_and_checked() {
    let server = start(|b| b.identity(Identity::self_signed(&["*.localhost"]).unwrap())).await;
    let client = client_with(&server, |options| {
        options.scheme = Scheme::Https;
        options.endpoint.endpoint = "{{bucket}}.localhost".parse().unwrap();
        options.endpoint.path_style = None;
        options.endpoint.ca_cert = Some(server.certificate_pem().unwrap().parse().unwrap());
    });
    // OpenSSL takes no wildcard directly below a top-level name: path-style is the way out.
    match client.head_bucket().await {
        Ok(()) => {}
        Err(error) => assert!(error.to_string().contains("path-style"), "{error}"),
    }
}

#[tokio::test]
async fn plain_http_to_elsewhere_is_refused_at_once() {
    let server = server().await;
    let mut options = common::live::options(&server);
    options.endpoint.endpoint = "s3.example.test".parse().unwrap();
    let error = S3Client::new(options.clone(), Env::system()).unwrap_err();
    assert!(error.to_string().contains("plain http"), "{error}");
    options.allow_plain_http = true;
    assert!(S3Client::new(options, Env::system()).is_ok());
}

/// A CONNECT proxy that notes its targets and sends everything to one port.
async fn proxy(port: u16) -> (String, std::sync::Arc<std::sync::Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let requests = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let noted = requests.clone();
    tokio::spawn(async move {
        loop {
            let (mut near, _) = listener.accept().await.unwrap();
            let noted = noted.clone();
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(near.read_u8().await.unwrap());
                }
                let head = String::from_utf8(head).unwrap();
                let allowed = head.contains("proxy-authorization: Basic dXNlcjpwYXNz");
                noted
                    .lock()
                    .unwrap()
                    .push(head.lines().next().unwrap().to_owned());
                if !allowed {
                    near.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
                        .await
                        .unwrap();
                    return;
                }
                near.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
                let mut far = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
    (address.to_string(), requests)
}

#[tokio::test]
async fn through_a_proxy_with_tls_inside_the_tunnel() {
    let server = server().await;
    let (address, requests) = proxy(server.port()).await;
    let client = |credentials: &str| {
        client_with(&server, |options| {
            options.scheme = Scheme::Https;
            // Only the proxy knows this host.
            options.endpoint.endpoint = "s3.example.test".parse().unwrap();
            options.endpoint.port = None;
            options.endpoint.fingerprint = Some(server.fingerprint().unwrap().parse().unwrap());
            options.proxy = Some(format!("http://{credentials}{address}").parse().unwrap());
        })
    };
    let through = client("user:pass@");
    through
        .put_object(&key("k"), "x".into(), s3_client::PutMode::CreateOnly)
        .await
        .unwrap();
    assert_eq!(server.get(BUCKET, "k").unwrap(), "x");
    assert_eq!(
        *requests.lock().unwrap(),
        ["CONNECT s3.example.test:443 HTTP/1.1"]
    );

    let refused = client("").with_retry(s3_client::RetryPolicy::single_attempt());
    let error = refused.head_bucket().await.unwrap_err();
    assert!(error.to_string().contains("407"), "{error}");
}
