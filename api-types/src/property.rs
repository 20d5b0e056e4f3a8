//! Properties: `key=value,...` strings inside one value, and the checked reading of any list of
//! keys and values, be it from such a string or from a section of a configuration file.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

use crate::ParseError;
use crate::text::parse_bool;

const WHAT: &str = "property string";

/// Takes `key=value,...` apart. One value may stand without a key if there is a `default_key`.
/// Values may be double-quoted, with the escapes `\"`, `\\` and `\n`.
///
/// Which keys exist is left to the caller; a key that occurs twice is an error here already.
pub fn parse_property_string(
    text: &str,
    default_key: Option<&str>,
) -> Result<Vec<(String, String)>, ParseError> {
    let error = |reason: String| ParseError::new(WHAT, text, reason);
    let mut pairs: Vec<(String, String)> = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (key, after_key) = split_key(rest);
        let key = match (key, default_key) {
            (Some(key), _) => key,
            (None, Some(default)) => default,
            (None, None) => return Err(error(format!("no '=' in {:?}", shorten(rest)))),
        };
        if !is_key(key) {
            return Err(error(format!("{:?} is not a key", shorten(key))));
        }
        if pairs.iter().any(|(known, _)| known == key) {
            return Err(error(format!("the key '{key}' occurs twice")));
        }
        let (value, after_value) = take_value(after_key).map_err(|reason| error(reason.into()))?;
        pairs.push((key.to_owned(), value));
        rest = after_value;
    }
    Ok(pairs)
}

fn shorten(text: &str) -> String {
    text.chars().take(32).collect()
}

fn is_key(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

/// The key of the first item, if it has one, and what follows its `=`.
fn split_key(rest: &str) -> (Option<&str>, &str) {
    match rest.find(['=', ',', '"']) {
        Some(at) if rest[at..].starts_with('=') => (Some(rest[..at].trim()), &rest[at + 1..]),
        _ => (None, rest),
    }
}

/// The value at the beginning of `rest`, and what follows its comma.
fn take_value(rest: &str) -> Result<(String, &str), &'static str> {
    let rest = rest.trim_start();
    let Some(quoted) = rest.strip_prefix('"') else {
        let (raw, after) = rest.split_once(',').unwrap_or((rest, ""));
        if raw.contains('"') {
            return Err("a quote in the middle of a value, quote the whole value");
        }
        return Ok((raw.trim_end().to_owned(), after.trim_start()));
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => {
                let after = quoted[at + 1..].trim_start();
                if after.is_empty() {
                    return Ok((value, after));
                }
                let next = after
                    .strip_prefix(',')
                    .ok_or("text after a closing quote")?;
                return Ok((value, next.trim_start()));
            }
            '\\' => match chars.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, c @ ('"' | '\\'))) => value.push(c),
                _ => return Err("unknown escape, only \\\", \\\\ and \\n are allowed"),
            },
            c => value.push(c),
        }
    }
    Err("a quote is not closed")
}

/// Writes keys and values so that [`parse_property_string`] reads the same.
#[must_use]
pub fn format_property_string<K: AsRef<str>, V: AsRef<str>>(pairs: &[(K, V)]) -> String {
    let items: Vec<String> = pairs
        .iter()
        .map(|(key, value)| format!("{}={}", key.as_ref(), quote(value.as_ref())))
        .collect();
    items.join(",")
}

fn quote(value: &str) -> String {
    if value.trim() == value && !value.contains([',', '"', '\\', '\n']) {
        return value.to_owned();
    }
    let escaped = value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n");
    format!("\"{escaped}\"")
}

/// Keys and values that are taken out one by one; what is left at the end is unknown.
///
/// The errors name the entity, so a message from here needs no more context.
#[derive(Debug)]
pub struct PropertyReader {
    what: &'static str,
    id: String,
    left: Vec<(String, String)>,
}

impl PropertyReader {
    /// Reads the properties of the entity `id` of kind `what` ("datastore").
    #[must_use]
    pub fn new(what: &'static str, id: &str, pairs: &[(String, String)]) -> Self {
        Self {
            what,
            id: id.to_owned(),
            left: pairs.to_vec(),
        }
    }

