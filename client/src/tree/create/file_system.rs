//! What file systems are like.

use std::collections::HashMap;
use std::os::fd::AsFd;

use rustix::fs::fstatfs;

/// Those whose files are made by the kernel as they are read (`linux/magic.h`).
const VIRTUAL: [u32; 21] = [
    0x4249_4e4d, // binfmt_misc
    0xcafe_4a11, // bpf
    0x0027_e0eb, // cgroup
    0x6367_7270, // cgroup2
    0x6265_6570, // configfs
    0x6462_6720, // debugfs
    0x0000_1cd1, // devpts
    0xde5e_81e4, // efivarfs
    0x6573_5543, // control files of FUSE
    0x9584_58f6, // hugetlbfs
    0x1980_0202, // mqueue
    0x6e66_7364, // nfsd
    0x6e73_6673, // nsfs
    0x0000_9fa0, // proc
    0x6165_676c, // pstore
    0x6759_6969, // rpc_pipefs
    0x7363_6673, // securityfs
    0xf97c_ff8c, // selinuxfs
    0x4341_5d53, // smackfs
    0x6265_6572, // sysfs
    0x7472_6163, // tracefs
];
const MSDOS: u32 = 0x4d44;
/// Those that answer the question for a quota project, but have none.
const WITHOUT_PROJECTS: [u32; 3] = [
    0x9123_683e, // btrfs
    0x8584_58f6, // ramfs
    0x0102_1994, // tmpfs
];

/// What is known of a file system. What it was found not to support is not asked for again.
#[derive(Clone, Copy, Debug)]
pub struct FileSystem {
    /// Nothing of it belongs into a backup.
    pub is_virtual: bool,
    /// Has the attributes of FAT.
    pub fat: bool,
    /// May have attributes of `chattr(1)`.
    pub chattr: bool,
    /// May have quota projects.
    pub projects: bool,
}

/// File systems by their device numbers.
#[derive(Debug, Default)]
pub struct FileSystems(HashMap<u64, FileSystem>);

impl FileSystems {
    /// The one of an open file on this device.
    pub fn of(&mut self, file: impl AsFd, device: u64) -> &mut FileSystem {
        self.0.entry(device).or_insert_with(|| {
            let magic = fstatfs(file).map_or(0, |statfs| low_bits(statfs.f_type));
            FileSystem {
                is_virtual: VIRTUAL.contains(&magic),
                fat: magic == MSDOS,
                chattr: true,
                projects: !WITHOUT_PROJECTS.contains(&magic),
            }
        })
    }
}

/// The type has 32 bits, in whatever it is given.
fn low_bits(word: rustix::fs::FsWord) -> u32 {
    let [a, b, c, d, ..] = word.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}
