//! Listings: a stream of pages, with checks that a server cannot lead in circles.

use std::collections::HashSet;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use super::listing::Listing;
use super::object::ETag;
use crate::classify::{Failure, RetryClass, bad_document, failure_of, protocol};
use crate::client::S3Client;
use crate::encode::decode_listed;
use crate::error::{ErrorContext, S3Error, S3ErrorKind, Subject};
use crate::key::{ListPrefix, ObjectKey};
use crate::operation::Operation;
use crate::transport::Response;
use crate::xml::{ListDocument, parse_list};

/// A page of 1000 keys has less than this even with the longest keys.
const MAX_PAGE: usize = 4 * 1024 * 1024;
/// Pages in a row without anything in them before a listing counts as endless.
const MAX_EMPTY_PAGES: u32 = 1000;

/// How to list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListOptions {
    /// Keys per page, up to 1000; the server's default when `None`.
    pub max_keys: Option<u32>,
    /// Roll up keys that contain this after the prefix.
    pub delimiter: Option<String>,
    /// Begin after this key.
    pub start_after: Option<String>,
    /// Fetch the next page while the last one is being worked on.
    pub prefetch: bool,
    /// Leave out entity tags and storage classes: they take as much memory as the keys.
    pub without_tags: bool,
}

impl Default for ListOptions {
    fn default() -> Self {
        Self {
            max_keys: None,
            delimiter: None,
            start_after: None,
            prefetch: true,
            without_tags: false,
        }
    }
}

/// An object of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedObject {
    /// Full key.
    pub key: ObjectKey,
    /// Size in bytes.
    pub size: u64,
    /// Last modification, milliseconds since the epoch.
    pub last_modified: Option<i64>,
    /// Entity tag.
    pub etag: Option<ETag>,
    /// Storage class, where the server names it.
    pub storage_class: Option<String>,
}

/// Whether the keys come in ascending order of their bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PageOrder {
    /// All above everything before.
    Sorted,
    /// One is not above the one before it, in this page or the last.
    Violated {
        /// The key before.
        previous: String,
        /// The key that should not come after it.
        key: String,
    },
}

/// A page of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListPage {
    /// Its objects.
    pub objects: Vec<ListedObject>,
    /// Rolled-up prefixes.
    pub common_prefixes: Vec<String>,
    /// The server's clock at the answer, seconds since the epoch.
    pub server_date: Option<i64>,
    /// Whether the order holds up to the end of this page.
    pub order: PageOrder,
    /// How long its request took, repetitions included.
    pub took: Duration,
}

/// Why a listing cannot be completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IncompleteReason {
    /// The server says that there is more, and not how to get it.
    NoToken,
    /// The server repeats a token: its pages would go in circles.
    RepeatedToken,
    /// The server repeats a page, under a new token each time.
    RepeatedPage,
    /// The server sends one empty page after the other.
    EmptyPages,
    /// The task that fetches ahead ended before the listing did.
    Interrupted,
}

impl fmt::Display for IncompleteReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoToken => "the server says there is more but gives no continuation token",
            Self::RepeatedToken => "the server repeats a continuation token",
            Self::RepeatedPage => "the server repeats a page under another continuation token",
            Self::EmptyPages => "the server sends endless empty pages",
            Self::Interrupted => "the task that fetches the pages was stopped; list again",
        })
    }
}

/// A listing that ended before it was complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListError {
    /// A request failed.
    Request(S3Error),
    /// The server does not let it be completed.
    Incomplete {
        /// What was listed.
        prefix: String,
        /// Why.
        reason: IncompleteReason,
        /// Pages received before.
        pages: u64,
    },
}

impl fmt::Display for ListError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request(error) => error.fmt(f),
            Self::Incomplete {
                prefix,
                reason,
                pages,
            } => {
                write!(
                    f,
                    "incomplete listing below {prefix:?} after {pages} pages: {reason}"
                )
            }
        }
    }
}

impl std::error::Error for ListError {}

impl From<S3Error> for ListError {
    fn from(error: S3Error) -> Self {
        Self::Request(error)
    }
}

