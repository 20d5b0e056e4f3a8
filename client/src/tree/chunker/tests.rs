//! Streams whose chunks upstream's own code made (`test-vectors.md` §9), and properties.

use openssl::sha::sha256;
use proptest::prelude::*;

use super::*;

fn kib(kib: u64) -> ChunkSize {
    ChunkSize::from_kib(kib).unwrap()
}

/// The stream H of the vectors.
fn hashes(len: usize) -> Vec<u8> {
    let mut stream = Vec::with_capacity(len + 32);
    for number in 0_u64.. {
        if stream.len() >= len {
            break;
        }
        let block = [&b"pbs-chunk-test"[..], &number.to_le_bytes()].concat();
        stream.extend_from_slice(&sha256(&block));
    }
    stream.truncate(len);
    stream
}

/// Lengths of chunks if the stream comes in pieces of `step`.
fn lengths(stream: &[u8], step: usize, mut scan: impl FnMut(&[u8]) -> usize) -> Vec<usize> {
    let mut lengths = Vec::new();
    let mut len = 0;
    for mut piece in stream.chunks(step) {
        loop {
            let cut = scan(piece);
            if cut == 0 {
                break;
            }
            lengths.push(len + cut);
            len = 0;
            piece = &piece[cut..];
        }
        len += piece.len();
    }
    if len > 0 {
        lengths.push(len);
    }
    lengths
}

fn plain(stream: &[u8], size: ChunkSize, step: usize) -> Vec<usize> {
    let mut chunker = Chunker::new(size);
    lengths(stream, step, |piece| chunker.scan(piece))
}

#[test]
fn vectors() {
    let counter: Vec<u8> = (0_u32..262_144).flat_map(u32::to_le_bytes).collect();
    let expected = [143_377, 262_144, 262_144, 262_144, 118_767];
    assert_eq!(plain(&counter, kib(64), 1 << 20), expected);

    let stream = hashes(64 << 20);
    let sum = "1cdc99e2f01098151efe05fb53ad95b44f95b43caafedcccd76e8c8a5ad7cde7";
    assert_eq!(hex::encode(sha256(&stream)), sum);
    let expected = [
        58_323, 43_112, 56_790, 27_729, 30_617, 122_197, 26_451, 46_076, 33_421, 135_684, 33_573,
        161_858, 16_980, 18_743, 44_227, 27_426, 21_245, 16_917, 18_089, 22_904, 47_238, 38_976,
    ];
    assert_eq!(plain(&stream[..1 << 20], kib(64), 4096), expected);
    let expected = [
        158_225, 206_994, 783_804, 400_375, 440_885, 171_032, 1_144_193, 349_892, 341_984, 738_237,
        437_817, 516_589, 200_577, 318_280, 883_115, 1_278_590, 18_019,
    ];
    assert_eq!(
        plain(&stream[..8 << 20], ChunkSize::CATALOG, 1 << 16),
        expected
    );
    let expected = [
        1_990_283, 13_166_945, 3_757_395, 2_431_625, 1_741_349, 4_202_362, 1_233_756, 2_934_031,
        2_859_292, 7_290_602, 3_351_881, 2_310_588, 7_712_225, 6_261_731, 1_260_620, 2_949_611,
        1_654_568,
    ];
    assert_eq!(plain(&stream, ChunkSize::ARCHIVE, 1 << 20), expected);

    let expected = [16 << 20, 16 << 20, 8 << 20];
    assert_eq!(
        plain(&vec![0; 40 << 20], ChunkSize::ARCHIVE, 1 << 20),
        expected
    );
}

#[test]
fn vectors_with_suggestions() {
    let stream = hashes(1 << 20);
    let lengths = |step: usize| {
        let mut chunker = PayloadChunker::new(kib(64));
        for suggestion in [20_000, 30_000, 100_000, 100_100, 400_000, 1_000_000] {
            chunker.suggest(suggestion);
        }
        lengths(&stream, step, |piece| chunker.scan(piece))
    };
    let expected = [
        20_000, 80_000, 58_225, 241_775, 44_716, 135_684, 33_573, 161_858, 224_169, 48_576,
    ];
    assert_eq!(lengths(1 << 20), expected);
    let expected = [
        20_000, 38_323, 41_677, 58_225, 27_729, 30_617, 122_197, 26_451, 34_781, 44_716, 135_684,
        33_573, 161_858, 16_980, 18_743, 44_227, 27_426, 21_245, 16_917, 18_089, 22_904, 37_638,
        48_576,
    ];
    assert_eq!(lengths(4096), expected);
}

#[test]
fn injected_chunks_are_counted_and_end_what_was_begun() {
    let mut chunker = PayloadChunker::new(kib(64));
    let zeros = vec![0; 100_000];
    assert_eq!(chunker.scan(&zeros[..1000]), 0);
    chunker.inject(49_000);
    // Passed, too near, fits.
    for suggestion in [49_000, 60_000, 80_000] {
        chunker.suggest(suggestion);
    }
    assert_eq!(chunker.scan(&zeros), 30_000);
}

/// The algorithm word by word, `pxar.md` §10.1.
fn simple(stream: &[u8], size: ChunkSize) -> Vec<usize> {
    let (mut lengths, mut start, mut hash) = (Vec::new(), 0, 0_u32);
    for (at, byte) in stream.iter().enumerate() {
        hash = hash.rotate_left(1) ^ table::TABLE[usize::from(*byte)];
        if at - start >= 64 {
            hash ^= table::TABLE[usize::from(stream[at - 64])];
        }
        let len = at - start + 1;
        let found = hash & size.mask() >= size.mask() - 2;
        if len >= size.max() || len >= size.min() && found {
            lengths.push(len);
            (start, hash) = (at + 1, 0);
        }
    }
    if start < stream.len() {
        lengths.push(stream.len() - start);
    }
    lengths
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn pieces_do_not_matter(seed: u64, letters in 1_u8..=255, len in 0_usize..600_000, step in 1_usize..100_000) {
        let mut state = seed | 1;
        let stream: Vec<u8> = (0..len).map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[0] % letters
        }).collect();
        prop_assert_eq!(plain(&stream, kib(64), step), simple(&stream, kib(64)));
    }
}
