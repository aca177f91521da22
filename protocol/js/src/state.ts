// What the connection is doing, for whoever shows it.

import type { TailwaterError } from "./error.js";
import type { TransportName } from "./transport.js";

/** What the connection is doing. */
export type State =
  /** A connection is being opened. `attempt` counts from 0 and is reset by a connection that lasts. */
  | { name: "connecting"; attempt: number }
  /**
   * Messages arrive. Over WebSocket `session` and `user` are those of the connection; over HTTP those of the first request
   * for channels, and `""` and nothing before there is one.
   */
  | { name: "connected"; session: string; user: string | undefined; transport: TransportName }
  /** There is no connection; the next attempt comes in `delayMs`. `code` is that of the close, 0 if there was none. */
  | { name: "waiting"; attempt: number; delayMs: number; code: number; reason: string | undefined }
  /** For good: by `close()`, or with the `error` that ended it. */
  | { name: "closed"; error: TailwaterError | undefined };