impl From<ListError> for S3Error {
    fn from(error: ListError) -> Self {
        let text = error.to_string();
        match error {
            ListError::Request(error) => error,
            ListError::Incomplete { prefix, .. } => S3Error::new(
                S3ErrorKind::Protocol(text),
                ErrorContext {
                    operation: Some(Operation::ListObjects),
                    subject: Subject::Prefix(prefix),
                    ..ErrorContext::default()
                },
            ),
        }
    }
}

/// Turns the XML of a page into objects, with checks that need no memory of earlier pages.
fn read_page(
    response: &Response,
    prefix: &str,
    url_encoded: bool,
) -> Result<(ListDocument, Vec<ListedObject>), Failure> {
    if !response.is_success() {
        let mut failure = failure_of(Operation::ListObjects, response);
        if failure.kind == S3ErrorKind::NoSuchKey {
            failure.kind = S3ErrorKind::NoSuchBucket;
        }
        return Err(failure);
    }
    let mut document = parse_list(&response.body)
        .map_err(|error| bad_document(Operation::ListObjects, response, &error))?;
    let wrong = |text: String| protocol(response, text, RetryClass::Never);
    let decode = |text: String| {
        if url_encoded {
            decode_listed(&text).map_err(|error| wrong(error.to_string()))
        } else {
            Ok(text)
        }
    };
    // Whatever goes by the listing (a deletion!) must not get a foreign key.
    let below = |text: &str| {
        if text.starts_with(prefix) {
            return Ok(());
        }
        let text: String = text.chars().take(128).collect();
        Err(wrong(format!(
            "the listing below {prefix:?} contains {text:?}"
        )))
    };
    let mut objects = Vec::with_capacity(document.entries.len());
    for entry in std::mem::take(&mut document.entries) {
        let key = decode(entry.key)?;
        below(&key)?;
        objects.push(ListedObject {
            key: ObjectKey::verbatim(key).map_err(|error| wrong(error.to_string()))?,
            size: entry.size,
            last_modified: entry.last_modified,
            etag: entry.etag.map(ETag::new),
            storage_class: entry.storage_class,
        });
    }
    let prefixes = std::mem::take(&mut document.common_prefixes);
    document.common_prefixes = prefixes.into_iter().map(decode).collect::<Result<_, _>>()?;
    for prefix in &document.common_prefixes {
        below(prefix)?;
    }
    Ok((document, objects))
}

/// Memory of a listing: what must not come again.
#[derive(Debug, Default)]
struct Progress {
    token: Option<String>,
    last_key: Option<String>,
    last_prefix: Option<String>,
    /// Hashes of the tokens: a circle of any length is found.
    tokens: HashSet<u64>,
    /// Hashes of the pages, by their ends and length.
    seen: HashSet<u64>,
    empty_pages: u32,
    pages: u64,
    done: bool,
}

fn check_order<'a>(
    last: &mut Option<String>,
    keys: impl Iterator<Item = &'a str>,
    order: &mut PageOrder,
) {
    let of_last_page = last.take();
    let mut previous = of_last_page.as_deref();
    for key in keys {
        if let Some(before) = previous.filter(|before| *before >= key)
            && *order == PageOrder::Sorted
        {
            *order = PageOrder::Violated {
                previous: before.to_owned(),
                key: key.to_owned(),
            };
        }
        previous = Some(key);
    }
    *last = previous.map(str::to_owned);
}

