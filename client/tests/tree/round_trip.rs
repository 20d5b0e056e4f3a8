//! Archives to trees and back: the same bytes come out.

use std::path::Path;

use client::tree::chunker::ChunkSize;
use client::tree::create::CreateOptions;
use client::tree::extract::{ExtractOptions, extract, extract_path};
use proptest::prelude::*;
use pxar::{Accessor, Decoder, Forward};

use crate::common::{Notes, assert_same, runner, split, unified};
use crate::generated::{archive, trees};

/// Owners, devices and trusted attributes are for root only.
pub fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("not run: only root can restore all of it");
    }
    root
}

/// Sets no flags that would keep the directory from being removed.
fn temporary() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn generated_trees() {
    if !is_root() {
        return;
    }
    let run = runner(150).run(&trees(), |(root, names)| {
        let archive = archive(&root, &names);
        let target = temporary();
        let notes = Notes::default();
        let options = ExtractOptions::default();
        let decoder = Decoder::new(Forward::new(&archive[..]), None).unwrap();
        extract(decoder, target.path(), &options, &notes).unwrap();
        notes.none();
        let (again, _, summary) = unified(target.path(), &CreateOptions::default(), &notes);
        notes.none();
        prop_assert_eq!(summary.problems, 0);
        assert_same(&again, &archive);

        // In two parts, and by the tables.
        let (parts, _) = split(
            target.path(),
            &CreateOptions::default(),
            ChunkSize::from_kib(64).unwrap(),
            None,
            &notes,
        );
        let payload = parts.payload.stream();
        let accessor = Accessor::open(&parts.metadata[..], Some(&payload[..])).unwrap();
        let other = temporary();
        extract_path(&accessor, Path::new("/"), other.path(), &options, &notes).unwrap();
        notes.none();
        let (again, _, _) = unified(other.path(), &CreateOptions::default(), &notes);
        assert_same(&again, &archive);
        Ok(())
    });
    run.unwrap();
}
