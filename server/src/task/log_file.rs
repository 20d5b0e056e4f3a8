//! Log files of tasks: `<RFC 3339 local time with numeric offset>: <message>` per line.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use api_types::status::TaskStatus;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use s3_client::env::Env;
use serde::Serialize;

use super::end::TaskEnd;

/// Characters of the time stamp before `: `.
const STAMP_LEN: usize = 25;
/// A longer line is cut when it is read.
const MAX_LINE_LEN: usize = 64 * 1024;
/// What a page has at most of text.
const MAX_PAGE_LEN: usize = 32 << 20;
/// The final line is looked for in this many bytes at the end.
const TAIL_LEN: u64 = 32 * 1024;

/// The time stamp of a log line: local time, numeric offset (never `Z`).
#[must_use]
pub fn local_time(unix_secs: i64) -> String {
    Timestamp::from_second(unix_secs)
        .unwrap_or_default()
        .to_zoned(TimeZone::system())
        .strftime("%Y-%m-%dT%H:%M:%S%:z")
        .to_string()
}

/// Splits a line into time (Unix seconds) and message.
#[must_use]
pub fn split_line(line: &str) -> Option<(i64, &str)> {
    let (stamp, rest) = line.split_at_checked(STAMP_LEN)?;
    let time: Timestamp = stamp.parse().ok()?;
    Some((time.as_second(), rest.strip_prefix(": ")?))
}

/// Appends lines to the log of a running task.
#[derive(Debug)]
pub struct LogWriter {
    file: File,
    env: Env,
}

impl LogWriter {
    /// Creates the log file.
    pub fn create(path: &Path, env: Env) -> io::Result<Self> {
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .mode(0o640)
            .open(path)?;
        Ok(Self { file, env })
    }

    /// Opens the log file of a task whose writer could not go on, at the beginning of a line.
    pub fn resume(path: &Path, env: Env) -> io::Result<Self> {
        let mut file = OpenOptions::new().append(true).read(true).open(path)?;
        let mut last = [b'\n'];
        if file.metadata()?.len() > 0 {
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
        }
        if last != [b'\n'] {
            file.write_all(b"\n")?;
        }
        Ok(Self { file, env })
    }

    /// Writes a message, each of its lines as a line of the log.
    pub fn write(&mut self, message: &str) -> io::Result<()> {
        let stamp = local_time(self.env.unix_secs());
        let mut text = String::with_capacity(message.len() + STAMP_LEN + 3);
        // An empty message is an empty line, too.
        for line in message.split('\n') {
            text.push_str(&stamp);
            text.push_str(": ");
            text.extend(line.chars().map(|c| if c.is_control() { ' ' } else { c }));
            text.push('\n');
        }
        self.file.write_all(text.as_bytes())
    }
}

/// A line of a log as the API gives it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct LogLine {
    /// Number, counted from 1.
    pub n: u64,
    /// The line with its time stamp.
    pub t: String,
}

/// A stretch of a log.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LogPage {
    /// Lines with consecutive numbers.
    pub lines: Vec<LogLine>,
    /// Number of lines of the whole log.
    pub total: u64,
}

/// Reads at most `limit` lines (0 = all) from line `start` on (0 is the same as 1); fewer if they
/// are very long together.
pub fn read_page(path: &Path, start: u64, limit: u64) -> io::Result<LogPage> {
    let mut reader = BufReader::new(File::open(path)?);
    let first = start.max(1);
    let mut page = LogPage {
        lines: Vec::new(),
        total: 0,
    };
    let mut line = Vec::new();
    let mut room = MAX_PAGE_LEN;
    while read_line(&mut reader, &mut line)? {
        page.total += 1;
        let wanted = page.total >= first && (limit == 0 || page.total - first < limit);
        if wanted && room > 0 {
            // Each line costs something beside its text.
            room = room.saturating_sub(line.len() + STAMP_LEN);
            let t = String::from_utf8_lossy(&line).into_owned();
            page.lines.push(LogLine { n: page.total, t });
        }
    }
    Ok(page)
}

/// Reads up to the next line feed; keeps at most [`MAX_LINE_LEN`] bytes. False at the end.
///
/// A last line without line feed counts: the process may have died while writing it.
fn read_line(reader: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    let mut any = false;
    loop {
        let available = reader.fill_buf()?;
        if available.is_empty() {
            return Ok(any);
        }
        any = true;
        let feed = available.iter().position(|byte| *byte == b'\n');
        let content = feed.map_or(available, |end| &available[..end]);
        let room = MAX_LINE_LEN - line.len();
        line.extend_from_slice(&content[..content.len().min(room)]);
        let used = feed.map_or(available.len(), |end| end + 1);
        reader.consume(used);
        if feed.is_some() {
            return Ok(true);
        }
    }
}

/// How the task with this log ended: from its last line, `unknown` without a final one.
///
/// `starttime` stands in for the end of a task whose log has no readable line.
#[must_use]
pub fn read_end(path: &Path, starttime: i64) -> TaskEnd {
    let unknown = |endtime| TaskEnd {
        endtime,
        status: TaskStatus::Unknown,
    };
    let Ok(tail) = read_tail(path) else {
        return unknown(starttime);
    };
    let text = String::from_utf8_lossy(&tail);
    let Some((endtime, message)) = text.lines().next_back().and_then(split_line) else {
        let last = text.lines().rev().find_map(split_line);
        return unknown(last.map_or(starttime, |(time, _)| time));
    };
    match TaskStatus::from_final_line(message) {
        Some(status) => TaskEnd { endtime, status },
        None => unknown(endtime),
    }
}

