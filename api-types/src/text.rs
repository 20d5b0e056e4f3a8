//! Free text that fits into one line of a configuration file.

use std::borrow::Cow;

use crate::macros::string_id;

/// No comment that a person wrote is longer.
const MAX_LINE_LEN: usize = 4096;

pub(crate) fn check_line(text: &str) -> Result<(), Cow<'static, str>> {
    if text.len() > MAX_LINE_LEN {
        return Err(format!("longer than {MAX_LINE_LEN} bytes").into());
    }
    match text.chars().find(|c| c.is_control()) {
        None => Ok(()),
        Some(bad) => Err(format!("control character {bad:?} is not allowed").into()),
    }
}

string_id! {
    /// A comment, a schedule or the like: one line without control characters.
    SingleLine, "single line of text", check_line
}

/// Reads the words that configuration files use for yes and no.
#[must_use]
pub fn parse_bool(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "on" | "yes" | "true" => Some(true),
        "0" | "off" | "no" | "false" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_line() {
        assert!("".parse::<SingleLine>().is_ok());
        assert!("the \u{e4}pfel, #1".parse::<SingleLine>().is_ok());
        for bad in ["a\nb", "a\tb", "a\0", "\u{85}", &"x".repeat(5000)] {
            assert!(bad.parse::<SingleLine>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn words_for_yes_and_no() {
        assert_eq!(parse_bool("TRUE"), Some(true));
        assert_eq!(parse_bool("On"), Some(true));
        assert_eq!(parse_bool("0"), Some(false));
        assert_eq!(parse_bool("nein"), None);
        assert_eq!(parse_bool(""), None);
    }
}
