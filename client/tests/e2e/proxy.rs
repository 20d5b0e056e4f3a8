//! A proxy on the way to the server.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use crate::client::{Client, snapshot};
use crate::daemon::World;
use crate::tree::noise;

/// A name that nobody but the proxy knows.
const SERVER: &str = "backup.example.org";

/// A proxy that asks for a password, and leads all to the daemon.
struct Proxy {
    port: u16,
    /// The first lines of what it was asked.
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    fn new(daemon: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let seen = Arc::clone(&asked);
        std::thread::spawn(move || {
            for near in listener.incoming() {
                let (near, seen) = (near.unwrap(), Arc::clone(&seen));
                std::thread::spawn(move || serve(near, daemon, &seen));
            }
        });
        Self { port, asked }
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

fn serve(mut near: TcpStream, daemon: u16, seen: &Mutex<Vec<String>>) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if near.read(&mut byte).unwrap() == 0 {
            return;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    seen.lock()
        .unwrap()
        .push(head.lines().next().unwrap().to_owned());
    // me:right
    if !head.contains("proxy-authorization: Basic bWU6cmlnaHQ=\r\n") {
        near.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
            .unwrap();
        return;
    }
    let far = TcpStream::connect(("127.0.0.1", daemon)).unwrap();
    near.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
        .unwrap();
    let pump = |mut from: TcpStream, mut to: TcpStream| {
        // Either end may go away.
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Both);
    };
    let (near_again, far_again) = (near.try_clone().unwrap(), far.try_clone().unwrap());
    std::thread::spawn(move || pump(near_again, far_again));
    pump(far, near);
}

#[test]
fn a_backup_goes_through_a_proxy() {
    let world = World::shared();
    let proxy = Proxy::new(world.daemon.port);
    let client = |variable, password: &str| {
        Client::new(&world, "local")
            .with("PBS_REPOSITORY", &format!("admin@pbs@{SERVER}:8007:local"))
            .with(
                variable,
                &format!("http://me:{password}@127.0.0.1:{}", proxy.port),
            )
    };
    let dir = tempfile::tempdir().unwrap();
    let disk = dir.path().join("disk");
    std::fs::write(&disk, noise(3, 9 << 20)).unwrap();
    let spec = format!("disk.img:{}", disk.display());
    for (number, variable) in [(0, "ALL_PROXY"), (1, "HTTPS_PROXY")] {
        let client = client(variable, "right");
        client.back_up("proxied", number, &[&spec]);
        assert!(client.read("proxied", number, "disk.img", &[]) == noise(3, 9 << 20));
        client.ok(&["snapshot", "forget", &snapshot("proxied", number)]);
        let asked = proxy.asked();
        let expected = format!("CONNECT {SERVER}:8007 HTTP/1.1");
        assert!(
            asked.len() >= 3 && asked.iter().all(|line| *line == expected),
            "{asked:?}"
        );
    }
    // A refusal is one: it is not asked again and again, and the password is in no message.
    let ran =
        client("ALL_PROXY", "wrong").fails(&["status"], &[SERVER, "407", "password of the proxy"]);
    assert!(!ran.stderr.contains("wrong"), "{ran}");
    assert_eq!(proxy.asked().len(), 1);
    // Past it, nobody knows the name.
    let past = client("ALL_PROXY", "right").with("NO_PROXY", ".example.org");
    past.fails(&["status"], &[SERVER, "address"]);
    assert_eq!(proxy.asked().len(), 0);
    let other = client("ALL_PROXY", "right").with("ALL_PROXY", "socks5://127.0.0.1");
    other.fails(&["status"], &["ALL_PROXY", "only the scheme http"]);
    // What is on this machine needs none.
    let here = Client::new(&world, "local").with("ALL_PROXY", "http://127.0.0.1:1");
    here.ok(&["status"]);
}
