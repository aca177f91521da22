// The channels that a link over HTTP is to bring, and how far each has come: together they are the query of a request.
// No I/O.

import { createCursor, type Cursor } from "./cursor.js";
import type { Command, ErrorMessage, Lost, ServerMessage, Since, Start, Subscribed } from "./messages.js";

/** Refusals of a channel that time may mend. */
const PASSING = ["unavailable", "timeout", "rate_limited", "internal", "token_expired"];

type Subscribe = Extract<Command, { type: "subscribe" }>;

interface Entry {
  readonly start: Start;
  readonly cursor: Cursor;
  /** Of the commands that wait for `subscribed`. */
  ids: number[];
  /** What the server said when it was first subscribed. */
  subscribed: Subscribed | undefined;
  /** The present request asks for it; what one brings that was made before is about a subscription that is gone. */
  isAsked: boolean;
  /** `subscribed` has come on the present request, so what follows is wanted. */
  stands: boolean;
  /** The last values have not all come; until then it can only begin where it began. */
  awaitsLatest: boolean;
  /** It is live, and has been told that something may be missing. */
  toldLost: boolean;
}

export interface HttpChannels {
  readonly size: number;
  /** Another number after each change of what is wanted. */
  readonly version: number;
  /** Something was asked for that the server has not answered. */
  areAwaited(): boolean;
  /** The last values of a channel are still coming. */
  awaitLatest(): boolean;
  /** True if a request has to be made for it; else it is answered. */
  subscribe(command: Subscribe): boolean;
  unsubscribe(channel: string): void;
  /** What the next request asks for. What a former one still brings is not wanted from here on. */
  query(): URLSearchParams;
  /** A message about a channel; false if a channel that stood cannot be had just now. */
  take(message: ServerMessage): boolean;
  /** The request as a whole was refused: so is what it asked for anew. False if that was nothing. */
  refuse(error: ErrorMessage): boolean;
}

/**
 * `tell` gets what the client is to hear. `losesOnce`: of a live channel it is told once that publications between two
 * requests are missed, not each time.
 */
export function createHttpChannels(tell: (message: ServerMessage) => void, losesOnce: boolean): HttpChannels {
  const entries = new Map<string, Entry>();
  let version = 0;

  const any = (check: (entry: Entry) => boolean): boolean => [...entries.values()].some(check);

  const answer = (entry: Entry, message: Subscribed | ErrorMessage): void => {
    for (const id of entry.ids.splice(0)) tell({ ...message, id });
  };

  const remove = (channel: string): void => {
    version += 1;
    entries.delete(channel);
  };

  const subscribed = (entry: Entry, message: Subscribed): void => {
    const { channel, durable, offset, epoch } = message;
    entry.stands = true;
    if (durable) {
      entry.cursor.begin(epoch);
      if (!entry.awaitsLatest && offset !== undefined) {
        entry.cursor.apply({ type: "position", channel, offset, epoch: epoch! });
      }
    } else if (entry.subscribed && !(losesOnce && entry.toldLost)) {
      entry.toldLost = true;
      tell({ type: "lost", channel, reason: "disconnected" } satisfies Lost);
    }
    entry.subscribed ??= message;
    answer(entry, message);
  };

  const failed = (entry: Entry, message: ErrorMessage & { channel: string }): boolean => {
    if (entry.subscribed && PASSING.includes(message.code)) return false;
    remove(message.channel);
    if (entry.subscribed) tell({ type: "unsubscribed", channel: message.channel });
    else answer(entry, message);
    return true;
  };

  return {
    get size() {
      return entries.size;
    },
    get version() {
      return version;
    },
    areAwaited: () => any(({ subscribed }) => !subscribed),
    awaitLatest: () => any(({ awaitsLatest }) => awaitsLatest),
    subscribe({ id, channel, since, latest }) {
      const held = entries.get(channel);
      if (!held || since || latest) {
        version += 1;
        entries.delete(channel);
        entries.set(channel, {
          start: { since, latest },
          cursor: createCursor(channel),
          ids: [id!],
          subscribed: undefined,
          isAsked: false,
          stands: false,
          awaitsLatest: !!latest,
          toldLost: false,
        });
        return true;
      }
      held.ids.push(id!);
      if (held.subscribed) {
        // As the server does it: where the channel has come to, and nothing again.
        const { durable } = held.subscribed;
        queueMicrotask(() => answer(held, { type: "subscribed", channel, durable, ...held.cursor.position() }));
      }
      return false;
    },
    unsubscribe: remove,
    query() {
      const query = new URLSearchParams();
      for (const [channel, entry] of entries) {
        const { start, cursor } = entry;
        entry.isAsked = true;
        entry.stands = false;
        query.append("channel", channel);
        const since = (entry.awaitsLatest ? undefined : cursor.position()) ?? start.since;
        if (since) query.append("since", textOf(since));
        // Both are refused by the server, as over WebSocket.
        if (entry.awaitsLatest) query.append("latest", "true");
      }
      return query;
    },
    take(message) {
      const { channel } = message as { channel: string };
      const entry = entries.get(channel);
      if (!entry?.isAsked) return true;
      if (message.type === "subscribed") subscribed(entry, message);
      else if (message.type === "error") return failed(entry, { ...message, channel });
      else if (message.type === "unsubscribed") {
        remove(channel);
        tell(message);
      } else if (entry.stands) {
        // A position ends the last values.
        if (message.type === "position") entry.awaitsLatest = false;
        if (!entry.awaitsLatest) entry.cursor.apply(message);
        tell(message);
        // In which epoch it goes on was said by `subscribed`, which the client does not hear again.
        const position = entry.cursor.position();
        if (message.type === "lost" && message.reason === "epoch_changed" && position) {
          tell({ type: "position", channel, ...position });
        }
      }
      return true;
    },
    refuse(error) {
      const fresh = [...entries].filter(([, entry]) => entry.isAsked && !entry.subscribed);
      const named = fresh.filter(([channel]) => channel === error.channel);
      const asked = named.length ? named : fresh;
      for (const [channel, entry] of asked) {
        remove(channel);
        answer(entry, { ...error, channel });
      }
      return asked.length > 0;
    },
  };
}

/** A start as it stands in a query. */
function textOf(since: Since): string {
  if (typeof since === "string") return since;
  if ("last" in since) return `last:${since.last}`;
  if ("time" in since) return since.time;
  return `${since.epoch}.${since.offset}`;
}
