//! Encryption keys: where they lie, and who may read them.
