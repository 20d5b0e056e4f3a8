//! The local view of snapshots, on a real directory.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;
use crate::task::{SilentTask, TaskContext};

fn store() -> (tempfile::TempDir, SnapshotStore) {
    let dir = support::scratch().unwrap();
    let store = SnapshotStore::new(dir.path().to_path_buf());
    (dir, store)
}

fn ns(text: &str) -> BackupNamespace {
    text.parse().unwrap()
}

fn group(text: &str) -> BackupGroup {
    text.parse().unwrap()
}

fn dir(text: &str) -> BackupDir {
    text.parse().unwrap()
}

fn add_snapshot(
    store: &SnapshotStore,
    ns: &BackupNamespace,
    text: &str,
    files: &[&str],
) -> BackupDir {
    let dir = dir(text);
    store.create_group_dir(ns, &dir.group).unwrap();
    store.create_snapshot_dir(ns, &dir).unwrap();
    for name in files {
        store
            .write_file(ns, &dir, name, b"content", Durability::Lazy)
            .unwrap();
    }
    dir
}

fn names(namespaces: &[BackupNamespace]) -> Vec<String> {
    namespaces.iter().map(ToString::to_string).collect()
}

#[test]
fn namespaces_need_their_parent_and_list_parents_first() {
    let (_base, store) = store();
    let refused = store.create_namespace(&ns("a/b")).unwrap_err();
    assert!(refused.to_string().contains("parent 'a'"), "{refused}");
    assert!(store.create_namespace(&ns("")).is_err());
    for name in ["b", "a", "a/y", "a/x", "a/x/deep"] {
        assert!(store.create_namespace(&ns(name)).unwrap());
        assert!(store.namespace_exists(&ns(name)).unwrap());
    }
    assert!(!store.create_namespace(&ns("a")).unwrap());
    assert_eq!(
        store.namespace_path(&ns("a/x")),
        store.base().join("ns/a/ns/x")
    );
    let all = store.namespaces(&ns(""), None).unwrap();
    assert_eq!(names(&all), ["", "a", "a/x", "a/x/deep", "a/y", "b"]);
    assert_eq!(
        names(&store.namespaces(&ns(""), Some(1)).unwrap()),
        ["", "a", "b"]
    );
    assert_eq!(
        names(&store.namespaces(&ns("a"), Some(1)).unwrap()),
        ["a", "a/x", "a/y"]
    );
    assert_eq!(
        names(&store.namespaces(&ns("none"), None).unwrap()),
        ["none"]
    );
    assert_eq!(names(&store.namespaces(&ns("a"), Some(0)).unwrap()), ["a"]);
}

#[test]
fn foreign_directories_below_ns_end_the_iteration() {
    let (_base, store) = store();
    store.create_namespace(&ns("a")).unwrap();
    let directory = store.base().join("ns");
    std::fs::write(directory.join("a file!"), "").unwrap();
    std::fs::create_dir(directory.join(std::ffi::OsStr::from_bytes(b"\xff"))).unwrap();
    symlink("a", directory.join("link")).unwrap();
    assert_eq!(names(&store.namespaces(&ns(""), None).unwrap()), ["", "a"]);
    std::fs::create_dir(directory.join("not valid")).unwrap();
    let error = store.namespaces(&ns(""), None).unwrap_err();
    assert!(error.to_string().contains("not valid"), "{error}");
}

#[test]
fn namespaces_deeper_than_seven_levels_are_not_visited() {
    let (_base, store) = store();
    let mut path = store.base().to_path_buf();
    for _ in 0..9 {
        path = path.join("ns/x");
    }
    std::fs::create_dir_all(&path).unwrap();
    std::fs::create_dir(path.join("not valid")).unwrap();
    assert_eq!(store.namespaces(&ns(""), None).unwrap().len(), 8);
    assert_eq!(store.namespaces(&ns("x/x/x"), None).unwrap().len(), 5);
}

