//! The section-config grammar: text to sections and back.
//!
//! ```text
//! file      = { section }
//! section   = header LF { property LF } LF          ; blank line ends a section
//! header    = type ":" SP id                        ; no leading whitespace
//! property  = TAB key SP value                      ; any leading whitespace accepted on read
//! ```
//! This module knows lines, not meanings: which types and keys exist, which may repeat and which
//! are required is decided by the entity that a section is turned into ([`super::Entity`]).

use std::fmt::Write as _;

use super::ConfigError;

/// One section: a header and its properties, in the order of the file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Section {
    /// The word before the colon, for example `datastore`.
    pub section_type: String,
    /// The name after the colon.
    pub id: String,
    /// Keys and values; a repeated key is an array.
    pub properties: Vec<(String, String)>,
    /// Line of the header, counted from 1; 0 for a section that did not come from a file.
    pub line: usize,
}

/// Sections in the order of their file.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct SectionConfig {
    /// The sections.
    pub sections: Vec<Section>,
}

/// A violation of the grammar.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct SyntaxError {
    /// Line, counted from 1.
    pub line: usize,
    /// What is wrong there.
    pub reason: String,
}

impl SyntaxError {
    fn new(line: usize, reason: impl Into<String>) -> Self {
        Self {
            line,
            reason: reason.into(),
        }
    }
}

impl SectionConfig {
    /// Reads the sections of a whole file.
    pub fn parse(bytes: &[u8]) -> Result<Self, SyntaxError> {
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
            let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
            SyntaxError::new(line, "not valid utf-8")
        })?;

        let mut sections: Vec<Section> = Vec::new();
        let mut inside = false;
        for (index, content) in text.lines().enumerate() {
            let line = index + 1;
            if content.trim().is_empty() {
                inside = false;
            } else if content.starts_with(char::is_whitespace) {
                let section = sections.last_mut().filter(|_| inside).ok_or_else(|| {
                    SyntaxError::new(line, "property outside of a section (blank line above it?)")
                })?;
                section.properties.push(parse_property(line, content)?);
            } else {
                let section = parse_header(line, content)?;
                if let Some(first) = sections.iter().find(|other| other.id == section.id) {
                    let reason = format!(
                        "duplicate section '{}' (first defined on line {})",
                        section.id, first.line
                    );
                    return Err(SyntaxError::new(line, reason));
                }
                sections.push(section);
                inside = true;
            }
        }
        Ok(Self { sections })
    }

    /// Writes the sections: one tab of indentation, keys in alphabetical order (the elements of an
    /// array keep theirs), a blank line between sections.
    pub fn write(&self) -> Result<String, ConfigError> {
        let mut text = String::new();
        for section in &self.sections {
            let Section {
                section_type,
                id,
                properties,
                ..
            } = section;
            let place = || format!("{section_type} '{id}'");
            if !is_word(section_type) {
                return Err(ConfigError::Unwritable {
                    place: place(),
                    reason: "the type is not a word".to_owned(),
                });
            }
            if id.is_empty() || id.trim() != id || id.chars().any(char::is_control) {
                return Err(ConfigError::Unwritable {
                    place: place(),
                    reason: "the name is empty, padded or has control characters".to_owned(),
                });
            }
            if !text.is_empty() {
                text.push('\n');
            }
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{section_type}: {id}");
            let mut sorted: Vec<&(String, String)> = properties.iter().collect();
            sorted.sort_by(|a, b| a.0.cmp(&b.0));
            for (key, value) in sorted {
                if !is_word(key) {
                    return Err(ConfigError::Unwritable {
                        place: place(),
                        reason: format!("the key '{}' is not a word", key.escape_debug()),
                    });
                }
                // The value is not shown: it may be a secret.
                if value.chars().any(char::is_control) {
                    return Err(ConfigError::Unwritable {
                        place: place(),
                        reason: format!("the value of '{key}' has control characters"),
                    });
                }
                let _ = writeln!(text, "\t{key} {}", value.trim());
            }
        }
        Ok(text)
    }
}

fn parse_header(line: usize, content: &str) -> Result<Section, SyntaxError> {
    let error = || {
        SyntaxError::new(
            line,
            "expected a section header 'type: name', an indented property or a blank line",
        )
    };
    let (section_type, rest) = content.split_once(':').ok_or_else(error)?;
    if !is_word(section_type) || !rest.starts_with(char::is_whitespace) {
        return Err(error());
    }
    let id = rest.trim();
    if id.is_empty() {
        return Err(SyntaxError::new(line, "the section has no name"));
    }
    if id.chars().any(char::is_control) {
        return Err(SyntaxError::new(
            line,
            "control character in the name of the section",
        ));
    }
    Ok(Section {
        section_type: section_type.to_owned(),
        id: id.to_owned(),
        properties: Vec::new(),
        line,
    })
}

fn parse_property(line: usize, content: &str) -> Result<(String, String), SyntaxError> {
    let content = content.trim_start();
    let Some((key, value)) = content.split_once(char::is_whitespace) else {
        // The whole text could be a misplaced secret, so it is not repeated.
        return Err(SyntaxError::new(line, "property without a value"));
    };
    if !is_word(key) {
        return Err(SyntaxError::new(
            line,
            format!("bad property name '{}'", key.escape_debug()),
        ));
    }
    Ok((key.to_owned(), value.trim().to_owned()))
}

