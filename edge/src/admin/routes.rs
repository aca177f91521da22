//! The routes of the admin listener. What changes sessions takes the same JSON object as over NATS, and reaches all edges;
//! what lists them tells of this edge alone, and a drain is this edge's.

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, StatusCode};
use serde_json::json;
use tailwater_broker::listener::MAX_NOTE_BYTES;

use super::Operators;
use crate::control::order::{Action, Order, Selector, Verb, parse_session};
use crate::control::sessions::{Description, Filter};
use crate::control::{Asker, Outcome};
use crate::http::{Reply, plain};
use crate::metrics::text;
use crate::time::now;

/// Sessions of one page, if nothing else is asked.
const PAGE: usize = 100;

/// The most sessions of one page.
const LONGEST_PAGE: usize = 1000;

/// Channels of each session in a list; one that is asked for alone shows them all.
const LISTED_CHANNELS: usize = 16;

const ROUTES: &str = "there is /livez, /readyz, /metrics, /sessions, /sessions/ID, /sessions/disconnect, /unsubscribe, /revoke, \
                      /revocations and /drain";

/// Answers one request.
pub(super) async fn answer(request: Request<Incoming>, operators: &Operators) -> Reply {
    let path = request.uri().path();
    match (path, operators.readiness.obstacle()) {
        ("/livez", _) => return plain(StatusCode::OK, "alive"),
        ("/readyz", None) => return plain(StatusCode::OK, "ready"),
        ("/readyz", Some(obstacle)) => return plain(StatusCode::SERVICE_UNAVAILABLE, &obstacle),
        _ => {}
    }
    let Some(route) = Route::of(path) else {
        return plain(StatusCode::NOT_FOUND, ROUTES);
    };
    let is_open = matches!(route, Route::Metrics) && operators.open_metrics;
    if !is_open && let Err(refusal) = operators.access.check(request.headers()) {
        return *refusal;
    }
    let answered = match route {
        Route::List => list(&request, operators).await,
        Route::One(Ok(id)) => one(id, &request, operators).await,
        Route::One(Err(error)) => Err(refused(StatusCode::NOT_FOUND, error)),
        Route::Order(verb) => order(verb, request, operators).await,
        Route::Revocations => revocations(&request, operators),
        Route::Metrics => metrics(&request, operators),
        Route::Drain => drain(&request, operators),
    };
    answered.unwrap_or_else(|refusal| *refusal)
}

/// What is for who may.
enum Route {
    List,
    One(Result<u64, String>),
    Order(Verb),
    Revocations,
    Metrics,
    Drain,
}

impl Route {
    fn of(path: &str) -> Option<Self> {
        Some(match path {
            "/sessions" => Self::List,
            "/sessions/disconnect" => Self::Order(Verb::Disconnect),
            "/unsubscribe" => Self::Order(Verb::Unsubscribe),
            "/revoke" => Self::Order(Verb::Revoke),
            "/revocations" => Self::Revocations,
            "/metrics" => Self::Metrics,
            "/drain" => Self::Drain,
            _ => Self::One(parse_session(path.strip_prefix("/sessions/")?)),
        })
    }
}

/// An answer, or the one that says what is wrong with the request.
type Answered = Result<Reply, Box<Reply>>;

/// `GET /sessions?user=&limit=&after=`
async fn list(request: &Request<Incoming>, operators: &Operators) -> Answered {
    expect_method(request, &Method::GET, "GET")?;
    let filter = read_filter(request.uri().query().unwrap_or_default())
        .map_err(|error| refused(StatusCode::BAD_REQUEST, error))?;
    let limit = filter.limit;
    // One more, to know whether there is another page.
    let mut sessions = operators
        .control
        .list(&Filter {
            limit: limit + 1,
            ..filter
        })
        .await;
    let next = (sessions.len() > limit).then(|| sessions[limit - 1].id.clone());
    sessions.truncate(limit);
    Ok(respond(
        StatusCode::OK,
        &json!({"sessions": sessions, "next": next}),
    ))
}

