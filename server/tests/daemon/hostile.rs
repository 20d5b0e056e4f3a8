//! Connections that mean harm: nobody else notices, nothing is stored, memory stays bounded.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use openssl::ssl::SslStream;
use serde_json::Value;

use crate::frames;
use crate::support::{Daemon, quick_dir};

/// What a flood may add to the daemon's memory.
const MAX_GROWTH: u64 = 128 << 20;
const TIME: i64 = 1_790_000_000;

/// An ordinary request is answered as ever.
fn works(daemon: &Daemon) {
    let answer = daemon.by_token("GET", "/api2/json/version", "");
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// Writes until the other side has had enough; whether it has.
fn flood(stream: &mut SslStream<TcpStream>, bytes: &[u8], times: usize) -> bool {
    stream
        .get_ref()
        .set_write_timeout(Some(Duration::from_secs(2)))
        .unwrap();
    (0..times).any(|_| stream.write_all(bytes).is_err())
}

/// Whether the connection is at its end; what is still said on it is not looked at.
fn is_over(stream: &mut SslStream<TcpStream>) -> bool {
    let mut buffer = [0; 16 << 10];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => {
                return !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
            }
        }
    }
}

fn http2(daemon: &Daemon) -> SslStream<TcpStream> {
    let mut stream = daemon.tls_speaking(b"\x02h2");
    stream
        .write_all(&[frames::PREFACE, &frames::settings()].concat())
        .unwrap();
    stream
}

fn query(id: &str) -> String {
    format!("store=dev&backup-type=host&backup-id={id}&backup-time={TIME}")
}

/// A connection that a backup was opened on, and nothing more.
fn upgraded(daemon: &Daemon, id: &str) -> SslStream<TcpStream> {
    let mut stream = daemon.tls();
    let head = format!(
        "GET //api2/json/backup?{} HTTP/1.1\r\nAuthorization: PBSAPIToken {}\r\n\
         Upgrade: proxmox-backup-protocol-v1\r\nConnection: Upgrade\r\n\r\n",
        query(id),
        daemon.token
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        answer.push(byte[0]);
    }
    assert!(
        answer.starts_with(b"HTTP/1.1 101 "),
        "{}",
        String::from_utf8_lossy(&answer)
    );
    stream
}

fn snapshots(daemon: &Daemon) -> Vec<Value> {
    let answer = daemon.by_token("GET", "/api2/json/admin/datastore/dev/snapshots", "");
    answer.json()["data"].as_array().unwrap().clone()
}

/// Waits until no session runs; then there is no snapshot.
fn nothing_is_left(daemon: &Daemon) {
    let path = "/api2/json/nodes/localhost/tasks?running=1";
    let ended = || {
        let answer = daemon.by_token("GET", path, "").json();
        answer["data"].as_array().unwrap().is_empty()
    };
    assert!(support::comes(ended), "a session goes on");
    assert_eq!(snapshots(daemon), Vec::<Value>::new());
}

#[test]
fn two_hundred_that_never_speak_cost_nothing() {
    let dir = quick_dir();
    let daemon = Daemon::start(dir.path());
    works(&daemon);
    let before = daemon.memory("VmHWM");
    let silent: Vec<_> = (0..100).map(|_| daemon.tcp()).collect();
    // Handshakes that stall, heads that come byte by byte, bodies that never come.
    let mut stalled: Vec<_> = (0..40).map(|_| daemon.tcp()).collect();
    for stream in &mut stalled {
        stream
            .write_all(&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01])
            .unwrap();
    }
    let mut slow: Vec<_> = (0..60).map(|_| daemon.tls()).collect();
    for (number, stream) in slow.iter_mut().enumerate() {
        let part = if number % 2 == 0 {
            "GET /api2/json/ping HTTP/1.1\r\nX-"
        } else {
            "POST /api2/json/access/ticket HTTP/1.1\r\nContent-Length: 500000\r\n\r\nusername="
        };
        stream.write_all(part.as_bytes()).unwrap();
    }
    for _ in 0..10 {
        for stream in &mut slow {
            stream.write_all(b"a").unwrap();
        }
        works(&daemon);
    }
    let grown = daemon.memory("VmHWM") - before;
    assert!(grown < MAX_GROWTH, "{} MiB", grown >> 20);
    drop((silent, stalled, slow));
    nothing_is_left(&daemon);
}

