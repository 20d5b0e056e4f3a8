//! An S3 datastore: healing, setting aside, and all that may come in between.

use std::time::Duration;

use s3_mock::{Action, Fault, Op, Reply};

use super::*;
use crate::backend::s3::insert::Payload;
use crate::error::Error;
use crate::format::blob::DataBlob;
use crate::locks::ProcessLocker;
use crate::task::TaskContext;
use crate::test_store::STORE;

#[tokio::test(start_paused = true)]
async fn a_sound_bucket_costs_one_get_per_chunk_and_one_put_per_snapshot() {
    let test = TestStore::s3().await;
    let first = test.backup("", FIRST, &[ONE]).await;
    test.backup("", SECOND, &[ONE, TWO]).await;
    let mark = test.server().journal_mark();
    let report = verify(&test, &task(), all()).await.unwrap();
    assert_eq!((report.sound, report.healed), (2, 0));
    assert_eq!(state(&test, &first).await, Some(VerifyState::Ok));
    let journal = test.server().journal().since(mark);
    let gets = journal.requests_of(Op::GetObject);
    let chunks = gets
        .iter()
        .filter(|keys| keys[0].contains("/.chunks/"))
        .count();
    assert_eq!(chunks, 2);
    assert_eq!(journal.requests_of(Op::PutObject).len(), 2);
    assert_eq!(
        journal.requests_of(Op::ListObjects).len(),
        1,
        "the mirror of the group"
    );
    // The same verdict within the hour is not written again.
    let mark = test.server().journal_mark();
    verify(&test, &task(), all()).await.unwrap();
    assert_eq!(
        test.server()
            .journal()
            .since(mark)
            .requests_of(Op::PutObject)
            .len(),
        0
    );
}

