//! What is backed up. It is in memory, so that the machine's disk does not count.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

const FILES_IN_DIRECTORY: usize = 100;
/// All files of one directory of so many are changed.
const CHANGED: usize = 100;
const BLOCK: usize = 1 << 20;

/// What is backed up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// A hundred thousand files of 1 to 12 KiB.
    Small,
    /// Twenty files of 100 MiB.
    Large,
    /// An image of 4 GiB.
    Image,
}

/// It, on disk.
#[derive(Debug)]
pub struct Source {
    /// The directory, or the image.
    pub path: PathBuf,
    files: usize,
}

impl Source {
    /// Makes it below `parent`.
    pub fn make(content: Content, parent: &Path, quick: bool) -> Result<Self> {
        let path = parent.join("source");
        let files = match (content, quick) {
            (Content::Small, false) => 100_000,
            (Content::Small, true) => 500,
            (Content::Large, false) => 20,
            (Content::Large, true) => 2,
            (Content::Image, _) => 1,
        };
        let source = Self { path, files };
        match content {
            Content::Small => source.write_small()?,
            Content::Large => {
                fs::create_dir_all(&source.path)?;
                for number in 0..files {
                    let path = source.path.join(format!("large{number}"));
                    write_large(&path, number, if quick { 8 } else { 100 })?;
                }
            }
            Content::Image => write_large(&source.path, 0, if quick { 16 } else { 4096 })?,
        }
        Ok(source)
    }

    /// One of the small files.
    pub fn one(&self) -> PathBuf {
        relative(self.files / 2)
    }

    /// Changes one file in a hundred, in whole directories, as work on a machine does; each `round`
    /// other content.
    pub fn change(&self, round: usize) -> Result<()> {
        let changed = |number: &usize| (number / FILES_IN_DIRECTORY).is_multiple_of(CHANGED);
        for number in (0..self.files).filter(changed) {
            let content = small(number + (round + 1) * self.files);
            let path = self.path.join(relative(number));
            fs::write(&path, content)
                .with_context(|| format!("cannot change {}", path.display()))?;
        }
        Ok(())
    }

    fn write_small(&self) -> Result<()> {
        for number in 0..self.files {
            let path = self.path.join(relative(number));
            if number % FILES_IN_DIRECTORY == 0
                && let Some(parent) = path.parent()
            {
                fs::create_dir_all(parent)?;
            }
            fs::write(&path, small(number))?;
        }
        Ok(())
    }
}

fn relative(number: usize) -> PathBuf {
    let directory = number / FILES_IN_DIRECTORY;
    PathBuf::from(format!("d{directory:04}/f{number:06}"))
}

/// Text of hexadecimal digits, which a compressor makes half as long.
fn small(number: usize) -> Vec<u8> {
    let mut random = Random::new(number);
    let length = 1024 + (random.next() % (11 << 10)) as usize;
    let mut text = Vec::with_capacity(length + 16);
    while text.len() < length {
        text.extend_from_slice(format!("{:016x}", random.next()).as_bytes());
    }
    text.truncate(length);
    text
}

/// So many MiB that nothing can compress.
fn write_large(path: &Path, number: usize, mebibytes: usize) -> Result<()> {
    use std::io::Write as _;
    let mut random = Random::new(number.wrapping_add(1 << 40));
    let mut file = fs::File::create(path)?;
    let mut block = vec![0; BLOCK];
    for _ in 0..mebibytes {
        for word in block.chunks_exact_mut(8) {
            word.copy_from_slice(&random.next().to_le_bytes());
        }
        file.write_all(&block)?;
    }
    Ok(())
}

/// Numbers that are the same each time (SplitMix64).
struct Random(u64);

impl Random {
    fn new(seed: usize) -> Self {
        Self((seed as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