/// `GET /revocations?user=&token_id=&issued_at=`: whether such a token is revoked, and how many entries there are.
fn revocations(request: &Request<Incoming>, operators: &Operators) -> Answered {
    expect_method(request, &Method::GET, "GET")?;
    let (mut user, mut token_id, mut issued_at) = (None, None, None);
    let read = each(request.uri().query().unwrap_or_default(), |name, value| {
        match name {
            "user" => user = Some(value),
            "token_id" => token_id = Some(value),
            "issued_at" => {
                let seconds = value.parse::<u64>();
                issued_at = Some(seconds.map_err(|_| "`issued_at` is in seconds since 1970".to_owned())?);
            }
            other => {
                return Err(format!(
                    "there is no `{other}`: use `user`, `token_id` and `issued_at`"
                ));
            }
        }
        Ok(())
    });
    read.map_err(|error| refused(StatusCode::BAD_REQUEST, error))?;
    let revocations = operators.control.revocations();
    let revoked = revocations.is_revoked(user.as_deref(), token_id.as_deref(), issued_at);
    let body = json!({"revoked": revoked, "stored": revocations.stored()});
    Ok(respond(StatusCode::OK, &body))
}

/// `GET /metrics`: everything that is measured of this edge, for Prometheus.
fn metrics(request: &Request<Incoming>, operators: &Operators) -> Answered {
    expect_method(request, &Method::GET, "GET")?;
    let mut response = plain(StatusCode::OK, "");
    *response.body_mut() = Full::new(Bytes::from(text::write(&operators.metrics)));
    let kind = HeaderValue::from_static(text::CONTENT_TYPE);
    response.headers_mut().insert(CONTENT_TYPE, kind);
    Ok(response)
}

/// Hands over each name and value of a query.
fn each(query: &str, mut take: impl FnMut(&str, String) -> Result<(), String>) -> Result<(), String> {
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = decode(value).ok_or_else(|| format!("`{name}` is not UTF-8 in percent encoding"))?;
        take(name, value)?;
    }
    Ok(())
}

fn read_filter(query: &str) -> Result<Filter, String> {
    let mut filter = Filter {
        user: None,
        from: 0,
        limit: PAGE,
        channels: LISTED_CHANNELS,
    };
    each(query, |name, value| {
        match name {
            "user" => filter.user = Some(value.into()),
            "after" => {
                let after = parse_session(&value)
                    .map_err(|_| "`after` is the `next` of the page before".to_owned())?;
                filter.from = after.checked_add(1).ok_or("there is nothing after that")?;
            }
            "limit" => {
                let limit = value
                    .parse()
                    .ok()
                    .filter(|limit| (1..=LONGEST_PAGE).contains(limit));
                filter.limit = limit.ok_or_else(|| format!("`limit` is 1 to {LONGEST_PAGE}"))?;
            }
            other => return Err(format!("there is no `{other}`: use `user`, `limit` and `after`")),
        }
        Ok(())
    })?;
    Ok(filter)
}

/// `GET /sessions/ID` and `DELETE /sessions/ID`
async fn one(id: u64, request: &Request<Incoming>, operators: &Operators) -> Answered {
    if request.method() == Method::DELETE {
        let order = Order {
            selector: Selector::Session(id),
            action: Action::Disconnect,
            reason: None,
        };
        return Ok(carry_out(&order, operators).await);
    }
    expect_method(request, &Method::GET, "GET, DELETE")?;
    let filter = Filter {
        user: None,
        from: id,
        limit: 1,
        channels: usize::MAX,
    };
    let found: Vec<Description> = operators.control.list(&filter).await;
    match found
        .into_iter()
        .next()
        .filter(|found| parse_session(&found.id) == Ok(id))
    {
        Some(found) => Ok(respond(StatusCode::OK, &json!(found))),
        None => Err(refused(
            StatusCode::NOT_FOUND,
            "this edge has no such session".to_owned(),
        )),
    }
}

/// `POST` with an order.
async fn order(verb: Verb, request: Request<Incoming>, operators: &Operators) -> Answered {
    expect_json(&request)?;
    let body = Limited::new(request.into_body(), MAX_NOTE_BYTES).collect().await;
    let body = body.map_err(|_| {
        let error = format!("an order has at most {MAX_NOTE_BYTES} bytes");
        refused(StatusCode::PAYLOAD_TOO_LARGE, error)
    })?;
    let order = Order::parse(verb, &body.to_bytes(), now());
    let order = order.map_err(|error| refused(StatusCode::BAD_REQUEST, error))?;
    Ok(carry_out(&order, operators).await)
}

