//! What the real client saved comes back by ours, and what ours saves is cut as the real one does.

use std::path::{Path, PathBuf};

use api_types::digest::Digest;
use api_types::names::ArchiveType;
use datastore::format::index::{AnyIndexReader, IndexFile as _};
use openssl::sha::sha256;
use tempfile::TempDir;

use crate::client::Client;
use crate::daemon::World;
use crate::tree::{Tree, assert_same, read, stored};

/// The fixtures: a daemon that serves their datastore, and what was backed up.
pub struct Samples {
    pub world: World,
    pub fixtures: PathBuf,
    inputs: TempDir,
    scratch: TempDir,
}

impl Samples {
    /// None where there are no fixtures, which has been said then, or no rights to unpack devices
    /// and owners.
    pub fn find() -> Option<Self> {
        let fixtures = support::fixtures::fixtures_dir().unwrap()?;
        if !nix::unistd::geteuid().is_root() {
            eprintln!("SKIPPED: only root can restore devices and owners");
            return None;
        }
        let world = World::with(|dir| {
            let archive = fixtures.join("datastore.tar.zst");
            support::fixtures::unpack(&archive, &dir.join("fixture")).unwrap();
            let path = store(dir);
            let config = dir.join("config");
            std::fs::create_dir(&config).unwrap();
            let text = format!("datastore: samples\n\tpath {}\n", path.display());
            std::fs::write(config.join("datastore.cfg"), text).unwrap();
        });
        Some(Self {
            inputs: unpack_inputs(&fixtures),
            scratch: tempfile::tempdir().unwrap(),
            fixtures,
            world,
        })
    }

    pub fn client(&self) -> Client {
        Client::new(&self.world, "samples").with("PBS_ENCRYPTION_PASSWORD", "keypass123")
    }

    pub fn input(&self, name: &str) -> PathBuf {
        self.inputs.path().join("input").join(name)
    }

    pub fn key(&self, name: &str) -> String {
        self.fixtures
            .join("keys")
            .join(name)
            .to_str()
            .unwrap()
            .to_owned()
    }

    fn store(&self) -> PathBuf {
        store(self.world.dir())
    }

    /// Restores an archive of a group's snapshot.
    pub fn restore(
        &self,
        client: &Client,
        group: &str,
        number: usize,
        archive: &str,
        more: &[&str],
    ) -> PathBuf {
        let snapshot = &self.snapshots(group)[number];
        let time = snapshot.file_name().unwrap().to_str().unwrap();
        let (ns, name) = split_namespace(group);
        let target = format!("{}-{number}-{archive}", group.replace('/', "-"));
        let target = self.scratch.path().join(target);
        let snapshot = format!("{name}/{time}");
        let mut line = vec!["restore", &snapshot, archive, target.to_str().unwrap()];
        line.extend(more);
        if !ns.is_empty() {
            line.extend(["--ns", &ns]);
        }
        client.ok(&line);
        target
    }

    /// Snapshots of a group, as directories, oldest first.
    fn snapshots(&self, group: &str) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.store().join(group)).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        let mut paths: Vec<_> = paths.filter(|path| path.is_dir()).collect();
        paths.sort();
        paths
    }
}

/// What was backed up, with everything that is known of it.
fn unpack_inputs(fixtures: &Path) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let options = [
        "--zstd",
        "--xattrs",
        "--xattrs-include=*",
        "--numeric-owner",
        "-xpf",
    ];
    let unpacked = std::process::Command::new("tar")
        .args(options)
        .arg(fixtures.join("input.tar.zst"))
        .arg("-C")
        .arg(dir.path())
        .status();
    assert!(unpacked.unwrap().success());
    dir
}

/// The unpacked datastore: the directory with the chunks.
fn store(dir: &Path) -> PathBuf {
    let mut open = vec![dir.join("fixture")];
    while let Some(path) = open.pop() {
        if path.join(".chunks").is_dir() {
            return path;
        }
        let entries = std::fs::read_dir(&path).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        open.extend(paths.filter(|path| path.is_dir()));
    }
    panic!("the fixture has no datastore");
}

/// The tree of an input that was backed up. A `.pxarexclude` file is in the root of some.
fn expected(path: &Path) -> Tree {
    stored(read(path))
}