#[test]
fn groups_are_listed_in_group_order_without_strangers() {
    let (_base, store) = store();
    let root = ns("");
    for name in ["vm/100", "vm/9", "vm/a", "ct/200", "host/z"] {
        assert!(store.create_group_dir(&root, &group(name)).unwrap());
        assert!(!store.create_group_dir(&root, &group(name)).unwrap());
    }
    std::fs::create_dir(store.base().join("vm/.hidden")).unwrap();
    std::fs::write(store.base().join("vm/file"), "").unwrap();
    symlink("100", store.base().join("vm/300")).unwrap();
    let listed: Vec<String> = store
        .list_groups(&root)
        .unwrap()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(listed, ["ct/200", "host/z", "vm/9", "vm/100", "vm/a"]);
    assert!(
        !store.group_exists(&root, &group("vm/300")).unwrap(),
        "a link is no group"
    );
    assert!(store.create_group_dir(&root, &group("vm/300")).is_err());
    assert!(store.create_group_dir(&ns("none"), &group("vm/1")).is_err());
    assert!(store.list_groups(&ns("none")).unwrap().is_empty());
}

#[test]
fn owners_are_created_once_replaced_and_read_leniently() {
    let (_base, store) = store();
    let (root, group) = (ns(""), group("vm/100"));
    store.create_group_dir(&root, &group).unwrap();
    let path = store.group_path(&root, &group).join(OWNER_FILE);
    assert_eq!(store.owner(&root, &group).unwrap(), None);
    let (first, second) = ("root@pam".parse().unwrap(), "a@pbs!token".parse().unwrap());
    store.create_owner(&root, &group, &first).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"root@pam\n");
    assert!(
        store
            .create_owner(&root, &group, &second)
            .unwrap_err()
            .is_already_exists()
    );
    store.replace_owner(&root, &group, &second).unwrap();
    assert_eq!(store.owner(&root, &group).unwrap(), Some(second));
    std::fs::write(&path, "root@pam \t\r\nsecond line").unwrap();
    assert_eq!(store.owner(&root, &group).unwrap(), Some(first));
    for damaged in [&b""[..], b"\xff\xfe", b"no auth id", &[b'x'; 5000]] {
        std::fs::write(&path, damaged).unwrap();
        assert!(matches!(
            store.owner(&root, &group),
            Err(LocalError::Invalid { .. })
        ));
    }
}

#[test]
fn group_notes_come_and_go() {
    let (_base, store) = store();
    let (root, group) = (ns(""), group("vm/100"));
    store.create_group_dir(&root, &group).unwrap();
    assert_eq!(store.group_notes(&root, &group).unwrap(), None);
    store
        .set_group_notes(&root, &group, "zwei\nZeilen ü")
        .unwrap();
    assert_eq!(
        store.group_notes(&root, &group).unwrap().unwrap(),
        "zwei\nZeilen ü"
    );
    store.set_group_notes(&root, &group, "").unwrap();
    store.set_group_notes(&root, &group, "").unwrap();
    assert_eq!(store.group_notes(&root, &group).unwrap(), None);
    assert!(
        store
            .set_group_notes(&root, &group, &"x".repeat((1 << 20) + 1))
            .is_err()
    );
}

