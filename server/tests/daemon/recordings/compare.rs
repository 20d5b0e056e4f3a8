//! Two answers, field by field.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::tasks::same_upid;

/// What takes the place of equality for a field that cannot be equal.
#[derive(Clone, Copy, Debug)]
enum Shape {
    /// The same type of value, empty or not as the other is.
    Kind,
    /// A number not far from the other: three quarters of it at least, and the other way round.
    Near,
    /// A number that the other is no further from than a manifest is long.
    Close,
    /// As many values, each a number or null.
    Series,
    /// A UPID of the same worker, id and user.
    Upid,
    /// Text that begins like the other, up to its last colon.
    Prefix,
}

/// The fields that may differ, and why.
const DIFFERENT: &[(&str, Shape, &str)] = &[
    (
        "ticket",
        Shape::Prefix,
        "has the time and the server's own signature",
    ),
    (
        "CSRFPreventionToken",
        Shape::Kind,
        "has the time and the server's own signature",
    ),
    ("upid", Shape::Upid, "has node, process and time"),
    ("node", Shape::Kind, "the name of the machine"),
    ("pid", Shape::Kind, "the process"),
    ("pstart", Shape::Kind, "the process"),
    ("starttime", Shape::Kind, "a time"),
    ("endtime", Shape::Kind, "a time"),
    ("last-run-endtime", Shape::Kind, "a time"),
    ("duration", Shape::Kind, "a time"),
    ("repoid", Shape::Kind, "whose build it is"),
    ("release", Shape::Kind, "the version of the software"),
    ("avail", Shape::Kind, "of the machine's disk"),
    (
        "total",
        Shape::Kind,
        "of the machine's disk, or of its tasks",
    ),
    ("used", Shape::Kind, "of the machine's disk"),
    ("history", Shape::Series, "of the machine's disk, over time"),
    ("history-start", Shape::Kind, "a time"),
    ("path", Shape::Kind, "where the datastore is"),
    (
        "size with manifest",
        Shape::Close,
        "has the manifest's size as it was uploaded",
    ),
    (
        "manifest size",
        Shape::Near,
        "the client's own compression, and its order of fields",
    ),
    ("downloaded", Shape::Kind, "there are other requests"),
    ("uploaded", Shape::Kind, "there are other requests"),
    ("get", Shape::Kind, "there are other requests"),
    ("put", Shape::Kind, "there are other requests"),
    ("delete", Shape::Kind, "there are other requests"),
    ("post", Shape::Kind, "there are other requests"),
    ("head", Shape::Kind, "there are other requests"),
    (
        "digest of the path",
        Shape::Kind,
        "of a file in which it is said where the datastore is",
    ),
    (
        "index-file-count",
        Shape::Near,
        "an index that was just moved is counted once",
    ),
    (
        "index-data-bytes",
        Shape::Near,
        "an index that was just moved is counted once",
    ),
    (
        "hits",
        Shape::Near,
        "an index that was just moved is counted once",
    ),
];

/// The differences, one to a line; empty if there are none that matter.
pub fn differences(real: &Value, ours: &Value) -> String {
    let mut found = String::new();
    let (real, ours) = (normal(real.clone()), normal(ours.clone()));
    walk("", &real, &ours, &mut found);
    found
}

fn walk(path: &str, real: &Value, ours: &Value, found: &mut String) {
    let name = path.rsplit('/').next().unwrap_or_default();
    let rule = DIFFERENT.iter().find(|(field, ..)| *field == name);
    let same = match (rule, real, ours) {
        (Some((_, shape, _)), ..) => has_shape(*shape, real, ours),
        (None, Value::Object(theirs), Value::Object(own)) => {
            for key in theirs.keys().filter(|key| !own.contains_key(*key)) {
                let _ = writeln!(found, "  {path}/{key}: missing, was {}", theirs[key]);
            }
            for (key, value) in own {
                match theirs.get(key) {
                    Some(other) => walk(&format!("{path}/{key}"), other, value, found),
                    None => {
                        let _ = writeln!(found, "  {path}/{key}: more, {value}");
                    }
                }
            }
            true
        }
        (None, Value::Array(theirs), Value::Array(own)) if theirs.len() == own.len() => {
            for (index, (real, ours)) in theirs.iter().zip(own).enumerate() {
                walk(&format!("{path}/{index}"), real, ours, found);
            }
            true
        }
        // As the answer to what starts a task.
        (None, Value::String(text), Value::String(_)) if text.starts_with("UPID:") => {
            has_shape(Shape::Upid, real, ours)
        }
        (None, ..) => real == ours,
    };
    if !same {
        let _ = writeln!(found, "  {path}: {ours}, was {real}");
    }
}

