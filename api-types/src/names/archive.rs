//! Names of the files in a snapshot.

use super::check_safe_id;
use crate::ParseError;
use crate::macros::{named_enum, string_id};

named_enum! {
    /// How an archive is stored; decided by the last extension of its name alone.
    ArchiveType, "archive type" {
        /// Chunks of one size, for images.
        FixedIndex = "fidx",
        /// Chunks of varying size, for streams.
        DynamicIndex = "didx",
        /// One blob without chunks.
        Blob = "blob",
    }
}

string_id! {
    /// Name of a file in a snapshot directory as the server stores it, like `root.pxar.didx`.
    ArchiveName, "archive name", check_safe_id
}

impl ArchiveName {
    /// The manifest; a snapshot is finished when it has one.
    pub const MANIFEST: &'static str = "index.json.blob";
    /// Log that the client uploads after the backup.
    pub const CLIENT_LOG: &'static str = "client.log.blob";
    /// Catalog of the files in the archives.
    pub const CATALOG: &'static str = "catalog.pcat1.didx";
    /// The encryption key, encrypted with a master key.
    pub const RSA_KEY: &'static str = "rsa-encrypted.key.blob";

    /// Type by the last extension; none for names that do not occur in a listing of archives.
    #[must_use]
    pub fn archive_type(&self) -> Option<ArchiveType> {
        let (_, extension) = self.as_str().rsplit_once('.')?;
        extension.parse().ok()
    }

    /// Whether the file is an index, and so refers to chunks.
    #[must_use]
    pub fn is_index(&self) -> bool {
        matches!(
            self.archive_type(),
            Some(ArchiveType::FixedIndex | ArchiveType::DynamicIndex)
        )
    }

    /// Whether this is the manifest.
    #[must_use]
    pub fn is_manifest(&self) -> bool {
        self.as_str() == Self::MANIFEST
    }

    /// Maps the name that a user gives (`root.pxar`) to the stored one (`root.pxar.didx`).
    pub fn from_client_name(name: &str) -> Result<Self, ParseError> {
        let archive: Self = name.parse()?;
        if archive.archive_type().is_some() {
            return Ok(archive);
        }
        let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
        let stored = match extension {
            "pxar" | "mpxar" | "ppxar" | "pcat1" => ArchiveType::DynamicIndex,
            "img" => ArchiveType::FixedIndex,
            "conf" | "json" | "key" | "log" => ArchiveType::Blob,
            _ => {
                return Err(ParseError::new(
                    "archive name",
                    name,
                    "unknown extension, expected one of pxar, mpxar, ppxar, pcat1, img, conf, \
                     json, key, log, or the stored forms fidx, didx, blob",
                ));
            }
        };
        format!("{name}.{stored}").parse()
    }

    /// The name without the extension of its type: what [`Self::from_client_name`] was given.
    #[must_use]
    pub fn client_name(&self) -> &str {
        match self.archive_type() {
            Some(ty) => &self.as_str()[..self.as_str().len() - ty.as_str().len() - 1],
            None => self.as_str(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> ArchiveName {
        text.parse().unwrap()
    }

    #[test]
    fn only_the_last_extension_decides() {
        for (text, ty) in [
            ("root.pxar.didx", Some(ArchiveType::DynamicIndex)),
            ("disk.img.fidx", Some(ArchiveType::FixedIndex)),
            ("a.didx.blob", Some(ArchiveType::Blob)),
            ("index.json.blob", Some(ArchiveType::Blob)),
            ("blob", None),
            ("root.pxar", None),
            ("disk.img.tmp_fidx", None),
            ("disk.FIDX", None),
            ("disk.fidx.", None),
        ] {
            assert_eq!(name(text).archive_type(), ty, "{text}");
        }
        assert!(name("a.fidx").is_index());
        assert!(!name("a.blob").is_index());
        assert!(name(ArchiveName::MANIFEST).is_manifest());
    }

    #[test]
    fn client_names_are_mapped_by_extension() {
        for (client, stored) in [
            ("root.pxar", "root.pxar.didx"),
            ("root.mpxar", "root.mpxar.didx"),
            ("root.ppxar", "root.ppxar.didx"),
            ("catalog.pcat1", ArchiveName::CATALOG),
            ("drive-scsi0.img", "drive-scsi0.img.fidx"),
            ("qemu-server.conf", "qemu-server.conf.blob"),
            ("index.json", ArchiveName::MANIFEST),
            ("rsa-encrypted.key", ArchiveName::RSA_KEY),
            ("client.log", ArchiveName::CLIENT_LOG),
        ] {
            let archive = ArchiveName::from_client_name(client).unwrap();
            assert_eq!(archive.as_str(), stored);
            assert_eq!(archive.client_name(), client);
            assert_eq!(ArchiveName::from_client_name(stored).unwrap(), archive);
        }
        for bad in [
            "root",
            "root.txt",
            "",
            "../a.img",
            ".pxar",
            "a/b.img",
            "root.PXAR",
        ] {
            assert!(ArchiveName::from_client_name(bad).is_err(), "{bad:?}");
        }
        assert!(ArchiveName::from_client_name(&format!("{}.img", "x".repeat(250))).is_err());
    }
}
