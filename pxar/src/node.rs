//! What a name in an archive stands for.

use crate::item::HEADER;

/// Types of files, as in the mode of `stat(2)`.
pub mod mode {
    /// The bits that hold the type.
    pub const TYPE: u64 = 0o170_000;
    /// A socket.
    pub const SOCKET: u64 = 0o140_000;
    /// A symbolic link.
    pub const SYMLINK: u64 = 0o120_000;
    /// A regular file.
    pub const FILE: u64 = 0o100_000;
    /// A block device.
    pub const BLOCK_DEVICE: u64 = 0o060_000;
    /// A directory.
    pub const DIRECTORY: u64 = 0o040_000;
    /// A character device.
    pub const CHAR_DEVICE: u64 = 0o020_000;
    /// A named pipe.
    pub const FIFO: u64 = 0o010_000;
}

/// A permission of an access list that is not set.
pub const NOT_SET: u64 = u64::MAX;

/// A time: seconds since the epoch, and nanoseconds after that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mtime {
    /// Whole seconds; negative before 1970.
    pub secs: i64,
    /// Less than a second.
    pub nanos: u32,
}

/// What `stat(2)` tells of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stat {
    /// Type and permissions.
    pub mode: u64,
    /// Attributes of `chattr(1)` and of FAT (`pxar.md` §8).
    pub flags: u64,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// When its content changed.
    pub mtime: Mtime,
}

impl Stat {
    /// The type, one of those in [`mode`].
    #[must_use]
    pub fn file_type(&self) -> u64 {
        self.mode & mode::TYPE
    }

    /// The permissions, with set-user-id and the like.
    #[must_use]
    pub fn permissions(&self) -> u32 {
        u32::try_from(self.mode & 0o7777).unwrap_or_default()
    }
}

/// An extended attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Xattr {
    /// Its name, with the name space in front.
    pub name: Vec<u8>,
    /// Its value.
    pub value: Vec<u8>,
}

impl Xattr {
    /// How many bytes an attribute with such a name and value takes in an archive.
    #[must_use]
    pub fn stored_len(name: &[u8], value: &[u8]) -> u64 {
        HEADER + name.len() as u64 + 1 + value.len() as u64
    }
}

/// What a user or group may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AclEntry {
    /// Whose id.
    pub id: u64,
    /// Read 4, write 2, execute 1.
    pub permissions: u64,
}

/// The part of a default access list that is about nobody by name. [`NOT_SET`] is possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DefaultAcl {
    /// The owner.
    pub user_obj: u64,
    /// The group.
    pub group_obj: u64,
    /// Everybody else.
    pub other: u64,
    /// What limits users and groups.
    pub mask: u64,
}

/// The access lists of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acl {
    /// Users.
    pub users: Vec<AclEntry>,
    /// Groups.
    pub groups: Vec<AclEntry>,
    /// The owning group, if the mode has the mask in its place.
    pub group_obj: Option<u64>,
    /// What new files in a directory get.
    pub default: Option<DefaultAcl>,
    /// Users of that.
    pub default_users: Vec<AclEntry>,
    /// Groups of that.
    pub default_groups: Vec<AclEntry>,
}

/// All that is known of a file beside what is in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// Mode, owner, time.
    pub stat: Stat,
    /// Extended attributes.
    pub xattrs: Vec<Xattr>,
    /// Further ones that were passed over when it was read, since they were beyond
    /// [`limits::ATTRIBUTES`](crate::limits::ATTRIBUTES).
    pub passed_over: u64,
    /// Access lists.
    pub acl: Acl,
    /// The value of the attribute `security.capability`.
    pub fcaps: Option<Vec<u8>>,
    /// The project whose quota it counts for.
    pub quota_project_id: Option<u64>,
}

/// The number of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device {
    /// Which driver.
    pub major: u64,
    /// Which of its devices.
    pub minor: u64,
}

/// Where the content of a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the same stream, from this byte on.
    Inline(u64),
    /// In the payload stream, behind the header at this byte.
    Reference(u64),
}

/// The content of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload {
    /// Where it is.
    pub place: Place,
    /// How long it is.
    pub size: u64,
}

/// What is in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Names; they follow.
    Directory,
    /// Bytes.
    File(Payload),
    /// A path.
    Symlink(Vec<u8>),
    /// A block device.
    BlockDevice(Device),
    /// A character device.
    CharDevice(Device),
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

/// A file of any type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inode {
    /// What is known of it.
    pub metadata: Metadata,
    /// What is in it.
    pub body: Body,
}

/// Another name of a regular file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hardlink {
    /// Its first name: a path from the root, without a slash in front.
    pub path: Vec<u8>,
    /// Where in the archive that name is.
    pub target: u64,
}

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// A file.
    Inode(Box<Inode>),
    /// A file that came before by another name.
    Hardlink(Hardlink),
}
