//! Who gets in.

use std::path::Path;
use std::time::{Duration, Instant};

use s3_client::env::Env;
use serde_json::json;
use server::access::ticket::TicketKey;

use crate::support::{Daemon, quick_dir};

const VERSION: &str = "/api2/json/version";

/// A ticket of the right server, too old by some seconds.
fn issued_two_hours_ago(dir: &Path) -> String {
    let pem = std::fs::read(dir.join("config/authkey.key")).unwrap();
    let then = Env::system().unix_secs() - 7210;
    let user = "admin@pbs".parse().unwrap();
    TicketKey::from_pem(&pem)
        .unwrap()
        .issue(&user, then)
        .unwrap()
}

#[test]
fn only_those_get_in_who_should() {
    let dir = quick_dir();
    let daemon = Daemon::start(dir.path());

    let (ticket, csrf) = daemon.ticket();
    let cookie = format!("PBSAuthCookie={}", ticket.replace(':', "%3A"));
    let cookie = ("Cookie", cookie.as_str());
    let csrf = ("CSRFPreventionToken", csrf.as_str());
    let answer = daemon.ask("GET", VERSION, &[cookie], "");
    assert_eq!(answer.json()["data"]["version"], "4.2");
    assert!(
        answer
            .head
            .contains("content-type: application/json;charset=utf-8")
    );
    let user = "userid=b@pbs";
    let users = "/api2/json/access/users";
    assert_eq!(daemon.ask("POST", users, &[cookie], user).status, 401);
    assert_eq!(daemon.ask("POST", users, &[cookie, csrf], user).status, 200);
    assert_eq!(
        daemon
            .by_token("DELETE", "/api2/json/access/users/b%40pbs", "")
            .status,
        200
    );
    let space = format!("PBSAPIToken {}", daemon.token);
    assert_eq!(
        daemon
            .ask("GET", VERSION, &[("Authorization", &space)], "")
            .status,
        200
    );

    // Renewal by the ticket, and what is none.
    assert_eq!(daemon.login("admin@pbs", &ticket).status, 200);
    let other_dir = quick_dir();
    let other = Daemon::start(other_dir.path());
    let (foreign, _) = other.ticket();
    let expired = issued_two_hours_ago(dir.path());
    let of_root = ticket.replace("admin@pbs", "root@pam");
    let begun = Instant::now();
    let refused: Vec<(&str, String)> = vec![
        ("Cookie", format!("PBSAuthCookie={foreign}")),
        ("Cookie", format!("PBSAuthCookie={expired}")),
        ("Cookie", format!("PBSAuthCookie={of_root}")),
        (
            "Cookie",
            format!("__Host-PBSAuthCookie=x; PBSAuthCookie={ticket}"),
        ),
        ("Authorization", format!("PBSAPIToken={}x", daemon.token)),
        ("Authorization", format!("PBSAPIToken={}", other.token)),
        ("Authorization", format!("Basic {}", daemon.token)),
        ("X-Nothing", "x".to_owned()),
    ];
    let number = refused.len();
    std::thread::scope(|scope| {
        for (name, value) in &refused {
            let daemon = &daemon;
            scope.spawn(move || {
                let answer = daemon.ask("GET", VERSION, &[(name, value)], "");
                assert_eq!(
                    (answer.status, &*answer.body),
                    (401, "authentication failed")
                );
                assert!(
                    answer
                        .head
                        .contains("set-cookie: __host-pbsauthcookie=; expires=")
                );
            });
        }
        for password in ["", "wrong", &foreign, &of_root, &expired] {
            let daemon = &daemon;
            scope.spawn(move || {
                let answer = daemon.login("admin@pbs", password);
                assert_eq!(
                    (answer.status, &*answer.body),
                    (401, "permission check failed.")
                );
            });
        }
    });
    let took = begun.elapsed();
    assert!(took >= Duration::from_secs(3), "{took:?}");
    // Each waits for itself, not for the others.
    assert!(took < Duration::from_secs(number as u64 * 3), "{took:?}");
}

#[test]
fn bad_requests_get_upstreams_answers() {
    let dir = quick_dir();
    let daemon = Daemon::start(dir.path());
    let ask = |method: &str, path: &str, body: &str| daemon.by_token(method, path, body);
    let answer = ask("GET", "/api2/json/no/such", "");
    assert_eq!(
        (answer.status, &*answer.body),
        (404, "Path '/no/such' not found.")
    );
    let answer = ask("GET", "/api2/json/access/users?limit=1", "");
    assert_eq!(
        (answer.status, &*answer.body),
        (
            400,
            "parameter verification failed - 'limit': \
             schema does not allow additional properties."
        )
    );
    let answer = ask("GET", "/api2/json/access/users?include_tokens=maybe", "");
    assert_eq!(answer.status, 400);
    let answer = ask(
        "GET",
        "/api2/json/access/users?include_tokens=1&include_tokens=1",
        "",
    );
    assert!(answer.body.contains("duplicate parameter."), "{answer:?}");
    let answer = ask(
        "POST",
        "/api2/json/access/users",
        &"x".repeat(512 * 1024 + 1),
    );
    assert_eq!(
        (answer.status, &*answer.body),
        (400, "Request body too large")
    );
    let long = format!("{VERSION}?{}", "x".repeat(3072));
    assert_eq!(ask("GET", &long, "").status, 414);
    for path in [
        "/api2/json/../../etc/passwd",
        "/api2/json/%2e%2e/x",
        "/.hidden",
    ] {
        assert_eq!(ask("GET", path, "").status, 400, "{path}");
    }
    let answer = ask("GET", "/api2/extjs/access/users?limit=1", "");
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.json()["errors"],
        json!({ "limit": "schema does not allow additional properties." })
    );
    let info = ask("GET", "/api2/json/nodes/localhost/certificates/info", "").json();
    assert_eq!(info["data"][0]["fingerprint"], daemon.fingerprint.as_str());
}