    /// Reads a property string.
    pub fn from_string(
        what: &'static str,
        text: &str,
        default_key: Option<&str>,
    ) -> Result<Self, ParseError> {
        let left = parse_property_string(text, default_key)
            .map_err(|e| ParseError::new(what, text, e.reason))?;
        Ok(Self {
            what,
            id: text.to_owned(),
            left,
        })
    }

    /// An error about this entity.
    #[must_use]
    pub fn error(&self, reason: impl Into<std::borrow::Cow<'static, str>>) -> ParseError {
        ParseError::new(self.what, &self.id, reason)
    }

    /// All values of a key that may be repeated.
    pub fn take_all<T>(&mut self, key: &str) -> Result<Vec<T>, ParseError>
    where
        T: FromStr<Err = ParseError>,
    {
        let raw: Vec<String> = self
            .left
            .extract_if(.., |(k, _)| k == key)
            .map(|(_, v)| v)
            .collect();
        raw.iter().map(|value| self.parse(key, value)).collect()
    }

    /// The text of a key that occurs at most once.
    pub fn take_text(&mut self, key: &str) -> Result<Option<String>, ParseError> {
        let mut values = self.left.extract_if(.., |(k, _)| k == key).map(|(_, v)| v);
        let value = values.next();
        let more = values.next().is_some();
        drop(values);
        if more {
            return Err(self.error(format!("the property '{key}' occurs twice")));
        }
        Ok(value)
    }

    /// The value of a key that occurs at most once.
    pub fn take<T>(&mut self, key: &str) -> Result<Option<T>, ParseError>
    where
        T: FromStr<Err = ParseError>,
    {
        let text = self.take_text(key)?;
        text.map(|text| self.parse(key, &text)).transpose()
    }

    /// The value of a key that must be there.
    pub fn require<T>(&mut self, key: &str) -> Result<T, ParseError>
    where
        T: FromStr<Err = ParseError>,
    {
        self.take(key)?
            .ok_or_else(|| self.error(format!("the property '{key}' is missing")))
    }

    /// A yes or no.
    pub fn take_bool(&mut self, key: &str) -> Result<Option<bool>, ParseError> {
        let Some(text) = self.take_text(key)? else {
            return Ok(None);
        };
        let value = parse_bool(&text)
            .ok_or_else(|| self.error(format!("property '{key}': expected true or false")))?;
        Ok(Some(value))
    }

    /// A whole number within limits.
    pub fn take_number<T>(
        &mut self,
        key: &str,
        range: RangeInclusive<T>,
    ) -> Result<Option<T>, ParseError>
    where
        T: FromStr + PartialOrd + Display,
    {
        let Some(text) = self.take_text(key)? else {
            return Ok(None);
        };
        match text.parse::<T>() {
            Ok(number) if range.contains(&number) => Ok(Some(number)),
            _ => Err(self.error(format!(
                "property '{key}': expected a number from {} to {}",
                range.start(),
                range.end()
            ))),
        }
    }

    /// Ends the reading: whatever was not taken is unknown.
    pub fn finish(self) -> Result<(), ParseError> {
        match self.left.first() {
            None => Ok(()),
            Some((key, _)) => Err(self.error(format!("there is no property '{}'", shorten(key)))),
        }
    }

    fn parse<T>(&self, key: &str, value: &str) -> Result<T, ParseError>
    where
        T: FromStr<Err = ParseError>,
    {
        value.parse().map_err(|e: ParseError| {
            let shown = if e.value.is_empty() {
                String::new()
            } else {
                format!(" {:?}", e.value)
            };
            self.error(format!(
                "property '{key}': invalid {}{shown}: {}",
                e.what, e.reason
            ))
        })
    }
}

/// Collects properties in writing; keys are sorted at the end.
#[derive(Debug, Default)]
pub struct PropertyWriter(Vec<(String, String)>);

