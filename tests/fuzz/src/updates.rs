//! What services publish, of any bytes: an update that every client can read, in both codecs.

use serde_json::value::RawValue;
use tailwater_protocol::channel::Channel;
use tailwater_protocol::codec::Codec;
use tailwater_protocol::message::ServerBody;
use tailwater_protocol::payload::PayloadRef;
use tailwater_protocol::push::{Push, UpdateRef};

/// Feeds it one input.
pub(crate) fn feed(published: &[u8]) {
    let channel = Channel::new("deployments.42").expect("a channel");
    let payload = PayloadRef::classify(published);
    let update = UpdateRef::new(&channel, payload);
    for codec in Codec::ALL {
        let mut body = Vec::new();
        codec.encode_update(&update, &mut body);
        let read = codec.decode_server(&body);
        let messages = read.unwrap_or_else(|error| panic!("{error}: {codec:?} {}", body.escape_ascii()));
        let [message] = &messages[..] else {
            panic!("{} messages", messages.len());
        };
        let ServerBody::Push(Push::Update(update)) = &message.body else {
            panic!("{message:?}");
        };
        assert_eq!(update.channel, channel);
        if codec == Codec::Json {
            let value = payload.to_payload().expect("it was told apart above");
            assert_eq!(update.payload, value, "{}", body.escape_ascii());
            let strict: Result<&RawValue, _> = serde_json::from_slice(&body);
            assert!(strict.is_ok(), "{strict:?}: {}", body.escape_ascii());
        }
    }
}
