//! Paths relative to the datastore: what a file is called in the cleanup journal and, behind
//! `S/.cnt/`, in the bucket (`s3-backend.md` §1).

use api_types::names::{BackupDir, BackupGroup, BackupNamespace};

use crate::backend::s3::keys::NAMESPACE_MARKER;
use crate::store::DataStore;

impl DataStore {
    /// `ns/a/vm/100/<time>/<name>`
    pub(crate) fn relative_file(
        &self,
        ns: &BackupNamespace,
        dir: &BackupDir,
        name: &str,
    ) -> String {
        ns.path_of(&format!("{}/{name}", dir.path()))
    }

    /// `ns/a/vm/100/<name>`
    pub(crate) fn relative_group_file(
        &self,
        ns: &BackupNamespace,
        group: &BackupGroup,
        name: &str,
    ) -> String {
        ns.path_of(&format!("{}/{name}", group.path()))
    }

    /// `ns/a/.namespace`, a file that exists in the bucket only.
    pub(crate) fn relative_namespace_marker(&self, ns: &BackupNamespace) -> String {
        ns.path_of(NAMESPACE_MARKER)
    }
}
