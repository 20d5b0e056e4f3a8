//! Names, ids, configuration entities and statuses of Coffer; no I/O.
