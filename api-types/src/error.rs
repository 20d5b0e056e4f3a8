//! The one error of this crate: something that did not parse.

use std::borrow::Cow;

/// How much of a rejected value an error shows; the rest may be megabytes of somebody's garbage.
const SHOWN_CHARS: usize = 80;

/// A value that breaks the rules of its type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid {what} {value:?}: {reason}")]
pub struct ParseError {
    /// What the value should have been, in the words of the field ("backup id").
    pub what: &'static str,
    /// The value, shortened; never a secret.
    pub value: String,
    /// Which rule it breaks.
    pub reason: Cow<'static, str>,
}

impl ParseError {
    /// An error about `value`, of which only the beginning is kept.
    #[must_use]
    pub fn new(what: &'static str, value: &str, reason: impl Into<Cow<'static, str>>) -> Self {
        let reason = reason.into();
        let mut chars = value.chars();
        let mut shown: String = chars.by_ref().take(SHOWN_CHARS).collect();
        if chars.next().is_some() {
            shown.push_str("...");
        }
        Self {
            what,
            value: shown,
            reason,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_values_are_shortened_and_control_characters_escaped() {
        let error = ParseError::new(
            "backup id",
            &format!("\n{}", "x".repeat(10_000)),
            "too long",
        );
        let text = error.to_string();
        assert!(text.starts_with("invalid backup id \"\\nxxx"), "{text}");
        assert!(text.ends_with("...\": too long"), "{text}");
        assert!(text.len() < 200);
    }
}
