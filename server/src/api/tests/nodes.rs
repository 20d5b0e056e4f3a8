//! Tasks and the machine.

use std::time::Duration;

use api_types::access::Role;
use api_types::auth::Authid;
use datastore::task::{TaskContext as _, check_abort};
use hyper::Method;
use serde_json::{Value, json};

use super::world::{World, members, recorded};
use crate::task::TaskSpec;

const TASKS: &str = "/nodes/localhost/tasks";

/// Starts a task that logs lines and ends with `end`, or waits to be stopped.
async fn task(world: &World, ty: &str, id: &str, who: &str, end: Option<&'static str>) -> Value {
    let spec = TaskSpec::new(ty, Some(id.to_owned()), who.parse().unwrap());
    let env = world.server.env.clone();
    let upid = world.server.spawn_task(spec, |task| async move {
        for n in 1..=9 {
            task.log(&format!("line {n}"));
        }
        match end {
            Some("OK") => Ok(()),
            Some("WARNINGS: 1") => {
                task.warn("careful");
                Ok(())
            }
            Some(error) => anyhow::bail!(error),
            None => loop {
                check_abort(&*task)?;
                env.sleep(Duration::from_millis(20)).await;
            },
        }
    });
    let upid = Value::String(upid.unwrap().to_string());
    if let Some(end) = end {
        assert_eq!(world.end(&upid).await, end);
    }
    upid
}

fn encoded(upid: &Value) -> String {
    let text = upid.as_str().unwrap();
    let escapes = [(':', "%3A"), ('\\', "%5C"), ('@', "%40"), ('!', "%21")];
    escapes
        .iter()
        .fold(text.to_owned(), |text, (from, to)| text.replace(*from, to))
}

