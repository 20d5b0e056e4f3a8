//! Moves of groups and namespaces.

use std::time::Duration;

use s3_mock::{Action, Fault, Op, Reply};

use super::*;
use crate::error::Error;
use crate::manage::relocate::{GroupMoved, NamespaceMove, NamespaceMoved};
use crate::snapshot::PROTECTED_MARKER;
use crate::task::RecordingTask;

const THIRD: &str = "vm/100/2026-01-03T00:00:00Z";

async fn both() -> [TestStore; 2] {
    [TestStore::filesystem().await, TestStore::s3().await]
}

async fn create(test: &TestStore, name: &str) -> BackupNamespace {
    test.store
        .create_namespace(None, &ns(name), &test.cancel)
        .await
        .unwrap();
    ns(name)
}

async fn relocate(test: &TestStore, from: &str, to: &str) -> crate::Result<GroupMoved> {
    relocate_with(test, from, to, true).await
}

async fn relocate_with(
    test: &TestStore,
    from: &str,
    to: &str,
    merge: bool,
) -> crate::Result<GroupMoved> {
    let task = RecordingTask::new();
    let (from, to) = (ns(from), ns(to));
    test.store
        .move_group(&task, &from, &group("vm/100"), &to, merge)
        .await
}

fn times(test: &TestStore, name: &str) -> usize {
    let snapshots = test.store.snapshots();
    let found = snapshots.list_snapshots(&ns(name), &group("vm/100"));
    found.unwrap().len()
}

