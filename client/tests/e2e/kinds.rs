//! Images, files and pipes, into both datastores and back.

use std::path::Path;

use crate::client::{Client, restore_line};
use crate::daemon::{STORES, World};
use crate::tree::{assert_same, noise, plant, read};

const MIB: usize = 1 << 20;

fn write(dir: &Path, name: &str, content: &[u8]) -> String {
    let path = dir.join(name);
    std::fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn images_files_and_pipes_come_back() {
    let world = World::shared();
    for store in STORES {
        let client = Client::new(&world, store);
        let dir = tempfile::tempdir().unwrap();
        // Data, a hole and less than a block at the end.
        let mut image = [noise(1, 9 * MIB), vec![0; 11 * MIB], noise(2, 12_345)].concat();
        let (config, log) = (b"cores: 2\n".to_vec(), noise(3, 70_000));
        let disk = write(dir.path(), "disk", &image);
        let file = std::fs::File::options().write(true).open(&disk).unwrap();
        // As sparse as the file system can have it.
        nix::fcntl::fallocate(
            &file,
            nix::fcntl::FallocateFlags::FALLOC_FL_PUNCH_HOLE
                | nix::fcntl::FallocateFlags::FALLOC_FL_KEEP_SIZE,
            i64::try_from(9 * MIB).unwrap(),
            i64::try_from(11 * MIB).unwrap(),
        )
        .unwrap();
        let (config_path, log_path) = (
            write(dir.path(), "config", &config),
            write(dir.path(), "log", &log),
        );
        let specs = [
            format!("disk.img:{disk}"),
            format!("machine.conf:{config_path}"),
            format!("boot.log:{log_path}"),
            "pipe.img:-".to_owned(),
        ];
        let specs: Vec<_> = specs.iter().map(String::as_str).collect();
        let id = format!("kinds-{store}");
        let piped = noise(4, 4 * MIB + 1);
        let ran = client.fed(&client.backup_line(&id, 0, &specs), &piped);
        assert_eq!(ran.code, Some(0), "{ran}");
        for line in [
            "No previous manifest available.",
            "as disk.img.fidx",
            "disk.img: had to backup 16.012 MiB of 20.012 MiB",
            "Upload config file",
            "Duration: ",
        ] {
            assert!(ran.stderr.contains(line), "no '{line}' in {ran}");
        }
        assert!(client.read(&id, 0, "disk.img", &[]) == image);
        assert!(client.read(&id, 0, "pipe.img", &[]) == piped);
        assert!(client.read(&id, 0, "machine.conf", &[]) == config);
        assert!(client.read(&id, 0, "boot.log", &[]) == log);

        // A block of it changes; what does not is not sent again.
        image[5 * MIB..5 * MIB + 100].fill(7);
        write(dir.path(), "disk", &image);
        let ran = client.back_up(&id, 1, &specs[..3]);
        let line = "disk.img: had to backup 4 MiB of 20.012 MiB";
        assert!(ran.stderr.contains(line), "{ran}");
        assert!(
            ran.stderr.contains("Downloading previous manifest"),
            "{ran}"
        );
        let target = dir.path().join("restored");
        client.restore(&id, 1, "disk.img", &target, &[]);
        assert!(std::fs::read(&target).unwrap() == image);
        // Over what is there only if that is wanted; to a device in any case.
        let line = restore_line(&id, 1, "machine.conf", target.to_str().unwrap(), &[]);
        client.fails(&line, &["it exists", "--overwrite"]);
        client.restore(&id, 1, "machine.conf", &target, &["--overwrite"]);
        assert!(std::fs::read(&target).unwrap() == config);
        client.restore(&id, 1, "disk.img", Path::new("/dev/null"), &[]);
        let manifest = client.read(&id, 1, "index.json", &[]);
        let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
        let names = manifest["files"].as_array().unwrap().iter();
        let names: Vec<_> = names
            .map(|file| file["filename"].as_str().unwrap())
            .collect();
        assert_eq!(
            names,
            ["disk.img.fidx", "machine.conf.blob", "boot.log.blob"]
        );
    }
}

#[test]
fn directories_come_back_from_both_datastores() {
    let world = World::shared();
    for store in STORES {
        let client = Client::new(&world, store);
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        std::fs::create_dir(&root).unwrap();
        plant(&root);
        let expected = read(&root);
        let spec = format!("root.pxar:{}", root.display());
        let id = format!("directory-{store}");
        client.back_up(&id, 0, &[&spec, &spec.replace("root.pxar", "again.pxar")]);
        for archive in ["root.pxar", "again.pxar"] {
            let target = dir.path().join(archive);
            client.restore(&id, 0, archive, &target, &[]);
            assert_same(&read(&target), &expected);
        }
        // One stream to standard output, and the catalog of both.
        let stream = client.read(&id, 0, "root.pxar", &[]);
        assert!(stream.len() > 14 * MIB);
        let dump = client.ok(&["catalog", "dump", &crate::client::snapshot(&id, 0)]);
        let dump = format!("{}{}", String::from_utf8_lossy(&dump.stdout), dump.stderr);
        for path in ["root.pxar.didx/etc/hosts", "again.pxar.didx/many/299"] {
            assert!(dump.contains(path), "no '{path}' in {dump}");
        }
    }
}

/// A block device, made of a file; let go of in the end.
struct Loop(String);

impl Loop {
    /// None where there are none, which is said then.
    fn of(file: &str) -> Option<Self> {
        let made = std::process::Command::new("losetup")
            .args(["--find", "--show", file])
            .output();
        let Some(made) = made.ok().filter(|made| made.status.success()) else {
            eprintln!("SKIPPED: no loop device can be made here");
            return None;
        };
        let name = String::from_utf8(made.stdout).unwrap();
        Some(Self(name.trim().to_owned()))
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let detached = std::process::Command::new("losetup")
            .args(["--detach", &self.0])
            .status();
        assert!(detached.unwrap().success());
    }
}

/// What was on it shines through no hole.
#[test]
fn a_device_gets_its_zeros_written() {
    let world = World::shared();
    let client = Client::new(&world, "local");
    let dir = tempfile::tempdir().unwrap();
    let image = [noise(5, 3 * MIB), vec![0; 6 * MIB], noise(6, MIB)].concat();
    let disk = write(dir.path(), "disk", &image);
    client.back_up("device", 0, &[&format!("disk.img:{disk}")]);
    let old = write(dir.path(), "old", &vec![0xff; 12 * MIB]);
    let Some(device) = Loop::of(&old) else {
        return;
    };
    let target = Path::new(&device.0);
    client.restore("device", 0, "disk.img", target, &[]);
    let found = std::fs::read(target).unwrap();
    assert!(
        found[..image.len()] == image,
        "the device has something else"
    );
    assert!(found[image.len()..].iter().all(|byte| *byte == 0xff));
    // And back, from the device.
    client.back_up("device", 1, &[&format!("disk.img:{}", device.0)]);
    assert!(client.read("device", 1, "disk.img", &[]) == found);
    let small = write(dir.path(), "small", &vec![0; MIB]);
    let Some(small) = Loop::of(&small) else {
        return;
    };
    let line = restore_line("device", 0, "disk.img", &small.0, &[]);
    client.fails(&line, &["the device has 1048576 bytes"]);
}
