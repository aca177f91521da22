//! The edge takes any bytes of a client, whether compression was agreed on or not: no panic, no message beyond the limit,
//! and the same messages and the same close code however the bytes are cut into reads.

use tailwater_edge::fuzz::read_messages;

use crate::cut::reads;

/// Small, so that messages beyond it are found.
const MAX_MESSAGE: usize = 4096;

/// Feeds it one input.
pub(crate) fn feed(input: &[u8]) {
    let Some(reads) = reads(input) else { return };
    let deflate = reads.flags & 0x80 != 0;
    let whole = read_messages([reads.whole], MAX_MESSAGE, deflate);
    assert_eq!(whole, read_messages(reads.pieces, MAX_MESSAGE, deflate));
}
