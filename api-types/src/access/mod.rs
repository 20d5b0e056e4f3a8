//! Who may do what: users and tokens, privileges, the roles that bundle them, and the paths they
//! are given on (`auth.md` §8, §9).

mod acl_path;
mod privilege;
mod role;
mod user;

pub use acl_path::AclPath;
pub use privilege::{Privilege, Privileges};
pub use role::Role;
pub use user::{Account, ApiToken, User};