fn upids(list: &Value) -> Vec<Value> {
    list.as_array()
        .unwrap()
        .iter()
        .map(|item| item["upid"].clone())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_are_listed_as_asked() {
    let world = World::empty();
    let gc = task(
        &world,
        "garbage_collection",
        "store1",
        "test@pbs",
        Some("OK"),
    )
    .await;
    let prune = task(
        &world,
        "prune",
        "store1:",
        "test@pbs!tok1",
        Some("WARNINGS: 1"),
    )
    .await;
    let verify = task(&world, "verify", "store2", "root@pam", Some("no luck")).await;
    let running = task(&world, "verify", "store1", "root@pam", None).await;

    let all = world
        .call("root@pam", Method::GET, TASKS, "")
        .await
        .unwrap();
    assert_eq!(all["total"], 4);
    assert_eq!(upids(&all["data"])[0], running, "{all}");
    if let Some(real) = recorded("GET /nodes/localhost/tasks?limit=5") {
        assert_eq!(members(&all["data"][1]), members(&real[0]));
    }
    assert_eq!(all["data"][0]["node"], "localhost");
    assert_eq!(all["data"][0].get("endtime"), None);
    assert_eq!(all["data"][0].get("status"), None);
    assert_eq!(all["data"][2]["worker_id"], "store1:");
    let page = world
        .call("root@pam", Method::GET, TASKS, "limit=2&start=1")
        .await
        .unwrap();
    assert_eq!(
        (page["total"].clone(), upids(&page["data"]).len()),
        (json!(4), 2)
    );

    for (form, expected) in [
        ("running=1", vec![&running]),
        ("errors=1", vec![&running, &verify, &prune]),
        ("store=store1", vec![&running, &prune, &gc]),
        ("userfilter=test@pbs", vec![&prune, &gc]),
        ("typefilter=veri", vec![&running, &verify]),
        ("statusfilter=ok&statusfilter=error", vec![&verify, &gc]),
        ("since=9999999999", vec![]),
        ("until=1", vec![]),
        ("limit=0&errors=1&typefilter=prune", vec![&prune]),
    ] {
        let list = world.get(TASKS, form).await;
        let expected: Vec<Value> = expected.into_iter().cloned().collect();
        let mut found = upids(&list);
        found.sort_by_key(ToString::to_string);
        let mut wanted = expected;
        wanted.sort_by_key(ToString::to_string);
        assert_eq!(found, wanted, "{form}");
    }
    world
        .delete(&format!("{TASKS}/{}", encoded(&running)), "")
        .await;
    assert_eq!(world.end(&running).await, "abort requested - aborting task");
}

/// Clients that wait for a task ask for its log every second.
#[tokio::test(flavor = "multi_thread")]
async fn logs_do_not_wait_for_what_reads_snapshots() {
    let world = World::empty();
    let upid = task(&world, "verify", "store1", "root@pam", Some("OK")).await;
    let places = &world.server.places;
    let mut held = Vec::new();
    for address in [[10, 0, 0, 1], [10, 0, 0, 1], [10, 0, 0, 2], [10, 0, 0, 2]] {
        let listed = places.list(Some(address.into())).await.unwrap();
        held.push((listed, places.decode().await.unwrap()));
    }
    let path = format!("{TASKS}/{}/log", encoded(&upid));
    let log = world.call("root@pam", Method::GET, &path, "");
    let log = tokio::time::timeout(Duration::from_secs(20), log).await;
    assert!(log.expect("it waits").is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_shows_its_state_and_log() {
    let world = World::empty();
    let upid = task(
        &world,
        "verify",
        "store1:ns/a",
        "test@pbs!tok1",
        Some("no luck"),
    )
    .await;
    let at = format!("{TASKS}/{}", encoded(&upid));
    let status = world.get(&format!("{at}/status"), "").await;
    assert_eq!(
        (
            &status["status"],
            &status["exitstatus"],
            &status["type"],
            &status["id"]
        ),
        (
            &json!("stopped"),
            &json!("no luck"),
            &json!("verify"),
            &json!("store1:ns/a")
        )
    );
    assert_eq!(
        (&status["user"], &status["tokenid"]),
        (&json!("test@pbs"), &json!("tok1"))
    );
    assert!(status["endtime"].is_i64());

    let log = async |form: &str| -> Value {
        let path = format!("{at}/log");
        let answer = world
            .call("root@pam", Method::GET, &path, form)
            .await
            .unwrap();
        let text = answer["text"].as_str().unwrap();
        serde_json::from_str(text).unwrap_or_else(|_| text.into())
    };
    let page = log("start=3&limit=2&test-status=1").await;
    assert_eq!(members(&page), ["active", "data", "success", "total"]);
    assert_eq!(
        (&page["total"], &page["active"]),
        (&json!(10), &json!(false))
    );
    assert_eq!(page["success"], 1);
    let lines = page["data"].as_array().unwrap();
    assert_eq!((lines.len(), &lines[0]["n"]), (2, &json!(3)));
    let line = lines[0]["t"].as_str().unwrap();
    assert_eq!((&line[25..27], &line[27..]), (": ", "line 3"));
    let all = log("limit=0").await;
    assert_eq!(
        (all["data"].as_array().unwrap().len(), all.get("active")),
        (10, None)
    );
    assert_eq!(
        log("start=0&limit=1").await["data"],
        log("start=1&limit=1").await["data"]
    );
    let file = log("download=1").await;
    assert!(
        file.as_str().unwrap().ends_with(": TASK ERROR: no luck\n"),
        "{file}"
    );

    let both = format!("{at}/log");
    let form = "download=1&test-status=1";
    assert_eq!(
        world.refusal("root@pam", Method::GET, &both, form).await.0,
        400
    );
    let gone = "UPID%3Avm%3A00000001%3A00000002%3A00000003%3A6553F100%3Ax%3Ay%3Aroot%40pam%3A";
    for what in ["/log", "/status", ""] {
        let method = if what.is_empty() {
            Method::DELETE
        } else {
            Method::GET
        };
        let path = format!("{TASKS}/{gone}{what}");
        assert_eq!(
            world.refusal("root@pam", method, &path, "").await.0,
            400,
            "{what}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whose_tasks_one_sees_and_stops() {
    let world = World::empty();
    let of_root = task(&world, "verify", "store1", "root@pam", None).await;
    let of_token = task(&world, "reader", "store1:vm/100", "test@pbs!tok1", None).await;
    let job = task(
        &world,
        "garbage_collection",
        "store1",
        "root@pam",
        Some("OK"),
    )
    .await;
    let seen = async |who: &str| {
        let list = world.call(who, Method::GET, TASKS, "").await.unwrap();
        upids(&list["data"])
    };
    assert_eq!(seen("nothing@pbs").await, [Value::Null; 0]);
    assert_eq!(seen("test@pbs").await, std::slice::from_ref(&of_token));
    assert_eq!(seen("test@pbs!tok1").await, std::slice::from_ref(&of_token));
    world
        .grant("nothing@pbs", "/datastore/store1", Role::DatastoreAdmin)
        .await;
    assert_eq!(seen("nothing@pbs").await, [job]);
    world
        .grant("nothing@pbs", "/system/tasks", Role::Audit)
        .await;
    assert_eq!(seen("nothing@pbs").await.len(), 3);

    let at = format!("{TASKS}/{}", encoded(&of_root));
    for what in ["status", "log"] {
        let path = format!("{at}/{what}");
        let refusal = world.refusal("test@pbs", Method::GET, &path, "").await;
        let text = "missing permissions 'Sys.Audit' on '/system/tasks'";
        assert_eq!(refusal, (400, text.to_owned()));
        world
            .call("nothing@pbs", Method::GET, &path, "")
            .await
            .unwrap();
    }
    let token_at = format!("{TASKS}/{}", encoded(&of_token));
    for (who, path) in [("nothing@pbs", &at), ("test@pbs", &token_at)] {
        let refusal = world.refusal(who, Method::DELETE, path, "").await;
        let text = "missing permissions 'Sys.Modify' on '/system/tasks'";
        assert_eq!(refusal, (400, text.to_owned()), "{who}");
    }
    world
        .call("test@pbs!tok1", Method::DELETE, &token_at, "")
        .await
        .unwrap();
    world.end(&of_token).await;
    // A task that has ended can be stopped, too.
    world
        .call("test@pbs!tok1", Method::DELETE, &token_at, "")
        .await
        .unwrap();
    world.delete(&at, "").await;
    world.end(&of_root).await;
}

#[tokio::test]
async fn the_node_tells_about_itself() {
    let world = World::empty();
    let nodes = world.get("/nodes", "").await;
    assert_eq!(nodes, json!([{ "node": crate::task::node_name() }]));
    let identity = world.get("/nodes/anything/identity", "").await;
    let id = identity["pbs-instance-id"].as_str().unwrap();
    assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()));
    assert_eq!(world.get("/nodes/localhost/identity", "").await, identity);

    let status = world.get("/nodes/localhost/status", "").await;
    assert_eq!(
        members(&status),
        [
            "boot-info",
            "cpu",
            "cpuinfo",
            "current-kernel",
            "info",
            "kversion",
            "loadavg",
            "memory",
            "root",
            "swap",
            "uptime",
            "wait"
        ]
    );
    let fingerprint = status["info"]["fingerprint"].as_str().unwrap();
    assert_eq!(fingerprint.len(), 95);
    let certificates = world.get("/nodes/localhost/certificates/info", "").await;
    assert_eq!(certificates[0]["fingerprint"], fingerprint);
    let pem = certificates[0]["pem"].as_str().unwrap();
    assert!(pem.starts_with("-----BEGIN CERTIFICATE-----"), "{pem}");
    let now = world.server.env.unix_secs();
    assert!(
        certificates[0]["notafter"].as_i64() > Some(now),
        "{certificates}"
    );

    let time = world.get("/nodes/localhost/time", "").await;
    assert!(time["time"].as_i64().unwrap().abs_diff(now) < 5);
    let subscription = world.get("/nodes/localhost/subscription", "").await;
    assert_eq!(subscription["status"], "notfound");
    for member in ["message", "url", "serverid"] {
        assert!(subscription[member].is_string(), "{subscription}");
    }
    let other: Authid = "nothing@pbs".parse().unwrap();
    for path in ["status", "certificates/info"] {
        let path = format!("/nodes/localhost/{path}");
        let refusal = world
            .refusal(&other.to_string(), Method::GET, &path, "")
            .await;
        assert_eq!(refusal, (403, "permission check failed".to_owned()));
    }
}

#[tokio::test]
async fn tasks_of_jobs_are_seen_by_who_could_run_them() {
    let world = World::empty();
    let dir = world.server.paths.log.join("tasks");
    std::fs::create_dir_all(&dir).unwrap();
    let workers = [
        "syncjob:rem1\\x3athere\\x3astore1\\x3aa\\x3ajob1",
        "syncjob:\\x2d\\x3astore2\\x3astore1\\x3a\\x3ajob2",
        "verificationjob:store1\\x3ajob3",
        "garbage_collection:store1",
        "backup:store1\\x3avm-100",
    ];
    let tasks = workers.iter().enumerate().map(|(number, worker)| {
        format!("UPID:vm:00000001:00000002:{number:08X}:6B02A4FC:{worker}:root@pam: 6B02A9D3 OK\n")
    });
    std::fs::write(dir.join("archive"), tasks.collect::<String>()).unwrap();
    let who = "nothing@pbs";
    let seen = async || {
        let tasks = world.call(who, Method::GET, "/nodes/localhost/tasks", "");
        let tasks = tasks.await.unwrap();
        let types = tasks["data"].as_array().unwrap().iter();
        let names = types.map(|task| {
            let id = task["worker_id"].as_str().unwrap();
            id.rsplit(':').next().unwrap().to_owned()
        });
        names.rev().collect::<Vec<_>>()
    };
    assert_eq!(seen().await, [""; 0]);
    world
        .grant(who, "/datastore/store1/a", Role::DatastoreBackup)
        .await;
    assert_eq!(seen().await, [""; 0]);
    world
        .grant(who, "/remote/rem1/there", Role::RemoteSyncOperator)
        .await;
    assert_eq!(seen().await, ["job1"]);
    for store in ["store1", "store2"] {
        let path = format!("/datastore/{store}");
        world.grant(who, &path, Role::DatastoreBackup).await;
    }
    assert_eq!(seen().await, ["job1", "job2"]);
    world
        .grant(who, "/datastore/store1", Role::DatastoreAdmin)
        .await;
    assert_eq!(seen().await, ["job1", "job2", "job3", "store1"]);
}
