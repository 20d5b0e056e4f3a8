//! Datastores in a directory: access times, the check of them, and the tuning of a collection
//! (`gc.md` §9, T63, T64, T66).
//!
//! Kernel and virtual clock are months apart here, as a file server's clock and ours may be: the
//! times of new files are the kernel's.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Result;
use api_types::datastore::DatastoreTuning;
use datastore::chunk_store::PrefixDirs;
use datastore::disk::{self, Attribute, Observer, Operation};
use datastore::file_time::FileTime;
use datastore::gc::GcOptions;
use datastore::store::create::CreateOptions;
use datastore::store::{BackendOptions, DataStore, StoreOptions};
use datastore::task::SilentTask;
use scenarios::{
    AFTER_GRACE, Chunk, START, Server, World, chunk, chunks, finish, insert, no_grace,
};
use tokio_util::sync::CancellationToken;

/// A store in a directory with the check of access times, as it is by default.
async fn checked(world: &World) -> Result<Server> {
    let options = StoreOptions {
        backend: BackendOptions::Filesystem,
        ..world.options("store")?
    };
    let create = CreateOptions {
        prefix_dirs: PrefixDirs::OnDemand,
        ..CreateOptions::default()
    };
    let store = DataStore::create(options, create, &SilentTask::new()).await?;
    let cancel = CancellationToken::new();
    Ok(Server { store, cancel })
}

/// The chunk that the check is made on.
fn probe(server: &Server) -> PathBuf {
    let zeros = vec![0; 4 << 20];
    let digest = api_types::digest::Digest::from_bytes(openssl::sha::sha256(&zeros));
    server.store.chunks().chunk_path(&digest)
}

/// Sets the access time of every chunk file, as a file system does that loses or invents them.
fn set_all_times(server: &Server, time: FileTime) -> Result<()> {
    for digest in server.local_digests()? {
        disk::set_access_time(&server.store.chunks().chunk_path(&digest), time)?;
    }
    Ok(())
}

fn there(server: &Server, chunk: &Chunk) -> bool {
    server.store.chunks().chunk_path(&chunk.digest).exists()
}

/// T63: access times are lost at the worst moments (relatime, noatime, a server that ignores
/// them). A session's chunks are protected by their stamps, a snapshot's by the mark.
#[tokio::test(start_paused = true)]
async fn t63_lost_access_times_cost_no_chunk_that_is_in_use() -> Result<()> {
    let (world, server) = World::directory().await?;
    let live = server.backup("live", 0, &chunks("live", 3)).await?;
    let dead = server.backup("dead", 0, &chunks("dead", 3)).await?;
    server.forget(&dead).await?;
    server.gc().await?;
    world.pass(AFTER_GRACE).await;
    let session = server.session("new", 90_000).await?;
    let own = chunks("own", 2);
    for chunk in &own {
        assert!(!insert(&session, chunk).await?.duplicate);
    }
    assert!(insert(&session, &dead.chunks[0]).await?.duplicate);
    set_all_times(&server, FileTime::from_secs(0))?;
    let report = server.gc_now().await?;
    assert_eq!(report.deleted.count, 2);
    let mine = [&own[..], &dead.chunks[..1]].concat();
    assert!(mine.iter().all(|chunk| there(&server, chunk)));

    // The marks' touches are lost as well.
    let new = finish(session, &mine).await?;
    for _ in 0..2 {
        set_all_times(&server, FileTime::from_secs(0))?;
        assert_eq!(server.gc_now().await?.deleted.count, 0);
    }
    assert!(server.can_restore(&live).await? && server.can_restore(&new).await?);
    Ok(())
}

