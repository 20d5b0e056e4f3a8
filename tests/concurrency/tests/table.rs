//! Threads on one table: what sessions, a collection and the end of a quarantine decide under the
//! digest's lock, in the order in which `backend::s3` decides it.
//!
//! The file and the object of the one digest are plain values next to the table, changed in the
//! same critical sections as in `insert::plan_insert`, `delete::condemn`, `last_look`, `settle` and
//! `quarantine::resolve_digest`.

#![allow(
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "helpers of the tests; no runtime keeps a clock here"
)]

use std::pin::pin;
use std::time::Duration;

use api_types::digest::Digest;
use concurrency::digests::{BatchId, DigestTable, Generation, State, TakenBack, UploadGuard};
use concurrency::registry::SessionRegistry;
use concurrency::sync::{Arc, AtomicU64, Mutex, Ordering};
use shuttle::{future, thread};
use tokio::time::Instant;

const ROUNDS: usize = 4_000;

fn explore(test: impl Fn() + Send + Sync + 'static) {
    let rounds = (std::env::var("CONCURRENCY_ROUNDS").ok()).map_or(ROUNDS, |text| {
        text.parse().expect("CONCURRENCY_ROUNDS is a number")
    });
    let test = std::sync::Arc::new(test);
    let (random, pct) = (std::sync::Arc::clone(&test), test);
    shuttle::check_random(move || random(), rounds / 2);
    // Few, badly placed, switches find what many random ones miss.
    shuttle::check_pct(move || pct(), rounds / 2, 3);
}

fn digest() -> Digest {
    Digest::from_bytes([7; 32])
}

/// A chunk: its local file, its object, deletes under way.
#[derive(Debug, Default)]
struct Chunk {
    file: bool,
    object: bool,
    deleting: bool,
}

struct World {
    table: Arc<DigestTable>,
    registry: Arc<SessionRegistry>,
    chunk: Mutex<Chunk>,
    floor: AtomicU64,
}

impl World {
    fn garbage() -> Arc<Self> {
        Arc::new(Self {
            table: Arc::new(DigestTable::new(1)),
            registry: Arc::default(),
            chunk: Mutex::new(Chunk {
                file: true,
                object: true,
                deleting: false,
            }),
            floor: AtomicU64::new(0),
        })
    }

    fn chunk<R>(&self, work: impl FnOnce(&mut Chunk) -> R) -> R {
        work(&mut self.chunk.lock().expect("no panic under it"))
    }

    /// `Run::start`: the generation, then the floor.
    fn start_collection(&self) -> Generation {
        let generation = self.table.generation() + 1;
        self.table.raise_generation(generation);
        let floor = self.registry.floor(generation);
        self.floor.store(floor, Ordering::SeqCst);
        floor
    }

    /// `delete::condemn`, `last_look`, the request, `settle`; whether it was deleted.
    fn sweep(&self, floor: Generation, batch: BatchId) -> bool {
        let condemned = self.table.with(&digest(), |slot| {
            let young = slot.stamp().is_some_and(|stamp| stamp >= floor);
            if young || !slot.is_ordinary() {
                return false;
            }
            let had = self.chunk(|chunk| std::mem::take(&mut chunk.file));
            slot.condemn(batch, had)
        });
        if !condemned
            || !self
                .table
                .with(&digest(), |slot| slot.start_deleting(batch))
        {
            return false;
        }
        self.chunk(|chunk| chunk.deleting = true);
        thread::yield_now();
        self.chunk(|chunk| {
            chunk.object = false;
            chunk.deleting = false;
        });
        let ended = self.table.with(&digest(), |slot| slot.end_deleting(batch));
        assert!(ended.is_some(), "somebody else ended our delete");
        true
    }

    /// `S3Backend::insert`.
    fn insert(&self) {
        future::block_on(async {
            loop {
                let mut changed = pin!(self.table.changed(&digest()));
                changed.as_mut().enable();
                match self.plan() {
                    Plan::Wait => changed.await,
                    Plan::Duplicate => return,
                    Plan::Upload(guard) => {
                        self.chunk(|chunk| {
                            assert!(!chunk.deleting, "a PUT while a delete is in flight");
                            chunk.object = true;
                        });
                        thread::yield_now();
                        let done = guard.finish(|slot| -> Result<(), ()> {
                            self.chunk(|chunk| chunk.file = true);
                            slot.stamp_now();
                            Ok(())
                        });
                        return done.expect("nothing to fail");
                    }
                }
            }
        });
    }

    fn plan(&self) -> Plan {
        self.table.with(&digest(), |slot| {
            match slot.state() {
                Some(State::Uploading(_) | State::Deleting { .. }) => return Plan::Wait,
                Some(State::Condemned { .. }) => match slot.take_back() {
                    Some(TakenBack::HadPresence) => {
                        self.chunk(|chunk| chunk.file = true);
                        slot.stamp_now();
                        return Plan::Duplicate;
                    }
                    Some(TakenBack::HadNone) | None => {}
                },
                None if slot.is_ordinary() && self.chunk(|chunk| chunk.file) => {
                    slot.stamp_now();
                    return Plan::Duplicate;
                }
                None => {}
            }
            let token = slot.begin_upload().expect("nothing else is going on");
            Plan::Upload(UploadGuard::new(Arc::clone(&self.table), digest(), token))
        })
    }

