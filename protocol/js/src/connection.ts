// One connection that comes back: opens a link, says who we are, keeps the token fresh, notices that the link is dead,
// and opens the next one when it may. Never two at a time. What was subscribed is not its business.

import type { ConnectOptions } from "./api.js";
import { backoffMs } from "./backoff.js";
import { EXPIRED, FINAL, REFUSED, TOO_LARGE } from "./closing.js";
import { type Commands, errorOf } from "./commands.js";
import { TailwaterError } from "./error.js";
import { createHeartbeat } from "./heartbeat.js";
import type { Connected, ServerMessage } from "./messages.js";
import type { State } from "./state.js";
import { refreshInMs } from "./token.js";
import type { Link, OpenLink } from "./transport.js";

/** From the call for a token to `connected`. */
const OPENING_MS = 15_000;

/** A connection that lasted this long makes the next wait a short one again. */
const STABLE_MS = 10_000;

/** The id of our `connect`; commands count from 1. */
const CONNECT_ID = 0;

/** What the server may say of a token that makes no other attempt with it worthwhile. */
const REFUSALS = ["unauthenticated", "forbidden", "bad_message", "unknown_type"];

/** Of a clock that nobody sets, in milliseconds. */
const now = (): number => performance.now();

export interface Connection {
  open(): void;
  /** It is a good moment to connect, or to see whether we still are. */
  wake(): void;
  /** Ends it for good. */
  close(): void;
}

/**
 * `changed` is told each state; what is asked of `commands` while it is told "connected" goes out before what waits.
 * `heard` gets the messages that are none of the connection's own.
 */
export function createConnection(
  openLink: OpenLink,
  commands: Commands,
  { token: fetchToken, tokenIn = "connect", client, backoff }: ConnectOptions,
  changed: (state: State) => void,
  heard: (message: ServerMessage) => void,
): Connection {
  let state: State["name"];
  let link: Link | undefined;
  /** Counts attempts, so that what a former one left behind is recognised. */
  let life = 0;
  let attempt = 0;
  let connectedAt = 0;
  /** No attempt before this time: the server has said so. */
  let notBefore = 0;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let refreshTimer: ReturnType<typeof setTimeout> | undefined;
  const heartbeat = createHeartbeat(
    () => link?.send({ type: "ping" }),
    () => lose(undefined, "no answer in time"),
  );

  const become = (next: State): void => {
    state = next.name;
    changed(next);
  };

  /** What hears of this state may begin subscriptions. */
  const resume = (next: State, early?: boolean): void =>
    commands.resume(
      (command) => link?.send(command),
      () => become(next),
      early,
    );

  const set = (call: () => void, afterMs: number): void => {
    clearTimeout(timer);
    timer = setTimeout(call, afterMs);
  };

  /** Forgets the link and all that hangs on it. */
  const drop = (code?: number): void => {
    life += 1;
    clearTimeout(timer);
    clearTimeout(refreshTimer);
    heartbeat.stop();
    link?.close();
    link = undefined;
    commands.suspend(code === TOO_LARGE && "too_large");
  };

  const close = (error?: TailwaterError): void => {
    if (state === "closed") return;
    drop();
    become({ name: "closed", error });
  };

  /** The link has ended, or is not worth keeping: comes back if that makes sense. */
  const lose = (code = 0, reason?: string): void => {
    const isFinal = FINAL.includes(code);
    if (isFinal || REFUSED.includes(code) || (!fetchToken && EXPIRED.includes(code))) {
      return close(new TailwaterError(isFinal ? "closed" : "unauthenticated", `ended by the server: ${code} ${reason}`));
    }
    if (connectedAt && now() - connectedAt >= STABLE_MS) attempt = 0;
    connectedAt = 0;
    drop(code);
    const delayMs = notBefore ? Math.max(0, notBefore - now()) : backoffMs(attempt, backoff);
    attempt += 1;
    set(open, delayMs);
    become({ name: "waiting", attempt, delayMs, code, reason });
  };

  /** Calls for a token. Nothing is told of one that comes too late. */
  const withToken = (use: (token?: string) => void, failed: (error: any) => void): void => {
    const mine = life;
    const ifMine =
      <T>(call: (value: T) => void) =>
      (value: T): void =>
        mine === life ? call(value) : undefined;
    new Promise<string | undefined>((done) => done(fetchToken?.())).then(ifMine(use), ifMine(failed));
  };

  const open = (): void => {
    const connecting: State = { name: "connecting", attempt };
    notBefore = 0;
    set(() => lose(undefined, "no answer in time"), OPENING_MS);
    withToken(
      (token) => {
        const identifies = !!token && tokenIn === "connect";
        try {
          link = openLink(token, {
            opened: (early) =>
              early ? resume(connecting, early) : identifies && link!.send({ type: "connect", id: CONNECT_ID, token, client }),
            message: (message) => take(message, identifies),
            ended: lose,
          });
        } catch (error) {
          // An address or token that no WebSocket takes: the next attempt would not either.
          close(new TailwaterError("closed", String(error)));
        }
      },
      (error) => (REFUSALS.includes(error?.code) ? close(error) : lose(undefined, String(error))),
    );
    // Last, because whoever hears it may close the client.
    become(connecting);
  };

  const take = (message: ServerMessage & { id?: number }, identifies: boolean): void => {
    heartbeat.heard();
    const { type, id } = message;
    if (type === "connected") {
      // To who is about to `connect` the server's first words are those to an anonymous client.
      if (!identifies || id === CONNECT_ID) welcome(message);
    } else if (type === "drain") {
      // The server is about to leave, and has named the time to come back to another. Until then it serves us.
      notBefore = now() + message.reconnect_after_ms;
      set(() => lose(undefined, type), message.reconnect_after_ms);
    } else if (type === "error" && id === CONNECT_ID) {
      if (REFUSALS.includes(message.code)) return close(errorOf(message));
      if (message.retry_after_ms) notBefore = now() + message.retry_after_ms;
      lose(undefined, message.message);
    } else if (type === "error" && id === undefined && message.code === "token_expired") refresh();
    else heard(message);
  };

  const welcome = ({ session, user, ping_interval_ms, expires_at }: Connected): void => {
    clearTimeout(timer);
    connectedAt = now();
    heartbeat.start(ping_interval_ms);
    expire(expires_at);
    resume({ name: "connected", session, user, transport: link!.transport });
  };

  const expire = (expiresAt: string | undefined): void => {
    clearTimeout(refreshTimer);
    if (expiresAt) refreshTimer = setTimeout(refresh, refreshInMs(expiresAt));
  };

  /** Replaces the token on the live link. If that fails for long, the server ends it, and the next one has a new token. */
  const refresh = (failures = 0): void => {
    if (!fetchToken) return;
    clearTimeout(refreshTimer);
    const failed = (error: any): void => {
      if (REFUSALS.includes(error?.code)) close(error);
      else if (error?.code !== "disconnected") {
        refreshTimer = setTimeout(refresh, backoffMs(failures, backoff), failures + 1);
      }
    };
    withToken((token) => {
      commands.ask({ type: "refresh", token: token! }, (reply) => expire(reply.expires_at), failed);
    }, failed);
  };

  return {
    open,
    wake() {
      if (state === "waiting" && now() >= notBefore) open();
      else if (state === "connected") heartbeat.probe();
    },
    close: () => close(),
  };
}
