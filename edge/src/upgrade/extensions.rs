//! The offers of `Sec-WebSocket-Extensions` (RFC 6455 section 9.1), and which of them is taken: `permessage-deflate` as
//! RFC 7692 section 7.1 has it, without context take-over in either direction. So a publication is compressed once for
//! everybody, and a connection keeps no window.

use hyper::header::{HeaderMap, SEC_WEBSOCKET_EXTENSIONS};

/// What a handshake that takes an offer is answered with. A server may ask for both parameters unasked (sections 7.1.1.1
/// and 7.1.1.2).
pub(super) const ANSWER: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

/// As [`ANSWER`], to a client that asked for the window that we have anyway: it must be repeated (section 7.1.2.1).
pub(super) const ANSWER_WITH_WINDOW: &str =
    "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=15";

/// The answer to the first offer that can be kept; nothing if there is none. Offers that are malformed, repeat a
/// parameter or ask for a smaller window are declined: the same compressed bytes go to everybody.
pub(super) fn answer(headers: &HeaderMap) -> Option<&'static str> {
    let values = headers.get_all(SEC_WEBSOCKET_EXTENSIONS).into_iter();
    let values = values.filter_map(|value| value.to_str().ok());
    let mut offers = values.flat_map(|value| split(value, ','));
    offers.find_map(|offer| {
        let mut parts = split(offer, ';');
        (parts.next()? == "permessage-deflate").then(|| accept(parts))?
    })
}

fn accept<'o>(parameters: impl Iterator<Item = &'o str>) -> Option<&'static str> {
    let mut seen: Vec<&str> = Vec::new();
    let mut answer = ANSWER;
    for parameter in parameters {
        let (name, value) = match parameter.split_once('=') {
            Some((name, value)) => (name.trim(), Some(unquoted(value.trim()))),
            None => (parameter, None),
        };
        if seen.contains(&name) {
            return None;
        }
        seen.push(name);
        match (name, value) {
            (
                "server_no_context_takeover" | "client_no_context_takeover" | "client_max_window_bits",
                None,
            ) => {}
            ("client_max_window_bits", Some(bits)) if is_window(bits) => {}
            ("server_max_window_bits", Some("15")) => answer = ANSWER_WITH_WINDOW,
            _ => return None,
        }
    }
    Some(answer)
}

/// A window as the RFC has it: 8 to 15, without leading zeros (section 7.1.2).
fn is_window(bits: &str) -> bool {
    matches!(bits, "8" | "9" | "10" | "11" | "12" | "13" | "14" | "15")
}

/// A parameter's value may stand in quotes, and must be a token without them. An escape is left in it: no value that we
/// know has one.
pub(crate) fn unquoted(value: &str) -> &str {
    let inner = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
    inner.unwrap_or(value)
}

/// The parts of a list, without the space around them; a separator in quotes separates nothing.
pub(crate) fn split(list: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    let parts = list.split(move |character| {
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => return character == separator && !quoted,
        }
        false
    });
    parts.map(str::trim)
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn answered(offers: &[&'static str]) -> Option<&'static str> {
        let mut headers = HeaderMap::new();
        for offer in offers {
            headers.append(SEC_WEBSOCKET_EXTENSIONS, HeaderValue::from_static(offer));
        }
        answer(&headers)
    }

    #[test]
    fn offers_that_can_be_kept_are_taken() {
        let taken = [
            // As browsers, Node's `ws` and Python's `websockets` offer it.
            "permessage-deflate; client_max_window_bits",
            "permessage-deflate",
            "permessage-deflate; client_no_context_takeover; server_no_context_takeover",
            "permessage-deflate;client_max_window_bits=15",
            "permessage-deflate ; client_max_window_bits = \"8\"",
            "x-webkit-deflate-frame, permessage-deflate",
            "permessage-deflate; mode=fast, permessage-deflate",
            "permessage-deflate; server_max_window_bits=10, permessage-deflate; client_max_window_bits",
            "foo; bar=\"a, b; \\\" c\", permessage-deflate",
        ];
        for offer in taken {
            assert_eq!(answered(&[offer]), Some(ANSWER), "{offer}");
        }
        assert_eq!(answered(&["foo", "permessage-deflate"]), Some(ANSWER));
        let window = "permessage-deflate; server_max_window_bits=15; client_max_window_bits";
        assert_eq!(answered(&[window]), Some(ANSWER_WITH_WINDOW));
        assert_eq!(
            answered(&["permessage-deflate; server_max_window_bits=\"15\""]),
            Some(ANSWER_WITH_WINDOW)
        );
    }

    #[test]
    fn offers_that_cannot_be_kept_or_are_malformed_are_declined() {
        let declined = [
            "",
            ",",
            "permessage-deflates",
            "x-permessage-deflate",
            "permessage-deflate; server_max_window_bits=14",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; server_max_window_bits=015",
            "permessage-deflate; server_max_window_bits=16",
            "permessage-deflate; client_max_window_bits=7",
            "permessage-deflate; client_max_window_bits=08",
            "permessage-deflate; client_max_window_bits=16",
            "permessage-deflate; client_max_window_bits=",
            "permessage-deflate; client_max_window_bits=\"15",
            "permessage-deflate; client_max_window_bits; client_max_window_bits=15",
            "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
            "permessage-deflate; server_no_context_takeover=true",
            "permessage-deflate; client_no_context_takeover=15",
            "permessage-deflate; unknown",
            "permessage-deflate;",
            "foo; bar=\"a, permessage-deflate, b\"",
            "foo; bar=\"unfinished, permessage-deflate",
        ];
        for offer in declined {
            assert_eq!(answered(&[offer]), None, "{offer}");
        }
        assert_eq!(answered(&[]), None);
    }
}
