//! One request, one answer: `GET /poll`, `POST /command`, `POST /publish`. Each has a session of its own for as long as it
//! takes.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, StatusCode};
use tailwater_protocol::codec::Codec;
use tailwater_protocol::command::{Key, Publish};
use tailwater_protocol::encoding::Encoding;
use tailwater_protocol::error::{ErrorCode, ErrorMessage};
use tailwater_protocol::message::{ServerBody, ServerMessage};
use tailwater_protocol::payload::Payload;
use tailwater_protocol::push::Push;

use super::{answer, event_stream, origin, query};
use crate::config::HttpTransport;
use crate::http::{Caller, Reply, Visit, Visitor, only};
use crate::limits::Place;
use crate::session::{Session, exchange, identify};
use crate::socket::Socket;
use crate::worker::{Entered, Worker};

/// Answers one request.
pub(crate) async fn answer(
    worker: &Rc<Worker>,
    request: Request<Incoming>,
    transport: HttpTransport,
    client: Visitor,
    visit: &Visit,
) -> Reply {
    let headers = request.headers().clone();
    if !worker.limits().origins().allow(&headers) {
        return answer::foreign_origin(worker);
    }
    let client = match client {
        Ok(client) => client,
        Err(refusal) => return origin::share(answer::over(refusal), &headers),
    };
    let method = match transport {
        HttpTransport::Poll | HttpTransport::Sse => Method::GET,
        HttpTransport::Command | HttpTransport::Publish => Method::POST,
    };
    if *request.method() == Method::OPTIONS {
        return origin::preflight(&headers);
    }
    let answered = if *request.method() == method {
        exchanged(worker, request, transport, client, visit).await
    } else if method == Method::GET {
        only("GET")
    } else {
        only("POST")
    };
    origin::share(answered, &headers)
}

async fn exchanged(
    worker: &Rc<Worker>,
    request: Request<Incoming>,
    transport: HttpTransport,
    client: Option<(SocketAddr, Place)>,
    visit: &Visit,
) -> Reply {
    let caller = Caller::of(worker, &request, client);
    let remote_addr = caller.client.as_ref().map_or(visit.peer, |(client, _)| *client);
    let entered = Entered::new(
        worker,
        Encoding::EVENTS,
        remote_addr,
        caller.headers,
        Socket::None,
    );
    let session = &entered.session;
    let connected = match identify::admit(session, worker, (caller.token, caller.trace)).await {
        Ok(connected) => connected,
        Err(error) => return answer::error(error),
    };
    let done = match transport {
        HttpTransport::Poll | HttpTransport::Sse => match event_stream::read(worker, &request) {
            Ok(query) => {
                visit.extend(query.wait);
                Ok(exchange::poll(session, worker, connected, query.subscribes, query.wait).await)
            }
            Err(error) => Err(error),
        },
        HttpTransport::Command => match body(worker, request).await {
            Ok(body) => {
                visit.extend(Duration::ZERO);
                Ok(exchange::commands(session, worker, &body).await)
            }
            Err(error) => Err(error),
        },
        HttpTransport::Publish => return publish(session, worker, request, visit).await,
    };
    match done {
        Ok(body) => answer::json(StatusCode::OK, body),
        Err(error) => answer::error(error),
    }
}

/// Publishes the body of a request.
async fn publish(
    session: &Rc<Session>,
    worker: &Rc<Worker>,
    request: Request<Incoming>,
    visit: &Visit,
) -> Reply {
    let publication = match publication(worker, request).await {
        Ok(publication) => publication,
        Err(error) => return answer::error(error),
    };
    visit.extend(Duration::ZERO);
    match exchange::publish(session, worker, publication).await {
        ServerBody::Push(Push::Error(error)) => answer::error(ErrorMessage { id: None, ..error }),
        body => answer::json(
            StatusCode::OK,
            Codec::Json.encode(&ServerMessage { id: None, body }),
        ),
    }
}

/// What a request publishes: `channel` and `key` stand in its query, the payload is its body as it is.
async fn publication(worker: &Worker, request: Request<Incoming>) -> Result<Publish, ErrorMessage> {
    let query = request.uri().query().unwrap_or_default().to_owned();
    let (mut channel, mut key) = (None, None);
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match &*name {
            "channel" => channel = Some(query::channel(&value)?),
            "key" => key = Some(value.into_owned()),
            _ => {}
        }
    }
    let channel = channel.ok_or_else(|| {
        let message = "name the channel: `/publish?channel=NAME`";
        ErrorMessage::new(ErrorCode::BadMessage, message)
    })?;
    let key = key.map(|key| Key::new(&key)).transpose();
    let key = key.map_err(|error| ErrorMessage::new(ErrorCode::BadMessage, format!("`key`: {error}")))?;
    Ok(Publish {
        channel,
        payload: Payload::Binary(body(worker, request).await?),
        key,
    })
}

/// The body of a request; `visit` bounds how long it may take.
async fn body(worker: &Worker, request: Request<Incoming>) -> Result<Bytes, ErrorMessage> {
    let limit = worker.config().websocket.max_message_bytes;
    let body = Limited::new(request.into_body(), limit).collect().await;
    body.map(|body| body.to_bytes()).map_err(|error| {
        if error.is::<LengthLimitError>() {
            let message =
                format!("the body has more than {limit} bytes, which `websocket.max_message_bytes` allows");
            ErrorMessage::new(ErrorCode::TooLarge, message)
        } else {
            ErrorMessage::new(ErrorCode::BadMessage, format!("the body cannot be read: {error}"))
        }
    })
}
