//! A filesystem datastore, and the log.

use std::time::Duration;

use super::*;
use crate::format::blob::DataBlob;
use crate::task::TaskContext;

#[tokio::test(start_paused = true)]
async fn the_log_of_a_sound_datastore_is_that_of_the_real_system() {
    let test = TestStore::filesystem().await;
    let first = test.backup("", FIRST, &[ONE]).await;
    let second = test.backup("", SECOND, &[ONE, TWO]).await;
    test.backup("", "host/benchmark/2026-01-01T00:00:00Z", &[ONE])
        .await;
    test.backup("", "ct/9/2026-01-01T00:00:00Z", &[TWO]).await;
    let task = task();
    let report = verify(&test, &task, VerifyOptions::default())
        .await
        .unwrap();
    assert_eq!(
        (report.sound, report.skipped, report.failed.len()),
        (3, 0, 0)
    );
    let lines: Vec<String> = task
        .lines()
        .iter()
        .map(|line| line.text().to_owned())
        .collect();
    let speed = |read: &str| {
        format!("  verified 0.00/{read} MiB in 0.00 seconds, speed 0.00/0.00 MiB/s (0 errors)")
    };
    assert_eq!(
        lines,
        [
            "verify datastore store",
            "found 2 groups",
            "using 1 read and 4 verify thread(s)",
            "verify group store:ct/9 (1 snapshots)",
            "verify store:ct/9/2026-01-01T00:00:00Z",
            "  check root.pxar.didx",
            &speed("0.00"),
            "  check x.conf.blob",
            "percentage done: 50.00% (1/2 groups)",
            "verify group store:vm/100 (2 snapshots)",
            "verify store:vm/100/2026-01-02T00:00:00Z",
            "  check root.pxar.didx",
            &speed("0.00"),
            "  check x.conf.blob",
            "percentage done: 75.00% (1/2 groups, 1/2 snapshots in group #2)",
            "verify store:vm/100/2026-01-01T00:00:00Z",
            "  check root.pxar.didx",
            &speed("0.00"),
            "  check x.conf.blob",
            "percentage done: 100.00% (2/2 groups)",
        ]
    );
    for path in [&first, &second] {
        assert_eq!(state(&test, path).await, Some(VerifyState::Ok));
    }
    let again = verify(&test, &task, VerifyOptions::default())
        .await
        .unwrap();
    assert_eq!(again.skipped, 3);
    assert!(task.contains("SKIPPED: verify store:vm/100/2026-01-01T00:00:00Z (recently verified)"));
    let aged = VerifyOptions {
        outdated_after: Some(1),
        ..VerifyOptions::default()
    };
    test.env.sleep(Duration::from_secs(2 * 86_400 - 20)).await;
    assert_eq!(
        verify(&test, &task, aged).await.unwrap().skipped,
        3,
        "1 day old counts as 1"
    );
    test.env.sleep(Duration::from_secs(60)).await;
    assert_eq!(verify(&test, &task, aged).await.unwrap().sound, 3);
}

#[tokio::test(start_paused = true)]
async fn a_damaged_chunk_file_is_set_aside_until_it_is_uploaded_again() {
    let test = TestStore::filesystem().await;
    let first = test.backup("", FIRST, &[ONE, TWO]).await;
    let other = test.backup("", "vm/7/2026-01-01T00:00:00Z", &[TWO]).await;
    damage_file(&test, ONE);
    let task = task();
    let report = verify(&test, &task, all()).await.unwrap();
    assert_eq!(report.failed, [FIRST]);
    assert_eq!(report.corrupt_chunks, 1);
    assert_eq!(state(&test, &first).await, Some(VerifyState::Failed));
    assert_eq!(state(&test, &other).await, Some(VerifyState::Ok));
    let digest = digest_of(ONE);
    assert!(!test.store.chunks().chunk_path(&digest).exists());
    assert!(test.store.chunks().bad_path(&digest, 0).exists());
    assert!(task.contains("corrupt chunk renamed to"));
    assert!(
        report
            .into_task_result()
            .unwrap_err()
            .to_string()
            .contains("please check the log")
    );
    // The failed snapshot is no base, and the chunk is uploaded again.
    let second = test.backup("", SECOND, &[ONE]).await;
    let report = verify(&test, &task, all()).await.unwrap();
    assert_eq!(report.failed, Vec::<String>::new());
    assert_eq!(state(&test, &second).await, Some(VerifyState::Ok));
    assert_eq!(state(&test, &first).await, Some(VerifyState::Ok));
}

