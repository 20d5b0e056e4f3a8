//! Ids of worker tasks.

use api_types::auth::Authid;
use api_types::upid::{Upid, UpidParts, unit_escape, unit_unescape};
use arbitrary::{Arbitrary, Unstructured};
use server::task::index::IndexEntry;

use super::text::round_trip;
use crate::Target;

pub const TARGET: Target = Target {
    name: "upid",
    max_len: 512,
    check,
    seeds,
    words: &[
        "UPID:",
        ":garbage_collection:",
        "root@pam:",
        "\\x2d",
        "\\x3a",
        " OK",
        " WARNINGS: 1",
        "00000000",
        "FFFFFFFF",
    ],
    memory: 1 << 20,
};

const TEXT: u8 = 0;

fn seeds() -> Vec<Vec<u8>> {
    let lines = [
        "UPID:node1:00000F3B:0012A4C5:00000001:62700000:garbage_collection:store1:root@pam:",
        "UPID:n:00000001:123456789:00000000000000FF:00000000:backup:a\\x3avm-100:b@pbs!t:",
        "UPID:node1:00000F3B:0012A4C5:00000001:62700000:verify::root@pam: 62700010 WARNINGS: 3",
    ];
    let mut seeds: Vec<Vec<u8>> = lines
        .iter()
        .map(|line| [&[TEXT], line.as_bytes()].concat())
        .collect();
    seeds.push((1..80).collect());
    seeds
}

fn check(data: &[u8]) -> bool {
    let Some((mode, rest)) = data.split_first() else {
        return false;
    };
    if mode % 2 == TEXT {
        std::str::from_utf8(rest).is_ok_and(check_text)
    } else {
        check_parts(rest).is_ok()
    }
}

fn check_text(text: &str) -> bool {
    let upid = round_trip::<Upid>(text);
    if let Some(upid) = &upid {
        check_name(upid);
    }
    let entry = IndexEntry::parse(text);
    if let Some(entry) = &entry {
        check_line(entry);
    }
    if let Some(bytes) = unit_unescape(text) {
        assert_eq!(unit_unescape(&unit_escape(&bytes)), Some(bytes));
    }
    upid.is_some() || entry.is_some()
}

/// A line of the task index, written as the index writes it.
fn check_line(entry: &IndexEntry) {
    let line = match &entry.end {
        None => entry.upid.to_string(),
        Some(end) => format!("{} {:08X} {}", entry.upid, end.endtime, end.status),
    };
    assert_eq!(IndexEntry::parse(&line).as_ref(), Some(entry));
    let item = entry.clone().into_item();
    assert_eq!(item.upid, entry.upid);
}

/// The text is the name of a file.
fn check_name(upid: &Upid) {
    let text = upid.to_string();
    assert!(text.len() <= Upid::MAX_LEN);
    assert!(!text.contains(['/', '\0', '\n']) && !text.starts_with('.'));
    assert_eq!(upid.log_subdir().len(), 2);
}

/// Whatever parts are accepted print a text that parses to them.
fn check_parts(data: &[u8]) -> arbitrary::Result<()> {
    let mut input = Unstructured::new(data);
    let worker_id = Option::<String>::arbitrary(&mut input)?;
    if let Some(id) = &worker_id {
        let escaped = unit_escape(id.as_bytes());
        assert_eq!(unit_unescape(&escaped).as_deref(), Some(id.as_bytes()));
        assert!(!escaped.contains(['/', ':', '\0']) && !escaped.starts_with('.'));
    }
    let user = String::arbitrary(&mut input)?;
    let parts = UpidParts {
        pid: u32::arbitrary(&mut input)?,
        pstart: u64::arbitrary(&mut input)? >> 28,
        task_id: u64::arbitrary(&mut input)?,
        starttime: u32::arbitrary(&mut input)?,
        auth_id: user.parse().unwrap_or_else(|_| Authid::root()),
        worker_id,
        node: "node-1".into(),
        worker_type: "garbage_collection".into(),
    };
    if let Ok(upid) = Upid::new(parts.clone()) {
        check_name(&upid);
        let read: Upid = upid.to_string().parse().expect("it was accepted");
        assert_eq!(read, upid);
        assert_eq!(read.worker_id(), parts.worker_id.as_deref());
        assert_eq!(*read.auth_id(), parts.auth_id);
    }
    Ok(())
}
