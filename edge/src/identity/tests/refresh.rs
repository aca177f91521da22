//! Keys that are fetched: replaced while the edge runs, asked for once by all who need them, never too often, and kept
//! while their issuer is away. Against a real server.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::key_server::{Answer, KeyServer, from, set};
use super::*;
use crate::identity::issuer::Pace;
use crate::identity::verifier::Owner;

const MINUTE: Duration = Duration::from_secs(60);

/// Tokens can bring an attempt about at any time.
const EAGER: Pace = Pace {
    deadline: Duration::from_secs(5),
    cool_down: Duration::ZERO,
    first_retry: MINUTE,
};

fn token(pair: &Pair, id: &str) -> String {
    pair.signer().sign(&ann(json!({})), Some(id)).expect("a token")
}

fn start(issuer: IssuerConfig, pace: Pace) -> (Verifier, Owner) {
    Verifier::paced(&config(vec![issuer]), pace)
}

/// Tries until it is so, fifteen seconds at most.
async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let mut tick = tokio::time::interval(Duration::from_millis(10));
    for _ in 0..1500 {
        if condition().await {
            return;
        }
        tick.tick().await;
    }
    panic!("{what}: not within fifteen seconds");
}

#[tokio::test]
async fn a_new_key_is_fetched_once_for_all_who_wait_for_it() {
    let (old, new) = (p256(), p256());
    let server = KeyServer::start(set(&[("old", &old)])).await;
    let (verifier, _owner) = start(from(&server), EAGER);
    assert!(verifier.verify(&token(&old, "old")).await.is_ok());
    assert_eq!(server.requests(), 1);

    server.set(set(&[("old", &old), ("new", &new)]));
    server.hold();
    let by_new = token(&new, "new");
    let waiting = AtomicUsize::new(0);
    let many = (0..200).map(|_| async {
        waiting.fetch_add(1, Ordering::SeqCst);
        verifier.verify(&by_new).await
    });
    let let_go = async {
        eventually("all wait", async || {
            waiting.load(Ordering::SeqCst) == 200 && server.requests() == 2
        })
        .await;
        // Who is known does not wait for who is not.
        assert!(verifier.verify(&token(&old, "old")).await.is_ok());
        server.release();
    };
    let (verified, ()) = tokio::join!(futures_util::future::join_all(many), let_go);
    assert!(verified.iter().all(Result::is_ok));
    assert_eq!(server.requests(), 2);
}

#[tokio::test]
async fn forged_key_names_reach_the_issuer_only_as_often_as_the_cool_down_allows() {
    let (known, stranger) = (p256(), p256());
    let server = KeyServer::start(set(&[("known", &known)])).await;
    let pace = Pace {
        cool_down: MINUTE,
        ..EAGER
    };
    let (verifier, _owner) = start(from(&server), pace);
    for number in 0..500 {
        let forged = token(&stranger, &format!("forged-{number}"));
        refused(verifier.verify(&forged).await, &TokenError::UnknownKey);
    }
    assert!(verifier.verify(&token(&known, "known")).await.is_ok());
    assert_eq!(server.requests(), 1);
}

#[tokio::test]
async fn the_issuer_is_asked_again_once_the_cool_down_is_over() {
    let (old, new) = (p256(), p256());
    let server = KeyServer::start(set(&[("old", &old)])).await;
    let pace = Pace {
        cool_down: Duration::from_secs(1),
        ..EAGER
    };
    let (verifier, _owner) = start(from(&server), pace);
    refused(
        verifier.verify(&token(&new, "new")).await,
        &TokenError::UnknownKey,
    );
    server.set(set(&[("new", &new)]));
    refused(
        verifier.verify(&token(&new, "new")).await,
        &TokenError::UnknownKey,
    );
    assert_eq!(server.requests(), 1);
    eventually("the new key counts", async || {
        verifier.verify(&token(&new, "new")).await.is_ok()
    })
    .await;
    assert_eq!(server.requests(), 2);
    // The old key is gone with it.
    refused(
        verifier.verify(&token(&old, "old")).await,
        &TokenError::UnknownKey,
    );
}

#[tokio::test]
async fn keys_are_replaced_in_the_background_without_any_token() {
    let (old, new) = (ed25519(), ed25519());
    let server = KeyServer::start(set(&[("key", &old)])).await;
    let mut issuer = from(&server);
    issuer.refresh = Duration::from_millis(50);
    let (verifier, _owner) = start(issuer, Pace::DEFAULT);
    assert!(verifier.verify(&token(&old, "key")).await.is_ok());
    server.set(set(&[("key", &new)]));
    eventually("the new key counts", async || {
        verifier.verify(&token(&new, "key")).await.is_ok()
    })
    .await;
    refused(verifier.verify(&token(&old, "key")).await, &TokenError::Signature);
}

