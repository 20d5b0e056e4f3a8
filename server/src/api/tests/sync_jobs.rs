//! Sync jobs between datastores of this server: who may have what copied, and jobs without theirs.

use api_types::access::Role;
use hyper::Method;

use super::world::World;

const SYNC: &str = "/config/sync";
const RUN: &str = "/admin/sync/job1/run";

/// Two datastores, and a user who may do everything with the first of them.
async fn world() -> World {
    let world = World::empty();
    world.configure(&["aaa", "bbb"]);
    let admin = Role::DatastoreAdmin;
    world.grant("test@pbs", "/datastore/aaa", admin).await;
    world.grant("test@pbs!tok1", "/datastore", admin).await;
    world
}

impl World {
    /// Why somebody may not do that; nothing if they may.
    async fn denied(&self, who: &str, method: Method, path: &str, form: &str) -> Option<String> {
        let called = self.call(who, method, path, form).await;
        let text = called.err()?.message;
        text.strip_prefix("missing permissions ").map(str::to_owned)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_reads_no_more_than_its_maker_may() {
    let world = world().await;
    // `form` is what is asked for, in the words of the new job.
    let denied = async |who: &str, more: &str| {
        let form = format!("id=job1&store=aaa&remote-store=bbb{more}");
        let denied = world.denied(who, Method::POST, SYNC, &form).await;
        if denied.is_none() {
            world.delete(&format!("{SYNC}/job1"), "").await;
        }
        denied
    };
    let read = |path: &str| Some(format!("'Datastore.Read' on '/datastore/{path}'"));
    let some = |path: &str| {
        let any = "Datastore.Read|Datastore.Backup";
        Some(format!("'{any}' on '/datastore/{path}'"))
    };
    let mine = "&owner=test@pbs";
    assert_eq!(denied("test@pbs", "").await, read("bbb"));
    assert_eq!(denied("test@pbs", mine).await, some("bbb"));
    assert_eq!(denied("root@pam", "").await, None);

    // Of a namespace alone.
    let grant = async |path: &str, role| world.grant("test@pbs", path, role).await;
    grant("/datastore/bbb/a", Role::DatastoreBackup).await;
    let mine_of_a = "&owner=test@pbs&remote-ns=a";
    assert_eq!(denied("test@pbs", mine).await, some("bbb"));
    assert_eq!(denied("test@pbs", mine_of_a).await, None);
    assert_eq!(denied("test@pbs", "&remote-ns=a/x").await, read("bbb/a/x"));
    // A token may do so as itself, not as its user, whose groups it may not read.
    let tokens = "&owner=test@pbs!tok1&remote-ns=a";
    assert_eq!(denied("test@pbs!tok1", tokens).await, None);
    assert_eq!(denied("test@pbs", tokens).await, None);
    assert_eq!(denied("test@pbs!tok1", mine_of_a).await, read("bbb/a"));

    // Whoever reads everything may have it copied by anybody, but for what they may not read.
    grant("/datastore/bbb", Role::DatastoreReader).await;
    assert_eq!(denied("test@pbs", "").await, read("bbb/a"));
    assert_eq!(denied("test@pbs", "&max-depth=0").await, None);
    assert_eq!(denied("test@pbs", "&remote-ns=b").await, None);
    assert_eq!(denied("test@pbs", mine).await, None);
    grant("/datastore/bbb/a", Role::DatastoreReader).await;
    assert_eq!(denied("test@pbs", "").await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn nor_does_one_that_was_made_by_another_or_is_changed() {
    let world = world().await;
    world.post(SYNC, "id=job1&store=aaa&remote-store=bbb").await;
    let item = format!("{SYNC}/job1");
    let denied = async |method: Method, path: &str, form: &str| {
        world.denied("test@pbs", method, path, form).await
    };
    let read = Some("'Datastore.Read' on '/datastore/bbb'".to_owned());
    assert_eq!(denied(Method::POST, RUN, "").await, read);
    assert_eq!(denied(Method::PUT, &item, "comment=x").await, read);
    assert_eq!(denied(Method::DELETE, &item, "").await, read);

    // Their own is not turned into one that reads more.
    world.configure(&["aaa", "bbb", "ccc"]);
    world
        .grant("test@pbs", "/datastore/ccc", Role::DatastoreReader)
        .await;
    world.delete(&item, "").await;
    let form = "id=job1&store=aaa&remote-store=ccc";
    assert_eq!(denied(Method::POST, SYNC, form).await, None);
    assert_eq!(denied(Method::PUT, &item, "remote-store=bbb").await, read);
    assert_eq!(denied(Method::PUT, &item, "comment=x").await, None);
    // It comes as far as the datastore, which is only configured.
    let (status, text) = world.refusal("test@pbs", Method::POST, RUN, "").await;
    assert_eq!(status, 400);
    assert!(text.contains("unable to open datastore 'aaa'"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_without_its_datastore_or_remote_can_go_or_be_given_another() {
    let world = world().await;
    let remote = "name=far&host=pbs.example.org&auth-id=sync@pbs&password=geheim";
    world.post("/config/remote", remote).await;
    let jobs = [
        "id=job1&store=aaa&remote-store=bbb",
        "id=job2&store=aaa&remote-store=bbb&remote=far",
        "id=job3&store=bbb&remote-store=aaa",
    ];
    for job in jobs {
        world.post(SYNC, job).await;
    }
    world.configure(&["aaa", "ccc"]);
    // As an older version left it.
    std::fs::remove_file(world.server.paths.config.join("remote.cfg")).unwrap();
    let (store, remote) = ("no such datastore 'bbb'", "no such remote 'far'");
    let root = "root@pam";
    for (id, missing) in [("job1", store), ("job2", remote), ("job3", store)] {
        let run = format!("/admin/sync/{id}/run");
        let item = format!("{SYNC}/{id}");
        for (method, path, form) in [(Method::POST, &run, ""), (Method::PUT, &item, "comment=x")] {
            let refusal = world.refusal(root, method, path, form).await;
            assert_eq!(refusal, (400, missing.to_owned()), "{path}");
        }
    }
    world.put(&format!("{SYNC}/job1"), "remote-store=ccc").await;
    world
        .put(&format!("{SYNC}/job2"), "delete=remote&remote-store=ccc")
        .await;
    for id in ["job1", "job2", "job3"] {
        world.delete(&format!("{SYNC}/{id}"), "").await;
    }
}