fn hash_of(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

impl Progress {
    fn accept(
        &mut self,
        document: ListDocument,
        objects: Vec<ListedObject>,
        server_date: Option<i64>,
    ) -> Result<ListPage, IncompleteReason> {
        self.pages += 1;
        // A server that leaves the flag out and gives a token has more to say: taking its page for
        // the last one would cut the listing short without anybody noticing.
        let more = document
            .is_truncated
            .unwrap_or(document.next_token.is_some());
        self.done = !more;
        if more {
            let token = document.next_token.ok_or(IncompleteReason::NoToken)?;
            if !self.tokens.insert(hash_of(&token)) {
                return Err(IncompleteReason::RepeatedToken);
            }
            self.token = Some(token);
        }
        if objects.is_empty() && document.common_prefixes.is_empty() {
            self.empty_pages += 1;
            if self.empty_pages >= MAX_EMPTY_PAGES {
                return Err(IncompleteReason::EmptyPages);
            }
        } else {
            self.empty_pages = 0;
            let ends = [objects.first(), objects.last()].map(|o| o.map(|o| o.key.as_str()));
            let prefixes = &document.common_prefixes;
            let page = (ends, objects.len(), prefixes.first(), prefixes.last());
            if !self.seen.insert(hash_of(&page)) {
                return Err(IncompleteReason::RepeatedPage);
            }
        }
        let mut order = PageOrder::Sorted;
        check_order(
            &mut self.last_key,
            objects.iter().map(|o| o.key.as_str()),
            &mut order,
        );
        let prefixes = document.common_prefixes.iter().map(String::as_str);
        check_order(&mut self.last_prefix, prefixes, &mut order);
        Ok(ListPage {
            objects,
            common_prefixes: document.common_prefixes,
            server_date,
            order,
            took: Duration::ZERO,
        })
    }
}

/// Fetches one page after the other.
pub(super) struct Pages {
    client: S3Client,
    pub(super) prefix: ListPrefix,
    pub(super) options: ListOptions,
    progress: Progress,
}

impl Pages {
    pub(super) async fn next(&mut self) -> Option<Result<ListPage, ListError>> {
        if self.progress.done {
            return None;
        }
        let result = self.fetch().await;
        if result.is_err() {
            self.progress.done = true;
        }
        Some(result)
    }

    async fn fetch(&mut self) -> Result<ListPage, ListError> {
        let prefix = self.prefix.as_str();
        let url_encoded = self.client.quirks().list_encoding_url;
        let mut draft = self
            .client
            .request(Operation::ListObjects, None)
            .subject(Subject::Prefix(prefix.to_owned()))
            .body_limit(MAX_PAGE)
            .query("list-type", "2");
        let max_keys = self
            .options
            .max_keys
            .map(|count| count.clamp(1, 1000).to_string());
        let start_after = self
            .options
            .start_after
            .clone()
            .filter(|_| self.progress.token.is_none());
        for (name, value) in [
            (
                "prefix",
                Some(prefix.to_owned()).filter(|prefix| !prefix.is_empty()),
            ),
            ("continuation-token", self.progress.token.clone()),
            ("start-after", start_after),
            ("max-keys", max_keys),
            ("delimiter", self.options.delimiter.clone()),
            ("encoding-type", url_encoded.then(|| "url".to_owned())),
        ] {
            if let Some(value) = value {
                draft = draft.query(name, &value);
            }
        }
        let read = |response: &Response| {
            let (document, objects) = read_page(response, prefix, url_encoded)?;
            Ok((document, objects, response.server_date()))
        };
        let started = self.client.env().now();
        let (document, mut objects, date) = self.client.run(draft, read).await?;
        if self.options.without_tags {
            for object in &mut objects {
                (object.etag, object.storage_class) = (None, None);
            }
        }
        let took = self.client.env().now().saturating_duration_since(started);
        self.progress
            .accept(document, objects, date)
            .map(|page| ListPage { took, ..page })
            .map_err(|reason| ListError::Incomplete {
                prefix: self.prefix.as_str().to_owned(),
                reason,
                pages: self.progress.pages,
            })
    }
}

impl S3Client {
    /// Lists the objects below a prefix in ascending order of their keys (which the pages verify).
    #[must_use]
    pub fn list(&self, prefix: impl Into<ListPrefix>, options: ListOptions) -> Listing {
        let pages = Pages {
            client: self.clone(),
            prefix: prefix.into(),
            options,
            progress: Progress::default(),
        };
        Listing::new(pages)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::tests::{error_body, response};

    fn page(keys: &[&str], token: Option<&str>) -> (ListDocument, Vec<ListedObject>) {
        let mut xml = String::from("<ListBucketResult>");
        if let Some(token) = token {
            xml.push_str("<IsTruncated>true</IsTruncated>");
            if !token.is_empty() {
                xml.push_str(&format!(
                    "<NextContinuationToken>{token}</NextContinuationToken>"
                ));
            }
        }
        for key in keys {
            xml.push_str(&format!(
                "<Contents><Key>{key}</Key><Size>1</Size></Contents>"
            ));
        }
        xml.push_str("</ListBucketResult>");
        read_page(&response(200, &[], &xml), "", false).unwrap()
    }

    fn accept(
        progress: &mut Progress,
        keys: &[&str],
        token: Option<&str>,
    ) -> Result<PageOrder, IncompleteReason> {
        let (document, objects) = page(keys, token);
        progress
            .accept(document, objects, None)
            .map(|page| page.order)
    }

    #[test]
    fn order_is_watched_within_and_across_pages() {
        let mut progress = Progress::default();
        assert_eq!(
            accept(&mut progress, &["a", "b"], Some("1")),
            Ok(PageOrder::Sorted)
        );
        assert_eq!(
            accept(&mut progress, &["c"], Some("2")),
            Ok(PageOrder::Sorted)
        );
        let violated = |previous: &str, key: &str| {
            Ok(PageOrder::Violated {
                previous: previous.into(),
                key: key.into(),
            })
        };
        assert_eq!(
            accept(&mut progress, &["c", "d"], Some("3")),
            violated("c", "c")
        );
        assert_eq!(
            accept(&mut progress, &["f", "e", "g"], Some("4")),
            violated("f", "e")
        );
        assert_eq!(accept(&mut progress, &["h"], None), Ok(PageOrder::Sorted));
        assert!(progress.done);
    }

    #[test]
    fn a_token_without_the_flag_is_followed() {
        let xml = "<ListBucketResult><NextContinuationToken>t</NextContinuationToken>\
            <Contents><Key>a</Key><Size>1</Size></Contents></ListBucketResult>";
        let (document, objects) = read_page(&response(200, &[], xml), "", false).unwrap();
        let mut progress = Progress::default();
        progress.accept(document, objects, None).unwrap();
        assert!(!progress.done);
        assert_eq!(progress.token.as_deref(), Some("t"));
    }

    #[test]
    fn circles_of_any_length_are_found() {
        let mut progress = Progress::default();
        for (key, token) in [("a", "1"), ("b", "2"), ("c", "3")] {
            accept(&mut progress, &[key], Some(token)).unwrap();
        }
        let repeated = accept(&mut progress, &["d"], Some("1"));
        assert_eq!(repeated, Err(IncompleteReason::RepeatedToken));
        let mut progress = Progress::default();
        for (key, token) in [("a", "1"), ("b", "2")] {
            accept(&mut progress, &[key], Some(token)).unwrap();
        }
        let repeated = accept(&mut progress, &["a"], Some("3"));
        assert_eq!(repeated, Err(IncompleteReason::RepeatedPage));
        let missing = accept(&mut Progress::default(), &["k"], Some(""));
        assert_eq!(missing, Err(IncompleteReason::NoToken));
        let mut progress = Progress::default();
        let last = (0..2000)
            .map(|n| accept(&mut progress, &[], Some(&n.to_string())))
            .find(Result::is_err);
        assert_eq!(last, Some(Err(IncompleteReason::EmptyPages)));
    }

    #[test]
    fn a_foreign_key_is_an_error() {
        let xml = "<ListBucketResult><Contents><Key>other/x</Key><Size>1</Size></Contents>\
                   </ListBucketResult>";
        let failure = read_page(&response(200, &[], xml), "mine/", false).unwrap_err();
        assert_eq!(failure.retry, RetryClass::Never);
        let xml = "<ListBucketResult><CommonPrefixes><Prefix>x/</Prefix></CommonPrefixes>\
                   </ListBucketResult>";
        assert!(read_page(&response(200, &[], xml), "mine/", false).is_err());
    }

    #[test]
    fn encoded_keys_are_decoded_and_checked() {
        let xml = "<ListBucketResult><Contents><Key>a%2B%C3%BC</Key><Size>1</Size></Contents>\
                   </ListBucketResult>";
        let (_, objects) = read_page(&response(200, &[], xml), "a+", true).unwrap();
        assert_eq!(objects[0].key.as_str(), "a+ü");
        let bad = xml.replace("%C3%BC", "%C3");
        assert!(read_page(&response(200, &[], &bad), "a+", true).is_err());
    }

    #[test]
    fn a_missing_bucket_is_named_and_a_cut_page_is_tried_again() {
        let failure = read_page(&response(404, &[], &error_body("NoSuchBucket")), "", false);
        assert_eq!(failure.unwrap_err().kind, S3ErrorKind::NoSuchBucket);
        let cut = read_page(&response(200, &[], "<ListBucketResult><Con"), "", false);
        assert_eq!(cut.unwrap_err().retry, RetryClass::Transient);
    }
}
