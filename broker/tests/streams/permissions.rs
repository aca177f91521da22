//! The least permissions, as they are printed: enough for the edge, and nobody can forge.

use serde_json::Value;
use tailwater_broker::bucket::{Bucket, BucketSpec};
use tailwater_broker::listener::{Heard, Listener};
use tailwater_broker::permissions::{ControlNeeds, Needs, least};
use tailwater_broker::stream::{Finding, inspect};
use tailwater_broker::{StreamSpec, epoch};

use crate::server::{DEADLINE, Server, connect, eventually, provision, ready, spec};

fn permissions(specs: &[StreamSpec], domain: Option<&str>) -> String {
    let streams: Vec<_> = specs.iter().map(|spec| (spec, "_tw.live".into())).collect();
    least(&Needs {
        user: "edge",
        inbox_prefix: "_INBOX_tw",
        domain,
        subscribe: &["news.>".to_owned()],
        publish: &["chat.>".to_owned()],
        streams: &streams,
        control: Some(ControlNeeds {
            subject: "_tw.control",
            bucket: Some(&bucket_spec()),
        }),
    })
}

#[tokio::test]
async fn the_least_permissions_are_enough_to_provision_and_forbid_to_forge() {
    let server = Server::start_with(&permissions(&[spec("a")], None)).await;
    let config = server.config_of("edge");
    let connection = connect(&config).await;
    let stream = provision(&connection, None, spec("a")).ready().await;
    let raised = epoch::raise(&connection, &stream, &stream.epoch).await.unwrap();
    assert_eq!(
        epoch::refresh(&connection, &stream, &raised).await.unwrap(),
        raised
    );
    let inspections = inspect(&config, None, &[spec("a")], DEADLINE).await.unwrap();
    assert_eq!(inspections[0].can_be_forged, Some(false), "{inspections:?}");
    assert_eq!(
        inspections[0].findings,
        [Finding::Fine("is as it should be".to_owned())]
    );

    // A service publishes, but neither live publications nor epochs.
    let options = async_nats::ConnectOptions::with_user_and_password("service".into(), "CHANGE-ME".into());
    let service = options.connect(server.url()).await.unwrap();
    for subject in ["_tw.live.a.b", "_tw.sync.a"] {
        service.publish(subject, "forged".into()).await.unwrap();
    }
    let stored = service.request("a.b", "hello".into()).await.unwrap();
    let stored: Value = serde_json::from_slice(&stored.payload).unwrap();
    assert_eq!(stored["stream"], "a", "{stored}");
    assert_eq!(ready(&connection, spec("a")).await.epoch, raised);
}

fn bucket_spec() -> BucketSpec {
    BucketSpec {
        name: "revoked".into(),
        description: "",
        max_age: std::time::Duration::from_secs(60),
        replicas: 1,
        manage: true,
    }
}

#[tokio::test]
async fn the_least_permissions_are_enough_for_orders_and_their_bucket_and_forbid_both_to_services() {
    let server = Server::start_with(&permissions(&[], None)).await;
    let config = server.config_of("edge");
    let listener = Listener::open(&config, "control").unwrap();
    let mut orders = listener.subscribe("_tw.control.*", 8).await.unwrap();
    let bucket = Bucket::new(connect(&config).await, listener.clone(), None, bucket_spec());
    let mut changes = listener.subscribe(&bucket.subject(), 8).await.unwrap();
    for heard in [&mut orders, &mut changes] {
        assert!(matches!(heard.next().await, Some(Heard::Missed)));
    }
    let empty = bucket.read(None).await.unwrap().expect("a first reading");
    assert!(empty.entries.is_empty(), "{empty:?}");
    bucket.put("user.ann", "{}".into(), "1").await.unwrap();
    bucket.put("user.ann", "{}".into(), "1").await.unwrap();
    let Some(Heard::Note(note)) = changes.next().await else {
        panic!("a change")
    };
    assert_eq!(bucket.entry(&note).expect("an entry").key, "user.ann");
    let full = bucket.read(empty.mark.as_ref()).await.unwrap().expect("a change");
    assert_eq!(full.entries.len(), 1, "{full:?}");
    assert_eq!(full.max_age, Some(std::time::Duration::from_secs(60)));
    // As it was: the second put was the first one again.
    assert!(bucket.read(full.mark.as_ref()).await.unwrap().is_none());

    let options = async_nats::ConnectOptions::with_user_and_password("service".into(), "CHANGE-ME".into());
    let service = options.connect(server.url()).await.unwrap();
    service.publish("$KV.revoked.user.bob", "".into()).await.unwrap();
    service.publish("_tw.control.revoke", "{}".into()).await.unwrap();
    service.flush().await.unwrap();
    assert!(bucket.read(full.mark.as_ref()).await.unwrap().is_none());
    // What the edge says itself comes back, and nothing came before it.
    listener
        .publish("_tw.control.disconnect", &[("Who", "me")], b"{}")
        .await
        .unwrap();
    let Some(Heard::Note(note)) = orders.next().await else {
        panic!("an order")
    };
    assert_eq!(
        (note.subject(), note.header("Who")),
        (&b"_tw.control.disconnect"[..], Some(&b"me"[..]))
    );
}

#[tokio::test]
async fn the_least_permissions_of_a_verified_stream_in_a_domain_allow_no_change() {
    let mut verified = spec("a");
    verified.manage = false;
    let text = permissions(&[verified.clone()], Some("hub"));
    assert!(text.contains("\"$JS.hub.API.STREAM.INFO.a\""), "{text}");
    assert!(!text.contains("UPDATE") && !text.contains("CREATE.a"), "{text}");
    assert!(text.contains("\"$JS.hub.API.$KV.revoked.>\""), "{text}");
}

#[tokio::test]
async fn a_missing_permission_is_named_at_once() {
    let text = permissions(&[spec("a")], None).replace("\"$JS.API.STREAM.MSG.GET.a\",", "");
    let server = Server::start_with(&text).await;
    let connection = connect(&server.config_of("edge")).await;
    provision(&connection, None, spec("a"))
        .waits_because(&["refused", "`$JS.API.STREAM.MSG.GET.a`", "permissions"])
        .await;
}

#[tokio::test]
async fn without_an_inbox_the_reason_names_the_inbox() {
    let text = permissions(&[spec("a")], None).replace("_INBOX_tw", "_INBOX_else");
    let server = Server::start_with(&text).await;
    let connection = connect(&server.config_of("edge")).await;
    let provisioned = provision(&connection, None, spec("a"));
    // Twice, because each attempt is told anew.
    for _ in 0..2 {
        eventually("a reason", async || {
            let (_, reason) = provisioned.streams.waiting()?;
            reason.filter(|reason| reason.contains("`_INBOX_tw."))
        })
        .await;
    }
}

#[tokio::test]
async fn whoever_may_publish_anywhere_is_told_that_it_could_forge() {
    let server = Server::start().await;
    let mut other = spec("b");
    other.manage = false;
    let specs = [spec("a"), other];
    let inspections = inspect(&server.config(), None, &specs, DEADLINE).await.unwrap();
    assert!(
        inspections.iter().all(|one| one.can_be_forged == Some(true)),
        "{inspections:?}"
    );
    let pending = Finding::Pending("does not exist: the edge will create it".to_owned());
    assert_eq!(inspections[0].findings, [pending]);
    assert!(
        matches!(&inspections[1].findings[..], [Finding::Refusal(why)] if why.contains("manage")),
        "{inspections:?}"
    );
    assert!(
        server.operator().await.info("a").await.get("error").is_some(),
        "nothing was created"
    );
}
