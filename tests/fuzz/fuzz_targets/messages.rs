//! The edge takes any bytes of a client, whether compression was agreed on or not: no panic, no message beyond the limit,
//! and the same messages and the same close code however the bytes are cut into reads.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tailwater_edge::fuzz::read_messages;

/// Small, so that messages beyond it are found.
const MAX_MESSAGE: usize = 4096;

// The first byte says how many of the next ones are lengths of reads, and whether compression was agreed on; the rest is
// what is read.
fuzz_target!(|input: &[u8]| {
    let Some((first, rest)) = input.split_first() else {
        return;
    };
    let deflate = first & 0x80 != 0;
    let (cuts, bytes) = rest.split_at(rest.len().min(usize::from(first % 16)));
    let mut left = bytes;
    let mut pieces = Vec::new();
    for cut in cuts {
        let (piece, others) = left.split_at(left.len().min(usize::from(*cut)));
        pieces.push(piece);
        left = others;
    }
    pieces.push(left);
    let whole = read_messages([bytes], MAX_MESSAGE, deflate);
    assert_eq!(whole, read_messages(pieces, MAX_MESSAGE, deflate));
});
