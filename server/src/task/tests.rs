//! Tasks as a whole: run, looked at and stopped.

use std::time::Duration;

use datastore::task::TaskContext;

use super::end::failure;
use super::*;

fn tasks(dir: &Path) -> Tasks {
    Tasks::new(&Paths::below(dir), Env::system())
}

fn spec(worker_type: &str) -> TaskSpec {
    TaskSpec::new(worker_type, Some("s1:vm/100".to_owned()), Authid::root())
}

fn messages(tasks: &Tasks, upid: &Upid) -> Vec<String> {
    let page = tasks.log(upid, 0, 0).unwrap();
    page.lines
        .into_iter()
        .map(|line| line.t[27..].to_owned())
        .collect()
}

async fn run<T: Send + 'static>(
    tasks: &Tasks,
    work: impl FnOnce(&WorkerTask) -> Result<T> + Send + 'static,
) -> TaskOutcome<T> {
    tasks
        .run(
            spec("verify"),
            Echo::None,
            Signals::Ignore,
            |task| async move { work(&task) },
        )
        .await
        .unwrap()
}

#[tokio::test]
async fn the_end_of_a_task_follows_from_result_and_warnings() {
    let dir = support::scratch().unwrap();
    let tasks = tasks(dir.path());
    let good = run(&tasks, |task| {
        task.log("starting");
        Ok(task.id().clone())
    })
    .await;
    assert_eq!(good.value.unwrap(), good.upid);
    assert_eq!(messages(&tasks, &good.upid), ["starting", "TASK OK"]);
    assert!(!tasks.is_running(&good.upid));

    let warned = run(&tasks, |task| {
        task.warn("a");
        task.warn("b");
        Ok(())
    })
    .await;
    assert_eq!(warned.status, TaskStatus::Warnings(2));
    assert_eq!(
        messages(&tasks, &warned.upid).last().unwrap(),
        "TASK WARNINGS: 2"
    );

    let failed = run::<()>(&tasks, |_| Err(anyhow::anyhow!("inner").context("outer"))).await;
    assert_eq!(messages(&tasks, &failed.upid), ["TASK ERROR: outer: inner"]);

    let panicked = run::<()>(&tasks, |_| panic!("oh no")).await;
    assert!(messages(&tasks, &panicked.upid)[0].starts_with("TASK ERROR: worker panicked: "));

    let list = tasks.list(&TaskFilter::default()).unwrap();
    let listed: Vec<_> = list.entries.iter().map(|entry| &entry.upid).collect();
    assert_eq!(
        listed,
        [&panicked.upid, &failed.upid, &warned.upid, &good.upid]
    );
    assert_eq!(
        list.entries[2].end.as_ref().unwrap().status,
        TaskStatus::Warnings(2)
    );
    assert_eq!(list.entries[1].upid.worker_id(), Some("s1:vm/100"));
}

#[tokio::test]
async fn a_request_stops_a_running_task() {
    let dir = support::scratch().unwrap();
    let tasks = tasks(dir.path());
    let env = Env::system();
    let running = tokio::spawn({
        let tasks = tasks.clone();
        async move {
            tasks
                .run::<(), _, _>(
                    spec("verify"),
                    Echo::None,
                    Signals::Ignore,
                    |task| async move {
                        task.cancel().cancelled().await;
                        Err(anyhow::anyhow!("stopped early"))
                    },
                )
                .await
                .unwrap()
        }
    });
    let upid = loop {
        let list = tasks
            .list(&TaskFilter {
                running: true,
                ..TaskFilter::default()
            })
            .unwrap();
        if let Some(entry) = list.entries.first() {
            break entry.upid.clone();
        }
        env.sleep(Duration::from_millis(10)).await;
    };
    assert!(tasks.is_running(&upid));
    let asked = env.now();
    tasks.request_abort(&upid).unwrap();
    let outcome = running.await.unwrap();
    assert!(env.now().duration_since(asked) < Duration::from_secs(2));
    assert_eq!(outcome.upid, upid);
    assert_eq!(
        messages(&tasks, &upid),
        [
            "received abort request ...",
            "TASK ERROR: abort requested - aborting task: stopped early"
        ]
    );
    // It has ended: nothing more to request, nothing left behind.
    tasks.request_abort(&upid).unwrap();
    assert_eq!(
        std::fs::read_dir(dir.path().join("run/task-abort"))
            .unwrap()
            .count(),
        0
    );
}

