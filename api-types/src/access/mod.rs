//! What someone may do: privileges, the roles that bundle them, and the paths they are given on
//! (`auth.md` §8).

mod acl_path;
mod privilege;
mod role;

pub use acl_path::AclPath;
pub use privilege::{Privilege, Privileges};
pub use role::Role;
