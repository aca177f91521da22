//! The query of a stream or a poll: which channels, and from where.

use std::time::Duration;

use tailwater_protocol::channel::Channel;
use tailwater_protocol::command::Subscribe;
use tailwater_protocol::error::{ErrorCode, ErrorMessage};
use tailwater_protocol::event_stream::Places;
use tailwater_protocol::position::{Position, Since};
use tailwater_protocol::timestamp::Timestamp;

/// How long a poll waits if it does not say.
const WAIT: Duration = Duration::from_secs(25);

/// How long a poll may wait: proxies give up on requests that take longer.
const LONGEST_WAIT: u64 = 60;

/// What a request asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Query {
    /// In the order in which they stand there; none twice.
    pub(crate) subscribes: Vec<Subscribe>,
    /// How long to wait for news. Of polls.
    pub(crate) wait: Duration,
}

/// Reads a query (without its `?`). `last_event_id` is what an `EventSource` sends when it comes back, and wins over
/// `cursor`; `limit` is how many channels a client may have.
///
/// # Errors
/// What the client is told.
pub(crate) fn parse(query: &str, last_event_id: Option<&str>, limit: usize) -> Result<Query, ErrorMessage> {
    let mut subscribes: Vec<Subscribe> = Vec::new();
    let (mut wait, mut cursor) = (WAIT, None);
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match &*name {
            "channel" => {
                let channel = channel(&value)?;
                if subscribes.iter().any(|known| known.channel == channel) {
                    let error = bad(format!("`channel={channel}` stands there twice: leave one out"));
                    return Err(about(&channel, error));
                }
                if subscribes.len() == limit {
                    let message = format!("a client may have {limit} channels: ask for fewer");
                    return Err(ErrorMessage::new(ErrorCode::Limit, message));
                }
                subscribes.push(Subscribe {
                    channel,
                    since: None,
                    latest: false,
                });
            }
            "since" => {
                let of = of_channel(&mut subscribes, "since")?;
                of.since = Some(since(&value).map_err(|error| about(&of.channel, error))?);
            }
            "latest" => {
                let of = of_channel(&mut subscribes, "latest")?;
                of.latest = flag("latest", &value).map_err(|error| about(&of.channel, error))?;
            }
            "cursor" => cursor = Some(value.into_owned()),
            "wait" => {
                let seconds = value.parse().ok().filter(|seconds| *seconds <= LONGEST_WAIT);
                let seconds = seconds
                    .ok_or_else(|| bad(format!("`wait` is a number of seconds, at most {LONGEST_WAIT}")))?;
                wait = Duration::from_secs(seconds);
            }
            _ => {}
        }
    }
    if subscribes.is_empty() {
        return Err(bad("name at least one channel: `?channel=NAME`".to_owned()));
    }
    if let Some(both) = subscribes.iter().find(|one| one.latest && one.since.is_some()) {
        let channel = &both.channel;
        let error = bad(format!("`{channel}` has `since` and `latest`: choose one"));
        return Err(about(channel, error));
    }
    if let Some(cursor) = last_event_id
        .or(cursor.as_deref())
        .filter(|cursor| !cursor.is_empty())
    {
        let places: Places = cursor.parse().map_err(|error| {
            ErrorMessage::new(ErrorCode::BadCursor, format!("the cursor is unreadable: {error}"))
        })?;
        for (subscribe, place) in subscribes.iter_mut().zip(places.0) {
            if let Some(place) = place {
                (subscribe.since, subscribe.latest) = (Some(Since::Position(place)), false);
            }
        }
    }
    Ok(Query { subscribes, wait })
}

/// The channel of a request, as text.
///
/// # Errors
/// What the client is told.
pub(crate) fn channel(text: &str) -> Result<Channel, ErrorMessage> {
    Channel::new(text).map_err(|error| ErrorMessage {
        channel: Some(text.to_owned()),
        ..bad(format!("`channel`: {error}"))
    })
}

fn of_channel<'s>(subscribes: &'s mut [Subscribe], name: &str) -> Result<&'s mut Subscribe, ErrorMessage> {
    let last = subscribes.last_mut();
    last.ok_or_else(|| bad(format!("`{name}` belongs behind the `channel` that it is about")))
}

fn flag(name: &str, value: &str) -> Result<bool, ErrorMessage> {
    match value {
        "true" | "1" | "" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(bad(format!("`{name}` is `true` or `false`"))),
    }
}

/// From where to begin.
fn since(text: &str) -> Result<Since, ErrorMessage> {
    if text == "beginning" {
        return Ok(Since::Beginning);
    }
    if let Some(count) = text.strip_prefix("last:") {
        let message = |_| bad("`since=last:N` wants a number of publications".to_owned());
        return count.parse().map(Since::Last).map_err(message);
    }
    // A `+` that is not escaped, as in the offset of a time, is read as a space.
    if let Ok(time) = Timestamp::new(&text.replace(' ', "+")) {
        return Ok(Since::Time(time));
    }
    text.parse::<Position>().map(Since::Position).map_err(|_| {
        let message = "`since` is `beginning`, `last:N`, a time as RFC 3339 has it, or a place EPOCH.OFFSET";
        ErrorMessage::new(ErrorCode::BadCursor, message)
    })
}

