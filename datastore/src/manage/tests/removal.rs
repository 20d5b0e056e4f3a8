//! Removal of snapshots and groups.

use std::time::Duration;

use s3_mock::{Action, Fault, Op, Reply};

use super::*;
use crate::error::Error;
use crate::gc::history::RemovalKind;

#[tokio::test(start_paused = true)]
async fn forgetting_the_last_snapshot_removes_its_group() {
    for test in [TestStore::filesystem().await, TestStore::s3().await] {
        let first = test.backup("", FIRST, &[b"one"]).await;
        let second = test.backup("", SECOND, &[b"one", b"two"]).await;
        test.store
            .set_group_notes(None, &ns(""), &group("vm/100"), "note")
            .await
            .unwrap();
        let lock = test
            .store
            .locks()
            .snapshot_shared(&first.ns, &first.dir)
            .unwrap();
        assert!(matches!(
            forget(&test, &first).await,
            Err(Error::Locked { .. })
        ));
        drop(lock);
        forget(&test, &first).await.unwrap();
        assert!(forget(&test, &first).await.unwrap_err().is_not_found());
        assert!(test.base().join("vm/100/owner").exists());
        if test.server.is_some() {
            assert_mirrored(&test);
        }
        forget(&test, &second).await.unwrap();
        assert!(!test.base().join("vm/100").exists());
        if test.server.is_some() {
            assert_eq!(test.keys(".cnt/"), Vec::<String>::new());
            assert_eq!(
                test.keys(".chunks/").len(),
                2,
                "chunks are the collection's business"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_manifest_goes_first_and_the_owner_last() {
    let test = TestStore::s3().await;
    let path = test.backup("", FIRST, &[b"one"]).await;
    let mark = test.server().journal_mark();
    forget(&test, &path).await.unwrap();
    let journal = test.server().journal().since(mark);
    let deleted: Vec<String> = journal.deleted_keys();
    assert!(deleted[0].ends_with("/index.json.blob"), "{deleted:?}");
    assert!(
        deleted.last().unwrap().ends_with("vm/100/owner"),
        "{deleted:?}"
    );
    assert_eq!(journal.requests_of(Op::DeleteObjects).len(), 1);
    assert_eq!(journal.requests_of(Op::ListObjects).len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_manifest_that_resists_leaves_the_snapshot_as_it_was() {
    let test = TestStore::s3().await;
    let path = test.backup("", FIRST, &[b"one"]).await;
    let before = test.keys("");
    let denied = Action::Reply(Reply::access_denied());
    let retained = test
        .server()
        .script(Fault::on(Op::DeleteObject, denied).always());
    assert!(forget(&test, &path).await.is_err());
    assert_eq!(test.keys(""), before);
    assert!(test.store.load_manifest(&path.ns, &path.dir).await.is_ok());
    test.server().remove_fault(retained);
    forget(&test, &path).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_manifest_deleted_by_a_lost_request_is_put_back() {
    let test = TestStore::s3().await;
    let path = test.backup("", FIRST, &[b"one"]).await;
    let lost = Fault::on(Op::DeleteObject, Action::ApplyThenHang).always();
    let lost = test.server().script(lost);
    let stopper = test.cancel.clone();
    let env = test.env.clone();
    let stop = async {
        env.sleep(Duration::from_secs(5)).await;
        stopper.cancel();
    };
    let client = test.store.client(s3_client::TaskKind::Prune, &test.cancel);
    let doomed = test
        .store
        .forget_snapshot(client.as_ref(), &path, &test.cancel);
    let (result, ()) = tokio::join!(doomed, stop);
    assert!(matches!(result, Err(Error::Aborted)), "{result:?}");
    assert!(
        test.object(&format!(".cnt/{FIRST}/index.json.blob"))
            .is_none()
    );
    test.server().remove_fault(lost);
    let backend = test.store.backend().s3().unwrap();
    let report = test
        .store
        .reconcile_metadata(backend, backend.client())
        .await
        .unwrap();
    assert_eq!(report.repaired, 1);
    assert_mirrored(&test);
}

#[tokio::test(start_paused = true)]
async fn a_manifest_deleted_in_spite_of_an_error_is_put_back_at_once() {
    let test = TestStore::s3().await;
    let first = test.backup("", FIRST, &[b"one"]).await;
    let second = test.backup("", SECOND, &[b"one"]).await;
    let before = test.keys("");
    let lying = Action::ApplyThenReply(Reply::internal_error());
    let ops = [Op::DeleteObject, Op::DeleteObjects];
    test.server().script(Fault::on_ops(&ops, lying).always());
    assert!(forget(&test, &first).await.is_err());
    assert_eq!(test.keys(""), before);
    let both = [first, second];
    let forgotten = test
        .store
        .forget_snapshots(None, &both, RemovalKind::Prune, &test.cancel)
        .await;
    assert!(forgotten.removed.is_empty(), "{forgotten:?}");
    assert_eq!(test.keys(""), before);
    assert_mirrored(&test);
}

#[tokio::test(start_paused = true)]
async fn leftovers_of_a_removal_are_removed_later() {
    let test = TestStore::s3().await;
    let path = test.backup("", FIRST, &[b"one"]).await;
    test.backup("", SECOND, &[b"one"]).await;
    let denied = Action::Reply(Reply::access_denied());
    let fault = test
        .server()
        .script(Fault::on(Op::DeleteObjects, denied).always());
    forget(&test, &path).await.unwrap();
    assert!(!test.base().join(FIRST).exists());
    assert_eq!(test.keys(&format!(".cnt/{FIRST}/")).len(), 2);
    test.server().remove_fault(fault);
    let backend = test.store.backend().s3().unwrap();
    assert_eq!(
        test.store
            .reconcile_metadata(backend, backend.client())
            .await
            .unwrap()
            .deleted,
        2
    );
    assert_mirrored(&test);
    test.env.sleep(Duration::from_secs(3600)).await;
    assert_eq!(
        test.store
            .reconcile_metadata(backend, backend.client())
            .await
            .unwrap()
            .open,
        0
    );
}

#[tokio::test(start_paused = true)]
async fn a_marker_in_the_bucket_protects_as_well() {
    let test = TestStore::s3().await;
    let mut paths = Vec::new();
    for day in 1..=6 {
        paths.push(
            test.backup("", &format!("vm/100/2026-01-0{day}T00:00:00Z"), &[b"one"])
                .await,
        );
    }
    test.put_object(".cnt/vm/100/2026-01-03T00:00:00Z/.protected", b"");
    let forgotten = test
        .store
        .forget_snapshots(None, &paths, RemovalKind::Forget, &test.cancel)
        .await;
    assert_eq!(forgotten.protected, [paths[2].clone()]);
    assert_eq!(forgotten.removed.len(), 5);
    assert!(test.base().join(paths[2].dir.path()).exists());
    let one = forget(&test, &paths[2]).await.unwrap_err();
    assert_eq!(one.to_string(), "cannot remove protected snapshot");
}

#[tokio::test(start_paused = true)]
async fn many_removals_share_their_requests() {
    let test = TestStore::s3().await;
    let mut paths = Vec::new();
    for minute in 10..50 {
        let dir = format!("vm/100/2026-01-01T00:{minute}:00Z");
        paths.push(test.backup("", &dir, &[b"one"]).await);
    }
    let mark = test.server().journal_mark();
    let forgotten = test
        .store
        .forget_snapshots(None, &paths, RemovalKind::Prune, &test.cancel)
        .await;
    assert_eq!((forgotten.removed.len(), forgotten.removed_groups), (40, 1));
    let journal = test.server().journal().since(mark);
    assert_eq!(journal.requests_of(Op::DeleteObjects).len(), 2);
    assert_eq!(journal.requests_of(Op::ListObjects).len(), 1);
    assert_eq!(journal.requests_of(Op::HeadObject).len(), 0);
    let totals = test.store.removals.totals_since(0).unwrap();
    assert_eq!((totals.snapshots, totals.indexes), (40, 40));
}

#[tokio::test(start_paused = true)]
async fn names_that_begin_alike_are_not_touched() {
    let test = TestStore::s3().await;
    for id in ["vm/1", "vm/10", "vm/100"] {
        test.backup("", &format!("{id}/2026-01-01T00:00:00Z"), &[b"one"])
            .await;
    }
    for name in ["foo", "foobar"] {
        let name = ns(name);
        test.store
            .create_namespace(None, &name, &test.cancel)
            .await
            .unwrap();
        test.backup(&name.to_string(), FIRST, &[b"one"]).await;
    }
    let stats = test
        .store
        .destroy_group(None, &ns(""), &group("vm/10"), &test.cancel)
        .await
        .unwrap();
    assert_eq!((stats.removed_groups, stats.removed_snapshots), (1, 1));
    assert_mirrored(&test);
    let removal = test
        .store
        .destroy_namespace(None, &ns("foo"), true, &test.cancel)
        .await
        .unwrap();
    assert_eq!(
        (removal.removed_namespaces, removal.stats.removed_snapshots),
        (1, 1)
    );
    assert_mirrored(&test);
    let left = test.keys(".cnt/");
    assert!(
        left.iter()
            .any(|key| key.starts_with(".cnt/ns/foobar/vm/100/"))
    );
    for id in ["vm/1/", "vm/100/"] {
        assert!(
            left.iter()
                .any(|key| key.starts_with(&format!(".cnt/{id}"))),
            "{id}"
        );
    }
    assert!(
        !left
            .iter()
            .any(|key| key.contains("/vm/10/") || key.contains("ns/foo/"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_group_keeps_its_protected_snapshots() {
    for test in [TestStore::filesystem().await, TestStore::s3().await] {
        test.backup("", FIRST, &[b"one"]).await;
        let kept = test.backup("", SECOND, &[b"one"]).await;
        test.store
            .set_protection(None, &kept.ns, &kept.dir, true)
            .await
            .unwrap();
        let (root, vm) = (ns(""), group("vm/100"));
        let stats = test
            .store
            .destroy_group(None, &root, &vm, &test.cancel)
            .await
            .unwrap();
        assert_eq!(
            serde_json::to_string(&stats).unwrap(),
            r#"{"removed-groups":0,"protected-snapshots":1,"removed-snapshots":1}"#
        );
        assert!(test.base().join("vm/100/owner").exists());
        let none = test
            .store
            .destroy_group(None, &root, &group("vm/7"), &test.cancel)
            .await;
        assert!(none.unwrap_err().is_not_found());
    }
}
