//! Which sessions a walk meets.

use std::net::SocketAddr;

use tailwater_protocol::codec::Codec;
use tailwater_protocol::encoding::Encoding;
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::control::revocations::{Revoked, Terms};
use crate::outbox::Outbox;
use crate::socket::Socket;

/// Sessions by their ids, from 1 on, each with the user, the token and when that was issued; each in the reach of another
/// turn of a walk.
async fn sessions(identities: &[(&str, &str, u64)]) -> Sessions {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let encoding = Encoding::plain(Codec::Json);
    let mut slab = Slab::new();
    let session = async |id, identity: Identity| {
        let socket = TcpStream::connect(address).await.expect("it listens");
        let remote_addr = SocketAddr::from(([192, 0, 2, 1], 5));
        Rc::new(Session::new(
            id,
            encoding,
            remote_addr,
            None,
            Socket::Plain(socket),
            Rc::new(identity),
            Outbox::default(),
        ))
    };
    let between = session(u64::MAX, Identity::default()).await;
    for (id, (user, token_id, issued_at)) in (1..).zip(identities) {
        let identity = Identity {
            user: Some((*user).into()),
            token_id: Some((*token_id).into()),
            issued_at: Some(*issued_at),
            ..Identity::default()
        };
        slab.insert(session(id, identity).await);
        for _ in 0..TURN {
            slab.insert(between.clone());
        }
    }
    slab.insert(session(1000, Identity::default()).await);
    slab.retain(|_, session| session.id() != u64::MAX);
    RefCell::new(slab)
}

const CROWD: &[(&str, &str, u64)] = &[
    ("ann", "t1", 10),
    ("bob", "t2", 10),
    ("ann", "t3", 20),
    ("ann", "t4", 30),
];

fn ended(sessions: &Sessions) -> Vec<u64> {
    let sessions = sessions.borrow();
    let ended = sessions.iter().filter(|(_, session)| session.is_ending());
    ended.map(|(_, session)| session.id()).collect()
}

#[tokio::test]
async fn exactly_the_sessions_that_are_meant_are_closed() {
    let user = |issued_before| Selector::User {
        user: "ann".into(),
        issued_before,
    };
    for (selector, expected) in [
        (user(None), &[1, 3, 4][..]),
        (user(Some(20)), &[1]),
        (user(Some(31)), &[1, 3, 4]),
        (Selector::Token("t2".into()), &[2]),
        (Selector::Session(1000), &[1000]),
        (Selector::Session(5), &[]),
    ] {
        let sessions = sessions(CROWD).await;
        let whom = Whom::Selected(selector);
        let closed = close(&sessions, &whom, CloseCode::Disconnected, None).await;
        assert_eq!(ended(&sessions), expected, "{whom:?}");
        assert_eq!(closed.sessions, expected.len());
        // Once only.
        let again = close(&sessions, &whom, CloseCode::Disconnected, None).await;
        assert_eq!(again.sessions, 0);
    }
}

#[tokio::test]
async fn what_the_bucket_revokes_is_closed_wherever_it_is() {
    let sessions = sessions(CROWD).await;
    let revocations = Revocations::default();
    let terms = |issued_before| Terms {
        issued_before,
        forget_at: u64::MAX,
    };
    let entries = [
        (Revoked::User("ann".into()), Some(terms(20))),
        (Revoked::Token("t4".into()), Some(terms(0))),
    ];
    assert!(revocations.replace(entries));
    let closed = close(&sessions, &Whom::Revoked(revocations), CloseCode::Revoked, None).await;
    assert_eq!((ended(&sessions), closed.sessions), (vec![1, 4], 2));
    assert_eq!(closed.token_id.as_deref(), Some("t4"));
}

#[tokio::test]
async fn a_page_has_the_smallest_ids_of_a_user_and_nobody_who_is_leaving() {
    let sessions = sessions(CROWD).await;
    let ids = async |user: Option<&str>, from, limit| -> Vec<String> {
        let filter = Filter {
            user: user.map(Into::into),
            from,
            limit,
            channels: 1,
        };
        let page = list(&sessions, &filter).await;
        page.into_iter().map(|session| session.id).collect()
    };
    let hex = |ids: &[u64]| -> Vec<String> { ids.iter().map(|id| format!("{id:016x}")).collect() };
    assert_eq!(ids(None, 0, 10).await, hex(&[1, 2, 3, 4, 1000]));
    assert_eq!(ids(None, 2, 2).await, hex(&[2, 3]));
    assert_eq!(ids(Some("ann"), 2, 10).await, hex(&[3, 4]));
    assert_eq!(ids(Some("eve"), 0, 10).await, hex(&[]));
    let token = Whom::Selected(Selector::Token("t3".into()));
    close(&sessions, &token, CloseCode::Revoked, None).await;
    assert_eq!(ids(Some("ann"), 0, 10).await, hex(&[1, 4]));
}
