//! Finds the token of an opening handshake: header, cookie, subprotocol or query, as far as they are open. What a token
//! says is left to the verifier; the command `connect` brings its own.

use hyper::header::{AUTHORIZATION, COOKIE, HeaderMap, SEC_WEBSOCKET_PROTOCOL};

use crate::config::{Secret, TokenPlace, TokenPlaces};

/// What a subprotocol begins with that carries a token. It is offered beside the real one and never agreed on.
pub(crate) const BEARER_SUBPROTOCOL: &str = "tailwater.bearer.";

/// Why the tokens of a handshake are of no use. `Display` is a sentence for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PlaceError {
    /// Which of them would count is not for us to guess.
    #[error("the handshake has two different tokens: send one")]
    Several,
    /// `%` without two hexadecimal digits, or what they spell is not UTF-8.
    #[error("`token` in the query is not percent-encoded text: encode it, or send the token elsewhere")]
    Encoding,
    /// The header cannot be read.
    #[error("the header that should hold a token has characters that no token has")]
    Characters,
    /// It would be written into logs.
    #[error("tokens in the query are switched off here: send it as header, subprotocol or in `connect`")]
    QueryClosed,
    /// It was offered where none is taken.
    #[error("tokens as subprotocol are switched off here: send it as header or in `connect`")]
    SubprotocolClosed,
}

/// The token of a handshake with these headers and this query (without its `?`), if it has one. The same token in
/// several places is one; header and cookie are not looked at while they are closed, because other software uses them
/// too.
pub(crate) fn token_of(
    headers: &HeaderMap,
    query: Option<&str>,
    places: &TokenPlaces,
) -> Result<Option<Secret>, PlaceError> {
    let mut found = None;
    if places.is_open(TokenPlace::Header) {
        for value in headers.get_all(AUTHORIZATION) {
            let text = value.to_str().map_err(|_| PlaceError::Characters)?;
            add(&mut found, bearer(text))?;
        }
    }
    if places.is_open(TokenPlace::Cookie) {
        for value in headers.get_all(COOKIE) {
            // A cookie of another name may hold any bytes.
            let text = String::from_utf8_lossy(value.as_bytes());
            for token in cookies(&text, &places.cookie) {
                add(&mut found, Some(token))?;
            }
        }
    }
    for value in headers.get_all(SEC_WEBSOCKET_PROTOCOL) {
        let offered = value.to_str().unwrap_or_default().split(',').map(str::trim);
        for token in offered.filter_map(|name| name.strip_prefix(BEARER_SUBPROTOCOL)) {
            if !places.is_open(TokenPlace::Subprotocol) {
                return Err(PlaceError::SubprotocolClosed);
            }
            add(&mut found, Some(token))?;
        }
    }
    for value in query_values(query.unwrap_or_default()) {
        if !places.is_open(TokenPlace::Query) {
            return Err(PlaceError::QueryClosed);
        }
        add(
            &mut found,
            Some(&percent_decoded(value).ok_or(PlaceError::Encoding)?),
        )?;
    }
    Ok(found)
}

/// One more token; an empty one is none.
fn add(found: &mut Option<Secret>, token: Option<&str>) -> Result<(), PlaceError> {
    let Some(token) = token.filter(|token| !token.is_empty()) else {
        return Ok(());
    };
    match found {
        Some(other) if other.reveal() != token => Err(PlaceError::Several),
        Some(_) => Ok(()),
        None => {
            *found = Some(Secret::new(token));
            Ok(())
        }
    }
}

/// The token of an `Authorization` header of this scheme (RFC 6750 section 2.1); schemes have no case.
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("Bearer").then(|| token.trim())
}

/// The values of all cookies of this name (RFC 6265 section 4.2.1).
fn cookies<'c>(header: &'c str, name: &str) -> impl Iterator<Item = &'c str> {
    header.split(';').filter_map(move |pair| {
        let (known, value) = pair.split_once('=')?;
        let value = value.trim();
        let unquoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
        (known.trim() == name).then_some(unquoted.unwrap_or(value))
    })
}

fn query_values(query: &str) -> impl Iterator<Item = &str> {
    query
        .split('&')
        .filter_map(|pair| pair.strip_prefix("token="))
        .filter(|value| !value.is_empty())
}

