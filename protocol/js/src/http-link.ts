// A link over HTTP. The server keeps nothing between requests, so a subscription is a request that names all channels and
// how far each has come; when the channels or the token change, the next request takes the place of this one. What the
// client asks otherwise goes by POST.

import type { ConnectOptions } from "./api.js";
import { createHeartbeat } from "./heartbeat.js";
import { createHttpChannels, type HttpChannels } from "./http-channels.js";
import { createCommandSender } from "./http-commands.js";
import { type Ask, bodyOf, createAsk, expiryOf, Refusal } from "./http-requests.js";
import type { Command, ServerMessage } from "./messages.js";
import type { Link, LinkEvents, OpenLink, TransportName } from "./transport.js";

/** Subscriptions that are asked for within this time go into one request. */
const TOGETHER_MS = 5;

/** A channel that nobody wants any more may come for so long, since a new request interrupts the others. */
const UNWANTED_MS = 1_000;

/** Until the server says how long it may be silent: asked after 5 s, dead after 15 s. */
const FIRST_SILENCE_MS = 2_500;

/** How often the client asks for a sign of life while there is nothing to receive. */
const PING_MS = 60_000;

/** Refusals of a request for channels that are about which it asks for: 414 and 431 if they are too many for one URL. */
const OF_CHANNELS = [400, 404, 413, 414, 431];

/** What the server sends of a request for channels: a message, or the end of a stream. */
export type Received = ServerMessage | { type: "close"; code: number; reason: string };

/** One way to receive: what it needs of the link. */
export interface Receiving {
  readonly channels: HttpChannels;
  /** Aborted when another request takes the place of this one. */
  readonly signal: AbortSignal;
  ask(path: "sse" | "poll", query: URLSearchParams, signal: AbortSignal): Promise<Response>;
  /** Something came, which is a sign of life. */
  heard(): void;
  take(message: Received): void;
  /** When the server wants to be asked again. */
  retryAfter(ms: number): void;
  /** The longest time that nothing may come. */
  expect(silenceMs: number): void;
}

/** Receives until the answer ends, or for ever; throws what goes wrong. */
export type Receive = (receiving: Receiving) => Promise<void>;

/** A transport over HTTP. `losesOnce`: see `createHttpChannels`. */
export function openOverHttp(
  transport: TransportName,
  receive: Receive,
  losesOnce: boolean,
): (url: string, options: ConnectOptions) => OpenLink {
  return (url, options) => {
    const ask = createAsk(url, options);
    return (token, events) => createHttpLink(transport, receive, losesOnce, ask, token, events);
  };
}

