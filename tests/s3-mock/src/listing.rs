//! ListObjectsV2 with all the ways in which providers get it wrong.

use std::fmt::Write as _;
use std::ops::Bound;

use crate::answer::Answer;
use crate::behaviour::{ListBehaviour, ListField, ListOrder, TokenMode};
use crate::dates::iso_date;
use crate::encoding::{md5, percent_encode, xml_escape};
use crate::request::Request;
use crate::state::{Outcome, State};
use crate::store::{Bucket, StoredObject};

/// An entry of a listing.
enum Item<'a> {
    Object(&'a str, &'a StoredObject),
    CommonPrefix(&'a str),
}

impl<'a> Item<'a> {
    fn name(&self) -> &'a str {
        match self {
            Self::Object(name, _) | Self::CommonPrefix(name) => name,
        }
    }
}

/// Where a page begins.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Resume {
    Start,
    After(String),
    At(String),
    Offset(usize),
}

/// What a continuation token says: the page's number and where it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Cursor {
    page: u64,
    resume: Resume,
}

impl Cursor {
    fn token(&self) -> String {
        let resume = match &self.resume {
            Resume::Start => "s".to_owned(),
            Resume::After(key) => format!("k{}", hex::encode(key)),
            Resume::At(key) => format!("a{}", hex::encode(key)),
            Resume::Offset(offset) => format!("o{offset}"),
        };
        // Looks like what providers send: with characters that need encoding in a query.
        format!("{}/{resume}=", self.page)
    }

    fn parse(token: &str) -> Option<Self> {
        let (page, resume) = token.strip_suffix('=')?.split_once('/')?;
        let page = page.parse().ok()?;
        let key = |text: &str| String::from_utf8(hex::decode(text).ok()?).ok();
        let resume = match resume.split_at_checked(1)? {
            ("s", "") => Resume::Start,
            ("k", text) => Resume::After(key(text)?),
            ("a", text) => Resume::At(key(text)?),
            ("o", text) => Resume::Offset(text.parse().ok()?),
            _ => return None,
        };
        Some(Self { page, resume })
    }
}

/// The parameters of a listing.
struct Query<'a> {
    prefix: &'a str,
    delimiter: Option<&'a str>,
    limit: usize,
    cursor: Cursor,
    skip_first: bool,
    url_encoding: bool,
}

impl<'a> Query<'a> {
    fn parse(req: &'a Request, list: &ListBehaviour) -> Result<Self, Answer> {
        let invalid = |message: &str| Answer::error(400, "InvalidArgument", message);
        let limit = match req.query("max-keys") {
            None => list.page_size,
            Some(text) => {
                let wanted: usize = text.parse().map_err(|_| invalid("max-keys is no number"))?;
                wanted.min(list.page_size)
            }
        };
        let start_after = req.query("start-after").filter(|text| !text.is_empty());
        let token = req.query("continuation-token");
        let cursor = match (token, start_after) {
            (Some(token), _) => Cursor::parse(token)
                .ok_or_else(|| invalid("The continuation token provided is incorrect"))?,
            (None, Some(key)) => Cursor {
                page: 0,
                resume: Resume::After(key.to_owned()),
            },
            (None, None) => Cursor {
                page: 0,
                resume: Resume::Start,
            },
        };
        Ok(Self {
            prefix: req.query("prefix").unwrap_or_default(),
            delimiter: req.query("delimiter").filter(|text| !text.is_empty()),
            limit,
            cursor,
            skip_first: token.is_none() && start_after.is_some() && list.start_after_skips_one,
            url_encoding: req.query("encoding-type") == Some("url"),
        })
    }

    /// Folds keys into common prefixes and leaves out hidden ones.
    fn items<'b>(
        &self,
        objects: impl Iterator<Item = (&'b str, &'b StoredObject)>,
        list: &ListBehaviour,
        after: Option<&str>,
        limit: usize,
    ) -> Vec<Item<'b>> {
        let mut items: Vec<Item<'b>> = Vec::new();
        for (key, object) in objects {
            if items.len() > limit {
                break;
            }
            if list.hidden.iter().any(|pattern| pattern.matches(key)) {
                continue;
            }
            let rest = key.get(self.prefix.len()..).unwrap_or_default();
            let folded = self.delimiter.and_then(|delimiter| {
                let end = self.prefix.len() + rest.find(delimiter)? + delimiter.len();
                key.get(..end)
            });
            match folded {
                None => items.push(Item::Object(key, object)),
                Some(prefix) => {
                    let seen = after.is_some_and(|after| prefix <= after)
                        || items.last().is_some_and(|item| item.name() == prefix);
                    if !seen {
                        items.push(Item::CommonPrefix(prefix));
                    }
                }
            }
        }
        items
    }

    /// One page, and where the next begins if there is more.
    fn page<'b>(
        &'b self,
        bucket: &'b Bucket,
        list: &ListBehaviour,
        now: i64,
    ) -> (Vec<Item<'b>>, Option<Resume>) {
        let whole = list.order == ListOrder::Hashed || list.tokens == TokenMode::Offset;
        let (from, after) = match &self.cursor.resume {
            Resume::After(key) => (Bound::Excluded(key.as_str()), Some(key.as_str())),
            Resume::At(key) => (Bound::Included(key.as_str()), None),
            Resume::Start | Resume::Offset(_) => (Bound::Unbounded, None),
        };
        let cap = if whole {
            usize::MAX
        } else {
            self.limit + usize::from(self.skip_first)
        };
        let mut items = if list.stale.is_zero() {
            self.items(bucket.range(self.prefix, from), list, after, cap)
        } else {
            let objects = bucket.range_stale(self.prefix, from, now, list.stale);
            self.items(objects, list, after, cap)
        };
        if list.order == ListOrder::Hashed {
            items.sort_by_cached_key(|item| md5(item.name().as_bytes()));
        }
        let offset = match self.cursor.resume {
            Resume::Offset(offset) => offset,
            _ => usize::from(self.skip_first),
        };
        items.drain(..offset.min(items.len()));
        let more = items.len() > self.limit;
        items.truncate(self.limit);
        let next = items.last().filter(|_| more).map(|last| match list.tokens {
            _ if whole => Resume::Offset(offset + items.len()),
            TokenMode::Overlap => Resume::At(last.name().to_owned()),
            _ => Resume::After(last.name().to_owned()),
        });
        if list.order == ListOrder::ReversedPages {
            items.reverse();
        }
        (items, next)
    }

    /// Whether the page claims that there is more, and the token for it.
    fn continuation(&self, next: Option<Resume>, list: &ListBehaviour) -> (bool, Option<String>) {
        let page = self.cursor.page;
        let Some(resume) = next else {
            return (false, None);
        };
        if list.cut_after_pages.is_some_and(|pages| page + 1 >= pages) {
            return (false, None);
        }
        match list.tokens {
            TokenMode::Repeats { from_page } if page >= from_page => {
                (true, Some(self.cursor.token()))
            }
            TokenMode::Missing { from_page } if page >= from_page => (true, None),
            _ => (
                true,
                Some(
                    Cursor {
                        page: page + 1,
                        resume,
                    }
                    .token(),
                ),
            ),
        }
    }
}

