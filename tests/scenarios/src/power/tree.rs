//! A directory with all that is in it, in memory: what is on a disk, or would be.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path};
use std::time::{Duration, SystemTime};

use datastore::disk::Attribute;
use datastore::file_time::FileTime;

/// Identifies a file or directory of a [`Tree`] and of its copies.
pub(super) type Id = usize;

/// The directory that the tree is of.
pub(super) const ROOT: Id = 0;

/// Of `open(2)`, on Linux.
const O_NOATIME: i32 = 0o1_000_000;

/// Device and inode of a real file.
pub(super) type Identity = (u64, u64);

#[derive(Clone, Debug, Hash)]
enum Content {
    File(Vec<u8>),
    Dir(BTreeMap<OsString, Id>),
}

#[derive(Clone, Debug, Hash)]
struct Node {
    content: Content,
    mode: Option<u32>,
    accessed: Option<FileTime>,
}

/// Files and directories, those without a name included.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    nodes: Vec<Node>,
}

/// One change of a tree.
#[derive(Clone, Debug)]
pub(super) enum Change {
    /// Something gets a (further) name.
    Link { dir: Id, name: OsString, id: Id },
    /// A name goes.
    Unlink { dir: Id, name: OsString },
    /// A name is exchanged for another, in one step.
    Rename {
        from: (Id, OsString),
        to: (Id, OsString),
        id: Id,
    },
    /// Content.
    Write {
        id: Id,
        offset: usize,
        bytes: Vec<u8>,
    },
    /// Length.
    SetLen { id: Id, len: usize },
    /// Another attribute.
    Set { id: Id, attribute: Attribute },
}

impl Change {
    /// Whether it changes names in that directory.
    pub(super) fn names_in(&self, directory: Id) -> bool {
        match self {
            Self::Link { dir, .. } | Self::Unlink { dir, .. } => *dir == directory,
            Self::Rename { from, to, .. } => from.0 == directory || to.0 == directory,
            Self::Write { .. } | Self::SetLen { .. } | Self::Set { .. } => false,
        }
    }

    /// Whether it changes the file or directory itself.
    pub(super) fn is_within(&self, node: Id) -> bool {
        match self {
            Self::Write { id, .. } | Self::SetLen { id, .. } | Self::Set { id, .. } => *id == node,
            Self::Link { .. } | Self::Unlink { .. } | Self::Rename { .. } => false,
        }
    }

    /// Whether it puts bytes into a file, which file systems do later than all else.
    pub(super) fn is_data(&self) -> bool {
        matches!(self, Self::Write { .. })
    }
}

/// The content of a file, leaving its access time alone.
fn read_quietly(path: &Path) -> io::Result<Vec<u8>> {
    let mut options = std::fs::OpenOptions::new();
    options.read(true).custom_flags(O_NOATIME);
    let mut content = Vec::new();
    options.open(path)?.read_to_end(&mut content)?;
    Ok(content)
}

impl Tree {
    /// Reads a real directory; also tells what became which node.
    pub(super) fn read(root: &Path) -> io::Result<(Self, HashMap<Identity, Id>)> {
        let mut tree = Self { nodes: Vec::new() };
        let mut known = HashMap::new();
        tree.add(root, &mut known)?;
        Ok((tree, known))
    }

    fn add(&mut self, path: &Path, known: &mut HashMap<Identity, Id>) -> io::Result<Id> {
        let metadata = path.symlink_metadata()?;
        let identity = (metadata.dev(), metadata.ino());
        if let Some(&id) = known.get(&identity) {
            return Ok(id); // a further name
        }
        let id = self.create(metadata.is_dir());
        known.insert(identity, id);
        self.nodes[id].mode = Some(metadata.mode() & 0o7777);
        if metadata.is_dir() {
            for entry in path.read_dir()? {
                let entry = entry?;
                let child = self.add(&entry.path(), known)?;
                self.link(id, entry.file_name(), child);
            }
        } else {
            self.nodes[id].accessed = Some(FileTime::accessed(&metadata));
            self.nodes[id].content = Content::File(read_quietly(path)?);
        }
        Ok(id)
    }

    /// A new file or directory, still without a name.
    pub(super) fn create(&mut self, is_dir: bool) -> Id {
        let content = if is_dir {
            Content::Dir(BTreeMap::new())
        } else {
            Content::File(Vec::new())
        };
        self.nodes.push(Node {
            content,
            mode: None,
            accessed: None,
        });
        self.nodes.len() - 1
    }

    /// Takes over the nodes that the other tree has beyond ours, empty.
    pub(super) fn allocate_like(&mut self, other: &Self) {
        while self.nodes.len() < other.nodes.len() {
            let is_dir = matches!(other.nodes[self.nodes.len()].content, Content::Dir(_));
            self.create(is_dir);
        }
    }

