//! The documents: what is taken from each. Unknown elements are ignored, the order is free.

use super::walk::{MAX_DEPTH, XmlError, walk};
use crate::timestamp::parse_iso8601_millis;

/// One object of a listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListEntry {
    /// Key as sent.
    pub key: String,
    /// Size in bytes.
    pub size: u64,
    /// Milliseconds since the epoch.
    pub last_modified: Option<i64>,
    /// Entity tag as sent, quotes included.
    pub etag: Option<String>,
    /// Storage class.
    pub storage_class: Option<String>,
}

/// `ListBucketResult`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListDocument {
    /// Whether more follows; `None` when the server does not say.
    pub is_truncated: Option<bool>,
    /// Token of the next page.
    pub next_token: Option<String>,
    /// The objects.
    pub entries: Vec<ListEntry>,
    /// Rolled-up prefixes.
    pub common_prefixes: Vec<String>,
}

/// One bucket of the account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BucketInfo {
    /// Its name.
    pub name: String,
    /// When it was created, milliseconds since the epoch.
    pub created: Option<i64>,
    /// Its region, if the server says.
    pub region: Option<String>,
}

/// `CopyObjectResult`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CopyResult {
    /// Entity tag of the copy.
    pub etag: Option<String>,
    /// Milliseconds since the epoch.
    pub last_modified: Option<i64>,
}

/// One `Deleted` or `Error` of a [`DeleteResult`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteEntry {
    /// The key, if the server names it.
    pub key: Option<String>,
    /// Error code (errors only).
    pub code: String,
    /// Error message (errors only).
    pub message: String,
    /// Only a delete marker was written (deletions only).
    pub delete_marker: bool,
}

/// `DeleteResult`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteResult {
    /// Deletions the server lists (none in quiet mode).
    pub deleted: Vec<DeleteEntry>,
    /// Keys that failed.
    pub errors: Vec<DeleteEntry>,
}

/// `Error`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErrorDocument {
    /// S3 error code.
    pub code: String,
    /// Its message.
    pub message: String,
    /// Request id.
    pub request_id: Option<String>,
    /// Region the bucket is in.
    pub region: Option<String>,
    /// Clock of the server, milliseconds since the epoch.
    pub server_time: Option<i64>,
    /// Header the server objects to.
    pub header: Option<String>,
}

fn non_empty(text: &str) -> Option<String> {
    if text.is_empty() {
        None
    } else {
        Some(text.to_owned())
    }
}

fn flag(text: &str) -> bool {
    matches!(text.trim(), "true" | "True" | "TRUE" | "1")
}

/// Whether a page is not the last. What is neither yes nor no is an error: taken for a no, it
/// would cut the listing short.
fn truncated(text: &str) -> Result<Option<bool>, XmlError> {
    match text.trim() {
        "" => Ok(None),
        "false" | "False" | "FALSE" | "0" => Ok(Some(false)),
        yes if flag(yes) => Ok(Some(true)),
        _ => Err(XmlError::Field {
            name: "IsTruncated",
            problem: "neither true nor false",
        }),
    }
}

