//! Requests: an endpoint of the table, its parameters as they should be or not, a method, a format,
//! a way to send them, a caller.

use std::fmt;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE};
use hyper::{Method, Request};
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Map, Value, json};
use server::rest::endpoint::Param;
use server::rest::table::{Access, BodyUse, Endpoint, TABLES};

use crate::values::{By, Dice, dice, fits, usual, value_of};
use crate::world::World;

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    Nobody,
    /// A token without any rights.
    Weak,
    /// A token with all of them.
    Admin,
}

/// What is wrong with a request.
#[derive(Clone, Debug)]
pub struct Fault {
    what: &'static str,
    /// The parameter that it is about; an answer names it.
    pub word: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.what, self.word)
    }
}

/// A request, and what is known of it.
#[derive(Clone, Debug)]
pub struct Case {
    endpoint: &'static Endpoint,
    method: Method,
    format: &'static str,
    by: By,
    pub who: Who,
    in_path: Vec<(&'static str, String)>,
    given: Vec<(String, Value)>,
    fault: Option<Fault>,
    /// Bytes that are no parameters, behind them.
    garbage: Option<&'static [u8]>,
    content_type: Option<&'static str>,
}

/// All of them.
pub fn cases() -> impl Strategy<Value = Case> {
    let endpoints: Vec<&'static Endpoint> = TABLES.iter().copied().flatten().collect();
    let most = endpoints.iter().map(|e| e.params.len()).max().unwrap_or(0);
    (
        proptest::sample::select(endpoints),
        proptest::collection::vec(dice(), most),
        (any::<u8>(), any::<u8>(), any::<u8>(), any::<u8>()),
        any::<Index>(),
        // How many parameters may be wrong: half of the cases have none.
        prop_oneof![Just(0_u8), Just(24), Just(128)],
    )
        .prop_map(|(endpoint, dice, ways, index, wrong)| case(endpoint, &dice, ways, index, wrong))
}

fn case(
    endpoint: &'static Endpoint,
    dice: &[Dice],
    (method, format, by, extra): (u8, u8, u8, u8),
    index: Index,
    wrong: u8,
) -> Case {
    let methods = [
        Method::GET,
        Method::PUT,
        Method::POST,
        Method::DELETE,
        Method::HEAD,
        Method::OPTIONS,
    ];
    let method = match method {
        0..230 => endpoint.method.clone(),
        _ => index.get(&methods).clone(),
    };
    let by = match (by, endpoint.body, &method) {
        (_, BodyUse::Stream, _) => By::Query,
        (0..90, _, _) => By::Query,
        (90..160, _, _) => By::Form,
        _ => By::Json,
    };
    let mut case = Case {
        endpoint,
        method,
        format: match format {
            0..170 => "json",
            170..250 => "extjs",
            _ => "xml",
        },
        by,
        who: match extra % 4 {
            0 => Who::Nobody,
            1 => Who::Weak,
            _ => Who::Admin,
        },
        in_path: Vec::new(),
        given: Vec::new(),
        fault: None,
        garbage: None,
        content_type: None,
    };
    let names: Vec<&str> = endpoint.path.split('/').filter_map(in_braces).collect();
    for (param, dice) in endpoint.params.iter().zip(dice) {
        case.add(param, dice, names.contains(&param.name), wrong);
    }
    case.spoil(extra >> 2, index, wrong);
    case
}

fn in_braces(word: &'static str) -> Option<&'static str> {
    word.strip_prefix('{')?.strip_suffix('}')
}

impl Case {
    fn add(&mut self, param: &'static Param, dice: &Dice, is_in_path: bool, wrong: u8) {
        let is_wrong = dice.quality < wrong;
        let is_missing = if param.optional {
            dice.presence < 150
        } else {
            is_wrong && dice.presence < 64
        };
        if is_missing && !is_in_path {
            if !param.optional {
                self.blame("missing", param.name);
            }
            return;
        }
        // What lies in the path is always text.
        let by = if is_in_path { By::Query } else { self.by };
        let usual = usual(param.name).filter(|value| {
            !is_wrong && !dice.quality.is_multiple_of(8) && fits(&param.schema, value, by)
        });
        let value = usual.unwrap_or_else(|| value_of(&param.schema, dice, is_wrong, by));
        let fits = match (&value, by) {
            (Value::Array(values), By::Query | By::Form) => {
                values.iter().all(|value| fits(&param.schema, value, by))
            }
            (value, by) => fits(&param.schema, value, by),
        };
        if !fits {
            self.blame("unfit", param.name);
        }
        if is_in_path {
            let text = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            self.in_path.push((param.name, text));
        } else {
            self.given.push((param.name.to_owned(), value));
        }
    }

    /// Things that do not come from a single parameter.
    fn spoil(&mut self, extra: u8, index: Index, wrong: u8) {
        if wrong == 0 {
            return;
        }
        match extra {
            0..4 => {
                let name = if extra < 2 {
                    "nothing".to_owned()
                } else {
                    "x".repeat(300)
                };
                self.blame("unknown", &name);
                self.given.push((name, json!("1")));
            }
            // The same again, which JSON cannot say.
            4..8 if self.by != By::Json && !self.given.is_empty() => {
                let (name, value) = index.get(&self.given).clone();
                let is_array = self
                    .endpoint
                    .params
                    .iter()
                    .any(|p| p.name == name && p.schema.is_array());
                if !is_array {
                    self.blame("duplicate", &name);
                    self.given.push((name, value));
                }
            }
            // Again what is in the path already.
            8..10 if !self.in_path.is_empty() => {
                let (name, text) = index.get(&self.in_path).clone();
                self.blame("duplicate", name);
                self.given.push((name.to_owned(), text.into()));
            }
            10..13 => {
                let garbage: &[&[u8]] = match self.by {
                    By::Query | By::Form => &[b"&%ff=1", b"&a=%c0%ae", b"&=", b"&a=%00"],
                    By::Json => &[b"}", b"\xff", b"[[[[", b"{\"a\":"],
                };
                self.garbage = Some(*index.get::<&[u8]>(garbage));
                self.blame("garbage", "");
            }
            13 => {
                self.content_type = Some("text/xml");
                if self.endpoint.body == BodyUse::Parameters {
                    self.blame("content type", "");
                }
            }
            _ => {}
        }
    }

    fn blame(&mut self, what: &'static str, word: &str) {
        // Of several, some are told; of what is not parameters at all, only that.
        if self.fault.is_none() || word.is_empty() {
            self.fault = Some(Fault {
                what,
                word: word.to_owned(),
            });
        }
    }

    pub fn fault(&self) -> Option<&Fault> {
        self.fault.as_ref()
    }

    /// Method and path, as the table has them.
    pub fn endpoint(&self) -> String {
        format!("{} {}", self.endpoint.method, self.endpoint.path)
    }

    pub fn is_head(&self) -> bool {
        self.method == Method::HEAD
    }

    pub fn is_extjs(&self) -> bool {
        self.format == "extjs"
    }

    pub fn is_world(&self) -> bool {
        matches!(self.endpoint.access, Access::World)
    }

    pub fn needs_privileges(&self) -> bool {
        matches!(self.endpoint.access, Access::Privileges { .. })
    }

    /// Whether the request gets as far as to its endpoint: the path is one, and leads there.
    pub fn reaches_table(&self) -> bool {
        let is_path =
            |text: &String| !text.is_empty() && !text.starts_with('.') && !text.contains("%");
        self.method == self.endpoint.method
            && self.format != "xml"
            && self.in_path.iter().all(|(_, text)| is_path(text))
    }

    fn path(&self) -> String {
        let words = self
            .endpoint
            .path
            .split('/')
            .filter(|word| !word.is_empty());
        let words = words.map(|word| {
            let text = in_braces(word)
                .and_then(|name| self.in_path.iter().find(|(other, _)| *other == name));
            match text {
                Some((_, text)) => encode(text),
                None => word.to_owned(),
            }
        });
        format!(
            "/api2/{}/{}",
            self.format,
            words.collect::<Vec<_>>().join("/")
        )
    }

    fn pairs(&self) -> String {
        let mut pairs = Vec::new();
        for (name, value) in &self.given {
            let values = match value {
                Value::Array(values) => values.as_slice(),
                value => std::slice::from_ref(value),
            };
            for value in values {
                let text = value
                    .as_str()
                    .map_or_else(|| value.to_string(), str::to_owned);
                pairs.push(format!("{}={}", encode(name), encode(&text)));
            }
        }
        pairs.join("&")
    }

    /// Path and query.
    pub fn uri(&self) -> String {
        let garbage = String::from_utf8_lossy(self.garbage.unwrap_or_default());
        match self.by {
            By::Query => format!("{}?{}{garbage}", self.path(), self.pairs()),
            By::Form | By::Json => self.path(),
        }
    }

    fn body(&self) -> Vec<u8> {
        let mut body = match self.by {
            By::Query => return Vec::new(),
            By::Form => self.pairs().into_bytes(),
            By::Json => {
                let object: Map<String, Value> = self.given.iter().cloned().collect();
                Value::Object(object).to_string().into_bytes()
            }
        };
        body.extend_from_slice(self.garbage.unwrap_or_default());
        body
    }

    /// The request, if it can be said in HTTP.
    pub fn request(&self, world: &World) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
        let mut request = Request::builder()
            .method(self.method.clone())
            .uri(self.uri());
        let kind = match self.by {
            By::Json => Some("application/json"),
            By::Form => Some("application/x-www-form-urlencoded"),
            By::Query => None,
        };
        if let Some(kind) = self.content_type.or(kind) {
            request = request.header(CONTENT_TYPE, kind);
        }
        let token = match self.who {
            Who::Nobody => None,
            Who::Weak => Some(&world.weak),
            Who::Admin => Some(&world.admin),
        };
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, token);
        }
        request.body(Full::new(self.body().into()))
    }
}

/// Everything but letters and digits, as a very careful client does it.
fn encode(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'-' | b'_' => char::from(byte).to_string(),
        byte => format!("%{byte:02x}"),
    };
    text.bytes().map(encode).collect()
}
