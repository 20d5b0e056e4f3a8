//! Every input that is kept is checked again: the seeds, the corpus, and what once failed.

use std::path::{Path, PathBuf};

use fuzz::TARGETS;

/// What all kept inputs may take in the repository.
const MAX_KEPT: u64 = 1 << 20;

fn inputs(kind: &str, target: &str) -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(kind)
        .join(target);
    let Ok(entries) = std::fs::read_dir(&dir) else {
        return Vec::new();
    };
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// One test for all, since memory is counted for the whole process.
#[test]
fn every_kept_input_passes() {
    let mut kept = 0;
    for target in TARGETS {
        for (number, seed) in (target.seeds)().iter().enumerate() {
            assert!(
                target.run(seed),
                "{}: seed {number} is refused",
                target.name
            );
        }
        for path in ["corpus", "regressions"]
            .iter()
            .flat_map(|kind| inputs(kind, target.name))
        {
            let data = std::fs::read(&path).unwrap();
            kept += u64::try_from(data.len()).unwrap();
            // A panic does not say which input it was.
            println!("{}", path.display());
            target.run(&data);
        }
    }
    assert!(kept < MAX_KEPT, "{kept} bytes of inputs are kept");
}

#[test]
fn nothing_is_kept_for_a_target_that_is_gone() {
    for kind in ["corpus", "regressions"] {
        for path in inputs(kind, "") {
            let name = path.file_name().unwrap().to_str().unwrap();
            assert!(
                fuzz::Target::find(name).is_some(),
                "{} belongs to no target",
                path.display()
            );
        }
    }
}
