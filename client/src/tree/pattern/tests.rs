use proptest::prelude::*;

use super::*;

fn fits(pattern: &str, path: &str, directory: bool) -> bool {
    let pattern = Pattern::parse(pattern.as_bytes()).unwrap();
    pattern.fits(path.as_bytes(), directory)
}

#[test]
fn what_fits() {
    for (pattern, path) in [
        ("*.tmp", "a.tmp"),
        ("*.tmp", "x/y/.tmp"),
        ("/a", "a"),
        ("a", "x/a"),
        ("a/b", "x/a/b"),
        ("**/a", "a"),
        ("**/a", "x/y/a"),
        ("/a/**", "a/b"),
        ("/a/**", "a/b/c"),
        ("/a/**/b", "a/b"),
        ("/a/**/b", "a/x/y/b"),
        ("/a/**/b/**/c", "a/b/b/x/c"),
        ("/*/b", "a/b"),
        ("/a//b", "a/b"),
        ("a?c", "abc"),
        ("a?c", "a\u{e4}c"),
        ("[a-c]", "b"),
        ("[!a-c]", "d"),
        ("[^a-c]", "\u{e4}"),
        ("[\u{e0}-\u{ff}]", "\u{e4}"),
        ("[]a]", "]"),
        ("[a-]", "-"),
        ("[\\]]", "]"),
        ("\\*", "*"),
        ("\\!a", "!a"),
        ("a*b*c", "axxbyybzc"),
        ("**", "x/y"),
        ("a**b", "axb"),
    ] {
        assert!(fits(pattern, path, false), "{pattern} {path}");
    }
}

#[test]
fn what_does_not() {
    for (pattern, path) in [
        ("*.tmp", "a.tmp/x"),
        ("/a", "x/a"),
        ("/a/**", "a"),
        ("/*/b", "b"),
        ("/*", "a/b"),
        ("a?c", "a/c"),
        ("a*c", "a/c"),
        ("[!a]", "a"),
        ("[a-c]", ""),
        ("\\*", "x"),
        ("a/", "a"),
        ("a*b", "ac"),
    ] {
        assert!(!fits(pattern, path, false), "{pattern} {path}");
    }
    assert!(fits("a/", "x/a", true));
}

#[test]
fn what_is_no_pattern() {
    let error = |text: &str| Pattern::parse(text.as_bytes()).unwrap_err();
    assert_eq!(error(""), Invalid::Empty);
    assert_eq!(error("!/"), Invalid::Empty);
    assert_eq!(error("a\0"), Invalid::Nul);
    assert_eq!(error("[a"), Invalid::Bracket);
    assert_eq!(error("[]"), Invalid::Bracket);
    assert_eq!(error("a\\"), Invalid::Backslash);
}

#[test]
fn lines() {
    let text = b"# comment\n\n*.tmp  \n!keep.tmp\r\n[x\nblank\\ \n";
    let (good, bad): (Vec<_>, Vec<_>) = Pattern::parse_lines(text).partition(Result::is_ok);
    let good: Vec<String> = good.into_iter().map(|it| it.unwrap().to_string()).collect();
    assert_eq!(good, ["*.tmp", "!keep.tmp", "blank\\\\ "]);
    assert_eq!(bad.len(), 1);
    assert!(fits("blank\\ ", "blank ", false));
}

#[test]
fn the_last_rule_decides_and_some_are_for_a_directory() {
    let pattern = |text: &str| Pattern::parse(text.as_bytes()).unwrap();
    let mut rules = Rules::new(["*.tmp", "!keep.tmp"].map(pattern));
    assert_eq!(rules.verdict(b"a.tmp", false), Some(true));
    assert_eq!(rules.verdict(b"d/keep.tmp", false), Some(false));
    assert_eq!(rules.verdict(b"a", false), None);
    rules.push(b"d", pattern("/keep.tmp"));
    assert_eq!(rules.verdict(b"d/keep.tmp", false), Some(true));
    assert_eq!(rules.verdict(b"d/e/keep.tmp", false), Some(false));
    rules.truncate(2);
    assert_eq!(rules.verdict(b"d/keep.tmp", false), Some(false));
}

/// Word by word, however long it takes.
fn simple(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern, text) {
        ([], []) => true,
        ([b'*', rest @ ..], _) => {
            simple(rest, text) || !text.is_empty() && simple(pattern, &text[1..])
        }
        ([b'?', rest @ ..], [_, after @ ..]) => simple(rest, after),
        ([byte, rest @ ..], [other, after @ ..]) => byte == other && simple(rest, after),
        _ => false,
    }
}

proptest! {
    #[test]
    fn stars_are_tried_everywhere(pattern in "[ab*?]{1,8}", text in "[ab]{0,10}") {
        prop_assume!(pattern != "**");
        let anchored = format!("/{pattern}");
        prop_assert_eq!(fits(&anchored, &text, false), simple(pattern.as_bytes(), text.as_bytes()));
    }

    #[test]
    fn names_too(pattern in "([ab]|\\*\\*)(/([ab]|\\*\\*)){0,5}", path in "[ab](/[ab]){0,6}") {
        let mut names = pattern.split('/').peekable();
        let mut whole = String::new();
        while let Some(name) = names.next() {
            whole.push_str(match (name, names.peek()) {
                ("**", Some(_)) => "*",
                ("**", None) => "?*",
                (name, _) => name,
            });
        }
        let expected = simple(whole.as_bytes(), path.replace('/', "").as_bytes());
        prop_assert_eq!(fits(&format!("/{pattern}"), &path, false), expected, "{}", whole);
    }

    #[test]
    fn anything_is_read_without_panic(text: Vec<u8>, path: Vec<u8>) {
        if let Ok(pattern) = Pattern::parse(&text) {
            let _ = pattern.fits(&path, true);
        }
    }
}
