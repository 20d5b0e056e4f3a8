//! A proxy on the way to the server.

use support::ConnectProxy;

use crate::client::{Client, snapshot};
use crate::daemon::World;
use crate::tree::noise;

/// A name that nobody but the proxy knows.
const SERVER: &str = "backup.example.org";

#[test]
fn a_backup_goes_through_a_proxy() {
    let world = World::shared();
    let proxy = ConnectProxy::new(world.daemon.port).unwrap();
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
