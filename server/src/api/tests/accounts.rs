//! Users and tokens.

use hyper::Method;
use serde_json::json;

use super::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_comment_is_none() {
    let world = World::empty();
    for (item, id) in [
        ("/access/users/test@pbs", "userid"),
        ("/access/users/test@pbs/token/tok1", "tokenid"),
    ] {
        world.put(item, "comment=one").await;
        assert_eq!(world.get(item, "").await["comment"], "one");
        world.put(item, "comment=&expire=9").await;
        let shown = world.get(item, "").await;
        assert_eq!((shown.get("comment"), &shown["expire"]), (None, &json!(9)));
        assert!(shown.get(id).is_some(), "{shown}");
    }
    let new = "/access/users/test@pbs/token/new";
    world.post(new, "comment=").await;
    assert_eq!(world.get(new, "").await.get("comment"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn there_are_no_tape_drives() {
    let world = World::empty();
    let drives = world.call("nothing@pbs", Method::GET, "/tape/drive", "");
    assert_eq!(drives.await.unwrap()["data"], json!([]));
}
