//! DeleteObject and DeleteObjects.

use std::fmt::Write as _;

use quick_xml::Reader;
use quick_xml::events::Event;

use crate::answer::Answer;
use crate::encoding::xml_escape;
use crate::journal::Change;
use crate::request::Request;
use crate::state::{Outcome, State};

/// The most keys of one DeleteObjects request.
const MAX_KEYS: usize = 1000;

/// The body of a DeleteObjects request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DeleteRequest {
    pub(crate) quiet: bool,
    pub(crate) keys: Vec<String>,
}

/// Reads `<Delete><Quiet/><Object><Key/></Object>…</Delete>`.
pub(crate) fn parse_delete(body: &[u8]) -> Result<DeleteRequest, String> {
    let text = std::str::from_utf8(body).map_err(|error| error.to_string())?;
    let mut reader = Reader::from_str(text);
    let mut request = DeleteRequest::default();
    let mut path: Vec<String> = Vec::new();
    let mut content = String::new();
    let mut closed = false;
    loop {
        match reader.read_event().map_err(|error| error.to_string())? {
            Event::Start(start) => {
                path.push(start.local_name().as_ref().to_owned());
                content.clear();
            }
            Event::End(_) => {
                let names: Vec<&str> = path.iter().map(String::as_str).collect();
                match names.as_slice() {
                    ["Delete"] => closed = true,
                    ["Delete", "Quiet"] => request.quiet = content.trim() == "true",
                    ["Delete", "Object", "Key"] => request.keys.push(content.clone()),
                    _ => {}
                }
                path.pop();
            }
            Event::Text(text) => content.push_str(&text),
            Event::CData(data) => content.push_str(&data),
            Event::GeneralRef(entity) => content.push(resolve(&entity)?),
            Event::Eof => break,
            _ => {}
        }
    }
    if !closed || !path.is_empty() {
        return Err("the document is not a closed <Delete>".to_owned());
    }
    Ok(request)
}

fn resolve(entity: &quick_xml::events::BytesRef<'_>) -> Result<char, String> {
    if let Some(c) = entity
        .resolve_char_ref()
        .map_err(|error| error.to_string())?
    {
        return Ok(c);
    }
    match entity.as_ref() {
        "amp" => Ok('&'),
        "lt" => Ok('<'),
        "gt" => Ok('>'),
        "quot" => Ok('"'),
        "apos" => Ok('\''),
        other => Err(format!("unknown entity {other}")),
    }
}

impl State {
    /// DELETE of one key.
    pub(crate) fn delete_object(&mut self, bucket: &str, key: &str, now: i64) -> Outcome {
        if self
            .behaviour
            .locked
            .iter()
            .any(|pattern| pattern.matches(key))
        {
            return Outcome::read(Answer::error(
                403,
                "AccessDenied",
                "object is WORM protected",
            ));
        }
        let missing_is_404 = self.behaviour.delete_missing_is_404;
        let Some(removal) = self.remove(bucket, key, now) else {
            return Outcome::no_such_bucket();
        };
        let change = Change::Deleted {
            key: key.to_owned(),
            existed: removal.existed,
            marker: removal.marker.is_some(),
        };
        let mut answer = if missing_is_404 && !removal.existed {
            Answer::error(404, "NoSuchKey", "The specified key does not exist.")
        } else {
            Answer::empty(204)
        };
        if let Some(version) = removal.marker {
            answer = answer
                .header("x-amz-delete-marker", "true")
                .header("x-amz-version-id", format!("v{version}"));
        }
        Outcome {
            answer,
            changes: vec![change],
        }
    }