impl State {
    /// GET `?list-type=2`.
    pub(crate) fn list_objects(&self, bucket_name: &str, req: &Request, now: i64) -> Outcome {
        let list = req.treatment.listing.as_ref();
        let list = list.unwrap_or(&self.behaviour.list);
        let Some(bucket) = self.buckets.get(bucket_name) else {
            return Outcome::no_such_bucket();
        };
        let query = match Query::parse(req, list) {
            Ok(query) => query,
            Err(answer) => return Outcome::read(answer),
        };
        let (items, next) = query.page(bucket, list, now);
        let (truncated, token) = query.continuation(next, list);
        let text = |key: &str| {
            if query.url_encoding {
                percent_encode(key, true)
            } else {
                xml_escape(key)
            }
        };
        let mut doc = Document {
            omit: list,
            xml: String::with_capacity(512 * items.len() + 512),
        };
        doc.field(Some(ListField::Name), "Name", bucket_name);
        doc.field(Some(ListField::Prefix), "Prefix", &text(query.prefix));
        doc.field(
            Some(ListField::KeyCount),
            "KeyCount",
            &items.len().to_string(),
        );
        doc.field(
            Some(ListField::MaxKeys),
            "MaxKeys",
            &query.limit.to_string(),
        );
        if let Some(delimiter) = query.delimiter {
            doc.field(None, "Delimiter", &xml_escape(delimiter));
        }
        doc.field(
            Some(ListField::IsTruncated),
            "IsTruncated",
            if truncated { "true" } else { "false" },
        );
        if let Some(token) = req.query("continuation-token") {
            doc.field(
                Some(ListField::ContinuationToken),
                "ContinuationToken",
                &xml_escape(token),
            );
        }
        if let Some(token) = token {
            doc.field(None, "NextContinuationToken", &xml_escape(&token));
        }
        for item in &items {
            match item {
                Item::Object(key, object) => doc.object(&text(key), object),
                Item::CommonPrefix(prefix) => {
                    let prefix = text(prefix);
                    let _ = write!(
                        doc.xml,
                        "<CommonPrefixes><Prefix>{prefix}</Prefix></CommonPrefixes>"
                    );
                }
            }
        }
        let document = format!(
            "<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{}</ListBucketResult>",
            doc.xml
        );
        Outcome::read(Answer::xml(200, &document))
    }
}

/// The inside of `ListBucketResult`. Writing to a string cannot fail.
struct Document<'a> {
    omit: &'a ListBehaviour,
    xml: String,
}

impl Document<'_> {
    /// Adds an element, whose text is escaped already, unless this server leaves it out.
    fn field(&mut self, field: Option<ListField>, name: &str, text: &str) {
        if field.is_none_or(|field| !self.omit.omit.contains(&field)) {
            let _ = write!(self.xml, "<{name}>{text}</{name}>");
        }
    }

    fn object(&mut self, key: &str, object: &StoredObject) {
        let quote = if self.omit.numeric_entities {
            "&#34;"
        } else {
            "&quot;"
        };
        let mut date = iso_date(object.last_modified_millis);
        if self.omit.whole_seconds
            && let Some((secs, _)) = date.split_once('.')
        {
            date = format!("{secs}Z");
        }
        self.xml.push_str("<Contents>");
        self.field(None, "Key", key);
        self.field(Some(ListField::LastModified), "LastModified", &date);
        let etag = format!("{quote}{}{quote}", hex::encode(object.md5));
        self.field(Some(ListField::ETag), "ETag", &etag);
        self.field(None, "Size", &object.body.len().to_string());
        let class = object.storage_class.as_deref().unwrap_or("STANDARD");
        self.field(
            Some(ListField::StorageClass),
            "StorageClass",
            &xml_escape(class),
        );
        self.xml.push_str("</Contents>");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_round_trip() {
        for resume in [
            Resume::Start,
            Resume::After("a/ü".to_owned()),
            Resume::At(String::new()),
            Resume::Offset(7),
        ] {
            let cursor = Cursor { page: 3, resume };
            assert_eq!(Cursor::parse(&cursor.token()), Some(cursor));
        }
        for bad in ["", "=", "1/=", "1/x=", "1/kzz=", "x/s="] {
            assert_eq!(Cursor::parse(bad), None, "{bad}");
        }
    }
}
