//! What the kernel tells about the machine.

use std::io;
use std::path::Path;
use std::time::Duration;

use s3_client::env::Env;
use serde::Serialize;

use crate::datastores::space::DiskSpace;

/// For how long the processors are watched when a load is asked for.
const SAMPLE: Duration = Duration::from_millis(100);

/// Memory in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// All of it.
    pub total: u64,
    /// In use.
    pub used: u64,
    /// Free.
    pub free: u64,
}

/// What is in `/proc/meminfo`: memory and swap.
#[must_use]
pub fn parse_memory(text: &str) -> (Memory, Memory) {
    let bytes = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .and_then(|rest| rest.split_ascii_whitespace().next()?.parse::<u64>().ok())
            .unwrap_or_default()
            .saturating_mul(1024)
    };
    let of = |total: u64, free: u64| Memory {
        total,
        used: total.saturating_sub(free),
        free,
    };
    let free = bytes("MemFree") + bytes("Buffers") + bytes("Cached") + bytes("SReclaimable");
    (
        of(bytes("MemTotal"), free.min(bytes("MemTotal"))),
        of(bytes("SwapTotal"), bytes("SwapFree")),
    )
}

/// Ticks of all processors since the start of the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ticks {
    /// All.
    pub total: u64,
    /// With nothing to do.
    pub idle: u64,
    /// Waiting for a disk.
    pub wait: u64,
}

impl Ticks {
    /// The first line of `/proc/stat`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let line = text.lines().next()?.strip_prefix("cpu ")?;
        let ticks: Vec<u64> = line
            .split_ascii_whitespace()
            // What guests use is in what the host uses.
            .take(8)
            .map(|word| word.parse().ok())
            .collect::<Option<_>>()?;
        Some(Self {
            total: ticks.iter().sum(),
            idle: *ticks.get(3)?,
            wait: *ticks.get(4)?,
        })
    }

    /// Fractions of the time since `earlier` in which there was work, and in which a disk was
    /// waited for.
    #[must_use]
    pub fn load_since(&self, earlier: &Self) -> (f64, f64) {
        let since = |now: u64, then: u64| now.saturating_sub(then);
        let total = since(self.total, earlier.total);
        if total == 0 {
            return (0.0, 0.0);
        }
        let idle = since(self.idle, earlier.idle) + since(self.wait, earlier.wait);
        (
            fraction(total.saturating_sub(idle), total),
            fraction(since(self.wait, earlier.wait), total),
        )
    }
}

#[allow(clippy::cast_precision_loss)]
fn fraction(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}

/// The processors.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CpuInfo {
    /// What they call themselves.
    pub model: String,
    /// Chips.
    pub sockets: usize,
    /// What the system can run on at once.
    pub cpus: usize,
}

impl CpuInfo {
    /// What is in `/proc/cpuinfo`.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let values = |name: &'static str| {
            text.lines().filter_map(move |line| {
                let (key, value) = line.split_once(':')?;
                (key.trim() == name).then(|| value.trim())
            })
        };
        let mut sockets: Vec<&str> = values("physical id").collect();
        sockets.sort_unstable();
        sockets.dedup();
        Self {
            model: values("model name").next().unwrap_or("unknown").to_owned(),
            sockets: sockets.len().max(1),
            cpus: values("processor").count().max(1),
        }
    }
}

/// The running kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Kernel {
    /// Name of the system.
    pub sysname: String,
    /// Release.
    pub release: String,
    /// Version.
    pub version: String,
    /// Kind of processor.
    pub machine: String,
}

/// How the machine starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BootInfo {
    /// `efi` or `legacy-bios`.
    pub mode: &'static str,
    /// Whether only signed systems start.
    pub secureboot: bool,
}

/// The state of the machine.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct MachineStatus {
    /// Memory.
    pub memory: Memory,
    /// Swap.
    pub swap: Memory,
    /// The file system of the root directory.
    pub root: DiskSpace,
    /// Seconds since the start of the machine.
    pub uptime: u64,
    /// Load averages of one, five and fifteen minutes.
    pub loadavg: [f64; 3],
    /// Fraction of the time in which processors had work.
    pub cpu: f64,
    /// Fraction of the time in which a disk was waited for.
    pub wait: f64,
    /// The processors.
    pub cpuinfo: CpuInfo,
    /// The kernel in one line.
    pub kversion: String,
    /// The kernel.
    pub current_kernel: Kernel,
    /// How the machine starts.
    pub boot_info: BootInfo,
}

