//! Answers of S3 servers. A truncated document is an error, never a shorter answer.

use std::fmt::Debug;

use arbitrary::{Arbitrary, Unstructured};
use s3_client::xml::{
    XmlError, delete_request, parse_copy, parse_delete, parse_error, parse_list, parse_list_buckets,
};

use super::text::check_error;
use crate::Target;

const WORDS: &[&str] = &[
    "<?xml version=\"1.0\"?>",
    "<![CDATA[",
    "]]>",
    "<!--",
    "-->",
    "<!DOCTYPE a [<!ENTITY b \"c\">]>",
    "&amp;",
    "&#x41;",
    "&#0;",
    "&b;",
    "/>",
    "</",
    "<ListBucketResult>",
    "</ListBucketResult>",
    "<IsTruncated>true</IsTruncated>",
    "<NextContinuationToken>",
    "<Contents>",
    "</Contents>",
    "<Key>",
    "</Key>",
    "<Size>1</Size>",
    "<LastModified>2025-07-14T14:20:02.123Z</LastModified>",
    "<ETag>",
    "<StorageClass>",
    "<CommonPrefixes><Prefix>",
    "<DeleteResult>",
    "</DeleteResult>",
    "<Deleted>",
    "</Deleted>",
    "<DeleteMarker>",
    "<Error>",
    "</Error>",
    "<Code>",
    "</Code>",
    "<Message>",
    "<ErrorResponse>",
    "<RequestId>",
    "<Region>",
    "<CopyObjectResult>",
    "</CopyObjectResult>",
    "<ListAllMyBucketsResult>",
    "</ListAllMyBucketsResult>",
    "<Buckets><Bucket>",
    "</Bucket></Buckets>",
    "<Name>",
    "</Name>",
    "<CreationDate>",
    "xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"",
    "s3:",
];

pub const LISTING: Target = Target {
    name: "xml_listing",
    max_len: 4096,
    check: check_listing,
    seeds: listing_seeds,
    words: WORDS,
    memory: 1 << 20,
};

pub const DELETION: Target = Target {
    name: "xml_deletion",
    max_len: 4096,
    check: check_deletion,
    seeds: deletion_seeds,
    words: WORDS,
    memory: 1 << 20,
};

pub const OTHER_ANSWERS: Target = Target {
    name: "xml_other_answers",
    max_len: 4096,
    check: check_other_answers,
    seeds: other_seeds,
    words: WORDS,
    memory: 1 << 20,
};

/// Whether the bytes behind the first one are an answer, or keys to make one of.
const RAW: u8 = 0;

fn listing_seeds() -> Vec<Vec<u8>> {
    let xml = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListBucketResult xmlns=\"http://s3.\
               amazonaws.com/doc/2006-03-01/\"><Name>b</Name><Prefix>s/</Prefix><KeyCount>1\
               </KeyCount><IsTruncated>true</IsTruncated><NextContinuationToken>abc</Next\
               ContinuationToken><Contents><Key>s/a&amp;b</Key><LastModified>2025-07-14T14:20:02\
               .123Z</LastModified><ETag>&quot;9e107d9d372bb6826bd81d3542a419d6&quot;</ETag>\
               <Size>12</Size><StorageClass>STANDARD</StorageClass></Contents><CommonPrefixes>\
               <Prefix>s/d/</Prefix></CommonPrefixes></ListBucketResult>";
    vec![raw(xml), raw("<ListBucketResult/>\n"), (1..90).collect()]
}

fn raw(xml: &str) -> Vec<u8> {
    [&[RAW], xml.as_bytes()].concat()
}

fn deletion_seeds() -> Vec<Vec<u8>> {
    let xml = "<DeleteResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Deleted><Key>a\
               </Key><DeleteMarker>true</DeleteMarker></Deleted><Error><Key>b&#13;c</Key><Code>\
               AccessDenied</Code><Message>no</Message></Error></DeleteResult>";
    vec![
        raw(xml),
        raw("<DeleteResult></DeleteResult>"),
        (1..90).collect(),
    ]
}

fn other_seeds() -> Vec<Vec<u8>> {
    let texts = [
        "<Error><Code>RequestTimeTooSkewed</Code><Message>m</Message><RequestId>r</RequestId>\
         <ServerTime>2025-07-14T14:20:02Z</ServerTime><Region>eu</Region><Header>h</Header>\
         </Error>",
        "<ErrorResponse><Error><Code>NoSuchKey</Code></Error></ErrorResponse>",
        "<CopyObjectResult><ETag>\"a\"</ETag><LastModified>2025-07-14T14:20:02Z</LastModified>\
         </CopyObjectResult>",
        "<ListAllMyBucketsResult><Owner><ID>1</ID></Owner><Buckets><Bucket><Name>b</Name>\
         <CreationDate>2025-07-14T14:20:02.000Z</CreationDate><BucketRegion>eu</BucketRegion>\
         </Bucket></Buckets></ListAllMyBucketsResult>",
    ];
    texts.map(|text| text.as_bytes().to_vec()).into()
}

