//! Archives that are restored: nothing is written beside the target.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use client::tree::extract::{ExtractOptions, Overwrite, extract, extract_path};
use client::tree::observer::{Observer, Problem};
use pxar::{Accessor, At, Decoder};
use rustix::fs::{IFlags, ioctl_setflags};

use super::pxar::parts;
use crate::{Target, scratch};

pub const TARGET: Target = Target {
    name: "extract",
    max_len: 4096,
    check,
    seeds: super::pxar::TARGET.seeds,
    words: &["../outside", "precious"],
    memory: 4 << 20,
};

struct Deaf;

impl Observer for Deaf {
    fn problem(&self, _: &Path, _: &Problem) {}
}

fn check(data: &[u8]) -> bool {
    let Some((archive, payload)) = parts(data) else {
        return false;
    };
    let world = scratch::empty();
    let (target, outside) = (world.join("target"), world.join("outside"));
    fs::create_dir(&outside).expect("the scratch directory can be written");
    let precious = outside.join("precious");
    fs::write(&precious, "precious").expect("the scratch directory can be written");
    let before = fs::symlink_metadata(&precious).expect("it was written");

    let mut options = ExtractOptions::default();
    let decoder = Decoder::new(At::new(archive), payload.map(At::new));
    let restored = decoder.is_ok_and(|it| extract(it, &target, &options, &Deaf).is_ok());
    options.overwrite = Overwrite::ALL;
    options.allow_existing_dirs = true;
    if let Ok(accessor) = Accessor::open(archive, payload) {
        let _ = extract_path(&accessor, Path::new(""), &target, &options, &Deaf);
    }

    let after = fs::symlink_metadata(&precious).expect("it is still there");
    let what = |it: &fs::Metadata| (it.ino(), it.nlink(), it.mode(), it.uid(), it.ctime_nsec());
    assert_eq!(what(&after), what(&before), "what is outside has changed");
    assert_eq!(fs::read(&precious).expect("it is there"), b"precious");
    let names = |path: &Path| fs::read_dir(path).expect("it can be listed").count();
    assert_eq!(names(&outside), 1, "something was written outside");
    assert!(
        names(&world) <= 2,
        "something was written beside the target"
    );
    release(&target);
    restored
}

/// Lets what was restored be removed, whatever flags it has.
fn release(path: &Path) {
    let Ok(stat) = fs::symlink_metadata(path) else {
        return;
    };
    if !stat.is_file() && !stat.is_dir() {
        return;
    }
    if let Ok(file) = fs::File::open(path) {
        let _ = ioctl_setflags(&file, IFlags::empty());
    }
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        release(&entry.path());
    }
}
