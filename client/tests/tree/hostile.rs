//! Archives that want to write elsewhere, or never end.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};

use client::tree::Error;
use client::tree::extract::{ExtractOptions, Overwrite, extract, extract_path, write_file};
use proptest::prelude::*;
use pxar::{Accessor, Body, Decoder, Encoder, Forward, Metadata, Stat, mode};
use tempfile::TempDir;

use crate::common::{Notes, runner};
use crate::generated::{archive, trees};

fn metadata(mode: u64) -> Metadata {
    let uid = rustix::process::geteuid().as_raw();
    let gid = rustix::process::getegid().as_raw();
    Metadata {
        stat: Stat {
            mode,
            uid,
            gid,
            ..Stat::default()
        },
        ..Metadata::default()
    }
}

fn directory() -> Metadata {
    metadata(mode::DIRECTORY | 0o755)
}

fn file() -> Metadata {
    metadata(mode::FILE | 0o644)
}

/// A directory with the target of a restore, and a file beside it that must not change.
struct World {
    world: TempDir,
}

impl World {
    fn new() -> Self {
        let world = tempfile::tempdir().unwrap();
        fs::create_dir(world.path().join("target")).unwrap();
        fs::create_dir(world.path().join("outside")).unwrap();
        fs::write(world.path().join("outside/precious"), "precious").unwrap();
        Self { world }
    }

    fn target(&self) -> PathBuf {
        self.world.path().join("target")
    }

    fn restore(&self, archive: &[u8], options: &ExtractOptions) -> (Result<(), Error>, Notes) {
        let notes = Notes::default();
        let restored = Decoder::new(Forward::new(archive), None)
            .map_err(Error::from)
            .and_then(|decoder| extract(decoder, &self.target(), options, &notes));
        self.check();
        (restored.map(|_| ()), notes)
    }

    fn check(&self) {
        let outside = self.world.path().join("outside");
        let names = fs::read_dir(&outside).unwrap();
        let names: Vec<_> = names.map(|it| it.unwrap().file_name()).collect();
        assert_eq!(names, ["precious"]);
        let precious = outside.join("precious");
        assert_eq!(fs::read(&precious).unwrap(), b"precious");
        let stat = fs::symlink_metadata(precious).unwrap();
        assert_eq!((stat.nlink(), stat.mode() & 0o7777), (1, 0o644));
        assert_eq!(fs::read_dir(self.world.path()).unwrap().count(), 2);
    }
}

fn all() -> ExtractOptions {
    ExtractOptions {
        overwrite: Overwrite::ALL,
        allow_existing_dirs: true,
        ..ExtractOptions::default()
    }
}

/// A link in the archive, then things that would be put behind it.
#[test]
fn links_are_not_followed() {
    for options in [ExtractOptions::default(), all()] {
        let mut encoder = Encoder::unified(Vec::new(), &directory()).unwrap();
        let link = Body::Symlink(b"../outside".to_vec());
        let symlink = metadata(mode::SYMLINK | 0o777);
        encoder.special(b"a", &symlink, &link).unwrap();
        encoder
            .enter(b"a", &metadata(mode::DIRECTORY | 0o700))
            .unwrap();
        encoder.file(b"precious", &file(), 4, &b"evil"[..]).unwrap();
        encoder.file(b"other", &file(), 4, &b"evil"[..]).unwrap();
        encoder.leave().unwrap();
        let link = Body::Symlink(b"../outside/precious".to_vec());
        encoder.special(b"b", &symlink, &link).unwrap();
        encoder
            .file(b"b", &metadata(mode::FILE | 0o777), 4, &b"evil"[..])
            .unwrap();
        let (archive, _) = encoder.finish().unwrap();
        let world = World::new();
        let (restored, notes) = world.restore(&archive, &options);
        restored.unwrap();
        assert_eq!(notes.of("a").len(), 1);
        let b = fs::symlink_metadata(world.target().join("b")).unwrap();
        // Without leave to overwrite, the link stays.
        assert_eq!(b.is_file(), options.overwrite.files);
    }
}

#[test]
fn links_that_are_there_are_not_followed() {
    let mut encoder = Encoder::unified(Vec::new(), &directory()).unwrap();
    encoder.enter(b"d", &directory()).unwrap();
    encoder.file(b"precious", &file(), 4, &b"evil"[..]).unwrap();
    encoder.leave().unwrap();
    let first = encoder.file(b"e", &file(), 4, &b"evil"[..]).unwrap();
    encoder.hard_link(b"f", b"e", first.name_at).unwrap();
    let (archive, _) = encoder.finish().unwrap();
    let world = World::new();
    symlink("../outside", world.target().join("d")).unwrap();
    symlink("../outside/precious", world.target().join("e")).unwrap();
    symlink("../outside/precious", world.target().join("f")).unwrap();
    let (restored, notes) = world.restore(&archive, &ExtractOptions::default());
    restored.unwrap();
    for path in ["d", "e", "f"] {
        assert_eq!(notes.of(path).len(), 1, "{path}");
    }
    let (restored, notes) = world.restore(&archive, &all());
    restored.unwrap();
    assert_eq!(notes.of("d").len(), 1);
    for path in ["e", "f"] {
        assert_eq!(fs::read(world.target().join(path)).unwrap(), b"evil");
    }
}

