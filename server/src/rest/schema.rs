//! Types of parameters.
//!
//! A schema says what a value may be, so that the same lines check a request, describe it in the
//! OpenAPI document and complete a command line.

use std::str::FromStr;

use api_types::text::parse_bool;
use serde_json::{Value, json};

/// The type of a parameter.
#[derive(Clone, Copy, Debug)]
pub enum Schema {
    /// Yes or no.
    Boolean,
    /// A whole number within limits, both included.
    Integer {
        /// The smallest.
        min: i64,
        /// The largest.
        max: i64,
    },
    /// A text with a form of its own.
    Text(Text),
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Any number of values of one type.
    Array(&'static Schema),
}

/// A text with a form of its own.
#[derive(Clone, Copy, Debug)]
pub struct Text {
    /// Name of the form, for documentation: `datastore name`.
    pub form: &'static str,
    /// Says what is wrong with a text.
    pub check: fn(&str) -> Result<(), String>,
    /// Most characters.
    pub max_len: usize,
}

/// Most characters of a text that names no limit of its own.
const MAX_TEXT: usize = 64 * 1024;

impl Schema {
    /// Any text.
    pub const ANY_TEXT: Self = Self::Text(Text {
        form: "text",
        check: |_| Ok(()),
        max_len: MAX_TEXT,
    });

    /// A text that a type of `api-types` accepts.
    #[must_use]
    pub const fn text<T: FromStr<Err = api_types::ParseError>>(form: &'static str) -> Self {
        Self::Text(Text {
            form,
            check: parses::<T>,
            max_len: MAX_TEXT,
        })
    }

    /// A whole number from `min` to `max`.
    #[must_use]
    pub const fn integer(min: i64, max: i64) -> Self {
        Self::Integer { min, max }
    }

    /// Whether it holds several values.
    #[must_use]
    pub const fn is_array(&self) -> bool {
        matches!(self, Self::Array(_))
    }

    /// The value of a text from a form or a query.
    pub fn parse(&self, text: &str) -> Result<Value, String> {
        match self {
            Self::Boolean => parse_bool(text)
                .map(Value::from)
                .ok_or_else(|| format!("expected a boolean (true or false), not '{text}'")),
            Self::Integer { .. } => {
                let number: i64 = text
                    .parse()
                    .map_err(|_| format!("expected a whole number, not '{text}'"))?;
                self.check(Value::from(number))
            }
            Self::Text(_) | Self::Choice(_) => self.check(Value::from(text)),
            Self::Array(element) => Ok(Value::Array(vec![element.parse(text)?])),
        }
    }

    /// The value of a JSON value: no text for a number, no number for a boolean.
    pub fn check(&self, value: Value) -> Result<Value, String> {
        match (self, &value) {
            (Self::Boolean, Value::Bool(_)) => Ok(value),
            (Self::Boolean, _) => Err(expected("a boolean", &value)),
            (Self::Integer { min, max }, Value::Number(number)) => {
                let number = number.as_i64().ok_or_else(|| match number.as_u64() {
                    Some(number) => format!("value must be at most {max}, not {number}"),
                    None => expected("a whole number", &value),
                })?;
                if number < *min {
                    return Err(format!("value must be at least {min}, not {number}"));
                }
                if number > *max {
                    return Err(format!("value must be at most {max}, not {number}"));
                }
                Ok(value)
            }
            (Self::Integer { .. }, _) => Err(expected("a whole number", &value)),
            (Self::Text(text), Value::String(content)) => {
                if content.chars().count() > text.max_len {
                    return Err(format!("longer than {} characters", text.max_len));
                }
                (text.check)(content)?;
                Ok(value)
            }
            (Self::Choice(words), Value::String(word)) => {
                if words.contains(&word.as_str()) {
                    Ok(value)
                } else {
                    Err(format!(
                        "expected one of {}, not '{word}'",
                        words.join(", ")
                    ))
                }
            }
            (Self::Text(_) | Self::Choice(_), _) => Err(expected("a string", &value)),
            (Self::Array(element), Value::Array(_)) => {
                let Value::Array(elements) = value else {
                    return Err("expected an array".into());
                };
                let checked: Result<Vec<_>, _> = elements
                    .into_iter()
                    .map(|value| element.check(value))
                    .collect();
                checked.map(Value::Array)
            }
            (Self::Array(_), _) => Err(expected("an array", &value)),
        }
    }

    /// As in an OpenAPI document.
    #[must_use]
    pub fn describe(&self) -> Value {
        match self {
            Self::Boolean => json!({ "type": "boolean" }),
            Self::Integer { min, max } => {
                json!({ "type": "integer", "minimum": min, "maximum": max })
            }
            Self::Text(text) => {
                json!({ "type": "string", "format": text.form, "maxLength": text.max_len })
            }
            Self::Choice(words) => json!({ "type": "string", "enum": words }),
            Self::Array(element) => json!({ "type": "array", "items": element.describe() }),
        }
    }
}

fn parses<T: FromStr<Err = api_types::ParseError>>(text: &str) -> Result<(), String> {
    match text.parse::<T>() {
        Ok(_) => Ok(()),
        Err(error) => Err(error.reason.to_string()),
    }
}

fn expected(what: &str, value: &Value) -> String {
    let found = match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    };
    format!("expected {what}, not {found}")
}

#[cfg(test)]
mod tests {
    use api_types::names::DatastoreName;

    use super::*;

    const NUMBER: Schema = Schema::integer(1, 256);
    const STORE: Schema = Schema::text::<DatastoreName>("datastore name");

    #[test]
    fn texts_become_values() {
        assert_eq!(Schema::Boolean.parse("On"), Ok(Value::Bool(true)));
        assert!(Schema::Boolean.parse("").is_err());
        assert_eq!(NUMBER.parse("256"), Ok(json!(256)));
        for bad in ["0", "257", "", "1.0", "0x1", " 1", "99999999999999999999"] {
            assert!(NUMBER.parse(bad).is_err(), "{bad:?}");
        }
        assert_eq!(STORE.parse("store1"), Ok(json!("store1")));
        assert!(STORE.parse("../x").is_err());
        assert_eq!(Schema::Array(&NUMBER).parse("7"), Ok(json!([7])));
    }

    #[test]
    fn json_is_not_converted() {
        assert!(NUMBER.check(json!("5")).is_err());
        assert!(NUMBER.check(json!(1.5)).is_err());
        assert!(Schema::Boolean.check(json!(1)).is_err());
        assert!(STORE.check(json!(5)).is_err());
        assert!(Schema::Array(&NUMBER).check(json!([1, 300])).is_err());
        assert_eq!(
            Schema::Array(&NUMBER).check(json!([1, 2])),
            Ok(json!([1, 2]))
        );
        let words = Schema::Choice(&["hour", "day"]);
        assert!(
            words
                .check(json!("week"))
                .unwrap_err()
                .contains("hour, day")
        );
        assert_eq!(words.check(json!("day")), Ok(json!("day")));
    }

    #[test]
    fn a_text_has_an_end() {
        assert!(Schema::ANY_TEXT.parse(&"x".repeat(MAX_TEXT + 1)).is_err());
    }
}
