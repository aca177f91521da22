// index.d.ts

import type { ConnectOptions, Tailwater } from "./api.js";
/**
 * Connects, and stays connected until `close()`. What is subscribed or sent before the connection stands waits for it.
 *
 * @param url `wss://host/ws`; in a page also `/ws`.
 */
export declare const connect: (url: string, options?: ConnectOptions) => Tailwater;
export { TailwaterError } from "./error.js";
export type * from "./api.js";
export type { Backoff } from "./backoff.js";
export type { Codec } from "./codec.js";
export type { ErrorCode } from "./error.js";
export type { ErrorMessage, History, HistoryOptions, Lost, LostReason, Position, Publication, Published, Since, Subscribed, Update, } from "./messages.js";
export type { State } from "./state.js";
export type { Transport, TransportName } from "./transport.js";
export type { WebSocketConstructor, WebSocketLike } from "./websocket.js";

// api.d.ts

import type { Backoff } from "./backoff.js";
import type { Codec } from "./codec.js";
import type { TailwaterError } from "./error.js";
import type { History, HistoryOptions, Lost, Published, Since, Subscribed, Update } from "./messages.js";
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
export type CursorKeeper = (channel: string) => {};
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
    subscribe<T = unknown>(channel: string, options: SubscribeOptions & {
        losses: true;
    }): Subscription<Update<T> | Lost>;
    subscribe<T = unknown>(channel: string, options?: SubscribeOptions): Subscription<Update<T>>;
    subscribe<T = unknown>(channel: string, options: SubscribeOptions, listener: (update: Update<T>) => void): Subscription<Update<T>>;
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

// backoff.d.ts

/** Bounds of the wait before a reconnect, in milliseconds. */
export interface Backoff {
    /** The longest first wait: 1,000 if absent. Doubled with each attempt. */
    firstMs?: number | undefined;
    /** The longest wait of all: 30,000 if absent. */
    longestMs?: number | undefined;
}

// codec.d.ts

/** How messages travel. Use the default, or `msgpack` of `tailwater/msgpack`. */
export interface Codec {
    /** The WebSocket subprotocol that names it. */
    readonly subprotocol: string;
}

// error.d.ts

import type { ErrorMessage } from "./messages.js";
/** Codes of the server's `error` messages, and four of the client's own. */
export type ErrorCode = "bad_message" | "unknown_type" | "unauthenticated" | "token_expired" | "forbidden" | "no_such_channel" | "limit" | "rate_limited" | "unavailable" | "no_responders" | "service_error" | "timeout" | "too_large" | "not_durable" | "bad_cursor" | "internal"
/** The connection ended before the answer came, and the command may not be repeated. */
 | "disconnected"
/** The client was closed, or the server ended the session for good. */
 | "closed"
/** A subscription with `whenFull: "close"` was not read fast enough. */
 | "overflow"
/** What was kept of a subscription cannot be read. */
 | "storage" | (string & {});
/** Why a command or subscription failed. Program against `code`; the message is for people. */
export declare class TailwaterError extends Error {
    readonly code: ErrorCode;
    /** The channel it is about. */
    readonly channel: string | undefined;
    /** When to try again, in milliseconds. */
    readonly retryAfterMs: number | undefined;
    /** What the server said, if it was the server; with `service_error` also what the service behind a `request` said. */
    readonly answer: ErrorMessage | undefined;
    constructor(code: ErrorCode, message: string, channel?: string, retryAfterMs?: number, answer?: ErrorMessage);
}

// messages.d.ts

/** A place in a durable channel. The epoch says which life of the stream the offset counts in. */
export interface Position {
    offset: number;
    epoch: string;
}
/** Where a subscription or a page of history starts. */
export type Since = Position | "beginning" | {
    last: number;
} | {
    time: string;
};
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
"trimmed"
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
 | "disconnected" | (string & {});
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
export type Publication<T = unknown> = Omit<Update<T>, "type" | "channel" | "offset"> & {
    offset: number;
};
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
/** The server's `error`. */
export interface ErrorMessage {
    type: "error";
    id?: number;
    code: string;
    message: string;
    channel?: string;
    retry_after_ms?: number;
    /** With the code `service_error`: what the service behind a `request` says is wrong, in its own words. */
    service_error?: {
        code: string;
        description: string;
    };
    /** With the code `service_error`: what the service sent beside it. */
    payload?: unknown;
}
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

// state.d.ts

import type { TailwaterError } from "./error.js";
import type { TransportName } from "./transport.js";
/** What the connection is doing. */
export type State = 
/** A connection is being opened. `attempt` counts from 0 and is reset by a connection that lasts. */
{
    name: "connecting";
    attempt: number;
}
/**
 * Messages arrive. Over WebSocket `session` and `user` are those of the connection; over HTTP those of the first request
 * for channels, and `""` and nothing before there is one.
 */
 | {
    name: "connected";
    session: string;
    user: string | undefined;
    transport: TransportName;
}
/** There is no connection; the next attempt comes in `delayMs`. `code` is that of the close, 0 if there was none. */
 | {
    name: "waiting";
    attempt: number;
    delayMs: number;
    code: number;
    reason: string | undefined;
}
/** For good: by `close()`, or with the `error` that ended it. */
 | {
    name: "closed";
    error: TailwaterError | undefined;
};

// transport.d.ts

/** Carries messages between client and server: `auto`, `sse` and `polling` of `tailwater/http`. */
export interface Transport {
    readonly name: string;
}
/** How messages travel. */
export type TransportName = "websocket" | "sse" | "polling";

// websocket.d.ts

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

// http.d.ts

