//! What travels between a client and the Tailwater edge: values, their two encodings, and nothing that does I/O.
//!
//! # A conversation, from hello to close
//!
//! 1. **Opening handshake.** The client asks for a WebSocket and may offer the subprotocols `tailwater.v1.json` and
//!    `tailwater.v1.msgpack`; the one that the server picks is the [`Codec`]. Without an offer it is JSON. A token may
//!    come along as a header, a cookie, a query parameter or a subprotocol of its own.
//! 2. **Hello.** As soon as the session is authenticated the server says [`connected`](push::Connected), before
//!    anything else. Where nobody is anonymous and the handshake brought no token, it waits for the client's
//!    [`connect`](command::Connect) first.
//! 3. **Commands.** The client sends [`Command`]s, one in a frame or several. A [`CommandMessage`] may carry an `id`;
//!    the [`Reply`] repeats it, and so does the [`error`](error::ErrorMessage) that comes instead. An
//!    [`ErrorCode`] says why and whether to retry. A message that cannot be read is an error too, and the connection
//!    stays.
//!
//!    ```
//!    use tailwater_protocol::{Codec, Command};
//!
//!    let frame = br#"{"type":"subscribe","id":1,"channel":"deployments.*"}"#;
//!    let commands = Codec::Json.decode_commands(frame);
//!    let Some(Ok(message)) = commands.first() else { panic!("a command") };
//!    assert_eq!(message.id, Some(1));
//!    assert_eq!(message.command.kind(), "subscribe");
//!
//!    let errors = Codec::Json.decode_commands(br#"{"type":"subscribe","id":2,"channel":"$SYS.>"}"#);
//!    let Some(Err(error)) = errors.first() else { panic!("an error") };
//!    assert_eq!((error.id, error.code.as_str()), (Some(2), "bad_message"));
//!    ```
//! 4. **Updates.** After [`subscribed`](reply::Subscribed) come, in this order, the last values (if `latest` asked for
//!    them), what is stored since the cursor (if `since` did), and from then on each publication as it arrives: an
//!    [`update`](push::Update) each. The edge encodes one as an [`UpdateRef`] into a [`Batch`], whose bytes are whole
//!    WebSocket [frames](frame) and the same for every client that gets this [`Encoding`]. A client that agreed to
//!    `permessage-deflate` (RFC 7692) gets those of namespaces that compress [compressed](deflate), if they are long.
//!
//!    ```
//!    use tailwater_protocol::{BatchBuilder, Channel, Codec, PayloadRef, UpdateRef};
//!
//!    let channel = Channel::new("deployments")?;
//!    let payload = PayloadRef::classify(br#"{"id":7,"state":"live"}"#);
//!    let mut builder = BatchBuilder::new(Codec::Json);
//!    builder.push(&UpdateRef::new(&channel, payload));
//!    let batch = builder.finish();
//!    let message = &batch.bytes()[2..];
//!    assert_eq!(message, br#"{"type":"update","channel":"deployments","payload":{"id":7,"state":"live"}}"#);
//!    # Ok::<(), tailwater_protocol::ChannelError>(())
//!    ```
//! 5. **Keeping the place.** On a durable channel the client keeps a [`Position`]: of an exact channel that of the last
//!    update, of a pattern that of the last [`position`](push::Push::Position). After a reconnect it subscribes
//!    [`since`](position::Since) that position and misses nothing.
//! 6. **Losses.** Whatever could not be delivered is announced by [`lost`](push::Lost), with a
//!    [reason](push::LostReason). There is no silent loss at the edge.
//! 7. **Leaving.** A server that is about to go says [`drain`](push::Push::Drain) with a time of its own for each
//!    client. Every connection ends in a close frame with a [`CloseCode`], which says whether and how to come back.
//!
//! A pattern is cut from subjects by NATS's own rules: see [`channel`]. The sizes that hold for everybody are in
//! [`limits`]. Test vectors of every message stand in the folder `vectors`.

pub mod channel;
pub mod command;
pub mod payload;
pub mod position;
pub mod timestamp;

pub mod message;
pub mod push;
pub mod reply;

pub mod close;
pub mod error;
pub mod limits;

pub mod batch;
pub mod codec;
pub mod deflate;
pub mod encoding;
pub mod event_stream;
pub mod frame;

mod text;

pub use batch::{Batch, BatchBuilder, Entry, subject_hash};
pub use channel::{Channel, ChannelError, Pattern};
pub use close::{CloseCode, Reconnect};
pub use codec::{Codec, DecodeError};
pub use command::{Command, CommandMessage, Key};
pub use encoding::Encoding;
pub use error::{ErrorCode, ErrorMessage, Retry, ServiceError};
pub use frame::Opcode;
pub use message::{ServerBody, ServerMessage};
pub use payload::{Payload, PayloadRef};
pub use position::{Epoch, Offset, Position, Since};
pub use push::{Connected, Deleted, Lost, LostReason, Push, Update, UpdateRef};
pub use reply::{Reply, Subscribed};
pub use timestamp::Timestamp;