fn read_tail(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let len = file.metadata()?.len();
    file.seek(SeekFrom::Start(len.saturating_sub(TAIL_LEN)))?;
    let mut tail = Vec::new();
    file.take(TAIL_LEN).read_to_end(&mut tail)?;
    Ok(tail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_written_and_read_back() {
        let dir = support::scratch().unwrap();
        let path = dir.path().join("log");
        let mut log = LogWriter::create(&path, Env::seeded(1, 1_700_000_000)).unwrap();
        // No runtime here, and a seeded clock needs one.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(async {
            log.write("starting").unwrap();
            log.write("two\nlines\r").unwrap();
            log.write("TASK WARNINGS: 2").unwrap();
        });

        let page = read_page(&path, 0, 0).unwrap();
        assert_eq!(page.total, 4);
        let stamp = local_time(1_700_000_000);
        assert_eq!(
            (stamp.len(), &stamp[19..20].replace('-', "+")),
            (25, &"+".to_owned())
        );
        assert_eq!(
            page.lines[1],
            LogLine {
                n: 2,
                t: format!("{stamp}: two")
            }
        );
        assert_eq!(page.lines[2].t, format!("{stamp}: lines "));
        assert_eq!(
            split_line(&page.lines[2].t),
            Some((1_700_000_000, "lines "))
        );

        let numbers = |start, limit| {
            let page = read_page(&path, start, limit).unwrap();
            assert_eq!(page.total, 4);
            page.lines.iter().map(|line| line.n).collect::<Vec<_>>()
        };
        assert_eq!(numbers(2, 2), [2, 3]);
        assert_eq!(numbers(1, 1), [1]);
        assert_eq!(numbers(4, 500), [4]);
        assert_eq!(numbers(9, 5), [0; 0]);
        let end = TaskEnd {
            endtime: 1_700_000_000,
            status: TaskStatus::Warnings(2),
        };
        assert_eq!(read_end(&path, 5), end);
    }

    #[test]
    fn a_log_without_final_line_is_unknown() {
        let dir = support::scratch().unwrap();
        let path = dir.path().join("log");
        let end = |text: &str| {
            std::fs::write(&path, text).unwrap();
            read_end(&path, 5)
        };
        let unknown = |endtime| TaskEnd {
            endtime,
            status: TaskStatus::Unknown,
        };
        assert_eq!(end(""), unknown(5));
        assert_eq!(end("rubbish"), unknown(5));
        assert_eq!(end("1970-01-01T00:00:09+00:00: half\n"), unknown(9));
        assert_eq!(
            end("1970-01-01T00:00:09+00:00: half\n1970-01-0"),
            unknown(9)
        );
        // Another time zone, another offset, the same moment.
        assert_eq!(
            end("1970-01-01T01:00:09+01:00: TASK OK\n").status,
            TaskStatus::Ok
        );
        assert_eq!(end("1970-01-01T01:00:09+01:00: TASK OK\n").endtime, 9);
        assert_eq!(read_end(&dir.path().join("missing"), 5), unknown(5));
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let dir = support::scratch().unwrap();
        let path = dir.path().join("log");
        std::fs::write(&path, vec![b'x'; 3 * MAX_LINE_LEN]).unwrap();
        let page = read_page(&path, 1, 0).unwrap();
        assert_eq!((page.total, page.lines[0].t.len()), (1, MAX_LINE_LEN));
    }

    #[test]
    fn fixture_logs_end_as_their_last_line_says() {
        let Some(folder) = crate::testing::fixtures("task-logs") else {
            return;
        };
        let mut statuses = Vec::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path
                .file_name()
                .unwrap()
                .to_string_lossy()
                .starts_with("UPID")
            {
                let end = read_end(&path, 0);
                assert!(end.endtime > 1_795_000_000, "{path:?}");
                statuses.push(end.status);
                assert!(
                    read_page(&path, 1, 0)
                        .unwrap()
                        .lines
                        .iter()
                        .all(|line| { split_line(&line.t).is_some() })
                );
            }
        }
        assert!(statuses.len() >= 15 && statuses.contains(&TaskStatus::Ok));
        assert!(
            statuses
                .iter()
                .any(|status| matches!(status, TaskStatus::Error(_)))
        );
    }

    #[test]
    fn a_page_is_bounded_whatever_is_asked_for() {
        let dir = support::scratch().unwrap();
        let path = dir.path().join("log");
        let line = "x".repeat(MAX_LINE_LEN) + "\n";
        std::fs::write(&path, line.repeat(600)).unwrap();
        let page = read_page(&path, 1, 0).unwrap();
        assert_eq!(page.total, 600);
        assert!((500..520).contains(&page.lines.len()));
        let last = read_page(&path, 600, 0).unwrap();
        assert_eq!(last.lines[0].n, 600);
    }
}
