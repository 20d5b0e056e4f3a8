//! Figures over time.

use api_types::access::Role;
use hyper::Method;
use serde_json::{Value, json};

use super::world::{World, members};

#[tokio::test(flavor = "multi_thread")]
async fn figures_are_taken_and_shown() {
    let world = World::empty();
    world.configure(&["store1"]);
    std::fs::create_dir(world.path().join("store1")).unwrap();
    let at = "/nodes/localhost/rrd";
    assert_eq!(world.get(at, "timeframe=hour&cf=AVERAGE").await, json!([]));
    assert_eq!(
        world.get("/status/metrics", "").await,
        json!({ "data": [] })
    );
    for _ in 0..2 {
        world.server.metrics.sample(&world.server).await;
    }

    for (timeframe, step, count) in [
        ("hour", 60, 60),
        ("day", 60, 1440),
        ("week", 1800, 336),
        ("month", 1800, 1440),
        ("year", 21_600, 1440),
        ("decade", 604_800, 522),
    ] {
        let form = format!("timeframe={timeframe}&cf=MAX");
        let points = world.get(at, &form).await;
        let points = points.as_array().unwrap();
        assert_eq!(points.len(), count, "{timeframe}");
        let time = |index: usize| points[index]["time"].as_i64().unwrap();
        assert_eq!(time(1) - time(0), step, "{timeframe}");
        assert_eq!(members(&points[0]), ["time"]);
        let last = points.last().unwrap();
        assert!(last["memtotal"].as_f64().unwrap() > 0.0, "{last}");
        assert!(last["netin"].as_f64().is_some(), "{last}");
    }
    let form = "timeframe=hour&cf=AVERAGE";
    let points = world.get("/admin/datastore/store1/rrd", form).await;
    let last = points.as_array().unwrap().last().unwrap().clone();
    assert!(last["available"].as_f64().unwrap() > 0.0, "{last}");
    assert_eq!(last.get("s3/uploaded"), None);

    for (path, form) in [
        (at, "timeframe=minute&cf=MAX"),
        (at, "timeframe=hour&cf=MIN"),
        (at, "timeframe=hour"),
        ("/admin/datastore/none/rrd", "timeframe=hour&cf=MAX"),
    ] {
        let (status, _) = world.refusal("root@pam", Method::GET, path, form).await;
        assert_eq!(status, 400, "{path} {form}");
    }
    for path in [at, "/admin/datastore/store1/rrd"] {
        let (status, _) = world.refusal("test@pbs", Method::GET, path, form).await;
        assert_eq!(status, 403, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_latest_figures_are_those_that_the_caller_may_see() {
    let world = World::empty();
    world.configure(&["store1", "store2"]);
    for name in ["store1", "store2"] {
        std::fs::create_dir(world.path().join(name)).unwrap();
        world.server.metrics.sample(&world.server).await;
    }
    let ids = |answer: &Value| {
        let points = answer["data"].as_array().unwrap();
        let mut ids: Vec<String> = points
            .iter()
            .map(|point| point["id"].as_str().unwrap().to_owned())
            .collect();
        ids.sort();
        ids.dedup();
        ids
    };
    let newest = world.get("/status/metrics", "").await;
    assert_eq!(
        ids(&newest),
        ["datastore/store1", "datastore/store2", "host"]
    );
    let point = &newest["data"][0];
    assert_eq!(
        members(point),
        ["id", "metric", "timestamp", "type", "value"]
    );
    let all = world.get("/status/metrics", "history=1").await;
    let count = |answer: &Value| answer["data"].as_array().unwrap().len();
    assert!(count(&all) > count(&newest));
    let later = format!("history=1&start-time={}", i64::MAX);
    assert_eq!(count(&world.get("/status/metrics", &later).await), 0);

    world
        .grant("test@pbs", "/datastore/store1", Role::DatastoreAudit)
        .await;
    let seen = world
        .call("test@pbs", Method::GET, "/status/metrics", "")
        .await;
    assert_eq!(ids(&seen.unwrap()["data"]), ["datastore/store1"]);
    let nothing = world
        .call("nothing@pbs", Method::GET, "/status/metrics", "")
        .await;
    assert_eq!(count(&nothing.unwrap()["data"]), 0);
}