#[tokio::test(start_paused = true)]
async fn a_damaged_object_is_healed_from_the_cache() {
    let test = TestStore::s3().await;
    test.backup("", FIRST, &[ONE, TWO]).await;
    let good = test.object(&TestStore::chunk_key(ONE)).unwrap();
    damage_object(&test, ONE);
    test.delete_object(&TestStore::chunk_key(TWO));
    let task = task();
    let report = verify(&test, &task, all()).await.unwrap();
    assert_eq!((report.sound, report.healed), (1, 2), "{:?}", task.lines());
    assert_eq!(test.object(&TestStore::chunk_key(ONE)).unwrap(), good);
    assert!(test.object(&TestStore::chunk_key(TWO)).is_some());
    assert_eq!(bad_keys(&test), Vec::<String>::new());
    assert_eq!(task.warnings(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_damaged_object_without_a_cached_payload_is_set_aside() {
    let test = TestStore::s3().await;
    let path = test
        .backup_with("", FIRST, &[ONE, TWO], Payload::Discard)
        .await;
    damage_object(&test, ONE);
    let damaged = test.object(&TestStore::chunk_key(ONE)).unwrap();
    let mark = test.server().journal_mark();
    let task = task();
    let report = verify(&test, &task, all()).await.unwrap();
    assert_eq!((report.failed.len(), report.corrupt_chunks), (1, 1));
    assert_eq!(state(&test, &path).await, Some(VerifyState::Failed));
    let bad = format!("{}.0.bad", TestStore::chunk_key(ONE));
    assert_eq!(bad_keys(&test), std::slice::from_ref(&bad));
    assert_eq!(test.object(&bad).unwrap(), damaged);
    assert!(test.object(&TestStore::chunk_key(ONE)).is_none());
    assert!(!test.store.chunks().chunk_path(&digest_of(ONE)).exists());
    // ◆ The epoch before the delete, the copy before the delete.
    let changes: Vec<String> = {
        let journal = test.server().journal().since(mark);
        journal
            .changes()
            .map(|(_, change)| format!("{change:?}"))
            .collect()
    };
    let at = |part: &str| {
        changes
            .iter()
            .position(|change| change.contains(part))
            .unwrap()
    };
    for before in ["epoch", ".0.bad"] {
        assert!(at(before) < at("Deleted"), "{changes:?}");
    }
    let epoch = test.object(".x-coffer/epoch").unwrap();
    assert_eq!(epoch, format!("{}\n", test.store.digests().generation()));
    let backend = test.store.backend().s3().unwrap();
    assert!(backend.journal_is_empty() && backend.bad_list.is_empty());
    assert_eq!(test.store.digests().exceptional_count(), 0);
    // The next backup uploads it, and everything is well again.
    let second = test.backup("", SECOND, &[ONE, TWO]).await;
    let report = verify(&test, &task, all()).await.unwrap();
    assert_eq!(report.sound, 2, "{:?}", task.lines());
    assert_eq!(state(&test, &second).await, Some(VerifyState::Ok));
    // A second time the next number is taken.
    test.store
        .chunks()
        .replace_with_marker(&digest_of(ONE))
        .unwrap();
    damage_object(&test, ONE);
    verify(&test, &task, all()).await.unwrap();
    assert_eq!(bad_keys(&test), [bad.clone(), bad.replace(".0.", ".1.")]);
}

#[tokio::test(start_paused = true)]
async fn an_object_that_was_repaired_meanwhile_is_left_alone() {
    let test = TestStore::s3().await;
    test.backup_with("", FIRST, &[ONE], Payload::Discard).await;
    let good = test.object(&TestStore::chunk_key(ONE)).unwrap();
    let mut bad = good.to_vec();
    bad[20] ^= 1;
    let once = Action::Reply(Reply::status(200).body(bad));
    test.server()
        .script(Fault::on(Op::GetObject, once).keys("*/.chunks/*").times(1));
    let report = verify(&test, &task(), all()).await.unwrap();
    assert_eq!((report.sound, report.failed.len()), (1, 0));
    assert_eq!(test.object(&TestStore::chunk_key(ONE)).unwrap(), good);
    assert_eq!(bad_keys(&test), Vec::<String>::new());
    assert_eq!(test.store.digests().exceptional_count(), 0);
}

#[tokio::test(start_paused = true)]
async fn trouble_on_the_way_proves_nothing() {
    let test = TestStore::s3().await;
    let path = test.backup_with("", FIRST, &[ONE], Payload::Discard).await;
    let storm = Fault::on(Op::GetObject, Action::Reply(Reply::slow_down())).keys("*/.chunks/*");
    let storm = test.server().script(storm.always());
    assert!(matches!(
        verify(&test, &task(), all()).await,
        Err(Error::S3(_))
    ));
    assert_eq!(state(&test, &path).await, None);
    test.server().remove_fault(storm);
    let archived = Reply::status(403).code("InvalidObjectState", "restore it first");
    let archived = Fault::on(Op::GetObject, Action::Reply(archived)).keys("*/.chunks/*");
    let archived = test.server().script(archived.always());
    let task = task();
    let report = verify(&test, &task, all()).await.unwrap();
    assert_eq!((report.failed.len(), report.corrupt_chunks), (1, 0));
    assert_eq!(state(&test, &path).await, None, "no verdict");
    assert!(task.contains("unable to verify chunk"));
    assert!(test.object(&TestStore::chunk_key(ONE)).is_some());
    assert!(test.store.chunks().chunk_path(&digest_of(ONE)).exists());
    test.server().remove_fault(archived);
    assert_eq!(verify(&test, &task, all()).await.unwrap().sound, 1);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_deleted_is_replaced_by_the_next_upload() {
    let test = TestStore::s3().await;
    test.backup_with("", FIRST, &[ONE], Payload::Discard).await;
    damage_object(&test, ONE);
    let denied = Action::Reply(Reply::access_denied());
    let retention = test
        .server()
        .script(Fault::on(Op::DeleteObjects, denied).always());
    verify(&test, &task(), all()).await.unwrap();
    let backend = test.store.backend().s3().unwrap();
    assert!(backend.bad_list.contains(&digest_of(ONE)));
    assert!(
        !test.store.chunks().chunk_path(&digest_of(ONE)).exists(),
        "it stays absent"
    );
    test.server().remove_fault(retention);
    test.backup("", SECOND, &[ONE]).await;
    assert!(backend.bad_list.is_empty());
    let report = verify(&test, &task(), all()).await.unwrap();
    assert_eq!(report.sound, 2);
}

#[tokio::test(start_paused = true)]
async fn not_alone_a_damaged_object_is_only_listed() {
    let test = TestStore::s3().await;
    test.backup_with("", FIRST, &[ONE], Payload::Discard).await;
    damage_object(&test, ONE);
    let other = ProcessLocker::open(&test.base(), test.env.clone()).unwrap();
    let held = other.try_shared().unwrap();
    let mark = test.server().journal_mark();
    let task = task();
    verify(&test, &task, all()).await.unwrap();
    let backend = test.store.backend().s3().unwrap();
    assert!(backend.bad_list.contains(&digest_of(ONE)));
    assert!(test.object(&TestStore::chunk_key(ONE)).is_some());
    let journal = test.server().journal().since(mark);
    assert_eq!(journal.requests_of(Op::DeleteObjects).len(), 0);
    assert_eq!(journal.requests_of(Op::CopyObject).len(), 0);
    assert!(task.contains("could not be renamed"));
    drop(held);
    verify(&test, &task, all()).await.unwrap();
    assert_eq!(bad_keys(&test).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_late_delete_of_a_damaged_object_does_not_cost_the_next_upload() {
    let test = TestStore::s3().await;
    test.backup_with("", FIRST, &[ONE], Payload::Discard).await;
    damage_object(&test, ONE);
    test.server()
        .script(Fault::on(Op::DeleteObjects, Action::late()).always());
    verify(&test, &task(), all()).await.unwrap();
    assert_eq!(test.store.digests().suspects(), [digest_of(ONE)]);
    let backend = test.store.backend().s3().unwrap();
    assert!(
        backend.bad_list.contains(&digest_of(ONE)),
        "it may still be there"
    );
    test.server().clear_faults();
    test.backup_with("", SECOND, &[ONE], Payload::Discard).await;
    for late in test.server().late() {
        test.server().release_late(late.id);
    }
    test.env.sleep(Duration::from_secs(1)).await;
    assert!(
        test.object(&TestStore::chunk_key(ONE)).is_none(),
        "the late delete has hit it"
    );
    test.env.sleep(Duration::from_secs(31 * 60)).await;
    let _lease = test.store.sweeper_lease(&test.cancel).await.unwrap();
    let report = backend.resolve_quarantine(backend.client()).await.unwrap();
    assert_eq!(report.restored, 1);
    assert!(test.object(&TestStore::chunk_key(ONE)).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_backup_may_upload_a_chunk_while_it_is_being_set_aside() {
    let test = TestStore::s3().await;
    test.backup_with("", FIRST, &[ONE], Payload::Discard).await;
    damage_object(&test, ONE);
    let gate = test.server().gate(Op::CopyObject, "*");
    let task = task();
    let upload = async {
        gate.arrived().await;
        let path = test.backup("", SECOND, &[ONE]).await;
        gate.release();
        path
    };
    let (_, second) = tokio::join!(verify(&test, &task, all()), upload);
    let raw = test.object(&TestStore::chunk_key(ONE)).unwrap();
    let blob = DataBlob::from_bytes(raw).unwrap();
    blob.verify_unencrypted(&digest_of(ONE), None).unwrap();
    assert_eq!(test.store.digests().exceptional_count(), 0);
    assert!(test.store.chunks().chunk_path(&digest_of(ONE)).exists());
    let report = verify(&test, &task, all()).await.unwrap();
    assert_eq!(report.failed, Vec::<String>::new());
    assert_eq!(state(&test, &second).await, Some(VerifyState::Ok));
}

#[tokio::test(start_paused = true)]
async fn a_missing_chunk_is_reported_and_bars_a_running_backup() {
    let test = TestStore::s3().await;
    let path = test.backup_with("", FIRST, &[ONE], Payload::Discard).await;
    test.delete_object(&TestStore::chunk_key(ONE));
    let report = verify(&test, &task(), all()).await.unwrap();
    assert_eq!((report.missing_chunks, report.failed.len()), (1, 1));
    assert_eq!(state(&test, &path).await, Some(VerifyState::Failed));
    assert!(test.store.digests().has_lost());
    assert!(!test.store.chunks().chunk_path(&digest_of(ONE)).exists());
    test.backup("", SECOND, &[ONE]).await;
    assert!(!test.store.digests().has_lost());
}

#[tokio::test(start_paused = true)]
async fn a_quick_run_finds_missing_and_truncated_objects_without_reading_the_others() {
    let test = TestStore::s3().await;
    let third: &[u8] = &[3; 4000];
    test.backup_with("", FIRST, &[ONE, TWO, third], Payload::Discard)
        .await;
    let raw = test.object(&TestStore::chunk_key(TWO)).unwrap();
    test.put_object(&TestStore::chunk_key(TWO), &raw[..10]);
    test.delete_object(&TestStore::chunk_key(third));
    let mark = test.server().journal_mark();
    let report = verify(&test, &task(), quick()).await.unwrap();
    assert_eq!((report.corrupt_chunks, report.missing_chunks), (1, 1));
    let gets = test
        .server()
        .journal()
        .since(mark)
        .requests_of(Op::GetObject);
    let untouched = TestStore::chunk_key(ONE);
    assert!(
        gets.iter().all(|keys| !keys[0].ends_with(&untouched)),
        "{gets:?}"
    );
    // A sound quick run vouches for nothing.
    let test = TestStore::s3().await;
    let path = test.backup("", FIRST, &[ONE]).await;
    assert_eq!(verify(&test, &task(), quick()).await.unwrap().sound, 1);
    assert_eq!(state(&test, &path).await, None);
    let local = TestStore::filesystem().await;
    local.backup("", FIRST, &[ONE]).await;
    assert_eq!(verify(&local, &task(), quick()).await.unwrap().sound, 1);
    std::fs::write(local.store.chunks().chunk_path(&digest_of(ONE)), b"").unwrap();
    assert_eq!(
        verify(&local, &task(), quick())
            .await
            .unwrap()
            .corrupt_chunks,
        1
    );
}

#[tokio::test(start_paused = true)]
async fn copies_of_metadata_that_differ_are_put_right() {
    let test = TestStore::s3().await;
    let path = test.backup("", FIRST, &[ONE]).await;
    let key = |name: &str| format!(".cnt/{FIRST}/{name}");
    let names = ["root.pxar.didx", "x.conf.blob", "index.json.blob"];
    let good = names.map(|name| test.object(&key(name)).unwrap());
    test.put_object(&key(names[0]), b"an old version");
    test.delete_object(&key(names[1]));
    let mut longer = good[2].to_vec();
    longer.push(0);
    test.put_object(&key(names[2]), &longer);
    let task = RecordingTask::new();
    let report = verify(&test, &task, all()).await.unwrap();
    assert_eq!((report.sound, report.healed), (1, 3), "{:?}", task.lines());
    assert_eq!(names.map(|name| test.object(&key(name)).unwrap()), good);
    // Nothing is put right from local files that are damaged themselves.
    std::fs::write(test.base().join(path.dir.path()).join(names[1]), b"damaged").unwrap();
    let report = verify(&test, &task, all()).await.unwrap();
    assert_eq!((report.failed.len(), report.healed), (1, 0));
    assert_eq!(test.object(&key(names[1])).unwrap(), good[1]);
}

#[tokio::test(start_paused = true)]
async fn a_foreign_owner_ends_the_run() {
    let test = TestStore::s3().await;
    test.backup_with("", FIRST, &[ONE], Payload::Discard).await;
    damage_object(&test, ONE);
    test.put_object(
        ".in-use",
        br#"{"hostname":"other","instance-id":"22222222"}"#,
    );
    test.env.sleep(Duration::from_secs(120)).await;
    let result = verify(&test, &task(), all()).await;
    assert!(matches!(result, Err(Error::Fenced { .. })), "{result:?}");
    assert!(test.object(&TestStore::chunk_key(ONE)).is_some());
    assert_eq!(bad_keys(&test), Vec::<String>::new());
}

/// What is longer than any chunk is damage, not trouble: set aside like other damage.
#[tokio::test(start_paused = true)]
async fn an_oversized_object_is_set_aside() {
    let test = TestStore::s3().await;
    let path = test
        .backup_with("", FIRST, &[ONE, TWO], Payload::Discard)
        .await;
    let key = format!("{STORE}/{}", TestStore::chunk_key(ONE));
    test.server().put("bucket", &key, vec![0; (16 << 20) + 45]);
    let mark = test.server().journal_mark();
    let report = verify(&test, &task(), all()).await.unwrap();
    assert_eq!((report.failed.len(), report.corrupt_chunks), (1, 1));
    assert_eq!(state(&test, &path).await, Some(VerifyState::Failed));
    assert_eq!(bad_keys(&test).len(), 1);
    let journal = test.server().journal().since(mark);
    let gets = journal.requests_of(Op::GetObject);
    let gets = gets.iter().filter(|keys| keys[0] == key).count();
    assert_eq!(gets, 2, "two looks, none repeated");
}
