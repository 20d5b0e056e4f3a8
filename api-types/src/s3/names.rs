//! Small names: buckets, regions, storage classes, quirks.

use std::borrow::Cow;

use crate::macros::{named_enum, string_id};

type Reason = Cow<'static, str>;

fn check_bucket(text: &str) -> Result<(), Reason> {
    if !(3..=63).contains(&text.len()) {
        return Err("must have 3 to 63 characters".into());
    }
    if !text
        .bytes()
        .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
    {
        return Err("only the characters a-z, 0-9 and '-' are allowed".into());
    }
    if text.starts_with('-') || text.ends_with('-') {
        return Err("must begin and end with a letter or a digit".into());
    }
    if let Some(prefix) = ["xn--", "sthree-", "amzn-s3-demo-"]
        .into_iter()
        .find(|prefix| text.starts_with(prefix))
    {
        return Err(format!("must not begin with the reserved '{prefix}'").into());
    }
    // The reserved ".mrap" is excluded already: there are no dots.
    if let Some(suffix) = ["--ol-s3", "--x-s3"]
        .into_iter()
        .find(|suffix| text.ends_with(suffix))
    {
        return Err(format!("must not end with the reserved '{suffix}'").into());
    }
    Ok(())
}

string_id! {
    /// Name of a bucket: 3 to 63 of `[a-z0-9-]`, no dots, so that it is always one host label.
    BucketName, "bucket name", check_bucket
}

fn check_region(text: &str) -> Result<(), Reason> {
    if !(2..=32).contains(&text.len()) {
        return Err("must have 2 to 32 characters".into());
    }
    if !text
        .bytes()
        .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'))
    {
        return Err("only the characters a-z, 0-9, '_' and '-' are allowed".into());
    }
    if text.starts_with('-') {
        return Err("must begin with a letter, a digit or '_'".into());
    }
    Ok(())
}

string_id! {
    /// Region of an endpoint, part of every signature.
    Region, "region", check_region
}

impl Default for Region {
    /// What upstream signs with when no region is configured.
    fn default() -> Self {
        Self("us-west-1".into())
    }
}

fn check_storage_class(text: &str) -> Result<(), Reason> {
    let allowed = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-');
    if text.is_empty() || text.len() > 64 || !text.bytes().all(allowed) {
        return Err("expected a name like STANDARD_IA".into());
    }
    Ok(())
}

string_id! {
    /// Storage class that chunks are uploaded with.
    StorageClass, "storage class", check_storage_class
}

named_enum! {
    /// A deviation of a provider that the client has to work around.
    ProviderQuirk, "provider quirk" {
        /// Do not send `If-None-Match` on uploads; overwrites happen.
        SkipIfNoneMatchHeader = "skip-if-none-match-header",
        /// Delete one by one, `DeleteObjects` is not implemented.
        DeleteObjectsViaDeleteObject = "delete-objects-via-delete-object",
        /// A listing or a read may show an older state.
        EventualConsistency = "eventual-consistency",
        /// Ask for percent-encoded keys in listings.
        ListEncodingUrl = "list-encoding-url",
        /// Do not send `Content-MD5`.
        NoContentMd5 = "no-content-md5",
        /// Deleting what does not exist answers 404; that counts as done. Always on.
        Delete404Ok = "delete-404-ok",
        /// Ask with HEAD before every upload.
        HeadBeforePut = "head-before-put",
        /// Sign without the digest of the body.
        UnsignedPayload = "unsigned-payload",
    }
}

named_enum! {
    /// How uploads are protected beside the signature.
    ChecksumMode, "checksum mode" {
        /// The header `Content-MD5`, which every server understands.
        ContentMd5 = "content-md5",
        /// `x-amz-checksum-crc32c`.
        Crc32c = "crc32c",
        /// None.
        None = "none",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets() {
        for good in ["abc", "pbsbucket", "a-1", "1a2", &"x".repeat(63), "my-x-s3"] {
            assert!(good.parse::<BucketName>().is_ok(), "{good:?}");
        }
        for bad in [
            "",
            "ab",
            &"x".repeat(64),
            "Abc",
            "a.b",
            "a_b",
            "-ab",
            "ab-",
            "a/b",
            "a b",
            "abc\n",
            "xn--abc",
            "sthree-abc",
            "amzn-s3-demo-x",
            "abc--ol-s3",
            "abc.mrap",
            "abc--x-s3",
            "äbc",
        ] {
            assert!(bad.parse::<BucketName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn regions() {
        for good in ["us-east-1", "auto", "fsn1", "de", "_x", &"a".repeat(32)] {
            assert!(good.parse::<Region>().is_ok(), "{good:?}");
        }
        for bad in ["", "a", "-a", "US", "a.b", "a/b", &"a".repeat(33)] {
            assert!(bad.parse::<Region>().is_err(), "{bad:?}");
        }
        assert_eq!(
            Region::default().as_str().parse::<Region>().unwrap(),
            Region::default()
        );
    }

    #[test]
    fn quirks_have_the_names_of_the_configuration_file() {
        for quirk in ProviderQuirk::ALL {
            assert_eq!(quirk.as_str().parse::<ProviderQuirk>().unwrap(), *quirk);
        }
        let error = "no-such".parse::<ProviderQuirk>().unwrap_err().to_string();
        assert!(
            error.contains("expected one of skip-if-none-match-header, "),
            "{error}"
        );
    }
}