#[test]
fn snapshots_are_listed_newest_first_with_their_files() {
    let (_base, store) = store();
    let root = ns("");
    let files = [
        "x.img.fidx",
        "index.json.blob",
        "a.pxar.didx",
        "noise.txt",
        "x.tmp_fidx",
    ];
    let old = add_snapshot(&store, &root, "vm/100/2022-05-02T08:11:33Z", &files);
    let new = add_snapshot(
        &store,
        &root,
        "vm/100/2022-05-02T08:11:60Z",
        &["y.img.fidx"],
    );
    store.set_protected(&root, &new, true).unwrap();
    let path = store.group_path(&root, &old.group);
    for stranger in [
        "2022-13-02T08:11:33Z",
        "1970-01-01T00:00:00Z",
        "2022-05-02T08:11:33",
    ] {
        std::fs::create_dir(path.join(stranger)).unwrap();
    }
    symlink("2022-05-02T08:11:33Z", path.join("2023-05-02T08:11:33Z")).unwrap();
    let inside = store.snapshot_path(&root, &old);
    symlink("x.img.fidx", inside.join("link.fidx")).unwrap();
    std::fs::create_dir(inside.join("directory.fidx")).unwrap();

    let scan = store.scan_group(&root, &old.group).unwrap();
    assert_eq!(scan.vanished, 0);
    let [first, second] = &scan.snapshots[..] else {
        panic!("two snapshots: {scan:?}")
    };
    assert_eq!(
        first.dir.to_string(),
        "vm/100/2022-05-02T08:11:60Z",
        "kept as it was written"
    );
    assert!(first.protected && !first.is_finished());
    assert_eq!(
        second.files,
        ["a.pxar.didx", "index.json.blob", "x.img.fidx"]
    );
    assert!(second.is_finished() && !second.protected);
    assert!(second.index_files().eq(["a.pxar.didx", "x.img.fidx"]));
    assert_eq!(
        store.last_finished(&root, &old.group).unwrap(),
        Some(old.clone())
    );
    let sizes = store.file_sizes(&root, second).unwrap();
    assert_eq!(sizes[2], ("x.img.fidx".to_owned(), 7));

    let summary = GroupSummary::of(scan.snapshots.clone());
    assert_eq!((summary.count, summary.last.unwrap().dir), (2, old));
    let only = GroupSummary::of(vec![first.clone()]);
    assert_eq!(
        only.last.unwrap().dir,
        new,
        "a single one is shown even if unfinished"
    );
    assert_eq!(GroupSummary::of(Vec::new()), GroupSummary::default());
}

#[test]
fn a_missing_group_is_an_error_to_scan_and_empty_to_list() {
    let (_base, store) = store();
    assert!(
        store
            .scan_group(&ns(""), &group("vm/1"))
            .unwrap_err()
            .is_not_found()
    );
    assert!(
        store
            .list_snapshots(&ns(""), &group("vm/1"))
            .unwrap()
            .is_empty()
    );
    assert_eq!(store.last_finished(&ns(""), &group("vm/1")).unwrap(), None);
    assert_eq!(
        store
            .snapshot_info(&ns(""), &dir("vm/1/2022-05-02T08:11:33Z"))
            .unwrap(),
        None
    );
}

#[test]
fn snapshot_files_are_bounded_and_named_safely() {
    let (_base, store) = store();
    let root = ns("a");
    store.create_namespace(&root).unwrap();
    let snapshot = add_snapshot(&store, &root, "vm/100/2022-05-02T08:11:33Z", &["x.blob"]);
    assert!(
        store
            .create_snapshot_dir(&root, &snapshot)
            .unwrap_err()
            .is_already_exists()
    );
    assert_eq!(
        store
            .read_file(&root, &snapshot, "x.blob", 7)
            .unwrap()
            .unwrap(),
        b"content"
    );
    assert!(store.read_file(&root, &snapshot, "x.blob", 6).is_err());
    assert_eq!(
        store.read_file(&root, &snapshot, "y.blob", 7).unwrap(),
        None
    );
    for name in ["", ".", "..", "../x", "a/b", "a\0b"] {
        assert!(
            store.read_file(&root, &snapshot, name, 7).is_err(),
            "{name:?}"
        );
    }
    assert!(!store.has_manifest(&root, &snapshot).unwrap());
    store
        .write_file(
            &root,
            &snapshot,
            "index.json.blob",
            b"m",
            Durability::Synced,
        )
        .unwrap();
    assert!(store.has_manifest(&root, &snapshot).unwrap());
    assert!(store.remove_file(&root, &snapshot, "x.blob").unwrap());
    assert!(!store.remove_file(&root, &snapshot, "x.blob").unwrap());
}

