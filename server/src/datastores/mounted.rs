//! Datastores on removable devices, which the system mounts: whether they are there.

use std::path::Path;

use api_types::datastore::DatastoreConfig;

use super::Datastores;

/// What is said of one whose device is not there.
pub const NOT_MOUNTED: &str = "notmounted";

/// Whether the directory of a datastore on a removable device is there. Looks at the disk.
#[must_use]
pub fn mount_status(config: &DatastoreConfig) -> &'static str {
    if config.backing_device.is_none() {
        "nonremovable"
    } else if is_mounted(config) {
        "mounted"
    } else {
        NOT_MOUNTED
    }
}

/// Whether there is a datastore in the directory. Looks at the disk.
pub(super) fn is_mounted(config: &DatastoreConfig) -> bool {
    Path::new(&config.absolute_path()).join(".chunks").is_dir()
}

impl Datastores {
    /// The same, on a thread that may wait; one that does not answer is not there.
    pub async fn mount_status(&self, config: &DatastoreConfig) -> &'static str {
        if config.backing_device.is_none() {
            // Of most that is known without a look.
            return mount_status(config);
        }
        let owned = config.clone();
        let env = self.env.clone();
        let look = async move { env.blocking(move || mount_status(&owned)).await };
        self.in_time(&config.name, look)
            .await
            .unwrap_or(NOT_MOUNTED)
    }
}
