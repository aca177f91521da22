//! The least NATS permissions that `tailwater check` prints: an edge that has no others does everything, and without any
//! one of them something does not work.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::ConnectOptions;
use futures_util::stream::{self, StreamExt as _};
use serde_json::{Value, json};
use tailwater_tests::process::{config_file, run};
use tailwater_tests::raw_socket::frame;
use tailwater_tests::{Edge, NatsProcess, RawSocket, eventually, soon};
use tokio::time::timeout;

/// What works at all works within this.
const DEADLINE: Duration = Duration::from_secs(6);

/// One namespace of each kind, each with what clients may do.
const NAMESPACES: &str = r#"
[namespace.news]
channels = "news.>"
anonymous = true
[namespace.chat]
channels = "chat.>"
anonymous = true
publish = true
[namespace.orders]
channels = "orders.>"
anonymous = true
publish = true
durable = true
[stream.ORDERS]
audit_interval_secs = 1
"#;

/// `NAMESPACES` with more in the table of the stream.
fn config(nats: &str, user: &str, stream: &str) -> String {
    format!(
        "[nats]\nurl = \"{nats}\"\nuser = \"{user}\"\npassword = \"CHANGE-ME\"\nconnect_timeout_secs = 2\n\
         [websocket]\nclose_timeout_secs = 0\n{NAMESPACES}{stream}"
    )
}

/// What a user may do.
#[derive(Clone, Debug, Default, PartialEq)]
struct Permissions {
    /// By `publish` and `subscribe`: the subjects that are allowed.
    allowed: BTreeMap<&'static str, Vec<String>>,
}

impl Permissions {
    /// The edge's, as `check` prints them for this configuration.
    async fn least(stream: &str) -> Self {
        let file = config_file(&config("nats://127.0.0.1:4222", "edge", stream));
        let path = file.path().to_str().expect("text");
        let checked = run(["check", "--offline", "--config", path]).await;
        assert_eq!(checked.code, Some(0), "{checked:?}");
        let mut permissions = Self::default();
        let mut action = None;
        for line in checked.stdout.lines().map(str::trim) {
            match line {
                "publish: { allow: [" => action = Some("publish"),
                "subscribe: { allow: [" => action = Some("subscribe"),
                "] }" => action = None,
                _ => {
                    if let Some(action) = action {
                        let subject = line.trim_end_matches(',').trim_matches('"').to_owned();
                        permissions.allowed.entry(action).or_default().push(subject);
                    }
                }
            }
        }
        permissions
    }

    /// The same without the line of this subject.
    fn without(&self, action: &'static str, subject: &str) -> Self {
        let mut fewer = self.clone();
        let subjects = fewer.allowed.get_mut(action).expect("an action");
        subjects.retain(|line| line != subject);
        fewer
    }

    /// A NATS where the edge has these, a service has what `check` says, and an operator has all.
    async fn serve(&self) -> (NatsProcess, tempfile::TempDir) {
        let store = tempfile::tempdir().expect("a temporary folder");
        let allow = |action| format!("{action}: {{ allow: {:?} }}", self.allowed[action]);
        let text = format!(
            "jetstream {{ store_dir: {:?} }}\nauthorization {{ users: [\n\
             {{ user: edge, password: \"CHANGE-ME\", permissions: {{ {}, {}, allow_responses: true }} }}\n\
             {{ user: service, password: \"CHANGE-ME\", permissions: {{ publish: {{ deny: [\"_tw.live.>\", \"_tw.sync.>\"] }} }} }}\n\
             {{ user: operator, password: \"CHANGE-ME\" }}\n] }}",
            store.path(),
            allow("publish"),
            allow("subscribe"),
        );
        (NatsProcess::start(&text).await, store)
    }
}

/// An edge whose streams are ready.
///
/// # Errors
/// What it says of itself instead.
async fn edge(nats: &str, user: &str, stream: &str) -> Result<Edge, String> {
    let edge = Edge::start_unconnected(nats, &config(nats, user, stream)).await;
    let ready = eventually("the edge is ready", async || {
        (edge.admin("/readyz").await.0 == 200).then_some(())
    });
    if timeout(DEADLINE, ready).await.is_ok() {
        return Ok(edge);
    }
    let (_, why) = edge.admin("/readyz").await;
    edge.stop().await;
    Err(why)
}

