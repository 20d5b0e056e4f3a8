//! The table of a directory (`pxar.md` §6.1): a binary search tree in an array, filled from the
//! left.

use crate::goodbye::{ENTRY, Slot, TAIL_MARKER};
use crate::item::HEADER;

/// The content of a table, from entries in ascending order. The directory begins `offset` before
/// it.
pub fn encode(sorted: &[Slot], offset: u64) -> Vec<u8> {
    let mut content = Vec::new();
    for place in order(sorted.len()) {
        if let Some(slot) = sorted.get(place) {
            push(&mut content, *slot);
        }
    }
    push(
        &mut content,
        Slot {
            hash: TAIL_MARKER,
            offset,
            size: HEADER + (sorted.len() as u64 + 1) * ENTRY,
        },
    );
    content
}

fn push(content: &mut Vec<u8>, slot: Slot) {
    for number in [slot.hash, slot.offset, slot.size] {
        content.extend_from_slice(&number.to_le_bytes());
    }
}

/// Which of `count` sorted entries stands at each place of the array: an in-order walk through the
/// tree meets them in their order.
fn order(count: usize) -> Vec<usize> {
    let mut order = vec![0; count];
    let mut open = Vec::new();
    let mut place = 0;
    for next in 0..count {
        while place < count {
            open.push(place);
            place = 2 * place + 1;
        }
        let Some(smallest) = open.pop() else { break };
        if let Some(slot) = order.get_mut(smallest) {
            *slot = next;
        }
        place = 2 * smallest + 2;
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_upstreams() {
        for (count, expected) in [
            (0, &[][..]),
            (1, &[0]),
            (2, &[1, 0]),
            (3, &[1, 0, 2]),
            (4, &[2, 1, 3, 0]),
            (5, &[3, 1, 4, 0, 2]),
            (6, &[3, 1, 5, 0, 2, 4]),
            (7, &[3, 1, 5, 0, 2, 4, 6]),
            (10, &[6, 3, 8, 1, 5, 7, 9, 0, 2, 4]),
            (
                17,
                &[9, 5, 13, 3, 7, 11, 15, 1, 4, 6, 8, 10, 12, 14, 16, 0, 2],
            ),
        ] {
            assert_eq!(order(count), expected);
        }
    }
}
