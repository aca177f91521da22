//! What a collector of OpenTelemetry is sent.

use std::io::Write as _;

use serde_json::json;
use tailwater_protocol::position::Since;
use tailwater_tests::collector::{Received, attribute};
use tailwater_tests::durable::{DURABLE, Publisher, connect, join};
use tailwater_tests::edge::OPEN;
use tailwater_tests::raw_socket::HANDSHAKE;
use tailwater_tests::service::Answer;
use tailwater_tests::{
    Authority, Collector, Edge, NatsProcess, NatsServer, Process, RawSocket, Scrape, Service, eventually,
    next_update, subscriber,
};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const TRACE_ID: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN_ID: &str = "b7ad6b7169203331";

/// Sends to `collector` every second, and keeps so many of a million traces of its own.
fn telemetry(collector: &Collector, sample_per_million: u32) -> String {
    format!(
        "[telemetry]\notlp_endpoint = \"{}\"\nmetrics_interval_secs = 1\n\
         sample_per_million = {sample_per_million}\n",
        collector.endpoint()
    )
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Publishes on core NATS with these headers.
async fn publish(nats: &async_nats::Client, subject: &str, headers: &[(&str, &str)]) {
    let mut map = async_nats::HeaderMap::new();
    for (name, value) in headers {
        map.insert(*name, *value);
    }
    let sent = nats.publish_with_headers(subject.to_owned(), map, "1".into());
    sent.await.expect("the connection lives");
    nats.flush().await.expect("the connection lives");
}

#[tokio::test]
async fn a_collector_is_sent_the_metrics_that_are_scraped_and_once_more_at_the_end() {
    let nats = NatsServer::start().await;
    let collector = Collector::start().await;
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(b"authorization=Bearer%20abc")
        .expect("it takes text");
    let more = format!(
        "otlp_headers_file = \"{}\"\nservice_name = \"live\"\nresource_attributes = \"deployment.environment.name=test\"\n",
        file.path().display()
    );
    let config = format!("{OPEN}{}{more}", telemetry(&collector, 0));
    let edge = Edge::start_with(nats.url(), &config).await;
    let mut client = subscriber(&edge, None, &["a"]).await;
    publish(&nats.client().await, "a", &[]).await;
    next_update(&mut client).await;
    let received = eventually("the delivery was sent", async || {
        let received = collector.received();
        (received.number("tailwater_deliveries_total", &["live"]) == Some(1)).then_some(received)
    })
    .await;
    assert_eq!(received.number("tailwater_connections", &["websocket"]), Some(1));
    assert_eq!(
        received.number("tailwater_commands_total", &["subscribe", "ok"]),
        Some(1)
    );
    let scrape = Scrape::of(&edge).await;
    let (sent, scraped): (Vec<_>, Vec<_>) =
        (received.metrics.keys().collect(), scrape.kinds.keys().collect());
    assert_eq!(sent, scraped);
    for (name, metric) in &received.metrics {
        assert_eq!(metric.description, scrape.questions[name]);
        assert_eq!(metric.unit == "s", name.ends_with("_seconds"), "{name}");
        assert_eq!(metric.unit == "By", name.contains("_bytes"), "{name}");
        // Who makes names of Prometheus out of these appends `_ratio` to a gauge whose unit is `1`.
        assert_ne!(metric.unit, "1", "{name}");
    }
    assert_eq!(received.resource["service.name"], "live");
    assert_eq!(received.resource["deployment.environment.name"], "test");
    let instance = &received.resource["service.instance.id"];
    // At the same collector, the same name would make one edge of both, whose counters jump.
    let other = Edge::start_with(nats.url(), &config).await;
    eventually("another edge sends as another instance", async || {
        (collector.received().resource["service.instance.id"] != *instance).then_some(())
    })
    .await;
    other.stop().await;
    let head = received.requests.last().expect("a request").to_ascii_lowercase();
    assert!(head.contains("content-type: application/x-protobuf"), "{head}");
    assert!(head.contains("authorization: bearer abc"), "{head}");
    edge.stop().await;
    assert_eq!(collector.received().number("tailwater_draining", &[]), Some(1));
}

#[tokio::test]
async fn the_log_says_once_that_metrics_are_refused_also_where_spans_are_taken() {
    let nats = NatsProcess::start("").await;
    let collector = Collector::start_without("/v1/metrics").await;
    let config = format!("{OPEN}{}", telemetry(&collector, 1_000_000));
    let (edge, ready) = Process::serve(&nats.url(), &config).await;
    let _client = RawSocket::upgraded(ready.address("ws")).await;
    let refused = |received: &Received| {
        let metrics = received.requests.iter();
        metrics.filter(|head| head.contains("/v1/metrics")).count()
    };
    let before = eventually("spans come", async || {
        let received = collector.received();
        (!received.spans.is_empty()).then(|| refused(&received))
    })
    .await;
    eventually("metrics are refused again", async || {
        (refused(&collector.received()) >= before + 2).then_some(())
    })
    .await;
    let log = edge.stderr();
    assert_eq!(log.matches("does not take what is measured").count(), 1, "{log}");
    assert!(!log.contains("takes what is measured again"), "{log}");
}

#[tokio::test]
async fn a_collector_behind_tls_is_sent_to_only_if_its_certificate_is_trusted() {
    let (authority, nats) = (Authority::new(), NatsServer::start().await);
    let collector = Collector::start_tls(&authority).await;
    // The system does not know the authority.
    let wary = Edge::start_with(nats.url(), &format!("{OPEN}{}", telemetry(&collector, 0))).await;
    wary.stop().await;
    assert!(collector.received().requests.is_empty());
    let trust = format!("otlp_ca_file = {:?}\n", authority.certificate());
    let config = format!("{OPEN}{}{trust}", telemetry(&collector, 0));
    let edge = Edge::start_with(nats.url(), &config).await;
    edge.stop().await;
    assert_eq!(collector.received().number("tailwater_draining", &[]), Some(1));
}

#[tokio::test]
async fn a_sampled_publication_has_a_span_with_its_fan_out_and_others_have_none() {
    let nats = NatsServer::start().await;
    let collector = Collector::start().await;
    let edge = Edge::start_with(nats.url(), &format!("{OPEN}{}", telemetry(&collector, 0))).await;
    let mut clients = [
        subscriber(&edge, None, &["news.*"]).await,
        subscriber(&edge, None, &["news.*"]).await,
        subscriber(&edge, None, &["news.*"]).await,
    ];
    let publisher = nats.client().await;
    let unsampled = PARENT.replace("-01", "-00");
    for headers in [
        &[][..],
        &[("traceparent", unsampled.as_str())],
        &[("traceparent", "00-nonsense")],
        &[("traceparent", PARENT), ("tracestate", "vendor=7")],
    ] {
        publish(&publisher, "news.a", headers).await;
    }
    for client in &mut clients {
        for _ in 0..4 {
            assert_eq!(next_update(client).await.trace, None);
        }
    }
    edge.stop().await;
    let received = collector.received();
    let spans = received.spans("deliver");
    assert_eq!(spans.len(), received.spans.len(), "{:?}", received.spans);
    // One for each worker that has subscribers.
    assert!((1..=2).contains(&spans.len()), "{spans:?}");
    let fan_out = |span| attribute(span, "tailwater.fan_out").and_then(|count| count.parse::<u64>().ok());
    assert_eq!(
        spans
            .iter()
            .map(|span| fan_out(span).expect("a count"))
            .sum::<u64>(),
        3
    );
    for span in spans {
        assert_eq!(
            (hex(&span.trace_id), hex(&span.parent_span_id)),
            (TRACE_ID.into(), SPAN_ID.into())
        );
        assert_eq!(span.trace_state, "vendor=7");
        assert_eq!(
            attribute(span, "messaging.destination.name").as_deref(),
            Some("news.a")
        );
        assert_eq!(attribute(span, "tailwater.channel").as_deref(), Some("news.*"));
        assert!(span.start_time_unix_nano <= span.end_time_unix_nano);
    }
}

#[tokio::test]
async fn the_span_of_a_stored_publication_says_how_long_it_took() {
    let nats = NatsServer::start().await;
    let collector = Collector::start().await;
    let edge = Edge::start_with(nats.url(), &format!("{DURABLE}{}", telemetry(&collector, 0))).await;
    let mut client = connect(&edge, None).await;
    join(&mut client, "d.a", None).await;
    publish(&nats.client().await, "d.a", &[("traceparent", PARENT)]).await;
    next_update(&mut client).await;
    edge.stop().await;
    let received = collector.received();
    let [span] = &received.spans("deliver")[..] else {
        panic!("{:?}", received.spans)
    };
    assert_eq!(attribute(span, "tailwater.delivery").as_deref(), Some("durable"));
    let delay = attribute(span, "tailwater.delay_seconds").expect("a delay");
    assert!(
        (0.0..20.0).contains(&delay.parse::<f64>().expect("a number")),
        "{delay}"
    );
}

#[tokio::test]
async fn a_trace_is_passed_on_to_clients_where_the_namespace_says_so_live_and_from_the_stream() {
    let nats = NatsServer::start().await;
    let config = DURABLE.replace("stream = \"D\"", "stream = \"D\"\ntrace = true");
    let live = "[namespace.live]\nchannels = \"live.>\"\nanonymous = true\ntrace = true\n";
    let edge = Edge::start_with(nats.url(), &format!("{config}{live}")).await;
    let publisher = Publisher::connect(nats.url()).await;
    let unsampled = PARENT.replace("-01", "-00");
    let mut client = subscriber(&edge, None, &["d.a", "live.a"]).await;
    for subject in ["d.a", "live.a"] {
        publish(publisher.client(), subject, &[("traceparent", &unsampled)]).await;
        assert_eq!(
            next_update(&mut client).await.trace.as_deref(),
            Some(unsampled.as_str())
        );
    }
    publish(publisher.client(), "live.a", &[("traceparent", "00-nonsense")]).await;
    assert_eq!(next_update(&mut client).await.trace, None);
    // An edge that has not seen it reads it from the stream.
    let other = Edge::start_with(nats.url(), &config).await;
    let mut late = connect(&other, None).await;
    join(&mut late, "d.a", Some(Since::Beginning)).await;
    assert_eq!(
        next_update(&mut late).await.trace.as_deref(),
        Some(unsampled.as_str())
    );
    let mut socket = RawSocket::upgraded(other.server().public_addr()).await;
    let mut page = socket.next_json().await;
    if page["type"] == "connected" {
        page = socket.ask(r#"{"type":"history","channel":"d.a"}"#).await;
    }
    assert_eq!(page["publications"][0]["trace"], json!(unsampled), "{page}");
    edge.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn what_a_client_asks_for_has_spans_that_services_go_on_with() {
    const HOOKED: &str = r#"
[namespace.news]
channels = "news.>"
anonymous = true
durable = true
subscribe_hook = true
[namespace.services]
channels = "services.>"
anonymous = true
request = true
[hook.connect]
subject = "_hooks.connect"
[hook.subscribe]
subject = "_hooks.subscribe"
"#;
    let nats = NatsServer::start().await;
    let collector = Collector::start().await;
    let edge = Edge::start_with(
        nats.url(),
        &format!("{HOOKED}{}", telemetry(&collector, 1_000_000)),
    )
    .await;
    let hooks = Service::start(&nats, "_hooks.*", |_| Some(Answer::of(r#"{"allow": true}"#))).await;
    let service = Service::start(&nats, "services.*", |_| Some(Answer::of("7"))).await;
    let publisher = Publisher::connect(nats.url()).await;
    publisher.store("news.a", "1").await;

    let mut socket = RawSocket::open(edge.server().public_addr()).await;
    let parent = format!("traceparent: {PARENT}");
    socket
        .request(
            "GET /ws HTTP/1.1",
            &[
                &HANDSHAKE[..],
                &[&parent, "tracestate: vendor=7", "tracestate: b=2"],
            ]
            .concat(),
        )
        .await;
    assert_eq!(socket.next_json().await["type"], "connected");
    let subscribed = socket
        .ask(r#"{"type":"subscribe","channel":"news.a","since":"beginning"}"#)
        .await;
    assert_eq!(subscribed["type"], "subscribed");
    assert_eq!(socket.next_json().await["type"], "update");
    let reply = socket
        .ask(r#"{"type":"request","channel":"services.x","payload":1}"#)
        .await;
    assert_eq!(reply["type"], "reply");
    let denied = socket.ask(r#"{"type":"subscribe","channel":"nowhere"}"#).await;
    assert_eq!(denied["type"], "error");
    edge.stop().await;

    let received = collector.received();
    let only = |name: &str| match &received.spans(name)[..] {
        [span] => (*span).clone(),
        other => panic!("one span `{name}`: {other:?}"),
    };
    let (connected, subscribed, resumed, asked) = (
        only("connect"),
        only("subscribe"),
        only("resume"),
        only("request"),
    );
    assert_eq!(
        (hex(&connected.trace_id), hex(&connected.parent_span_id)),
        (TRACE_ID.into(), SPAN_ID.into())
    );
    assert_eq!(connected.trace_state, "vendor=7,b=2");
    assert_ne!(subscribed.trace_id, connected.trace_id);
    assert!(subscribed.parent_span_id.is_empty());
    assert_eq!(
        attribute(&subscribed, "tailwater.channel").as_deref(),
        Some("news.a")
    );
    assert_eq!(
        (&resumed.trace_id, &resumed.parent_span_id),
        (&subscribed.trace_id, &subscribed.span_id)
    );
    assert_eq!(
        attribute(&resumed, "tailwater.source").as_deref(),
        Some("direct_get")
    );
    // What the services read is the span of the question to them.
    let questions = hooks.asked();
    assert_eq!(questions.len(), 2);
    for (question, whole) in questions.iter().zip([&connected, &subscribed]) {
        let hook = received
            .spans("hook")
            .into_iter()
            .find(|hook| hook.parent_span_id == whole.span_id);
        let hook = hook.expect("a question is a part of what it is about");
        let expected = format!("00-{}-{}-01", hex(&whole.trace_id), hex(&hook.span_id));
        assert_eq!(question.header("traceparent"), Some(expected.as_str()));
        let state = Some(whole.trace_state.as_str()).filter(|state| !state.is_empty());
        assert_eq!(question.header("tracestate"), state);
    }
    let expected = format!("00-{}-{}-01", hex(&asked.trace_id), hex(&asked.span_id));
    assert_eq!(service.asked()[0].header("traceparent"), Some(expected.as_str()));
}
