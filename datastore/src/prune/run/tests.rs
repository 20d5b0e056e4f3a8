use std::sync::Arc;

use api_types::names::SnapshotPath;
use api_types::prune::KeepOptions;
use jiff::tz::TimeZone;
use s3_mock::{Action, Fault, Op, Reply};

use super::{PruneOptions, PruneScope, depth_text};
use crate::task::{RecordingTask, TaskLine};
use crate::test_store::TestStore;

fn keep_last(count: Option<u64>) -> PruneOptions {
    let keep = KeepOptions {
        keep_last: count,
        ..KeepOptions::default()
    };
    PruneOptions {
        tz: TimeZone::UTC,
        ..PruneOptions::new(keep)
    }
}

fn lines(task: &RecordingTask) -> Vec<String> {
    task.lines()
        .iter()
        .map(|line| line.text().to_owned())
        .collect()
}

async fn three(test: &TestStore) -> Vec<SnapshotPath> {
    let mut paths = Vec::new();
    for day in 1..=3 {
        paths.push(
            test.backup("", &format!("vm/100/2026-01-0{day}T00:00:00Z"), &[b"one"])
                .await,
        );
    }
    paths
}

#[tokio::test(start_paused = true)]
async fn the_log_of_a_group_is_that_of_the_real_system() {
    for test in [TestStore::filesystem().await, TestStore::s3().await] {
        let paths = three(&test).await;
        test.store
            .set_protection(None, &paths[1].ns, &paths[1].dir, true)
            .await
            .unwrap();
        let task = RecordingTask::new();
        let (ns, group) = (&paths[0].ns, &paths[0].dir.group);
        let report = test
            .store
            .prune_group(&task, ns, group, &keep_last(Some(1)))
            .await
            .unwrap();
        let removing = format!(
            "removing backup snapshot \"{}\"",
            test.base().join(paths[0].dir.path()).display()
        );
        assert_eq!(
            lines(&task),
            [
                "retention options: --keep-last 1",
                "Starting prune on datastore 'store', root namespace group \"vm/100\"",
                "vm/100/2026-01-01T00:00:00Z remove",
                removing.as_str(),
                "vm/100/2026-01-02T00:00:00Z protected",
                "vm/100/2026-01-03T00:00:00Z keep",
            ]
        );
        assert_eq!((report.removed, report.failed), (1, 0));
        assert_eq!(
            serde_json::to_string(&report.items[0]).unwrap(),
            r#"{"backup-type":"vm","backup-id":"100","backup-time":1767225600,"keep":false,"protected":false}"#
        );
        let left = test.store.list_snapshots(ns, None, None).await.unwrap();
        assert_eq!(left.len(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_only_talks() {
    let test = TestStore::s3().await;
    test.store
        .create_namespace(None, &"a".parse().unwrap(), &test.cancel)
        .await
        .unwrap();
    three(&test).await;
    test.backup("a", "ct/1/2026-01-01T00:00:00Z", &[b"one"])
        .await;
    test.backup("a", "ct/1/2026-01-02T00:00:00Z", &[b"one"])
        .await;
    let task = RecordingTask::new();
    let options = PruneOptions {
        dry_run: true,
        ..keep_last(Some(2))
    };
    let only_vm = |_: &_, group: &api_types::names::BackupGroup| group.to_string() == "vm/100";
    let scope = PruneScope {
        ns: "".parse().unwrap(),
        max_depth: None,
        may_prune: &only_vm,
    };
    let mark = test.server().journal_mark();
    test.store
        .prune_datastore(&task, &scope, &options)
        .await
        .unwrap();
    assert_eq!(
        lines(&task),
        [
            "Starting datastore prune on datastore 'store', root namespace, down to full depth",
            "retention options: --keep-last 2",
            "Pruning group :\"vm/100\"",
            "would remove vm/100/2026-01-01T00:00:00Z",
            "would keep vm/100/2026-01-02T00:00:00Z",
            "would keep vm/100/2026-01-03T00:00:00Z",
        ]
    );
    let everything = |_: &_, _: &_| true;
    let scope = PruneScope {
        ns: "a".parse().unwrap(),
        max_depth: Some(0),
        may_prune: &everything,
    };
    let options = PruneOptions {
        dry_run: true,
        ..keep_last(Some(1))
    };
    let report = test
        .store
        .prune_datastore(&task, &scope, &options)
        .await
        .unwrap();
    assert_eq!(report.items[0].ns, Some("a".parse().unwrap()));
    assert!(!report.items[0].keep && report.items[1].keep);
    assert!(task.contains("namespace 'a', non-recursive"));
    assert!(task.contains("Pruning group a:\"ct/1\""));
    assert_eq!(test.server().journal().since(mark).requests().count(), 0);
}

#[tokio::test(start_paused = true)]
async fn without_rules_everything_is_kept_with_a_warning() {
    let test = TestStore::filesystem().await;
    three(&test).await;
    let task = RecordingTask::new();
    let everything = |_: &_, _: &_| true;
    let scope = PruneScope {
        ns: "".parse().unwrap(),
        max_depth: None,
        may_prune: &everything,
    };
    let report = test
        .store
        .prune_datastore(&task, &scope, &keep_last(None))
        .await
        .unwrap();
    assert_eq!((report.removed, report.items.len()), (0, 3));
    assert_eq!(
        task.warning_texts(),
        ["No prune selection - keeping all files."]
    );
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_in_use_is_a_warning_and_the_others_go() {
    for test in [TestStore::filesystem().await, TestStore::s3().await] {
        let paths = three(&test).await;
        let _reader = test
            .store
            .locks()
            .snapshot_shared(&paths[0].ns, &paths[0].dir)
            .unwrap();
        let task = RecordingTask::new();
        let (ns, group) = (&paths[0].ns, &paths[0].dir.group);
        let report = test
            .store
            .prune_group(&task, ns, group, &keep_last(Some(1)))
            .await
            .unwrap();
        assert_eq!((report.removed, report.failed), (1, 1));
        assert!(matches!(task.lines().last(), Some(TaskLine::Warning(text))
            if text.starts_with("failed to remove snapshot vm/100/2026-01-01T00:00:00Z: ")));
        assert!(test.base().join(paths[0].dir.path()).exists());
    }
}

#[tokio::test(start_paused = true)]
async fn an_unreachable_bucket_changes_nothing() {
    let test = TestStore::s3().await;
    let paths = three(&test).await;
    let before = test.keys("");
    let denied = Action::Reply(Reply::access_denied());
    test.server()
        .script(Fault::on_ops(&[Op::HeadObject, Op::ListObjects], denied).always());
    let task = RecordingTask::new();
    let result = test
        .store
        .prune_group(
            &task,
            &paths[0].ns,
            &paths[0].dir.group,
            &keep_last(Some(1)),
        )
        .await;
    assert!(result.is_err());
    assert_eq!(test.keys(""), before);
    assert_eq!(
        test.store
            .list_snapshots(&paths[0].ns, None, None)
            .await
            .unwrap()
            .len(),
        3
    );
    assert_eq!(Arc::strong_count(&test.store), 1);
}

#[test]
fn depths_in_words() {
    assert_eq!(depth_text(None), "down to full depth");
    assert_eq!(depth_text(Some(0)), "non-recursive");
    assert_eq!(depth_text(Some(2)), "to depth 2");
}
