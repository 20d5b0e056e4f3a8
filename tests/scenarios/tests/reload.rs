//! A configuration change while backups run (`gc.md` §9, T10).

use std::sync::Arc;

use anyhow::Result;
use api_types::datastore::DatastoreTuning;
use datastore::store::{BackendOptions, StoreOptions, Stores};
use scenarios::facts::{check_report, keys_of};
use scenarios::{AFTER_GRACE, Server, World, chunks, finish, insert, no_grace};
use tokio_util::sync::CancellationToken;

async fn server(stores: &Stores, options: StoreOptions) -> Result<Server> {
    Ok(Server {
        store: stores.open(options).await?,
        cancel: CancellationToken::new(),
    })
}

/// T10: a session works through a handle from before a configuration change, the collection
/// through one from after it (H1, H3). What the session is told stays; what the collection deletes
/// the session does not believe present.
#[tokio::test(start_paused = true)]
async fn t10_handles_from_before_and_after_a_reload_share_what_they_know() -> Result<()> {
    let (world, creator) = World::new().await?;
    drop(creator);
    let stores = Stores::default();
    let before = server(&stores, world.options("cache")?).await?;
    let live = before.backup("live", 0, &chunks("live", 2)).await?;
    let old = before.backup("old", 0, &chunks("old", 4)).await?;
    before.forget(&old).await?;
    check_report(&before.gc().await?, 0)?;
    world.pass(AFTER_GRACE).await;
    let session = before.session("new", 3600).await?;
    // The session has the digest in hand, as upstream's cache in memory has it.
    assert!(insert(&session, &old.chunks[0]).await?.duplicate);

    let tuning = DatastoreTuning {
        gc_atime_cutoff: Some(0),
        ..DatastoreTuning::default()
    };
    let options = StoreOptions {
        tuning: tuning.clone(),
        ..world.options("cache")?
    };
    let after = server(&stores, options).await?;
    assert!(Arc::ptr_eq(&before.store, &after.store));
    assert_eq!(after.store.tuning(), tuning);
    drop(before);

    let mark = world.mock.journal_mark();
    let gate = world.gate_listing();
    let gc = world.collect_until(&after, no_grace(), &gate).await?;
    assert!(insert(&session, &old.chunks[1]).await?.duplicate);
    gate.release();
    check_report(&gc.end().await?, 2)?;
    assert_eq!(world.deleted_chunks(mark), keys_of(&old.chunks[2..]));
    assert!(insert(&session, &old.chunks[0]).await?.duplicate);
    assert!(!insert(&session, &old.chunks[2]).await?.duplicate, "H3");

    // While the session lives, the datastore can be neither opened twice nor exchanged.
    let elsewhere = StoreOptions {
        backend: BackendOptions::Filesystem,
        ..world.options("cache")?
    };
    assert!(stores.open(elsewhere).await.is_err());
    drop(after);
    let again = server(&stores, world.options("cache")?).await?;
    check_report(&again.gc_now().await?, 0)?;
    let new = finish(session, &old.chunks[..3]).await?;
    check_report(&again.gc_now().await?, 0)?;
    world.check_objects(&[&live.chunks[..], &new.chunks].concat())?;
    world.check_safe(&again, &[&live, &new]).await?;
    again.check_settled()?;

    // Nobody uses it any more: the next one is another object, which reads the disk.
    drop(again);
    let fresh = server(&stores, world.options("cache")?).await?;
    check_report(&fresh.gc_now().await?, 0)?;
    world.check_safe(&fresh, &[&live, &new]).await
}
