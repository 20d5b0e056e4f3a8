//! Access lists as the kernel has them in extended attributes (`linux/posix_acl_xattr.h`), and as
//! archives have them (`pxar.md` §9).

use pxar::{Acl, AclEntry, DefaultAcl, NOT_SET, Stat};

/// The attribute with the list of a file.
pub const ACCESS: &[u8] = b"system.posix_acl_access";
/// The attribute with the list that new files in a directory get.
pub const DEFAULT: &[u8] = b"system.posix_acl_default";

const VERSION: u32 = 2;
const NO_ID: u32 = u32::MAX;
const USER_OBJ: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP_OBJ: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;

/// What is in such an attribute.
#[derive(Default)]
struct List {
    users: Vec<AclEntry>,
    groups: Vec<AclEntry>,
    user_obj: Option<u64>,
    group_obj: Option<u64>,
    mask: Option<u64>,
    other: Option<u64>,
}

impl List {
    fn parse(value: &[u8]) -> Option<Self> {
        let (version, entries) = value.split_first_chunk()?;
        if u32::from_le_bytes(*version) != VERSION || entries.len() % 8 != 0 {
            return None;
        }
        let mut list = Self::default();
        for entry in entries.chunks_exact(8) {
            let (tag, rest) = entry.split_first_chunk()?;
            let (permissions, id) = rest.split_first_chunk()?;
            let permissions = u64::from(u16::from_le_bytes(*permissions));
            let named = AclEntry {
                id: u32::from_le_bytes(*id.first_chunk()?).into(),
                permissions,
            };
            match u16::from_le_bytes(*tag) {
                USER_OBJ => list.user_obj = Some(permissions),
                USER => list.users.push(named),
                GROUP_OBJ => list.group_obj = Some(permissions),
                GROUP => list.groups.push(named),
                MASK => list.mask = Some(permissions),
                OTHER => list.other = Some(permissions),
                _ => return None,
            }
        }
        for entries in [&mut list.users, &mut list.groups] {
            entries.sort_unstable_by_key(|entry| (entry.id, entry.permissions));
        }
        Some(list)
    }

    /// The value of the attribute; none if an id or permission is beyond what the kernel knows.
    fn encode(&self) -> Option<Vec<u8>> {
        let mut value = VERSION.to_le_bytes().to_vec();
        let mut push = |tag: u16, permissions: u64, id: u32| {
            value.extend_from_slice(&tag.to_le_bytes());
            value.extend_from_slice(&u16::try_from(permissions).ok()?.to_le_bytes());
            value.extend_from_slice(&id.to_le_bytes());
            Some(())
        };
        if let Some(permissions) = self.user_obj {
            push(USER_OBJ, permissions, NO_ID)?;
        }
        for user in &self.users {
            push(USER, user.permissions, u32::try_from(user.id).ok()?)?;
        }
        if let Some(permissions) = self.group_obj {
            push(GROUP_OBJ, permissions, NO_ID)?;
        }
        for group in &self.groups {
            push(GROUP, group.permissions, u32::try_from(group.id).ok()?)?;
        }
        if let Some(permissions) = self.mask {
            push(MASK, permissions, NO_ID)?;
        }
        if let Some(permissions) = self.other {
            push(OTHER, permissions, NO_ID)?;
        }
        Some(value)
    }
}

/// Adds the list of a file; false if it makes no sense.
pub fn read_access(acl: &mut Acl, value: &[u8]) -> bool {
    let Some(list) = List::parse(value) else {
        return false;
    };
    // With a mask, that is what the mode has for the group.
    acl.group_obj = list.group_obj.filter(|_| list.mask.is_some());
    acl.users = list.users;
    acl.groups = list.groups;
    true
}

/// Adds the list for new files; false if it makes no sense.
pub fn read_default(acl: &mut Acl, value: &[u8]) -> bool {
    let Some(list) = List::parse(value) else {
        return false;
    };
    let objects = [list.user_obj, list.group_obj, list.other, list.mask];
    let [user_obj, group_obj, other, mask] = objects.map(|it| it.unwrap_or(NOT_SET));
    acl.default = objects.iter().any(Option::is_some).then_some(DefaultAcl {
        user_obj,
        group_obj,
        other,
        mask,
    });
    acl.default_users = list.users;
    acl.default_groups = list.groups;
    true
}

