//! The chunk store as a whole, on a real directory.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::os::unix::fs::{PermissionsExt, symlink};

use api_types::datastore::SyncLevel;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::env::Env;
use crate::task::SilentTask;

const NOW: FileTime = FileTime::from_secs(1_700_000_000);
const PLAIN: [u8; 8] = [0x42, 0xab, 0x38, 0x07, 0xbe, 0x83, 0x70, 0xa1];
const ENCRYPTED: [u8; 8] = [0x7b, 0x67, 0x85, 0xbe, 0x22, 0x2d, 0x4c, 0xf0];

fn store() -> (tempfile::TempDir, ChunkStore) {
    let dir = support::scratch().unwrap();
    let store = ChunkStore::create(&dir.path().join("s"), PrefixDirs::OnDemand, None).unwrap();
    (dir, store)
}

fn digest(first: u8, last: u8) -> Digest {
    let mut bytes = [0; 32];
    (bytes[0], bytes[31]) = (first, last);
    Digest::from_bytes(bytes)
}

fn raw(magic: [u8; 8], len: usize) -> Vec<u8> {
    let mut raw = magic.to_vec();
    raw.resize(len, 7);
    raw
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o7777
}

fn me() -> Owner {
    Owner {
        uid: nix::unistd::geteuid().as_raw(),
        gid: nix::unistd::getegid().as_raw(),
    }
}

#[test]
fn creation_sets_the_exact_bits_and_reuse_checks_them() {
    let dir = support::scratch().unwrap();
    let base = dir.path().join("deep/store");
    let store = ChunkStore::create(&base, PrefixDirs::All, None).unwrap();
    assert_eq!((mode(&base), mode(store.chunk_dir())), (0o755, 0o750));
    assert_eq!(
        (mode(&base.join(".lock")), mode(&base.join(".chunks/ffff"))),
        (0o644, 0o750)
    );
    check_reuse(&base, me(), PrefixDirs::All).unwrap();
    let stranger = Owner {
        uid: me().uid + 1,
        ..me()
    };
    assert!(matches!(
        check_reuse(&base, stranger, PrefixDirs::All),
        Err(LocalError::Invalid { .. })
    ));
    let sub = base.join(".chunks/1234");
    std::fs::set_permissions(&sub, std::fs::Permissions::from_mode(0o755)).unwrap();
    let error = check_reuse(&base, me(), PrefixDirs::All)
        .unwrap_err()
        .to_string();
    assert!(error.contains("1234") && error.contains("0755"), "{error}");
    std::fs::remove_dir(&sub).unwrap();
    assert!(
        check_reuse(&base, me(), PrefixDirs::All)
            .unwrap_err()
            .is_not_found()
    );
    check_reuse(&base, me(), PrefixDirs::OnDemand).unwrap();
}

#[test]
fn creation_refuses_foreign_content_and_a_second_store() {
    let dir = support::scratch().unwrap();
    let base = dir.path().join("s");
    std::fs::create_dir_all(base.join("lost+found")).unwrap();
    std::fs::write(base.join(".hidden"), "").unwrap();
    std::fs::write(base.join("photo"), "").unwrap();
    let error = ChunkStore::create(&base, PrefixDirs::OnDemand, None).unwrap_err();
    assert!(error.to_string().contains("photo"), "{error}");
    std::fs::remove_file(base.join("photo")).unwrap();
    ChunkStore::create(&base, PrefixDirs::OnDemand, None).unwrap();
    assert!(ChunkStore::create(&base, PrefixDirs::OnDemand, None).is_err());
    ChunkStore::open(&base).unwrap();
    assert!(
        ChunkStore::open(&dir.path().join("none"))
            .unwrap_err()
            .is_not_found()
    );
    assert!(ChunkStore::open(Path::new("relative")).is_err());
    assert!(ChunkStore::open(Path::new("/")).is_err());
}

