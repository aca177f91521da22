// Tailwater for browsers, workers, Node, Deno and Bun: what happens on NATS arrives, once and in order, across reconnects.

import type { ConnectOptions, Tailwater } from "./api.js";
import { createClient } from "./client.js";
import { websocket } from "./websocket.js";

/**
 * Connects, and stays connected until `close()`. What is subscribed or sent before the connection stands waits for it.
 *
 * @param url `wss://host/ws`; in a page also `/ws`.
 */
export const connect = (url: string, options: ConnectOptions = {}): Tailwater =>
  createClient((options.transport ?? websocket)(url, options), options);

export { TailwaterError } from "./error.js";
export type * from "./api.js";
export type { Backoff } from "./backoff.js";
export type { Codec } from "./codec.js";
export type { ErrorCode } from "./error.js";
export type {
  ErrorMessage,
  History,
  HistoryOptions,
  Lost,
  LostReason,
  Position,
  Publication,
  Published,
  Since,
  Subscribed,
  Update,
} from "./messages.js";
export type { State } from "./state.js";
export type { Transport, TransportName } from "./transport.js";
export type { WebSocketConstructor, WebSocketLike } from "./websocket.js";
