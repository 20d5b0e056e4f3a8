//! Disks that are full in the middle, here and at the server.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::client::{Client, restore_line};
use crate::daemon::World;
use crate::interrupted::until;
use crate::tree::noise;

/// A file system of its own, in memory.
struct Small(PathBuf);

impl Small {
    /// None where nothing can be mounted, which is said then.
    fn mount(at: &Path, size: &str) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        let small = Self(at.to_owned());
        let mounted = small.run("mount", &["-t", "tmpfs", "-o", size, "none"]);
        if !mounted {
            eprintln!("SKIPPED: nothing can be mounted here");
            std::mem::forget(small);
            return None;
        }
        Some(small)
    }

    fn run(&self, program: &str, arguments: &[&str]) -> bool {
        let ran = Command::new(program).args(arguments).arg(&self.0).status();
        ran.is_ok_and(|status| status.success())
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // Whoever still has something open there goes away by himself.
        assert!(self.run("umount", &["--lazy"]));
    }
}

#[test]
fn a_restore_to_a_full_disk_ends_and_leaves_no_half_file() {
    let world = World::shared();
    let client = Client::new(&world, "local");
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    std::fs::create_dir(&root).unwrap();
    std::fs::write(root.join("a-small"), "fits").unwrap();
    std::fs::write(root.join("large"), noise(1, 12 << 20)).unwrap();
    let specs = [
        format!("root.pxar:{}", root.display()),
        format!("disk.img:{}", root.join("large").display()),
    ];
    let specs: Vec<_> = specs.iter().map(String::as_str).collect();
    client.back_up("full", 0, &specs);
    let split = [specs[0], "--change-detection-mode=data"];
    client.back_up("full", 1, &split);
    let Some(small) = Small::mount(&dir.path().join("small"), "size=6m") else {
        return;
    };
    for (number, archive) in [(0, "root.pxar"), (1, "root.pxar"), (0, "disk.img")] {
        let target = small.0.join("target");
        let line = restore_line("full", number, archive, target.to_str().unwrap(), &[]);
        let ran = client.fails(&line, &["No space left on device"]);
        if archive == "disk.img" {
            assert!(!target.exists(), "half an image stays");
            continue;
        }
        assert!(ran.stderr.contains("large"), "{ran}");
        // What was whole before stays; what is not whole does not.
        assert_eq!(std::fs::read(target.join("a-small")).unwrap(), b"fits");
        assert!(!target.join("large").exists(), "half a file stays");
        std::fs::remove_dir_all(&target).unwrap();
    }
    // There is room for the rest afterwards.
    assert!(small.run("mount", &["-o", "remount,size=40m"]));
    let target = small.0.join("target");
    client.restore("full", 0, "root.pxar", &target, &[]);
    assert!(std::fs::read(target.join("large")).unwrap() == noise(1, 12 << 20));
}

/// A daemon whose datastores are on a disk of their own.
struct SmallServer {
    /// Unmounted before the directory around it goes.
    disk: Small,
    world: World,
}

impl Drop for SmallServer {
    fn drop(&mut self) {
        self.world.daemon.kill();
    }
}

#[test]
fn a_server_whose_disk_is_full_says_so_and_keeps_no_half_backup() {
    let mut disk = None;
    let world = World::with(|dir| disk = Small::mount(&dir.join("datastores"), "size=48m"));
    let Some(disk) = disk else { return };
    let server = SmallServer { disk, world };
    let client = Client::new(&server.world, "local");
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    std::fs::create_dir(&root).unwrap();
    std::fs::write(root.join("kept"), noise(7, 3 << 20)).unwrap();
    let spec = format!("root.pxar:{}", root.display());
    client.back_up("full", 0, &[&spec]);
    let disk = dir.path().join("disk");
    std::fs::write(&disk, noise(8, 96 << 20)).unwrap();
    std::fs::write(root.join("large"), noise(9, 96 << 20)).unwrap();
    let image = format!("disk.img:{}", disk.display());
    for (number, line) in [
        vec![image.as_str()],
        vec![spec.as_str()],
        vec![spec.as_str(), "--change-detection-mode=metadata"],
    ]
    .iter()
    .enumerate()
    {
        let number = i64::try_from(number).unwrap() + 1;
        let line = client.backup_line("full", number, line);
        client.fails(&line, &["upload failed", "No space left on device"]);
        // What was sent is on its way out with the garbage; the last backup is whole.
        until("only the first backup", || {
            client.snapshots() == [("host/full/0".to_owned(), true)]
        });
    }
    let kept = client.read("full", 0, "root.pxar", &["--path", "kept"]);
    assert!(kept == noise(7, 3 << 20));
    assert!(server.disk.run("mount", &["-o", "remount,size=400m"]));
    client.back_up("full", 9, &[&image]);
    assert!(client.read("full", 9, "disk.img", &[]) == noise(8, 96 << 20));
}