#[tokio::test(start_paused = true)]
async fn missing_files_and_contradictions_fail_a_snapshot() {
    let test = TestStore::filesystem().await;
    let names = ["1", "2", "3", "4", "5"];
    let mut paths = Vec::new();
    for (index, name) in names.iter().enumerate() {
        let data = vec![u8::try_from(index).unwrap() + 10; 2000];
        paths.push(
            test.backup("", &format!("vm/{name}/2026-01-01T00:00:00Z"), &[&data])
                .await,
        );
    }
    let inside = |index: usize, name: &str| test.base().join(paths[index].dir.path()).join(name);
    std::fs::remove_file(test.store.chunks().chunk_path(&digest_of(&[10; 2000]))).unwrap();
    std::fs::remove_file(inside(1, "x.conf.blob")).unwrap();
    std::fs::write(inside(2, "x.conf.blob"), b"something else").unwrap();
    let mut index = std::fs::read(inside(3, "root.pxar.didx")).unwrap();
    let last = index.len() - 1;
    index[last] ^= 1;
    std::fs::write(inside(3, "root.pxar.didx"), index).unwrap();
    std::fs::write(inside(4, "index.json.blob"), b"no manifest").unwrap();
    let task = task();
    let report = verify(&test, &task, all()).await.unwrap();
    assert_eq!(report.failed.len(), 5, "{report:?}");
    assert_eq!(report.missing_chunks, 1);
    assert!(task.contains("wrong size") && task.contains("wrong index checksum"));
    assert!(task.contains("manifest load error"));
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_in_use_is_skipped_and_a_lock_can_be_handed_in() {
    let test = TestStore::filesystem().await;
    let path = test.backup("", FIRST, &[ONE]).await;
    let task = task();
    let lock = test
        .store
        .locks()
        .snapshot_exclusive(&path.ns, &path.dir)
        .unwrap();
    let report = verify(&test, &task, all()).await.unwrap();
    assert_eq!((report.skipped, report.failed.len()), (1, 0));
    drop(lock);
    let lock = test
        .store
        .locks()
        .snapshot_shared(&path.ns, &path.dir)
        .unwrap();
    let report = test
        .store
        .verify_snapshot(&task, &path, Some(lock), all())
        .await
        .unwrap();
    assert_eq!(report.sound, 1);
    let group = &path.dir.group;
    let report = test
        .store
        .verify_group(&task, &path.ns, group, all())
        .await
        .unwrap();
    assert_eq!(report.sound, 1);
    assert!(task.contains("percentage done: 100.00% (1/1 snapshots)"));
    task.cancel().cancel();
    let aborted = verify(&test, &task, all()).await.unwrap_err();
    assert_eq!(aborted.to_string(), "verification failed - job aborted");
}

#[tokio::test(start_paused = true)]
async fn chunks_of_the_wrong_kind_are_errors_of_the_snapshot_only() {
    let test = TestStore::filesystem().await;
    let path = test.backup("", FIRST, &[ONE]).await;
    let crypt = crate::format::crypt::CryptConfig::new([7; 32]).unwrap();
    let secret = DataBlob::encode(ONE, Some(&crypt), true, &test.env).unwrap();
    std::fs::write(
        test.store.chunks().chunk_path(&digest_of(ONE)),
        secret.raw(),
    )
    .unwrap();
    let task = task();
    let report = verify(&test, &task, all()).await.unwrap();
    assert_eq!((report.failed.len(), report.corrupt_chunks), (1, 0));
    assert!(task.contains("it is encrypted, its archive is not"));
    assert!(test.store.chunks().chunk_path(&digest_of(ONE)).exists());
    assert_eq!(state(&test, &path).await, Some(VerifyState::Failed));
}
