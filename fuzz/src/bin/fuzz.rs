//! All fuzz targets in one libFuzzer program; `FUZZ_TARGET` chooses one. With `FUZZ_PREPARE`, the
//! files that the fuzzer needs are written into that directory instead. See `scripts/fuzz`.
#![no_main]

use std::path::Path;
use std::sync::OnceLock;

use fuzz::{TARGETS, Target};

static TARGET: OnceLock<&'static Target> = OnceLock::new();

fn prepare() {
    let Some(dir) = std::env::var_os("FUZZ_PREPARE") else {
        return;
    };
    match fuzz::prepare::write_all(Path::new(&dir)) {
        Ok(()) => {
            for target in TARGETS {
                println!("{}", target.name);
            }
            std::process::exit(0);
        }
        Err(error) => {
            eprintln!(
                "error: unable to write below {}: {error}",
                Path::new(&dir).display()
            );
            std::process::exit(1);
        }
    }
}

fn chosen() -> &'static Target {
    let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
    Target::find(&name).unwrap_or_else(|| {
        eprintln!("error: FUZZ_TARGET={name} is none of these:");
        for target in TARGETS {
            eprintln!("  {}", target.name);
        }
        std::process::exit(2)
    })
}

libfuzzer_sys::fuzz_target!(
    init: {
        prepare();
        TARGET.get_or_init(chosen);
    },
    |data: &[u8]| {
        TARGET.get_or_init(chosen).run(data);
    }
);
