//! Limits on the S3 request counters: the property string `notification-thresholds`.

use std::fmt;
use std::str::FromStr;

use crate::ParseError;
use crate::human::ByteSize;
use crate::macros::serde_as_string;
use crate::property::{PropertyReader, PropertyWriter};

/// When a counter goes above its limit, a notification is sent once. Absent or 0 is off.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct NotificationThresholds {
    /// GET requests, listings included.
    pub s3_get: Option<u64>,
    /// PUT requests.
    pub s3_put: Option<u64>,
    /// POST requests.
    pub s3_post: Option<u64>,
    /// HEAD requests.
    pub s3_head: Option<u64>,
    /// DELETE requests.
    pub s3_delete: Option<u64>,
    /// Bytes sent.
    pub s3_upload: Option<ByteSize>,
    /// Bytes received.
    pub s3_download: Option<ByteSize>,
}

impl FromStr for NotificationThresholds {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let mut reader = PropertyReader::from_string("notification thresholds", text, None)?;
        let any = 0..=u64::MAX;
        let thresholds = Self {
            s3_get: reader.take_number("s3-get", any.clone())?,
            s3_put: reader.take_number("s3-put", any.clone())?,
            s3_post: reader.take_number("s3-post", any.clone())?,
            s3_head: reader.take_number("s3-head", any.clone())?,
            s3_delete: reader.take_number("s3-delete", any)?,
            s3_upload: reader.take("s3-upload")?,
            s3_download: reader.take("s3-download")?,
        };
        reader.finish()?;
        Ok(thresholds)
    }
}

impl fmt::Display for NotificationThresholds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut writer = PropertyWriter::default();
        writer.push_opt("s3-get", self.s3_get.as_ref());
        writer.push_opt("s3-put", self.s3_put.as_ref());
        writer.push_opt("s3-post", self.s3_post.as_ref());
        writer.push_opt("s3-head", self.s3_head.as_ref());
        writer.push_opt("s3-delete", self.s3_delete.as_ref());
        writer.push_opt("s3-upload", self.s3_upload.as_ref());
        writer.push_opt("s3-download", self.s3_download.as_ref());
        f.pad(&writer.into_string())
    }
}

serde_as_string!(NotificationThresholds, "thresholds like \"s3-put=100000\"");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_as_read() {
        let text =
            "s3-get=1,s3-put=2,s3-post=3,s3-head=4,s3-delete=5,s3-upload=10 GB,s3-download=1 TiB";
        assert_eq!(
            text.parse::<NotificationThresholds>().unwrap().to_string(),
            text
        );
        for bad in ["s3-get=x", "s3-get=1 KB", "s3-list=1", "1"] {
            assert!(bad.parse::<NotificationThresholds>().is_err(), "{bad}");
        }
    }
}
