//! Results on standard output, as text tables or JSON.

use anyhow::{Context, Result};
use serde::Serialize;

use super::table::{Column, Table};
use crate::console;

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, clap::ValueEnum)]
pub enum OutputFormat {
    /// Tables and lines for people.
    #[default]
    Text,
    /// JSON on one line.
    Json,
    /// JSON with line breaks and indentation.
    JsonPretty,
}

impl OutputFormat {
    /// Whether results are JSON, so that standard output must hold nothing else.
    #[must_use]
    pub fn is_json(self) -> bool {
        self != Self::Text
    }

    /// Prints a result: `text` makes the form for people.
    pub fn print<T: Serialize>(self, value: &T, text: impl FnOnce() -> String) -> Result<()> {
        let rendered = match self {
            Self::Text => text(),
            Self::Json => serde_json::to_string(value).context("failed to write json")?,
            Self::JsonPretty => {
                serde_json::to_string_pretty(value).context("failed to write json")?
            }
        };
        console::line(rendered.trim_end_matches('\n'));
        Ok(())
    }

    /// Prints a result as JSON if JSON is asked for; people have read the log.
    pub fn print_json<T: Serialize>(self, value: &T) -> Result<()> {
        if self.is_json() {
            self.print(value, String::new)
        } else {
            Ok(())
        }
    }

    /// Prints a list of objects, as a table of those of their members that `columns` name.
    pub fn print_list<T: Serialize>(self, items: &[T], columns: &[Column]) -> Result<()> {
        self.print(&items, || Table::of_items(columns, items).to_string())
    }

    /// Prints one object, as a table of its members.
    pub fn print_object<T: Serialize>(self, item: &T) -> Result<()> {
        let object = serde_json::to_value(item).context("failed to write json")?;
        self.print(item, || Table::of_members(&object).to_string())
    }
}
