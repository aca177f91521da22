// Commands under way: each waits for a connection, for its answer by id, or for the time the server named to repeat it.

import { type ErrorCode, TailwaterError } from "./error.js";
import type { Command, ErrorMessage, Reply, ServerMessage } from "./messages.js";

/** Commands that may wait at a time, so that an application which goes on while offline does not fill the memory. */
const MOST_PENDING = 10_000;

/** How long a command may take, waiting for a connection included. */
const DEADLINE_MS = 30_000;

/** How a command is treated. */
export interface Terms {
  /** It may be carried out twice, so it is sent again on the next connection if the answer did not come. */
  again?: boolean;
  timeoutMs?: number | undefined;
  signal?: AbortSignal | undefined;
}

export interface Commands {
  /** Sends a command as soon as there is a connection, and calls back once: later, and at once when the answer comes. */
  ask(command: Command, done: (reply: any) => void, failed: (error: any) => void, terms?: Terms): void;
  /** The same as a promise. */
  request<R = Reply>(command: Command, terms?: Terms): Promise<R>;
  /** They are sent as they come. */
  areOpen(): boolean;
  /** What is asked while `first` runs is sent; then what waits, and from here on all, unless it is `early` for that. */
  resume(send: (command: Command) => void, first: () => void, early?: boolean): void;
  /** The connection is gone: what may not be repeated fails, and what may with the code `refused`, if there is one. */
  suspend(refused: ErrorCode | false): void;
  /** There will be no connection any more. */
  close(error: TailwaterError): void;
  /** Takes in the answer to a command; false if nobody waits for it. */
  answer(message: ServerMessage): boolean;
}

interface Pending {
  again: boolean;
  sent: boolean;
  /** Sends it, if it may be. */
  send(): void;
  /** Ends the wait; the first end counts. */
  done(reply: Reply): void;
  failed(error: unknown): void;
}

export function createCommands(): Commands {
  const pending = new Map<number, Pending>();
  let nextId = 1;
  let send: ((command: Command) => void) | undefined;

  const ask: Commands["ask"] = (command, done, failed, { again = false, timeoutMs = DEADLINE_MS, signal } = {}) => {
    const refuse = (error: unknown): void => queueMicrotask(() => failed(error));
    if (signal?.aborted) return refuse(signal.reason);
    if (pending.size >= MOST_PENDING) return refuse(new TailwaterError("limit", "too many commands"));
    const id = nextId;
    nextId = (id % 0xffffffff) + 1;
    const timer = setTimeout(() => one.failed(new TailwaterError("timeout", "no answer in time")), timeoutMs);
    const abort = (): void => one.failed(signal!.reason);
    signal?.addEventListener("abort", abort);
    const ending =
      <T>(end: (value: T) => void) =>
      (value: T): void => {
        if (!pending.delete(id)) return;
        clearTimeout(timer);
        signal?.removeEventListener("abort", abort);
        end(value);
      };
    const one: Pending = {
      again,
      sent: false,
      done: ending(done),
      failed: ending(failed),
      send() {
        if (one.sent || !send || !pending.has(id)) return;
        one.sent = true;
        try {
          send({ ...command, id });
        } catch (error) {
          // The payload has no form in this codec, such as a `bigint` in JSON.
          one.failed(error);
        }
      },
    };
    pending.set(id, one);
    one.send();
  };

  return {
    ask,
    request: (command, terms) => new Promise((done, failed) => ask(command, done, failed, terms)),
    areOpen: () => !!send,
    resume(sender, first, early) {
      const waiting = [...pending.values()];
      send = sender;
      first();
      if (early) send = undefined;
      for (const one of waiting) one.send();
    },
    suspend(refused) {
      send = undefined;
      for (const one of pending.values()) {
        const code = one.again ? refused : "disconnected";
        if (one.sent && code) one.failed(new TailwaterError(code, "the connection broke"));
        one.sent = false;
      }
    },
    close(error) {
      for (const one of pending.values()) one.failed(error);
    },
    answer(message) {
      const one = pending.get((message as { id: number }).id);
      if (!one) return false;
      if (message.type !== "error") one.done(message as Reply);
      else if (message.retry_after_ms !== undefined && (one.again || message.code === "rate_limited")) {
        one.sent = false;
        setTimeout(one.send, message.retry_after_ms);
      } else one.failed(errorOf(message));
      return true;
    },
  };
}

/** What the server said, as an error to throw. */
export const errorOf = (message: ErrorMessage): TailwaterError =>
  new TailwaterError(message.code, message.message, message.channel, message.retry_after_ms, message);
