//! Options of `create` and `update` as properties of a configuration section.
//!
//! The entity itself checks them, whether they come from a file, the command line or the network.

use anyhow::{Result, bail};
use serde_json::Value;

/// Keys and values; a repeated key is an array.
pub type Properties = Vec<(String, String)>;

/// Collects the options that were given.
#[derive(Debug, Default)]
pub struct Given(Properties);

impl Given {
    /// Adds an option with one value.
    #[must_use]
    pub fn set(mut self, key: &str, value: Option<&impl ToString>) -> Self {
        self.0
            .extend(value.map(|value| (key.to_owned(), value.to_string())));
        self
    }

    /// Adds a value as it comes in a call: an array is an option given several times.
    #[must_use]
    pub fn set_json(mut self, key: &str, value: &Value) -> Self {
        match value {
            Value::Array(values) => values
                .iter()
                .fold(self, |given, value| given.set_json(key, value)),
            Value::String(text) => {
                self.0.push((key.to_owned(), text.clone()));
                self
            }
            other => self.set(key, Some(other)),
        }
    }

    /// Adds an option that may be given more than once.
    #[must_use]
    pub fn set_all(mut self, key: &str, values: &[String]) -> Self {
        self.0
            .extend(values.iter().map(|value| (key.to_owned(), value.clone())));
        self
    }

    /// The properties of a new section.
    #[must_use]
    pub fn into_properties(self) -> Properties {
        self.0
    }

    /// The properties `old` with these in place of those of the same keys, and without the keys
    /// in `delete`. Refuses what cannot be meant.
    pub fn merge_into(self, old: Properties, delete: &[String]) -> Result<Properties> {
        if let Some((key, _)) = self.0.iter().find(|(key, _)| delete.contains(key)) {
            bail!("'{key}' cannot be set and deleted at the same time");
        }
        if self.0.is_empty() && delete.is_empty() {
            bail!("nothing to change: give the options to set, or --delete with their names");
        }
        Ok(self.replace_in(old, delete))
    }

    /// The same, whatever is meant: what is set and deleted is set.
    #[must_use]
    pub fn replace_in(self, mut old: Properties, delete: &[String]) -> Properties {
        old.retain(|(key, _)| !delete.contains(key) && !self.0.iter().any(|(new, _)| new == key));
        // An empty comment is none.
        let given = self.0.into_iter();
        old.extend(given.filter(|(key, value)| key != "comment" || !value.is_empty()));
        old
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn properties(pairs: &[(&str, &str)]) -> Properties {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn given_options_replace_old_ones_and_arrays_as_a_whole() {
        let old = properties(&[("a", "1"), ("q", "x"), ("q", "y"), ("z", "9")]);
        let given = Given::default()
            .set("a", Some(&2))
            .set("n", None::<&String>)
            .set_all("q", &["w".to_owned()]);
        let merged = given.merge_into(old, &["z".to_owned()]).unwrap();
        assert_eq!(merged, properties(&[("a", "2"), ("q", "w")]));
    }

    #[test]
    fn values_of_a_call_become_properties() {
        let given = Given::default()
            .set_json("flag", &serde_json::json!(true))
            .set_json("list", &serde_json::json!(["x", "y"]))
            .set_json("number", &serde_json::json!(7))
            .set_json("comment", &serde_json::json!(""));
        let old = properties(&[("comment", "old"), ("flag", "false"), ("gone", "1")]);
        let new = given.replace_in(old, &["gone".to_owned(), "flag".to_owned()]);
        let expected = [
            ("flag", "true"),
            ("list", "x"),
            ("list", "y"),
            ("number", "7"),
        ];
        assert_eq!(new, properties(&expected));
    }

    #[test]
    fn nothing_and_contradictions_are_refused() {
        assert!(Given::default().merge_into(Vec::new(), &[]).is_err());
        let given = Given::default().set("a", Some(&2));
        assert!(given.merge_into(Vec::new(), &["a".to_owned()]).is_err());
    }
}