/// T63: files get the times of a file server whose clock is ahead of ours or behind. Ours are set
/// explicitly, so that the check passes and nothing young goes.
#[tokio::test(start_paused = true)]
async fn t63_the_clock_of_a_file_server_does_not_matter() -> Result<()> {
    let world = World::empty(1).await?;
    let server = checked(&world).await?;
    let kernel = std::fs::metadata(probe(&server))?.modified()?;
    let kernel = kernel.duration_since(std::time::UNIX_EPOCH)?.as_secs();
    let apart = i64::try_from(kernel)? - START;
    assert!(apart.abs() > 100_000, "the clocks are too close: {apart} s");
    let live = server.backup("live", 0, &chunks("live", 2)).await?;
    let old = server.backup("old", 0, &chunks("old", 2)).await?;
    server.forget(&old).await?;
    world.pass(AFTER_GRACE).await;
    let young = server.backup("young", 90_000, &chunks("young", 2)).await?;
    server.forget(&young).await?;
    // Without the stamps of this process only times are left.
    let cancel = CancellationToken::new();
    let options = StoreOptions {
        backend: BackendOptions::Filesystem,
        ..world.options("store")?
    };
    drop(server);
    let store = DataStore::open(options)?;
    let server = Server { store, cancel };
    let (report, task) = server.gc_with(GcOptions::default()).await;
    // The old ones, and the chunk of the check at creation is young again by its check.
    assert_eq!(report?.deleted.count, 2);
    assert!(task.contains("Access time update check successful"));
    assert!(old.chunks.iter().all(|chunk| !there(&server, chunk)));
    assert!(young.chunks.iter().all(|chunk| there(&server, chunk)));
    assert!(server.can_restore(&live).await?);
    Ok(())
}

/// A file system on which the access times of a file cannot be set.
struct Ignores {
    path: PathBuf,
    was: Mutex<Option<FileTime>>,
}

impl Observer for Ignores {
    fn before(&self, operation: &Operation<'_>) -> std::io::Result<()> {
        if is_touch_of(operation, &self.path)
            && let Ok(mut was) = self.was.lock()
        {
            *was = Some(FileTime::accessed(&std::fs::metadata(&self.path)?));
        }
        Ok(())
    }

    fn after(&self, operation: &Operation<'_>, _: Result<(), &std::io::Error>) {
        if is_touch_of(operation, &self.path)
            && let Ok(was) = self.was.lock()
            && let Some(was) = *was
        {
            set_quietly(&self.path, was);
        }
    }
}

fn is_touch_of(operation: &Operation<'_>, file: &Path) -> bool {
    let touch = matches!(
        operation,
        Operation::SetAttribute {
            attribute: Attribute::AccessTime(_),
            ..
        }
    );
    touch && operation.path() == file
}

/// Sets a time past the observer.
fn set_quietly(path: &Path, time: FileTime) {
    let status = std::process::Command::new("touch")
        .arg("-a")
        .arg("-d")
        .arg(format!("@{}", time.millis() / 1000))
        .arg(path)
        .status();
    assert!(status.is_ok_and(|status| status.success()));
}

/// T63: access times that cannot be set: the check fails, nothing is deleted.
#[tokio::test(start_paused = true)]
async fn t63_a_file_system_that_ignores_access_times_fails_the_check() -> Result<()> {
    let world = World::empty(1).await?;
    let server = checked(&world).await?;
    let dead = server.backup("dead", 0, &chunks("dead", 2)).await?;
    server.forget(&dead).await?;
    world.pass(AFTER_GRACE).await;
    let observed = disk::observe(Arc::new(Ignores {
        path: probe(&server),
        was: Mutex::default(),
    }));
    let error = server.gc().await.expect_err("times do not move");
    drop(observed);
    assert!(
        error.to_string().contains("access times cannot be set"),
        "{error}"
    );
    assert!(dead.chunks.iter().all(|chunk| there(&server, chunk)));
    // A healthy one afterwards.
    assert_eq!(server.gc().await?.deleted.count, 2);
    Ok(())
}

/// Replaces a file when its access time is about to be set for the check, so many times. Before
/// each touch of the check comes one by which its chunk is inserted again.
struct Replaces {
    path: PathBuf,
    times: usize,
    touches: AtomicUsize,
}

