//! Text tables, framed as upstream's are.

/// To which side a column is aligned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// Rows of cells, maybe below headings.
#[derive(Clone, Debug)]
pub struct Table {
    columns: Vec<Align>,
    headings: Option<Vec<String>>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// With headings.
    #[must_use]
    pub fn new(columns: &[(&str, Align)]) -> Self {
        let headings = columns.iter().map(|(name, _)| (*name).to_owned());
        Self {
            columns: columns.iter().map(|(_, align)| *align).collect(),
            headings: Some(headings.collect()),
            rows: Vec::new(),
        }
    }

    /// Of names and values.
    #[must_use]
    pub fn of_values() -> Self {
        Self::new(&[("Name", Align::Left), ("Value", Align::Left)])
    }

    /// Without headings.
    #[must_use]
    pub fn bare(columns: &[Align]) -> Self {
        Self {
            columns: columns.to_vec(),
            headings: None,
            rows: Vec::new(),
        }
    }

    /// Adds a row. What would disturb a terminal is shown as a blank.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        let cells = cells.map(|cell| cell.replace(char::is_control, " "));
        self.rows.push(cells.into());
    }

    /// The table; nothing if there are no rows.
    #[must_use]
    pub fn render(&self) -> String {
        if self.rows.is_empty() {
            return String::new();
        }
        let widths = self.widths();
        let rule = |left: char, line: &str, middle: &str, right: char| {
            let cells = widths.iter().map(|width| line.repeat(width + 2));
            let cells: Vec<_> = cells.collect();
            format!("{left}{}{right}\n", cells.join(middle))
        };
        let mut text = rule('┌', "─", "┬", '┐');
        if let Some(headings) = &self.headings {
            text.push_str(&line(headings, &widths, &self.columns));
            text.push_str(&rule('╞', "═", "╪", '╡'));
        }
        let between = rule('├', "─", "┼", '┤');
        let rows = self.rows.iter();
        let rows: Vec<_> = rows.map(|row| line(row, &widths, &self.columns)).collect();
        text.push_str(&rows.join(&between));
        text.push_str(&rule('└', "─", "┴", '┘'));
        text
    }

    fn widths(&self) -> Vec<usize> {
        let mut widths = vec![0; self.columns.len()];
        for row in self.headings.iter().chain(&self.rows) {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        widths
    }
}

fn line(cells: &[String], widths: &[usize], aligns: &[Align]) -> String {
    let cells = cells.iter().zip(widths).zip(aligns);
    let cells = cells.map(|((cell, &width), align)| match align {
        Align::Left => format!(" {cell:<width$} "),
        Align::Right => format!(" {cell:>width$} "),
    });
    format!("│{}│\n", cells.collect::<Vec<_>>().join("│"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the real client printed them.
    #[test]
    fn tables_look_like_upstream_s() {
        let mut table = Table::new(&[
            ("filename", Align::Left),
            ("crypt-mode", Align::Left),
            ("size", Align::Right),
        ]);
        table.row(["client.log.blob".into(), String::new(), String::new()]);
        table.row([
            "drive-scsi0.img.fidx".into(),
            "none".into(),
            "33554432".into(),
        ]);
        let expected = "\
┌──────────────────────┬────────────┬──────────┐
│ filename             │ crypt-mode │     size │
╞══════════════════════╪════════════╪══════════╡
│ client.log.blob      │            │          │
├──────────────────────┼────────────┼──────────┤
│ drive-scsi0.img.fidx │ none       │ 33554432 │
└──────────────────────┴────────────┴──────────┘
";
        assert_eq!(table.render(), expected);

        let mut bare = Table::bare(&[Align::Left, Align::Right]);
        bare.row(["total".into(), "12".into()]);
        bare.row(["ü\x1b".into(), "7".into()]);
        let expected = "\
┌───────┬────┐
│ total │ 12 │
├───────┼────┤
│ ü     │  7 │
└───────┴────┘
";
        assert_eq!(bare.render(), expected);
        assert_eq!(Table::of_values().render(), "");
    }
}