#[test]
fn insert_stores_touches_and_overwrites_by_the_rules() {
    let (_dir, store) = store();
    let digest = digest(0xab, 1);
    let insert = |raw: &[u8], secs| {
        store.insert_chunk(&digest, raw, SyncLevel::File, FileTime::from_secs(secs))
    };
    let size = |size| InsertOutcome {
        duplicate: false,
        stored_size: size,
        replaced_empty: false,
    };
    assert_eq!(insert(&raw(PLAIN, 100), 10).unwrap(), size(100));
    let path = store.chunk_path(&digest);
    assert!(
        path.ends_with(format!(".chunks/ab00/{digest}")),
        "{}",
        path.display()
    );
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o644, 0o750));
    let first = store.stat_chunk(&digest).unwrap().unwrap();
    assert_eq!((first.size, first.atime_secs()), (100, 10));

    let duplicate = insert(&raw(PLAIN, 100), 20).unwrap();
    assert!(duplicate.duplicate && duplicate.stored_size == 100);
    let touched = store.stat_chunk(&digest).unwrap().unwrap();
    assert_eq!(
        (touched.atime_secs(), touched.mtime, touched.inode),
        (20, first.mtime, first.inode)
    );

    let larger = insert(&raw(PLAIN, 200), 30).unwrap();
    assert!(larger.duplicate && larger.stored_size == 100);
    assert_eq!(insert(&raw(PLAIN, 60), 40).unwrap(), size(60));
    let refused = insert(&raw(ENCRYPTED, 90), 50).unwrap_err();
    assert!(matches!(refused, LocalError::Refused { .. }), "{refused}");
    assert_eq!(store.stat_chunk(&digest).unwrap().unwrap().atime_secs(), 40);
    assert!(matches!(
        insert(b"no chunk at all", 1),
        Err(LocalError::Refused { .. })
    ));

    store.replace_with_marker(&digest).unwrap();
    let revived = insert(&raw(ENCRYPTED, 90), 60).unwrap();
    assert!(revived.replaced_empty && !revived.duplicate);
    assert!(matches!(
        insert(&raw(ENCRYPTED, 91), 70),
        Err(LocalError::Refused { .. })
    ));
    std::fs::write(&path, "short").unwrap();
    assert!(matches!(
        insert(&raw(ENCRYPTED, 90), 80),
        Err(LocalError::Invalid { .. })
    ));
}

#[test]
fn what_is_no_regular_file_is_an_error_not_an_absence() {
    let (dir, store) = store();
    let (link, directory) = (digest(1, 1), digest(1, 2));
    std::fs::create_dir_all(store.chunk_path(&directory)).unwrap();
    let target = dir.path().join("target");
    std::fs::write(&target, "x").unwrap();
    symlink(&target, store.chunk_path(&link)).unwrap();
    for digest in [&link, &directory] {
        assert!(store.stat_chunk(digest).is_err());
        assert!(store.cond_touch_chunk(digest, NOW).is_err());
        assert!(store.read_chunk(digest).is_err());
        assert!(
            store
                .insert_chunk(digest, &raw(PLAIN, 50), SyncLevel::None, NOW)
                .is_err()
        );
    }
    assert_eq!(std::fs::read(&target).unwrap(), b"x");
}

#[test]
fn touching_never_creates_and_never_alters_mtime() {
    let (_dir, store) = store();
    let digest = digest(2, 2);
    assert_eq!(store.cond_touch_chunk(&digest, NOW).unwrap(), None);
    assert_eq!(store.stat_chunk(&digest).unwrap(), None);
    store
        .write_payload(&digest, &raw(PLAIN, 50), FileTime::from_secs(5), true)
        .unwrap();
    let before = store.stat_chunk(&digest).unwrap().unwrap();
    let answer = store.cond_touch_chunk(&digest, NOW).unwrap().unwrap();
    let after = store.stat_chunk(&digest).unwrap().unwrap();
    assert_eq!(answer, after);
    assert_eq!(
        (after.atime, after.mtime, after.inode),
        (NOW, before.mtime, before.inode)
    );
}

