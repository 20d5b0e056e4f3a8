//! The text that Prometheus reads: samples, those of one name together.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};

/// What a number means.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// It goes up and down.
    Gauge,
    /// It only goes up.
    Counter,
}

#[derive(Debug)]
struct Family {
    kind: Kind,
    help: &'static str,
    lines: String,
}

/// Samples.
#[derive(Debug, Default)]
pub struct Exposition(BTreeMap<&'static str, Family>);

impl Exposition {
    /// Adds a sample.
    pub fn sample(
        &mut self,
        name: &'static str,
        kind: Kind,
        help: &'static str,
        labels: &[(&str, &str)],
        value: impl Display,
    ) {
        let family = self.0.entry(name).or_insert_with(|| Family {
            kind,
            help,
            lines: String::new(),
        });
        let labels: Vec<String> = labels
            .iter()
            .map(|(label, text)| format!("{label}=\"{}\"", escape(text)))
            .collect();
        let labels = if labels.is_empty() {
            String::new()
        } else {
            format!("{{{}}}", labels.join(","))
        };
        // Writing to a string cannot fail.
        let _ = writeln!(family.lines, "{name}{labels} {value}");
    }

    /// All of it.
    #[must_use]
    pub fn into_text(self) -> String {
        let mut text = String::new();
        for (name, family) in self.0 {
            let kind = match family.kind {
                Kind::Gauge => "gauge",
                Kind::Counter => "counter",
            };
            let _ = write!(
                text,
                "# HELP {name} {}\n# TYPE {name} {kind}\n{}",
                family.help, family.lines
            );
        }
        text
    }
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_of_a_name_stand_together() {
        let mut out = Exposition::default();
        out.sample("b", Kind::Gauge, "Bytes.", &[("x", "a\"\\\n")], 1);
        out.sample("a_total", Kind::Counter, "All.", &[], 7);
        out.sample("b", Kind::Gauge, "Bytes.", &[("x", "y"), ("z", "w")], 2);
        assert_eq!(
            out.into_text(),
            "# HELP a_total All.\n# TYPE a_total counter\na_total 7\n\
             # HELP b Bytes.\n# TYPE b gauge\nb{x=\"a\\\"\\\\\\n\"} 1\nb{x=\"y\",z=\"w\"} 2\n"
        );
    }
}
