// The transport over WebSocket.

import type { ConnectOptions } from "./api.js";
import { json } from "./codec.js";
import type { OpenLink } from "./transport.js";

/** As much of a WebSocket as is needed; browsers, Deno, Bun, workers and Node 22 have it, for Node 20 `ws` does. */
export interface WebSocketLike {
  binaryType: string;
  onopen: unknown;
  onmessage: unknown;
  onclose: unknown;
  onerror: unknown;
  send(data: any): void;
  close(code?: number): void;
}

/** Opens a WebSocket. */
export type WebSocketConstructor = new (url: string, protocols: string[]) => WebSocketLike;

/** @internal Carries messages in frames of WebSockets. */
export function websocket(url: string, { WebSocket, tokenIn, codec = json }: ConnectOptions): OpenLink {
  const scope = globalThis as { WebSocket?: WebSocketConstructor; location?: { href: string } };
  const Socket = WebSocket ?? scope.WebSocket;
  if (!Socket) throw new TypeError("no WebSocket: pass one");
  const address = new URL(url, scope.location?.href);
  address.protocol = address.protocol.replace("http", "ws");

  return (token, events) => {
    const protocols = [codec.subprotocol];
    if (token && tokenIn === "query") address.searchParams.set("token", token);
    if (token && tokenIn === "subprotocol") protocols.push(`tailwater.bearer.${token}`);

    const socket = new Socket(address.href, protocols);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => events.opened();
    socket.onmessage = ({ data }: { data: string | ArrayBuffer }) => {
      let message;
      try {
        message = codec.decode(data);
      } catch {
        return events.ended(undefined, "unreadable");
      }
      events.message(message);
    };
    socket.onclose = ({ code, reason }: { code: number; reason: string }) => events.ended(code, reason);
    // What is wrong comes with the close; without a listener Node would end the process.
    socket.onerror = () => {};
    return {
      transport: "websocket",
      send: (command) => socket.send(codec.encode(command)),
      close() {
        socket.onopen = socket.onmessage = socket.onclose = null;
        socket.close(1000);
      },
    };
  };
}
