//! How much memory the client takes, whatever it is given.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::Child;
use std::time::Duration;

use crate::client::{Client, Ran, ended, restore_line};
use crate::daemon::World;
use crate::tree::noise;

/// The most that it may have resident.
const MOST: u64 = 300 << 20;

/// Waits for the end; gives the most that was resident at any time, and what was said.
fn watched(mut child: Child) -> (u64, Ran) {
    let path = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        let status = std::fs::read_to_string(&path).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        peak = peak.max(kib.unwrap_or(0) << 10);
        std::thread::park_timeout(Duration::from_millis(5));
    }
    let ran = ended(child);
    assert_eq!(ran.code, Some(0), "{ran}");
    assert!(peak > 0);
    (peak, ran)
}

/// A file of data that does not compress, with zeros in the middle.
fn large(path: &Path) {
    let mut file = File::create(path).unwrap();
    for seed in 0..160 {
        file.write_all(&noise(seed, 1 << 20)).unwrap();
        if seed == 80 {
            file.write_all(&vec![0; 128 << 20]).unwrap();
        }
    }
}

#[test]
fn large_chunks_do_not_take_much_memory() {
    let world = World::shared();
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    std::fs::create_dir(&root).unwrap();
    // Zeros are in chunks of 16 MiB, the largest there are.
    large(&root.join("large"));
    let specs = [
        format!("root.pxar:{}", root.display()),
        format!("disk.img:{}", root.join("large").display()),
    ];
    let specs: Vec<_> = specs.iter().map(String::as_str).collect();
    let client = Client::new(&world, "local");
    let mut lines = vec![client.backup_line("memory", 0, &specs)];
    // Of two sessions at once, too: the last backup is read beside.
    for (number, mode) in [(1, "data"), (2, "metadata")] {
        let line = [&specs[..], &["--change-detection-mode", mode]].concat();
        lines.push(client.backup_line("memory", number, &line));
    }
    for (archive, target) in [("root.pxar", "tree"), ("disk.img", "disk")] {
        let target = dir.path().join(target);
        let line = restore_line("memory", 0, archive, target.to_str().unwrap(), &[]);
        lines.push(line);
    }
    for line in lines {
        let (peak, _) = watched(client.command(&line).spawn().unwrap());
        assert!(peak < MOST, "{line:?}: {} MiB", peak >> 20);
        eprintln!("{}: {} MiB", line[0], peak >> 20);
    }
}

/// Its index is too large to be kept in memory; of the file, next to nothing is read.
#[test]
fn a_huge_image_of_holes_takes_neither_memory_nor_reading() {
    let world = World::shared();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("huge");
    let file = File::create(&path).unwrap();
    file.set_len(520 << 30).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &noise(1, 1 << 20), 100 << 30).unwrap();
    let client = Client::new(&world, "local");
    let spec = format!("disk.img:{}", path.display());
    for (number, sent) in [(0, "8 MiB"), (1, "0 B")] {
        let line = client.backup_line("huge", number, &[&spec]);
        let (peak, ran) = watched(client.command(&line).spawn().unwrap());
        assert!(peak < MOST / 2, "{} MiB", peak >> 20);
        let line = format!("disk.img: had to backup {sent} of 520 GiB");
        assert!(ran.stderr.contains(&line), "no '{line}' in {ran}");
    }
}
