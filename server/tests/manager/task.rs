//! `task ...` on tasks that other processes left or still run.

use std::time::Duration;

use server::paths::Paths;
use server::task::{Echo, Signals, TaskSpec, Tasks};

use api_types::auth::Authid;
use datastore::task::TaskContext;
use s3_client::env::Env;

use crate::support::Installation;

fn tasks(installation: &Installation) -> Tasks {
    Tasks::new(&Paths::below(installation.path()), Env::system())
}

fn spec() -> TaskSpec {
    TaskSpec::new("verify", Some("s1".to_owned()), Authid::root())
}

#[tokio::test]
async fn ended_tasks_are_listed_and_their_logs_printed() {
    let installation = Installation::new();
    let outcome = tasks(&installation)
        .run(spec(), Echo::None, Signals::Ignore, |task| async move {
            task.log("one");
            task.warn("two");
            Ok(())
        })
        .await
        .unwrap();
    let upid = outcome.upid.to_string();

    assert_eq!(installation.json(&["task", "list"]), serde_json::json!([]));
    let listed = installation.json(&["task", "list", "--all"]);
    let item = &listed[0];
    assert_eq!(item["upid"], upid.as_str());
    assert_eq!(item["status"], "WARNINGS: 1");
    assert_eq!(item["worker_type"], "verify");
    assert_eq!(item["worker_id"], "s1");
    assert_eq!(item["node"], "localhost");
    assert_eq!(item["user"], "root@pam");
    assert!(item["endtime"].is_i64() && item["pid"].is_u64());
    assert!(
        installation
            .ok(&["task", "list", "--errors"])
            .stdout
            .contains(&upid)
    );
    assert!(
        !installation
            .ok(&["task", "list", "--statusfilter", "ok"])
            .stdout
            .contains(&upid)
    );

    let log = installation.ok(&["task", "log", &upid]).stdout;
    let messages: Vec<&str> = log.lines().map(|line| &line[27..]).collect();
    assert_eq!(messages, ["one", "two", "TASK WARNINGS: 1"]);
    let lines = installation.json(&["task", "log", &upid, "--start", "3"]);
    assert_eq!(lines[0]["n"], 3);
    assert_eq!(lines.as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn the_log_of_a_failed_task_fails() {
    let installation = Installation::new();
    let outcome = tasks(&installation)
        .run::<(), _, _>(spec(), Echo::None, Signals::Ignore, |_| async move {
            anyhow::bail!("disk full")
        })
        .await
        .unwrap();
    let ran = installation.run(&["task", "log", &outcome.upid.to_string()]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.stdout.ends_with(": TASK ERROR: disk full\n"));
    assert_eq!(ran.stderr, "error: task failed: disk full\n");
}

#[tokio::test]
async fn a_task_of_another_process_is_followed_and_stopped() {
    let installation = Installation::new();
    let tasks = tasks(&installation);
    let env = Env::system();
    let (started, upid) = tokio::sync::oneshot::channel();
    let running = tokio::spawn({
        let tasks = tasks.clone();
        async move {
            let work = |task: std::sync::Arc<server::task::WorkerTask>| async move {
                task.log("waiting");
                let _ = started.send(task.id().to_string());
                task.cancel().cancelled().await;
                anyhow::bail!(datastore::task::Aborted)
            };
            tasks
                .run::<(), _, _>(spec(), Echo::None, Signals::Ignore, work)
                .await
                .unwrap()
        }
    });
    let upid = upid.await.unwrap();
    let listed = installation.json(&["task", "list"]);
    assert_eq!(listed[0]["upid"], upid.as_str());
    assert!(listed[0].get("status").is_none());
    let shown = installation
        .ok(&["task", "log", "--no-follow", &upid])
        .stdout;
    assert!(shown.ends_with(": waiting\n"), "{shown}");

    let follower = tokio::task::spawn_blocking({
        let mut command = installation.command(&["task", "log", &upid]);
        move || command.output().unwrap()
    });
    let asked = env.now();
    installation.ok(&["task", "stop", &upid]);
    running.await.unwrap();
    assert!(env.now().duration_since(asked) < Duration::from_secs(2));

    let followed = follower.await.unwrap();
    let text = String::from_utf8(followed.stdout).unwrap();
    assert!(text.contains(": received abort request ...\n"), "{text}");
    assert!(
        text.ends_with(": TASK ERROR: abort requested - aborting task\n"),
        "{text}"
    );
    assert_eq!(followed.status.code(), Some(1));
}

#[test]
fn unknown_tasks_and_bad_ids_are_refused() {
    let installation = Installation::new();
    let upid = "UPID:vm:00000001:00000002:00000003:6B02A4FC:prune:s1:root@pam:";
    assert!(
        installation
            .fails(&["task", "stop", upid])
            .contains("no such task")
    );
    assert!(
        installation
            .fails(&["task", "log", upid])
            .contains("failed to read the log")
    );
    let traversal = "UPID:../../x:00000001:00000002:00000003:6B02A4FC:prune:s1:root@pam:";
    assert_eq!(installation.run(&["task", "log", traversal]).code, Some(2));
}
