//! What the figures were measured on.

use std::fs;
use std::process::Command;

use anyhow::Result;
use api_types::names::BackupTime;
use s3_client::env::Env;

/// What, and which, a pair for each line of the document.
pub fn describe(env: &Env) -> Result<Vec<(&'static str, String)>> {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cores = cpus
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    Ok(vec![
        ("date", BackupTime::from_secs(env.unix_secs())?.to_string()),
        ("CPU", field(&cpus, "model name")),
        ("cores", cores.to_string()),
        ("two threads", two_threads(env)),
        ("memory", field(&memory, "MemTotal")),
        ("kernel", kernel.trim().to_owned()),
        ("disk", disk()),
        ("MinIO", minio()),
    ])
}

/// `name : value`, the first of that name.
fn field(text: &str, name: &str) -> String {
    let values = text.lines().filter_map(|line| line.split_once(':'));
    let mut found = values.filter(|(key, _)| key.trim() == name);
    found
        .next()
        .map_or_else(unknown, |(_, value)| value.trim().to_owned())
}

/// How much more than one thread two get done together. Virtual cores are often the two halves of
/// one, and what is bounded by system calls or hashes gains no more than this from the second.
fn two_threads(env: &Env) -> String {
    let work = || {
        let block = vec![0u8; 1 << 20];
        for _ in 0..256 {
            std::hint::black_box(openssl::sha::sha256(&block));
        }
    };
    let time = |threads: u32| {
        let start = env.now();
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(work);
            }
        });
        env.now().duration_since(start).as_secs_f64()
    };
    let (one, two) = (time(1), time(2));
    format!("{:.2} × the SHA-256 of one", 2.0 * one / two)
}

/// File system and device of the directory that the data goes to.
fn disk() -> String {
    let directory = std::env::temp_dir();
    let output = Command::new("df")
        .arg("--output=source,fstype,size")
        .arg("-h")
        .arg(directory)
        .output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let line = text
        .ok()
        .and_then(|text| text.lines().nth(1).map(str::to_owned));
    line.map_or_else(unknown, |line| {
        line.split_whitespace().collect::<Vec<_>>().join(", ")
    })
}

/// The version of the MinIO that the rows use.
fn minio() -> String {
    let program = std::env::var_os("MINIO_BIN").unwrap_or_else(|| "minio".into());
    let output = Command::new(program).arg("--version").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let line = text
        .ok()
        .and_then(|text| text.lines().next().map(str::to_owned));
    line.unwrap_or_else(unknown)
}

fn unknown() -> String {
    "unknown".to_owned()
}