fn is_word(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn syntax(text: &str) -> SyntaxError {
        SectionConfig::parse(text.as_bytes()).unwrap_err()
    }

    #[test]
    fn sections_keep_order_and_properties_are_sorted_on_write() {
        let text = "b: two\n  z  last \n\tarray y\n\tarray x\n\ta\t1\n\n\na: one\n";
        let config = SectionConfig::parse(text.as_bytes()).unwrap();
        assert_eq!(config.sections.len(), 2);
        assert_eq!(config.sections[1].line, 8);
        let written = config.write().unwrap();
        assert_eq!(
            written,
            "b: two\n\ta 1\n\tarray y\n\tarray x\n\tz last\n\na: one\n"
        );
    }

    #[test]
    fn an_empty_value_needs_whitespace_after_the_key() {
        let config = SectionConfig::parse(b"a: one\n\tcomment \n").unwrap();
        assert_eq!(
            config.sections[0].properties,
            [("comment".to_owned(), String::new())]
        );
        assert_eq!(syntax("a: one\n\tcomment\n").line, 2);
    }

    #[test]
    fn errors_name_the_line() {
        assert_eq!(syntax("# comment\n").line, 1);
        assert_eq!(syntax("a: one\n\n\tkey value\n").line, 3);
        assert_eq!(syntax("\tkey value\n").line, 1);
        assert_eq!(syntax("a: one\n\na: one\n").line, 3);
        assert_eq!(syntax("a:one\n").line, 1);
        assert_eq!(syntax("a: \n").line, 1);
        assert_eq!(syntax("a: one\n\tke:y value\n").line, 2);
        let error = SectionConfig::parse(b"a: one\n\tk \xff\n").unwrap_err();
        assert_eq!((error.line, error.reason.as_str()), (2, "not valid utf-8"));
    }

    #[test]
    fn a_misplaced_secret_is_not_repeated_in_the_error() {
        assert!(
            !syntax("a: one\n\tsecret-key-without-space\n")
                .to_string()
                .contains("secret")
        );
    }

    #[test]
    fn control_characters_are_refused_on_write() {
        let config = SectionConfig {
            sections: vec![Section {
                section_type: "a".to_owned(),
                id: "one".to_owned(),
                properties: vec![("comment".to_owned(), "x\n\tevil true".to_owned())],
                line: 0,
            }],
        };
        assert!(
            config
                .write()
                .unwrap_err()
                .to_string()
                .contains("control characters")
        );
    }

    #[test]
    fn fixture_files_survive_a_round_trip_byte_for_byte() {
        let Some(folder) = crate::testing::fixtures("config") else {
            return;
        };
        for name in [
            "datastore.cfg",
            "datastore-with-s3.cfg",
            "s3.cfg",
            "user.cfg",
            "domains.cfg",
        ] {
            let bytes = std::fs::read(folder.join(name)).unwrap();
            let config = SectionConfig::parse(&bytes).unwrap();
            assert!(!config.sections.is_empty());
            assert_eq!(config.write().unwrap().as_bytes(), bytes, "{name}");
        }
    }

    fn section() -> impl Strategy<Value = Section> {
        let word = "[A-Za-z0-9_-]{1,12}";
        let value = proptest::string::string_regex("[^\\p{Cc}]{0,20}").unwrap();
        let properties = proptest::collection::vec((word, value), 0..6);
        (word, "[A-Za-z0-9_@!.-]{1,20}", properties).prop_map(|(section_type, id, properties)| {
            let mut properties: Vec<_> = properties
                .into_iter()
                .map(|(key, value)| (key, value.trim().to_owned()))
                .collect();
            properties.sort_by(|a, b| a.0.cmp(&b.0));
            Section {
                section_type,
                id,
                properties,
                line: 0,
            }
        })
    }

    proptest! {
        #[test]
        fn any_bytes_parse_or_fail_without_panic(bytes: Vec<u8>) {
            let _ = SectionConfig::parse(&bytes);
        }

        #[test]
        fn lines_that_look_right_parse_or_fail_without_panic(
            text in "([a-z:# \t]{0,12}\n){0,12}"
        ) {
            if let Ok(config) = SectionConfig::parse(text.as_bytes()) {
                let written = config.write().unwrap();
                let mut again = SectionConfig::parse(written.as_bytes()).unwrap();
                prop_assert_eq!(again.write().unwrap(), written);
                again.sections.clear();
            }
        }

        #[test]
        fn what_was_written_reads_back(sections in proptest::collection::vec(section(), 0..5)) {
            let mut config = SectionConfig { sections };
            config.sections.sort_by(|a, b| a.id.cmp(&b.id));
            config.sections.dedup_by(|a, b| a.id == b.id);
            let text = config.write().unwrap();
            let mut again = SectionConfig::parse(text.as_bytes()).unwrap();
            for section in &mut again.sections {
                section.line = 0;
            }
            prop_assert_eq!(again, config);
        }
    }
}
