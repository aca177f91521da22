// MessagePack in binary frames: smaller, and bytes travel as they are.

import { decode, encode } from "@msgpack/msgpack";
import type { Codec } from "./codec.js";
import type { ServerMessage } from "./messages.js";

/** `connect(url, { codec: msgpack })`. Needs the package `@msgpack/msgpack`. */
export const msgpack: Codec = {
  subprotocol: "tailwater.v1.msgpack",
  encode: (command) => encode(command, { ignoreUndefined: true }),
  decode: (data) => decode(data as ArrayBuffer) as ServerMessage,
};
