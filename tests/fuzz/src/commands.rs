//! What a client sends, in both codecs: no panic, an answer to every frame, and a command that was read means the same
//! when it is written again.

use tailwater_protocol::codec::Codec;
use tailwater_protocol::limits::MAX_COMMANDS_PER_FRAME;

/// Feeds it one input.
pub(crate) fn feed(body: &[u8]) {
    for codec in Codec::ALL {
        let commands = codec.decode_commands(body);
        assert!(!commands.is_empty() && commands.len() <= MAX_COMMANDS_PER_FRAME);
        for command in commands.into_iter().flatten() {
            let written = codec.encode_command(&command);
            assert_eq!(
                codec.decode_commands(&written),
                [Ok(command)],
                "{codec:?} {}",
                written.escape_ascii()
            );
        }
        // A client of ours reads what a server sends.
        let _ = codec.decode_server(body);
    }
}
