// What the connection is doing, for whoever shows it.

import type { TailwaterError } from "./error.js";

/** What the connection is doing. */
export type State =
  /** A socket is being opened. `attempt` counts from 0 and is reset by a connection that lasts. */
  | { name: "connecting"; attempt: number }
  /** The session stands. */
  | { name: "connected"; session: string; user: string | undefined }
  /** There is no connection; the next attempt comes in `delayMs`. `code` is that of the close, 0 if there was none. */
  | { name: "waiting"; attempt: number; delayMs: number; code: number; reason: string | undefined }
  /** For good: by `close()`, or with the `error` that ended it. */
  | { name: "closed"; error: TailwaterError | undefined };
