//! Connections that misbehave, and many of them.

use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use crate::support::{Daemon, quick_dir, read_answer};

const PING: &[u8] = b"GET /api2/json/ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

#[test]
fn two_hundred_at_once_are_all_answered() {
    let dir = quick_dir();
    let daemon = Daemon::start(dir.path());
    let before = daemon.open_files();
    // Some that never speak, and some that stop in the middle.
    let silent: Vec<_> = (0..50).map(|_| daemon.tcp()).collect();
    let mut half: Vec<_> = (0..50).map(|_| daemon.tls()).collect();
    for stream in &mut half {
        stream
            .write_all(b"GET /api2/json/ping HTTP/1.1\r\nHos")
            .unwrap();
    }
    let mut streams: Vec<_> = (0..200).map(|_| daemon.tls()).collect();
    for stream in &mut streams {
        stream.write_all(PING).unwrap();
    }
    for stream in &mut streams {
        let answer = read_answer(stream);
        assert_eq!(
            (answer.status, &*answer.body),
            (200, r#"{"data":{"pong":true}}"#)
        );
    }
    drop((streams, half, silent));
    let deadline = Instant::now() + Duration::from_secs(20);
    while daemon.open_files() > before + 2 {
        assert!(Instant::now() < deadline, "connections stay open");
        std::thread::yield_now();
    }
}

#[test]
fn whoever_says_nothing_is_hung_up_on() {
    let dir = quick_dir();
    let daemon = Daemon::start(dir.path());
    let begun = Instant::now();
    let mut silent = daemon.tcp();
    // The beginning of a handshake, and then no more.
    let mut stuck = daemon.tcp();
    stuck.write_all(&[0x16, 0x03, 0x01]).unwrap();
    for stream in [&mut silent, &mut stuck] {
        let mut rest = Vec::new();
        // The end of the connection, or its reset.
        let _ = stream.read_to_end(&mut rest);
    }
    let took = begun.elapsed();
    assert!((8..25).contains(&took.as_secs()), "{took:?}");
}

#[test]
fn what_is_not_tls_or_not_http_is_survived() {
    let dir = quick_dir();
    let daemon = Daemon::start(dir.path());
    let mut plain = daemon.tcp();
    plain
        .write_all(b"GET /x HTTP/1.1\r\nHost: backup:8007\r\n\r\n")
        .unwrap();
    let mut text = String::new();
    plain.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 301 "), "{text}");
    assert!(
        text.to_lowercase()
            .contains("location: https://backup:8007\r\n"),
        "{text}"
    );

    for noise in [&[0x16; 300][..], &[0; 100], b"\r\n\r\n", &[0xff; 70_000]] {
        let mut stream = daemon.tcp();
        // It may hang up while we still write.
        let _ = stream.write_all(noise);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let _ = stream.read_to_end(&mut Vec::new());
    }
    for request in [
        "x\r\n\r\n".to_owned(),
        format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(100_000)),
        format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(10_000)),
        "POST /api2/json/access/ticket HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n"
            .into(),
        "POST /api2/json/access/ticket HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n".into(),
    ] {
        let mut stream = daemon.tls();
        let _ = stream.write_all(request.as_bytes());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer);
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 4"),
            "{answer}"
        );
    }
    let mut stream = daemon.tls();
    stream.write_all(PING).unwrap();
    assert_eq!(read_answer(&mut stream).status, 200);
}
