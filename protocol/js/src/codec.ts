// How messages become bytes. JSON is built in; MessagePack is an entry of its own (`tailwater/msgpack`).

import type { Command, ServerMessage } from "./messages.js";

/** How messages travel. Use the default, or `msgpack` of `tailwater/msgpack`. */
export interface Codec {
  /** The WebSocket subprotocol that names it. */
  readonly subprotocol: string;
  /** @internal */
  encode(command: Command): string | Uint8Array<ArrayBuffer>;
  /** @internal */
  decode(data: string | ArrayBuffer): ServerMessage;
}

/** @internal JSON in text frames. Bytes travel as `payload_b64`. */
export const json: Codec = {
  subprotocol: "tailwater.v1.json",
  encode(command) {
    const { payload } = command as { payload?: unknown };
    return JSON.stringify(
      payload instanceof Uint8Array ? { ...command, payload: undefined, payload_b64: toBase64(payload) } : command,
    );
  },
  decode: (data) => fromJson(JSON.parse(data as string)),
};

/** @internal A message as its JSON has it, with its bytes read. */
export function fromJson(message: any): ServerMessage {
  readBytes(message);
  message.publications?.forEach(readBytes);
  return message;
}

function readBytes(holder: { payload?: unknown; payload_b64?: string }): void {
  if (holder.payload_b64 === undefined) return;
  holder.payload = Uint8Array.from(atob(holder.payload_b64), (char) => char.charCodeAt(0));
  delete holder.payload_b64;
}

const toBase64 = (bytes: Uint8Array): string =>
  btoa(bytes.reduce((text, byte) => text + String.fromCharCode(byte), ""));
