//! Lines for the user, as upstream words them.

use std::time::Duration;

use api_types::human::ByteSize;
use api_types::names::{BackupDir, BackupNamespace};

use crate::session::{Statistics, progress::per_second};
use crate::tree::create::Reuse;

/// A number of bytes.
pub fn bytes(count: u64) -> String {
    ByteSize::from_bytes(count).to_string()
}

/// A snapshot, with its namespace if it is in one.
pub fn snapshot(ns: &BackupNamespace, dir: &BackupDir) -> String {
    match ns.is_root() {
        true => dir.to_string(),
        false => format!("[{ns}]:{dir}"),
    }
}

/// A time as the C library prints it, in the local time zone.
pub fn local_time(secs: i64) -> String {
    match jiff::Timestamp::from_second(secs) {
        Ok(time) => {
            let local = time.to_zoned(jiff::tz::TimeZone::system());
            local.strftime("%a %b %e %H:%M:%S %Y").to_string()
        }
        Err(_) => format!("{secs} s since 1970"),
    }
}

/// How much of a duration, for a line that ends with it.
pub fn seconds(duration: Duration) -> String {
    format!("{:.2}", duration.as_secs_f64())
}

/// What uploading an archive took.
pub fn upload(name: &str, statistics: &Statistics) -> Vec<String> {
    let Statistics {
        size,
        sent,
        encoded,
        duration,
        ..
    } = *statistics;
    let mut lines = vec![format!(
        "{name}: had to backup {} of {} (compressed {}) in {} s (average {}/s)",
        bytes(sent),
        bytes(size),
        bytes(encoded),
        seconds(duration),
        bytes(per_second(sent, duration)),
    )];
    let reused = size.saturating_sub(sent);
    if reused > 0 && sent > 0 {
        lines.push(format!(
            "{name}: backup was done incrementally, reused {} ({})",
            bytes(reused),
            percent(reused, size)
        ));
    }
    lines
}

/// What was taken over from the last backup. `files` are all, with further names of them.
pub fn reuse(reuse: &Reuse, files: u64, hard_links: u64) -> Vec<String> {
    vec![
        "Change detection summary:".to_owned(),
        format!(" - {files} total files ({hard_links} hardlinks)"),
        format!(
            " - {} unchanged, reusable files with {} data",
            reuse.files,
            bytes(reuse.bytes)
        ),
        format!(
            " - {} changed or non-reusable files with {} data",
            reuse.read_files,
            bytes(reuse.read_bytes)
        ),
        format!(
            " - {} padding in {} partially reused chunks",
            bytes(reuse.padding),
            reuse.partial_chunks
        ),
    ]
}

fn percent(part: u64, whole: u64) -> String {
    let whole = u128::from(whole.max(1));
    let permille = (u128::from(part) * 1000 + whole / 2) / whole;
    format!("{}.{}%", permille / 10, permille % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As in `recordings/flow.log`.
    #[test]
    fn lines_are_those_of_upstream() {
        let mut statistics = Statistics {
            size: 33_554_432,
            sent: 20 << 20,
            encoded: 501_206,
            duration: Duration::from_millis(90),
            chunks: 8,
            sent_chunks: 5,
        };
        assert_eq!(percent(10_514, 23_078), "45.6%");
        assert_eq!(
            upload("drive-scsi0.img", &statistics),
            [
                "drive-scsi0.img: had to backup 20 MiB of 32 MiB (compressed 489.459 KiB) in \
                 0.09 s (average 222.222 MiB/s)",
                "drive-scsi0.img: backup was done incrementally, reused 12 MiB (37.5%)",
            ]
        );
        (statistics.sent, statistics.encoded) = (0, 0);
        assert_eq!(
            upload("d.img", &statistics),
            ["d.img: had to backup 0 B of 32 MiB (compressed 0 B) in 0.09 s (average 0 B/s)"]
        );
    }
}
