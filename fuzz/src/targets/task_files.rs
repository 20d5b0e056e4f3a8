//! Task logs and the task index, whatever a crash left of them.

use std::collections::HashSet;
use std::path::Path;

use s3_client::env::Env;
use server::task::OwnTasks;
use server::task::index::{IndexEntry, Rotation, TaskIndex};
use server::task::log_file::{LogWriter, read_end, read_page, split_line};

use crate::{Target, scratch};

pub const TARGET: Target = Target {
    name: "task_files",
    max_len: 4096,
    check,
    seeds,
    words: &[
        "2025-07-14T14:20:02+00:00: ",
        "TASK OK",
        "TASK ERROR: ",
        "TASK WARNINGS: 2",
        "\n",
        "UPID:n:FFFFFFFF:00000001:00000001:62700000:backup:a:root@pam:",
        " 62700000 OK\n",
    ],
    memory: 4 << 20,
};

const LOG: u8 = 0;
const INDEX: u8 = 1;
const START: i64 = 1_700_000_000;

fn seeds() -> Vec<Vec<u8>> {
    let path = scratch::empty().join("log");
    let mut log = LogWriter::create(&path, Env::seeded(1, START)).expect("it is new");
    for line in ["starting", "two\nlines", "TASK WARNINGS: 2"] {
        log.write(line).expect("it can be written");
    }
    let log = std::fs::read(path).expect("we wrote it");
    let upid = "UPID:n:FFFFFFFF:00000001:0000000";
    let index = format!(
        "{upid}1:62700000:backup:a:root@pam:\n{upid}2:62700000:verify::b@pbs: 62700010 OK\n"
    );
    let packed = zstd::bulk::compress(index.as_bytes(), 3).expect("it can be compressed");
    vec![
        [&[LOG], log.as_slice()].concat(),
        [&[INDEX], index.as_bytes()].concat(),
        [&[2], packed.as_slice()].concat(),
    ]
}

fn check(data: &[u8]) -> bool {
    let Some((mode, rest)) = data.split_first() else {
        return false;
    };
    match mode % 3 {
        LOG => check_log(rest),
        INDEX => check_index(rest, &["active", "archive", "archive.1"]),
        _ => check_index(rest, &["archive.2.zst"]),
    }
}

fn check_log(file: &[u8]) -> bool {
    let path = scratch::file("log", file);
    let whole = read_page(&path, 0, 0).expect("it can be read");
    assert_eq!(whole.lines.len() as u64, whole.total);
    let feeds = file.iter().filter(|byte| **byte == b'\n').count() as u64;
    let rest = u64::from(file.last().is_some_and(|byte| *byte != b'\n'));
    assert_eq!(whole.total, feeds + rest);
    for (start, limit) in [
        (1, 1),
        (2, 3),
        (whole.total, 2),
        (whole.total + 1, 0),
        (u64::MAX, 1),
    ] {
        let page = read_page(&path, start, limit).expect("it can be read");
        assert_eq!(page.total, whole.total);
        let first = usize::try_from(start.max(1) - 1).expect("a number of lines");
        let len = if limit == 0 {
            usize::MAX
        } else {
            limit.try_into().expect("small")
        };
        let expected: Vec<_> = whole.lines.iter().skip(first).take(len).cloned().collect();
        assert_eq!(page.lines, expected);
    }
    for line in &whole.lines {
        if let Some((_, message)) = split_line(&line.t) {
            assert!(line.t.ends_with(message));
        }
    }
    let _ = read_end(&path, START);
    check_appended(&path, whole.total);
    true
}

/// What is written behind it reads as it was written, each line as a line.
fn check_appended(old: &Path, total: u64) {
    let message = "done\nTASK OK";
    let path = old.with_file_name("new");
    let env = Env::seeded(1, START);
    let mut log = LogWriter::create(&path, env).expect("it is new");
    for _ in 0..total.min(3) {
        log.write(message).expect("it can be written");
    }
    let page = read_page(&path, 0, 0).expect("we wrote it");
    assert_eq!(page.total, 2 * total.min(3));
    for line in page.lines {
        let (time, message) = split_line(&line.t).expect("we wrote it");
        // The clock goes on while the lines are written.
        assert!((START..START + 3600).contains(&time));
        assert!(message == "done" || message == "TASK OK");
    }
}

fn check_index(file: &[u8], names: &[&str]) -> bool {
    let dir = scratch::empty();
    for name in names {
        std::fs::write(dir.join(name), file).expect("it can be written");
    }
    let index = TaskIndex::new(dir, Rotation::default(), OwnTasks::new());
    let mut seen = HashSet::new();
    let entries: Vec<IndexEntry> = index.entries().expect("it can be read").collect();
    for entry in &entries {
        assert!(seen.insert(entry.upid.clone()), "a task is listed twice");
    }
    !entries.is_empty()
}