#[test]
fn listed_names_follow_the_filter() {
    for name in ["x.fidx", "x.didx", ".blob", "client.log.blob"] {
        assert!(is_listed_name(name), "{name}");
    }
    for name in [
        "x.tmp_fidx",
        "fidx",
        "x.blob ",
        "x.Blob",
        "a\nb.fidx",
        ".protected",
    ] {
        assert!(!is_listed_name(name), "{name:?}");
    }
}

#[test]
fn protection_is_idempotent_and_prevents_removal() {
    let (_base, store) = store();
    let root = ns("");
    let snapshot = add_snapshot(&store, &root, "vm/100/2022-05-02T08:11:33Z", &["x.blob"]);
    assert!(store.set_protected(&root, &snapshot, true).unwrap());
    assert!(!store.set_protected(&root, &snapshot, true).unwrap());
    assert!(store.is_protected(&root, &snapshot).unwrap());
    let refused = store.remove_snapshot_dir(&root, &snapshot).unwrap_err();
    assert!(matches!(refused, LocalError::Refused { .. }));
    assert!(store.snapshot_exists(&root, &snapshot).unwrap());
    assert!(store.set_protected(&root, &snapshot, false).unwrap());
    assert!(!store.set_protected(&root, &snapshot, false).unwrap());
    assert!(store.remove_snapshot_dir(&root, &snapshot).unwrap());
}

#[test]
fn removal_goes_from_snapshot_to_group_to_namespace() {
    let (_base, store) = store();
    let space = ns("a");
    store.create_namespace(&space).unwrap();
    store.create_namespace(&ns("a/b")).unwrap();
    let first = add_snapshot(
        &store,
        &space,
        "vm/100/2022-05-02T08:11:33Z",
        &["x.img.fidx"],
    );
    let second = add_snapshot(
        &store,
        &space,
        "vm/100/2022-05-03T08:11:33Z",
        &["x.img.fidx"],
    );
    let group = &first.group;
    store
        .create_owner(&space, group, &"root@pam".parse().unwrap())
        .unwrap();
    store.set_group_notes(&space, group, "notes").unwrap();

    assert!(store.remove_snapshot_dir(&space, &first).unwrap());
    assert!(!store.remove_snapshot_dir(&space, &first).unwrap());
    assert!(!store.remove_group_if_empty(&space, group).unwrap());
    assert!(store.owner(&space, group).unwrap().is_some());
    assert!(
        !store.remove_namespace_dir(&space).unwrap(),
        "it still has a group and a child"
    );
    assert!(store.remove_snapshot_dir(&space, &second).unwrap());
    assert!(store.remove_group_if_empty(&space, group).unwrap());
    assert!(store.remove_group_if_empty(&space, group).unwrap());
    assert!(!store.group_exists(&space, group).unwrap());
    assert!(store.remove_namespace_dir(&ns("a/b")).unwrap());
    assert!(store.remove_namespace_dir(&space).unwrap());
    assert!(store.remove_namespace_dir(&space).unwrap());
    assert!(!store.namespace_exists(&space).unwrap());
    assert!(store.remove_namespace_dir(&ns("")).is_err());
    assert_eq!(store.purge_trash().unwrap(), 0, "nothing is left behind");
}

#[test]
fn a_group_with_unknown_content_keeps_its_owner() {
    let (_base, store) = store();
    let (root, group) = (ns(""), group("vm/100"));
    store.create_group_dir(&root, &group).unwrap();
    store
        .create_owner(&root, &group, &"root@pam".parse().unwrap())
        .unwrap();
    let path = store.group_path(&root, &group);
    std::fs::write(path.join("owner.tmp_Ab12Cd"), "").unwrap();
    std::fs::write(path.join("precious"), "").unwrap();
    let error = store.remove_group_if_empty(&root, &group).unwrap_err();
    assert!(error.to_string().contains("precious"), "{error}");
    assert!(store.owner(&root, &group).unwrap().is_some());
    std::fs::remove_file(path.join("precious")).unwrap();
    assert!(store.remove_group_if_empty(&root, &group).unwrap());
}

