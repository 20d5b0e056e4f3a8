//! Names in a directory.

use siphasher::sip::SipHasher24;

const KEY: (u64, u64) = (0x83ac_3f1c_fbb4_50db, 0xaa4f_1b68_7936_9fbd);
/// Longest name.
pub const MAX_NAME: usize = 4096;

/// The hash by which a directory's table knows a name.
#[must_use]
pub fn hash_name(name: &[u8]) -> u64 {
    SipHasher24::new_with_keys(KEY.0, KEY.1).hash(name)
}

/// Why these bytes are not the name of something in a directory.
pub fn name_error(name: &[u8]) -> Option<&'static str> {
    if matches!(name, b"" | b"." | b"..") {
        return Some("a name is not empty, '.' or '..'");
    }
    if name.len() > MAX_NAME {
        return Some("a name has at most 4096 bytes");
    }
    name.iter()
        .any(|byte| matches!(byte, 0 | b'/'))
        .then_some("a name has no NUL and no '/'")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_upstreams() {
        assert_eq!(hash_name(b"a.txt"), 0xdc39_2d66_b611_aa72);
        assert_eq!(hash_name(b"fifo"), 0xb808_adae_8721_840a);
    }

    #[test]
    fn what_is_no_name() {
        for bad in [&b""[..], b".", b"..", b"a/b", b"a\0", &[b'x'; 4097]] {
            assert!(name_error(bad).is_some());
        }
        for good in [&b"..."[..], b"\xff\n", &[b'x'; 4096]] {
            assert_eq!(name_error(good), None);
        }
    }
}
