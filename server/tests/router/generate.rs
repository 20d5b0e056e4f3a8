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
use server::rest::schema::Schema;
use server::rest::table::{Access, BodyUse, Endpoint, TABLES};

use crate::world::World;

/// Texts that fit into one place or another.
const WORDS: &[&str] = &[
    "one",
    "none",
    "a",
    "a/b",
    "host",
    "vm",
    "100",
    "machine",
    "index.json.blob",
    "root.pxar.didx",
    "a@pbs",
    "root@pam",
    "weak@pbs",
    "weak@pbs!t",
    "root@pam!t",
    "t",
    "Admin",
    "DatastoreAudit",
    "NoAccess",
    "/",
    "/datastore",
    "/datastore/one",
    "daily",
    "mon..fri 8:00",
    "localhost",
    "secret12",
    "10 MiB",
    "my-bucket",
    "eu-central-1",
    "type=s3,client=none,bucket=my-bucket",
    "read-only",
    "gc-atime-cutoff=60",
    "s3-get=10",
    "backup.example.org",
    "AKIA1234",
    "STANDARD",
    "some words",
    "aa:bb:cc:dd:ee:ff:00:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:ff:00:11:22:33:44:55:66:77:88:99",
    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
    "UPID:localhost:00000001:00000001:00000001:67000000:verify:one:root@pam:",
    "cm9vdA==",
    "comment",
    "pbs",
    "1767225600",
];

/// Texts that fit hardly anywhere.
const TRICKS: &[&str] = &[
    "",
    ".",
    "..",
    "../..",
    "../../outside",
    "a/../../outside",
    "/../outside",
    "..%2f..%2foutside",
    "%2e%2e",
    "%00",
    "a\0b",
    "\0",
    ".hidden",
    "-x",
    "a b",
    "a\nb",
    "a\rb",
    "\u{7f}",
    "ä",
    "𝄞",
    "\u{202e}x",
    "a:b",
    "a@b@c",
    "@",
    "!",
    "a!b",
    "host/machine",
    "//",
    "\\..\\x",
    "$(id)",
    "';--",
    "{store}",
    "*",
    "-1",
    "99999999999999999999",
    "1e3",
    "0x10",
    "NaN",
    "true",
    "null",
    "[]",
    "{}",
    "x=y,z=\"",
    "UPID:",
];

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    Nobody,
    /// A token without any rights.
    Weak,
    /// A token with all of them.
    Admin,
}

/// How parameters are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Query,
    Form,
    Json,
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

/// A number to choose by, for each parameter.
#[derive(Clone, Debug)]
struct Dice {
    /// Whether it is there, whether it fits.
    presence: u8,
    quality: u8,
    choice: Index,
    number: i64,
    long: bool,
}

fn dice() -> impl Strategy<Value = Dice> {
    (
        any::<u8>(),
        any::<u8>(),
        any::<Index>(),
        any::<i64>(),
        0..100_u8,
    )
        .prop_map(|(presence, quality, choice, number, long)| Dice {
            presence,
            quality,
            choice,
            number,
            long: long == 0,
        })
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
        let value = value_of(&param.schema, dice, is_wrong, by);
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

/// Whether the schema takes the value, sent that way.
fn fits(schema: &Schema, value: &Value, by: By) -> bool {
    match (by, value) {
        (By::Json, value) => schema.check(value.clone()).is_ok(),
        (_, Value::String(text)) => schema.parse(text).is_ok(),
        (_, value) => schema.parse(&value.to_string()).is_ok(),
    }
}

fn value_of(schema: &Schema, dice: &Dice, is_wrong: bool, by: By) -> Value {
    if let Schema::Array(element) = schema {
        let value = value_of(element, dice, is_wrong, by);
        return match (is_wrong && dice.presence % 4 == 0, by) {
            (true, By::Json) => value,
            _ => vec![value; usize::from(dice.presence % 3) + 1].into(),
        };
    }
    let candidates = candidates(schema, dice, is_wrong);
    let good: Vec<&Value> = candidates
        .iter()
        .filter(|value| fits(schema, value, by) != is_wrong)
        .collect();
    let chosen = if good.is_empty() {
        dice.choice.get(&candidates).clone()
    } else {
        (*dice.choice.get(&good)).clone()
    };
    if is_wrong && dice.long && matches!(schema, Schema::Text(_)) {
        return "x".repeat(70_000).into();
    }
    chosen
}

fn candidates(schema: &Schema, dice: &Dice, is_wrong: bool) -> Vec<Value> {
    if is_wrong {
        let texts = TRICKS.iter().chain(WORDS).map(|text| json!(text));
        let others = [
            json!(null),
            json!(true),
            json!(5),
            json!(-1),
            json!(1.5),
            json!({}),
            json!([[]]),
            json!({ "a": [1] }),
        ];
        let edges = match schema {
            Schema::Integer { min, max } => vec![
                json!(min.wrapping_sub(1)),
                json!(max.wrapping_add(1)),
                json!(dice.number),
            ],
            _ => Vec::new(),
        };
        return texts.chain(others).chain(edges).collect();
    }
    match schema {
        Schema::Boolean => vec![
            json!(true),
            json!(false),
            json!("1"),
            json!("off"),
            json!("No"),
        ],
        Schema::Integer { min, max } => {
            let inside = min
                + dice
                    .number
                    .unsigned_abs()
                    .checked_rem((max - min).unsigned_abs().max(1))
                    .unwrap_or(0)
                    .cast_signed();
            let numbers = [*min, *max, inside, 1_767_225_600, 7];
            let fitting = numbers.into_iter().filter(|n| n >= min && n <= max);
            let fitting: Vec<i64> = fitting.collect();
            fitting
                .iter()
                .map(|n| json!(n))
                .chain(fitting.iter().map(|n| json!(n.to_string())))
                .collect()
        }
        Schema::Choice(words) => words.iter().map(|word| json!(word)).collect(),
        Schema::Text(_) => WORDS.iter().map(|text| json!(text)).collect(),
        Schema::Array(_) => Vec::new(),
    }
}