fn about(channel: &Channel, error: ErrorMessage) -> ErrorMessage {
    ErrorMessage {
        channel: Some(channel.as_str().to_owned()),
        ..error
    }
}

fn bad(message: String) -> ErrorMessage {
    ErrorMessage::new(ErrorCode::BadMessage, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Query {
        parse(query, None, 4).unwrap_or_else(|error| panic!("{query}: {error:?}"))
    }

    fn subscribe(channel: &str, since: Option<Since>) -> Subscribe {
        Subscribe {
            channel: Channel::new(channel).unwrap(),
            since,
            latest: false,
        }
    }

    fn at(text: &str) -> Option<Since> {
        Some(Since::Position(text.parse().unwrap()))
    }

    #[test]
    fn what_stands_behind_a_channel_belongs_to_it() {
        let query = read("x=1&channel=a.%2A&since=last%3A3&channel=b&channel=c.%3E&latest=true&wait=0");
        let expected = [
            subscribe("a.*", Some(Since::Last(3))),
            subscribe("b", None),
            Subscribe {
                latest: true,
                ..subscribe("c.>", None)
            },
        ];
        assert_eq!(query.subscribes, expected);
        assert_eq!(query.wait, Duration::ZERO);
        let time = Since::Time(Timestamp::new("2026-01-02T03:04:05Z").unwrap());
        assert_eq!(
            read("channel=a&since=2026-01-02T03:04:05Z").subscribes,
            [subscribe("a", Some(time))]
        );
        let with_offset = Since::Time(Timestamp::new("2026-01-02T05:04:05+02:00").unwrap());
        assert_eq!(
            read("channel=a&since=2026-01-02T05:04:05+02:00").subscribes,
            [subscribe("a", Some(with_offset))]
        );
        assert_eq!(
            read("channel=a&since=17.2-0.5").subscribes,
            [subscribe("a", at("17.2-0.5"))]
        );
        assert_eq!(read("channel=a").wait, Duration::from_secs(25));
    }

    #[test]
    fn a_cursor_goes_before_since_for_the_channels_that_it_knows() {
        let query = "channel=a&since=beginning&channel=b&latest=1&channel=c&since=beginning&cursor=7-0.1";
        let expected = |first: &str| {
            [
                subscribe("a", at(first)),
                Subscribe {
                    latest: true,
                    ..subscribe("b", None)
                },
                subscribe("c", Some(Since::Beginning)),
            ]
        };
        assert_eq!(read(query).subscribes, expected("7-0.1"));
        let later = parse(query, Some("7-0.9"), 4).unwrap();
        assert_eq!(later.subscribes, expected("7-0.9"));
        let all = parse(query, Some("7-0.9,.3,8-0.1,.5"), 4).unwrap();
        let expected = [
            subscribe("a", at("7-0.9")),
            subscribe("b", at("7-0.3")),
            subscribe("c", at("8-0.1")),
        ];
        assert_eq!(all.subscribes, expected);
    }

    #[test]
    fn each_mistake_is_named() {
        for (query, code, says) in [
            ("", ErrorCode::BadMessage, "name at least one channel"),
            ("channel=a..b", ErrorCode::BadMessage, "`channel`"),
            ("channel=%FF", ErrorCode::BadMessage, "`channel`"),
            ("channel=a&channel=a", ErrorCode::BadMessage, "twice"),
            (
                "channel=a&channel=b&channel=c&channel=d&channel=e",
                ErrorCode::Limit,
                "4 channels",
            ),
            (
                "since=beginning&channel=a",
                ErrorCode::BadMessage,
                "behind the `channel`",
            ),
            (
                "channel=a&since=last:-1",
                ErrorCode::BadMessage,
                "a number of publications",
            ),
            ("channel=a&since=yesterday", ErrorCode::BadCursor, "`since` is"),
            (
                "channel=a&since=beginning&latest=true",
                ErrorCode::BadMessage,
                "choose one",
            ),
            ("channel=a&latest=yes", ErrorCode::BadMessage, "`latest`"),
            ("channel=a&wait=61", ErrorCode::BadMessage, "at most 60"),
            ("channel=a&wait=-1", ErrorCode::BadMessage, "`wait`"),
            ("channel=a&cursor=.5", ErrorCode::BadCursor, "unreadable"),
        ] {
            let error = parse(query, None, 4).expect_err(query);
            assert_eq!(error.code, code, "{query}: {error:?}");
            assert!(error.message.contains(says), "{query}: {error:?}");
            let is_about_one = [
                "`channel`",
                "twice",
                "a number of publications",
                "`since` is",
                "choose one",
                "`latest`",
            ]
            .contains(&says);
            assert_eq!(error.channel.is_some(), is_about_one, "{query}: {error:?}");
        }
    }
}
