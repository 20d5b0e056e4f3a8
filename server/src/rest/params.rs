//! Parameters of a call: gathered from query, form, JSON and path, checked against the endpoint
//! (`rest-api.md` §1.2).

use std::collections::HashSet;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::endpoint::Param;
use super::error::RestError;
use super::path::pairs;

/// Problems that are told. Nobody reads more, and half a megabyte of parameters that nobody knows
/// would make an answer of many.
const MAX_PROBLEMS: usize = 100;

/// Checked parameters, by name. What was not given and has a default is there with it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Params(Map<String, Value>);

/// Where the parameters of a call come from.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Source<'a> {
    /// Texts: query and form.
    #[default]
    None,
    /// Names and texts of a query, a form or both.
    Pairs(Vec<(String, String)>),
    /// A JSON object; the query is not looked at.
    Json(&'a [u8]),
}

impl Source<'_> {
    /// The pairs of a query string and of a form.
    pub fn from_texts(query: &str, form: &str) -> Result<Self, RestError> {
        let mut all = pairs(query)?;
        all.extend(pairs(form)?);
        // Browsers' cache breaker.
        all.retain(|(name, _)| name != "_dc");
        Ok(Self::Pairs(all))
    }
}

impl Params {
    /// Checks what was given against what the endpoint declares. All problems are reported at
    /// once, unless there are a great many.
    ///
    /// `in_path` are the parameters that the path held, already decoded.
    pub fn check(
        declared: &[Param],
        in_path: &[(&'static str, String)],
        given: Source<'_>,
    ) -> Result<Self, RestError> {
        let mut check = Check {
            declared,
            values: Map::new(),
            problems: Vec::new(),
        };
        let names: HashSet<_> = in_path.iter().map(|(name, _)| *name).collect();
        for (name, text) in in_path {
            check.text(name, text);
        }
        match given {
            Source::None => {}
            Source::Pairs(pairs) => {
                for (name, text) in pairs {
                    check.text(&name, &text);
                    if check.is_hopeless() {
                        break;
                    }
                }
            }
            Source::Json(body) => {
                for (name, value) in object(body)? {
                    if names.contains(name.as_str()) {
                        check.problem(&name, "duplicate parameter.");
                    } else {
                        check.value(&name, value);
                    }
                    if check.is_hopeless() {
                        break;
                    }
                }
            }
        }
        check.finish()
    }

    /// The parameters as a type whose fields are named like them.
    ///
    /// What the endpoint declares fits its type; if it does not, that is said, and is a bug.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, RestError> {
        serde_json::from_value(Value::Object(self.0.clone())).map_err(|error| {
            RestError::bad_request(format!("parameter verification failed - {error}"))
        })
    }

    /// One parameter.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// All parameters, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// One parameter that is a text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(Value::as_str)
    }
}

fn object(body: &[u8]) -> Result<Map<String, Value>, RestError> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Map::new());
    }
    match serde_json::from_slice(body) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(RestError::bad_request("parameters must be a JSON object")),
        Err(error) => Err(RestError::bad_request(format!(
            "invalid JSON parameters: {error}"
        ))),
    }
}

/// A check under way.
struct Check<'a> {
    declared: &'a [Param],
    values: Map<String, Value>,
    problems: Vec<(String, String)>,
}

