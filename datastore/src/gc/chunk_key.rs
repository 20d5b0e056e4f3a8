//! Names of chunk objects below `.chunks/`, and what a listed name means (s3-backend.md §1).
//!
//! ◆ Only a name that is exactly a chunk's, or a bad chunk's, is ever decided about; whatever else
//! lies below `.chunks/` is counted and left alone (gc.md §6.2 P2, G14, T41).

use api_types::digest::Digest;

/// What a key below `.chunks/` stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChunkKey {
    /// `hhhh/<64 hex>`
    Chunk(Digest),
    /// `hhhh/<64 hex>.<n>.bad`: a corrupt chunk that verify renamed.
    Bad(Digest, u8),
    /// Anything else.
    Unknown,
}

impl ChunkKey {
    /// Classifies what follows `.chunks/` in a key.
    #[must_use]
    pub fn classify(relative: &str) -> Self {
        let Some((directory, name)) = relative.split_once('/') else {
            return Self::Unknown;
        };
        let Some((hex, suffix)) = name.split_at_checked(64) else {
            return Self::Unknown;
        };
        if hex.get(..4) != Some(directory) {
            return Self::Unknown;
        }
        let Ok(digest) = Digest::from_hex(hex) else {
            return Self::Unknown;
        };
        match *suffix.as_bytes() {
            [] => Self::Chunk(digest),
            [b'.', n @ b'0'..=b'9', b'.', b'b', b'a', b'd'] => Self::Bad(digest, n - b'0'),
            _ => Self::Unknown,
        }
    }
}

/// The name of a chunk below `.chunks/`.
#[must_use]
pub fn chunk_key(digest: &Digest) -> String {
    let hex = digest.to_hex();
    format!("{}/{hex}", &hex[..4])
}

/// The name of a bad chunk below `.chunks/`; `number` is one digit.
#[must_use]
pub fn bad_chunk_key(digest: &Digest, number: u8) -> String {
    format!("{}.{}.bad", chunk_key(digest), number.min(9))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEX: &str = "bb9f8df61474d25e71fa00722318cd387396ca1736605e1248821cc0de3d3af8";

    #[test]
    fn only_exact_names_are_known() {
        let digest = Digest::from_hex(HEX).unwrap();
        let upper = HEX.to_uppercase();
        assert_eq!(
            ChunkKey::classify(&format!("bb9f/{HEX}")),
            ChunkKey::Chunk(digest)
        );
        assert_eq!(
            ChunkKey::classify(&format!("bb9f/{HEX}.0.bad")),
            ChunkKey::Bad(digest, 0)
        );
        assert_eq!(
            ChunkKey::classify(&format!("bb9f/{HEX}.9.bad")),
            ChunkKey::Bad(digest, 9)
        );
        for unknown in [
            String::new(),
            "/".to_owned(),
            "bb9f".to_owned(),
            "bb9f/".to_owned(),
            HEX.to_owned(),
            format!("bb9e/{HEX}"),
            format!("BB9F/{HEX}"),
            format!("BB9F/{upper}"),
            format!("bb9f/{upper}"),
            format!("bb9f/{}", &HEX[1..]),
            format!("bb9f/{HEX}0"),
            format!("bb9f/{HEX}/"),
            format!("bb9f//{HEX}"),
            format!("bb9f/bb9f/{HEX}"),
            format!("/bb9f/{HEX}"),
            format!("bb9f/{HEX}.bad"),
            format!("bb9f/{HEX}.10.bad"),
            format!("bb9f/{HEX}.x.bad"),
            format!("bb9f/{HEX}.0.bad2"),
            format!("bb9f/{HEX}.0.BAD"),
            format!("bb9f/{HEX}.using"),
            format!("bb9f/{HEX}\n"),
            format!("bb9f/{}ä", &HEX[..63]),
            format!("bb9f/{}", "ä".repeat(32)),
        ] {
            assert_eq!(
                ChunkKey::classify(&unknown),
                ChunkKey::Unknown,
                "{unknown:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn names_are_read_back(bytes: [u8; 32], number in 0_u8..=9) {
            let digest = Digest::from_bytes(bytes);
            prop_assert_eq!(ChunkKey::classify(&chunk_key(&digest)), ChunkKey::Chunk(digest));
            let bad = bad_chunk_key(&digest, number);
            prop_assert_eq!(ChunkKey::classify(&bad), ChunkKey::Bad(digest, number));
            // The order that the merge relies on: a digest right before its bad copies.
            prop_assert!(chunk_key(&digest) < bad);
        }

        #[test]
        fn what_is_known_has_exactly_one_spelling(key in "\\PC{0,80}|[0-9a-fA-F]{4}/[0-9a-f]{62,66}(\\.[0-9]{1,2}\\.bad)?") {
            match ChunkKey::classify(&key) {
                ChunkKey::Chunk(digest) => prop_assert_eq!(chunk_key(&digest), key),
                ChunkKey::Bad(digest, n) => prop_assert_eq!(bad_chunk_key(&digest, n), key),
                ChunkKey::Unknown => {}
            }
        }

        #[test]
        fn keys_sort_as_their_digests(a: [u8; 32], b: [u8; 32]) {
            let (a, b) = (Digest::from_bytes(a), Digest::from_bytes(b));
            prop_assert_eq!(chunk_key(&a).cmp(&chunk_key(&b)), a.cmp(&b));
        }
    }
}
