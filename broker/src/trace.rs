//! Where a publication stands in a trace: the headers of W3C Trace Context, as publishers write them beside their
//! payload and as services read them beside a question.

use std::fmt;
use std::time::SystemTime;

use crate::wire::Headers;

/// The header that names the caller's span (W3C Trace Context section 3.2), in NATS as in HTTP.
pub const TRACEPARENT: &str = "traceparent";

/// The header with what tracing systems add to that (section 3.3).
pub const TRACESTATE: &str = "tracestate";

/// Longest `tracestate` that is passed on, in bytes (section 3.3.1.5).
const MAX_STATE_BYTES: usize = 512;

/// The value of a `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    /// The trace.
    pub trace_id: [u8; 16],
    /// The caller's span in it.
    pub span_id: [u8; 8],
    /// The caller keeps this trace, and wants others to.
    pub sampled: bool,
}

/// A sampled publication, for a span of its delivery.
#[derive(Clone, Debug)]
pub struct Sampled {
    /// The publisher's span.
    pub parent: TraceParent,
    /// What came with it.
    pub state: Option<Box<str>>,
    /// The concrete channel; empty if its name is that of the subscription.
    pub channel: Box<str>,
    /// When it was read from NATS.
    pub read_at: SystemTime,
    /// When it was stored, if it was.
    pub stored_at: Option<SystemTime>,
}

/// What a message or request says of its trace, so that its reader goes on with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceHeaders {
    /// The value of [`TRACEPARENT`].
    pub parent: TraceParent,
    /// That of [`TRACESTATE`], if there is one.
    pub state: Option<String>,
}

/// The same, as text.
#[derive(Debug)]
pub(crate) struct Written<'a> {
    parent: String,
    state: Option<&'a str>,
}

impl TraceHeaders {
    pub(crate) fn written(&self) -> Written<'_> {
        Written {
            parent: self.parent.to_string(),
            state: self.state.as_deref(),
        }
    }
}

impl Written<'_> {
    /// Names and values.
    pub(crate) fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        let state = self.state.map(|state| (TRACESTATE, state));
        std::iter::once((TRACEPARENT, self.parent.as_str())).chain(state)
    }
}

impl TraceParent {
    /// Reads the value of a header; nothing if it is none, so that the trace begins anew (section 3.2.2).
    pub fn parse(text: &[u8]) -> Option<Self> {
        let (known, more) = text.split_at_checked(55)?;
        let version = byte(&known[..2])?;
        // Later versions may have more behind what is known.
        let is_well_ended = more.is_empty() || (version > 0 && more[0] == b'-');
        if version == 0xff || !is_well_ended || [2, 35, 52].iter().any(|dash| known[*dash] != b'-') {
            return None;
        }
        let (mut trace_id, mut span_id) = ([0; 16], [0; 8]);
        for (place, digits) in trace_id.iter_mut().zip(known[3..35].chunks_exact(2)) {
            *place = byte(digits)?;
        }
        for (place, digits) in span_id.iter_mut().zip(known[36..52].chunks_exact(2)) {
            *place = byte(digits)?;
        }
        let flags = byte(&known[53..55])?;
        let is_named = trace_id != [0; 16] && span_id != [0; 8];
        is_named.then_some(Self {
            trace_id,
            span_id,
            sampled: flags & 1 == 1,
        })
    }

    /// What a header block says, if anything: the value as it stands there, and what it means.
    pub fn of(headers: Headers<'_>) -> Option<(&str, Self)> {
        let value = headers.last(TRACEPARENT)?;
        let parent = Self::parse(value)?;
        // What was parsed is ASCII up to where versions differ.
        Some((std::str::from_utf8(value).ok()?, parent))
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("00-")?;
        for byte in self.trace_id {
            write!(out, "{byte:02x}")?;
        }
        out.write_str("-")?;
        for byte in self.span_id {
            write!(out, "{byte:02x}")?;
        }
        write!(out, "-{:02x}", u8::from(self.sampled))
    }
}

/// The `tracestate` of a header block, if it can be passed on.
pub(crate) fn state(headers: Headers<'_>) -> Option<&str> {
    passable(headers.last(TRACESTATE)?)
}

/// The value of a [`TRACESTATE`], if it can be passed on: visible, and not too long.
pub fn passable(value: &[u8]) -> Option<&str> {
    let is_plain = |byte: &u8| (b' '..=b'~').contains(byte);
    let passes = !value.is_empty() && value.len() <= MAX_STATE_BYTES && value.iter().all(is_plain);
    std::str::from_utf8(value).ok().filter(|_| passes)
}

/// Two lower-case hexadecimal digits.
fn byte(digits: &[u8]) -> Option<u8> {
    let digit = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    Some(digit(digits[0])? << 4 | digit(digits[1])?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_parent_is_written_as_it_was_read() {
        let parent = TraceParent::parse(PARENT.as_bytes()).expect("a parent");
        assert!(parent.sampled);
        assert_eq!(parent.to_string(), PARENT);
        let unsampled = PARENT.replace("-01", "-00");
        let parent = TraceParent::parse(unsampled.as_bytes()).expect("a parent");
        assert!(!parent.sampled);
    }

    #[test]
    fn what_is_no_parent_is_none() {
        let zeros = "00-00000000000000000000000000000000-b7ad6b7169203331-01";
        for wrong in [
            "",
            "00",
            zeros,
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-B7AD6B7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01more",
        ] {
            assert_eq!(TraceParent::parse(wrong.as_bytes()), None, "{wrong}");
        }
        let later = "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more";
        assert!(TraceParent::parse(later.as_bytes()).is_some());
    }

    #[test]
    fn headers_are_found_whatever_their_case_and_a_state_that_is_too_long_is_left_out() {
        let block = format!("NATS/1.0\r\nTraceparent: {PARENT}\r\nTraceState: a=1\r\n\r\n");
        let headers = Headers::new(block.as_bytes());
        assert_eq!(TraceParent::of(headers).expect("a parent").0, PARENT);
        assert_eq!(state(headers), Some("a=1"));
        let long = format!("NATS/1.0\r\ntracestate: a={}\r\n\r\n", "x".repeat(600));
        assert_eq!(state(Headers::new(long.as_bytes())), None);
    }
}
