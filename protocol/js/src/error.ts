// What can go wrong, for whoever called.

import type { ErrorMessage } from "./messages.js";

/** Codes of the server's `error` messages, and four of the client's own. */
export type ErrorCode =
  | "bad_message"
  | "unknown_type"
  | "unauthenticated"
  | "token_expired"
  | "forbidden"
  | "no_such_channel"
  | "limit"
  | "rate_limited"
  | "unavailable"
  | "no_responders"
  | "service_error"
  | "timeout"
  | "too_large"
  | "not_durable"
  | "bad_cursor"
  | "internal"
  /** The connection ended before the answer came, and the command may not be repeated. */
  | "disconnected"
  /** The client was closed, or the server ended the session for good. */
  | "closed"
  /** A subscription with `whenFull: "close"` was not read fast enough. */
  | "overflow"
  /** What was kept of a subscription cannot be read. */
  | "storage"
  | (string & {});

/** Why a command or subscription failed. Program against `code`; the message is for people. */
export class TailwaterError extends Error {
  declare readonly code: ErrorCode;
  /** The channel it is about. */
  declare readonly channel: string | undefined;
  /** When to try again, in milliseconds. */
  declare readonly retryAfterMs: number | undefined;
  /** What the server said, if it was the server; with `service_error` also what the service behind a `request` said. */
  declare readonly answer: ErrorMessage | undefined;

  constructor(code: ErrorCode, message: string, channel?: string, retryAfterMs?: number, answer?: ErrorMessage) {
    super(message);
    Object.assign(this, { name: "TailwaterError", code, channel, retryAfterMs, answer });
  }
}