    /// What has a name relative to the root.
    pub(super) fn find(&self, relative: &Path) -> Option<Id> {
        let mut id = ROOT;
        for component in relative.components() {
            let Component::Normal(name) = component else {
                return None;
            };
            id = *self.names(id)?.get(name)?;
        }
        Some(id)
    }

    fn names(&self, id: Id) -> Option<&BTreeMap<OsString, Id>> {
        match &self.nodes[id].content {
            Content::Dir(names) => Some(names),
            Content::File(_) => None,
        }
    }

    fn link(&mut self, dir: Id, name: OsString, id: Id) {
        if let Content::Dir(names) = &mut self.nodes[dir].content {
            names.insert(name, id);
        }
    }

    fn unlink(&mut self, dir: Id, name: &OsStr) {
        if let Content::Dir(names) = &mut self.nodes[dir].content {
            names.remove(name);
        }
    }

    fn bytes(&mut self, id: Id) -> Option<&mut Vec<u8>> {
        match &mut self.nodes[id].content {
            Content::File(bytes) => Some(bytes),
            Content::Dir(_) => None,
        }
    }

    /// Makes a change; what it does not find it passes over.
    pub(super) fn apply(&mut self, change: &Change) {
        match change {
            Change::Link { dir, name, id } => self.link(*dir, name.clone(), *id),
            Change::Unlink { dir, name } => self.unlink(*dir, name),
            Change::Rename { from, to, id } => {
                if self.names(from.0).and_then(|names| names.get(&from.1)) == Some(id) {
                    self.unlink(from.0, &from.1);
                }
                self.link(to.0, to.1.clone(), *id);
            }
            Change::Write { id, offset, bytes } => {
                if let Some(content) = self.bytes(*id) {
                    let end = offset + bytes.len();
                    content.resize(content.len().max(end), 0);
                    content[*offset..end].copy_from_slice(bytes);
                }
            }
            Change::SetLen { id, len } => {
                if let Some(content) = self.bytes(*id) {
                    content.resize(*len, 0);
                }
            }
            Change::Set { id, attribute } => match *attribute {
                Attribute::Mode(mode) => self.nodes[*id].mode = Some(mode),
                Attribute::AccessTime(time) => self.nodes[*id].accessed = Some(time),
                Attribute::Owner(..) => {}
            },
        }
    }

    /// The length of a write arrives, but not its bytes: zeros where there was nothing.
    pub(super) fn apply_length_of(&mut self, change: &Change) {
        if let Change::Write { id, offset, bytes } = change
            && let Some(content) = self.bytes(*id)
        {
            content.resize(content.len().max(offset + bytes.len()), 0);
        }
    }

    /// A part of a write arrives.
    pub(super) fn apply_part_of(&mut self, change: &Change, part: usize) {
        if let Change::Write { id, offset, bytes } = change {
            self.apply(&Change::Write {
                id: *id,
                offset: *offset,
                bytes: bytes[..part.min(bytes.len())].to_vec(),
            });
        }
    }

    /// Names, contents and attributes of all that has a name, as one number.
    pub(super) fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash_into(ROOT, &mut hasher);
        hasher.finish()
    }

    fn hash_into(&self, id: Id, hasher: &mut DefaultHasher) {
        let node = &self.nodes[id];
        (node.mode, node.accessed).hash(hasher);
        match &node.content {
            Content::File(bytes) => bytes.hash(hasher),
            Content::Dir(names) => {
                for (name, child) in names {
                    name.hash(hasher);
                    self.hash_into(*child, hasher);
                }
                u64::MAX.hash(hasher);
            }
        }
    }

    /// Makes a real, existing directory hold exactly this tree.
    pub(super) fn write(&self, root: &Path) -> io::Result<()> {
        for entry in root.read_dir()? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                std::fs::remove_dir_all(entry.path())?;
            } else {
                std::fs::remove_file(entry.path())?;
            }
        }
        self.fill(ROOT, root, &mut HashMap::new())
    }

    fn fill(
        &self,
        id: Id,
        path: &Path,
        written: &mut HashMap<Id, std::path::PathBuf>,
    ) -> io::Result<()> {
        let node = &self.nodes[id];
        match &node.content {
            Content::Dir(names) => {
                if id != ROOT {
                    std::fs::create_dir(path)?;
                }
                for (name, child) in names {
                    self.fill(*child, &path.join(name), written)?;
                }
            }
            Content::File(bytes) => {
                if let Some(other) = written.get(&id) {
                    return std::fs::hard_link(other, path);
                }
                std::fs::write(path, bytes)?;
                written.insert(id, path.to_path_buf());
            }
        }
        if let Some(mode) = node.mode {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
        }
        if let Some(time) = node.accessed {
            let millis = u64::try_from(time.millis()).unwrap_or(0);
            let time = SystemTime::UNIX_EPOCH + Duration::from_millis(millis);
            let times = std::fs::FileTimes::new().set_accessed(time);
            std::fs::File::open(path)?.set_times(times)?;
        }
        Ok(())
    }
}