#[test]
fn markers_and_payloads_are_exchanged_without_changing_presence_or_stamp() {
    let (_dir, store) = store();
    let digest = digest(3, 3);
    let payload = raw(PLAIN, 50);
    assert!(
        !store.fill_payload(&digest, &payload, false).unwrap(),
        "absent stays absent"
    );
    assert_eq!(store.replace_with_marker(&digest).unwrap(), None);
    assert_eq!(store.stat_chunk(&digest).unwrap(), None);

    assert!(
        store
            .create_marker(&digest, FileTime::from_secs(7))
            .unwrap()
    );
    let marker = store.stat_chunk(&digest).unwrap().unwrap();
    assert!(marker.is_marker() && marker.atime_secs() == 7);
    assert_eq!(store.read_chunk(&digest).unwrap(), None);
    assert!(
        !store
            .create_marker(&digest, FileTime::from_secs(8))
            .unwrap()
    );

    assert!(store.fill_payload(&digest, &payload, false).unwrap());
    assert_eq!(store.read_chunk(&digest).unwrap().unwrap(), payload);
    assert_eq!(store.stat_chunk(&digest).unwrap().unwrap().atime_secs(), 8);
    assert!(
        !store
            .create_marker(&digest, FileTime::from_secs(9))
            .unwrap(),
        "payload stays"
    );
    let mut open_reader = open_no_follow(&store.chunk_path(&digest)).unwrap();
    assert_eq!(store.replace_with_marker(&digest).unwrap(), Some(50));
    let mut seen = Vec::new();
    open_reader.read_to_end(&mut seen).unwrap();
    assert_eq!(seen, payload, "an open reader keeps its payload");
    assert_eq!(store.stat_chunk(&digest).unwrap().unwrap().atime_secs(), 9);
    assert!(store.remove_chunk(&digest).unwrap());
    assert!(!store.remove_chunk(&digest).unwrap());
    assert!(store.write_payload(&digest, &[], NOW, false).is_err());
    store.sync_filesystem().unwrap();
}

#[test]
fn absurdly_large_chunk_files_are_not_read() {
    let (_dir, store) = store();
    let digest = digest(4, 4);
    store.create_marker(&digest, NOW).unwrap();
    let file = OpenOptions::new()
        .write(true)
        .open(store.chunk_path(&digest))
        .unwrap();
    file.set_len(1 << 40).unwrap();
    assert!(matches!(
        store.read_chunk(&digest),
        Err(LocalError::Invalid { .. })
    ));
}

#[test]
fn bad_chunks_take_the_lowest_free_number_here_and_in_the_bucket() {
    let (_dir, store) = store();
    let digest = digest(5, 5);
    assert!(
        !store.rename_bad(&digest, 0).unwrap(),
        "nothing to put aside"
    );
    for expected in [1, 3, 4, 5, 6, 7, 8, 9, 9] {
        store
            .write_payload(&digest, &[expected], NOW, false)
            .unwrap();
        let n = store.next_bad_number(&digest, &[0, 2]).unwrap();
        assert_eq!(n, expected);
        assert!(store.rename_bad(&digest, n).unwrap());
        assert_eq!(store.stat_chunk(&digest).unwrap(), None);
        assert_eq!(
            std::fs::read(store.bad_path(&digest, n)).unwrap(),
            [expected]
        );
    }
    assert!(store.rename_bad(&digest, 10).is_err());
    assert_eq!(store.touch_bad(&digest, FileTime::from_secs(3)).unwrap(), 8);
    assert_eq!(store.bad_path(&digest, 1).metadata().unwrap().atime(), 3);
    assert!(store.remove_bad(&digest, 1).unwrap() && !store.remove_bad(&digest, 1).unwrap());
}

