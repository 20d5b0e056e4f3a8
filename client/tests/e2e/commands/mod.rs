//! The commands without archives, and what they print: beside what the real client printed.

mod datastore;
mod keys;
mod login;
mod mounting;
mod reading;
mod recorded;

use serde_json::Value;

use crate::client::{Client, Ran};

impl Client {
    /// What a command prints as a text.
    fn text(&self, line: &[&str]) -> String {
        let ran = self.ok(line);
        String::from_utf8(ran.stdout).unwrap()
    }

    /// What a command prints for programs.
    fn json(&self, line: &[&str]) -> Value {
        let with_format = [line, &["--output-format", "json"]].concat();
        let text = self.text(&with_format);
        assert_eq!(text.lines().count(), 1, "{text}");
        serde_json::from_str(&text).unwrap()
    }

    /// What must fail with this code; everything that it said.
    fn ends_with(&self, code: i32, line: &[&str]) -> Ran {
        let ran = self.run(line);
        assert_eq!(ran.code, Some(code), "{ran}");
        assert!(!ran.stderr.contains("panicked"), "{ran}");
        ran
    }
}