#[tokio::test]
async fn a_signal_stops_a_foreground_task_in_order() {
    use nix::sys::signal::{Signal, raise};
    let dir = support::scratch().unwrap();
    let tasks = tasks(dir.path());
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let outcome = tasks
            .run::<(), _, _>(
                spec("verify"),
                Echo::None,
                Signals::Abort,
                move |task| async move {
                    raise(signal)?;
                    task.cancel().cancelled().await;
                    task.log("cleaned up");
                    Err(datastore::task::Aborted.into())
                },
            )
            .await
            .unwrap();
        assert_eq!(
            messages(&tasks, &outcome.upid),
            [
                "received abort request ...",
                "cleaned up",
                "TASK ERROR: abort requested - aborting task"
            ]
        );
    }
}

#[tokio::test]
async fn a_task_that_nobody_started_cannot_be_stopped() {
    let dir = support::scratch().unwrap();
    let upid = "UPID:vm:00000001:00000002:00000003:6B02A4FC:prune:s1:root@pam:"
        .parse()
        .unwrap();
    assert!(tasks(dir.path()).request_abort(&upid).is_err());
    assert!(tasks(dir.path()).log(&upid, 0, 0).is_err());
}

/// As on a full disk: neither the last line of the log nor the index can be written.
#[tokio::test]
async fn a_task_ends_though_nothing_can_be_written() {
    let dir = support::scratch().unwrap();
    let tasks = tasks(dir.path());
    let task = tasks.start(spec("prune"), Echo::None).unwrap();
    let upid = task.id().clone();
    let log = tasks.index.log_path(&upid);
    std::fs::remove_file(&log).unwrap();
    std::fs::write(&log, "half a li").unwrap();
    let lock = dir.path().join("log/tasks/.active.lock");
    std::fs::remove_file(&lock).unwrap();
    std::fs::create_dir(&lock).unwrap();
    // The writer has the file that was removed: nobody finds the line.
    task.end(TaskStatus::Ok);
    let running = TaskFilter {
        running: true,
        ..TaskFilter::default()
    };
    assert!(!tasks.is_running(&upid));
    assert_eq!(tasks.end(&upid).status, TaskStatus::Ok);
    assert!(tasks.list(&running).unwrap().entries.is_empty());
    tasks.record_missed_ends();
    assert_eq!(tasks.end(&upid).status, TaskStatus::Ok);

    std::fs::remove_dir(&lock).unwrap();
    tasks.record_missed_ends();
    let later = self::tasks(dir.path());
    assert_eq!(later.end(&upid).status, TaskStatus::Ok);
    let all = later.list(&TaskFilter::default()).unwrap().entries;
    assert_eq!(all[0].end.as_ref().unwrap().status, TaskStatus::Ok);
    let lines = later.log(&upid, 0, 0).unwrap();
    assert_eq!((lines.total, &*lines.lines[0].t), (2, "half a li"));
}

#[tokio::test]
async fn a_dropped_task_ends_with_an_error() {
    let dir = support::scratch().unwrap();
    let tasks = tasks(dir.path());
    let task = tasks.start(spec("prune"), Echo::None).unwrap();
    let upid = task.id().clone();
    assert!(tasks.is_running(&upid));
    drop(task);
    assert_eq!(
        tasks.end(&upid).status,
        failure("task ended without a result")
    );
}

#[tokio::test(start_paused = true)]
async fn progress_is_logged_now_and_then_and_at_the_end_of_a_phase() {
    use datastore::task::Progress;
    let dir = support::scratch().unwrap();
    let tasks = Tasks::new(&Paths::below(dir.path()), Env::seeded(1, 1_700_000_000));
    let task = tasks.start(spec("garbage_collection"), Echo::None).unwrap();
    for done in 1..=100 {
        task.progress(Progress::new("sweep", done, Some(100), "chunks"));
        tasks.env().sleep(Duration::from_millis(100)).await;
    }
    task.progress(Progress::new("delete", 0, None, "objects"));
    let upid = task.id().clone();
    task.end(TaskStatus::Ok);
    let lines = messages(&tasks, &upid);
    assert_eq!(
        lines,
        [
            "sweep: 1% (1 of 100 chunks)",
            "sweep: 51% (51 of 100 chunks)",
            "sweep: 100% (100 of 100 chunks)",
            "delete: 0 objects",
            "TASK OK"
        ]
    );
}

#[test]
fn an_id_that_would_not_fit_a_file_name_loses_its_end() {
    let parts = UpidParts {
        node: node_name(),
        pid: 1,
        pstart: 2,
        task_id: 3,
        starttime: 4,
        worker_type: "prune".to_owned(),
        worker_id: Some(format!("store:{}", "a-".repeat(200))),
        auth_id: Authid::root(),
    };
    let upid = shortened(parts).unwrap();
    assert!(upid.to_string().len() <= Upid::MAX_LEN);
    assert!(upid.worker_id().unwrap().starts_with("store:a-a-"));
}
