// Receives by a stream of server-sent events, read with `fetch`: unlike `EventSource` that can send a token in a header,
// and exists outside of pages.

import { json } from "./codec.js";
import { createEventParser } from "./event-stream.js";
import { openOverHttp, type Received } from "./http-link.js";
import type { Transport } from "./transport.js";

/**
 * Server-sent events, and commands by POST. Where WebSockets do not get through; `auto` finds that out.
 *
 * A change of what is subscribed opens the stream anew: durable channels miss nothing, a live one is told `lost`.
 */
export const sse: Transport = openOverHttp(
  "sse",
  async ({ channels, signal, ask, heard, take, retryAfter }) => {
    const { body } = await ask("sse", channels.query(), signal);
    const reader = body!.getReader();
    // Of a stream that is aborted but not cancelled Deno may keep something, and does not exit.
    signal.addEventListener("abort", () => reader.cancel().catch(() => {}));
    const decoder = new TextDecoder();
    const { push } = createEventParser();
    let hasBegun = false;
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      heard();
      for (const { data, retryMs } of push(decoder.decode(value, { stream: true }))) {
        // The first one is for an `EventSource`, which has no back-off of its own.
        if (hasBegun && retryMs !== undefined) retryAfter(retryMs);
        if (data === undefined) continue;
        hasBegun = true;
        take(json.decode(data) as Received);
      }
    }
  },
  false,
);
