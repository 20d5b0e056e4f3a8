//! What differs between two archives.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use client::tree::create::CreateOptions;
use client::tree::diff::{Aspects, Change, diff};
use pxar::Accessor;

use crate::common::{Notes, unified};

fn differences(older: &[u8], newer: &[u8], compare_content: bool) -> Vec<(String, Change)> {
    let older = Accessor::open(older, None).unwrap();
    let newer = Accessor::open(newer, None).unwrap();
    let mut found = Vec::new();
    diff(&older, &newer, compare_content, &mut |it| {
        found.push((it.path.to_str().unwrap().to_owned(), it.change));
        Ok(())
    })
    .unwrap();
    found
}

#[test]
fn each_kind_of_difference() {
    let root = tempfile::tempdir().unwrap();
    let path = |name: &str| root.path().join(name);
    let keep_time = |name: &str| {
        let file = fs::File::open(path(name)).unwrap();
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000);
        file.set_modified(time).unwrap();
    };
    for name in ["changed", "grown", "mode", "sneaky", "same", "type"] {
        fs::write(path(name), name).unwrap();
    }
    symlink("here", path("link")).unwrap();
    fs::create_dir_all(path("old/inside")).unwrap();
    fs::write(path("zz"), "").unwrap();
    fs::hard_link(path("same"), path("sometimes")).unwrap();
    let names = ["changed", "grown", "mode", "sneaky", "same", "type", "zz"];
    names.into_iter().for_each(keep_time);
    keep_time("");
    let notes = Notes::default();
    let (older, _, _) = unified(root.path(), &CreateOptions::default(), &notes);
    assert_eq!(differences(&older, &older, true), []);

    fs::write(path("changed"), "CHANGED").unwrap();
    fs::write(path("grown"), "grown up").unwrap();
    fs::set_permissions(path("mode"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(path("sneaky"), "SNEAKY").unwrap();
    fs::remove_file(path("type")).unwrap();
    fs::create_dir(path("type")).unwrap();
    fs::write(path("type/new"), "").unwrap();
    fs::remove_file(path("link")).unwrap();
    symlink("there", path("link")).unwrap();
    rustix::fs::utimensat(
        rustix::fs::CWD,
        path("link"),
        &rustix::fs::Timestamps {
            last_access: rustix::fs::Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            },
            last_modification: rustix::fs::Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            },
        },
        rustix::fs::AtFlags::SYMLINK_NOFOLLOW,
    )
    .unwrap();
    fs::remove_dir_all(path("old")).unwrap();
    // Another file of the same content is no other name, and no difference.
    fs::remove_file(path("sometimes")).unwrap();
    fs::write(path("sometimes"), "same").unwrap();
    for name in ["grown", "mode", "sneaky", "sometimes", "type", ""] {
        keep_time(name);
    }
    let (newer, _, _) = unified(root.path(), &CreateOptions::default(), &notes);
    let none = Aspects::default();
    let modified = |name: &str, aspects: Aspects| (name.to_owned(), Change::Modified(aspects));
    let mut expected = vec![
        modified(
            "changed",
            Aspects {
                mtime: true,
                ..none
            },
        ),
        modified(
            "grown",
            Aspects {
                size: true,
                content: true,
                ..none
            },
        ),
        modified(
            "link",
            Aspects {
                content: true,
                mtime: true,
                ..none
            },
        ),
        modified("mode", Aspects { mode: true, ..none }),
        modified(
            "type",
            Aspects {
                file_type: true,
                mode: true,
                ..none
            },
        ),
        ("type/new".to_owned(), Change::Added),
        ("old".to_owned(), Change::Removed),
        ("old/inside".to_owned(), Change::Removed),
    ];
    assert_eq!(differences(&older, &newer, false), expected);
    expected[0] = modified(
        "changed",
        Aspects {
            mtime: true,
            content: true,
            ..none
        },
    );
    let sneaky = modified(
        "sneaky",
        Aspects {
            content: true,
            ..none
        },
    );
    expected.insert(4, sneaky);
    assert_eq!(differences(&older, &newer, true), expected);
    notes.none();
}