#[test]
fn interrupted_removals_are_finished_without_following_links() {
    let (base, store) = store();
    assert_eq!(store.purge_trash().unwrap(), 0);
    let outside = support::scratch().unwrap();
    std::fs::write(outside.path().join("precious"), "").unwrap();
    let trash = base.path().join(TRASH_DIR_NAME);
    let left = trash.join(format!("{}-abcdef", std::process::id()));
    std::fs::create_dir_all(&left).unwrap();
    std::fs::write(left.join("x.img.fidx"), "").unwrap();
    symlink(outside.path(), left.join("link")).unwrap();
    symlink(outside.path(), trash.join("link")).unwrap();
    // A living process removes it.
    std::fs::create_dir(trash.join("1-abcdef")).unwrap();
    assert!(
        store
            .physical_index_files(&SilentTask::new())
            .unwrap()
            .is_empty()
    );
    assert_eq!(store.purge_trash().unwrap(), 2);
    assert!(trash.join("1-abcdef").exists());
    assert!(outside.path().join("precious").exists());
}

#[test]
fn the_physical_list_finds_every_index_wherever_it_lies() {
    let (base, store) = store();
    let root = ns("");
    let snapshot = add_snapshot(
        &store,
        &root,
        "vm/100/2022-05-02T08:11:33Z",
        &["x.img.fidx"],
    );
    let mut expected = vec![store.file_path(&root, &snapshot, "x.img.fidx").unwrap()];
    for file in [
        "odd/place/y.didx",
        "top.fidx",
        "vm/100/2022-13-02T08:11:33Z/z.fidx",
    ] {
        let path = base.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "").unwrap();
        expected.push(path);
    }
    for ignored in [
        ".chunks/x.fidx",
        "odd/.hidden.fidx",
        "odd/x.blob",
        "odd/x.tmp_fidx",
    ] {
        let path = base.path().join(ignored);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "").unwrap();
    }
    std::fs::create_dir(base.path().join("directory.fidx")).unwrap();
    symlink(base.path(), base.path().join("loop")).unwrap();
    symlink("top.fidx", base.path().join("link.fidx")).unwrap();
    let task = SilentTask::new();
    let indexes = store.physical_index_files(&task).unwrap();
    assert_eq!(indexes, expected.into_iter().collect());
    task.cancel().cancel();
    assert!(matches!(
        store.physical_index_files(&task),
        Err(LocalError::Aborted(_))
    ));
}

#[test]
fn unreadable_directories_abort_the_physical_list_except_lost_and_found() {
    let (base, store) = store();
    let forbid = |name: &str| {
        let path = base.path().join(name);
        std::fs::create_dir_all(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o000)).unwrap();
        path
    };
    forbid("lost+found");
    let denied = io::Error::from(io::ErrorKind::PermissionDenied);
    let tolerated = |path: &str| store.is_tolerated(&base.path().join(path), &denied);
    assert!(tolerated("lost+found") && !tolerated("vm/lost+found") && !tolerated("vm"));
    // Root reads everything, so that the walk itself shows it only to others.
    if !nix::unistd::geteuid().is_root() {
        assert!(store.physical_index_files(&SilentTask::new()).is_ok());
        let path = forbid("vm");
        assert!(store.physical_index_files(&SilentTask::new()).is_err());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let missing = SnapshotStore::new(base.path().join("unmounted"));
    assert!(
        missing
            .physical_index_files(&SilentTask::new())
            .unwrap_err()
            .is_not_found()
    );
}