#[tokio::test]
async fn known_keys_stay_in_use_while_their_issuer_is_away_but_not_for_ever() {
    let pair = p256();
    let server = KeyServer::start(set(&[("key", &pair)])).await;
    let mut patient = from(&server);
    patient.refresh = Duration::from_millis(20);
    let mut impatient = patient.clone();
    impatient.max_stale = Duration::from_millis(500);
    let pace = Pace {
        first_retry: Duration::from_millis(20),
        ..Pace::DEFAULT
    };
    let (patient, _owner) = start(patient, pace);
    let (impatient, _other) = start(impatient, pace);
    let by_key = token(&pair, "key");
    assert!(patient.verify(&by_key).await.is_ok());
    eventually("the keys came", async || impatient.verify(&by_key).await.is_ok()).await;
    for broken in [
        Answer::Raw("HTTP/1.1 503 Unavailable\r\ncontent-length: 0\r\n\r\n".to_owned()),
        Answer::Body(b"<html>".to_vec()),
        Answer::from(json!({"keys": []})),
    ] {
        server.set(broken);
        let before = server.requests();
        eventually("it was asked", async || server.requests() > before + 4).await;
        assert!(patient.verify(&by_key).await.is_ok());
    }
    eventually("the keys are too old", async || {
        impatient
            .verify(&by_key)
            .await
            .is_err_and(|error| error.is_temporary())
    })
    .await;
    // A key that nobody knows may be one that could not be fetched.
    refused(
        patient.verify(&token(&pair, "other")).await,
        &TokenError::KeysUnavailable,
    );
    server.set(set(&[("key", &pair)]));
    eventually("the keys are back", async || {
        impatient.verify(&by_key).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn an_issuer_that_is_away_at_the_start_is_waited_for_but_not_by_clients() {
    let pair = p256();
    let server = KeyServer::start(Answer::Silence).await;
    let pace = Pace {
        deadline: Duration::from_millis(100),
        cool_down: MINUTE,
        first_retry: Duration::from_millis(10),
    };
    let (verifier, _owner) = start(from(&server), pace);
    refused(
        verifier.verify(&token(&pair, "key")).await,
        &TokenError::KeysUnavailable,
    );
    server.set(set(&[("key", &pair)]));
    eventually("the keys came", async || {
        verifier.verify(&token(&pair, "key")).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn the_tasks_end_with_their_owner_and_the_keys_known_last_still_count() {
    let pair = p256();
    let server = KeyServer::start(set(&[("key", &pair)])).await;
    let mut issuer = from(&server);
    issuer.refresh = Duration::from_millis(10);
    let (verifier, owner) = start(issuer, EAGER);
    assert!(verifier.verify(&token(&pair, "key")).await.is_ok());
    drop(owner);
    refused(
        verifier.verify(&token(&pair, "other")).await,
        &TokenError::KeysUnavailable,
    );
    let after = server.requests();
    assert!(verifier.verify(&token(&pair, "key")).await.is_ok());
    assert_eq!(server.requests(), after);
}

#[tokio::test]
async fn a_secret_that_is_replaced_in_its_file_is_read_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("secret");
    let write = |text: &str| std::fs::write(&path, text).expect("it takes text");
    let (old, new) = (
        random_secret().expect("a secret"),
        random_secret().expect("a secret"),
    );
    write(&format!("{old}\n"));
    let mut issuer = issuer("one", KeySource::Secret(SecretSource::File(path.clone())));
    issuer.refresh = Duration::from_millis(20);
    let sign = |issuer: &IssuerConfig| {
        Signer::from_issuer(issuer)
            .expect("a secret")
            .sign(&ann(json!({})), None)
            .expect("a token")
    };
    let by_old = sign(&issuer);
    let (verifier, _owner) = start(issuer.clone(), Pace::DEFAULT);
    assert!(verifier.verify(&by_old).await.is_ok());
    write("too short");
    write(&new);
    let by_new = sign(&issuer);
    eventually("the new secret counts", async || {
        verifier.verify(&by_new).await.is_ok()
    })
    .await;
    refused(verifier.verify(&by_old).await, &TokenError::Signature);
}
