//! Properties of everything that parses from a text and prints as one.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use api_types::ParseError;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Most bytes of an error's text, however long the value that it is about.
const MAX_ERROR_LEN: usize = 8192;

/// What is parsed prints a text that parses to the same, and serde agrees with both.
pub fn round_trip<T>(text: &str) -> Option<T>
where
    T: FromStr<Err = ParseError> + Display + PartialEq + Debug + Serialize + DeserializeOwned,
{
    let value = parse::<T>(text)?;
    let printed = value.to_string();
    assert_eq!(
        printed.parse::<T>().as_ref(),
        Ok(&value),
        "{text:?} prints {printed:?}"
    );
    check_serde(&value, &printed);
    Some(value)
}

/// [`round_trip`] of a type with one spelling per value.
pub fn verbatim<T>(text: &str) -> Option<T>
where
    T: FromStr<Err = ParseError> + Display + PartialEq + Debug + Serialize + DeserializeOwned,
{
    let value = round_trip::<T>(text)?;
    assert_eq!(value.to_string(), text);
    Some(value)
}

/// Like [`round_trip`] for a type that rounds when it prints: what it printed, it prints again.
pub fn settles<T>(text: &str) -> Option<T>
where
    T: FromStr<Err = ParseError> + Display + Debug,
{
    let value = parse::<T>(text)?;
    let printed = value.to_string();
    let again = printed.parse::<T>();
    let again = again.unwrap_or_else(|error| panic!("{text:?} prints {printed:?}: {error}"));
    assert_eq!(again.to_string(), printed, "from {text:?}");
    Some(value)
}

/// Parses; an error is short even if the value is not.
pub fn parse<T: FromStr<Err = ParseError>>(text: &str) -> Option<T> {
    match text.parse::<T>() {
        Ok(value) => Some(value),
        Err(error) => {
            check_error(&error);
            None
        }
    }
}

/// An error shows the beginning of a value, not megabytes of it.
pub fn check_error(error: &impl Display) {
    let shown = error.to_string();
    assert!(
        shown.len() <= MAX_ERROR_LEN,
        "an error of {} bytes",
        shown.len()
    );
}

fn check_serde<T>(value: &T, printed: &str)
where
    T: PartialEq + Debug + Serialize + DeserializeOwned,
{
    let json = serde_json::to_string(value).expect("it can be written");
    assert_eq!(
        serde_json::from_str::<String>(&json).expect("a text"),
        printed
    );
    assert_eq!(
        &serde_json::from_str::<T>(&json).expect("we wrote it"),
        value
    );
}
