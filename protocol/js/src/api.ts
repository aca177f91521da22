// The face of the package: what an application sees. `client.ts` and `subscription.ts` do it.

import type { Backoff } from "./backoff.js";
import type { Codec } from "./codec.js";
import type { TailwaterError } from "./error.js";
import type { History, HistoryOptions, Lost, Published, ServerMessage, Since, Subscribed, Update } from "./messages.js";
import type { State } from "./state.js";
import type { Transport } from "./transport.js";
import type { WebSocketConstructor } from "./websocket.js";

/** How to connect. Nothing is required. */
export interface ConnectOptions {
  /**
   * Gives a token that is valid now. Called before each connection, before the token expires, and when the server says
   * that it has. If it throws, it is called again later, with back-off; a `TailwaterError` with the code
   * `unauthenticated` ends that, and the client.
   */
  token?: (() => string | Promise<string>) | undefined;
  /** How the token travels: in the first message (the default), as a subprotocol, or in the URL, where logs will have it. */
  tokenIn?: "connect" | "subprotocol" | "query" | undefined;
  /** Name and version of the program, for whoever runs the server: at most 256 bytes. Sent with the token. */
  client?: string | undefined;
  /** What carries the messages: WebSocket if absent; `auto`, `sse` and `polling` of `tailwater/http` are the others. */
  transport?: Transport | undefined;
  /** How messages travel on WebSockets: JSON, or `msgpack` of `tailwater/msgpack`. */
  codec?: Codec | undefined;
  /** The class to use where there is no global `WebSocket`: Node 20 needs that of the package `ws`. */
  WebSocket?: WebSocketConstructor | undefined;
  /** Bounds of the wait before a reconnect. */
  backoff?: Backoff | undefined;
  /** Closes the client. */
  signal?: AbortSignal | undefined;
}

/** How a command is carried out. */
export interface CommandOptions {
  /** How long it may take, waiting for a connection included: 30,000 if absent, at most 2,147,483,647. */
  timeoutMs?: number | undefined;
  /** Gives it up; the promise is rejected with the signal's reason. */
  signal?: AbortSignal | undefined;
}

/** How to publish. */
export interface PublishOptions extends CommandOptions {
  /**
   * Names this publication, so that a repetition is recognised: 1 to 64 visible ASCII characters. Without it one is
   * made, and the publication is sent again if the connection breaks before the answer. `false`: never sent twice, as
   * on channels that are known to be live, where a repetition cannot be recognised.
   */
  key?: string | false | undefined;
}

/** Remembers how far a subscription has been read: `stored` of `tailwater/storage` makes one. */
export type CursorKeeper = (channel: string) => {
  /** @internal The messages that bring a new cursor to where the kept one was. */
  load(): Promise<ServerMessage[]>;
  /** @internal The application is done with this one. */
  done(message: ServerMessage): void;
  /** @internal The page may never run again. */
  flush(): void;
};

/** How to subscribe. */
export interface SubscribeOptions {
  /** Where to start; absent, from now. Durable channels only. */
  since?: Since | undefined;
  /** First the last value of each subject. Not with `since`. Durable channels only. */
  latest?: boolean | undefined;
  /** Ends the subscription, quietly. */
  signal?: AbortSignal | undefined;
  /** Goes on where it was, also after a reload of the page: `stored` of `tailwater/storage`. Durable channels only. */
  storage?: CursorKeeper | undefined;
  /** The iterator yields `lost` too, in its place. */
  losses?: boolean | undefined;
  /** How many updates may wait for the iterator, at least 1: 10,000 if absent. */
  bound?: number | undefined;
  /**
   * What happens when more would wait. `resume` (the default): on a durable channel delivery stops, the rest is read page
   * by page as the loop asks for it, and nothing is missed; a live one has no memory and does as `drop-oldest`, which
   * puts `lost` in the place of what was dropped. `close`: the subscription ends with the code `overflow`.
   */
  whenFull?: "resume" | "drop-oldest" | "close" | undefined;
}

/** What a subscription tells beside its updates. */
export interface SubscriptionEvents {
  /** The server delivers, at first and after each reconnect. */
  subscribed: Subscribed;
  /** Publications are missing: told where they would have come, to iterators when they get there. */
  lost: Lost;
  /** It has ended: with an error, unless the application ended it. */
  closed: TailwaterError | undefined;
}

/**
 * A subscription. Iterate it once, or give `subscribe` a listener. What was yielded counts as read when the next is asked
 * for; leaving the loop ends the subscription; an error of the subscription is thrown in the loop.
 */
export interface Subscription<Item = Update> extends AsyncIterable<Item> {
  readonly channel: string;
  on<Name extends keyof SubscriptionEvents>(name: Name, listener: (detail: SubscriptionEvents[Name]) => void): () => void;
  /** Ends it. An iterator ends too. */
  close(): void;
}

/** What a client tells. */
export interface ClientEvents {
  state: State;
}

/** A connection to Tailwater that comes back, and all that is subscribed on it. */
export interface Tailwater {
  readonly state: State;
  on<Name extends keyof ClientEvents>(name: Name, listener: (detail: ClientEvents[Name]) => void): () => void;

  /** Receives the updates of a channel or pattern, from an iterator or by a listener, for as long as the client lives. */
  subscribe<T = unknown>(channel: string, options: SubscribeOptions & { losses: true }): Subscription<Update<T> | Lost>;
  subscribe<T = unknown>(channel: string, options?: SubscribeOptions): Subscription<Update<T>>;
  subscribe<T = unknown>(
    channel: string,
    options: SubscribeOptions,
    listener: (update: Update<T>) => void,
  ): Subscription<Update<T>>;

  /** Publishes; on a durable channel the promise is kept when it is stored. `Uint8Array` travels as bytes. */
  publish(channel: string, payload: unknown, options?: PublishOptions): Promise<Published>;
  /** Asks the service behind a channel, once, and gives the payload of its answer. */
  request<T = unknown>(channel: string, payload: unknown, options?: CommandOptions): Promise<T>;
  /** A page of what a durable channel stores. */
  history<T = unknown>(channel: string, options?: HistoryOptions & CommandOptions): Promise<History<T>>;
  /** The last value of each subject of a durable channel: one of an exact channel, at most 1,000 of a pattern. */
  latest<T = unknown>(channel: string, options?: CommandOptions): Promise<Update<T>[]>;

  /** Ends the connection and all subscriptions; commands under way are rejected with the code `closed`. */
  close(): void;
}
