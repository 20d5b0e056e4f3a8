//! What a daemon keeps open is seen to whether anybody uses it or not (`s3-backend.md` §7, §17.1),
//! and gives way to a changed configuration.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use datastore::store::{BackendOptions, Keep, StoreOptions, Stores};
use scenarios::{AFTER_QUARANTINE, Server, World, chunks, insert, write_index};
use tokio_util::sync::CancellationToken;

const ROUNDS: Duration = Duration::from_secs(130);

async fn keep(stores: &Stores, options: &StoreOptions) -> Result<()> {
    let wanted = Keep::Tended(Box::new(options.clone()));
    stores
        .keep(&options.name, || Ok::<_, anyhow::Error>(wanted))
        .await
}

async fn open(stores: &Stores, options: &StoreOptions) -> Result<Server> {
    Ok(Server {
        store: stores.open(options.clone()).await?,
        cancel: CancellationToken::new(),
    })
}

async fn small_cache(world: &World) -> Result<StoreOptions> {
    let mut options = world.options("cache")?;
    if let BackendOptions::S3 {
        max_cache_bytes, ..
    } = &mut options.backend
    {
        *max_cache_bytes = Some(1 << 20);
    }
    Ok(options)
}

/// A backup breaks off and nobody uses the datastore: its leftovers go, and when no late request of
/// it can do harm any more, the same backup may be made again.
#[tokio::test(start_paused = true)]
async fn an_idle_datastore_is_seen_to() -> Result<()> {
    let (world, creator) = World::new().await?;
    drop(creator);
    let (stores, options) = (Stores::default(), world.options("cache")?);
    keep(&stores, &options).await?;
    let server = open(&stores, &options).await?;
    let session = server.session("a", 0).await?;
    let data = chunks("a", 2);
    for chunk in &data {
        insert(&session, chunk).await?;
    }
    write_index(&session, &data).await?;
    let dir = session.dir().clone();
    drop(session);
    let weak = Arc::downgrade(&server.store);
    drop(server);

    world.pass(ROUNDS).await;
    let server = open(&stores, &options).await?;
    ensure!(Arc::downgrade(&server.store).ptr_eq(&weak), "another one");
    let exists = server
        .store
        .snapshots()
        .snapshot_exists(&"".parse()?, &dir)?;
    ensure!(!exists, "its directory is still there");
    ensure!(
        server.session("a", 0).await.is_err(),
        "late requests of the broken backup may still arrive"
    );
    drop(server);

    world.pass(AFTER_QUARANTINE + ROUNDS).await;
    let server = open(&stores, &options).await?;
    ensure!(Arc::downgrade(&server.store).ptr_eq(&weak), "another one");
    server.backup("a", 0, &data).await?;
    Ok(())
}

/// A changed configuration takes effect as soon as nobody uses the datastore, and not before.
#[tokio::test(start_paused = true)]
async fn what_is_kept_gives_way_to_another_configuration() -> Result<()> {
    let (world, creator) = World::new().await?;
    drop(creator);
    let (stores, options) = (Stores::default(), world.options("cache")?);
    keep(&stores, &options).await?;
    let used = open(&stores, &options).await?;
    let changed = small_cache(&world).await?;
    keep(&stores, &changed).await?;
    let same = open(&stores, &changed).await?;
    assert!(Arc::ptr_eq(&used.store, &same.store));
    drop(same);
    let weak = Arc::downgrade(&used.store);
    drop(used);
    assert_eq!(weak.strong_count(), 2, "kept, and seen to");
    keep(&stores, &changed).await?;
    assert_eq!(weak.strong_count(), 0);
    open(&stores, &changed).await?;

    // One that is to be closed is, when its last user is gone.
    let used = open(&stores, &changed).await?;
    let weak = Arc::downgrade(&used.store);
    stores.close(&changed.name).await;
    assert_eq!(weak.strong_count(), 1);
    drop(used);
    assert_eq!(weak.strong_count(), 0);
    Ok(())
}

/// A directory that was removed and made again is another datastore, with another process lock.
#[tokio::test(start_paused = true)]
async fn a_directory_that_was_exchanged_is_opened_again() -> Result<()> {
    let (world, creator) = World::new().await?;
    drop(creator);
    let (stores, options) = (Stores::default(), world.options("cache")?);
    keep(&stores, &options).await?;
    let weak = Arc::downgrade(&open(&stores, &options).await?.store);
    let moved = options.path.with_extension("moved");
    std::fs::rename(&options.path, &moved)?;
    ensure!(stores.open(options.clone()).await.is_err(), "nothing there");
    std::fs::create_dir_all(options.path.join(".chunks"))?;
    keep(&stores, &options).await?;
    let server = open(&stores, &options).await?;
    ensure!(!Arc::downgrade(&server.store).ptr_eq(&weak), "the old one");
    ensure!(weak.strong_count() == 0, "the old one is still open");
    Ok(())
}