/// `POST /drain`: this edge leaves; the process stays until it is stopped. How many sessions are left.
fn drain(request: &Request<Incoming>, operators: &Operators) -> Answered {
    expect_json(request)?;
    if operators.drain.begin() {
        tracing::info!("an operator asks for a drain: the process stays until it is stopped");
    }
    let body = json!({"ok": true, "sessions": operators.drain.remaining()});
    Ok(respond(StatusCode::OK, &body))
}

/// Here first, then on the other edges.
async fn carry_out(order: &Order, operators: &Operators) -> Reply {
    let mut outcome = operators.control.carry_out(order, Asker::Admin).await;
    if let Err(error) = operators.control.announce(order).await {
        let told = format!("carried out on this edge alone, the others could not be told: {error}");
        outcome.ok = false;
        outcome.error = Some(match outcome.error {
            Some(error) => format!("{error}; {told}"),
            None => told,
        });
    }
    let status = if outcome.ok {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    json_response(status, outcome.body())
}

fn expect_method(
    request: &Request<Incoming>,
    method: &Method,
    allowed: &'static str,
) -> Result<(), Box<Reply>> {
    if request.method() == method {
        return Ok(());
    }
    let mut refusal = refused(StatusCode::METHOD_NOT_ALLOWED, format!("use {allowed}"));
    refusal
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static(allowed));
    Err(refusal)
}

/// What changes something is a `POST` of JSON.
fn expect_json(request: &Request<Incoming>) -> Result<(), Box<Reply>> {
    expect_method(request, &Method::POST, "POST")?;
    // No page of another site can have a browser send this without asking first (WHATWG Fetch, simple requests).
    let is_json = request.headers().get(CONTENT_TYPE).is_some_and(|kind| {
        let kind = kind
            .as_bytes()
            .split(|byte| *byte == b';')
            .next()
            .unwrap_or_default();
        kind.trim_ascii().eq_ignore_ascii_case(b"application/json")
    });
    if is_json {
        return Ok(());
    }
    let error = "send `Content-Type: application/json`".to_owned();
    Err(refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, error))
}

fn refused(status: StatusCode, error: String) -> Box<Reply> {
    Box::new(json_response(status, Outcome::refused(error).body()))
}

fn respond(status: StatusCode, value: &serde_json::Value) -> Reply {
    json_response(status, value.to_string().into_bytes())
}

fn json_response(status: StatusCode, mut body: Vec<u8>) -> Reply {
    body.push(b'\n');
    let mut response = plain(status, "");
    *response.body_mut() = Full::new(Bytes::from(body));
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

/// Percent encoding of a query's value (RFC 3986 section 2.1), with `+` for a space as forms write it.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, others @ ..] = rest {
        rest = others;
        match first {
            b'+' => bytes.push(b' '),
            b'%' => {
                let (digits, others) = rest.split_at_checked(2)?;
                let digits = digits.iter().map(|digit| char::from(*digit).to_digit(16));
                let value = digits.reduce(|high, low| Some(high? * 16 + low?))??;
                bytes.push(u8::try_from(value).ok()?);
                rest = others;
            }
            other => bytes.push(*other),
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_strictly() {
        let filter = read_filter("user=ann%40example.org&limit=7&after=00000000000000fe").expect("a filter");
        assert_eq!(filter.user.as_deref(), Some("ann@example.org"));
        assert_eq!((filter.limit, filter.from), (7, 0xff));
        assert_eq!(
            read_filter("user=a+b%2B").expect("a filter").user.as_deref(),
            Some("a b+")
        );
        for (wrong, named) in [
            ("limit=0", "`limit`"),
            ("limit=1001", "`limit`"),
            ("after=ff", "`after`"),
            ("after=ffffffffffffffff", "nothing after"),
            ("user=%ff", "`user`"),
            ("user=%f", "`user`"),
            ("user=%zz", "`user`"),
            ("usr=ann", "`usr`"),
        ] {
            let error = read_filter(wrong).expect_err(wrong);
            assert!(error.contains(named), "{wrong}: {error}");
        }
    }
}
