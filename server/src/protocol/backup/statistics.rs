//! What the log says of an archive when it is closed.

use api_types::digest::Digest;
use api_types::names::ArchiveName;
use datastore::task::TaskContext;
use uuid::Uuid;

use super::writers::UploadStats;

/// A closed archive, and what was uploaded for it.
pub(super) struct Statistics<'a> {
    pub name: &'a ArchiveName,
    pub uuid: Uuid,
    pub csum: Digest,
    pub size: u64,
    pub chunk_count: u64,
    pub uploaded: UploadStats,
}

impl Statistics<'_> {
    /// Upstream's lines.
    pub fn log(&self, task: &dyn TaskContext) {
        for line in self.lines() {
            task.log(&line);
        }
    }

    fn lines(&self) -> Vec<String> {
        let Self {
            name,
            uuid,
            csum,
            size,
            chunk_count,
            uploaded,
        } = self;
        let mut lines = vec![
            format!("Upload statistics for '{name}'"),
            format!("UUID: {}", uuid.simple()),
            format!("Checksum: {csum}"),
            format!("Size: {size}"),
            format!("Chunk count: {chunk_count}"),
        ];
        if *size == 0 || *chunk_count == 0 {
            return lines;
        }
        lines.push(format!(
            "Upload size: {} ({}%)",
            uploaded.size,
            percent(uploaded.size, *size)
        ));
        // A chunk may be uploaded and never be used.
        let by_client = chunk_count.saturating_sub(uploaded.count);
        let by_server = uploaded.duplicates;
        if by_client + by_server > 0 {
            lines.push(format!(
                "Duplicates: {by_client}+{by_server} ({}%)",
                percent(by_client + by_server, *chunk_count)
            ));
        }
        if uploaded.size > 0 {
            lines.push(format!(
                "Compression: {}%",
                percent(uploaded.compressed_size, uploaded.size)
            ));
        }
        lines
    }
}

fn percent(part: u64, whole: u64) -> u64 {
    part.saturating_mul(100).checked_div(whole).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the real server logged it.
    #[test]
    fn upstreams_lines() {
        let name = "t.ppxar.didx".parse().unwrap();
        let csum = "a1d30a3378666dc9daa959ffbedd74aa5ec5ddc90e2c1a0281989c078ad1f4a3";
        let statistics = Statistics {
            name: &name,
            uuid: "b869ced0c5f344718129a52cd9632aa6".parse().unwrap(),
            csum: csum.parse().unwrap(),
            size: 300_942_226,
            chunk_count: 287,
            uploaded: UploadStats {
                count: 2,
                size: 32,
                compressed_size: 56,
                duplicates: 0,
            },
        };
        let lines = statistics.lines();
        assert_eq!(
            lines,
            [
                "Upload statistics for 't.ppxar.didx'",
                "UUID: b869ced0c5f344718129a52cd9632aa6",
                &format!("Checksum: {csum}"),
                "Size: 300942226",
                "Chunk count: 287",
                "Upload size: 32 (0%)",
                "Duplicates: 285+0 (99%)",
                "Compression: 175%",
            ]
        );
    }
}