/// A path that can be matched against names.
fn borrow<'a, 'b>(path: &'a [String], names: &'b mut [&'a str; MAX_DEPTH]) -> &'b [&'a str] {
    for (name, part) in names.iter_mut().zip(path) {
        *name = part;
    }
    &names[..path.len().min(MAX_DEPTH)]
}

/// Walks a document whose root must be `root`; an `Error` document becomes [`XmlError::Error`].
fn document<F>(body: &[u8], root: &'static str, mut visit: F) -> Result<(), XmlError>
where
    F: FnMut(&[&str], &str) -> Result<(), XmlError>,
{
    let mut wrong = None;
    walk(body, |path, text| {
        let mut names = [""; MAX_DEPTH];
        match borrow(path, &mut names).split_first() {
            Some((&first, rest)) if first == root => visit(rest, text),
            Some((&first, _)) => {
                wrong = Some(first.to_owned());
                Ok(())
            }
            None => Ok(()),
        }
    })?;
    match wrong {
        None => Ok(()),
        Some(found) if found == "Error" => Err(XmlError::Error(Box::new(parse_error(body)?))),
        Some(found) => Err(XmlError::WrongRoot {
            expected: root,
            found: found.chars().take(64).collect(),
        }),
    }
}

/// Parses an error document.
///
/// # Errors
/// When the body is no complete error document with a code.
pub fn parse_error(body: &[u8]) -> Result<ErrorDocument, XmlError> {
    let mut error = ErrorDocument::default();
    let mut root = String::new();
    walk(body, |path, text| {
        let mut names = [""; MAX_DEPTH];
        match *borrow(path, &mut names) {
            [name] => name.clone_into(&mut root),
            // Some servers wrap the error in `ErrorResponse`.
            ["Error", field] | ["ErrorResponse", "Error", field] => match field {
                "Code" => text.trim().clone_into(&mut error.code),
                "Message" => text.clone_into(&mut error.message),
                "RequestId" => error.request_id = non_empty(text),
                "Region" => error.region = non_empty(text.trim()),
                "ServerTime" => error.server_time = parse_iso8601_millis(text),
                "Header" => error.header = non_empty(text),
                _ => {}
            },
            _ => {}
        }
        Ok(())
    })?;
    if root != "Error" && root != "ErrorResponse" {
        return Err(XmlError::WrongRoot {
            expected: "Error",
            found: root,
        });
    }
    if error.code.is_empty() {
        return Err(XmlError::Field {
            name: "Code",
            problem: "missing",
        });
    }
    Ok(error)
}

/// Parses a page of a listing.
///
/// # Errors
/// When the body is no complete `ListBucketResult`, or an entry lacks its key or size.
pub fn parse_list(body: &[u8]) -> Result<ListDocument, XmlError> {
    let mut list = ListDocument::default();
    let mut entry = ListEntry::default();
    let mut size = None;
    document(body, "ListBucketResult", |path, text| {
        match *path {
            ["IsTruncated"] => list.is_truncated = truncated(text)?,
            ["NextContinuationToken"] => list.next_token = non_empty(text),
            ["Contents", "Key"] => text.clone_into(&mut entry.key),
            ["Contents", "Size"] => size = text.trim().parse().ok(),
            ["Contents", "LastModified"] => entry.last_modified = parse_iso8601_millis(text),
            ["Contents", "ETag"] => entry.etag = non_empty(text),
            ["Contents", "StorageClass"] => entry.storage_class = non_empty(text),
            ["Contents"] => {
                let mut done = std::mem::take(&mut entry);
                if done.key.is_empty() {
                    return Err(XmlError::Field {
                        name: "Contents/Key",
                        problem: "missing",
                    });
                }
                done.size = size.take().ok_or(XmlError::Field {
                    name: "Contents/Size",
                    problem: "missing or no number",
                })?;
                list.entries.push(done);
            }
            ["CommonPrefixes", "Prefix"] => list.common_prefixes.push(text.to_owned()),
            _ => {}
        }
        Ok(())
    })?;
    Ok(list)
}

/// Parses the list of buckets.
///
/// # Errors
/// When the body is no complete `ListAllMyBucketsResult`, or a bucket has no name.
pub fn parse_list_buckets(body: &[u8]) -> Result<Vec<BucketInfo>, XmlError> {
    let mut buckets = Vec::new();
    let mut bucket = BucketInfo::default();
    document(body, "ListAllMyBucketsResult", |path, text| {
        match *path {
            ["Buckets", "Bucket", "Name"] => text.clone_into(&mut bucket.name),
            ["Buckets", "Bucket", "CreationDate"] => bucket.created = parse_iso8601_millis(text),
            ["Buckets", "Bucket", "BucketRegion"] => bucket.region = non_empty(text),
            ["Buckets", "Bucket"] => {
                let done = std::mem::take(&mut bucket);
                if done.name.is_empty() {
                    return Err(XmlError::Field {
                        name: "Bucket/Name",
                        problem: "missing",
                    });
                }
                buckets.push(done);
            }
            _ => {}
        }
        Ok(())
    })?;
    Ok(buckets)
}

/// Parses the answer to a batched delete.
///
/// # Errors
/// When the body is no complete `DeleteResult`.
pub fn parse_delete(body: &[u8]) -> Result<DeleteResult, XmlError> {
    let mut result = DeleteResult::default();
    let mut entry = DeleteEntry::default();
    document(body, "DeleteResult", |path, text| {
        match *path {
            ["Deleted" | "Error", "Key"] => entry.key = non_empty(text),
            ["Error", "Code"] => text.trim().clone_into(&mut entry.code),
            ["Error", "Message"] => text.clone_into(&mut entry.message),
            ["Deleted", "DeleteMarker"] => entry.delete_marker = flag(text),
            ["Deleted", "DeleteMarkerVersionId"] => entry.delete_marker |= !text.is_empty(),
            ["Deleted"] => result.deleted.push(std::mem::take(&mut entry)),
            ["Error"] => result.errors.push(std::mem::take(&mut entry)),
            _ => {}
        }
        Ok(())
    })?;
    Ok(result)
}

/// Parses the answer to a copy.
///
/// # Errors
/// When the body is no complete `CopyObjectResult`; a 200 with an error document is a failure.
pub fn parse_copy(body: &[u8]) -> Result<CopyResult, XmlError> {
    let mut copy = CopyResult::default();
    document(body, "CopyObjectResult", |path, text| {
        match *path {
            ["ETag"] => copy.etag = non_empty(text),
            ["LastModified"] => copy.last_modified = parse_iso8601_millis(text),
            _ => {}
        }
        Ok(())
    })?;
    Ok(copy)
}

/// The body of a batched delete, in quiet mode: the answer lists only failures.
#[must_use]
pub fn delete_request<'a>(keys: impl Iterator<Item = &'a str>) -> String {
    let mut xml = String::from(
        "<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Quiet>true</Quiet>",
    );
    for key in keys {
        xml.push_str("<Object><Key>");
        escape_into(&mut xml, key);
        xml.push_str("</Key></Object>");
    }
    xml.push_str("</Delete>");
    xml
}

fn escape_into(out: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            // A literal one would be normalised away by the reader.
            '\r' => out.push_str("&#13;"),
            '\n' => out.push_str("&#10;"),
            '\t' => out.push_str("&#9;"),
            other => out.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sigv4::sha256_hex;
    use proptest::prelude::*;

    #[test]
    fn delete_body_is_vector_b3() {
        let keys = [
            "store1/.chunks/bb9f/bb9f8df61474d25e71fa00722318cd387396ca1736605e1248821cc0de3d3af8",
            "store1/.cnt/host/a&b/owner",
        ];
        let body = delete_request(keys.into_iter());
        assert_eq!(body.len(), 254);
        assert_eq!(
            sha256_hex(body.as_bytes()),
            "3697561fa0ddf92991c1567dcb3d403eb93ee59917b46134393b5fba99f3664f"
        );
    }

    #[test]
    fn a_minimal_page_needs_nothing_but_keys_and_sizes() {
        let xml = b"<ListBucketResult><Contents><Size>7</Size><Key> a&amp;b </Key></Contents>\
            <CommonPrefixes><Prefix>p/</Prefix></CommonPrefixes></ListBucketResult>";
        let list = parse_list(xml).unwrap();
        assert!(list.is_truncated != Some(true) && list.next_token.is_none());
        assert_eq!((&*list.entries[0].key, list.entries[0].size), (" a&b ", 7));
        assert_eq!(list.common_prefixes, ["p/"]);
    }

    #[test]
    fn a_full_page() {
        let xml = br#"<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name>
<IsTruncated>true</IsTruncated><NextContinuationToken>t/1=</NextContinuationToken>
<Contents><Key>k</Key><LastModified>2025-07-14T14:20:02.123Z</LastModified>
<ETag>&#34;abc&#34;</ETag><Size>1</Size><Owner><ID>x</ID></Owner><StorageClass>STANDARD</StorageClass>
</Contents></ListBucketResult>"#;
        let list = parse_list(xml).unwrap();
        assert_eq!(list.is_truncated, Some(true));
        assert_eq!(list.next_token.as_deref(), Some("t/1="));
        let entry = &list.entries[0];
        assert_eq!(entry.last_modified, Some(1_752_502_802_123));
        assert_eq!(entry.etag.as_deref(), Some("\"abc\""));
        assert_eq!(entry.storage_class.as_deref(), Some("STANDARD"));
    }

    #[test]
    fn entries_without_key_or_size_are_errors() {
        for bad in [
            "<Contents><Key>k</Key></Contents>",
            "<Contents><Size>1</Size></Contents>",
            "<Contents><Key>k</Key><Size>-1</Size></Contents>",
            "<Contents><Key>k</Key><Size>99999999999999999999</Size></Contents>",
        ] {
            let xml = format!("<ListBucketResult>{bad}</ListBucketResult>");
            assert!(
                matches!(parse_list(xml.as_bytes()), Err(XmlError::Field { .. })),
                "{bad}"
            );
        }
    }

    #[test]
    fn whether_a_page_is_the_last_is_not_guessed() {
        let read = |text: &str| {
            let xml =
                format!("<ListBucketResult><IsTruncated>{text}</IsTruncated></ListBucketResult>");
            parse_list(xml.as_bytes()).map(|list| list.is_truncated)
        };
        for (text, expected) in [
            (" true ", Some(true)),
            ("1", Some(true)),
            ("false", Some(false)),
            ("", None),
        ] {
            assert_eq!(read(text), Ok(expected), "{text:?}");
        }
        assert!(matches!(read("yes"), Err(XmlError::Field { .. })));
    }

    #[test]
    fn an_error_document_in_place_of_the_result_is_seen() {
        let xml = b"<Error><Code>InternalError</Code><Message>oops</Message></Error>";
        for result in [
            parse_copy(xml).err(),
            parse_delete(xml).err(),
            parse_list(xml).err(),
        ] {
            assert!(matches!(result, Some(XmlError::Error(e)) if e.code == "InternalError"));
        }
        assert!(matches!(
            parse_copy(b"<html/>"),
            Err(XmlError::WrongRoot { .. })
        ));
        assert_eq!(parse_copy(b"").unwrap_err(), XmlError::Truncated);
    }

    #[test]
    fn deletions_and_failures() {
        let xml = b"<DeleteResult><Deleted><Key>a</Key><DeleteMarker>true</DeleteMarker></Deleted>\
            <Error><Key>b</Key><Code>AccessDenied</Code><Message>no</Message></Error>\
            <Error><Code>InternalError</Code></Error></DeleteResult>";
        let result = parse_delete(xml).unwrap();
        assert!(result.deleted[0].delete_marker);
        assert_eq!(result.errors[0].key.as_deref(), Some("b"));
        assert_eq!(result.errors[1].key, None);
        assert_eq!(
            parse_delete(b"<DeleteResult/>").unwrap(),
            DeleteResult::default()
        );
    }

    #[test]
    fn error_documents() {
        let error = parse_error(
            b"<Error><Code>RequestTimeTooSkewed</Code><ServerTime>1970-01-01T00:00:01Z</ServerTime>\
              <RequestId>r1</RequestId><Region>eu-x</Region><Header>If-None-Match</Header></Error>",
        )
        .unwrap();
        assert_eq!(error.server_time, Some(1000));
        assert_eq!(error.request_id.as_deref(), Some("r1"));
        assert_eq!(error.region.as_deref(), Some("eu-x"));
        assert_eq!(error.header.as_deref(), Some("If-None-Match"));
        for bad in ["", "not found", "<html><body/></html>", "<Error></Error>"] {
            assert!(parse_error(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn buckets() {
        let xml = b"<ListAllMyBucketsResult><Buckets><Bucket><Name>one</Name></Bucket><Bucket>\
            <Name>two</Name><CreationDate>1970-01-01T00:00:00Z</CreationDate></Bucket></Buckets>\
            </ListAllMyBucketsResult>";
        let names: Vec<_> = parse_list_buckets(xml)
            .unwrap()
            .into_iter()
            .map(|b| b.name)
            .collect();
        assert_eq!(names, ["one", "two"]);
        assert!(
            parse_list_buckets(b"<ListAllMyBucketsResult/>")
                .unwrap()
                .is_empty()
        );
    }

    proptest! {
        #[test]
        fn keys_survive_escaping(key in "\\PC{1,40}") {
            let xml = delete_request(std::iter::once(key.as_str()));
            let mut seen = None;
            walk(xml.as_bytes(), |path, text| {
                if path.last().is_some_and(|name| name == "Key") {
                    seen = Some(text.to_owned());
                }
                Ok(())
            }).unwrap();
            prop_assert_eq!(seen, Some(key));
        }

        #[test]
        fn hostile_bytes_never_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse_list(&body);
            let _ = parse_error(&body);
            let _ = parse_delete(&body);
        }
    }
}
