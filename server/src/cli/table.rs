//! Text tables.

use std::fmt;

use api_types::human::ByteSize;
use serde::Serialize;
use serde_json::Value;

/// A column of a table made from JSON objects.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Member of the object, and heading.
    pub name: &'static str,
    /// How its value is shown.
    pub render: fn(&Value) -> String,
}

impl Column {
    /// A column that shows values as they are, numbers to the right.
    #[must_use]
    pub const fn plain(name: &'static str) -> Self {
        Self {
            name,
            render: plain,
        }
    }

    /// A column of Unix times, shown as local time.
    #[must_use]
    pub const fn time(name: &'static str) -> Self {
        Self { name, render: time }
    }

    /// A column of byte counts, shown with a unit.
    #[must_use]
    pub const fn bytes(name: &'static str) -> Self {
        Self {
            name,
            render: bytes,
        }
    }
}

/// Rows of cells below headings.
#[derive(Clone, Debug)]
pub struct Table {
    headings: Vec<String>,
    /// Columns of numbers are aligned to the right.
    right: Vec<bool>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// One row per item, its members in columns.
    ///
    /// An item that cannot be written as JSON is left out; none of ours is one.
    #[must_use]
    pub fn of_items<T: Serialize>(columns: &[Column], items: &[T]) -> Self {
        let objects: Vec<Value> = items
            .iter()
            .filter_map(|item| serde_json::to_value(item).ok())
            .collect();
        Self::of_objects(columns, &objects)
    }

    /// One row per object.
    #[must_use]
    pub fn of_objects(columns: &[Column], objects: &[Value]) -> Self {
        let member = |object: &Value, column: &Column| object.get(column.name).cloned();
        Self {
            headings: columns
                .iter()
                .map(|column| column.name.to_owned())
                .collect(),
            right: columns
                .iter()
                .map(|column| {
                    let mut values = objects.iter().filter_map(|object| member(object, column));
                    values.next().is_some_and(|first| first.is_number())
                        && values.all(|value| value.is_number() || value.is_null())
                })
                .collect(),
            rows: objects
                .iter()
                .map(|object| {
                    let cell = |column: &Column| {
                        member(object, column).map(|value| (column.render)(&value))
                    };
                    columns
                        .iter()
                        .map(|column| cell(column).unwrap_or_default())
                        .collect()
                })
                .collect(),
        }
    }

    /// One row per member of an object; members that are null are left out.
    #[must_use]
    pub fn of_members(object: &Value) -> Self {
        let members = object.as_object().into_iter().flatten();
        Self {
            headings: vec!["Name".to_owned(), "Value".to_owned()],
            right: vec![false, false],
            rows: members
                .filter(|(_, value)| !value.is_null())
                .map(|(name, value)| vec![name.clone(), plain(value)])
                .collect(),
        }
    }
}

/// Text without quotes, arrays as a list, everything else as JSON.
#[must_use]
pub fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

fn time(value: &Value) -> String {
    value
        .as_i64()
        .map_or_else(|| plain(value), crate::task::log_file::local_time)
}

fn bytes(value: &Value) -> String {
    value.as_u64().map_or_else(
        || plain(value),
        |bytes| ByteSize::from_bytes(bytes).to_string(),
    )
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut widths: Vec<usize> = self
            .headings
            .iter()
            .map(|heading| heading.chars().count())
            .collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let rule = |f: &mut fmt::Formatter<'_>, [left, line, cross, right]: [&str; 4]| {
            let parts: Vec<String> = widths.iter().map(|width| line.repeat(width + 2)).collect();
            writeln!(f, "{left}{}{right}", parts.join(cross))
        };
        let row = |f: &mut fmt::Formatter<'_>, cells: &[String]| {
            for ((cell, width), right) in cells.iter().zip(&widths).zip(&self.right) {
                let cell: String = cell
                    .chars()
                    .map(|c| if c.is_control() { ' ' } else { c })
                    .collect();
                if *right {
                    write!(f, "│ {cell:>width$} ")?;
                } else {
                    write!(f, "│ {cell:<width$} ")?;
                }
            }
            writeln!(f, "│")
        };

        rule(f, ["┌", "─", "┬", "┐"])?;
        row(f, &self.headings)?;
        rule(f, ["╞", "═", "╪", "╡"])?;
        for (index, cells) in self.rows.iter().enumerate() {
            if index > 0 {
                rule(f, ["├", "─", "┼", "┤"])?;
            }
            row(f, cells)?;
        }
        rule(f, ["└", "─", "┴", "┘"])
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn objects_become_rows_and_numbers_stand_right() {
        let objects = [
            json!({"name": "s1", "n": 5}),
            json!({"name": "läng\ner", "n": 100}),
        ];
        let columns = [Column::plain("name"), Column::plain("n")];
        let text = Table::of_objects(&columns, &objects).to_string();
        let expected = "\
┌─────────┬─────┐
│ name    │   n │
╞═════════╪═════╡
│ s1      │   5 │
├─────────┼─────┤
│ läng er │ 100 │
└─────────┴─────┘
";
        assert_eq!(text, expected);
    }

    #[test]
    fn members_become_lines_and_null_is_left_out() {
        let text =
            Table::of_members(&json!({"a": [1, "x"], "b": null, "c": {"d": true}})).to_string();
        assert!(text.contains("│ a    │ 1, x       │") && !text.contains("│ b "));
        assert!(text.contains(r#"{"d":true}"#));
    }
}
