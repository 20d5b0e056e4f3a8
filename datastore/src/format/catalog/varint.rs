//! Integers of variable length: seven bits per byte, least significant first.

const MORE: u8 = 0x80;

/// Appends an unsigned integer: bit 7 on every byte but the last.
pub fn write_unsigned(mut value: u64, out: &mut Vec<u8>) {
    while value >= u64::from(MORE) {
        out.push(low_bits(value) | MORE);
        value >>= 7;
    }
    out.push(low_bits(value));
}

/// Appends a signed integer: as an unsigned one or, if negative, the magnitude with bit 7 on every
/// byte and a zero byte behind it.
pub fn write_signed(value: i64, out: &mut Vec<u8>) {
    if let Ok(value) = u64::try_from(value) {
        return write_unsigned(value, out);
    }
    let mut magnitude = value.unsigned_abs();
    while magnitude > 0 {
        out.push(low_bits(magnitude) | MORE);
        magnitude >>= 7;
    }
    out.push(0);
}

fn low_bits(value: u64) -> u8 {
    value.to_le_bytes()[0] & !MORE
}

/// Takes an unsigned integer from the front of `input`; `None` if there is none that fits.
pub fn read_unsigned(input: &mut &[u8]) -> Option<u64> {
    let (value, last) = read_groups(input)?;
    add_group(value, last)
}

/// Takes a signed integer from the front of `input`; `None` if there is none that fits.
pub fn read_signed(input: &mut &[u8]) -> Option<i64> {
    let (value, last) = read_groups(input)?;
    if last > 0 {
        return i64::try_from(add_group(value, last)?).ok();
    }
    // A zero byte at the end: the sign, or a plain zero.
    0_i64.checked_sub_unsigned(value.bits)
}

/// Bits read so far, and how many there are.
#[derive(Clone, Copy)]
struct Groups {
    bits: u64,
    width: u32,
}

/// Reads the bytes with bit 7, and the one without that ends them.
fn read_groups(input: &mut &[u8]) -> Option<(Groups, u8)> {
    let mut groups = Groups { bits: 0, width: 0 };
    loop {
        let (byte, rest) = input.split_first()?;
        *input = rest;
        if *byte < MORE {
            return Some((groups, *byte));
        }
        groups.bits = add_group(groups, byte & !MORE)?;
        groups.width += 7;
    }
}

/// Puts seven more bits on top; `None` if they do not fit into 64.
fn add_group(groups: Groups, bits: u8) -> Option<u64> {
    let group = u64::from(bits);
    let shifted = group.checked_shl(groups.width)?;
    (shifted >> groups.width == group).then_some(groups.bits | shifted)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn signed(value: i64) -> String {
        let mut out = Vec::new();
        write_signed(value, &mut out);
        hex::encode(out)
    }

    #[test]
    fn samples() {
        for (value, bytes) in [
            (0, "00"),
            (127, "7f"),
            (128, "8001"),
            (-1, "8100"),
            (-5, "8500"),
            (-128, "808100"),
            (-300, "ac8200"),
            (i64::MIN, "8080808080808080808100"),
            (i64::MAX, "ffffffffffffffff7f"),
        ] {
            assert_eq!(signed(value), bytes);
            let bytes = hex::decode(bytes).unwrap();
            assert_eq!(read_signed(&mut &bytes[..]), Some(value));
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let ten = |last| [vec![0xff; 9], vec![last]].concat();
        assert_eq!(read_unsigned(&mut &ten(1)[..]), Some(u64::MAX));
        for bytes in [
            ten(2),
            vec![0x80; 10],
            [vec![0x80; 10], vec![1]].concat(),
            vec![0xff; 50],
        ] {
            assert_eq!(read_unsigned(&mut &bytes[..]), None, "{bytes:?}");
        }
        assert_eq!(read_signed(&mut &ten(1)[..]), None, "beyond i64");
        let below_min = [vec![0x81], vec![0x80; 8], vec![0x81, 0]].concat();
        assert_eq!(read_signed(&mut &below_min[..]), None);
    }

    proptest! {
        #[test]
        fn round_trip(value: i64, shift in 0_u32..64, tail: u8) {
            let value = value >> shift;
            let mut bytes = Vec::new();
            write_signed(value, &mut bytes);
            write_unsigned(value.unsigned_abs(), &mut bytes);
            prop_assert!(bytes.len() <= 21);
            bytes.push(tail);
            let mut input = &bytes[..];
            prop_assert_eq!(read_signed(&mut input), Some(value));
            prop_assert_eq!(read_unsigned(&mut input), Some(value.unsigned_abs()));
            prop_assert_eq!(input, &[tail]);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..20)) {
            let _ = read_signed(&mut &bytes[..]);
            let _ = read_unsigned(&mut &bytes[..]);
        }
    }
}
