//! Trees of files with all that is known of them.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use nix::sys::stat::{Mode, UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;
use openssl::sha::sha256;

/// A file, without its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    mode: u32,
    owner: (u32, u32),
    mtime: (i64, i64),
    device: u64,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    content: Content,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Content {
    Bytes {
        size: u64,
        sum: [u8; 32],
    },
    Link(PathBuf),
    /// Another name of what was here first.
    Same(PathBuf),
    Other,
}

/// Files by their paths below the root, which has none.
pub type Tree = BTreeMap<PathBuf, File>;

/// All below a directory.
pub fn read(root: &Path) -> Tree {
    let mut tree = Tree::new();
    let mut names = HashMap::new();
    let mut open = vec![PathBuf::new()];
    while let Some(path) = open.pop() {
        let full = root.join(&path);
        let metadata = std::fs::symlink_metadata(&full).unwrap();
        let kind = metadata.file_type();
        if kind.is_dir() {
            let entries = std::fs::read_dir(&full).unwrap();
            let mut paths: Vec<_> = entries
                .map(|entry| path.join(entry.unwrap().file_name()))
                .collect();
            paths.sort();
            open.extend(paths.into_iter().rev());
        }
        let content = if kind.is_symlink() {
            Content::Link(std::fs::read_link(&full).unwrap())
        } else if kind.is_file() {
            let id = (metadata.dev(), metadata.ino());
            match names.get(&id) {
                Some(first) => Content::Same(PathBuf::clone(first)),
                None => {
                    names.insert(id, path.clone());
                    let bytes = std::fs::read(&full).unwrap();
                    Content::Bytes {
                        size: bytes.len() as u64,
                        sum: sha256(&bytes),
                    }
                }
            }
        } else {
            Content::Other
        };
        let device = kind.is_block_device() || kind.is_char_device();
        let file = File {
            mode: metadata.mode(),
            owner: (metadata.uid(), metadata.gid()),
            mtime: (metadata.mtime(), metadata.mtime_nsec()),
            device: if device { metadata.rdev() } else { 0 },
            xattrs: xattrs(&full),
            content,
        };
        tree.insert(path, file);
    }
    tree
}

fn xattrs(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut names = vec![0; 64 << 10];
    let length = rustix::fs::llistxattr(path, &mut names[..]).unwrap_or(0);
    let kept = |name: &&[u8]| {
        let starts = [
            "user.",
            "trusted.",
            "system.posix_acl_",
            "security.capability",
        ];
        starts
            .iter()
            .any(|start| name.starts_with(start.as_bytes()))
    };
    let names = names[..length].split(|byte| *byte == 0);
    let value = |name: &[u8]| {
        let mut value = vec![0; 64 << 10];
        let length = rustix::fs::lgetxattr(path, OsStr::from_bytes(name), &mut value[..]).unwrap();
        value.truncate(length);
        (name.to_vec(), value)
    };
    names.filter(kept).map(value).collect()
}

/// What of a tree is stored, with `.pxarexclude` as in the fixtures.
pub fn stored(tree: Tree) -> Tree {
    let kept = |path: &Path| {
        let path = path.as_os_str().as_bytes();
        path != b"ignored" && !path.starts_with(b"ignored/") && !path.ends_with(b".tmp")
    };
    tree.into_iter().filter(|(path, _)| kept(path)).collect()
}

/// Compares path by path, so that a difference can be read.
#[track_caller]
pub fn assert_same(found: &Tree, expected: &Tree) {
    for (path, file) in expected {
        let other = found.get(path);
        assert_eq!(other, Some(file), "'{}' differs", path.display());
    }
    for path in found.keys() {
        assert!(
            expected.contains_key(path),
            "'{}' is too much",
            path.display()
        );
    }
}

/// The same bytes for a seed, which do not compress.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// A tree with something of everything, that needs no rights to make.
pub fn plant(root: &Path) {
    let write = |path: &str, content: &[u8]| {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
    };
    write("etc/hosts", b"127.0.0.1 localhost\n");
    write("etc/empty", b"");
    write("var/large", &noise(1, 24 << 20));
    write("var/zeros", &vec![0; 5 << 20]);
    for number in 0..300 {
        let content = noise(number, usize::try_from(number * 37).unwrap());
        write(&format!("many/{number:03}"), &content);
    }
    write(&format!("names/{}", "x".repeat(255)), b"long");
    write("names/ümläut\n\t", b"odd");
    let not_text = OsStr::from_bytes(b"names/\xff\xfe");
    std::fs::write(root.join(not_text), b"no UTF-8").unwrap();
    write(&format!("{}end", "deep/".repeat(40)), b"deep");
    std::fs::create_dir(root.join("nothing")).unwrap();
    symlink("../etc/hosts", root.join("names/link")).unwrap();
    symlink("/nowhere/at/all", root.join("names/broken")).unwrap();
    std::fs::hard_link(root.join("etc/hosts"), root.join("etc/hosts.link")).unwrap();
    nix::unistd::mkfifo(&root.join("var/fifo"), Mode::from_bits_truncate(0o640)).unwrap();
    drop(std::os::unix::net::UnixListener::bind(root.join("var/socket")).unwrap());
    let secret = root.join("etc/secret");
    std::fs::write(&secret, b"for me").unwrap();
    std::fs::set_permissions(&secret, PermissionsExt::from_mode(0o4600)).unwrap();
    // Where the file system has none, there are none to compare.
    let flags = rustix::fs::XattrFlags::empty();
    let _ = rustix::fs::setxattr(&secret, "user.note", b"kept", flags);
    set_mtime(&secret, 1_000_000_000, 123_456_789);
    set_mtime(&root.join("nothing"), -1, 5);
}

/// Changes a few files of a planted tree.
pub fn change(root: &Path) {
    std::fs::write(root.join("etc/hosts"), b"127.0.0.1 localhost changed\n").unwrap();
    std::fs::write(root.join("many/100"), noise(1000, 5000)).unwrap();
    std::fs::write(root.join("many/new"), b"new").unwrap();
    std::fs::remove_file(root.join("many/200")).unwrap();
    std::fs::rename(root.join("many/201"), root.join("many/moved")).unwrap();
    std::fs::set_permissions(root.join("var"), PermissionsExt::from_mode(0o700)).unwrap();
}

fn set_mtime(path: &Path, secs: i64, nanos: i64) {
    let time = TimeSpec::new(secs, nanos);
    let here = nix::fcntl::AT_FDCWD;
    utimensat(here, path, &time, &time, UtimensatFlags::FollowSymlink).unwrap();
}