impl PropertyWriter {
    /// Adds a value.
    pub fn push(&mut self, key: &str, value: impl Display) {
        self.0.push((key.to_owned(), value.to_string()));
    }

    /// Adds a value if there is one.
    pub fn push_opt(&mut self, key: &str, value: Option<&impl Display>) {
        if let Some(value) = value {
            self.push(key, value);
        }
    }

    /// The properties, ordered by key; values of one key keep their order.
    #[must_use]
    pub fn into_sorted(mut self) -> Vec<(String, String)> {
        self.0.sort_by(|(a, _), (b, _)| a.cmp(b));
        self.0
    }

    /// The properties as one string, in the order in which they were added.
    #[must_use]
    pub fn into_string(self) -> String {
        format_property_string(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str, default_key: Option<&str>) -> Option<Vec<(String, String)>> {
        parse_property_string(text, default_key).ok()
    }

    fn pairs(list: &[(&str, &str)]) -> Option<Vec<(String, String)>> {
        Some(
            list.iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
        )
    }

    #[test]
    fn strings_of_the_specification() {
        assert_eq!(
            parse("type=s3,client=minio,bucket=pbs1", Some("type")),
            pairs(&[("type", "s3"), ("client", "minio"), ("bucket", "pbs1")])
        );
        assert_eq!(
            parse("read-only", Some("type")),
            pairs(&[("type", "read-only")])
        );
        assert_eq!(
            parse(r#"type=offline,message="disk swap""#, Some("type")),
            pairs(&[("type", "offline"), ("message", "disk swap")])
        );
        assert_eq!(
            parse(r#""a,b\"\\\n""#, Some("x")),
            pairs(&[("x", "a,b\"\\\n")])
        );
        assert_eq!(
            parse(" a = 1 , b = 2 ,", None),
            pairs(&[("a", "1"), ("b", "2")])
        );
        assert_eq!(parse("a=", None), pairs(&[("a", "")]));
        assert_eq!(parse("a=b=c", None), pairs(&[("a", "b=c")]));
        assert_eq!(parse("", None), pairs(&[]));
    }

    #[test]
    fn malformed_strings_are_refused() {
        for bad in [
            "x",
            "a=1,x",
            "a=1,a=2",
            ",",
            "=1",
            "a b=1",
            r#"a="x"#,
            r#"a="x"y"#,
            r#"a=x"y""#,
            r#"a="\x""#,
            r#"a="\"#,
        ] {
            assert_eq!(parse(bad, None), None, "{bad:?}");
        }
        assert_eq!(parse("s3,filesystem", Some("type")), None);
        assert_eq!(parse("s3,type=s3", Some("type")), None);
    }

    #[test]
    fn the_reader_names_entity_and_key() {
        let list = pairs(&[("a", "1"), ("a", "2"), ("n", "x"), ("z", "1")]).unwrap();
        let mut reader = PropertyReader::new("thing", "t1", &list);
        let text = |e: ParseError| e.to_string();
        assert_eq!(
            text(reader.take_number("n", 1..=9_u32).unwrap_err()),
            "invalid thing \"t1\": property 'n': expected a number from 1 to 9"
        );
        assert_eq!(
            text(reader.take_text("a").unwrap_err()),
            "invalid thing \"t1\": the property 'a' occurs twice"
        );
        assert_eq!(
            text(reader.require::<crate::names::BackupId>("id").unwrap_err()),
            "invalid thing \"t1\": the property 'id' is missing"
        );
        assert_eq!(
            text(reader.finish().unwrap_err()),
            "invalid thing \"t1\": there is no property 'z'"
        );
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            map in prop::collection::btree_map("[a-z][a-z0-9-]{0,9}", any::<String>(), 0..6)
        ) {
            let list: Vec<(String, String)> = map.into_iter().collect();
            let text = format_property_string(&list);
            prop_assert_eq!(parse_property_string(&text, None).unwrap(), list);
        }

        #[test]
        fn no_text_panics(text in any::<String>()) {
            let _ = parse_property_string(&text, Some("type"));
        }
    }
}
