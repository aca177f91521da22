//! Finds whole frames in a buffer and refuses illegal headers before anything else reads them
//! (RFC 6455 section 5.2).

use tailwater_protocol::close::CloseCode;

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
    /// What is wrong with the frame behind them, if anything is.
    pub(super) violation: Option<Violation>,
}

/// Walks over the whole frames at the start of `bytes`. A data frame may have `limit` bytes, less the
/// `used` bytes of the message that it continues.
pub(super) fn whole_frames(bytes: &[u8], limit: usize, used: usize) -> Guarded {
    let mut guarded = Guarded {
        length: 0,
        frames: 0,
        violation: None,
    };
    let mut used = used;
    loop {
        match frame(&bytes[guarded.length..], limit, used) {
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
                    violation: Some(violation),
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
}

/// The first frame of `bytes` if it is whole; its header is checked as soon as it is there.
fn frame(bytes: &[u8], limit: usize, used: usize) -> Result<Option<Found>, Violation> {
    let [first, second, rest @ ..] = bytes else {
        return Ok(None);
    };
    if first & 0x70 != 0 {
        return Err(Violation::protocol(
            "reserved bits are set, no extension was agreed on",
        ));
    }
    let opcode = first & 0x0f;
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
    }))
}
