//! Where a datastore keeps its chunks: the property string `backend`.

use std::fmt;
use std::str::FromStr;

use crate::ParseError;
use crate::human::ByteSize;
use crate::macros::{named_enum, serde_as_string};
use crate::names::EndpointId;
use crate::property::{PropertyReader, PropertyWriter};
use crate::s3::BucketName;

const WHAT: &str = "datastore backend";

named_enum! {
    /// Kind of backend.
    BackendType, "backend type" {
        /// A local directory.
        Filesystem = "filesystem",
        /// A bucket, with a local cache directory.
        S3 = "s3",
    }
}

/// Where the chunks are. Prints as a property string, `type=s3,client=minio,bucket=pbs1`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum DatastoreBackend {
    /// Below the datastore's path.
    #[default]
    Filesystem,
    /// In a bucket; the datastore's path is the cache.
    S3 {
        /// The endpoint's section in the configuration.
        client: EndpointId,
        /// The bucket, which may hold several datastores.
        bucket: BucketName,
        /// Limit on the cached chunks; as much as there is room if absent.
        max_cache_size: Option<ByteSize>,
    },
}

impl DatastoreBackend {
    /// Kind of backend.
    #[must_use]
    pub const fn backend_type(&self) -> BackendType {
        match self {
            Self::Filesystem => BackendType::Filesystem,
            Self::S3 { .. } => BackendType::S3,
        }
    }

    /// Whether the chunks are in a bucket.
    #[must_use]
    pub const fn is_s3(&self) -> bool {
        matches!(self, Self::S3 { .. })
    }
}

impl FromStr for DatastoreBackend {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let mut reader = PropertyReader::from_string(WHAT, text, Some("type"))?;
        let backend = match reader.take("type")?.unwrap_or(BackendType::Filesystem) {
            BackendType::Filesystem => Self::Filesystem,
            BackendType::S3 => Self::S3 {
                client: reader.require("client")?,
                bucket: reader.require("bucket")?,
                max_cache_size: reader.take("max-cache-size")?,
            },
        };
        reader.finish()?;
        Ok(backend)
    }
}

impl fmt::Display for DatastoreBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut writer = PropertyWriter::default();
        writer.push("type", self.backend_type());
        if let Self::S3 {
            client,
            bucket,
            max_cache_size,
        } = self
        {
            writer.push("client", client);
            writer.push("bucket", bucket);
            writer.push_opt("max-cache-size", max_cache_size.as_ref());
        }
        f.pad(&writer.into_string())
    }
}

serde_as_string!(
    DatastoreBackend,
    "a backend like \"type=s3,client=minio,bucket=pbs1\""
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_as_read() {
        for text in [
            "type=filesystem",
            "type=s3,client=s3peer,bucket=pbsbucket",
            "type=s3,client=s3peer,bucket=pbsbucket,max-cache-size=10 GiB",
        ] {
            assert_eq!(text.parse::<DatastoreBackend>().unwrap().to_string(), text);
        }
        for text in ["", "filesystem"] {
            assert_eq!(
                text.parse::<DatastoreBackend>().unwrap(),
                DatastoreBackend::Filesystem
            );
        }
        assert!(
            "s3,bucket=pbs,client=abc"
                .parse::<DatastoreBackend>()
                .unwrap()
                .is_s3()
        );
    }

    #[test]
    fn each_type_has_its_keys() {
        for (bad, expected) in [
            ("type=s3", "'client' is missing"),
            ("type=s3,client=abc", "'bucket' is missing"),
            ("type=s3,bucket=abc", "'client' is missing"),
            ("filesystem,client=abc", "no property 'client'"),
            ("client=abc,bucket=abc", "no property 'client'"),
            ("type=tape", "expected one of filesystem, s3"),
            (
                "type=s3,client=abc,bucket=a.bc",
                "'bucket': invalid bucket name \"a.bc\"",
            ),
            (
                "type=s3,client=abc,bucket=abc,max-cache-size=x",
                "'max-cache-size': ",
            ),
        ] {
            let error = bad.parse::<DatastoreBackend>().unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
