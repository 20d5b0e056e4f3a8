//! Start, restart, end.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::support::{Daemon, command, quick_dir, read_answer};

#[test]
fn a_restart_keeps_logins_passwords_and_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = Daemon::start(dir.path());
    let (ticket, _) = first.ticket();
    let (password, token) = (first.password.clone(), first.token.clone());
    let fingerprint = first.fingerprint.clone();
    first.signal("-TERM");
    assert!(first.wait().success());

    let second = Daemon::start(dir.path());
    assert_eq!(second.password, password);
    assert_eq!(second.token, token);
    assert_eq!(second.fingerprint, fingerprint);
    let cookie = format!("PBSAuthCookie={ticket}");
    let answer = second.ask("GET", "/api2/json/version", &[("Cookie", &cookie)], "");
    assert_eq!(answer.status, 200);

    let datastores = std::fs::read_to_string(dir.path().join("config/datastore.cfg")).unwrap();
    for name in ["dev", "local"] {
        assert!(
            datastores.contains(&format!("datastore: {name}\n")),
            "{datastores}"
        );
    }
    for secret in [
        "env",
        "config/shadow.json",
        "config/token.shadow",
        "config/authkey.key",
        "config/csrf.key",
        "config/proxy.key",
        "config/s3.cfg",
    ] {
        let mode = std::fs::metadata(dir.path().join(secret)).unwrap();
        assert_eq!(mode.permissions().mode() & 0o777, 0o600, "{secret}");
    }
}

#[test]
fn a_request_under_way_is_answered_before_the_end() {
    let dir = quick_dir();
    let mut daemon = Daemon::start(dir.path());
    let mut idle = daemon.tls();
    idle.write_all(b"GET /api2/json/ping HTTP/1.1\r\n").unwrap();
    let mut slow = daemon.tls();
    // Without credentials it takes three seconds.
    slow.write_all(b"GET /api2/json/version HTTP/1.1\r\n\r\n")
        .unwrap();
    std::thread::scope(|scope| {
        let begun = Instant::now();
        let answered = scope.spawn(move || read_answer(&mut slow));
        // It has to arrive before the end does.
        while begun.elapsed() < Duration::from_secs(1) {
            std::thread::yield_now();
        }
        daemon.signal("-TERM");
        assert!(daemon.wait().success());
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(15), "{took:?}");
        assert_eq!(answered.join().unwrap().status, 401);
    });
}

#[test]
fn systemd_is_told_and_a_second_daemon_is_refused() {
    let outside = tempfile::tempdir().unwrap();
    let path = outside.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    let dir = quick_dir();
    let below = dir.path();
    let mut daemon = Daemon::start_by(command(below).env("NOTIFY_SOCKET", &path), below);
    let told = || {
        let mut buffer = [0; 64];
        let len = socket.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..len]).into_owned()
    };
    assert_eq!(told(), "READY=1");
    let second = command(below)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&second.stderr);
    assert_eq!(second.status.code(), Some(1), "{error}");
    assert!(
        error.contains("another coffer-server is running"),
        "{error}"
    );
    // It has not taken anything from the first one.
    assert_eq!(daemon.by_token("GET", "/api2/json/version", "").status, 200);
    daemon.signal("-INT");
    assert_eq!(told(), "STOPPING=1");
    assert!(daemon.wait().success());
}