#[test]
fn iteration_is_in_digest_order_and_misses_nothing() {
    let (_dir, store) = store();
    let mut digests = BTreeSet::new();
    for first in [0x00, 0x7f, 0xff] {
        for last in [9, 3, 200] {
            store.create_marker(&digest(first, last), NOW).unwrap();
            digests.insert(digest(first, last));
        }
    }
    std::fs::write(store.bad_path(&digest(0x7f, 3), 0), "bad").unwrap();
    std::fs::write(store.using_path(&digest(0x7f, 3)), "").unwrap();
    std::fs::write(store.chunk_dir().join("7f00/x.tmp_Ab12Cd"), "").unwrap();

    let listings: Vec<PrefixListing> = store.iterate(0..=u16::MAX).map(Result::unwrap).collect();
    let prefixes: Vec<u16> = listings.iter().map(|l| l.prefix).collect();
    assert_eq!(
        prefixes,
        [0x0000, 0x7f00, 0xff00],
        "what does not exist is left out"
    );
    let entries: Vec<&ChunkEntry> = listings.iter().flat_map(|l| &l.entries).collect();
    let chunks = entries.iter().filter(|e| e.kind == EntryKind::Chunk);
    assert!(chunks.map(|e| e.digest.unwrap()).eq(digests));
    let kinds: Vec<EntryKind> = listings[1].entries.iter().map(|e| e.kind).collect();
    let chunk = EntryKind::Chunk;
    let expected = [
        chunk,
        EntryKind::Bad(0),
        EntryKind::Using,
        chunk,
        chunk,
        EntryKind::Other,
    ];
    assert_eq!(kinds, expected);

    let part: Vec<u16> = store
        .iterate(0x7f00..=0x7f01)
        .map(|l| l.unwrap().prefix)
        .collect();
    // Whether what is missing is left out depends on how a directory counts its links.
    assert!(part == [0x7f00] || part == [0x7f00, 0x7f01], "{part:?}");
    assert!(store.remove_using(&digest(0x7f, 3)).unwrap());
    assert_eq!(store.list_prefix(0x1234).unwrap().entries, []);
    std::fs::write(store.chunk_dir().join("1234"), "no directory").unwrap();
    assert!(store.list_prefix(0x1234).is_err());
}

/// Lets everything go but the digests it knows, and checks that it is asked before each removal.
#[derive(Default)]
struct Gate {
    kept: Vec<Digest>,
    calls: Cell<u32>,
}

impl SweepGate for Gate {
    fn with_named(
        &self,
        _digest: &Digest,
        touch: &mut dyn FnMut() -> LocalResult<bool>,
    ) -> LocalResult<bool> {
        touch()
    }

    fn with_lock(
        &self,
        digest: &Digest,
        entry: &mut dyn FnMut(SweepPermission) -> LocalResult<()>,
    ) -> LocalResult<()> {
        self.calls.set(self.calls.get() + 1);
        entry(if self.kept.contains(digest) {
            SweepPermission::Keep
        } else {
            SweepPermission::Remove
        })
    }
}

fn rules(min_atime: i64, oldest_writer: i64, mode: SweepMode) -> SweepRules {
    SweepRules {
        times: SweepTimes {
            min_atime,
            oldest_writer,
        },
        mode,
        env: Env::seeded(1, NOW.secs()),
    }
}

fn swept_store() -> (tempfile::TempDir, ChunkStore) {
    let (dir, store) = store();
    for (last, atime) in [(1, 50), (2, 100), (3, 150), (4, 200), (5, 50)] {
        let time = FileTime::from_secs(atime);
        store
            .write_payload(&digest(6, last), &[0; 10], time, false)
            .unwrap();
        std::fs::write(store.bad_path(&digest(6, last), 0), [0; 3]).unwrap();
        touch(&store.bad_path(&digest(6, last), 0), time).unwrap();
    }
    std::fs::write(store.using_path(&digest(6, 4)), "").unwrap();
    std::fs::write(
        store.chunk_path(&digest(6, 4)).with_extension("tmp_Ab12Cd"),
        "",
    )
    .unwrap();
    std::fs::create_dir(store.chunk_path(&digest(6, 9))).unwrap();
    (dir, store)
}

#[test]
fn sweep_removes_exactly_the_old_ones_and_counts_by_the_table() {
    let (_dir, store) = swept_store();
    let expected = SweepTally {
        seen: 12,
        removed_chunks: 1,
        removed_bytes: 16,
        removed_bad: 2,
        // Two by their age, one because the gate keeps it; corrupt copies by their age alone.
        pending_chunks: 3,
        pending_bytes: 36,
        still_bad: 2,
        unmarked: 6,
        disk_chunks: 1,
        disk_bytes: 13,
        ..SweepTally::default()
    };
    let names = || -> usize { store.list_prefix(0x0600).unwrap().entries.len() };
    let before = names();
    for mode in [SweepMode::DryRun, SweepMode::Remove] {
        let gate = Gate {
            kept: vec![digest(6, 5)],
            ..Gate::default()
        };
        let task = SilentTask::new();
        let rules = rules(100, 200, mode);
        let tally = store.sweep_prefix(0x0600, &[], &rules, &gate, &task);
        assert_eq!(tally.unwrap(), expected, "{mode:?}");
        assert_eq!(gate.calls.get(), 12);
        let gone = if mode == SweepMode::DryRun { 0 } else { 4 };
        assert_eq!(before - names(), gone);
    }
    assert_eq!(store.stat_chunk(&digest(6, 1)).unwrap(), None);
    assert!(!store.bad_path(&digest(6, 1), 0).exists());
    assert!(store.stat_chunk(&digest(6, 5)).unwrap().is_some());
}

