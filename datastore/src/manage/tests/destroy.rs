//! Destruction of a datastore with its data.

use std::time::Duration;

use s3_mock::{Action, Fault, Op, Reply};

use super::*;
use crate::backend::s3::DEFAULT_QUARANTINE;
use crate::error::Error;
use crate::manage::destroy::prepare_destruction;
use crate::task::{RecordingTask, TaskContext};

/// Destroys, and says how long that took.
async fn destroy(test: &TestStore, task: &RecordingTask) -> (crate::Result<()>, Duration) {
    let start = test.env.now();
    let result = test.store.destroy(task).await;
    (result, test.env.now().duration_since(start))
}

#[tokio::test(start_paused = true)]
async fn nothing_but_the_lock_file_is_left() {
    for test in [TestStore::filesystem().await, TestStore::s3().await] {
        test.backup("", FIRST, &[b"one"]).await;
        std::fs::write(test.base().join(".gc-status"), "{}").unwrap();
        let (result, took) = destroy(&test, &RecordingTask::new()).await;
        result.unwrap();
        assert!(took < Duration::from_secs(60), "{took:?}");
        let left = std::fs::read_dir(test.base()).unwrap();
        let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, [".lock"]);
        if test.server.is_some() {
            assert_eq!(test.keys(""), Vec::<String>::new());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_prefix_is_kept_as_long_as_a_delete_may_still_be_applied() {
    // The record of earlier deletes is gone with the disk.
    let lost = TestStore::s3().await;
    lost.backup("", FIRST, &[b"one"]).await;
    std::fs::remove_file(lost.base().join(".x-coffer/delete-journal")).unwrap();
    // The answer to a delete of this run is lost.
    let repeated = TestStore::s3().await;
    repeated.backup("", FIRST, &[b"one"]).await;
    let fault = Fault::on(Op::DeleteObjects, Action::ApplyThenDrop);
    repeated.server().script(fault);
    for test in [lost, repeated] {
        let task = RecordingTask::new();
        let (result, took) = destroy(&test, &task).await;
        result.unwrap();
        assert!(took >= DEFAULT_QUARANTINE, "{took:?}");
        assert!(task.contains("deletes may still be applied"));
        assert_eq!(test.keys(""), Vec::<String>::new());
    }
}

#[tokio::test(start_paused = true)]
async fn what_resists_is_named_and_the_next_attempt_goes_on() {
    let test = TestStore::s3().await;
    test.backup("", FIRST, &[b"one"]).await;
    let denied = Fault::on(Op::DeleteObjects, Action::Reply(Reply::access_denied())).always();
    let fault = test.server().script(denied);
    let (result, _) = destroy(&test, &RecordingTask::new()).await;
    result.unwrap_err();
    assert_eq!(test.keys(".in-use"), [".in-use"]);
    assert!(test.base().join(".chunks").exists());

    test.server().remove_fault(fault);
    let aborted = RecordingTask::new();
    aborted.cancel().cancel();
    let (result, _) = destroy(&test, &aborted).await;
    assert!(matches!(result, Err(Error::Aborted)), "{result:?}");
    let (result, _) = destroy(&test, &RecordingTask::new()).await;
    result.unwrap();
    assert_eq!(test.keys(""), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn another_instances_data_is_left_alone() {
    let test = TestStore::s3().await;
    test.backup("", FIRST, &[b"one"]).await;
    let before = test.keys("");
    test.put_object(".in-use", br#"{"hostname":"another","instance-id":"22"}"#);
    let (result, _) = destroy(&test, &RecordingTask::new()).await;
    assert!(matches!(result, Err(Error::Fenced { .. })), "{result:?}");
    assert_eq!(test.keys(""), before);
    assert!(test.base().join("vm").exists());
}

#[test]
fn a_lost_cache_does_not_hide_a_full_bucket() {
    let dir = support::scratch().unwrap();
    let base = dir.path().join("base");
    assert!(!prepare_destruction(&base, false).unwrap());
    assert!(!base.exists());
    assert!(prepare_destruction(&base, true).unwrap());
    assert!(base.join(".chunks").is_dir());
}
