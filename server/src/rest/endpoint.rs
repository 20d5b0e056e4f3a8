//! An entry of the table: one path and method.

use hyper::Method;
use serde_json::Value;

use super::schema::Schema;

/// A parameter of an endpoint.
#[derive(Clone, Copy, Debug)]
pub struct Param {
    /// Its name, as on the wire.
    pub name: &'static str,
    /// For the documentation: one line.
    pub about: &'static str,
    /// What it may be.
    pub schema: Schema,
    /// Whether it may be missing.
    pub optional: bool,
    /// What it is when it is missing.
    pub default: Option<DefaultValue>,
}

/// What an optional parameter is when it is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultValue {
    /// Yes or no.
    Flag(bool),
    /// A number.
    Number(i64),
    /// A text.
    Text(&'static str),
}

impl From<DefaultValue> for Value {
    fn from(value: DefaultValue) -> Self {
        match value {
            DefaultValue::Flag(flag) => flag.into(),
            DefaultValue::Number(number) => number.into(),
            DefaultValue::Text(text) => text.into(),
        }
    }
}

impl Param {
    /// One that must be given.
    #[must_use]
    pub const fn required(name: &'static str, about: &'static str, schema: Schema) -> Self {
        Self {
            name,
            about,
            schema,
            optional: false,
            default: None,
        }
    }

    /// One that may be missing.
    #[must_use]
    pub const fn optional(name: &'static str, about: &'static str, schema: Schema) -> Self {
        Self {
            optional: true,
            ..Self::required(name, about, schema)
        }
    }

    /// With this default.
    #[must_use]
    pub const fn or_flag(self, value: bool) -> Self {
        Self {
            default: Some(DefaultValue::Flag(value)),
            ..self
        }
    }

    /// With this default.
    #[must_use]
    pub const fn or_number(self, value: i64) -> Self {
        Self {
            default: Some(DefaultValue::Number(value)),
            ..self
        }
    }

    /// With this default.
    #[must_use]
    pub const fn or_text(self, value: &'static str) -> Self {
        Self {
            default: Some(DefaultValue::Text(value)),
            ..self
        }
    }
}

/// Several lists of parameters as one, whose length is `N`.
///
/// # Panics
/// While compiling, if it is not.
#[must_use]
pub const fn joined<const N: usize>(lists: &[&[Param]]) -> [Param; N] {
    let mut all = [Param::required("", "", Schema::Boolean); N];
    let (mut list, mut next) = (0, 0);
    while list < lists.len() {
        let mut index = 0;
        while index < lists[list].len() {
            all[next] = lists[list][index];
            index += 1;
            next += 1;
        }
        list += 1;
    }
    assert!(next == N, "the lists have another length");
    all
}

/// A path with parameters in it, and a method.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// GET, PUT, POST or DELETE.
    pub method: Method,
    /// Below `/api2/<format>`: `/admin/datastore/{store}/status`.
    pub path: &'static str,
}
