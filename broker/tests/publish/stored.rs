//! What is stored: its offset, its key, its headers.

use super::*;

#[tokio::test]
async fn a_publication_is_acknowledged_with_the_offset_at_which_it_is_stored() {
    let (server, context) = stream_with(|_| {}).await;
    let publisher = publisher(&server).await;
    for offset in 1..=3 {
        assert_eq!(stored(&publisher, PLAIN).await, (offset, false));
    }
    let stream = context.get_stream("CHAT").await.unwrap();
    let message = stream.get_raw_message(2).await.unwrap();
    assert_eq!(
        (message.subject.as_str(), &message.payload[..]),
        ("chat.a", &b"hello"[..])
    );
    assert!(message.headers.get(USER_HEADER).is_none() && message.headers.get("Nats-Msg-Id").is_none());
}

#[tokio::test]
async fn many_publications_at_once_each_have_their_own_offset() {
    let (server, context) = stream_with(|_| {}).await;
    let publisher = publisher(&server).await;
    let channels: Vec<_> = (0..500).map(|number| format!("chat.{number}")).collect();
    let attempts = channels.iter().map(|channel| {
        let attempt = Attempt {
            channel,
            payload: channel.as_bytes(),
            ..PLAIN
        };
        stored(&publisher, attempt)
    });
    let offsets = futures_util::future::join_all(attempts).await;
    let stream = context.get_stream("CHAT").await.unwrap();
    for (channel, (offset, duplicate)) in channels.iter().zip(offsets) {
        let message = stream.get_raw_message(offset).await.unwrap();
        assert_eq!((message.subject.as_str(), duplicate), (channel.as_str(), false));
    }
}

#[tokio::test]
async fn a_key_makes_a_retry_one_publication_over_any_connection() {
    let (server, context) = stream_with(|_| {}).await;
    let (first, second) = (publisher(&server).await, publisher(&server).await);
    let attempt = Attempt {
        user: Some("ada"),
        key: Some("k-1"),
        ..PLAIN
    };
    assert_eq!(stored(&first, PLAIN).await, (1, false));
    assert_eq!(stored(&first, attempt).await, (2, false));
    assert_eq!(stored(&first, PLAIN).await, (3, false));
    assert_eq!(stored(&first, attempt).await, (2, true));
    assert_eq!(stored(&second, attempt).await, (2, true));
    assert_eq!(count(&context).await, 3);
}

#[tokio::test]
async fn the_same_key_of_another_user_or_on_another_channel_is_another_publication() {
    let (server, _) = stream_with(|_| {}).await;
    let publisher = publisher(&server).await;
    let others = [
        (Some("ada"), "chat.a"),
        (Some("bob"), "chat.a"),
        (None, "chat.a"),
        (Some("ada"), "chat.b"),
        (Some("adachat"), "chat.a"),
        (Some("ad"), "chat.a"),
    ];
    for (offset, (user, channel)) in (1..).zip(others) {
        let attempt = Attempt {
            user,
            channel,
            key: Some("k"),
            ..PLAIN
        };
        assert_eq!(
            stored(&publisher, attempt).await,
            (offset, false),
            "{user:?} {channel}"
        );
    }
    let mine = Attempt {
        user: Some("bob"),
        key: Some("k"),
        ..PLAIN
    };
    assert_eq!(stored(&publisher, mine).await, (2, true));
}

#[tokio::test]
async fn the_header_names_the_user_and_no_name_can_reach_beyond_it() {
    let (server, context) = stream_with(|config| config.allow_rollup = true).await;
    let publisher = publisher(&server).await;
    let stream = context.get_stream("CHAT").await.unwrap();
    let longest = "x".repeat(MAX_USER_BYTES);
    let names = [
        ("ada", "ada"),
        ("x\r\nNats-Rollup: all", "x%0D%0ANats-Rollup:%20all"),
        ("\r\n\r\nbody", "%0D%0A%0D%0Abody"),
        (" é ", "%20%C3%A9%20"),
        (&longest, &longest),
    ];
    for (number, (user, header)) in (1..).zip(names) {
        let attempt = Attempt {
            user: Some(user),
            key: Some("k"),
            ..PLAIN
        };
        assert_eq!(stored(&publisher, attempt).await, (number, false));
        let message = stream.get_raw_message(number).await.unwrap();
        assert_eq!(message.headers.get(USER_HEADER).unwrap().as_str(), header);
        assert_eq!(message.headers.len(), 3, "{:?}", message.headers);
        assert_eq!(&message.payload[..], b"hello");
    }
    assert_eq!(count(&context).await, 5, "nothing was rolled up");
    for user in ["", &"x".repeat(MAX_USER_BYTES + 1)] {
        let attempt = Attempt {
            user: Some(user),
            ..PLAIN
        };
        assert!(matches!(
            refused(&publisher, attempt).await,
            BrokerError::Malformed(_)
        ));
    }
}

#[tokio::test]
async fn a_live_publication_carries_its_user_too() {
    let server = Server::start("").await;
    let mut subscriber = listen(&stranger(&server).await, "eu.chat.>").await;
    let publisher = publisher(&server).await;
    let channel = Channel::new("chat.a").unwrap();
    for user in [None, Some("ada\n")] {
        let publication = ClientPublication {
            channel: &channel,
            payload: "hi".into(),
            user,
            key: None,
        };
        let published = publisher
            .publish_live(&SubjectPrefix::new("eu"), publication)
            .await;
        published.unwrap();
    }
    let anonymous = subscriber.next().await.unwrap();
    assert_eq!(anonymous.subject.as_str(), "eu.chat.a");
    assert!(anonymous.headers.is_none());
    let headers = subscriber.next().await.unwrap().headers.unwrap();
    assert_eq!(headers.get(USER_HEADER).unwrap().as_str(), "ada%0A");
}