fn has_shape(shape: Shape, real: &Value, ours: &Value) -> bool {
    if real == ours {
        return true;
    }
    let texts = || Some((real.as_str()?, ours.as_str()?));
    match shape {
        Shape::Kind => match (real, ours) {
            (Value::String(real), Value::String(ours)) => real.is_empty() == ours.is_empty(),
            (Value::Number(real), Value::Number(ours)) => real.is_u64() == ours.is_u64(),
            _ => real == ours,
        },
        Shape::Series => match (real.as_array(), ours.as_array()) {
            (Some(real), Some(ours)) => {
                let plain = |value: &Value| value.is_number() || value.is_null();
                real.len() == ours.len() && ours.iter().all(plain)
            }
            _ => false,
        },
        Shape::Near => match (real.as_u64(), ours.as_u64()) {
            (Some(real), Some(ours)) => real.max(ours) * 3 <= real.min(ours) * 4,
            _ => false,
        },
        Shape::Close => match (real.as_u64(), ours.as_u64()) {
            (Some(real), Some(ours)) => real.abs_diff(ours) < 100,
            _ => false,
        },
        Shape::Upid => texts().is_some_and(|(real, ours)| same_upid(real, ours)),
        // `PBS:user:TIME::signature`, and of these as many characters.
        Shape::Prefix => texts().is_some_and(|(real, ours)| {
            let start = |text: &str| text.splitn(3, ':').take(2).collect::<Vec<_>>().join(":");
            start(real) == start(ours) && real.len() == ours.len()
        }),
    }
}

/// Where the order says nothing the same for both, and sizes of manifests by themselves.
fn normal(value: Value) -> Value {
    match value {
        Value::Array(items) => {
            let mut items: Vec<_> = items.into_iter().map(normal).collect();
            if items.iter().any(|item| identity(item).is_some()) {
                items.sort_by_key(identity);
            }
            Value::Array(items)
        }
        Value::Object(members) => {
            let members = members.into_iter().map(|(key, value)| (key, normal(value)));
            let mut members: Map<_, _> = members.collect();
            if let Some(Value::Array(files)) = members.get_mut("files") {
                // Of groups: names of files as the directory gives them.
                if files.iter().all(Value::is_string) {
                    files.sort_by_key(ToString::to_string);
                }
            }
            manifest_apart(&mut members);
            if members.contains_key("compressed_size")
                && let Some(size) = members.remove("size")
            {
                members.insert("size with manifest".to_owned(), size);
            }
            if members
                .get("data")
                .is_some_and(|data| data.get("path").is_some())
                && let Some(digest) = members.remove("digest")
            {
                members.insert("digest of the path".to_owned(), digest);
            }
            Value::Object(members)
        }
        other => other,
    }
}

/// What tells the items of a listing apart.
fn identity(item: &Value) -> Option<String> {
    if let Some(id) = item.get("backup-id") {
        return Some(format!(
            "{} {id} {}",
            item["backup-type"], item["backup-time"]
        ));
    }
    let name = ["store", "userid"].iter().find_map(|key| item.get(key));
    name.map(ToString::to_string)
}

/// Renames the size of the manifest, and takes it off the sum of the sizes.
fn manifest_apart(members: &mut Map<String, Value>) {
    if members
        .get("filename")
        .is_some_and(|name| name == "index.json.blob")
        && let Some(size) = members.remove("size")
    {
        members.insert("manifest size".to_owned(), size);
    }
    let manifest = members
        .get("files")
        .and_then(Value::as_array)
        .and_then(|files| {
            files
                .iter()
                .find_map(|file| file.get("manifest size")?.as_u64())
        });
    if let (Some(manifest), Some(sum)) = (manifest, members.get("size").and_then(Value::as_u64)) {
        members.insert("size".to_owned(), (sum - manifest).into());
    }
}