    fn assert_present(&self) {
        let chunk = self.chunk(|chunk| (chunk.object, chunk.file));
        assert_eq!(
            chunk,
            (true, true),
            "a session was told that the chunk is there"
        );
    }
}

enum Plan {
    Wait,
    Duplicate,
    Upload(UploadGuard),
}

/// A session registers, inserts, and holds on; a collection raises, scans and sweeps. Whichever way
/// they mix, the chunk that the session was told of stays (G3), no PUT meets a delete in flight,
/// and nobody waits for ever (the checker reports a deadlock).
#[test]
fn an_insert_and_a_collection_exclude_each_other() {
    explore(|| {
        let world = World::garbage();
        let collector = {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                let floor = world.start_collection();
                world.sweep(floor, BatchId(1));
            })
        };
        let sessions: Vec<_> = (0..2)
            .map(|now| {
                let world = Arc::clone(&world);
                thread::spawn(move || {
                    let registration = world.registry.register(&world.table, now);
                    world.insert();
                    world.assert_present();
                    registration
                })
            })
            .collect();
        collector.join().expect("the collection ends");
        let registrations: Vec<_> = (sessions.into_iter())
            .map(|session| session.join().expect("the session ends"))
            .collect();
        world.assert_present();
        assert_eq!(world.table.exceptional_count(), 0);
        drop(registrations);
        assert!(world.registry.is_empty());
    });
}

/// A session is seen by the look at the register, or it stamps with the new generation: no stamp of
/// a registered session is below the floor.
#[test]
fn a_session_is_seen_by_the_scan_or_stamps_with_the_new_generation() {
    explore(|| {
        let world = World::garbage();
        let session = {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                let registration = world.registry.register(&world.table, 0);
                let stamp = world.table.with(&digest(), |slot| {
                    slot.stamp_now();
                    slot.stamp()
                });
                assert!(stamp >= Some(registration.start_generation()));
                (registration, stamp)
            })
        };
        let floor = world.start_collection();
        let (_registration, stamp) = session.join().expect("the session ends");
        assert!(
            stamp >= Some(floor),
            "stamp {stamp:?} is below the floor {floor}"
        );
    });
}

/// The end of a quarantine and an upload of the digest: one at a time, the waiter is woken, and the
/// suspicion ends only by the one who looked.
#[test]
fn a_quarantine_does_not_end_under_an_upload() {
    explore(|| {
        let table = Arc::new(DigestTable::new(1));
        let held = Arc::new(AtomicU64::new(0));
        table.with(&digest(), |slot| {
            slot.suspect(Instant::now() + Duration::from_secs(1));
        });
        let hold = |end_suspicion: bool| {
            let (table, held) = (Arc::clone(&table), Arc::clone(&held));
            thread::spawn(move || {
                future::block_on(async {
                    let guard = loop {
                        let mut changed = pin!(table.changed(&digest()));
                        changed.as_mut().enable();
                        if let Some(token) = table.with(&digest(), |slot| slot.begin_upload()) {
                            break UploadGuard::new(Arc::clone(&table), digest(), token);
                        }
                        changed.await;
                    };
                    assert_eq!(held.fetch_add(1, Ordering::SeqCst), 0, "held twice");
                    thread::yield_now();
                    held.fetch_sub(1, Ordering::SeqCst);
                    if end_suspicion {
                        let done = guard.finish(|slot| -> Result<(), ()> {
                            slot.clear_suspicion();
                            Ok(())
                        });
                        done.expect("nothing to fail");
                    } else {
                        // A cancelled upload.
                        drop(guard);
                    }
                });
            })
        };
        let threads = [hold(true), hold(false), hold(false)];
        for thread in threads {
            thread.join().expect("nobody waits for ever");
        }
        assert_eq!(table.exceptional_count(), 0);
    });
}

/// A batch that is given up and a session that takes the digest back: exactly one of them does.
#[test]
fn a_condemned_digest_is_released_or_taken_back() {
    explore(|| {
        let world = World::garbage();
        let batch = BatchId(3);
        let condemned = world.table.with(&digest(), |slot| {
            world.chunk(|chunk| chunk.file = false);
            slot.condemn(batch, true)
        });
        assert!(condemned);
        let session = {
            let world = Arc::clone(&world);
            thread::spawn(move || world.insert())
        };
        let released = world.table.with(&digest(), |slot| slot.release(batch));
        session.join().expect("the session ends");
        world.assert_present();
        let ours = world
            .table
            .with(&digest(), |slot| slot.start_deleting(batch));
        assert!(!ours, "deleted although given up ({released})");
    });
}

/// Counts and the numbers of markings agree with the digests marked, whoever marks and unmarks.
#[test]
fn the_count_of_lost_digests_is_exact() {
    explore(|| {
        let table = Arc::new(DigestTable::new(1));
        let threads: Vec<_> = [[true, false], [true, true], [false, true]]
            .into_iter()
            .map(|marks| {
                let table = Arc::clone(&table);
                thread::spawn(move || {
                    for lost in marks {
                        table.with(&digest(), |slot| slot.set_lost(lost));
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().expect("it ends");
        }
        let lost = table.with(&digest(), |slot| slot.is_lost());
        assert_eq!(table.has_lost(), lost);
        table.with(&digest(), |slot| slot.set_lost(false));
        assert!(!table.has_lost());
    });
}
