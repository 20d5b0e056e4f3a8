//! Query strings.

use anyhow::{Result, bail};
use s3_client::encode::encode_component;
use serde_json::Value;

/// `a=1&b=2`.
pub(super) fn of_pairs(pairs: &[(&str, &str)]) -> String {
    let pairs = pairs.iter().map(|(name, value)| pair(name, value));
    pairs.collect::<Vec<_>>().join("&")
}

/// The same of a JSON object; nulls are left out, arrays repeat their name.
pub(super) fn of_object(parameters: &Value) -> Result<String> {
    let Value::Object(parameters) = parameters else {
        return match parameters {
            Value::Null => Ok(String::new()),
            other => bail!("{other} is no set of parameters"),
        };
    };
    let mut pairs = Vec::new();
    for (name, value) in parameters {
        match value {
            Value::Array(items) => {
                for item in items {
                    pairs.extend(scalar(item)?.map(|text| pair(name, &text)));
                }
            }
            value => pairs.extend(scalar(value)?.map(|text| pair(name, &text))),
        }
    }
    Ok(pairs.join("&"))
}

fn scalar(value: &Value) -> Result<Option<String>> {
    Ok(match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        other => bail!("{other} cannot be a parameter in a query"),
    })
}

fn pair(name: &str, value: &str) -> String {
    format!("{}={}", encode_component(name), encode_component(value))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_encoded() {
        let query = of_pairs(&[("backup-id", "a"), ("notes", "x &=\n+ä")]);
        assert_eq!(query, "backup-id=a&notes=x%20%26%3D%0A%2B%C3%A4");
        let object = json!({ "a": true, "b": 7, "c": null, "d": ["x", "y"], "e": "/" });
        assert_eq!(of_object(&object).unwrap(), "a=true&b=7&d=x&d=y&e=%2F");
        assert_eq!(of_object(&Value::Null).unwrap(), "");
        assert!(of_object(&json!([])).is_err());
        assert!(of_object(&json!({ "a": {} })).is_err());
    }
}
