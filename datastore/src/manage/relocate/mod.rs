//! Moves of groups and namespaces within a datastore (`datastore-layout.md` §9.5, `s3-backend.md`
//! §11).
//!
//! Both group locks are held exclusively from the first look to the last change; snapshots are
//! locked in batches, oldest first, so that whatever ends a move leaves two valid groups that the
//! next attempt can merge. A batch goes through these steps:
//!
//! ```text
//! lock     each snapshot exclusive under its old and its new name, its manifest under the old one
//! (0)      write all old and new paths into the cleanup journal
//! (1)      copy the objects of a snapshot to their new keys, its manifest last
//! (2)      metadata epoch shared, then move journal locked: append the new paths of the indexes,
//!          rename the directory, unlock both
//! (3)      after (1) and (2) of each: the renames are on disk (syncfs)
//! (4)      delete the old objects, manifests first, confirmed; close (0)
//! ```
//!
//! The metadata epoch is held for (2) alone, which is work on the local disk: the copies before it and
//! the deletes after it may take minutes with a slow bucket, and whoever wants to be alone with the
//! tree (a mark that does not end, the removal of a namespace), and all who come after that one,
//! would wait for them (ADR 21).
//!
//! On a filesystem datastore there are (2) and (3) only. The rename is what decides: the cleanup
//! journal makes the bucket equal to the local tree, so before it (0) takes the copies away again
//! and puts back what is missing at the old keys, and after it the other way round.
//!
//! # Interleavings
//!
//! | something else | at | and why it is safe |
//! |---|---|---|
//! | a mark walks past the new place, the rename happens, it walks past the old one | (2) | the new paths are in the move journal before the rename, and the journal is locked until after it: the mark, which reads it last, finds the file there |
//! | … it listed the old place and then does not find the snapshot | (2) | vanished: another pass; from the tenth on it waits for our share of the metadata epoch, which we ask for before the journal's lock, never while we hold that |
//! | a mirror check lists indexes at the new keys without a manifest | (1) | no orphans: their snapshot's lock is ours. Without a local file they are read from the bucket and marked |
//! | … or at the old keys without a manifest | (4) | the same, by the lock of the old name |
//! | chunks are found missing, their snapshot is to be failed under its old name | any | it is not found there, so the run does not count as one that marked all: no snapshot is a base until a run has |
//! | a session of the old or the new group | any | it holds the group lock to its end: the move is refused, or the session |
//! | a reader, a verification, an update of the manifest | any | holds the snapshot's or the manifest's lock: the move is refused, or they are |
//! | the target namespace is removed | before (0) | alone with the metadata epoch, as we are not while the group is made and locked: it finds the group, or we find no namespace |
//! | a namespace is removed | later | both groups are there until the end, and nobody else removes them, since they are locked: it is not empty |
//! | a mark reads alone, with the metadata epoch | (1), (4) | it finds the snapshot where it is here: the old place before (2), the new one after it. The bucket is asked for what is not here, as above |
//! | the process ends or the power fails | before (2) | copies are leftovers; (0) removes them |
//! | … | after (2), the rename kept | sources are leftovers; (0) removes them |
//! | … | after (2), the rename lost | nothing was deleted before (3): as before (2) |
//! | the disk is lost, the bucket is all there is | (1) to (4) | the snapshot is whole at the old keys, the new ones, or both: never at neither |
//! | late requests of an earlier attempt | (1) | their keys are in the cleanup journal until they cannot arrive any more; until then the move is refused |

mod batch;
mod group;
mod namespace;

pub use group::GroupMoved;
pub use namespace::{NamespaceMove, NamespaceMoved};
