//! Reads a document element by element: for each that ends, its path and text.
//!
//! Namespaces and prefixes are ignored, entities decoded, text is never trimmed. The document
//! must be complete: a truncated answer is an error, not a shorter answer.

use std::fmt;

use quick_xml::Reader;
use quick_xml::events::Event;

/// Deeper nesting than any S3 answer has.
pub(super) const MAX_DEPTH: usize = 16;
/// Longer text than any field needs (a key has 1024 bytes before escaping).
const MAX_TEXT: usize = 64 * 1024;

/// Why a document could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum XmlError {
    /// Not well-formed, or not within the limits.
    Malformed(String),
    /// It ends before its root element does.
    Truncated,
    /// Another document than expected.
    WrongRoot {
        /// The element that was expected.
        expected: &'static str,
        /// The element that was there.
        found: String,
    },
    /// The server answered with an error document.
    Error(Box<super::ErrorDocument>),
    /// A field is missing or has no valid value.
    Field {
        /// Name of the field.
        name: &'static str,
        /// What is wrong.
        problem: &'static str,
    },
}

impl fmt::Display for XmlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(text) => write!(f, "malformed xml: {text}"),
            Self::Truncated => f.write_str("the xml document is truncated"),
            Self::WrongRoot { expected, found } => {
                write!(f, "expected the xml document {expected}, got {found:?}")
            }
            Self::Error(error) => write!(f, "the answer is the error {}", error.code),
            Self::Field { name, problem } => write!(f, "the xml field {name} is {problem}"),
        }
    }
}

impl std::error::Error for XmlError {}

fn malformed(error: impl fmt::Display) -> XmlError {
    XmlError::Malformed(error.to_string().chars().take(200).collect())
}

/// Walks through `body`. `visit` gets the path of each element that ends, below and including the
/// root, and the text directly inside it.
pub(super) fn walk<F>(body: &[u8], mut visit: F) -> Result<(), XmlError>
where
    F: FnMut(&[String], &str) -> Result<(), XmlError>,
{
    let text = std::str::from_utf8(body).map_err(|_| malformed("it is not utf-8"))?;
    let mut reader = Reader::from_str(text);
    let config = reader.config_mut();
    config.expand_empty_elements = true;
    config.check_end_names = true;
    // Names and texts by depth. They stay when an element ends, so that the next one finds their
    // memory: a page of a listing has ten thousand elements.
    let mut names: Vec<String> = Vec::new();
    let mut texts: Vec<String> = Vec::new();
    let mut depth = 0;
    let mut finished = false;
    loop {
        match reader.read_event().map_err(malformed)? {
            Event::Start(start) => {
                if finished {
                    return Err(malformed("more than one root element"));
                }
                if depth == MAX_DEPTH {
                    return Err(malformed("nested too deeply"));
                }
                if names.len() == depth {
                    names.push(String::new());
                    texts.push(String::new());
                }
                write_local_name(&mut names[depth], start.name().into_inner());
                texts[depth].clear();
                depth += 1;
            }
            Event::End(_) => {
                let parent = depth.checked_sub(1);
                let parent = parent.ok_or_else(|| malformed("unexpected end tag"))?;
                visit(&names[..depth], &texts[parent])?;
                depth = parent;
                finished = depth == 0;
            }
            Event::Text(content) => append(&mut texts[..depth], &content.into_inner())?,
            Event::CData(content) => append(&mut texts[..depth], &content.into_inner())?,
            Event::GeneralRef(reference) => {
                let decoded = match reference.resolve_char_ref().map_err(malformed)? {
                    Some(character) => character,
                    None => predefined(&reference.into_inner())?,
                };
                append(&mut texts[..depth], decoded.encode_utf8(&mut [0; 4]))?;
            }
            Event::Eof if finished => return Ok(()),
            Event::Eof => return Err(XmlError::Truncated),
            Event::Decl(_) | Event::PI(_) | Event::Comment(_) | Event::DocType(_) => {}
            Event::Empty(_) => return Err(malformed("unexpected empty element")),
        }
    }
}

fn append(texts: &mut [String], text: &str) -> Result<(), XmlError> {
    match texts.last_mut() {
        Some(current) if current.len() + text.len() > MAX_TEXT => Err(malformed("text too long")),
        Some(current) => {
            current.push_str(text);
            Ok(())
        }
        None if text.chars().all(|c| c.is_whitespace() || c == '\u{feff}') => Ok(()),
        None => Err(malformed("text outside of the root element")),
    }
}

fn predefined(name: &str) -> Result<char, XmlError> {
    match name {
        "amp" => Ok('&'),
        "lt" => Ok('<'),
        "gt" => Ok('>'),
        "quot" => Ok('"'),
        "apos" => Ok('\''),
        _ => Err(malformed("unknown entity")),
    }
}

/// The name without its namespace prefix.
fn write_local_name(out: &mut String, name: impl AsRef<[u8]>) {
    let name = String::from_utf8_lossy(name.as_ref());
    out.clear();
    out.push_str(name.rsplit_once(':').map_or(&*name, |(_, local)| local));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn collect(xml: &str) -> Result<Vec<(String, String)>, XmlError> {
        let mut seen = Vec::new();
        walk(xml.as_bytes(), |path, text| {
            seen.push((path.join("/"), text.to_owned()));
            Ok(())
        })?;
        Ok(seen)
    }

    #[test]
    fn prefixes_are_ignored_and_entities_decoded() {
        let xml = "\u{feff}<?xml version=\"1.0\"?>\n<s3:A xmlns:s3='x'><s3:K> a&amp;b&#34;\
                   <![CDATA[<]]>&#x41; </s3:K><!-- c --><E/></s3:A>\n";
        assert_eq!(
            collect(xml).unwrap(),
            [
                ("A/K".into(), " a&b\"<A ".into()),
                ("A/E".into(), String::new()),
                ("A".into(), String::new())
            ]
        );
    }

    #[test]
    fn broken_documents_are_errors() {
        assert_eq!(collect(""), Err(XmlError::Truncated));
        assert_eq!(collect("<A><B>x</B>"), Err(XmlError::Truncated));
        for bad in [
            "<A><B></A></B>",
            "<A/><B/>",
            "x<A/>",
            "<A>&nope;</A>",
            "<A>&#xD800;</A>",
            "<A",
        ] {
            assert!(collect(bad).is_err(), "{bad}");
        }
        let deep = "<a>".repeat(100);
        assert!(matches!(collect(&deep), Err(XmlError::Malformed(_))));
        let long = format!("<a>{}</a>", "x".repeat(MAX_TEXT + 1));
        assert!(collect(&long).is_err());
        assert!(walk(b"<a>\xff</a>", |_, _| Ok(())).is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in "[<>/&;#a-c!\\[\\]\"'= x0-9:?-]{0,80}") {
            let _ = collect(&text);
        }
    }
}