/// RFC 3986 section 2.1.
fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        let value = digit()? * 16 + digit()?;
        bytes.push(u8::try_from(value).ok()?);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;
    use tailwater_protocol::limits::MAX_CLOSE_REASON_BYTES;

    use super::*;

    fn all_open() -> TokenPlaces {
        use TokenPlace::{Connect, Cookie, Header, Query, Subprotocol};
        TokenPlaces {
            open: vec![Header, Cookie, Subprotocol, Connect, Query],
            cookie: "session".to_owned(),
        }
    }

    fn without(place: TokenPlace) -> TokenPlaces {
        let mut places = all_open();
        places.open.retain(|open| *open != place);
        places
    }

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers
    }

    fn find(
        fields: &[(&'static str, &str)],
        query: Option<&str>,
        places: &TokenPlaces,
    ) -> Result<Option<String>, PlaceError> {
        let found = token_of(&headers(fields), query, places)?;
        Ok(found.map(|token| token.reveal().to_owned()))
    }

    #[track_caller]
    fn finds(fields: &[(&'static str, &str)], query: Option<&str>, expected: Option<&str>) {
        assert_eq!(find(fields, query, &all_open()), Ok(expected.map(str::to_owned)));
    }

    #[test]
    fn every_place_gives_its_token() {
        finds(&[], None, None);
        finds(&[("authorization", "Bearer a.b.c")], None, Some("a.b.c"));
        finds(&[("authorization", "bearer   a.b.c ")], None, Some("a.b.c"));
        finds(&[("cookie", "x=1; session=a.b.c; y=2")], None, Some("a.b.c"));
        finds(
            &[("cookie", "x=1"), ("cookie", "session=\"a.b.c\"")],
            None,
            Some("a.b.c"),
        );
        finds(
            &[(
                "sec-websocket-protocol",
                "tailwater.v1.json, tailwater.bearer.a.b.c",
            )],
            None,
            Some("a.b.c"),
        );
        finds(&[], Some("x=1&token=a.b%2Ec"), Some("a.b.c"));
    }

    #[test]
    fn what_only_looks_like_a_token_is_none() {
        finds(&[("authorization", "Basic YTpi")], None, None);
        finds(&[("authorization", "Bearer")], None, None);
        finds(&[("authorization", "Bearer  ")], None, None);
        finds(
            &[("cookie", "xsession=1; session; session=; SESSION=2")],
            None,
            None,
        );
        finds(
            &[("sec-websocket-protocol", "tailwater.v1.json, tailwater.bearer.")],
            None,
            None,
        );
        finds(&[], Some("token&token=&xtoken=1&a=token=2"), None);
        finds(&[("cookie", "é=ü; session=a")], None, Some("a"));
    }

    #[test]
    fn two_different_tokens_are_refused_and_the_same_one_twice_is_not() {
        let twice = [("authorization", "Bearer a"), ("cookie", "session=a")];
        finds(&twice, Some("token=a"), Some("a"));
        let pairs = [
            (vec![("authorization", "Bearer a"), ("cookie", "session=b")], None),
            (
                vec![("authorization", "Bearer a"), ("authorization", "Bearer b")],
                None,
            ),
            (vec![("cookie", "session=a; session=b")], None),
            (
                vec![("sec-websocket-protocol", "tailwater.bearer.a,tailwater.bearer.b")],
                None,
            ),
            (vec![], Some("token=a&token=b")),
            (vec![("authorization", "Bearer a")], Some("token=b")),
        ];
        for (fields, query) in pairs {
            assert_eq!(
                find(&fields, query, &all_open()),
                Err(PlaceError::Several),
                "{fields:?} {query:?}"
            );
        }
    }

    #[test]
    fn a_closed_place_gives_nothing_and_says_so_where_nobody_else_could_be_meant() {
        let places = without(TokenPlace::Header);
        assert_eq!(find(&[("authorization", "Bearer a")], None, &places), Ok(None));
        let places = without(TokenPlace::Cookie);
        assert_eq!(find(&[("cookie", "session=a")], None, &places), Ok(None));
        let offered = [("sec-websocket-protocol", "tailwater.v1.json, tailwater.bearer.a")];
        let places = without(TokenPlace::Subprotocol);
        assert_eq!(find(&offered, None, &places), Err(PlaceError::SubprotocolClosed));
        let places = without(TokenPlace::Query);
        assert_eq!(find(&[], Some("token=a"), &places), Err(PlaceError::QueryClosed));
        assert_eq!(find(&[], Some("a=b"), &places), Ok(None));
    }

    #[test]
    fn every_reason_fits_a_close_frame() {
        use PlaceError::{Characters, Encoding, QueryClosed, Several, SubprotocolClosed};
        for error in [Characters, Encoding, QueryClosed, Several, SubprotocolClosed] {
            assert!(error.to_string().len() <= MAX_CLOSE_REASON_BYTES, "{error}");
        }
    }

    #[test]
    fn broken_encodings_are_refused_and_a_token_never_prints() {
        for query in ["token=%", "token=%4", "token=%zz", "token=%+1", "token=%ff"] {
            assert_eq!(
                find(&[], Some(query), &all_open()),
                Err(PlaceError::Encoding),
                "{query}"
            );
        }
        assert_eq!(
            find(&[("authorization", "Bearer é")], None, &all_open()),
            Err(PlaceError::Characters)
        );
        let token = token_of(
            &headers(&[("authorization", "Bearer hunter2")]),
            None,
            &all_open(),
        );
        assert_eq!(format!("{token:?}"), "Ok(Some(***))");
    }
}
