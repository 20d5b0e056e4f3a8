//! Tasks: their UPIDs, and their logs line by line.

use serde_json::Value;

/// Whether both are tasks of the same kind, for the same thing and user.
pub fn same_upid(real: &str, ours: &str) -> bool {
    let rest = |text: &str| {
        let fields: Vec<_> = text.split(':').map(str::to_owned).collect();
        (fields.len() == 10).then(|| fields[6..].to_vec())
    };
    rest(real).is_some() && rest(real) == rest(ours)
}

/// Lines of the real server that need not be there, and why.
const LEFT_OUT: &[(&str, &str)] = &[
    ("queued notification (id=", "there are no notifications yet"),
    (
        "Chunk cache: hits ",
        "an index that was just moved is counted once",
    ),
    (
        "marked ",
        "groups are marked side by side, and a line may stand for several",
    ),
    ("processed ", "there are fewer lines of progress"),
    (
        "Start GC phase3 ",
        "markers are swept together with the chunks",
    ),
    (
        "Original data usage: ",
        "an index that was just moved is counted once",
    ),
    (
        "On-Disk usage: ",
        "an index that was just moved is counted once",
    ),
    (
        "Deduplication factor: ",
        "an index that was just moved is counted once",
    ),
];

/// Lines that may come sooner or later, and why.
const ELSEWHERE: &[(&str, &str)] = &[(
    "Access time update check successful",
    "the check and the first phase run side by side",
)];

/// The lines of a task's log, from its pieces as a client gets them.
pub fn lines(pieces: &[Value]) -> Vec<String> {
    let lines = pieces.iter().flat_map(|piece| {
        let lines = piece["data"].as_array().into_iter().flatten();
        lines.map(|line| line["t"].as_str().unwrap_or_default().to_owned())
    });
    lines.collect()
}

/// The lines that a client of the real server would miss; what ours says beyond is welcome. `path`
/// is where the datastore is: there, and here.
pub fn missing(real: &[String], ours: &[String], path: (&str, &str)) -> Vec<String> {
    let all: Vec<_> = ours.iter().map(|line| essence(line)).collect();
    let mut ours = all.iter().peekable();
    let mut missing = Vec::new();
    for line in real {
        let wanted = essence(&line.replace(path.0, path.1));
        if LEFT_OUT.iter().any(|(start, _)| wanted.starts_with(start)) {
            continue;
        }
        if ELSEWHERE.iter().any(|(start, _)| wanted.starts_with(start)) && all.contains(&wanted) {
            continue;
        }
        let mut rest = ours.clone();
        if rest.any(|line| *line == wanted) {
            ours = rest;
        } else {
            missing.push(format!("  missing: {wanted}; next was {:?}", ours.peek()));
        }
    }
    missing
}

/// A line without its time, and without times and ids in it.
fn essence(line: &str) -> String {
    // `2026-11-22T08:34:27+00:00: text`
    let text = match line.get(25..27) {
        Some(": ") => &line[27..],
        _ => line,
    };
    let words = text.split(' ').map(|word| {
        let number = word.trim_end_matches(['s', ')', ',']);
        let is_time = word.len() == 20 && word.ends_with('Z') && word.contains('T');
        let is_seconds =
            word.ends_with('s') && number.contains('.') && number.parse::<f64>().is_ok();
        if is_time || is_seconds { "TIME" } else { word }
    });
    words.collect::<Vec<_>>().join(" ")
}
