// Chooses the transport: WebSocket where it gets through, else a stream, else polling, and back up when that is possible.

import type { ConnectOptions } from "./api.js";
import { polling } from "./polling.js";
import { sse } from "./sse.js";
import type { Link, LinkEvents, OpenLink, Transport, TransportName } from "./transport.js";
import { websocket } from "./websocket.js";

/** Where the page session keeps what worked. */
const KEY = "tailwater:transport";

/** Attempts of the first transport before the next one is tried; a stream gets one. */
const ATTEMPTS = 2;

/** The same for one that has worked here: then it is rather the server that is away. */
const ATTEMPTS_OF_PROVEN = 4;

/** The ids of the attempt that only looks whether a transport gets through. */
const CONNECT_ID = 0;
const SUBSCRIBE_ID = 1;

/** When to try which transport. */
export interface FallbackOptions {
  /** How long a transport may take until the server has said something: 5,000 if absent. */
  patienceMs?: number | undefined;
  /** How often a better transport is tried while one lower down is in use: 300,000 if absent. */
  moveUpMs?: number | undefined;
}

const ALL: [TransportName, Transport][] = [
  ["websocket", websocket],
  ["sse", sse],
  ["polling", polling],
];

/** `auto` with other times. */
export function fallback({ patienceMs = 5_000, moveUpMs = 300_000 }: FallbackOptions = {}): Transport {
  return function auto(url: string, options: ConnectOptions): OpenLink {
    const levels = ALL.flatMap(([name, transport]): [TransportName, OpenLink][] => {
      try {
        return [[name, transport(url, options)]];
      } catch (error) {
        // Node 20 has no WebSocket.
        if (name === "websocket" && error instanceof TypeError) return [];
        throw error;
      }
    });
    const proven = new Set<number>();
    let level = Math.max(0, levels.findIndex(([name]) => name === remembered()));
    let failures = 0;
    if (remembered()) proven.add(level);

    /** True if the next attempt is one with a transport further down, which makes sense at once. */
    const fail = (isCertain: boolean): boolean => {
      failures += 1;
      const most = proven.has(level) ? ATTEMPTS_OF_PROVEN : isCertain || level > 0 ? 1 : ATTEMPTS;
      if (failures < most) return false;
      failures = 0;
      level = (level + 1) % levels.length;
      return level > 0;
    };

    const succeed = (): void => {
      failures = 0;
      proven.add(level);
      remember(levels[level]![0]);
    };

    return (token, events) => {
      const identifies = !!token && (options.tokenIn ?? "connect") === "connect";
      const wanted = new Set<string>();
      const underWay = new Set<number>();
      let trial: Link | undefined;
      let moveTo: number | undefined;
      let isOpen = false;
      let isOver = false;
      let timer: ReturnType<typeof setTimeout> | undefined;

      const close = (): void => {
        isOver = true;
        clearTimeout(timer);
        globalThis.removeEventListener?.("online", lookUp);
        trial?.close();
        link.close();
      };

      /** Ends the link for another one, `atOnce` or when the client thinks it right. */
      const end = (atOnce: boolean, code?: number, reason?: string): void => {
        close();
        if (atOnce) events.message({ type: "drain", reconnect_after_ms: 0 });
        events.ended(code, reason);
      };

      /** Looks whether a transport gets through, with a link that brings the client nothing. */
      const getsThrough = (open: OpenLink): Promise<boolean> =>
        new Promise((done) => {
          const finish = (yes: boolean): void => {
            clearTimeout(patience);
            trial?.close();
            trial = undefined;
            done(yes);
          };
          const patience = setTimeout(finish, patienceMs, false);
          const [channel] = wanted;
          trial = open(token, {
            opened(early) {
              const { client } = options;
              if (!early && identifies) trial?.send({ type: "connect", id: CONNECT_ID, token, client });
              // A stream is asked for only if there is something to receive.
              if (early && channel) trial?.send({ type: "subscribe", id: SUBSCRIBE_ID, channel });
            },
            message(message) {
              if (message.type === "connected" && (!identifies || message.id === CONNECT_ID)) finish(true);
              else if (message.type === "error") finish(false);
            },
            ended: () => finish(false),
          });
        });

      const lookUp = async (): Promise<void> => {
        if (trial || moveTo !== undefined) return;
        clearTimeout(timer);
        for (let higher = 0; higher < level; higher += 1) {
          if (await getsThrough(levels[higher]![1]).catch(() => false)) {
            moveTo = higher;
            return moveUp();
          }
          if (isOver) return;
        }
        timer = setTimeout(lookUp, moveUpMs);
      };

      /** Not before all that was asked is answered, since what breaks off may not be repeated. */
      const moveUp = (): void => {
        if (moveTo === undefined || underWay.size || isOver) return;
        level = moveTo;
        failures = 0;
        end(true, undefined, "moving up");
      };

      const wrapped: LinkEvents = {
        opened: events.opened,
        message(message) {
          if (message.type === "connected" && !isOpen) {
            isOpen = true;
            clearTimeout(timer);
            succeed();
            if (level > 0) {
              // A better one that has worked here was left because the server was away, which is over.
              timer = setTimeout(lookUp, Math.min(...proven) < level ? patienceMs : moveUpMs);
              globalThis.addEventListener?.("online", lookUp);
            }
          } else if (!isOpen && message.type === "error") {
            // The server has answered, so the transport is not what is wrong.
            isOpen = true;
            clearTimeout(timer);
          }
          const { id } = message as { id?: number };
          events.message(message);
          if (id !== undefined && underWay.delete(id)) moveUp();
        },
        ended(code, reason) {
          // A close code of its own shows that the server was reached.
          const isReached = isOpen || (code !== undefined && code !== 1006 && code !== 0);
          end(!isReached && fail(false), code, reason);
        },
      };

      const { transport, ...link } = levels[level]![1](token, wrapped);
      timer = setTimeout(() => end(fail(true), undefined, `nothing came over ${transport}`), patienceMs);

      return {
        transport,
        close,
        send(command) {
          const { type, id } = command;
          if (type === "subscribe") wanted.add(command.channel);
          else if (type === "unsubscribe") wanted.delete(command.channel);
          else if (type === "refresh") token = command.token;
          if (id !== undefined && type !== "connect") underWay.add(id);
          link.send(command);
        },
      };
    };
  };
}

/**
 * WebSocket where it gets through; else server-sent events, else long polling. What worked is remembered for the page
 * session, and a better one is tried every five minutes and when the network comes back.
 */
export const auto: Transport = fallback();

interface Session {
  sessionStorage?: { getItem(key: string): string | null; setItem(key: string, text: string): void };
}

function remembered(): string | null | undefined {
  try {
    return (globalThis as Session).sessionStorage?.getItem(KEY);
  } catch {
    // A page without an origin of its own may not.
    return undefined;
  }
}

function remember(name: TransportName): void {
  try {
    (globalThis as Session).sessionStorage?.setItem(KEY, name);
  } catch {
    // It is found out again after a reload.
  }
}