impl Observer for Replaces {
    fn before(&self, operation: &Operation<'_>) -> std::io::Result<()> {
        if is_touch_of(operation, &self.path) {
            let touch = self.touches.fetch_add(1, Ordering::SeqCst) + 1;
            if touch.is_multiple_of(2) && touch / 2 <= self.times {
                let copy = self.path.with_extension("copy");
                std::fs::copy(&self.path, &copy)?;
                std::fs::rename(&copy, &self.path)?;
            }
        }
        Ok(())
    }
}

/// T64: the file of the check is replaced while it runs: it is made once more, and then given up.
#[tokio::test(start_paused = true)]
async fn t64_a_file_replaced_during_the_check_is_tried_once_more() -> Result<()> {
    for (times, passes) in [(1, true), (2, false)] {
        let world = World::empty(1).await?;
        let server = checked(&world).await?;
        let dead = server.backup("dead", 0, &chunks("dead", 2)).await?;
        server.forget(&dead).await?;
        world.pass(AFTER_GRACE).await;
        let observed = disk::observe(Arc::new(Replaces {
            path: probe(&server),
            times,
            touches: AtomicUsize::new(0),
        }));
        let start = world.env.now();
        let result = server.gc().await;
        let took = world.env.now() - start;
        drop(observed);
        assert!(took >= Duration::from_secs(2), "not repeated: {took:?}");
        if passes {
            assert_eq!(result?.deleted.count, 2);
        } else {
            let error = result.expect_err("replaced twice");
            assert!(error.to_string().contains("replaced twice"), "{error}");
            assert!(dead.chunks.iter().all(|chunk| there(&server, chunk)));
            assert_eq!(server.gc().await?.deleted.count, 2);
        }
    }
    Ok(())
}

/// T66: the capacity of the cache of digests and the cutoff at their ends change no result.
#[tokio::test(start_paused = true)]
async fn t66_odd_tuning_gives_the_same_result() -> Result<()> {
    for bucket in [true, false] {
        for capacity in [0, 1, 8 << 20] {
            let (world, server) = match bucket {
                true => World::new().await?,
                false => World::directory().await?,
            };
            server.store.set_tuning(DatastoreTuning {
                gc_cache_capacity: Some(capacity),
                gc_atime_cutoff: Some(1),
                gc_atime_safety_check: Some(false),
                ..DatastoreTuning::default()
            });
            let shared = chunks("shared", 3);
            let with = |name: &str| [shared.clone(), chunks(name, 2)].concat();
            let live = server.backup("live", 0, &with("live")).await?;
            let twin = server.backup("twin", 0, &live.chunks).await?;
            let dead = server.backup("dead", 0, &with("dead")).await?;
            server.forget(&dead).await?;
            // 59 s: younger than a minute. The stamps of this process are gone by then.
            assert_eq!(server.gc().await?.deleted.count, 0);
            world.pass(Duration::from_secs(59 - 10)).await;
            assert_eq!(server.gc().await?.deleted.count, 0);
            // In a directory the oldest writer moves the cutoff, and five minutes more.
            world.pass(Duration::from_secs(600)).await;
            let session = server.session("new", 90_000).await?;
            let own = chunk("own");
            insert(&session, &own).await?;
            world.pass(Duration::from_secs(120)).await;
            let report = server.gc().await?;
            assert_eq!(report.deleted.count, 2, "{bucket} {capacity}");
            assert_eq!(report.missing, 0);
            let new = finish(session, std::slice::from_ref(&own)).await?;
            world.pass(Duration::from_secs(120)).await;
            assert_eq!(server.gc_with(no_grace()).await.0?.deleted.count, 0);
            for snapshot in [&live, &twin, &new] {
                assert!(server.can_restore(snapshot).await?);
            }
        }
    }
    Ok(())
}