impl Check<'_> {
    fn problem(&mut self, name: &str, reason: impl Into<String>) {
        self.problems.push((name.to_owned(), reason.into()));
    }

    fn is_hopeless(&self) -> bool {
        self.problems.len() >= MAX_PROBLEMS
    }

    fn declared(&mut self, name: &str) -> Option<Param> {
        let found = self
            .declared
            .iter()
            .find(|param| param.name == name)
            .copied();
        if found.is_none() {
            self.problem(name, "schema does not allow additional properties.");
        }
        found
    }

    /// A text of a path, a query or a form: a name that comes again adds to an array.
    fn text(&mut self, name: &str, text: &str) {
        let Some(param) = self.declared(name) else {
            return;
        };
        match (param.schema.parse(text), self.values.get_mut(name)) {
            (Err(reason), _) => self.problem(name, reason),
            (Ok(value), None) => {
                self.values.insert(name.to_owned(), value);
            }
            (Ok(Value::Array(more)), Some(Value::Array(elements))) => elements.extend(more),
            (Ok(_), Some(_)) => self.problem(name, "duplicate parameter."),
        }
    }

    fn value(&mut self, name: &str, value: Value) {
        let Some(param) = self.declared(name) else {
            return;
        };
        match param.schema.check(value) {
            Ok(value) => {
                self.values.insert(name.to_owned(), value);
            }
            Err(reason) => self.problem(name, reason),
        }
    }

    fn finish(mut self) -> Result<Params, RestError> {
        for param in self.declared {
            if self.values.contains_key(param.name)
                || self.problems.iter().any(|(name, _)| name == param.name)
            {
                continue;
            }
            if let Some(default) = param.default {
                self.values.insert(param.name.to_owned(), default.into());
            } else if !param.optional {
                self.problem(param.name, "parameter is missing and it is not optional.");
            }
        }
        if self.problems.is_empty() {
            Ok(Params(self.values))
        } else {
            Err(RestError::parameters(self.problems))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;
    use crate::rest::schema::Schema;

    const DECLARED: &[Param] = &[
        Param::required("store", "the store", Schema::ANY_TEXT),
        Param::optional("limit", "how many", Schema::integer(0, 100)).or_number(50),
        Param::optional("errors", "only those", Schema::Boolean).or_flag(false),
        Param::optional("delete", "what to unset", Schema::Array(&Schema::ANY_TEXT)),
    ];

    #[derive(Debug, Deserialize, PartialEq)]
    struct Typed {
        store: String,
        limit: u64,
        errors: bool,
        #[serde(default)]
        delete: Vec<String>,
    }

    fn texts(query: &str, form: &str) -> Result<Typed, RestError> {
        Params::check(DECLARED, &[], Source::from_texts(query, form)?)?.read()
    }

    #[test]
    fn query_and_form_are_merged() {
        assert_eq!(
            texts("store=s1&_dc=123&delete=a", "limit=7&errors=1&delete=b"),
            Ok(Typed {
                store: "s1".into(),
                limit: 7,
                errors: true,
                delete: vec!["a".into(), "b".into()],
            })
        );
    }

    #[test]
    fn every_problem_is_named() {
        let error = texts("store=a&store=b&limit=101&x=1", "").unwrap_err();
        assert_eq!(
            error.message,
            "parameter verification failed:\n\
             - 'store': duplicate parameter.\n\
             - 'limit': value must be at most 100, not 101\n\
             - 'x': schema does not allow additional properties.\n"
        );
        assert_eq!(
            texts("", "").unwrap_err().message,
            "parameter verification failed - 'store': \
             parameter is missing and it is not optional."
        );
    }

    #[test]
    fn a_great_many_problems_are_not_all_told() {
        let form = "x&".repeat(100_000);
        let error = texts("store=a", &form).unwrap_err();
        assert_eq!(error.parameters.len(), MAX_PROBLEMS);
        let object: Map<_, _> = (0..100_000)
            .map(|number| (number.to_string(), Value::Null))
            .collect();
        let body = Value::Object(object).to_string();
        let error = Params::check(DECLARED, &[], Source::Json(body.as_bytes())).unwrap_err();
        assert!(error.message.len() < 10_000, "{}", error.message.len());
    }

    #[test]
    fn json_replaces_the_query_but_not_the_path() {
        let check = |body: &str| {
            let path = vec![("store", "s1".to_owned())];
            Params::check(DECLARED, &path, Source::Json(body.as_bytes()))
        };
        let params = check(r#"{"limit": 3}"#).unwrap();
        assert_eq!(params.get("limit"), Some(&json!(3)));
        assert_eq!(params.text("store"), Some("s1"));
        assert_eq!(check("").unwrap().get("limit"), Some(&json!(50)));
        assert!(check(r#"{"limit": "3"}"#).is_err());
        assert!(check(r#"{"store": "s2"}"#).is_err());
        assert!(check("[]").is_err());
        assert!(check("{").is_err());
    }
}