#[test]
fn hard_links_stay_within() {
    for path in [
        &b"../outside/precious"[..],
        b"/etc/passwd",
        b"l/precious",
        b"x/../../outside/precious",
        b"link",
        b"x",
        b"",
    ] {
        let mut encoder = Encoder::unified(Vec::new(), &directory()).unwrap();
        let first = encoder.file(b"x", &file(), 4, &b"good"[..]).unwrap();
        let outside = Body::Symlink(b"../outside".to_vec());
        let symlink = metadata(mode::SYMLINK | 0o777);
        encoder.special(b"l", &symlink, &outside).unwrap();
        if encoder.hard_link(b"link", path, first.name_at).is_err() {
            continue;
        }
        let (archive, _) = encoder.finish().unwrap();
        for options in [ExtractOptions::default(), all()] {
            let world = World::new();
            let (restored, notes) = world.restore(&archive, &options);
            restored.unwrap();
            let good = path == b"x";
            assert_eq!(notes.of("link").is_empty(), good);
            assert_eq!(world.target().join("link").exists(), good);
        }
    }
}

/// A name that no writer of ours would take is put in by hand.
#[test]
fn names_are_names() {
    let mut encoder = Encoder::unified(Vec::new(), &directory()).unwrap();
    encoder
        .file(b"NAME12345678901234", &file(), 4, &b"evil"[..])
        .unwrap();
    let (archive, _) = encoder.finish().unwrap();
    let at = archive.windows(4).position(|it| it == b"NAME").unwrap();
    for name in [
        "../outside/prcious",
        "/../../etc/passwdx",
        "a/bcdefghijklmnopq",
    ] {
        let mut archive = archive.clone();
        archive[at..at + 18].copy_from_slice(name.as_bytes());
        let (restored, _) = World::new().restore(&archive, &all());
        assert!(matches!(restored, Err(Error::Archive(_))));
    }
}

/// Of an immutable file no further name could be made; `security.*` is not for archives to set.
#[test]
fn flags_come_after_names_and_foreign_attributes_not_at_all() {
    let mut encoder = Encoder::unified(Vec::new(), &directory()).unwrap();
    let mut immutable = file();
    immutable.stat.flags = 0x40_0000;
    immutable.xattrs.push(pxar::Xattr {
        name: b"security.capability".to_vec(),
        value: vec![1; 20],
    });
    let first = encoder.file(b"x", &immutable, 4, &b"good"[..]).unwrap();
    encoder.hard_link(b"y", b"x", first.name_at).unwrap();
    let (archive, _) = encoder.finish().unwrap();
    let world = World::new();
    let notes = Notes::default();
    let decoder = Decoder::new(Forward::new(&archive[..]), None).unwrap();
    let restored = extract(decoder, &world.target(), &all(), &notes);
    let x = fs::File::open(world.target().join("x")).unwrap();
    let flags = rustix::fs::ioctl_getflags(&x);
    if let Ok(flags) = flags {
        let cleared = flags.difference(rustix::fs::IFlags::IMMUTABLE);
        let _ = rustix::fs::ioctl_setflags(&x, cleared);
    }
    restored.unwrap();
    assert!(
        notes
            .of("x")
            .iter()
            .any(|it| it.contains("security.capability"))
    );
    assert_eq!(notes.of("y"), [""; 0]);
    assert_eq!(x.metadata().unwrap().nlink(), 2);
    if notes.of("x").len() == 1 {
        assert!(flags.unwrap().contains(rustix::fs::IFlags::IMMUTABLE));
    }
}

#[test]
fn a_claimed_size_takes_nothing() {
    let mut encoder = Encoder::unified(Vec::new(), &directory()).unwrap();
    encoder.file(b"f", &file(), 7, &b"content"[..]).unwrap();
    let (mut archive, _) = encoder.finish().unwrap();
    let at = archive.windows(7).position(|it| it == b"content").unwrap();
    archive[at - 8..at].copy_from_slice(&(1_u64 << 60).to_le_bytes());
    let world = World::new();
    let (restored, notes) = world.restore(&archive, &all());
    assert!(restored.is_err());
    assert_eq!(notes.of("f").len(), 1);
    assert!(!world.target().join("f").exists(), "half a file");
}

#[test]
fn a_set_user_id_without_its_owner_is_dropped() {
    let mut encoder = Encoder::unified(Vec::new(), &directory()).unwrap();
    let mut suid = metadata(mode::FILE | 0o4755);
    suid.stat.uid += 1;
    encoder.file(b"f", &suid, 0, &b""[..]).unwrap();
    let (archive, _) = encoder.finish().unwrap();
    let world = World::new();
    let mut options = all();
    options.ignore.ownership = true;
    world.restore(&archive, &options).0.unwrap();
    let stat = fs::metadata(world.target().join("f")).unwrap();
    assert_eq!(stat.mode() & 0o7777, 0o755);
}

/// Whatever is in an archive, nothing is written beside the target, and it ends.
#[test]
fn damaged_archives() {
    let damage = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8);
    let cases = (trees(), damage, any::<bool>());
    let run = runner(200).run(&cases, |((root, names), damage, tables)| {
        let mut archive = archive(&root, &names);
        for (place, byte) in damage {
            let place = place.index(archive.len());
            archive[place] = byte;
        }
        let world = World::new();
        if tables {
            let notes = Notes::default();
            if let Ok(accessor) = Accessor::open(&archive[..], None) {
                let _ = extract_path(&accessor, Path::new(""), &world.target(), &all(), &notes);
                let _ = write_file(&accessor, Path::new("a"), &mut std::io::sink());
            }
            world.check();
        } else {
            let _ = world.restore(&archive, &all());
        }
        Ok(())
    });
    run.unwrap();
}
