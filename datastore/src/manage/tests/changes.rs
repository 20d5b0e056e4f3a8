//! Listings, and whatever comes into being or changes; namespaces both ways.

use api_types::names::BackupType;
use bytes::Bytes;
use s3_mock::{Action, Fault, Op, Reply};

use super::*;
use crate::error::Error;
use crate::format::blob::DataBlob;

#[tokio::test(start_paused = true)]
async fn notes_are_kept_in_the_manifest_here_and_in_the_bucket() {
    for test in [TestStore::filesystem().await, TestStore::s3().await] {
        let path = test.backup("", FIRST, &[b"one"]).await;
        let (root, dir) = (&path.ns, &path.dir);
        assert_eq!(test.store.snapshot_notes(root, dir).await.unwrap(), "");
        let text = "first line\nsecond";
        test.store
            .set_snapshot_notes(None, root, dir, text, &test.cancel)
            .await
            .unwrap();
        assert_eq!(test.store.snapshot_notes(root, dir).await.unwrap(), text);
        let items = test.store.list_snapshots(root, None, None).await.unwrap();
        assert_eq!(items[0].comment.as_deref(), Some("first line"));
        let manifest = test.store.load_manifest(root, dir).await.unwrap();
        assert!(
            manifest.chunk_upload_stats().unwrap().is_some(),
            "the other keys survive"
        );
        if test.server.is_some() {
            let local = std::fs::read(test.base().join(FIRST).join("index.json.blob")).unwrap();
            assert_eq!(
                test.object(&format!(".cnt/{FIRST}/index.json.blob"))
                    .unwrap(),
                local
            );
            let mark = test.server().journal_mark();
            test.store
                .set_snapshot_notes(None, root, dir, text, &test.cancel)
                .await
                .unwrap();
            assert_eq!(
                test.server()
                    .journal()
                    .since(mark)
                    .requests_of(Op::PutObject)
                    .len(),
                0
            );
            test.store
                .set_snapshot_notes(None, root, dir, "", &test.cancel)
                .await
                .unwrap();
            assert_eq!(
                test.server()
                    .journal()
                    .since(mark)
                    .requests_of(Op::PutObject)
                    .len(),
                1
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_manifest_changes_nothing() {
    let test = TestStore::s3().await;
    let path = test.backup("", FIRST, &[b"one"]).await;
    let denied = Action::Reply(Reply::access_denied());
    test.server()
        .script(Fault::on(Op::PutObject, denied).always());
    let result = test
        .store
        .set_snapshot_notes(None, &path.ns, &path.dir, "text", &test.cancel)
        .await;
    assert!(result.is_err());
    assert_eq!(
        test.store
            .snapshot_notes(&path.ns, &path.dir)
            .await
            .unwrap(),
        ""
    );
}

#[tokio::test(start_paused = true)]
async fn owners_and_group_notes_change_on_both_sides() {
    for test in [TestStore::filesystem().await, TestStore::s3().await] {
        test.backup("", FIRST, &[b"one"]).await;
        let (root, group) = (ns(""), group("vm/100"));
        let owner = "test@pbs!tok1".parse().unwrap();
        test.store
            .set_owner(None, &root, &group, &owner)
            .await
            .unwrap();
        test.store
            .set_group_notes(None, &root, &group, "a group\nnote")
            .await
            .unwrap();
        let items = test.store.list_groups(&root).await.unwrap();
        assert_eq!(items[0].owner, Some(owner));
        assert_eq!(items[0].comment.as_deref(), Some("a group"));
        assert_eq!(
            test.store.group_notes(&root, &group).await.unwrap(),
            "a group\nnote"
        );
        if test.server.is_some() {
            assert_eq!(test.object(".cnt/vm/100/owner").unwrap(), "test@pbs!tok1\n");
            assert_eq!(test.object(".cnt/vm/100/notes").unwrap(), "a group\nnote");
        }
        test.store
            .set_group_notes(None, &root, &group, "")
            .await
            .unwrap();
        assert_eq!(test.store.group_notes(&root, &group).await.unwrap(), "");
        if test.server.is_some() {
            assert_mirrored(&test);
        }
        let missing = test
            .store
            .group_notes(&root, &"vm/9".parse().unwrap())
            .await
            .unwrap_err();
        assert!(
            missing
                .to_string()
                .contains("ENOENT: No such file or directory")
        );
        let lock = test.store.locks().group(&root, &group).unwrap();
        let busy = test.store.set_group_notes(None, &root, &group, "x").await;
        assert!(matches!(busy, Err(Error::Locked { .. })));
        drop(lock);
    }
}

#[tokio::test(start_paused = true)]
async fn the_local_marker_of_a_protection_errs_on_the_safe_side() {
    let test = TestStore::s3().await;
    let path = test.backup("", FIRST, &[b"one"]).await;
    let (root, dir) = (&path.ns, &path.dir);
    // What the bucket says to it, and whether the snapshot is protected then.
    let set = async |protect: bool, works: bool| {
        if !works {
            let op = [Op::DeleteObject, Op::PutObject][usize::from(protect)];
            let denied = Action::Reply(Reply::access_denied());
            let broken = Fault::on(op, denied).keys("*/.protected").times(1);
            test.server().script(broken);
        }
        let done = test.store.set_protection(None, root, dir, protect).await;
        assert_eq!(done.is_ok(), works, "{done:?}");
        test.store.protection(root, dir).await.unwrap()
    };
    assert!(set(true, false).await);
    let refused = forget(&test, &path).await.unwrap_err().to_string();
    assert!(refused.contains("protected"), "{refused}");
    assert!(set(true, true).await);
    assert_mirrored(&test);
    assert!(set(false, false).await);
    assert!(!set(false, true).await);
    assert_mirrored(&test);
    assert!(
        !set(false, false).await,
        "nothing to lift, and nothing protects it"
    );
}

#[tokio::test(start_paused = true)]
async fn namespaces_come_before_and_go_after_what_is_in_them() {
    for test in [TestStore::filesystem().await, TestStore::s3().await] {
        let orphan = test
            .store
            .create_namespace(None, &ns("a/b"), &test.cancel)
            .await;
        let text = orphan.unwrap_err().to_string();
        assert_eq!(
            text,
            "cannot create new namespace, parent a doesn't already exists"
        );
        for name in ["a", "a/b", "a/b"] {
            test.store
                .create_namespace(None, &ns(name), &test.cancel)
                .await
                .unwrap();
        }
        test.backup("a/b", FIRST, &[b"one"]).await;
        let list = test.store.list_namespaces(&ns(""), None).await.unwrap();
        let list: Vec<String> = list.iter().map(|item| item.ns.to_string()).collect();
        assert_eq!(list, ["", "a", "a/b"]);
        let left = test
            .store
            .destroy_namespace(None, &ns("a"), false, &test.cancel)
            .await
            .unwrap();
        assert!(left.groups_left && left.removed_namespaces == 0 && !left.is_complete());
        if test.server.is_some() {
            assert_mirrored(&test);
            test.put_object(
                ".cnt/ns/a/ns/b/vm/999/2026-01-01T00:00:00Z/x.blob",
                b"unknown",
            );
            let refused = test
                .store
                .destroy_namespace(None, &ns("a"), true, &test.cancel)
                .await;
            assert!(refused.unwrap_err().to_string().contains("vm/999"));
            test.delete_object(".cnt/ns/a/ns/b/vm/999/2026-01-01T00:00:00Z/x.blob");
        }
        let gone = test
            .store
            .destroy_namespace(None, &ns("a"), true, &test.cancel)
            .await
            .unwrap();
        assert!(gone.is_complete() && gone.removed_namespaces == 2);
        assert!(!test.base().join("ns/a").exists());
        if test.server.is_some() {
            assert_eq!(test.keys(".cnt/"), Vec::<String>::new());
        }
        let again = test
            .store
            .destroy_namespace(None, &ns("a"), true, &test.cancel)
            .await;
        assert!(again.unwrap_err().is_not_found());
    }
}

#[tokio::test(start_paused = true)]
async fn a_namespace_marker_of_a_lost_request_follows_the_directory() {
    let test = TestStore::s3().await;
    let backend = test.store.backend().s3().unwrap();
    test.store
        .create_namespace(None, &ns("a"), &test.cancel)
        .await
        .unwrap();
    test.delete_object(".cnt/ns/a/.namespace");
    for relative in ["ns/a/.namespace", "ns/b/.namespace"] {
        backend
            .cleanup
            .add(&test.env, vec![relative.to_owned()])
            .await
            .unwrap();
    }
    test.put_object(".cnt/ns/b/.namespace", b"");
    test.store
        .reconcile_metadata(backend, backend.client())
        .await
        .unwrap();
    assert_eq!(test.keys(".cnt/"), [".cnt/ns/a/.namespace"]);
}

#[tokio::test(start_paused = true)]
async fn a_client_log_is_stored_once() {
    for test in [TestStore::filesystem().await, TestStore::s3().await] {
        let path = test.backup("", FIRST, &[b"one"]).await;
        let (root, dir) = (&path.ns, &path.dir);
        let log = DataBlob::encode(b"a log", None, true, &test.env)
            .unwrap()
            .into_raw();
        let mut damaged = log.to_vec();
        damaged[13] ^= 1;
        let damaged = Bytes::from(damaged);
        assert!(
            test.store
                .store_client_log(None, root, dir, damaged, &test.cancel)
                .await
                .is_err()
        );
        test.store
            .store_client_log(None, root, dir, log.clone(), &test.cancel)
            .await
            .unwrap();
        let again = test
            .store
            .store_client_log(None, root, dir, log, &test.cancel)
            .await;
        assert_eq!(
            again.unwrap_err().to_string(),
            "backup already contains a log."
        );
        let files = test.store.list_files(root, dir).await.unwrap();
        let names: Vec<&str> = files.iter().map(|file| file.filename.as_str()).collect();
        assert_eq!(
            names,
            [
                "root.pxar.didx",
                "x.conf.blob",
                "index.json.blob",
                "client.log.blob"
            ]
        );
        let last = files.last().unwrap();
        assert_eq!((last.size, last.crypt_mode), (None, None));
        if test.server.is_some() {
            assert_mirrored(&test);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn listings_come_from_the_local_tree_alone() {
    let test = TestStore::s3().await;
    test.backup("", FIRST, &[b"one"]).await;
    let second = test.backup("", SECOND, &[b"one", b"two"]).await;
    test.backup("", "ct/7/2026-01-01T00:00:00Z", &[b"three"])
        .await;
    std::fs::create_dir_all(test.base().join("vm/200/2026-01-05T00:00:00Z")).unwrap();
    let mark = test.server().journal_mark();
    let groups = test.store.list_groups(&ns("")).await.unwrap();
    let shown: Vec<_> = groups
        .iter()
        .map(|item| (item.backup_id.as_str(), item.backup_count))
        .collect();
    assert_eq!(
        shown,
        [("7", 1), ("100", 2)],
        "a group without owner is not shown"
    );
    assert_eq!(groups[1].last_backup, second.dir.time.secs());
    let all = test
        .store
        .list_snapshots(&ns(""), None, None)
        .await
        .unwrap();
    let shown: Vec<String> = all.iter().map(|item| item.dir().to_string()).collect();
    assert_eq!(shown, ["ct/7/2026-01-01T00:00:00Z", SECOND, FIRST]);
    let item = &all[1];
    let sizes: u64 = item.files.iter().filter_map(|file| file.size).sum();
    assert_eq!(item.size, Some(sizes));
    assert_eq!(item.owner, Some("root@pam".parse().unwrap()));
    let id = "100".parse().unwrap();
    let (root, vm) = (ns(""), Some(BackupType::Vm));
    assert_eq!(
        test.store
            .list_snapshots(&root, vm, Some(&id))
            .await
            .unwrap()
            .len(),
        2
    );
    assert!(
        test.store
            .list_snapshots(&ns("nowhere"), None, None)
            .await
            .is_err()
    );
    assert_eq!(test.server().journal().since(mark).requests().count(), 0);
}