#[test]
fn what_the_real_client_saved_comes_back() {
    let Some(samples) = Samples::find() else {
        return;
    };
    let client = samples.client();
    let (plain, scrypt) = (samples.key("plain.key"), samples.key("scrypt.key"));
    for (group, inputs, key) in [
        ("host/plain", &["dir", "dir-v2"][..], None),
        ("host/split", &["dir", "dir-v2"], None),
        ("ct/101", &["dir"], None),
        ("ns/ns1/host/nshost", &["small"], None),
        ("ns/ns1/ns/sub/vm/200", &["small"], None),
        ("host/enc", &["small", "small"], Some(&plain)),
        ("host/encscrypt", &["small"], Some(&scrypt)),
        ("host/signed", &["small"], Some(&plain)),
        ("host/signed", &["small"], None),
    ] {
        let more: Vec<&str> = key.map_or(vec![], |key| vec!["--keyfile", key.as_str()]);
        for (number, input) in inputs.iter().enumerate() {
            let target = samples.restore(&client, group, number, "root.pxar", &more);
            let mut found = read(&target);
            // Which tar did not pack.
            found.remove(Path::new("sock"));
            assert_same(&found, &expected(&samples.input(input)));
            std::fs::remove_dir_all(target).unwrap();
        }
    }
    for (group, number, archive, input, key) in [
        ("vm/100", 0, "drive-scsi0.img", "disk.img", None),
        ("vm/100", 1, "drive-scsi0.img", "disk-v2.img", None),
        ("vm/100", 1, "drive-scsi1.img", "odd.img", None),
        ("vm/100", 1, "qemu-server.conf", "qemu-server.conf", None),
        ("vm/100", 1, "client.log", "client.log", None),
        ("ns/ns1/ns/sub/vm/200", 0, "d.img", "odd.img", None),
        ("host/enc", 1, "d.img", "odd.img", Some(&plain)),
        ("host/enc", 1, "c.conf", "pct.conf", Some(&plain)),
    ] {
        let more: Vec<&str> = key.map_or(vec![], |key| vec!["--keyfile", key.as_str()]);
        let target = samples.restore(&client, group, number, archive, &more);
        let same = std::fs::read(target).unwrap() == std::fs::read(samples.input(input)).unwrap();
        assert!(same, "{group} {number} {archive}");
    }
}

/// `ns/a/ns/b/host/x` as `a/b` and `host/x`.
fn split_namespace(group: &str) -> (String, &str) {
    let mut ns = Vec::new();
    let mut rest = group;
    while let Some(inner) = rest.strip_prefix("ns/") {
        let (name, inner) = inner.split_once('/').unwrap();
        ns.push(name);
        rest = inner;
    }
    (ns.join("/"), rest)
}

fn digests(path: &Path, kind: ArchiveType) -> Vec<Digest> {
    let index = AnyIndexReader::open(path, kind).unwrap();
    index.entries().map(|entry| entry.unwrap().digest).collect()
}

#[test]
fn ours_are_cut_as_the_real_ones() {
    let Some(samples) = Samples::find() else {
        return;
    };
    let client = samples.client();
    // Restored: tar did not pack the socket.
    let dir = samples.restore(&client, "host/plain", 0, "root.pxar", &[]);
    let spec = |name: &str, input: &str| {
        let path = match input {
            "dir" => dir.clone(),
            _ => samples.input(input),
        };
        format!("{name}:{}", path.display())
    };
    let key = samples.key("plain.key");
    // Ours, theirs, and the number of the snapshot in their group.
    for (id, group, number, specs, more, archives) in [
        (
            "plain2",
            "host/plain",
            0,
            vec![spec("root.pxar", "dir")],
            vec![],
            vec!["root.pxar.didx", "catalog.pcat1.didx"],
        ),
        (
            "split2",
            "ct/101",
            0,
            vec![spec("root.pxar", "dir")],
            vec!["--change-detection-mode", "data"],
            vec!["root.mpxar.didx"],
        ),
        (
            "vm2",
            "vm/100",
            0,
            vec![
                spec("drive-scsi0.img", "disk.img"),
                spec("drive-scsi1.img", "odd.img"),
            ],
            vec![],
            vec!["drive-scsi0.img.fidx", "drive-scsi1.img.fidx"],
        ),
        (
            "enc2",
            "host/enc",
            0,
            vec![spec("root.pxar", "small"), spec("d.img", "odd.img")],
            vec!["--keyfile", &key],
            vec!["root.pxar.didx", "d.img.fidx", "catalog.pcat1.didx"],
        ),
    ] {
        let line: Vec<_> = specs.iter().map(String::as_str).chain(more).collect();
        client.back_up(id, 0, &line);
        let ours = samples.snapshots(&format!("host/{id}")).remove(0);
        let theirs = &samples.snapshots(group)[number];
        for archive in archives {
            let kind = archive.rsplit('.').next().unwrap().parse().unwrap();
            assert_eq!(
                digests(&ours.join(archive), kind),
                digests(&theirs.join(archive), kind),
                "{group} {archive}"
            );
        }
    }
    // Where payload is cut depends on buffers; what it is does not.
    let payload = |snapshot: &Path| {
        let name = snapshot.strip_prefix(samples.store()).unwrap();
        let line = ["restore", name.to_str().unwrap(), "root.ppxar", "-"];
        sha256(&client.ok(&line).stdout)
    };
    let ours = samples.snapshots("host/split2").remove(0);
    assert_eq!(payload(&ours), payload(&samples.snapshots("ct/101")[0]));
}
