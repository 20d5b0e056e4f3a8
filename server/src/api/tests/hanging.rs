//! Datastores on disks that do not answer, or are not there, beside others.

use std::sync::Arc;
use std::time::Duration;

use api_types::status::TaskStatus;
use hyper::Method;
use serde_json::{Value, json};

use super::world::World;
use crate::datastores::keeper::Keeper;
use crate::jobs::scheduler::tick;
use crate::jobs::state::{JobStates, JobType};
use crate::metrics::sample::Sample;
use crate::monitor;
use crate::testing::Hanging;

/// The datastores `aaa`, and `bbb` whose disk hangs. Garbage is to be collected in both.
fn world() -> (World, Hanging) {
    let world = World::empty();
    world.configure(&["aaa", "bbb"]);
    let file = world.server.paths.config.join("datastore.cfg");
    let text = std::fs::read_to_string(&file).unwrap();
    let scheduled = text.replace("\tpath", "\tgc-schedule minutely\n\tpath");
    std::fs::write(&file, scheduled).unwrap();
    for name in ["aaa", "bbb"] {
        std::fs::create_dir_all(world.path().join(name).join(".chunks")).unwrap();
        let upid = "UPID:vm:00000001:00000002:00000003:6B02A4FC:garbage_collection:x:root@pam:";
        let states = JobStates::of(&world.server);
        let lock = states.try_lock(JobType::GarbageCollection, name).unwrap();
        let lock = lock.unwrap();
        lock.finished(&upid.parse().unwrap(), TaskStatus::Ok)
            .unwrap();
    }
    let state = world.path().join("bbb/.x-coffer");
    std::fs::create_dir(&state).unwrap();
    let hanging = Hanging::at(state.join("generation"));
    (world, hanging)
}

fn of<'a>(list: &'a Value, store: &str) -> &'a Value {
    let mut items = list.as_array().unwrap().iter();
    items.find(|item| item["store"] == store).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_hangs_holds_up_nothing_else() {
    let (world, hanging) = world();
    let server = &world.server;
    let everything = async {
        let usage = world.get("/status/datastore-usage", "").await;
        assert!(of(&usage, "aaa")["total"].is_i64(), "{usage}");
        let error = of(&usage, "bbb")["error"].as_str().unwrap();
        assert!(
            error.contains("datastore 'bbb' has not answered"),
            "{error}"
        );

        let figures = monitor::metrics(server).await.unwrap();
        for up in [r#"up{datastore="aaa"} 1"#, r#"up{datastore="bbb"} 0"#] {
            assert!(figures.contains(up), "{figures}");
        }
        let collections = world.get("/admin/gc", "").await;
        assert_eq!(collections.as_array().unwrap().len(), 1);
        let (sample, _) = Sample::take(server, None).await;
        let seen = sample.objects.iter().filter_map(|of| of.datastore.as_ref());
        assert!(seen.eq([&"aaa".parse().unwrap()]));
        let mut keeper = Keeper::new(Arc::clone(&server.stores));
        keeper.look().await;
        keeper.end().await;
        // The clock.
        let started = tick(server).await;
        let ids: Vec<_> = started.iter().map(|upid| upid.worker_id()).collect();
        assert_eq!(ids, [Some("aaa")]);
        assert_eq!(world.end(&json!(started[0])).await, "OK");
        let (status, text) = world
            .refusal("root@pam", Method::POST, "/admin/datastore/bbb/gc", "")
            .await;
        assert_eq!(status, 400, "{text}");
    };
    // Once it is waited for.
    let limit = crate::datastores::patience::LIMIT + Duration::from_secs(9);
    let all = tokio::time::timeout(limit, everything).await;
    drop(hanging);
    all.unwrap();

    let path = "/admin/datastore/bbb/status";
    for _ in 0..600 {
        if world.call("root@pam", Method::GET, path, "").await.is_ok() {
            return;
        }
        server.env.sleep(Duration::from_millis(50)).await;
    }
    panic!("it is not seen that the disk answers again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_is_not_there_is_said_to_be() {
    let world = World::empty();
    world.configure(&["aaa"]);
    let file = world.server.paths.config.join("datastore.cfg");
    let text = std::fs::read_to_string(&file).unwrap();
    let away = "datastore: away\n\tpath backup\n\tbacking-device 0a0b0c0d-no-such-device\n";
    std::fs::write(&file, format!("{text}\n{away}")).unwrap();
    let not_mounted = (400, "datastore 'away' is not mounted".to_owned());
    for (method, call) in [
        (Method::GET, "status"),
        (Method::GET, "snapshots"),
        (Method::POST, "gc"),
        (Method::POST, "verify"),
    ] {
        let path = format!("/admin/datastore/away/{call}");
        let refusal = world.refusal("root@pam", method, &path, "").await;
        assert_eq!(refusal, not_mounted, "{call}");
    }
    for path in ["/admin/datastore", "/status/datastore-usage"] {
        let list = world.get(path, "").await;
        assert_eq!(of(&list, "away")["mount-status"], "notmounted", "{path}");
        assert_eq!(of(&list, "aaa")["mount-status"], "nonremovable", "{path}");
    }
}
