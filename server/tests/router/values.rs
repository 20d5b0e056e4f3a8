//! Values of parameters: ones that fit, and ones that nobody should send.

use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};
use server::rest::schema::Schema;

/// Texts that fit into one place or another.
const WORDS: &[&str] = &[
    "one",
    "none",
    "a",
    "a/b",
    "host",
    "vm",
    "100",
    "box-7f3a",
    "index.json.blob",
    "root.pxar.didx",
    "a.conf.blob",
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
    "host/box-7f3a",
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

/// How parameters are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    Query,
    Form,
    Json,
}

/// A number to choose by, for each parameter.
#[derive(Clone, Debug)]
pub struct Dice {
    /// Whether it is there, whether it fits.
    pub presence: u8,
    pub quality: u8,
    choice: Index,
    number: i64,
    long: bool,
}

pub fn dice() -> impl Strategy<Value = Dice> {
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

/// What there is, so that requests often find it.
pub fn usual(name: &str) -> Option<Value> {
    Some(match name {
        "store" => json!("one"),
        "ns" => json!(""),
        "backup-type" => json!("host"),
        "backup-id" => json!("box-7f3a"),
        "backup-time" => json!(1_767_225_600),
        "file-name" => json!("a.conf.blob"),
        "userid" => json!("a@pbs"),
        "node" => json!("localhost"),
        _ => return None,
    })
}

/// Whether the schema takes the value, sent that way.
pub fn fits(schema: &Schema, value: &Value, by: By) -> bool {
    match (by, value) {
        (By::Json, value) => schema.check(value.clone()).is_ok(),
        (_, Value::String(text)) => schema.parse(text).is_ok(),
        (_, value) => schema.parse(&value.to_string()).is_ok(),
    }
}

pub fn value_of(schema: &Schema, dice: &Dice, is_wrong: bool, by: By) -> Value {
    if let Schema::Array(element) = schema {
        let value = value_of(element, dice, is_wrong, by);
        return match (is_wrong && dice.presence.is_multiple_of(4), by) {
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