/// A client that keeps what it has read and nobody wanted yet.
struct Reader {
    socket: RawSocket,
    seen: Vec<Value>,
}

impl Reader {
    async fn connect(edge: &Edge) -> Self {
        Self {
            socket: RawSocket::upgraded(edge.server().public_addr()).await,
            seen: Vec::new(),
        }
    }

    /// Reads until a message has all of these fields.
    async fn wants(&mut self, fields: &Value) -> Result<Value, String> {
        let wanted = fields.as_object().expect("fields");
        let fits = |message: &Value| wanted.iter().all(|(name, value)| &message[name] == value);
        let read = async {
            loop {
                if let Some(found) = self.seen.iter().position(fits) {
                    return self.seen.remove(found);
                }
                self.seen.push(self.socket.next_json().await);
            }
        };
        match timeout(DEADLINE, read).await {
            Ok(message) => Ok(message),
            Err(_) => Err(format!("no {fields} in {:?}", self.seen)),
        }
    }

    /// Sends a command and reads its answer, which has this type.
    async fn asks(&mut self, mut command: Value, answer: &str) -> Result<Value, String> {
        let id = fastrand::u32(..);
        command["id"] = id.into();
        self.socket
            .send(&frame(0x81, command.to_string().as_bytes()))
            .await;
        let found = self.wants(&json!({"id": id})).await?;
        if found["type"] == answer {
            Ok(found)
        } else {
            Err(format!("{command}: {found}"))
        }
    }

    async fn subscribes(&mut self, channel: &str) -> Result<Value, String> {
        let command = json!({"type": "subscribe", "channel": channel});
        self.asks(command, "subscribed").await
    }
}

/// What an edge does for its clients, in this order; each is the name of a step that can fail.
async fn use_edge(nats: &str, edge: &Edge, stream: &str) -> Result<(), (&'static str, String)> {
    let at = |step| move |why: String| (step, why);
    let options = ConnectOptions::with_user_and_password("service".into(), "CHANGE-ME".into());
    let service = soon("a connection", options.connect(nats))
        .await
        .expect("it is allowed");
    let publish = async |subject: &'static str, payload: &'static str| {
        service
            .publish(subject, payload.into())
            .await
            .expect("the connection lives");
        service.flush().await.expect("the connection lives");
    };
    let mut client = Reader::connect(edge).await;

    for (channel, step) in [
        ("news.a", "live: subscribe"),
        ("chat.a", "live: subscribe to what clients publish"),
    ] {
        client.subscribes(channel).await.map_err(at(step))?;
    }
    publish("news.a", "1").await;
    let update = json!({"type": "update", "channel": "news.a", "payload": 1});
    client.wants(&update).await.map_err(at("live: update"))?;
    let said = json!({"type": "publish", "channel": "chat.a", "payload": 2});
    client
        .asks(said, "published")
        .await
        .map_err(at("live: publish"))?;
    let update = json!({"type": "update", "channel": "chat.a", "payload": 2});
    client
        .wants(&update)
        .await
        .map_err(at("live: update of what was published"))?;

    for channel in ["orders.a", "orders.*"] {
        client
            .subscribes(channel)
            .await
            .map_err(at("durable: subscribe"))?;
    }
    publish("orders.a", "3").await;
    for channel in ["orders.a", "orders.*"] {
        let update = json!({"type": "update", "channel": channel, "payload": 3});
        client.wants(&update).await.map_err(at("durable: update"))?;
    }
    let said = json!({"type": "publish", "channel": "orders.a", "payload": 4});
    client
        .asks(said, "published")
        .await
        .map_err(at("durable: publish"))?;
    let asked = json!({"type": "history", "channel": "orders.a", "limit": 10});
    let page = client
        .asks(asked, "history")
        .await
        .map_err(at("durable: history"))?;
    assert_eq!(page["publications"].as_array().map(Vec::len), Some(2), "{page}");
    let mut late = Reader::connect(edge).await;
    let since = json!({"type": "subscribe", "channel": "orders.a", "since": "beginning"});
    late.asks(since, "subscribed")
        .await
        .map_err(at("durable: resume"))?;
    for payload in [3, 4] {
        let update = json!({"type": "update", "payload": payload});
        late.wants(&update).await.map_err(at("durable: resume"))?;
    }

    let file = config_file(&config(nats, "edge", stream));
    let path = file.path().to_str().expect("text");
    let raised = run(["stream", "new-epoch", "ORDERS", "--config", path]).await;
    if raised.code != Some(0) {
        return Err(("new epoch", raised.stderr));
    }
    let lost = json!({"type": "lost", "channel": "orders.a", "reason": "epoch_changed"});
    late.wants(&lost)
        .await
        .map_err(at("new epoch: told to clients"))?;
    orders(nats, edge).await
}