impl MachineStatus {
    /// As it is now; takes a moment, in which the processors are watched.
    pub async fn now(env: &Env) -> io::Result<Self> {
        let before = ticks()?;
        env.sleep(SAMPLE).await;
        let (cpu, wait) = ticks()?.load_since(&before);
        let (memory, swap) = parse_memory(&read("/proc/meminfo")?);
        let kernel = kernel()?;
        Ok(Self {
            memory,
            swap,
            root: DiskSpace::of(Path::new("/"))?,
            uptime: parse_uptime(&read("/proc/uptime")?),
            loadavg: parse_loadavg(&read("/proc/loadavg")?),
            cpu,
            wait,
            cpuinfo: CpuInfo::parse(&read("/proc/cpuinfo")?),
            kversion: format!("{} {} {}", kernel.sysname, kernel.release, kernel.version),
            current_kernel: kernel,
            boot_info: boot_info(),
        })
    }
}

fn read(path: &str) -> io::Result<String> {
    std::fs::read_to_string(path)
        .map_err(|error| io::Error::new(error.kind(), format!("failed to read {path}: {error}")))
}

fn ticks() -> io::Result<Ticks> {
    Ok(Ticks::parse(&read("/proc/stat")?).unwrap_or_default())
}

fn parse_uptime(text: &str) -> u64 {
    let seconds = text.split(['.', ' ']).next().unwrap_or_default();
    seconds.parse().unwrap_or_default()
}

/// What is in `/proc/loadavg`: the averages of one, five and fifteen minutes.
#[must_use]
pub fn parse_loadavg(text: &str) -> [f64; 3] {
    let mut loads = text
        .split_ascii_whitespace()
        .map(|word| word.parse().unwrap_or_default());
    std::array::from_fn(|_| loads.next().unwrap_or_default())
}

fn kernel() -> io::Result<Kernel> {
    let names = nix::sys::utsname::uname()?;
    let text = |name: &std::ffi::OsStr| name.to_string_lossy().into_owned();
    Ok(Kernel {
        sysname: text(names.sysname()),
        release: text(names.release()),
        version: text(names.version()),
        machine: text(names.machine()),
    })
}

fn boot_info() -> BootInfo {
    let efi = Path::new("/sys/firmware/efi");
    let secure = efi.join("efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c");
    BootInfo {
        mode: if efi.is_dir() { "efi" } else { "legacy-bios" },
        // Four bytes of attributes, then the value.
        secureboot: std::fs::read(secure).is_ok_and(|bytes| bytes.get(4) == Some(&1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_the_kernel_are_understood() {
        let text = "MemTotal: 1000 kB\nMemFree: 100 kB\nBuffers: 50 kB\nCached: 150 kB\n\
                    SwapTotal: 10 kB\nSwapFree: 4 kB\n";
        let (memory, swap) = parse_memory(text);
        let kib = |total: u64, used: u64, free: u64| Memory {
            total: total * 1024,
            used: used * 1024,
            free: free * 1024,
        };
        assert_eq!((memory, swap), (kib(1000, 700, 300), kib(10, 6, 4)));
        assert_eq!(parse_memory(""), Default::default());

        let before = Ticks::parse("cpu  10 0 10 70 10 0 0 0 9 9\ncpu0 1\n").unwrap();
        assert_eq!((before.total, before.idle, before.wait), (100, 70, 10));
        let after = Ticks::parse("cpu  40 0 20 110 30 0 0 0 9 9\n").unwrap();
        assert_eq!(after.load_since(&before), (0.4, 0.2));
        assert_eq!(before.load_since(&before), (0.0, 0.0));
        assert_eq!(Ticks::parse("nothing"), None);

        let cpus = "processor : 0\nmodel name\t: X\nphysical id : 0\n\nprocessor : 1\n\
                    model name : X\nphysical id : 0\n";
        let cpus = CpuInfo::parse(cpus);
        assert_eq!((cpus.model.as_str(), cpus.sockets, cpus.cpus), ("X", 1, 2));
        assert_eq!(parse_uptime("123.45 67.8\n"), 123);
        assert_eq!(parse_loadavg("0.5 1.25 2 1/2 3"), [0.5, 1.25, 2.0]);
    }

    #[tokio::test]
    async fn this_machine_has_a_state() {
        let status = MachineStatus::now(&Env::system()).await.unwrap();
        assert!(status.memory.total > 0 && status.root.total > 0);
        assert!((0.0..=1.0).contains(&status.cpu), "{}", status.cpu);
    }
}
