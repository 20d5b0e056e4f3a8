use std::cell::Cell;

use pxar::{Accessor, Body, Device, Encoder, Metadata, Mtime, Stat, Xattr, mode};
use serde_json::json;

use super::{Source, tar_zst, zip};
use crate::testing::{Members, members};

const SECS: i64 = 1_700_000_000;

fn stat(mode: u64) -> Metadata {
    Metadata {
        stat: Stat {
            mode,
            flags: 0,
            uid: 3_000_000,
            gid: 7,
            mtime: Mtime {
                secs: SECS,
                nanos: 0,
            },
        },
        ..Metadata::default()
    }
}

fn directory() -> Metadata {
    stat(mode::DIRECTORY | 0o750)
}

fn file() -> Metadata {
    stat(mode::FILE | 0o640)
}

/// An archive that is made by `fill`.
fn archive(fill: impl FnOnce(&mut Encoder<Vec<u8>>) -> Result<(), pxar::Error>) -> Vec<u8> {
    let mut encoder = Encoder::unified(Vec::new(), &directory()).unwrap();
    fill(&mut encoder).unwrap();
    encoder.finish().unwrap().0
}

/// Packs a directory of an archive; as what python takes it for.
fn packed(archive: &[u8], path: &[&[u8]], kind: &str) -> anyhow::Result<Members> {
    let accessor = Accessor::open(archive, None)?;
    let found = accessor.lookup(path.iter().copied())?.unwrap();
    let source = Source {
        accessor: &accessor,
        directory: &found,
        path,
        wanted: &|| true,
    };
    let mut out = Vec::new();
    if kind == "tar" {
        tar_zst(&source, &mut out)?;
        out = zstd::decode_all(&out[..])?;
    } else {
        zip(&source, &mut out)?;
    }
    let dir = support::scratch().unwrap();
    Ok(members(dir.path(), kind, &out, ""))
}

#[test]
fn odd_names_times_and_numbers() {
    let long = "x".repeat(255);
    let target = format!("/{}", "t".repeat(300));
    let before_1970 = Metadata {
        stat: Stat {
            mtime: Mtime {
                secs: -5,
                nanos: 999_000_000,
            },
            ..file().stat
        },
        xattrs: vec![Xattr {
            name: b"user.a=b".to_vec(),
            value: b"\xff\n".to_vec(),
        }],
        fcaps: Some(vec![1, 2, 3]),
        ..file()
    };
    let archive = archive(|encoder| {
        encoder.enter(b"\xff\xfe", &directory())?;
        encoder.file(b"in\x80it", &file(), 1, &b"1"[..])?;
        encoder.leave()?;
        encoder.file(b"a\\..b", &before_1970, 2, &b"22"[..])?;
        encoder.enter(long.as_bytes(), &directory())?;
        encoder.file(long.as_bytes(), &file(), 3, &b"333"[..])?;
        encoder.special(
            b"link",
            &stat(mode::SYMLINK | 0o777),
            &Body::Symlink(target.clone().into_bytes()),
        )?;
        encoder.leave()?;
        let device = Device {
            major: 259,
            minor: 1_048_575,
        };
        let body = Body::BlockDevice(device);
        encoder.special(b"null", &stat(mode::BLOCK_DEVICE), &body)?;
        encoder.special(b"socket", &stat(mode::SOCKET), &Body::Socket)
    });
    let tar = packed(&archive, &[], "tar").unwrap();
    let names: Vec<&str> = tar.keys().map(String::as_str).collect();
    let inside = format!("{long}/{long}");
    let link = format!("{long}/link");
    let expected = [
        "\\xff\\xfe",
        "\\xff\\xfe/in\\x80it",
        "a\\..b",
        "null",
        &long,
        &link,
        &inside,
    ];
    assert_eq!(names, expected);
    assert_eq!(tar[&link]["target"], hex::encode(&target));
    assert_eq!(tar["null"]["device"], json!([259, 1_048_575]));
    let old = &tar["a\\..b"];
    assert_eq!(
        (&old["mtime"], &old["uid"], &old["mode"]),
        (&json!("-4.001"), &json!(3_000_000), &json!(0o640))
    );
    let xattrs =
        json!({ "SCHILY.xattr.user.a%3Db": "ff0a", "SCHILY.xattr.security.capability": "010203" });
    assert_eq!(old["xattrs"], xattrs);

    let zip = packed(&archive, &[], "zip").unwrap();
    let names: Vec<&str> = zip.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        expected
            .into_iter()
            .filter(|name| *name != "null")
            .collect::<Vec<_>>()
    );
    assert_eq!(
        (&zip[&link]["kind"], &zip[&link]["mode"]),
        (&json!("l"), &json!(0o777))
    );
    assert_eq!(
        (&zip[&long]["kind"], &zip[&long]["mtime"]),
        (&json!("d"), &json!(SECS))
    );
    assert_eq!(zip["\\xff\\xfe"]["kind"], "d");
    assert_eq!(zip["a\\..b"]["mtime"], json!(null));
}

