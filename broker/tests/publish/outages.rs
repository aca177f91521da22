//! Answers that do not come, or are none.

use super::*;

/// Stops the server's process, and waits until it does nothing any more: a signal is not there at once.
async fn freeze(server: &Server) {
    server.signal(Signal::STOP);
    eventually("it stands still", async || {
        let mut socket = TcpStream::connect(server.address())
            .await
            .expect("the kernel accepts");
        let greeting = socket.read_u8();
        tokio::time::timeout(Duration::from_millis(100), greeting)
            .await
            .err()
    })
    .await;
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_an_error_at_the_deadline() {
    let (server, context) = stream_with(|_| {}).await;
    // It would find out by its pings.
    let mut patient = config(&[server.url()]);
    patient.ping_interval = Duration::from_secs(60);
    let publisher = publisher_of(&patient).await;
    assert_eq!(stored(&publisher, PLAIN).await, (1, false));
    freeze(&server).await;
    let attempt = Attempt {
        user: Some("ada"),
        key: Some("k"),
        within: Duration::from_millis(300),
        ..PLAIN
    };
    let begin = Instant::now();
    let error = refused(&publisher, attempt).await;
    assert!(matches!(&error, BrokerError::Unacknowledged { .. }), "{error}");
    assert!(error.to_string().contains("may or may not be stored"), "{error}");
    assert!(begin.elapsed() < Duration::from_secs(5));
    // It had been sent, as the error says; the key makes the retry safe.
    server.signal(Signal::CONT);
    eventually("the first attempt", async || {
        (count(&context).await == 2).then_some(())
    })
    .await;
    let retry = Attempt {
        within: DEADLINE,
        ..attempt
    };
    assert_eq!(stored(&publisher, retry).await, (2, true));
}

#[tokio::test]
async fn a_server_that_dies_meanwhile_is_an_error_at_once_and_the_key_finds_what_was_stored() {
    let (mut server, _) = stream_with(|_| {}).await;
    let mut patient = config(&[server.url()]);
    patient.ping_interval = Duration::from_secs(60);
    let publisher = publisher_of(&patient).await;
    let attempt = Attempt {
        user: Some("ada"),
        key: Some("k"),
        ..PLAIN
    };
    assert_eq!(stored(&publisher, attempt).await, (1, false));
    freeze(&server).await;
    let begin = Instant::now();
    let (error, ()) = tokio::join!(refused(&publisher, PLAIN), async {
        // Long enough for it to be on its way.
        let _ = tokio::time::timeout(Duration::from_millis(100), std::future::pending::<()>()).await;
        server.kill().await;
    });
    assert!(
        matches!(&error, BrokerError::AcknowledgementLost { .. }),
        "{error}"
    );
    assert!(error.to_string().contains("may or may not be stored"), "{error}");
    let mut state = publisher.connection().state();
    state
        .wait_for(|state| *state == ConnectionState::Away)
        .await
        .unwrap();
    let error = refused(&publisher, PLAIN).await;
    assert!(matches!(&error, BrokerError::Away), "{error}");
    assert!(begin.elapsed() < DEADLINE / 2);
    server.restart().await;
    publisher
        .connection()
        .wait_until_connected(DEADLINE)
        .await
        .unwrap();
    let again = eventually("the stream is back", async || {
        store(&publisher, attempt).await.ok()
    })
    .await;
    assert_eq!((again.offset.get(), again.duplicate), (1, true));
}

#[tokio::test]
async fn answers_that_are_none_cost_nothing_but_the_time_and_the_streams_own_word_counts() {
    let server = Server::start("").await;
    let client = stranger(&server).await;
    let mut others = listen(&client, "chat.>").await;
    let publisher = publisher(&server).await;
    let answers: [&[u8]; 7] = [
        b"",
        b"\xff\xfe",
        b"{}",
        b"[[[[",
        br#"{"stream":"OTHER","seq":1}"#,
        br#"{"stream":"CHAT","seq":-1}"#,
        br#"{"stream":"CHAT","seq":0}"#,
    ];
    for answer in answers {
        let attempt = Attempt {
            within: Duration::from_secs(1),
            ..PLAIN
        };
        let (error, ()) = tokio::join!(refused(&publisher, attempt), async {
            let reply = others.next().await.unwrap().reply.unwrap();
            client.publish(reply, Bytes::from_static(answer)).await.unwrap();
        });
        assert!(
            matches!(&error, BrokerError::StrangeAcknowledgement { subject, .. } if subject == "chat.a"),
            "{}: {error}",
            answer.escape_ascii()
        );
    }
    // Nobody answers at all.
    let attempt = Attempt {
        within: Duration::from_millis(50),
        ..PLAIN
    };
    let error = refused(&publisher, attempt).await;
    assert!(matches!(error, BrokerError::Unacknowledged { .. }), "{error}");
    others.next().await.unwrap();
    let huge = r#"{"stream":"CHAT","seq":9007199254740992}"#;
    let (error, ()) = tokio::join!(refused(&publisher, PLAIN), async {
        let reply = others.next().await.unwrap().reply.unwrap();
        client.publish(reply, huge.into()).await.unwrap();
    });
    assert!(matches!(error, BrokerError::OffsetTooLarge { .. }), "{error}");
    // A subscriber that answers everything, and the stream beside it.
    create(client.clone(), |_| {}).await;
    let babbler = tokio::spawn(async move {
        while let Some(message) = others.next().await {
            if let Some(reply) = message.reply {
                client.publish(reply, "ok".into()).await.unwrap();
            }
        }
    });
    for offset in 1..=20 {
        assert_eq!(stored(&publisher, PLAIN).await, (offset, false));
    }
    babbler.abort();
}
