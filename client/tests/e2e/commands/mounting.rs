//! An archive as a file system, where the machine has them.

use std::path::Path;
use std::process::Command;

use super::reading::backed_up;
use crate::client::ended;
use crate::daemon::World;
use crate::interrupted::{signal, until};

#[test]
fn an_archive_is_mounted_in_the_background_and_unmounted() {
    let world = World::shared();
    let client = backed_up(&world, "mounted", "data");
    let at = client.home.path().join("mnt");
    let line = ["mount", "host/mounted", "root.pxar", at.to_str().unwrap()];
    client.fails(&line, &["no directory"]);
    std::fs::create_dir(&at).unwrap();
    if !Path::new("/dev/fuse").exists() {
        client.fails(&line, &["/dev/fuse"]);
        eprintln!("SKIPPED: there is no /dev/fuse");
        return;
    }
    client.ok(&line);
    let unmount = || Command::new("umount").arg(&at).status().unwrap();
    let read = std::fs::read(at.join("etc/sub/b.conf"));
    let removed = std::fs::remove_file(at.join("other"));
    assert!(unmount().success());
    assert_eq!(read.unwrap(), b"two\n");
    assert!(removed.is_err(), "it is read only");
    assert_eq!(std::fs::read_dir(&at).unwrap().count(), 0);
    // Whoever ends it unmounts.
    for name in ["-TERM", "-INT"] {
        let line = [
            "mount",
            "host/mounted",
            "root.pxar",
            at.to_str().unwrap(),
            "--verbose",
        ];
        let child = client.command(&line).spawn().unwrap();
        until("the mounted archive", || at.join("other").exists());
        signal(&child, name);
        let ran = ended(child);
        assert!(ran.code >= Some(128), "{ran}");
        assert_eq!(std::fs::read_dir(&at).unwrap().count(), 0);
    }
    let line = ["mount", "host/mounted", "no.pxar", at.to_str().unwrap()];
    client.fails(&line, &["not mounted", "no.pxar"]);
}
