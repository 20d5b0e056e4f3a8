//! A proxy on the way to a server.

use std::io::{Read as _, Result, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

/// What the proxy asks for: `me:right`.
const CREDENTIALS: &str = "proxy-authorization: Basic bWU6cmlnaHQ=\r\n";

/// An HTTP proxy that asks for the password `right` of the user `me`, and leads all to one port of this
/// machine, whatever server it is asked for.
#[derive(Debug)]
pub struct ConnectProxy {
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
    asked: Arc<Mutex<Vec<String>>>,
}

impl ConnectProxy {
    /// One that leads to this port.
    ///
    /// # Errors
    /// If no port is free.
    pub fn new(server: u16) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let seen = Arc::clone(&asked);
        std::thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let seen = Arc::clone(&seen);
                // Either end may go away.
                std::thread::spawn(move || drop(serve(near, server, &seen)));
            }
        });
        Ok(Self { port, asked })
    }

    /// The first lines of what it was asked since the last call.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn serve(mut near: TcpStream, server: u16, seen: &Mutex<Vec<String>>) -> Result<()> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if near.read(&mut byte)? == 0 {
            return Ok(());
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head);
    let first = head.lines().next().unwrap_or_default().to_owned();
    seen.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(first);
    if !head.contains(CREDENTIALS) {
        return near.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n");
    }
    let far = TcpStream::connect(("127.0.0.1", server))?;
    near.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
    let pump = |mut from: TcpStream, mut to: TcpStream| {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Both);
    };
    let (near_again, far_again) = (near.try_clone()?, far.try_clone()?);
    std::thread::spawn(move || pump(near_again, far_again));
    pump(far, near);
    Ok(())
}