function createHttpLink(
  transport: TransportName,
  receive: Receive,
  losesOnce: boolean,
  ask: Ask,
  token: string | undefined,
  events: LinkEvents,
): Link {
  const closing = new AbortController();
  /** The request for channels that is under way. */
  let receiving: AbortController | undefined;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let isUrgent = false;
  /** The client has been told "connected"; and by a request for channels, which has a session. */
  let isOpen = false;
  let hasSession = false;
  let retryMs: number | undefined;
  /** Commands that wait for what is to come on the next request. */
  const refreshes: number[] = [];
  const pings: number[] = [];
  /** Answers that came before the client was told "connected", which it would not understand. */
  const early: ServerMessage[] = [];

  const tell = (message: ServerMessage): void => {
    if (!closing.signal.aborted) events.message(message);
  };

  const answer = (message: ServerMessage): void => {
    if (isOpen) tell(message);
    else early.push(message);
  };

  const open = (connected: ServerMessage): void => {
    tell(connected);
    isOpen = true;
    early.splice(0).forEach(tell);
  };

  const close = (): void => {
    closing.abort();
    receiving?.abort();
    clearTimeout(timer);
    heartbeat.stop();
  };

  const end = (code?: number, reason?: string): void => {
    if (closing.signal.aborted) return;
    // The client waits that long, whatever ended it.
    if (retryMs !== undefined) tell({ type: "drain", reconnect_after_ms: retryMs });
    close();
    events.ended(code, reason);
  };

  const failed = (error: unknown): void => {
    if (!(error instanceof Refusal)) return end(undefined, String(error));
    const { code } = error.said;
    if (code === "token_expired") end(4401, error.message);
    // As the answer to its `connect` would say it.
    else tell({ ...error.said, id: 0 });
  };

  const heartbeat = createHeartbeat(
    () => {},
    () => end(undefined, "nothing came in time"),
  );

  const send = createCommandSender(
    (body) => bodyOf(closing.signal, (signal) => ask("command", token, { body, signal })),
    (message) => {
      if (!isOpen && message.type === "pong") welcome();
      else tell(message);
    },
    failed,
  );

  /** There is nothing to receive, and the server has answered. */
  const welcome = (): void => {
    const expires_at = expiryOf(token);
    open({
      type: "connected",
      id: 0,
      session: "",
      protocol: 1,
      message: "",
      ping_interval_ms: PING_MS,
      ...(expires_at && { expires_at }),
    });
  };

  const answerRefreshes = (expires_at: string | undefined): void => {
    for (const id of refreshes.splice(0)) tell({ type: "refreshed", id, ...(expires_at && { expires_at }) });
  };

  /** The last values of all channels have come, so whoever asked behind them is answered. */
  const answerPings = (): void => {
    if (!channels.awaitLatest()) for (const id of pings.splice(0)) tell({ type: "pong", id });
  };

  const channels = createHttpChannels(answer, losesOnce);

  const take = (message: Received): void => {
    if (message.type === "close") end(message.code, message.reason);
    else if (message.type === "connected") {
      heartbeat.start(0.6 * message.ping_interval_ms);
      answerRefreshes(message.expires_at);
      // Another request has another session, but is the same connection to the client.
      if (!hasSession) open({ ...message, id: 0 });
      hasSession = true;
    } else if ("channel" in message && message.channel !== undefined) {
      if (!channels.take(message)) end(undefined, (message as { message: string }).message);
      answerPings();
    } else tell(message);
  };

  /** Puts a request for what is wanted now in the place of the one under way. */
  const request = async (): Promise<void> => {
    timer = undefined;
    receiving?.abort();
    receiving = undefined;
    answerPings();
    if (!channels.size) {
      heartbeat.stop();
      answerRefreshes(expiryOf(token));
      if (!isOpen) send({ type: "ping" });
      return;
    }
    const mine = new AbortController();
    const { signal } = mine;
    receiving = mine;
    heartbeat.start(FIRST_SILENCE_MS);
    try {
      await receive({
        channels,
        signal,
        ask: (path, query, signal) => ask(path, token, { query, signal }),
        heard() {
          if (signal.aborted) return;
          heartbeat.heard();
          // The client counts messages.
          tell({ type: "pong" });
        },
        take: (message) => signal.aborted || take(message),
        retryAfter(ms) {
          if (!signal.aborted) retryMs = ms;
        },
        expect: (silenceMs) => signal.aborted || heartbeat.start(silenceMs),
      });
      if (!signal.aborted) end(undefined, "the stream ended");
    } catch (error) {
      if (signal.aborted) return;
      // One channel that is asked for wrongly must not end the others.
      const isOfChannels = error instanceof Refusal && OF_CHANNELS.includes(error.status);
      if (isOfChannels && channels.refuse(error.said)) requestSoon(0);
      else failed(error);
    }
  };

  const requestSoon = (afterMs: number): void => {
    const urgent = afterMs < UNWANTED_MS;
    if (timer && (isUrgent || !urgent)) return;
    clearTimeout(timer);
    isUrgent = urgent;
    timer = setTimeout(request, afterMs);
  };

  queueMicrotask(() => {
    if (closing.signal.aborted) return;
    events.opened(true);
    requestSoon(0);
  });

  return {
    transport,
    close,
    send(command: Command) {
      const { type, id } = command;
      if (type === "subscribe") {
        if (channels.subscribe(command)) requestSoon(TOGETHER_MS);
      } else if (type === "unsubscribe") {
        const { channel } = command;
        channels.unsubscribe(channel);
        requestSoon(channels.size ? UNWANTED_MS : TOGETHER_MS);
        queueMicrotask(() => tell({ type: "unsubscribed", id: id!, channel }));
      } else if (type === "refresh") {
        token = command.token;
        refreshes.push(id!);
        requestSoon(TOGETHER_MS);
      } else if (type === "ping" && id !== undefined) {
        pings.push(id);
        queueMicrotask(answerPings);
      } else if (type !== "connect") send(command);
    },
  };
}
