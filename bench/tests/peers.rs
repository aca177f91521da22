//! That peers can be compared with: each is started as a comparison starts it, and delivers every publication to every
//! client once and in order.

use std::process::Command;

#[test]
fn the_floor_and_nats_server_deliver_everything_once_and_in_order() {
    assert_delivers(&["floor", "nats-server"]);
}

#[test]
#[ignore = "installs packages of npm where they are not installed yet, 100 MB"]
fn peers_on_javascript_deliver_everything_once_and_in_order() {
    assert_delivers(&["ws-node", "uws", "bun"]);
}

#[test]
#[ignore = "compiles Centrifugo's library where it is not installed yet, which needs Go"]
fn centrifuge_delivers_everything_once_and_in_order() {
    assert_delivers(&["centrifuge"]);
}

#[test]
#[ignore = "compiles sockudo where it is not installed yet, which takes many minutes and needs protoc"]
fn sockudo_delivers_everything_once_and_in_order() {
    assert_delivers(&["sockudo"]);
}

#[test]
#[ignore = "compiles Centrifugo where it is not installed yet, which needs Go and a module proxy that has it"]
fn centrifugo_delivers_everything_once_and_in_order() {
    assert_delivers(&["centrifugo"]);
}

/// Every step of this has a deadline of its own.
fn assert_delivers(peers: &[&str]) {
    let output = Command::new(env!("CARGO_BIN_EXE_tailwater-bench"))
        .arg("peers")
        .args(peers)
        .output()
        .expect("the program runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}
