//! Makes a tree of files and a disk image that change from generation to generation, the same ones
//! on every run.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

const DIRS: u64 = 8;
const FILES_PER_DIR: u64 = 24;
const BLOCK: usize = 1 << 20;
/// Not a multiple of 4 MiB: the last chunk of the image is a short one.
const IMAGE_BLOCKS: u64 = 65;

/// The next number of a sequence (splitmix64).
pub fn next_random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Makes `tree/` and `disk.img` of a generation (1, 2, …) below `into`.
pub fn generate(into: &Path, generation: u64) -> Result<()> {
    ensure!(generation > 0, "generations count from 1");
    let failed = || {
        format!(
            "failed to make generation {generation} in {}",
            into.display()
        )
    };
    tree(&into.join("tree"), generation).with_context(failed)?;
    image(&into.join("disk.img"), generation).with_context(failed)
}

fn tree(root: &Path, generation: u64) -> std::io::Result<()> {
    for dir in 0..DIRS {
        let path = root.join(format!("dir{dir:02}"));
        fs::create_dir_all(&path)?;
        for file in 0..FILES_PER_DIR {
            let number = dir * FILES_PER_DIR + file;
            // From the second generation on, a few files are gone and others are new.
            let removed = number % 31 == 30 && generation > 1;
            let added_in = if number % 29 == 28 { 2 } else { 1 };
            if !removed && generation >= added_in {
                fs::write(
                    path.join(format!("file{number:03}.dat")),
                    content(number, generation),
                )?;
            }
        }
    }
    fs::write(root.join("empty"), b"")?;
    fs::write(root.join("dir00/copy.dat"), content(1, generation))?;
    let script = root.join("run.sh");
    fs::write(
        &script,
        format!("#!/bin/sh\necho generation {generation}\n"),
    )?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    symlink("dir00/copy.dat", root.join("link"))
}

/// A file's bytes: half of them text that compresses, half of them random.
fn content(number: u64, generation: u64) -> Vec<u8> {
    let mut state = number + 1;
    let kilobytes = if number % 23 == 22 {
        900
    } else {
        next_random(&mut state) % 160
    };
    let mut bytes = Vec::new();
    for kilobyte in 0..kilobytes {
        if number.is_multiple_of(2) {
            let line = format!("{number:08}: line {kilobyte:08} of a file of text\n");
            bytes.extend(line.as_bytes().iter().cycle().take(1024));
        } else {
            append_random(&mut bytes, 1024, &mut state);
        }
    }
    // Every seventh file, another seventh in each generation, gets an insertion in its middle.
    for changed in 2..=generation {
        if number % 7 == changed % 7 {
            let insertion = format!("inserted in generation {changed}\n");
            let middle = bytes.len() / 2;
            bytes.splice(middle..middle, insertion.into_bytes());
        }
    }
    bytes
}

fn image(path: &Path, generation: u64) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    for block in 0..IMAGE_BLOCKS {
        let mut bytes = Vec::with_capacity(BLOCK);
        // A quarter of the image was never written; each generation rewrites some of the rest.
        if block % 16 < 12 {
            let written_in = (2..=generation)
                .rev()
                .find(|g| block % 11 == g % 11)
                .unwrap_or(1);
            append_random(&mut bytes, BLOCK, &mut (block << 32 | written_in));
        }
        bytes.resize(BLOCK, 0);
        file.write_all(&bytes)?;
    }
    Ok(())
}

fn append_random(bytes: &mut Vec<u8>, length: usize, state: &mut u64) {
    for _ in 0..length / 8 {
        bytes.extend(next_random(state).to_le_bytes());
    }
}
