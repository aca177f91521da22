// Cursors that outlive the page: how far the application has read, not how far the client has received.

import type { CursorKeeper } from "./api.js";
import { createCursor } from "./cursor.js";
import { guarded } from "./emitter.js";
import type { ServerMessage } from "./messages.js";

/** The pause between two writes. */
const PAUSE_MS = 1_000;

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
export const stored =
  (texts: TextStorage): CursorKeeper =>
  (channel) => {
    const key = `tailwater:${channel}`;
    const cursor = createCursor(channel);
    let timer: ReturnType<typeof setTimeout> | undefined;

    const flush = (): void => {
      if (timer === undefined) return;
      clearTimeout(timer);
      timer = undefined;
      const position = cursor.position();
      if (position) guarded((text) => texts.set(key, text), JSON.stringify({ ...position, seen: [...cursor.seen] }));
    };
    return {
      async load() {
        const messages = read(channel, await texts.get(key));
        messages.forEach(cursor.apply);
        return messages;
      },
      done(message) {
        cursor.apply(message);
        timer ??= setTimeout(flush, PAUSE_MS);
      },
      flush,
    };
  };

/** The messages that bring a new cursor to where the stored one was; none if the text is not one of ours. */
function read(channel: string, text: string | null | undefined): ServerMessage[] {
  try {
    const { offset, epoch, seen } = JSON.parse(text ?? "");
    if (!Number.isSafeInteger(offset) || typeof epoch !== "string" || !Array.isArray(seen)) return [];
    return [
      { type: "position", channel, offset, epoch },
      ...seen.map(([subject, offset]): ServerMessage => ({ type: "update", channel, subject, offset, payload: "" })),
    ];
  } catch {
    return [];
  }
}
