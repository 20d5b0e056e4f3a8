//! The move journal, the cleanup journal and the list of bad chunks, in whatever state they are.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use api_types::digest::Digest;
use datastore::backend::s3::bad_list::BadList;
use datastore::backend::s3::cleanup::CleanupJournal;
use datastore::local_error::LocalError;
use datastore::locks::MoveJournal;
use datastore::locks::move_journal::MOVE_JOURNAL_NAME;
use s3_client::env::Env;

use crate::{Target, scratch};

pub const TARGET: Target = Target {
    name: "other_journals",
    max_len: 1024,
    check,
    seeds,
    words: &["/", "\n", "..", "/dev/null", "vm/100/", "\u{0}", "\r\n"],
    memory: 2 << 20,
};

const MOVES: u8 = 0;
const CLEANUP: u8 = 1;

fn seeds() -> Vec<Vec<u8>> {
    let paths = "vm/100/2022-05-02T08:11:33Z/index.json.blob\nns/a/.namespace\n";
    let list = format!("{}\n", Digest::from_bytes([0xab; 32]));
    vec![
        [&[MOVES], b"/dev/null\n/nowhere\n/half".as_slice()].concat(),
        [&[CLEANUP], paths.as_bytes()].concat(),
        [&[2], list.as_bytes()].concat(),
    ]
}

fn check(data: &[u8]) -> bool {
    let Some((mode, rest)) = data.split_first() else {
        return false;
    };
    match mode % 3 {
        MOVES => check_moves(rest),
        CLEANUP => check_cleanup(rest),
        _ => check_bad_list(rest),
    }
}

fn seeded() -> Env {
    Env::seeded(1, 1_700_000_000)
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    thread_local! {
        static RUNTIME: tokio::runtime::Runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime");
    }
    RUNTIME.with(|runtime| runtime.block_on(work))
}

/// Behind whatever a crash left, a recorded path is found, and then the journal is empty.
fn check_moves(file: &[u8]) -> bool {
    let dir = scratch::empty();
    let path = dir.join(MOVE_JOURNAL_NAME);
    std::fs::write(&path, file).expect("it can be written");
    let moved = dir.join("moved.didx");
    std::fs::write(&moved, b"").expect("it can be written");
    let journal = MoveJournal::new(&dir, seeded());
    let mut locked = journal.try_lock().expect("nobody else has it");
    journal.try_lock().expect_err("it is in use");

    let relative = locked.append(&[moved.clone(), "relative".into()]);
    relative.expect_err("only absolute paths can be found again");
    assert_eq!(
        std::fs::read(&path).expect("it is there"),
        file,
        "all or nothing"
    );

    locked
        .append(std::slice::from_ref(&moved))
        .expect("it can be written");
    let found = drain(&mut locked).expect("the journal can be read, whatever is in it");
    assert!(found.contains(&moved));
    assert!(found.iter().all(|path| path.is_absolute()));
    assert_eq!(std::fs::metadata(&path).expect("it is there").len(), 0);
    assert_eq!(
        drain(&mut locked).expect("it is empty"),
        Vec::<PathBuf>::new()
    );
    true
}

fn drain(
    journal: &mut datastore::locks::move_journal::LockedMoveJournal,
) -> Result<Vec<PathBuf>, LocalError> {
    let mut found = Vec::new();
    journal.drain(|path: &Path| {
        found.push(path.to_path_buf());
        Ok::<_, LocalError>(())
    })?;
    Ok(found)
}

/// Paths are relative and stay below the datastore; what is added is there in the next process.
fn check_cleanup(file: &[u8]) -> bool {
    let dir = scratch::empty().join("cleanup");
    std::fs::create_dir(&dir).expect("it can be made");
    std::fs::write(dir.join("abcdef"), file).expect("it can be written");
    let (env, journal) = (seeded(), CleanupJournal::new(dir.clone(), seeded()));
    if block_on(journal.adopt(&env)).is_err() {
        assert!(std::str::from_utf8(file).is_err());
        return false;
    }
    let before = journal.len();
    let new = String::from_utf8_lossy(&file[file.len() / 2..]).into_owned();
    block_on(journal.add(&env, vec![new])).expect("it can be written");
    let count = journal.len();
    assert!((before..=before + 1).contains(&count));
    drop(journal);

    for entry in std::fs::read_dir(&dir).expect("it is there") {
        let path = entry.expect("it can be listed").path();
        let text = std::fs::read_to_string(path).expect("we wrote it");
        for line in text.lines() {
            assert!(!line.starts_with('/') && line.split('/').all(|part| part != ".."));
        }
    }
    let again = CleanupJournal::new(dir, seeded());
    block_on(again.adopt(&env)).expect("we wrote it");
    assert_eq!(again.len(), count);
    true
}

fn check_bad_list(file: &[u8]) -> bool {
    let path = scratch::file("bad-chunks", file);
    let Ok(list) = BadList::load(path.clone()) else {
        return false;
    };
    let named: BTreeSet<&str> = std::str::from_utf8(file)
        .expect("it was read")
        .lines()
        .collect();
    assert_eq!(list.len(), named.len());
    let digest = Digest::from_bytes([0xcd; 32]);
    block_on(list.add(&seeded(), digest)).expect("it can be written");
    let again = BadList::load(path.clone()).expect("we wrote it");
    assert!(again.contains(&digest) && again.len() == list.len());
    block_on(again.remove(&seeded(), digest)).expect("it can be written");
    assert!(!BadList::load(path).expect("we wrote it").contains(&digest));
    true
}
