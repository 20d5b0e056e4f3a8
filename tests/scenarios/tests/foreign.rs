//! What is not ours to delete: unknown names, other datastores (`gc.md` §9, T41, T67).

use anyhow::Result;
use datastore::store::create::CreateOptions;
use s3_mock::Op;
use scenarios::facts::check_report;
use scenarios::{AFTER_GRACE, BUCKET, START, STORE, World, chunk, chunk_key, chunks, no_grace};

/// T41: keys below `.chunks/` that are no chunk's.
#[tokio::test(start_paused = true)]
async fn t41_foreign_keys_are_counted_and_left_alone() -> Result<()> {
    let (world, server) = World::new().await?;
    let dead = server.backup("dead", 0, &chunks("dead", 3)).await?;
    let live = server.backup("live", 0, &chunks("live", 3)).await?;
    server.forget(&dead).await?;
    let hex = chunk("nobody's").digest.to_hex();
    let short = &hex[..4];
    let referenced = chunk_key(&live.chunks[0].digest);
    let foreign = [
        "README".to_owned(),
        hex.clone(),
        format!("{short}/"),
        format!("{short}/{}", &hex[..63]),
        format!("{short}/{hex}0"),
        format!("{short}/{}", hex.to_uppercase()),
        format!("{}/{hex}", short.to_uppercase()),
        format!("0000/{hex}"),
        format!("{short}/{hex}.using"),
        format!("{short}/{hex}.bad"),
        format!("{short}/{hex}.0.bad.old"),
        format!("{short}/{hex}.10.bad"),
        format!("{short}/sub/{hex}"),
        format!("{short}/{hex}/{hex}"),
    ]
    .map(|name| format!("{STORE}/.chunks/{name}"));
    let beside = [
        format!("{STORE}/notes-of-somebody"),
        format!("{STORE}/.cnt/host/live/not-a-time/file"),
        format!("{STORE}x/.chunks/{short}/{hex}"),
        format!("{short}/{hex}"),
    ];
    let bad = [
        format!("{STORE}/.chunks/{short}/{hex}.0.bad"),
        format!("{referenced}.3.bad"),
    ];
    for key in foreign.iter().chain(&beside).chain(&bad) {
        world.mock.put_at(BUCKET, key, "x", START * 1000);
    }
    world.pass(AFTER_GRACE).await;
    let mark = world.mock.journal_mark();
    let report = server.gc().await?;
    check_report(&report, 3)?;
    assert_eq!(report.listing.unknown, 14);
    assert_eq!(report.listing.listed, 3 + 3 + 14 + 2);
    assert_eq!((report.listing.bad, report.kept_bad.count), (2, 2));
    assert_eq!(report.removed_bad.count, 0);
    for key in foreign.iter().chain(&beside).chain(&bad) {
        assert!(world.mock.get(BUCKET, key).is_some(), "{key} is gone");
    }
    // Neither is asked to be deleted, even where nothing would have come of it.
    let asked = world.mock.journal().since(mark);
    for keys in asked.requests_of(Op::DeleteObjects) {
        assert!(
            keys.iter()
                .all(|key| dead.chunks.iter().any(|c| *key == chunk_key(&c.digest)))
        );
    }
    assert!(asked.requests_of(Op::DeleteObject).is_empty());
    world.check_safe(&server, &[&live]).await?;
    server.check_settled()?;

    // Evidence of corruption goes after its time, and only that.
    world
        .pass(std::time::Duration::from_secs(31 * 24 * 3600))
        .await;
    let report = server.gc().await?;
    assert_eq!(report.removed_bad.count, 2);
    assert!(bad.iter().all(|key| world.mock.get(BUCKET, key).is_none()));
    for key in foreign.iter().chain(&beside) {
        assert!(world.mock.get(BUCKET, key).is_some(), "{key} is gone");
    }
    world.check_safe(&server, &[&live]).await
}

/// T67: two datastores in a bucket, the name of one being the beginning of the other's.
#[tokio::test(start_paused = true)]
async fn t67_a_datastore_does_not_touch_one_with_a_longer_name() -> Result<()> {
    let world = World::empty(1).await?;
    let short = world
        .create_of("aaa", "short", CreateOptions::default())
        .await?;
    let long = world
        .create_of("aaa1", "long", CreateOptions::default())
        .await?;
    // The same garbage in both; in the longer one something live as well.
    let data = chunks("data", 4);
    for server in [&short, &long] {
        let dead = server.backup("dead", 0, &data).await?;
        server.forget(&dead).await?;
    }
    let live = long.backup("dead", 20, &data[..2]).await?;
    let twin = short.backup("dead1", 0, &data[3..]).await?;
    world.pass(AFTER_GRACE).await;
    let before = world.mock.keys(BUCKET, "aaa1/");
    let mark = world.mock.journal_mark();
    check_report(&short.gc_with(no_grace()).await.0?, 3)?;
    assert_eq!(world.mock.keys(BUCKET, "aaa1/"), before);
    let journal = world.mock.journal().since(mark);
    for event in journal.requests() {
        let s3_mock::What::Arrived { keys } = &event.what else {
            continue;
        };
        assert!(keys.iter().all(|key| !key.starts_with("aaa1")), "{event:?}");
        if event.op == Op::ListObjects {
            assert!(keys[0].starts_with("aaa/"), "{event:?}");
        }
    }
    assert_eq!(world.mock.keys(BUCKET, "aaa/.chunks/").len(), 1);
    short.restore(&twin).await?;
    long.restore(&live).await?;

    let before = world.mock.keys(BUCKET, "aaa/");
    check_report(&long.gc_with(no_grace()).await.0?, 2)?;
    assert_eq!(world.mock.keys(BUCKET, "aaa/"), before);
    // The removal of a group goes by a prefix as well.
    short.forget(&twin).await?;
    assert_eq!(short.gc_now().await?.deleted.count, 1);
    assert_eq!(world.mock.keys(BUCKET, "aaa1/.chunks/").len(), 2);
    long.restore(&live).await?;
    short.check_settled()?;
    long.check_settled()
}