/// A service revokes, and the admin listener tells the other edges.
async fn orders(nats: &str, edge: &Edge) -> Result<(), (&'static str, String)> {
    let operator = ConnectOptions::with_user_and_password("operator".into(), "CHANGE-ME".into());
    let operator = operator.connect(nats).await.expect("the operator may connect");
    let mut told = operator
        .subscribe("_tw.control.disconnect")
        .await
        .expect("it may");
    let order = json!({"user": "mallory"}).to_string();
    let answer = timeout(DEADLINE, operator.request("_tw.control.revoke", order.into())).await;
    match answer {
        Ok(Ok(answer)) if answer.payload.starts_with(br#"{"ok":true"#) => {}
        other => return Err(("control: revoke", format!("{other:?}"))),
    }
    let last = json!({"last_by_subj": "$KV.tailwater_revocations.user.mallory"}).to_string();
    let stored = eventually("it is stored", async || {
        let read = operator.request("$JS.API.DIRECT.GET.KV_tailwater_revocations", last.clone().into());
        let found = read.await.ok()?;
        found.status.is_none().then_some(())
    });
    if timeout(DEADLINE, stored).await.is_err() {
        return Err(("control: store", "nothing in the bucket".to_owned()));
    }
    let body = r#"{"user":"nobody"}"#;
    let length = format!("Content-Length: {}", body.len());
    let headers = ["Host: 127.0.0.1", "Content-Type: application/json", &length];
    let mut admin = RawSocket::open(edge.server().admin_addr()).await;
    let head = format!(
        "POST /sessions/disconnect HTTP/1.1\r\n{}\r\n\r\n{body}",
        headers.join("\r\n")
    );
    admin.send(head.as_bytes()).await;
    match timeout(DEADLINE, told.next()).await {
        Ok(Some(_)) => Ok(()),
        _ => Err(("control: tell", admin.head().await)),
    }
}

/// Whether an edge that has just started knows what was revoked before.
async fn remembers(edge: &Edge) -> Result<(), (&'static str, String)> {
    let known = eventually("what was revoked is known", async || {
        let mut admin = RawSocket::open(edge.server().admin_addr()).await;
        let asked = "GET /revocations?user=mallory&issued_at=1 HTTP/1.1";
        let head = admin.request(asked, &["Host: 127.0.0.1"]).await;
        admin.body(&head).await.contains("true").then_some(())
    });
    let waited = timeout(DEADLINE, known).await;
    waited.map_err(|_| ("revocations of before", "unknown".to_owned()))
}

/// Everything that an edge does: at its first start, for its clients, at a start with another configuration, and what
/// `check` finds. The step that fails, and how, if one does.
async fn everything(permissions: &Permissions) -> Result<(), (&'static str, String)> {
    let (nats, _store) = permissions.serve().await;
    let url = nats.url();
    let first = edge(&url, "edge", "").await.map_err(|why| ("first start", why))?;
    let used = use_edge(&url, &first, "").await;
    first.stop().await;
    used?;
    let more = "allow_message_ttl = true\n";
    let second = edge(&url, "edge", more)
        .await
        .map_err(|why| ("start with another configuration", why))?;
    let remembered = remembers(&second).await;
    second.stop().await;
    remembered?;
    checks(&url, more).await.map_err(|why| ("check", why))
}

/// Whether `check` has nothing to say.
async fn checks(nats: &str, stream: &str) -> Result<(), String> {
    let file = config_file(&config(nats, "edge", stream));
    let checked = run(["check", "--config", file.path().to_str().expect("text")]).await;
    let fine = checked.code == Some(0) && !checked.stdout.contains("warn ");
    fine.then_some(()).ok_or_else(|| format!("{checked:?}"))
}

/// What is the first not to work without each line: the reason why it is there.
const REASONS: [(&str, &str, &str); 20] = [
    (
        "publish",
        "$JS.API.DIRECT.GET.KV_tailwater_revocations",
        "revocations of before",
    ),
    ("publish", "$JS.API.DIRECT.GET.ORDERS", "durable: subscribe"),
    (
        "publish",
        "$JS.API.STREAM.CREATE.KV_tailwater_revocations",
        "control: revoke",
    ),
    ("publish", "$JS.API.STREAM.CREATE.ORDERS", "first start"),
    (
        "publish",
        "$JS.API.STREAM.INFO.KV_tailwater_revocations",
        "control: revoke",
    ),
    ("publish", "$JS.API.STREAM.INFO.ORDERS", "first start"),
    ("publish", "$JS.API.STREAM.MSG.GET.ORDERS", "first start"),
    (
        "publish",
        "$JS.API.STREAM.UPDATE.ORDERS",
        "start with another configuration",
    ),
    ("publish", "$KV.tailwater_revocations.>", "control: revoke"),
    ("publish", "_INBOX_tw.>", "check"),
    ("publish", "_tw.control.*", "control: tell"),
    ("publish", "_tw.sync.ORDERS", "first start"),
    ("publish", "chat.>", "live: update of what was published"),
    ("publish", "orders.>", "durable: publish"),
    ("subscribe", "$KV.tailwater_revocations.>", "check"),
    ("subscribe", "_INBOX_tw.>", "first start"),
    ("subscribe", "_tw.control.*", "control: revoke"),
    ("subscribe", "_tw.live.orders.>", "durable: subscribe"),
    ("subscribe", "chat.>", "live: subscribe to what clients publish"),
    ("subscribe", "news.>", "live: subscribe"),
];

#[tokio::test]
async fn the_least_permissions_are_enough_and_without_any_one_of_them_something_does_not_work() {
    let least = Permissions::least("").await;
    everything(&least).await.expect("all of them are enough");
    let lines = least.allowed.iter();
    let lines = lines.flat_map(|(action, subjects)| subjects.iter().map(move |subject| (*action, subject)));
    let least = &least;
    let found = stream::iter(lines).map(async |(action, subject)| {
        let broken = everything(&least.without(action, subject)).await;
        (action, subject.as_str(), broken.err())
    });
    let mut found: Vec<_> = found.buffer_unordered(3).collect().await;
    found.sort();
    for (action, subject, broken) in &found {
        eprintln!("{action} {subject}: {broken:?}");
    }
    let found: Vec<_> = found
        .iter()
        .map(|(action, subject, broken)| {
            (
                *action,
                *subject,
                broken.as_ref().map_or("nothing", |(step, _)| *step),
            )
        })
        .collect();
    assert_eq!(found, REASONS);
}

#[tokio::test]
async fn an_edge_that_only_verifies_its_stream_needs_fewer_permissions() {
    let verified = "manage = false\n";
    let (least, managing) = (Permissions::least(verified).await, Permissions::least("").await);
    let fewer = managing
        .without("publish", "$JS.API.STREAM.CREATE.ORDERS")
        .without("publish", "$JS.API.STREAM.UPDATE.ORDERS");
    assert_eq!(least, fewer);
    let (nats, _store) = least.serve().await;
    let url = nats.url();
    // Whoever sets the stream up is somebody else.
    let operator = edge(&url, "operator", "")
        .await
        .expect("an operator may do everything");
    operator.stop().await;
    let edge = edge(&url, "edge", verified)
        .await
        .expect("the stream is as it should be");
    use_edge(&url, &edge, verified).await.expect("it is enough");
    edge.stop().await;
    checks(&url, verified).await.expect("nothing is wrong");
}
