//! What the endpoints of the REST interface do, an area a module (`rest-api.md`).

pub mod access;
pub mod certificates;
pub mod ping;
pub mod version;
