// Receives by requests that the server answers when there is something: long polling.

import { fromJson } from "./codec.js";
import { openOverHttp } from "./http-link.js";
import { bodyOf, Refusal } from "./http-requests.js";
import type { Transport } from "./transport.js";

/** How long the server may wait for something to say. */
const WAIT_S = 25;

/** The least time between two answers that bring nothing, whatever the server or a cache on the way does. */
const PAUSE_MS = 1_000;

/** The least time between two polls that bring little, so that what comes one by one is not one request each. */
const SPACING_MS = 100;

/** An answer with so many messages may not have been all there is. */
const MANY = 50;

/** Who is to wait longer before the next poll is told that there is no connection. */
const LONGEST_RETRY_MS = 30_000;

/**
 * Long polling, and commands by POST. Where streams do not get through either; `auto` finds that out.
 *
 * Durable channels miss nothing. A live one misses what is published between two polls, which is told once, as `lost`.
 */
export const polling: Transport = openOverHttp(
  "polling",
  async ({ channels, signal, ask, heard, take, expect }) => {
    /** Waits, for ever if no time is given, but not after another request has taken the place of this one. */
    const pause = (ms?: number): Promise<void> =>
      new Promise((done) => {
        const end = (): void => {
          clearTimeout(timer);
          signal.removeEventListener("abort", end);
          done();
        };
        const timer = ms === undefined ? undefined : setTimeout(end, ms);
        signal.addEventListener("abort", end);
      });
    let cursor = "";
    let version = -1;
    let hasBegun = false;
    while (!signal.aborted) {
      if (!channels.size) {
        // The last channel has gone; another request follows if one comes.
        await pause();
        return;
      }
      const isSame = version === channels.version;
      version = channels.version;
      const query = channels.query();
      // The cursor stands for the channels that it was given for.
      if (isSame && cursor) query.append("cursor", cursor);
      // Who has just subscribed wants to know at once how that went.
      const waitS = channels.areAwaited() ? 0 : WAIT_S;
      query.append("wait", String(waitS));
      expect(0.6 * 1_000 * WAIT_S);
      const askedAt = Date.now();
      let answer;
      try {
        answer = JSON.parse(await bodyOf(signal, (own) => ask("poll", query, own)));
      } catch (error) {
        const retryMs = hasBegun && error instanceof Refusal ? error.said.retry_after_ms : undefined;
        if (retryMs === undefined || retryMs > LONGEST_RETRY_MS) throw error;
        // Between two polls a server that wants to be left alone for a moment is no reason to begin anew.
        expect(retryMs);
        await pause(retryMs);
        continue;
      }
      if (signal.aborted) return;
      hasBegun = true;
      heard();
      cursor = answer.cursor;
      answer.messages.map(fromJson).forEach(take);
      const isNews = ({ type }: { type: string }): boolean => type !== "connected" && type !== "subscribed";
      const isOfUse = waitS ? answer.messages.some(isNews) : !channels.areAwaited();
      const leastMs = !isOfUse ? PAUSE_MS : waitS && answer.messages.length < MANY ? SPACING_MS : 0;
      const leftMs = leastMs - (Date.now() - askedAt);
      if (leftMs > 0) await pause(leftMs);
    }
  },
  true,
);