/// Parses the whole and parts of it: a part is refused, unless only what stands behind the root
/// is missing.
fn parse_whole<T: Debug + PartialEq>(
    body: &[u8],
    parse: impl Fn(&[u8]) -> Result<T, XmlError>,
) -> Option<T> {
    let whole = match parse(body) {
        Ok(whole) => whole,
        Err(error) => {
            check_error(&error);
            return None;
        }
    };
    for eighth in 0..8 {
        if let Ok(part) = parse(&body[..body.len() * eighth / 8]) {
            assert_eq!(part, whole, "a truncated document is taken for a whole one");
        }
    }
    if let Some(end) = body.iter().rposition(|byte| *byte == b'<') {
        // Without its last tag, unless that is a comment.
        if let Ok(part) = parse(&body[..end]) {
            assert_eq!(part, whole);
        }
    }
    Some(whole)
}

fn check_listing(data: &[u8]) -> bool {
    let Some((mode, body)) = data.split_first() else {
        return false;
    };
    if mode % 2 != RAW {
        return check_written_listing(body).is_ok();
    }
    let Some(list) = parse_whole(body, parse_list) else {
        return false;
    };
    // An entry has a key and a size at least: <Contents><Key>k</Key><Size>1</Size></Contents>.
    assert!(list.entries.len() * 40 <= body.len());
    let keys: usize = list.entries.iter().map(|entry| entry.key.len()).sum();
    assert!(keys <= body.len());
    assert!(list.entries.iter().all(|entry| !entry.key.is_empty()));
    assert!(list.next_token.is_none_or(|token| !token.is_empty()));
    true
}

fn check_written_listing(data: &[u8]) -> arbitrary::Result<()> {
    let mut input = Unstructured::new(data);
    let mut expected = Vec::new();
    let mut xml = String::from("<ListBucketResult><IsTruncated>false</IsTruncated>");
    while !input.is_empty() && expected.len() < 64 {
        let key = <&str>::arbitrary(&mut input)?;
        let size = u64::arbitrary(&mut input)?;
        if !key.is_empty() {
            let key_element = escaped(key);
            xml += &format!("<Contents><Size>{size}</Size>{key_element}</Contents>");
            expected.push((key.to_owned(), size));
        }
    }
    xml += "</ListBucketResult>";
    let list = parse_whole(xml.as_bytes(), parse_list).expect("it is whole");
    let found: Vec<_> = list.entries.into_iter().map(|e| (e.key, e.size)).collect();
    assert_eq!(found, expected);
    assert_eq!(list.is_truncated, Some(false));
    Ok(())
}

/// `<Key>…</Key>`, with our own writer's escapes.
fn escaped(key: &str) -> String {
    let request = delete_request(std::iter::once(key));
    let start = request.find("<Key>").expect("it has a key");
    let end = request.rfind("</Object>").expect("it has an object");
    request[start..end].to_owned()
}

fn check_deletion(data: &[u8]) -> bool {
    let Some((mode, body)) = data.split_first() else {
        return false;
    };
    if mode % 2 != RAW {
        return check_written_deletion(body).is_ok();
    }
    let Some(result) = parse_whole(body, parse_delete) else {
        return false;
    };
    // At least <Error/> each.
    assert!((result.deleted.len() + result.errors.len()) * 8 <= body.len());
    true
}

/// Our request, turned into an answer, names the same keys.
fn check_written_deletion(data: &[u8]) -> arbitrary::Result<()> {
    let mut input = Unstructured::new(data);
    let mut keys = Vec::new();
    while !input.is_empty() && keys.len() < 64 {
        let key = <&str>::arbitrary(&mut input)?;
        if !key.is_empty() {
            keys.push(key);
        }
    }
    let request = delete_request(keys.iter().copied());
    let answer = request
        .replace("<Delete xmlns", "<DeleteResult xmlns")
        .replace("</Delete>", "</DeleteResult>")
        .replace("Object>", "Deleted>");
    // The replacement is only right where no key has those words.
    if keys.iter().any(|key| key.contains("Object")) {
        return Ok(());
    }
    let result = parse_whole(answer.as_bytes(), parse_delete).expect("it is whole");
    let found: Vec<_> = result
        .deleted
        .iter()
        .map(|entry| entry.key.as_deref())
        .collect();
    let expected: Vec<_> = keys.into_iter().map(Some).collect();
    assert_eq!(found, expected);
    Ok(())
}

fn check_other_answers(body: &[u8]) -> bool {
    let error = parse_whole(body, parse_error);
    if let Some(error) = &error {
        assert!(!error.code.is_empty());
        // Whatever was expected, an error is an error.
        for refused in [
            parse_list(body).err(),
            parse_copy(body).err(),
            parse_delete(body).err(),
        ] {
            let refused = refused.expect("an error document is no success");
            assert!(matches!(
                refused,
                XmlError::Error(_) | XmlError::WrongRoot { .. }
            ));
        }
    }
    let copy = parse_whole(body, parse_copy);
    let buckets = parse_whole(body, parse_list_buckets);
    if let Some(buckets) = &buckets {
        assert!(buckets.iter().all(|bucket| !bucket.name.is_empty()));
        assert!(buckets.len() * 20 <= body.len());
    }
    assert!(error.is_none() || (copy.is_none() && buckets.is_none()));
    error.is_some() || copy.is_some() || buckets.is_some()
}