export { auto, fallback } from "./auto.js";
export { polling } from "./polling.js";
export { sse } from "./sse.js";
export type { FallbackOptions } from "./auto.js";
export type { Transport } from "./transport.js";

// auto.d.ts

import type { Transport } from "./transport.js";
/** When to try which transport. */
export interface FallbackOptions {
    /** How long a transport may take until the server has said something: 5,000 if absent. */
    patienceMs?: number | undefined;
    /** How often a better transport is tried while one lower down is in use: 300,000 if absent. */
    moveUpMs?: number | undefined;
}
/** `auto` with other times. */
export declare function fallback({ patienceMs, moveUpMs }?: FallbackOptions): Transport;
/**
 * WebSocket where it gets through; else server-sent events, else long polling. What worked is remembered for the page
 * session, and a better one is tried every five minutes and when the network comes back.
 */
export declare const auto: Transport;

// polling.d.ts

import type { Transport } from "./transport.js";
/**
 * Long polling, and commands by POST. Where streams do not get through either; `auto` finds that out.
 *
 * Durable channels miss nothing. A live one misses what is published between two polls, which is told once, as `lost`.
 */
export declare const polling: Transport;

// sse.d.ts

import type { Transport } from "./transport.js";
/**
 * Server-sent events, and commands by POST. Where WebSockets do not get through; `auto` finds that out.
 *
 * A change of what is subscribed opens the stream anew: durable channels miss nothing, a live one is told `lost`.
 */
export declare const sse: Transport;

// msgpack.d.ts

import type { Codec } from "./codec.js";
/** `connect(url, { codec: msgpack })`. Needs the package `@msgpack/msgpack`. */
export declare const msgpack: Codec;

// react.d.ts

import { type ReactElement, type ReactNode } from "react";
import type { SubscribeOptions, Tailwater } from "./api.js";
import type { Lost, Update } from "./messages.js";
import { type ChannelState } from "./react-feed.js";
import type { State } from "./state.js";
export type { ChannelState } from "./react-feed.js";
/** The channel or pattern; without one nothing is subscribed. */
export type ChannelName = string | null | undefined;
/** Where a hook's subscription starts; absent, from now. Durable channels only. */
export type StartOptions = Pick<SubscribeOptions, "since" | "latest">;
/** How `useChannel` subscribes, and what it keeps. */
export interface ChannelOptions extends StartOptions {
    /** How many updates are kept, the newest: 100 if absent. */
    limit?: number | undefined;
}
/** What `useLatest` keeps. */
export interface LatestOptions {
    /** How many subjects are kept: 1,000 if absent. Of more, those go that were seen first. */
    limit?: number | undefined;
}
/** What `useChannel` gives. */
export interface ChannelView<T = unknown> extends ChannelState {
    /** The newest updates, oldest first. Those of a stream that began anew take the place of all before. */
    updates: readonly Update<T>[];
    /** Where publications are missing, oldest first. */
    lost: readonly Lost[];
}
/** What `useLatest` gives. */
export interface LatestView<T = unknown> extends ChannelState {
    /** The last update of each subject that has a value, by subject, in the order in which they were first seen. */
    latest: ReadonlyMap<string, Update<T>>;
    /** Where publications are missing, oldest first. */
    lost: readonly Lost[];
}
/** What `useChannelReducer` gives. */
export interface ReducedView<Value> extends ChannelState {
    value: Value;
}
/** Gives its components a client. As long as that is `undefined`, as on a server, the hooks wait. */
export declare function TailwaterProvider(props: {
    client: Tailwater | undefined;
    children?: ReactNode;
}): ReactElement;
/** The client of the provider, for what has no hook: to publish, to ask. */
export declare function useTailwater(): Tailwater | undefined;
/** What the connection is doing. */
export declare function useConnectionState(): State;
/** The newest updates of a channel. Components that ask for the same share them. */
export declare function useChannel<T = unknown>(channel: ChannelName, { since, latest, limit }?: ChannelOptions): ChannelView<T>;
/**
 * The last update of each subject of a channel or pattern: if it is durable, what is stored to begin with. Components that
 * ask for the same share them.
 */
export declare function useLatest<T = unknown>(channel: ChannelName, { limit }?: LatestOptions): LatestView<T>;
/** What `reduce` makes of the updates and losses of a channel, in order, beginning with `initial`: each component its own. */
export declare function useChannelReducer<Value, T = unknown>(channel: ChannelName, reduce: (value: Value, item: Update<T> | Lost) => Value, initial: Value, { since, latest }?: StartOptions): ReducedView<Value>;

// react-feed.d.ts

import type { TailwaterError } from "./error.js";
/** What every hook for a channel tells. */
export interface ChannelState {
    /** `live`: what is published comes. `waiting`: not yet, or not now. `closed`: never again. */
    state: "waiting" | "live" | "closed";
    /** Why it is closed, unless the application has closed the client. */
    error: TailwaterError | undefined;
}

// storage.d.ts

import type { CursorKeeper } from "./api.js";
/** Where texts are kept. */
export interface TextStorage {
    /**
     * The text that was last set under this key. If it throws, the subscription ends with the code `storage`: where to go on
     * is not known.
     */
    get(key: string): string | null | undefined | Promise<string | null | undefined>;
    /**
     * Called at most once a second for each channel, and when the page is hidden. What it throws is reported as uncaught, and
     * disturbs nothing here.
     */
    set(key: string, text: string): unknown;
}
/**
 * Keeps the cursors of subscriptions, under the key `tailwater:` and the channel, so that a reloaded page goes on where
 * it was: `subscribe(channel, { storage: stored(texts) })`. Two subscriptions of one channel need storages of their own.
 */
export declare const stored: (texts: TextStorage) => CursorKeeper;