/// What to put into the attribute [`ACCESS`]: the inner option is none if the mode says all.
#[must_use]
pub fn access_value(acl: &Acl, stat: &Stat) -> Option<Option<Vec<u8>>> {
    if acl.users.is_empty() && acl.groups.is_empty() && acl.group_obj.is_none() {
        return Some(None);
    }
    let class = |shift: u32| stat.mode >> shift & 7;
    let list = List {
        users: acl.users.clone(),
        groups: acl.groups.clone(),
        user_obj: Some(class(6)),
        group_obj: Some(acl.group_obj.unwrap_or(class(3))),
        mask: Some(class(3)),
        other: Some(class(0)),
    };
    list.encode().map(Some)
}

/// The permissions of a file that does not get its list. With one the mode has the mask in the group's
/// place: more than the group may do.
#[must_use]
pub fn mode_without_list(acl: &Acl, stat: &Stat) -> u32 {
    let mode = stat.permissions();
    let group = acl.group_obj.map_or(7, |rights| rights & 7);
    let group = u32::try_from(group).unwrap_or_default();
    mode & (!0o070 | group << 3)
}

/// What to put into the attribute [`DEFAULT`], likewise.
#[must_use]
pub fn default_value(acl: &Acl) -> Option<Option<Vec<u8>>> {
    let Some(objects) = acl.default else {
        let none = acl.default_users.is_empty() && acl.default_groups.is_empty();
        return none.then_some(None);
    };
    let set = |permissions: u64| (permissions != NOT_SET).then_some(permissions);
    let list = List {
        users: acl.default_users.clone(),
        groups: acl.default_groups.clone(),
        user_obj: set(objects.user_obj),
        group_obj: set(objects.group_obj),
        mask: set(objects.mask),
        other: set(objects.other),
    };
    list.encode().map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: u64, permissions: u64) -> AclEntry {
        AclEntry { id, permissions }
    }

    #[test]
    fn lists_come_and_go_unchanged() {
        let acl = Acl {
            users: vec![entry(33, 6), entry(1000, 7)],
            groups: vec![entry(5, 4)],
            group_obj: Some(1),
            default: Some(DefaultAcl {
                user_obj: 7,
                group_obj: 5,
                other: NOT_SET,
                mask: 7,
            }),
            default_users: vec![entry(33, 5)],
            default_groups: vec![],
        };
        let stat = Stat {
            mode: 0o100_674,
            ..Stat::default()
        };
        let access = access_value(&acl, &stat).unwrap().unwrap();
        assert_eq!(access.len(), 4 + 7 * 8);
        assert_eq!(hex::encode(&access[..12]), "0200000001000600ffffffff");
        let default = default_value(&acl).unwrap().unwrap();
        let mut read = Acl::default();
        assert!(read_access(&mut read, &access) && read_default(&mut read, &default));
        assert_eq!(read, acl);
    }

    #[test]
    fn without_its_list_a_file_gives_its_group_what_the_list_did() {
        for (mode, group, expected) in [
            (0o100_674, None, 0o674),
            (0o100_674, Some(4), 0o644),
            (0o100_674, Some(0), 0o604),
            // The mask holds for the owning group, too.
            (0o102_640, Some(7), 0o2640),
        ] {
            let acl = Acl {
                group_obj: group,
                ..Acl::default()
            };
            let stat = Stat {
                mode,
                ..Stat::default()
            };
            assert_eq!(
                mode_without_list(&acl, &stat),
                expected,
                "{mode:o} {group:?}"
            );
        }
    }

    #[test]
    fn without_a_list_nothing_is_set_and_nonsense_is_noticed() {
        let mut acl = Acl::default();
        assert_eq!(access_value(&acl, &Stat::default()), Some(None));
        assert_eq!(default_value(&acl), Some(None));
        for bad in [
            &b""[..],
            &[1, 0, 0, 0],
            &[2, 0, 0, 0, 1],
            &[2, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0],
        ] {
            assert!(!read_access(&mut acl, bad) && !read_default(&mut acl, bad));
        }
        acl.users.push(entry(1 << 40, 7));
        assert_eq!(access_value(&acl, &Stat::default()), None);
    }
}