#[test]
fn floods_of_http2_are_survived() {
    let dir = quick_dir();
    let daemon = Daemon::start(dir.path());
    works(&daemon);
    let before = daemon.memory("VmHWM");
    let ping = frames::request(false, "/api2/json/ping");
    let all = frames::END_STREAM | frames::END_HEADERS;

    // Requests that are taken back at once.
    let mut stream = http2(&daemon);
    let mut is_refused = false;
    for batch in 0..100_u32 {
        let frames: Vec<u8> = (0..1000)
            .flat_map(|number| {
                let id = (batch * 1000 + number) * 2 + 1;
                [frames::headers(id, all, &ping), frames::reset(id)].concat()
            })
            .collect();
        is_refused |= flood(&mut stream, &frames, 1);
    }
    assert!(
        is_refused || is_over(&mut stream),
        "rapid resets go on for ever"
    );
    works(&daemon);

    // A head without an end, in its own field and in one that never ends.
    for block in [frames::field("x", &"y".repeat(10_000)), vec![0; 16_000]] {
        let mut stream = http2(&daemon);
        stream.write_all(&frames::headers(1, 0, &ping)).unwrap();
        let is_refused = flood(&mut stream, &frames::continuation(1, 0, &block), 5000);
        assert!(is_refused || is_over(&mut stream), "a head of 50 MB");
        works(&daemon);
    }

    // Many requests at once, none of them complete; more than are allowed.
    let mut stream = http2(&daemon);
    let login = frames::request(true, "/api2/json/access/ticket");
    for number in 0..2000 {
        let id = number * 2 + 1;
        let begun = [
            frames::headers(id, frames::END_HEADERS, &login),
            frames::data(id, 0, &[b'x'; 1000]),
        ];
        if stream.write_all(&begun.concat()).is_err() {
            break;
        }
    }
    works(&daemon);

    // Frames that ask for an answer, from somebody who does not read them.
    for frame in [frames::settings(), frames::ping()] {
        let mut stream = http2(&daemon);
        flood(&mut stream, &frame.repeat(1000), 1000);
        works(&daemon);
    }
    let grown = daemon.memory("VmHWM") - before;
    assert!(grown < MAX_GROWTH, "{} MiB", grown >> 20);
}

#[test]
fn sessions_that_go_wrong_leave_nothing() {
    let dir = quick_dir();
    let daemon = Daemon::start(dir.path());
    works(&daemon);
    let before = daemon.memory("VmHWM");

    // No HTTP/2 at all; frames of no kind, after the right beginning.
    let garbage = [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0; 10_000],
        &[0xff; 10_000],
    ];
    for (number, noise) in garbage.into_iter().enumerate() {
        let mut stream = upgraded(&daemon, &format!("noise{number}"));
        let _ = stream.write_all(noise);
        assert!(is_over(&mut stream));
        let mut stream = upgraded(&daemon, &format!("later{number}"));
        let begun = [frames::PREFACE, &frames::settings(), noise].concat();
        let _ = stream.write_all(&begun);
        let _ = stream.get_ref().shutdown(std::net::Shutdown::Write);
        assert!(is_over(&mut stream));
    }
    nothing_is_left(&daemon);

    // In the middle of an upload, stalled, then hung up on and reset.
    let upload = frames::request(true, "/blob?file-name=a.blob&encoded-size=1000000");
    let mut stalled: Vec<_> = ["gone", "reset"]
        .into_iter()
        .map(|id| {
            let mut stream = upgraded(&daemon, id);
            let begun = [
                frames::PREFACE,
                &frames::settings(),
                &frames::headers(1, frames::END_HEADERS, &upload),
                &frames::data(1, 0, &[7; 10_000]),
            ];
            stream.write_all(&begun.concat()).unwrap();
            stream
        })
        .collect();
    works(&daemon);
    let names: Vec<_> = snapshots(&daemon);
    assert_eq!(names.len(), 2, "{names:?}");
    // The group is in use as long as its session is.
    let head = ("Authorization", format!("PBSAPIToken={}", daemon.token));
    let path = format!("/api2/json/backup?{}", query("gone"));
    let upgrade = ("Upgrade", "proxmox-backup-protocol-v1");
    let answer = daemon.ask("GET", &path, &[(head.0, &head.1), upgrade], "");
    assert_eq!(answer.status, 400, "{answer:?}");
    let last = stalled.pop().unwrap();
    let socket = socket2::SockRef::from(last.get_ref());
    socket.set_linger(Some(Duration::ZERO)).unwrap();
    drop((last, stalled));
    nothing_is_left(&daemon);

    // A flood inside of a session is that session's end.
    let mut stream = upgraded(&daemon, "flood");
    stream
        .write_all(&[frames::PREFACE, &frames::settings()].concat())
        .unwrap();
    stream.write_all(&frames::headers(1, 0, &upload)).unwrap();
    let more = frames::continuation(1, 0, &frames::field("x", &"y".repeat(10_000)));
    let is_refused = flood(&mut stream, &more, 5000);
    assert!(is_refused || is_over(&mut stream), "a head of 50 MB");
    drop(stream);
    nothing_is_left(&daemon);
    let grown = daemon.memory("VmHWM") - before;
    assert!(grown < MAX_GROWTH, "{} MiB", grown >> 20);
}
