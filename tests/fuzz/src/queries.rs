//! What a request for a stream or a poll asks for, of any bytes: no panic, no more than a client may have, and a cursor means
//! the same in every way in which it may come.

use tailwater_edge::fuzz::read_query;
use tailwater_protocol::event_stream::Places;

/// Feeds it one input: a cursor, a line end, and the rest of the query.
pub(crate) fn feed(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let (cursor, query) = text.split_once('\n').unwrap_or(("", &text));
    let by_header = read_query(query, Some(cursor));
    if let Some(subscribes) = &by_header {
        assert!((1..=16).contains(&subscribes.len()), "{}", subscribes.len());
    }
    let Ok(places) = cursor.parse::<Places>() else {
        return assert!(cursor.is_empty() || by_header.is_none());
    };
    let again: Places = places.to_string().parse().expect("what was written is read");
    assert_eq!(again, places);
    assert_eq!(read_query(query, Some(&places.to_string())), by_header);
}
