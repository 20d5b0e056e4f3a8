//! What a collection leaves for the next one: facts, removals, first sightings, status, and the
//! small files of the state directory.

use api_types::digest::Digest;
use datastore::gc::first_seen::FirstSeen;
use datastore::gc::history::{History, RemovalKind, RemovalLog, RemovalRecord, RunFacts};
use datastore::gc::status_file::{STATUS_FILE, read_status, write_status};
use datastore::store::state_dir::StateDir;

use crate::{Target, scratch};

pub const TARGET: Target = Target {
    name: "gc_files",
    max_len: 2048,
    check,
    seeds,
    words: &[
        "{\"generation\":",
        "\"finished\":",
        "\"index-files\":",
        "\"chunks-left\":",
        "\"bytes-left\":",
        "\"candidates-left\":",
        "\"clock-offset\":",
        "null",
        "{\"kind\":",
        "\"prune\"",
        "\"forget\"",
        "\"snapshots\":",
        "\"indexes\":",
        "\"index-bytes\":",
        "}\n{",
        "18446744073709551615",
        "now\n",
        "wait\n",
    ],
    memory: 2 << 20,
};

fn record(generation: u64) -> RemovalRecord {
    RemovalRecord {
        kind: RemovalKind::Prune,
        generation,
        snapshots: 2,
        indexes: 3,
        index_bytes: 4096 * 7,
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let path = scratch::empty().join("gc-history");
    let facts = RunFacts {
        clock_offset: Some(-3),
        chunks_left: 5,
        ..RunFacts::default()
    };
    facts.write(&path).expect("it can be written");
    let facts = std::fs::read(&path).expect("we wrote it");

    let path = scratch::empty().join("removals");
    let log = RemovalLog::new(&path);
    for generation in [1, 7] {
        log.append(&record(generation)).expect("it can be written");
    }
    let removals = std::fs::read(&path).expect("we wrote it");

    let path = scratch::empty().join("first-seen");
    let seen = FirstSeen::load(path.clone()).expect("it is new");
    seen.record(Digest::from_bytes([1; 32]), 5);
    seen.save().expect("it can be written");
    let seen = std::fs::read(&path).expect("we wrote it");

    let base = scratch::empty();
    write_status(&base, &read_status(&base)).expect("it can be written");
    let status = std::fs::read(base.join(STATUS_FILE)).expect("we wrote it");
    let contents = [facts, removals, seen, status, b"17\n".to_vec()];
    (0..)
        .zip(contents)
        .map(|(n, content)| [&[n], content.as_slice()].concat())
        .collect()
}

fn check(data: &[u8]) -> bool {
    let Some((mode, rest)) = data.split_first() else {
        return false;
    };
    match mode % 5 {
        0 => check_history(rest),
        1 => check_removals(rest),
        2 => check_first_seen(rest),
        3 => check_status(rest),
        _ => check_state_dir(rest),
    }
}

fn check_history(file: &[u8]) -> bool {
    let path = scratch::file("gc-history", file);
    // There is a file, so there was a run: never "none", which would lower the tripwires.
    match History::read(&path) {
        History::None => panic!("a run is forgotten"),
        History::Damaged(_) => false,
        History::Known(facts) => {
            facts.write(&path).expect("it can be written");
            assert_eq!(History::read(&path), History::Known(facts));
            true
        }
    }
}

/// Behind whatever a crash left, a record counts, and only those of complete runs are dropped.
fn check_removals(file: &[u8]) -> bool {
    let path = scratch::file("removals", file);
    let log = RemovalLog::new(&path);
    let before = log.totals_since(5).expect("it can be read");
    assert!(before.max_chunks() <= before.index_bytes);
    log.append(&record(9)).expect("it can be written");
    let after = log.totals_since(5).expect("it can be read");
    assert_eq!(after.snapshots, before.snapshots.saturating_add(2));
    assert_eq!(after.indexes, before.indexes.saturating_add(3));
    assert_eq!(
        after.index_bytes,
        before.index_bytes.saturating_add(4096 * 7)
    );
    log.forget_before(5).expect("it can be rewritten");
    assert_eq!(log.totals_since(5).expect("it can be read"), after);
    assert_eq!(log.totals_since(0).expect("it can be read"), after);
    true
}

fn check_first_seen(file: &[u8]) -> bool {
    let path = scratch::file("first-seen", file);
    let seen = FirstSeen::load(path.clone()).expect("it can be read, whatever is in it");
    let digests = [1, 2].map(|number| Digest::from_bytes([number; 32]));
    let earlier = digests.map(|digest| seen.generation_of(&digest));
    for digest in digests {
        seen.record(digest, 100);
    }
    seen.save().expect("it can be written");
    let again = FirstSeen::load(path).expect("we wrote it");
    for (digest, earlier) in digests.iter().zip(earlier) {
        let expected = earlier.unwrap_or(100).min(100);
        assert_eq!(again.generation_of(digest), Some(expected));
    }
    earlier.iter().any(Option::is_some) || file.is_empty()
}

fn check_status(file: &[u8]) -> bool {
    let base = scratch::empty();
    std::fs::write(base.join(STATUS_FILE), file).expect("it can be written");
    let status = read_status(&base);
    write_status(&base, &status).expect("it can be written");
    assert_eq!(read_status(&base), status);
    true
}

fn check_state_dir(file: &[u8]) -> bool {
    let base = scratch::empty();
    let state = StateDir::of(&base);
    state.create().expect("it can be made");
    std::fs::write(state.path().join("generation"), file).expect("it can be written");
    std::fs::write(state.path().join("rebuild-needed"), file).expect("it can be written");
    if let Ok(generation) = state.read_generation() {
        state
            .write_generation(generation)
            .expect("it can be written");
        assert_eq!(state.read_generation().expect("we wrote it"), generation);
    }
    if let Ok(needed) = state.read_rebuild_needed() {
        // The file is there, so a rebuild is needed, and at once only if that is said clearly.
        let needed = needed.expect("a flag is forgotten");
        assert!(needed.wait || file.starts_with(b"now"));
        state
            .write_rebuild_needed(Some(&needed))
            .expect("it can be written");
        let again = state.read_rebuild_needed().expect("we wrote it");
        assert_eq!(again, Some(needed));
        state.write_rebuild_needed(None).expect("it can be removed");
        assert_eq!(state.read_rebuild_needed().expect("it is gone"), None);
        return true;
    }
    false
}
