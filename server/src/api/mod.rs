//! What the endpoints of the REST interface do, an area a module (`rest-api.md`).

// access: follows
pub mod ping;
pub mod version;