fn check_mirror(test: &TestStore) {
    if test.server.is_some() {
        assert_mirrored(test);
        let backend = test.store.backend().s3().unwrap();
        assert!(backend.cleanup.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_group_moves_with_everything_that_is_in_it() {
    for test in both().await {
        create(&test, "a").await;
        let first = test.backup("", FIRST, &[b"one"]).await;
        test.backup("", SECOND, &[b"one", b"two"]).await;
        test.store
            .set_protection(None, &ns(""), &first.dir, true)
            .await
            .unwrap();
        test.store
            .set_group_notes(None, &ns(""), &group("vm/100"), "mine")
            .await
            .unwrap();

        let moved = relocate(&test, "", "a").await.unwrap();
        assert_eq!((moved.snapshots, moved.merged), (2, false));
        assert_eq!((times(&test, ""), times(&test, "a")), (0, 2));
        assert!(!test.base().join("vm/100").exists());
        let marker = format!("ns/a/{FIRST}/{PROTECTED_MARKER}");
        assert!(test.base().join(marker).exists());
        let notes = test
            .store
            .group_notes(&ns("a"), &group("vm/100"))
            .await
            .unwrap();
        assert_eq!(notes, "mine");
        let owner = test.store.snapshots().owner(&ns("a"), &group("vm/100"));
        assert_eq!(owner.unwrap().unwrap().to_string(), "root@pam");
        check_mirror(&test);
        // Locks of what is gone are gone, and the moved group can be backed up to.
        test.backup("a", THIRD, &[b"three"]).await;
        assert!(relocate(&test, "", "a").await.unwrap_err().is_not_found());
    }
}

#[tokio::test(start_paused = true)]
async fn groups_merge_only_by_the_rules() {
    for test in both().await {
        create(&test, "a").await;
        test.backup("a", FIRST, &[b"one"]).await;
        test.backup("", SECOND, &[b"two"]).await;
        let refused = relocate_with(&test, "", "a", false).await.unwrap_err();
        assert!(
            refused.to_string().contains("not to be merged"),
            "{refused}"
        );
        let refused = relocate(&test, "a", "").await.unwrap_err();
        assert!(refused.to_string().contains("is not newer"), "{refused}");
        let other = "other@pbs".parse().unwrap();
        let group = group("vm/100");
        test.store
            .set_owner(None, &ns("a"), &group, &other)
            .await
            .unwrap();
        let refused = relocate(&test, "", "a").await.unwrap_err();
        assert!(
            refused.to_string().contains("belongs to other@pbs"),
            "{refused}"
        );
        assert_eq!((times(&test, ""), times(&test, "a")), (1, 1));
        check_mirror(&test);

        let root = "root@pam".parse().unwrap();
        test.store
            .set_owner(None, &ns("a"), &group, &root)
            .await
            .unwrap();
        for (name, text) in [("", "source"), ("a", "target")] {
            test.store
                .set_group_notes(None, &ns(name), &group, text)
                .await
                .unwrap();
        }
        let moved = relocate(&test, "", "a").await.unwrap();
        assert_eq!((moved.snapshots, moved.merged), (1, true));
        assert_eq!(times(&test, "a"), 2);
        let notes = test.store.group_notes(&ns("a"), &group).await.unwrap();
        assert_eq!(notes, "target");
        check_mirror(&test);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_in_use_does_not_move() {
    for test in both().await {
        create(&test, "a").await;
        let first = test.backup("", FIRST, &[b"one"]).await;
        let second = test.backup("", SECOND, &[b"two"]).await;
        let locks = test.store.locks();
        let reader = locks.snapshot_shared(&second.ns, &second.dir).unwrap();
        let refused = relocate(&test, "", "a").await.unwrap_err();
        assert!(matches!(refused, Error::Locked { .. }), "{refused}");
        drop(reader);
        let session = locks.group(&first.ns, &first.dir.group).unwrap();
        let refused = relocate(&test, "", "a").await.unwrap_err();
        assert!(matches!(refused, Error::Locked { .. }), "{refused}");
        drop(session);
        assert!(
            !test.base().join("ns/a/vm/100").exists(),
            "nothing was left"
        );
        assert!(relocate(&test, "", "b").await.unwrap_err().is_not_found());
        check_mirror(&test);
        relocate(&test, "", "a").await.unwrap();
        check_mirror(&test);
    }
}

#[tokio::test(start_paused = true)]
async fn manifests_arrive_last_and_leave_first() {
    let test = TestStore::s3().await;
    create(&test, "a").await;
    test.backup("", FIRST, &[b"one"]).await;
    let mark = test.server().journal_mark();
    relocate(&test, "", "a").await.unwrap();
    let journal = test.server().journal().since(mark);
    let deleted: Vec<String> = journal.deleted_keys();
    assert!(deleted[0].ends_with("/index.json.blob"), "{deleted:?}");
    let mut written: Vec<String> = journal.written_keys();
    written.retain(|key| key.contains(FIRST));
    assert_eq!(written.len(), 3);
    assert!(written[2].ends_with("/index.json.blob"), "{written:?}");
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_fails_leaves_everything_where_it_was() {
    let test = TestStore::s3().await;
    create(&test, "a").await;
    test.backup("", FIRST, &[b"one"]).await;
    let denied = Action::Reply(Reply::access_denied());
    let fault = Fault::on(Op::CopyObject, denied).nth(2);
    let fault = test.server().script(fault);
    assert!(relocate(&test, "", "a").await.is_err());
    test.server().remove_fault(fault);
    assert_eq!((times(&test, ""), times(&test, "a")), (1, 0));
    let left = test.keys(".cnt/ns/a/vm");
    assert_eq!(left, Vec::<String>::new());
    // Its keys are looked at once more when nothing can arrive any more.
    let refused = relocate(&test, "", "a").await.unwrap_err();
    assert!(refused.to_string().contains("half an hour"), "{refused}");
    for _ in 0..2 {
        test.env.sleep(Duration::from_secs(31 * 60)).await;
        test.store.tend(&test.cancel).await.unwrap();
    }
    relocate(&test, "", "a").await.unwrap();
    check_mirror(&test);
}

#[tokio::test(start_paused = true)]
async fn sources_that_resist_go_later() {
    let test = TestStore::s3().await;
    create(&test, "a").await;
    test.backup("", FIRST, &[b"one"]).await;
    let denied = Action::Reply(Reply::access_denied());
    let fault = Fault::on(Op::DeleteObjects, denied).always();
    let fault = test.server().script(fault);
    relocate(&test, "", "a").await.unwrap();
    assert_eq!((times(&test, ""), times(&test, "a")), (0, 1));
    test.server().remove_fault(fault);
    for _ in 0..2 {
        test.env.sleep(Duration::from_secs(31 * 60)).await;
        test.store.tend(&test.cancel).await.unwrap();
    }
    check_mirror(&test);
}

#[tokio::test(start_paused = true)]
async fn what_only_the_bucket_has_is_not_left_behind() {
    let test = TestStore::s3().await;
    create(&test, "a").await;
    test.backup("", FIRST, &[b"one"]).await;
    test.put_object(&format!(".cnt/{FIRST}/more.didx"), b"?");
    let refused = relocate(&test, "", "a").await.unwrap_err();
    assert!(refused.to_string().contains("s3-refresh"), "{refused}");
    test.delete_object(&format!(".cnt/{FIRST}/more.didx"));
    test.put_object(&format!(".cnt/{FIRST}/{PROTECTED_MARKER}"), b"");
    relocate(&test, "", "a").await.unwrap();
    let marker = format!("ns/a/{FIRST}/{PROTECTED_MARKER}");
    assert!(test.base().join(&marker).exists(), "protected is protected");
    check_mirror(&test);
}

async fn relocate_ns(
    test: &TestStore,
    from: &str,
    to: &str,
    change: impl FnOnce(&mut NamespaceMove),
) -> crate::Result<NamespaceMoved> {
    let mut options = NamespaceMove {
        from: ns(from),
        to: ns(to),
        max_depth: None,
        delete_source: true,
        merge_groups: true,
    };
    change(&mut options);
    let task = RecordingTask::new();
    test.store.move_namespace(&task, &options).await
}

#[tokio::test(start_paused = true)]
async fn a_namespace_moves_with_all_below_it() {
    for test in both().await {
        for name in ["a", "a/x", "a/x/y"] {
            create(&test, name).await;
        }
        test.backup("a", FIRST, &[b"one"]).await;
        test.backup("a/x/y", FIRST, &[b"two"]).await;
        let moved = relocate_ns(&test, "a", "b", |_| ()).await.unwrap();
        let expected = NamespaceMoved {
            groups: 2,
            snapshots: 2,
            removed_namespaces: 3,
            failed: 0,
        };
        assert_eq!(moved, expected);
        assert_eq!((times(&test, "b"), times(&test, "b/x/y")), (1, 1));
        assert!(!test.base().join("ns/a").exists());
        check_mirror(&test);
        // Only the upper level, and the source stays.
        let some = relocate_ns(&test, "b", "c", |options| {
            options.max_depth = Some(0);
            options.delete_source = false;
        });
        assert_eq!(some.await.unwrap().groups, 1);
        assert_eq!((times(&test, "c"), times(&test, "b/x/y")), (1, 1));
        assert!(test.base().join("ns/b").exists());
        check_mirror(&test);
    }
}

#[tokio::test(start_paused = true)]
async fn a_namespace_keeps_what_cannot_move() {
    for test in both().await {
        for name in ["a", "b"] {
            create(&test, name).await;
        }
        test.backup("a", FIRST, &[b"one"]).await;
        test.backup("b", SECOND, &[b"one"]).await;
        let moved = relocate_ns(&test, "a", "b", |_| ()).await.unwrap();
        assert_eq!((moved.failed, moved.removed_namespaces), (1, 0));
        assert_eq!(times(&test, "a"), 1);
        for (from, to) in [("", "c"), ("a", "a"), ("a", "a/b"), ("no", "c")] {
            assert!(
                relocate_ns(&test, from, to, |_| ()).await.is_err(),
                "{from}"
            );
        }
        create(&test, "a/1").await;
        let deep = "d1/d2/d3/d4/d5/d6/d7";
        for depth in 1..=7 {
            let name: Vec<&str> = deep.split('/').take(depth).collect();
            create(&test, &name.join("/")).await;
        }
        let refused = relocate_ns(&test, "a", deep, |_| ()).await.unwrap_err();
        assert!(
            refused.to_string().contains("namespace too deep"),
            "{refused}"
        );
        check_mirror(&test);
    }
}
