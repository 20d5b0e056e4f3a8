//! The delete journal after a crash: no record that may have been sent is ever forgotten.

use std::collections::BTreeSet;
use std::path::Path;

use api_types::digest::Digest;
use arbitrary::{Arbitrary, Unstructured};
use datastore::backend::s3::journal::DeleteJournal;

use crate::{Target, scratch};

pub const TARGET: Target = Target {
    name: "delete_journal",
    max_len: 2048,
    check,
    seeds,
    words: &[
        "batch ",
        "\nbatch ",
        " 00000000 ",
        "18446744073709551615",
        " 1 ",
        " 2 ",
    ],
    memory: 1 << 20,
};

const RAW: u8 = 0;
const NAME: &str = "delete-journal";

fn digest(number: u8) -> Digest {
    Digest::from_bytes([number; 32])
}

fn written(batches: &[&[u8]]) -> Vec<u8> {
    let path = scratch::file(NAME, b"");
    let journal = open(&path);
    for batch in batches {
        let digests: Vec<Digest> = batch.iter().map(|number| digest(*number)).collect();
        journal.append(&digests).expect("it can be written");
    }
    std::fs::read(path).expect("it is there")
}

fn open(path: &Path) -> DeleteJournal {
    let journal = DeleteJournal::unread(path.to_path_buf());
    journal.reload().expect("it can be read");
    journal
}

fn seeds() -> Vec<Vec<u8>> {
    let whole = written(&[&[1, 2, 3], &[4]]);
    let torn = &whole[..whole.len() - 30];
    vec![
        [&[RAW], whole.as_slice()].concat(),
        [&[RAW], torn].concat(),
        vec![RAW],
        vec![1, 2, 10, 11, 1, 12, 9],
    ]
}

fn check(data: &[u8]) -> bool {
    let Some((mode, rest)) = data.split_first() else {
        return false;
    };
    if mode % 2 == RAW {
        check_raw(rest)
    } else {
        check_crash(rest).is_ok()
    }
}

fn set(digests: &[Digest]) -> BTreeSet<Digest> {
    digests.iter().copied().collect()
}

/// Any file: it is refused, or what it holds survives a further record and a rewrite.
fn check_raw(file: &[u8]) -> bool {
    let path = scratch::file(NAME, file);
    let journal = DeleteJournal::unread(path.clone());
    let Ok(found) = journal.reload() else {
        return false;
    };
    assert!(
        found.len() * 65 <= file.len() + 65,
        "a digest has 65 characters"
    );
    assert!(journal.reload().expect("nothing has changed").is_empty());
    if journal.append(&[digest(0xee)]).is_err() {
        return false;
    }
    let mut expected = set(&found);
    expected.insert(digest(0xee));

    let reader = DeleteJournal::unread(path.clone());
    assert_eq!(set(&reader.reload().expect("we wrote it")), expected);
    assert!(!reader.is_empty() && reader.settled().is_empty());
    // Rewrites the file with all that is open.
    reader.drop_settled(&[]).expect("it can be rewritten");
    let again = DeleteJournal::unread(path);
    assert_eq!(set(&again.reload().expect("we wrote it")), expected);
    true
}

/// Records are written, then the machine stops in the middle of the last one.
fn check_crash(data: &[u8]) -> arbitrary::Result<()> {
    let mut input = Unstructured::new(data);
    let path = scratch::file(NAME, b"");
    let journal = open(&path);
    let mut expected = BTreeSet::new();
    let batches = input.int_in_range(0..=4)?;
    for _ in 0..batches {
        let batch = <Vec<u8>>::arbitrary(&mut input)?;
        let digests: Vec<Digest> = batch.iter().take(20).map(|n| digest(*n)).collect();
        if digests.is_empty() {
            journal.append(&digests).expect_err("a record of nothing");
            continue;
        }
        let record = journal.append(&digests).expect("it can be written");
        if bool::arbitrary(&mut input)? {
            for digest in &digests {
                journal.resolve(record, digest);
            }
            let settled = journal.settled();
            assert!(settled.contains(&record));
            journal.drop_settled(&settled).expect("it can be rewritten");
        } else {
            expected.extend(digests);
        }
    }
    let synced = std::fs::metadata(&path).expect("it is there").len();
    journal
        .append(&[digest(0xee), digest(0xef)])
        .expect("it can be written");
    let whole = std::fs::read(&path).expect("it is there");
    let synced = usize::try_from(synced).expect("it is small");
    let cut = synced + usize::from(u8::arbitrary(&mut input)?) % (whole.len() - synced);
    std::fs::write(&path, &whole[..cut]).expect("it can be cut");

    let after = DeleteJournal::unread(path.clone());
    let found = set(&after.reload().expect("a torn record is no damage"));
    assert_eq!(found, expected);
    after.append(&[digest(0xdd)]).expect("it can be written");
    expected.insert(digest(0xdd));
    let again = DeleteJournal::unread(path);
    assert_eq!(set(&again.reload().expect("we wrote it")), expected);
    Ok(())
}
