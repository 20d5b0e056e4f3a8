//! A line taken apart as shells do: blanks separate, quotes and backslashes keep together.

use anyhow::{Result, bail};

pub(super) fn split(line: &str) -> Result<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (None, ' ' | '\t') => words.extend(word.take()),
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (Some(open), _) if c == open => quote = None,
            (None | Some('"'), '\\') => match chars.next() {
                Some(next) => word.get_or_insert_default().push(next),
                None => bail!("the line ends with a backslash"),
            },
            _ => word.get_or_insert_default().push(c),
        }
    }
    if let Some(open) = quote {
        bail!("a quote {open} is not closed");
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_what_a_shell_would_see() {
        for (line, words) in [
            ("", &[][..]),
            ("  ls\t-a  ", &["ls", "-a"]),
            ("cd 'a b'/\"c d\"", &["cd", "a b/c d"]),
            (r#"cd a\ b "\"" '\' """#, &["cd", "a b", "\"", "\\", ""]),
        ] {
            assert_eq!(split(line).unwrap(), words, "{line}");
        }
        for line in ["'", "\"a", "a\\"] {
            assert!(split(line).is_err(), "{line}");
        }
    }
}
