//! What a fuzzer needs beside the program, as files: `<dir>/<target>/{seeds/,words,options}`.

use std::fs;
use std::io;
use std::path::Path;

use crate::{TARGETS, Target};

/// Writes the files of every target.
///
/// # Errors
/// If one cannot be written.
pub fn write_all(dir: &Path) -> io::Result<()> {
    TARGETS
        .iter()
        .try_for_each(|target| write(target, &dir.join(target.name)))
}

fn write(target: &Target, dir: &Path) -> io::Result<()> {
    let seeds = dir.join("seeds");
    fs::create_dir_all(&seeds)?;
    for seed in (target.seeds)() {
        let name = hex::encode(&openssl::sha::sha256(&seed)[..8]);
        fs::write(seeds.join(name), seed)?;
    }
    let mut options = format!("-max_len={}\n", target.max_len);
    if !target.words.is_empty() {
        let words: String = target
            .words
            .iter()
            .map(|word| dictionary_line(word))
            .collect();
        let path = dir.join("words");
        fs::write(&path, words)?;
        options += &format!("-dict={}\n", path.display());
    }
    fs::write(dir.join("options"), options)
}

/// A word in the syntax of libFuzzer's dictionaries.
fn dictionary_line(word: &str) -> String {
    let escaped: String = word.bytes().map(|byte| format!("\\x{byte:02x}")).collect();
    format!("\"{escaped}\"\n")
}
