//! What there is at a remote; here the daemon is a remote of its own.

use hyper::Method;
use serde_json::{Value, json};
use support::ConnectProxy;

use crate::backup::{address, back_up, by_password, call};
use crate::support::{Daemon, scratch};

/// A name that nobody but the proxy knows.
const HIDDEN: &str = "backup.example.org";

#[tokio::test(flavor = "multi_thread")]
async fn remotes_are_scanned() {
    let dir = scratch().unwrap();
    let daemon = Daemon::start(dir.path());
    let rest = by_password(&daemon).await;
    let remote = |name: &str, change: Value| {
        let mut all = json!({
            "name": name,
            "host": "127.0.0.1",
            "port": daemon.port,
            "auth-id": "admin@pbs",
            "password": daemon.password,
            "fingerprint": daemon.fingerprint,
        });
        let change = change.as_object().unwrap().clone();
        all.as_object_mut().unwrap().extend(change);
        Some(all)
    };
    let other = "00".to_owned() + &":00".repeat(31);
    let (token, secret) = daemon.token.split_once(':').unwrap();
    let no_port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = no_port.local_addr().unwrap().port();
    drop(no_port);
    for (name, change) in [
        ("good", json!({})),
        ("token", json!({ "auth-id": token, "password": secret })),
        ("password", json!({ "password": "wrong-password" })),
        ("secret", json!({ "auth-id": token, "password": "wrong" })),
        ("print", json!({ "fingerprint": other })),
        ("closed", json!({ "port": closed })),
        ("lost", json!({ "host": "no-such-host.invalid" })),
        ("behind", json!({ "host": HIDDEN, "use-node-proxy": true })),
    ] {
        let body = remote(name, change);
        call(&rest, Method::POST, "config/remote", body).await;
    }
    call(
        &rest,
        Method::POST,
        "admin/datastore/local/namespace",
        Some(json!({ "name": "a" })),
    )
    .await;
    back_up(&rest, "local&ns=a", "one", 1_790_000_000, 1).await;

    let proxy = ConnectProxy::new(daemon.port).unwrap();
    let address_of_proxy = format!("http://me:right@127.0.0.1:{}", proxy.port);
    let node = Some(json!({ "http-proxy": address_of_proxy }));
    call(&rest, Method::PUT, "nodes/localhost/config", node).await;

    for name in ["good", "token", "behind"] {
        let scan = async |path: &str| {
            let path = format!("config/remote/{name}/scan{path}");
            call(&rest, Method::GET, &path, None).await
        };
        let mut stores: Vec<_> = scan("")
            .await
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["store"].as_str().unwrap().to_owned())
            .collect();
        stores.sort();
        assert_eq!(stores, ["dev", "local"]);
        let namespaces = scan("/local/namespaces").await;
        assert_eq!(namespaces, json!([{ "ns": "" }, { "ns": "a" }]));
        assert_eq!(scan("/local/groups").await, json!([]));
        let groups = scan("/local/groups?namespace=a").await;
        let listed = call(
            &rest,
            Method::GET,
            "admin/datastore/local/groups?ns=a",
            None,
        )
        .await;
        assert_eq!(groups, listed);
        assert_eq!(groups[0]["backup-id"], "one");
        let through = proxy.asked();
        let asked = format!("CONNECT {HIDDEN}:{} HTTP/1.1", daemon.port);
        assert_eq!(through.is_empty(), name != "behind", "{name}: {through:?}");
        assert!(through.iter().all(|line| *line == asked), "{through:?}");
    }

    let refusal = async |path: &str| {
        let path = format!("/api2/json/config/remote/{path}");
        let answer = rest.request(Method::GET, &path, None).await.unwrap();
        (answer.status.as_u16(), answer.text())
    };
    for (name, reason) in [
        ("password", "authentication as admin@pbs"),
        ("secret", "authentication failed"),
        ("print", &other),
        ("closed", "failed to connect to"),
        ("lost", "no-such-host.invalid"),
    ] {
        let (status, text) = refusal(&format!("{name}/scan/local/groups")).await;
        let beginning = format!("failed to scan remote '{name}' - ");
        assert!(
            status == 500 && text.starts_with(&beginning) && text.contains(reason),
            "{status} {text}"
        );
    }
    let (status, text) = refusal("good/scan/nowhere/groups").await;
    assert_eq!(status, 500);
    assert!(text.contains("nowhere"), "{text}");
    let (status, text) = refusal("none/scan").await;
    assert_eq!((status, text.as_str()), (400, "no such remote 'none'"));

    // Whoever may not see the remote learns nothing of what is there.
    let user = json!({ "userid": "stranger@pbs", "password": "12345678" });
    call(&rest, Method::POST, "access/users", Some(user)).await;
    let stranger = protocol_client::rest::Rest::new(address(&daemon));
    let stranger = stranger.login("stranger@pbs", "12345678").await.unwrap();
    let path = "/api2/json/config/remote/good/scan";
    let answer = stranger.request(Method::GET, path, None).await.unwrap();
    assert_eq!(answer.status, 403);
}