#[test]
fn sweep_touches_what_is_named_and_reports_what_is_missing() {
    let (_dir, store) = swept_store();
    // The chunk is gone, its corrupt copy is evidence.
    store.remove_chunk(&digest(6, 5)).unwrap();
    let named = [digest(6, 0), digest(6, 1), digest(6, 5), digest(6, 7)];
    let missing = vec![digest(6, 0), digest(6, 5), digest(6, 7)];
    let bad = |last| store.bad_path(&digest(6, last), 0);
    for mode in [SweepMode::DryRun, SweepMode::Remove] {
        let (gate, task) = (Gate::default(), SilentTask::new());
        let rules = rules(100, 200, mode);
        let tally = store
            .sweep_prefix(0x0600, &named, &rules, &gate, &task)
            .unwrap();
        assert_eq!(tally.missing, missing, "{mode:?}");
        // The bad copy of 1 is old; that of 5 is, too, but it is evidence: its chunk is missing.
        assert_eq!((tally.removed_chunks, tally.removed_bad), (0, 1));
        assert_eq!((tally.disk_chunks, tally.pending_chunks), (2, 2));
    }
    let named = store.stat_chunk(&digest(6, 1)).unwrap().unwrap();
    assert_eq!(named.atime_secs(), NOW.secs(), "touched, not judged");
    assert_eq!(bad(5).metadata().unwrap().atime(), NOW.secs());
    assert!(!bad(1).exists() && bad(2).exists());
    let other = store.stat_chunk(&digest(6, 2)).unwrap().unwrap();
    assert_eq!(other.atime_secs(), 100, "only what is named");
}

#[test]
fn a_named_chunk_must_be_a_file_and_its_directory_may_be_missing() {
    let (_dir, store) = swept_store();
    let (gate, task) = (Gate::default(), SilentTask::new());
    let rules = rules(100, 200, SweepMode::Remove);
    let sweep = |prefix, named: &[Digest]| store.sweep_prefix(prefix, named, &rules, &gate, &task);
    let error = sweep(0x0600, &[digest(6, 9)]).unwrap_err();
    assert!(matches!(error, LocalError::Invalid { .. }), "{error}");
    assert_eq!(sweep(0x0700, &[]).unwrap(), SweepTally::default());
    let missing = sweep(0x0700, &[digest(7, 1)]).unwrap().missing;
    assert_eq!(missing, [digest(7, 1)]);
}

/// Uploads a chunk when it is asked for the first time, as a session may at any moment.
struct Uploader<'a> {
    store: &'a ChunkStore,
    chunk: Digest,
    done: Cell<bool>,
}

impl SweepGate for Uploader<'_> {
    fn with_named(
        &self,
        _digest: &Digest,
        touch: &mut dyn FnMut() -> LocalResult<bool>,
    ) -> LocalResult<bool> {
        if !self.done.replace(true) {
            let written = self.store.write_payload(&self.chunk, &[0; 10], NOW, false);
            written.unwrap();
        }
        touch()
    }

    fn with_lock(
        &self,
        _digest: &Digest,
        entry: &mut dyn FnMut(SweepPermission) -> LocalResult<()>,
    ) -> LocalResult<()> {
        entry(SweepPermission::Remove)
    }
}

#[test]
fn a_named_chunk_that_comes_after_the_directory_was_read_is_not_missing() {
    let (_dir, store) = swept_store();
    let gate = Uploader {
        store: &store,
        chunk: digest(6, 7),
        done: Cell::new(false),
    };
    let rules = rules(100, 200, SweepMode::Remove);
    let named = [digest(6, 4), digest(6, 7)];
    let tally = store
        .sweep_prefix(0x0600, &named, &rules, &gate, &SilentTask::new())
        .unwrap();
    assert_eq!((tally.missing, tally.disk_chunks), (Vec::new(), 2));
}

