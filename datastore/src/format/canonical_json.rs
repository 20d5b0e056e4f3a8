//! JSON with sorted keys: compact for signatures, indented for stored manifests
//! (formats.md §4.1, §4.3).
//!
//! Written here rather than left to a serializer, because signatures depend on every byte.

use serde_json::{Map, Value};

use super::FormatError;

const OBJECT: &str = "json document";

/// The canonical form that signatures cover: no whitespace, no null.
pub fn to_canonical(value: &Value) -> Result<Vec<u8>, FormatError> {
    let mut out = Vec::new();
    write_value(value, Style::Canonical, 0, &mut out)?;
    Ok(out)
}

/// The stored form: two spaces per level.
pub fn to_pretty(value: &Value) -> Result<Vec<u8>, FormatError> {
    let mut out = Vec::new();
    write_value(value, Style::Pretty, 0, &mut out)?;
    Ok(out)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    Canonical,
    Pretty,
}

impl Style {
    fn new_line(self, depth: usize, out: &mut Vec<u8>) {
        if self == Self::Pretty {
            out.push(b'\n');
            out.resize(out.len() + 2 * depth, b' ');
        }
    }
}

fn write_value(
    value: &Value,
    style: Style,
    depth: usize,
    out: &mut Vec<u8>,
) -> Result<(), FormatError> {
    match value {
        Value::Null if style == Style::Canonical => {
            return Err(FormatError::refused(OBJECT, "canonical json has no null"));
        }
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(value) => out.extend_from_slice(value.to_string().as_bytes()),
        Value::Number(number) => out.extend_from_slice(number.to_string().as_bytes()),
        Value::String(text) => write_string(text, out)?,
        Value::Array(items) => write_array(items, style, depth, out)?,
        Value::Object(members) => write_object(members, style, depth, out)?,
    }
    Ok(())
}

fn write_array(
    items: &[Value],
    style: Style,
    depth: usize,
    out: &mut Vec<u8>,
) -> Result<(), FormatError> {
    out.push(b'[');
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        style.new_line(depth + 1, out);
        write_value(item, style, depth + 1, out)?;
    }
    if !items.is_empty() {
        style.new_line(depth, out);
    }
    out.push(b']');
    Ok(())
}

fn write_object(
    members: &Map<String, Value>,
    style: Style,
    depth: usize,
    out: &mut Vec<u8>,
) -> Result<(), FormatError> {
    // A map may keep the order of insertion, depending on features chosen elsewhere.
    let mut sorted: Vec<_> = members.iter().collect();
    sorted.sort_unstable_by(|a, b| a.0.as_bytes().cmp(b.0.as_bytes()));
    out.push(b'{');
    for (i, (key, value)) in sorted.into_iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        style.new_line(depth + 1, out);
        write_string(key, out)?;
        out.extend_from_slice(if style == Style::Pretty { b": " } else { b":" });
        write_value(value, style, depth + 1, out)?;
    }
    if !members.is_empty() {
        style.new_line(depth, out);
    }
    out.push(b'}');
    Ok(())
}

/// Escapes `"`, `\` and control characters, nothing else.
fn write_string(text: &str, out: &mut Vec<u8>) -> Result<(), FormatError> {
    serde_json::to_writer(out, text)
        .map_err(|error| FormatError::io("write", OBJECT)(std::io::Error::other(error)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn canonical(value: &Value) -> String {
        String::from_utf8(to_canonical(value).unwrap()).unwrap()
    }

    #[test]
    fn keys_are_sorted_by_bytes_at_every_level() {
        let value =
            json!({"é": 1, "b": {"z": true, "_": []}, "B": [3, {"y": 1, "x": -2}], "": "e"});
        assert_eq!(
            canonical(&value),
            r#"{"":"e","B":[3,{"x":-2,"y":1}],"b":{"_":[],"z":true},"é":1}"#
        );
    }

    #[test]
    fn only_what_must_be_is_escaped() {
        let text = "a\"\\/\u{8}\t\n\u{c}\r\u{1}\u{1f}\u{7f}ä€😀";
        assert_eq!(
            canonical(&json!(text)),
            "\"a\\\"\\\\/\\b\\t\\n\\f\\r\\u0001\\u001f\u{7f}ä€😀\""
        );
    }

    #[test]
    fn null_is_refused_in_the_canonical_form_only() {
        let value = json!([{"a": null}]);
        assert!(to_canonical(&value).is_err());
        assert_eq!(
            to_pretty(&value).unwrap(),
            b"[\n  {\n    \"a\": null\n  }\n]"
        );
        assert_eq!(
            to_pretty(&json!({"a": {}, "b": []})).unwrap(),
            b"{\n  \"a\": {},\n  \"b\": []\n}"
        );
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 64, 8, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
                proptest::collection::btree_map(any::<String>(), inner, 0..8)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn both_forms_parse_back(value in any_json()) {
            for bytes in [to_canonical(&value).unwrap(), to_pretty(&value).unwrap()] {
                prop_assert_eq!(&serde_json::from_slice::<Value>(&bytes).unwrap(), &value);
            }
            prop_assert_eq!(to_pretty(&value).unwrap(), serde_json::to_vec_pretty(&value).unwrap());
        }
    }
}
