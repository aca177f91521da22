// What travels between client and edge, version 1 of the protocol, as values: no codec's form and no I/O.
// `protocol/vectors` has every message.

/** A place in a durable channel. The epoch says which life of the stream the offset counts in. */
export interface Position {
  offset: number;
  epoch: string;
}

/** Where a subscription or a page of history starts. */
export type Since = Position | "beginning" | { last: number } | { time: string };

/** A publication on a channel. */
export interface Update<T = unknown> {
  type: "update";
  /** The channel as subscribed, which may be a pattern. */
  channel: string;
  /** The concrete channel, if `channel` is a pattern. */
  subject?: string;
  /** What was published: JSON as it is, other text as a string, other bytes as a `Uint8Array`; `""` if `deleted` is set. */
  payload: T;
  /** Where it is stored. Durable channels only. */
  offset?: number;
  /** When it was stored: RFC 3339, UTC. Durable channels only. */
  time?: string;
  /** The publisher's W3C `traceparent`. */
  trace?: string;
  /** The stream dropped the subject's last value, for this reason. */
  deleted?: "max_age" | "purge";
}

/** Why publications are missing. A newer server may have other reasons. */
export type LostReason =
  /** Durable: the limits of the stream have removed them. On a pattern it may say more than was lost. */
  | "trimmed"
  /** Durable: the stream began anew; delivery goes on from the oldest it has. */
  | "epoch_changed"
  /** Live: the edge could not keep up. */
  | "edge_overloaded"
  /** Live: this client read too slowly. Also where the bound of an iterator dropped the oldest. */
  | "slow_consumer"
  /** Live: the edge had no connection to NATS. */
  | "nats_disconnected"
  /** NATS no longer lets the edge subscribe. */
  | "nats_refused"
  /** A publication was larger than the edge passes on. */
  | "too_large"
  /** Live: this client was not connected. Also if the last values of `latest` had not all come by then. Said by the client. */
  | "disconnected"
  | (string & {});

/** Publications are missing at this place. */
export interface Lost {
  type: "lost";
  channel: string;
  /** The first offset that may be missing. */
  from?: number;
  /** The last offset that may be missing. */
  to?: number;
  /** How many are missing, if that is known. */
  count?: number;
  reason: LostReason;
}

/** The subscription stands. */
export interface Subscribed {
  type: "subscribed";
  id?: number;
  channel: string;
  /** The channel keeps what it carries, so nothing is missed while there is no connection. */
  durable: boolean;
  offset?: number;
  epoch?: string;
  /** After a resume: everything since then follows. If false, `lost` says what is gone. */
  recovered?: boolean;
}

/** One stored publication. */
export type Publication<T = unknown> = Omit<Update<T>, "type" | "channel" | "offset"> & { offset: number };

/** A page of what a durable channel stores. */
export interface History<T = unknown> {
  type: "history";
  id?: number;
  channel: string;
  /** The epoch of every offset in this page. */
  epoch: string;
  /** As far as the stream had come: behind the newest page, subscribe `since` `{offset: upto, epoch}`. */
  upto: number;
  publications: Publication<T>[];
  /** Go on here, with `epoch`: as `before` (newest first) or `since` (oldest first). Absent at the end. */
  next?: number;
  /** What is no longer stored behind the position in `since`. */
  lost?: Omit<Lost, "type" | "channel">;
}

/** The publication was passed on; on a durable channel it is stored. */
export interface Published {
  type: "published";
  id?: number;
  /** Where it is stored. Durable channels only. */
  offset?: number;
  /** It was there already, by the same key. */
  duplicate?: boolean;
}

/** @internal */
export interface Connected {
  type: "connected";
  id?: number;
  session: string;
  protocol: number;
  message: string;
  user?: string;
  expires_at?: string;
  ping_interval_ms: number;
}

/** The server's `error`. */
export interface ErrorMessage {
  type: "error";
  id?: number;
  code: string;
  message: string;
  channel?: string;
  retry_after_ms?: number;
  /** With the code `service_error`: what the service behind a `request` says is wrong, in its own words. */
  service_error?: { code: string; description: string };
  /** With the code `service_error`: what the service sent beside it. */
  payload?: unknown;
}

/** @internal */
export type Reply =
  | Subscribed
  | Published
  | History
  | { type: "unsubscribed"; id?: number; channel: string }
  | { type: "reply"; id?: number; payload: unknown }
  | { type: "refreshed"; id?: number; expires_at?: string }
  | { type: "pong"; id?: number };

/** @internal */
export type ServerMessage =
  | Reply
  | Update
  | Lost
  | Connected
  | ErrorMessage
  | { type: "position"; channel: string; offset: number; epoch: string }
  | { type: "drain"; reconnect_after_ms: number };

/** What a page of history is asked for. */
export interface HistoryOptions {
  /** Where the range starts; absent, with the oldest that is stored. */
  since?: Since | undefined;
  /** Where the range ends, this position left out; absent, with the newest. */
  before?: Position | undefined;
  /** Which end to read from. */
  order?: "newest" | "oldest" | undefined;
  /** Most publications of the page: 100 if absent, 1,000 at most. */
  limit?: number | undefined;
}

/** @internal What is `undefined` does not travel. */
export type Command = { id?: number } & (
  | { type: "connect"; token: string | undefined; client: string | undefined }
  | ({ type: "subscribe"; channel: string } & Start)
  | { type: "unsubscribe"; channel: string }
  | { type: "publish"; channel: string; payload: unknown; key: string | undefined }
  | { type: "request"; channel: string; payload: unknown; timeout_ms: number | undefined }
  | ({ type: "history"; channel: string } & HistoryOptions)
  | { type: "refresh"; token: string }
  | { type: "ping" }
);

/** @internal Where a subscription starts. */
export interface Start {
  since?: Since | undefined;
  latest?: true | undefined;
}
