//! What NATS refuses, each with its own error and at once.

use super::*;

#[tokio::test]
async fn a_full_stream_refuses_and_says_which_limit_it_is() {
    for (messages, bytes, per_channel, says) in [
        (1, -1, -1, "maximum messages exceeded"),
        (-1, 100, -1, "maximum bytes exceeded"),
        (-1, -1, 1, "maximum messages per subject exceeded"),
    ] {
        let (server, context) = stream_with(|config| {
            config.discard = stream::DiscardPolicy::New;
            config.max_messages = messages;
            config.max_bytes = bytes;
            config.max_messages_per_subject = per_channel;
            config.discard_new_per_subject = per_channel > 0;
        })
        .await;
        let publisher = publisher(&server).await;
        assert_eq!(stored(&publisher, PLAIN).await, (1, false));
        let error = refused(
            &publisher,
            Attempt {
                payload: &[0; 90],
                ..PLAIN
            },
        )
        .await;
        assert!(
            matches!(&error, BrokerError::StreamFull { stream, reason } if stream == "CHAT" && reason == says),
            "{error}"
        );
        assert_eq!(count(&context).await, 1);
    }
}

#[tokio::test]
async fn only_the_stream_of_the_namespace_may_store_it() {
    let (server, context) = stream_with(|config| config.name = "OTHER".to_owned()).await;
    let publisher = publisher(&server).await;
    let error = refused(&publisher, PLAIN).await;
    assert!(
        matches!(&error, BrokerError::WrongStream { stream, subject } if stream == "CHAT" && subject == "chat.a"),
        "{error}"
    );
    let mut other = context.get_stream("OTHER").await.unwrap();
    assert_eq!(other.info().await.unwrap().state.messages, 0);
}

#[tokio::test]
async fn without_a_stream_or_without_jetstream_the_refusal_comes_at_once() {
    let with = Server::start("").await;
    // The account of the publications has none.
    let without =
        Server::start("accounts { PLAIN { users: [ { user: edge, password: p } ] } }\nno_auth_user: edge\n")
            .await;
    for server in [&with, &without] {
        let publisher = publisher(server).await;
        let begin = Instant::now();
        let error = refused(&publisher, PLAIN).await;
        assert!(
            matches!(&error, BrokerError::StreamAway { stream, subject } if stream == "CHAT" && subject == "chat.a"),
            "{error}"
        );
        assert!(begin.elapsed() < DEADLINE / 2);
    }
}

#[tokio::test]
async fn a_sealed_stream_refuses_with_its_reason_and_code() {
    let (server, context) = stream_with(|_| {}).await;
    let mut config = context
        .get_stream("CHAT")
        .await
        .unwrap()
        .cached_info()
        .config
        .clone();
    config.sealed = true;
    context.update_stream(config).await.unwrap();
    let error = refused(&publisher(&server).await, PLAIN).await;
    assert!(
        matches!(&error, BrokerError::StreamRefused { code: 10109, reason, .. } if reason.contains("sealed")),
        "{error}"
    );
}

#[tokio::test]
async fn what_we_may_not_publish_is_refused_at_once_and_harms_nobody_else() {
    let server = Server::start(&users("publish: [\"chat.open\"], subscribe: [\"_INBOX_edge.>\"]")).await;
    let options = async_nats::ConnectOptions::with_user_and_password("admin".into(), "p".into());
    create(options.connect(server.url()).await.unwrap(), |_| {}).await;
    let publisher = publisher_of(&as_user(&server, "edge")).await;
    let open = Attempt {
        channel: "chat.open",
        ..PLAIN
    };
    let begin = Instant::now();
    let (error, allowed) = tokio::join!(refused(&publisher, PLAIN), stored(&publisher, open));
    assert!(
        matches!(&error, BrokerError::Refused { subject } if subject == "chat.a"),
        "{error}"
    );
    assert_eq!(allowed, (1, false));
    assert!(begin.elapsed() < DEADLINE / 2);
}

#[tokio::test]
async fn without_an_inbox_a_publication_fails_at_once_and_says_why_until_it_is_allowed() {
    let server = Server::start(&users("publish: [\"chat.>\"], subscribe: [\"live.>\"]")).await;
    let options = async_nats::ConnectOptions::with_user_and_password("admin".into(), "p".into());
    let context = create(options.connect(server.url()).await.unwrap(), |_| {}).await;
    let publisher = publisher_of(&as_user(&server, "edge")).await;
    let begin = Instant::now();
    for _ in 0..2 {
        let error = refused(&publisher, PLAIN).await;
        assert!(
            matches!(&error, BrokerError::InboxRefused { subject } if subject.starts_with("_INBOX_edge.")),
            "{error}"
        );
    }
    assert!(begin.elapsed() < DEADLINE / 2);
    assert!(
        count(&context).await <= 1,
        "what cannot be acknowledged is not sent"
    );
    server.reload(&users(
        "publish: [\"chat.>\"], subscribe: [\"live.>\", \"_INBOX_edge.>\"]",
    ));
    eventually("the inbox is allowed", async || {
        store(&publisher, PLAIN).await.ok()
    })
    .await;
}

#[tokio::test]
async fn what_is_too_large_for_the_server_or_for_the_stream_is_not_stored() {
    let server = Server::start("max_payload: 1000").await;
    let context = create(stranger(&server).await, |config| config.max_message_size = 500).await;
    let publisher = publisher(&server).await;
    for (bytes, user) in [(1001, None), (980, Some("a user name that does not fit"))] {
        let attempt = Attempt {
            payload: &vec![b'x'; bytes],
            user,
            ..PLAIN
        };
        let error = refused(&publisher, attempt).await;
        assert!(
            matches!(&error, BrokerError::TooLarge { size, limit: 1000 } if *size > 1000),
            "{error}"
        );
    }
    let attempt = Attempt {
        payload: &[b'x'; 600],
        ..PLAIN
    };
    let error = refused(&publisher, attempt).await;
    assert!(
        matches!(&error, BrokerError::TooLargeForStream { stream } if stream == "CHAT"),
        "{error}"
    );
    assert_eq!(stored(&publisher, PLAIN).await, (1, false));
    assert_eq!(count(&context).await, 1);
}