#[test]
fn sweep_stops_when_the_task_is_aborted() {
    let (_dir, store) = swept_store();
    let cancel = CancellationToken::new();
    cancel.cancel();
    let gate = Gate::default();
    let task = SilentTask::with_cancel(cancel);
    let rules = rules(i64::MAX, i64::MAX, SweepMode::Remove);
    for named in [&[][..], &[digest(6, 1)]] {
        let result = store.sweep_prefix(0x0600, named, &rules, &gate, &task);
        assert!(matches!(result, Err(LocalError::Aborted(_))));
    }
    assert_eq!(gate.calls.get(), 0);
    assert!(store.stat_chunk(&digest(6, 1)).unwrap().is_some());
}

fn zero_chunk() -> Digest {
    Digest::from_bytes(openssl::sha::sha256(&vec![0; 4 << 20]))
}

#[tokio::test(start_paused = true)]
async fn atime_check_passes_where_access_times_can_be_set() {
    let (_dir, store) = store();
    let env = Env::seeded(1, 1_700_000_000);
    let start = env.now();
    store
        .check_atime_updates(&env, AtimeProbe::ZeroChunk)
        .await
        .unwrap();
    assert_eq!(env.now() - start, std::time::Duration::from_secs(1));
    assert_eq!(
        store
            .stat_chunk(&zero_chunk())
            .unwrap()
            .unwrap()
            .atime_secs(),
        1_700_000_001
    );
    let raw = store.read_chunk(&zero_chunk()).unwrap().unwrap();
    let blob = crate::format::DataBlob::from_bytes(raw).unwrap();
    assert!(blob.is_compressed());
    blob.verify_unencrypted(&zero_chunk(), Some(4 << 20))
        .unwrap();
    store
        .check_atime_updates(&env, AtimeProbe::ScratchFile)
        .await
        .unwrap();
    let names: Vec<_> = store.chunk_dir().read_dir().unwrap().collect();
    assert_eq!(names.len(), 1, "the scratch file is gone");
}

#[tokio::test(start_paused = true)]
async fn atime_check_fails_where_the_time_does_not_move() {
    let (_dir, store) = store();
    let env = Env::seeded(1, 1_700_000_000);
    let other = env.clone();
    // A clock that is set back while the check sleeps looks like a file system without atime.
    let jump = async move {
        other.sleep(std::time::Duration::from_millis(500)).await;
        other.jump_wall_clock(-10_000);
    };
    let (result, ()) = tokio::join!(
        store.check_atime_updates(&env, AtimeProbe::ScratchFile),
        jump
    );
    assert!(matches!(result, Err(LocalError::Invalid { .. })));
}

#[tokio::test(start_paused = true)]
async fn atime_check_names_a_chunk_that_vanished() {
    let (_dir, store) = store();
    let env = Env::seeded(1, 1_700_000_000);
    let remover = async {
        env.sleep(std::time::Duration::from_millis(500)).await;
        assert!(store.remove_chunk(&zero_chunk()).unwrap());
    };
    let (result, ()) = tokio::join!(
        store.check_atime_updates(&env, AtimeProbe::ZeroChunk),
        remover
    );
    assert!(result.unwrap_err().to_string().contains("vanished"));
}

#[test]
fn what_an_interrupted_insert_left_goes_after_a_day() {
    let (_dir, store) = store();
    let path = store.chunk_path(&digest(0x0a, 1));
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let temporary = path.with_extension("tmp_Ab12Cd");
    std::fs::write(&temporary, "half a chunk").unwrap();
    std::fs::write(path.with_extension("tmp_other"), "not ours").unwrap();
    let written = temporary.metadata().unwrap().mtime();
    let remove = |oldest_writer| {
        let listing = store.list_prefix(digest(0x0a, 1).prefix()).unwrap();
        let entries = listing.entries.iter();
        entries
            .filter(|entry| {
                store
                    .remove_abandoned(listing.prefix, entry, oldest_writer)
                    .unwrap()
            })
            .count()
    };
    assert_eq!(remove(written + 24 * 3600), 0, "an insert may be under way");
    assert_eq!(remove(written + 24 * 3600 + 1), 1);
    assert!(!temporary.exists());
}