    /// POST `?delete`.
    pub(crate) fn delete_objects(&mut self, bucket: &str, req: &Request, now: i64) -> Outcome {
        if !self.behaviour.delete_objects {
            let message = "A header you provided implies functionality that is not implemented.";
            return Outcome::read(Answer::error(501, "NotImplemented", message));
        }
        let has_sum = req.headers.contains_key("content-md5")
            || req
                .headers
                .keys()
                .any(|name| name.as_str().starts_with("x-amz-checksum-"));
        if self.behaviour.delete_objects_requires_md5 && !has_sum {
            let message = "Missing required header for this request: Content-MD5";
            return Outcome::read(Answer::error(400, "InvalidRequest", message));
        }
        let request = match &req.delete {
            Some(Ok(request)) if (1..=MAX_KEYS).contains(&request.keys.len()) => request.clone(),
            Some(Err(error)) => return Outcome::read(Answer::error(400, "MalformedXML", error)),
            _ => {
                let message = "The XML you provided was not well-formed or did not validate \
                               against our published schema";
                return Outcome::read(Answer::error(400, "MalformedXML", message));
            }
        };
        if !self.buckets.contains_key(bucket) {
            return Outcome::no_such_bucket();
        }
        let verbose = !request.quiet || self.behaviour.ignore_quiet;
        let mut changes = Vec::new();
        let mut deleted = String::new();
        let mut errors = String::new();
        for key in &request.keys {
            let error = self.key_error(key);
            let refused = error.as_ref().is_some_and(|error| !error.applied);
            let removal = if refused {
                None
            } else {
                self.remove(bucket, key, now)
            };
            if let Some(removal) = removal {
                let marker = removal.marker.is_some();
                changes.push(Change::Deleted {
                    key: key.clone(),
                    existed: removal.existed,
                    marker,
                });
            }
            let key = xml_escape(key);
            // Writing to a string cannot fail.
            if let Some(error) = error {
                let code = xml_escape(&error.code);
                let _ = write!(
                    errors,
                    "<Error><Key>{key}</Key><Code>{code}</Code><Message>{code}</Message></Error>"
                );
            } else if verbose {
                let marker = removal.and_then(|removal| removal.marker).map_or_else(
                    String::new,
                    |version| {
                        format!(
                            "<DeleteMarker>true</DeleteMarker>\
                             <DeleteMarkerVersionId>v{version}</DeleteMarkerVersionId>"
                        )
                    },
                );
                let _ = write!(deleted, "<Deleted><Key>{key}</Key>{marker}</Deleted>");
            }
        }
        let document = format!(
            "<DeleteResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{deleted}{errors}</DeleteResult>"
        );
        Outcome {
            answer: Answer::xml(200, &document),
            changes,
        }
    }

    fn key_error(&mut self, key: &str) -> Option<KeyFailure> {
        if self
            .behaviour
            .locked
            .iter()
            .any(|pattern| pattern.matches(key))
        {
            return Some(KeyFailure {
                code: "AccessDenied".to_owned(),
                applied: false,
            });
        }
        let rule = self
            .behaviour
            .delete_key_errors
            .iter()
            .find(|rule| rule.keys.matches(key))?;
        if let Some(times) = rule.times {
            let seen = self
                .key_failures
                .entry((key.to_owned(), rule.code.clone()))
                .or_default();
            if *seen >= times {
                return None;
            }
            *seen += 1;
        }
        Some(KeyFailure {
            code: rule.code.clone(),
            applied: rule.applied,
        })
    }
}

struct KeyFailure {
    code: String,
    applied: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_keys_with_entities() {
        let body = "<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Quiet>true</Quiet>\
                    <Object><Key>a&amp;b/&#34;</Key></Object>\n<Object><Key> x </Key></Object></Delete>";
        let request = parse_delete(body.as_bytes()).unwrap();
        assert_eq!(
            request,
            DeleteRequest {
                quiet: true,
                keys: vec!["a&b/\"".to_owned(), " x ".to_owned()],
            }
        );
    }

    #[test]
    fn refuses_what_is_not_closed() {
        for bad in [
            "",
            "<Delete>",
            "<Delete><Object></Delete>",
            "<Delete>&foo;</Delete>",
            "<A></A>",
        ] {
            assert!(parse_delete(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
