//! Keys on paper: as text to be typed, and as a QR code to be scanned.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use datastore::format::KeyConfig;
use qrcode::render::{svg, unicode};
use qrcode::{EcLevel, QrCode};

const BEGIN: &str = "-----BEGIN PROXMOX BACKUP KEY-----";
const END: &str = "-----END PROXMOX BACKUP KEY-----";

/// The form of the paper.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Form {
    /// A page for a browser to print.
    Html,
    /// Text with a code of block characters.
    #[default]
    Text,
}

/// A page with the key, as it is in its file: behind its passphrase, if it has one.
pub fn page(key: &KeyConfig, subject: Option<&str>, form: Form) -> Result<String> {
    let value: serde_json::Value = serde_json::from_slice(&key.to_json()?)?;
    let text = serde_json::to_string_pretty(&value)?;
    let framed = format!("{BEGIN}\n{text}\n{END}\n");
    // The frame is for those who type: a scanner gives what the file has.
    let code = QrCode::with_error_correction_level(key.to_json()?, EcLevel::Q)
        .context("the key does not fit a QR code")?;
    Ok(match form {
        Form::Text => of_text(subject, &framed, &code),
        Form::Html => of_html(subject, &framed, &code, key)?,
    })
}

fn of_text(subject: Option<&str>, framed: &str, code: &QrCode) -> String {
    let mut page = String::new();
    if let Some(subject) = subject {
        page.push_str("Subject: ");
        page.push_str(subject);
        page.push_str("\n\n");
    }
    page.push_str(framed);
    page.push('\n');
    let code = code.render::<unicode::Dense1x2>().quiet_zone(true).build();
    page.push_str(&code);
    page.push('\n');
    page
}

fn of_html(subject: Option<&str>, framed: &str, code: &QrCode, key: &KeyConfig) -> Result<String> {
    let title = subject.unwrap_or("Backup key");
    let code = code.render::<svg::Color>().min_dimensions(320, 320).build();
    // What stands before the picture's own element has no place within a page.
    let code = code.find("<svg").map_or(code.as_str(), |at| &code[at..]);
    let mut page = String::new();
    writeln!(
        page,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>{title}</title>\n\
         <style>\nbody {{ font-family: sans-serif; }}\npre {{ font-size: 10pt; white-space: pre-wrap; \
         word-break: break-all; }}\n</style>\n</head>\n<body>",
        title = escaped(title)
    )?;
    writeln!(page, "<h1>{}</h1>", escaped(title))?;
    if let Some(fingerprint) = key.fingerprint() {
        writeln!(page, "<p>Fingerprint: {fingerprint}</p>")?;
    }
    if let Some(hint) = key.hint() {
        writeln!(page, "<p>Hint: {}</p>", escaped(hint))?;
    }
    writeln!(page, "<pre>{}</pre>", escaped(framed))?;
    writeln!(page, "{code}\n</body>\n</html>")?;
    Ok(page)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use datastore::env::Env;
    use datastore::format::{CryptConfig, Kdf};

    use super::*;
    use crate::keys::KeyFile;

    fn key() -> KeyConfig {
        let crypt = CryptConfig::new([9; 32]).unwrap();
        let hint = Some("<b>my & hint</b>".to_owned());
        KeyConfig::new(&crypt, Kdf::Scrypt, b"12345", hint, &Env::seeded(1, 1000)).unwrap()
    }

    #[test]
    fn what_is_typed_from_paper_is_the_key() {
        let page = page(&key(), Some("Server 7"), Form::Text).unwrap();
        assert!(
            page.starts_with("Subject: Server 7\n\n-----BEGIN"),
            "{page}"
        );
        assert!(page.contains('█'), "{page}");
        let start = page.find(BEGIN).unwrap();
        let end = page.find(END).unwrap() + END.len();
        let typed = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(typed.path(), &page[start..end]).unwrap();
        assert_eq!(*KeyFile::at(typed.path()).unwrap().config(), key());
    }

    #[test]
    fn a_page_for_a_browser_is_escaped_and_has_one_picture() {
        let page = page(&key(), Some("a<b"), Form::Html).unwrap();
        assert!(page.contains("<title>a&lt;b</title>"), "{page}");
        assert!(page.contains("&lt;b&gt;my &amp; hint"), "{page}");
        assert!(!page.contains("<b>my"), "{page}");
        assert_eq!(page.matches("<svg").count(), 1);
        assert_eq!(page.matches("</svg>").count(), 1);
        assert!(!page.contains("<?xml"));
    }
}