#[test]
fn hard_links_lead_to_what_is_packed_or_become_files() {
    let archive = archive(|encoder| {
        let outside = encoder.file(b"a", &file(), 1, &b"a"[..])?.name_at;
        encoder.enter(b"d", &directory())?;
        let inside = encoder.file(b"b", &file(), 1, &b"b"[..])?.name_at;
        encoder.hard_link(b"to-a", b"a", outside)?;
        encoder.hard_link(b"to-b", b"d/b", inside)?;
        // Its path is that of another file.
        encoder.hard_link(b"to-c", b"d/../../c", inside)?;
        encoder.leave()
    });
    let sum = |content: &[u8]| json!(hex::encode(openssl::sha::sha256(content)));
    let tar = packed(&archive, &[b"d"], "tar").unwrap();
    assert_eq!(
        tar["d/to-b"],
        json!({ "kind": "h", "target": hex::encode("d/b") })
    );
    assert_eq!(tar["d/to-a"]["sha256"], sum(b"a"));
    assert_eq!(tar["d/to-c"]["sha256"], sum(b"b"));
    let all = packed(&archive, &[], "tar").unwrap();
    assert_eq!(all["d/to-a"]["target"], hex::encode("a"));
    let zip = packed(&archive, &[b"d"], "zip").unwrap();
    for (name, content) in [("b", b"b"), ("to-a", b"a"), ("to-b", b"b"), ("to-c", b"b")] {
        assert_eq!(zip[&format!("d/{name}")]["sha256"], sum(content));
    }
}

#[test]
fn nothing_is_packed_to_go_through_a_symbolic_link() {
    let link = |encoder: &mut Encoder<Vec<u8>>, name: &[u8]| {
        let body = Body::Symlink(b"/etc".to_vec());
        encoder.special(name, &stat(mode::SYMLINK), &body)
    };
    let through = archive(|encoder| {
        link(encoder, b"a")?;
        encoder.enter(b"a", &directory())?;
        encoder.file(b"passwd", &file(), 0, &b""[..])?;
        encoder.leave()
    });
    let twice = archive(|encoder| {
        link(encoder, b"a")?;
        encoder.file(b"a", &file(), 0, &b""[..]).map(drop)
    });
    for kind in ["tar", "zip"] {
        for archive in [&through, &twice] {
            let error = packed(archive, &[], kind).unwrap_err().to_string();
            assert_eq!(
                error,
                "refusing to pack 'a': a symbolic link has the same name"
            );
        }
    }
    // The same name in another directory is another thing.
    let apart = archive(|encoder| {
        encoder.enter(b"d", &directory())?;
        link(encoder, b"a")?;
        encoder.leave()?;
        encoder.enter(b"a", &directory())?;
        encoder.leave()
    });
    assert_eq!(packed(&apart, &[], "tar").unwrap().len(), 3);
}

#[test]
fn names_that_other_systems_take_for_paths_are_not_put_into_zip_files() {
    for name in [&b"..\\x"[..], b"x\\..\\y", b"\\x", b"x\\.."] {
        let archive = archive(|encoder| encoder.file(name, &file(), 0, &b""[..]).map(drop));
        let error = packed(&archive, &[], "zip").unwrap_err().to_string();
        assert!(error.ends_with("download it as tar"), "{error}");
        assert_eq!(packed(&archive, &[], "tar").unwrap().len(), 1);
    }
}

#[test]
fn it_ends_when_nobody_waits() {
    let archive = archive(|encoder| {
        let zeros = std::io::repeat(0);
        encoder.file(b"zeros", &file(), 64 << 20, zeros).map(drop)
    });
    let accessor = Accessor::open(&archive[..], None).unwrap();
    let root = accessor.root().unwrap();
    for kind in ["tar", "zip"] {
        // Asked for each step and each piece; somebody goes away soon.
        let asked = Cell::new(0);
        let source = Source {
            accessor: &accessor,
            directory: &root,
            path: &[],
            wanted: &|| {
                asked.set(asked.get() + 1);
                asked.get() < 10
            },
        };
        let mut out = Vec::new();
        let ended = match kind {
            "tar" => tar_zst(&source, &mut out),
            _ => zip(&source, &mut out),
        };
        assert!(ended.is_err());
        assert_eq!(asked.get(), 10);
        // What is there has no end, so that nobody takes it for the whole.
        let is_end = |bytes: &[u8]| bytes == b"PK\x05\x06";
        assert!(!out.windows(4).any(is_end) && zstd::decode_all(&out[..]).is_err());
    }
}
