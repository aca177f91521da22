//! Bytes as a connection brings them: cut into reads of any length.

/// The first byte of an input says how many of the next ones, at most 15, are lengths of reads; the rest is what is read,
/// whole and in these pieces. What is left of the first byte is the target's: its upper half.
pub(crate) struct Reads<'i> {
    pub(crate) flags: u8,
    pub(crate) whole: &'i [u8],
    pub(crate) pieces: Vec<&'i [u8]>,
}

/// Nothing of an empty input.
pub(crate) fn reads(input: &[u8]) -> Option<Reads<'_>> {
    let (first, rest) = input.split_first()?;
    let (cuts, whole) = rest.split_at(rest.len().min(usize::from(first % 16)));
    let mut left = whole;
    let mut pieces = Vec::new();
    for cut in cuts {
        let (piece, others) = left.split_at(left.len().min(usize::from(*cut)));
        pieces.push(piece);
        left = others;
    }
    pieces.push(left);
    Some(Reads {
        flags: first & 0xf0,
        whole,
        pieces,
    })
}
