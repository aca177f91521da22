//! Finds whole frames in a buffer and refuses illegal headers before anything else reads them
//! (RFC 6455 section 5.2).

use tailwater_protocol::close::CloseCode;
use tailwater_protocol::frame::COMPRESSED;

use super::Violation;

pub(super) const TOO_LARGE: Violation = Violation {
    code: CloseCode::TooLarge,
    reason: "a message is larger than this server takes",
};

/// What the guard found at the start of a buffer.
#[derive(Debug)]
pub(super) struct Guarded {
    /// Bytes of the whole, legal frames.
    pub(super) length: usize,
    /// Their number.
    pub(super) frames: usize,
    /// What stands behind them.
    pub(super) next: Next,
}

/// What stands behind whole, legal frames.
#[derive(Debug)]
pub(super) enum Next {
    /// Nothing yet, or a part of a frame.
    Incomplete,
    /// A whole, legal frame of this many bytes that begins a compressed message.
    Deflated(usize),
    /// A frame that is not legal.
    Illegal(Violation),
}

/// Walks over the whole frames at the start of `bytes`, up to one that begins a compressed message; those are legal if
/// `deflate` was agreed on. A data frame may have `limit` bytes, less the `used` bytes of the message that it continues.
pub(super) fn whole_frames(bytes: &[u8], limit: usize, used: usize, deflate: bool) -> Guarded {
    let mut guarded = Guarded {
        length: 0,
        frames: 0,
        next: Next::Incomplete,
    };
    let mut used = used;
    loop {
        match frame(&bytes[guarded.length..], limit, used, deflate) {
            Ok(Some(found)) if found.deflated => {
                return Guarded {
                    next: Next::Deflated(found.length),
                    ..guarded
                };
            }
            Ok(Some(found)) => {
                used = match (found.control, found.last) {
                    (true, _) => used,
                    (false, true) => 0,
                    (false, false) => used + found.body,
                };
                guarded.length += found.length;
                guarded.frames += 1;
            }
            Ok(None) => return guarded,
            Err(violation) => {
                return Guarded {
                    next: Next::Illegal(violation),
                    ..guarded
                };
            }
        }
    }
}

struct Found {
    length: usize,
    body: usize,
    control: bool,
    last: bool,
    /// Begins a compressed message.
    deflated: bool,
}

/// The first frame of `bytes` if it is whole; its header is checked as soon as it is there.
fn frame(bytes: &[u8], limit: usize, used: usize, deflate: bool) -> Result<Option<Found>, Violation> {
    let [first, second, rest @ ..] = bytes else {
        return Ok(None);
    };
    let opcode = first & 0x0f;
    // RFC 7692 section 6: only the first frame of a message says that it is compressed, and no control frame does.
    let deflated = deflate && first & 0x70 == COMPRESSED && matches!(opcode, 1 | 2);
    if first & 0x70 != 0 && !deflated {
        return Err(Violation::protocol(
            "reserved bits are set, but no extension that was agreed on gives them a meaning here",
        ));
    }
    if !matches!(opcode, 0..=2 | 8..=10) {
        return Err(Violation::protocol("a reserved opcode"));
    }
    if second & 0x80 == 0 {
        return Err(Violation::protocol("a client's frame is not masked"));
    }
    let (control, last) = (opcode >= 8, first & 0x80 != 0);
    let short = second & 0x7f;
    if control && (!last || short > 125) {
        return Err(Violation::protocol(
            "a control frame is fragmented or longer than 125 bytes",
        ));
    }
    let (extended, body) = match short {
        126 => (
            2,
            rest.first_chunk()
                .map(|length: &[u8; 2]| u64::from(u16::from_be_bytes(*length))),
        ),
        127 => (
            8,
            rest.first_chunk()
                .map(|length: &[u8; 8]| u64::from_be_bytes(*length)),
        ),
        short => (0, Some(u64::from(short))),
    };
    let Some(body) = body else { return Ok(None) };
    let room = if control { 125 } else { limit.saturating_sub(used) };
    let body = usize::try_from(body)
        .ok()
        .filter(|body| *body <= room)
        .ok_or(TOO_LARGE)?;
    let length = 2 + extended + 4 + body;
    Ok((bytes.len() >= length).then_some(Found {
        length,
        body,
        control,
        last,
        deflated,
    }))
}
