//! What the kernel tells about network and disks.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::sys::stat::{major, minor};

/// The kernel counts in these.
const SECTOR: u64 = 512;

/// Bytes that network cards have received and sent since they came up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Network {
    /// Received.
    pub received: u64,
    /// Sent.
    pub sent: u64,
}

impl Network {
    /// Of all cards, which is to say not of bridges, tunnels and the like.
    ///
    /// # Errors
    /// If the kernel does not tell.
    pub fn now() -> io::Result<Self> {
        let text = std::fs::read_to_string("/proc/net/dev")?;
        let is_card = |name: &str| {
            // A name with a slash cannot be an interface's.
            let device = Path::new("/sys/class/net").join(name).join("device");
            device.exists()
        };
        Ok(Self::parse(&text, is_card))
    }

    fn parse(text: &str, is_card: impl Fn(&str) -> bool) -> Self {
        let mut all = Self::default();
        for line in text.lines() {
            let Some((name, numbers)) = line.split_once(':') else {
                continue;
            };
            if !is_card(name.trim()) {
                continue;
            }
            let mut numbers = numbers
                .split_ascii_whitespace()
                .map(|word| word.parse::<u64>().unwrap_or_default());
            all.received = all
                .received
                .wrapping_add(numbers.next().unwrap_or_default());
            all.sent = all.sent.wrapping_add(numbers.nth(7).unwrap_or_default());
        }
        all
    }
}

/// What a disk has done since it is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Disk {
    /// Reads.
    pub read_ios: u64,
    /// Bytes read.
    pub read_bytes: u64,
    /// Writes.
    pub write_ios: u64,
    /// Bytes written.
    pub write_bytes: u64,
    /// Milliseconds in which it had something to do.
    pub io_ticks: u64,
}

impl Disk {
    /// Of the disk with the file system that holds `path`; `None` if that is on no disk.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        let device = path.metadata().ok()?.dev();
        let stat = format!("/sys/dev/block/{}:{}/stat", major(device), minor(device));
        Self::parse(&std::fs::read_to_string(stat).ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        let numbers: Vec<u64> = text
            .split_ascii_whitespace()
            .map_while(|word| word.parse().ok())
            .collect();
        Some(Self {
            read_ios: *numbers.first()?,
            read_bytes: numbers.get(2)?.saturating_mul(SECTOR),
            write_ios: *numbers.get(4)?,
            write_bytes: numbers.get(6)?.saturating_mul(SECTOR),
            io_ticks: *numbers.get(9)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cards_are_added_up() {
        let text = "Inter-|   Receive  |  Transmit\n face |bytes packets|bytes\n\
                    lo: 5 1 0 0 0 0 0 0 5 1 0\n  eth0: 100 2 0 0 0 0 0 0 30 4 0 0\n\
                    eth1:1 2 0 0 0 0 0 0 3 4\n";
        let network = Network::parse(text, |name| name.starts_with("eth"));
        assert_eq!((network.received, network.sent), (101, 33));
        assert!(Network::now().is_ok());
    }

    #[test]
    fn a_disk_counts_in_sectors() {
        let disk = Disk::parse("  10 1 20 30 40 2 60 70 0 90 100 0 0 0 0 0 0\n").unwrap();
        let expected = Disk {
            read_ios: 10,
            read_bytes: 10_240,
            write_ios: 40,
            write_bytes: 30_720,
            io_ticks: 90,
        };
        assert_eq!(disk, expected);
        assert_eq!(Disk::parse("1 2 3"), None);
        assert_eq!(Disk::of(Path::new("/proc")), None);
    }
}
