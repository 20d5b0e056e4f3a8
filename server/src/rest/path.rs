//! What clients send as a path (`auth.md` §1, path normalisation).

use super::error::RestError;

/// Splits a path at slashes, drops empty components (`//api2/json/backup` is really sent) and
/// decodes each one.
///
/// A component that begins with a dot is refused, and so is one that is not UTF-8 when decoded.
pub fn components(path: &str) -> Result<Vec<String>, RestError> {
    path.split('/')
        .filter(|component| !component.is_empty())
        .map(|component| {
            let decoded = percent_decode(component)
                .ok_or_else(|| RestError::bad_request("invalid path: not valid UTF-8"))?;
            if decoded.starts_with('.') {
                return Err(RestError::bad_request(
                    "invalid path: a component begins with a dot",
                ));
            }
            Ok(decoded)
        })
        .collect()
}

/// Decodes `%xx`; absent if the bytes are not UTF-8. What is no escape stays as it is.
#[must_use]
pub fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, others @ ..] = rest {
        match (first, others) {
            (b'%', [high, low, after @ ..])
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                bytes.push(nibble(*high) << 4 | nibble(*low));
                rest = after;
            }
            _ => {
                bytes.push(*first);
                rest = others;
            }
        }
    }
    String::from_utf8(bytes).ok()
}

/// The value of a hex digit.
fn nibble(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit.wrapping_sub(b'A').wrapping_add(10),
    }
}

/// The pairs of a query or a form: percent-decoded, `+` is a space.
pub fn pairs(text: &str) -> Result<Vec<(String, String)>, RestError> {
    let decode = |text: &str| {
        percent_decode(&text.replace('+', " "))
            .ok_or_else(|| RestError::bad_request("parameters are not valid UTF-8"))
    };
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(name)?, decode(value)?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let ok = |path| components(path).unwrap();
        assert_eq!(ok("//api2/json/backup"), ["api2", "json", "backup"]);
        assert_eq!(ok("/a/UPID%3Avm%3a0/"), ["a", "UPID:vm:0"]);
        assert_eq!(ok("/a%2Fb"), ["a/b"]);
        assert_eq!(ok("/100%/%4/%zz"), ["100%", "%4", "%zz"]);
        assert!(ok("").is_empty());
        for bad in ["/../etc", "/a/.hidden", "/%2e%2e/etc", "/%ff"] {
            assert!(components(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn queries() {
        let ok = |text| pairs(text).unwrap();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            ok("a=1&b=x+y%2Bz&&c&a=%3D"),
            [
                pair("a", "1"),
                pair("b", "x y+z"),
                pair("c", ""),
                pair("a", "=")
            ]
        );
        assert!(pairs("a=%ff").is_err());
        assert!(ok("").is_empty());
    }
}
