// Reads event streams as the HTML standard says ("Server-sent events", section "Parsing an event stream"), from pieces
// that may end anywhere. No I/O.

/** The longest line that is put together: far above what a server sends, so that a broken one cannot fill the memory. */
const MOST_CHARACTERS = 64 * 1024 * 1024;

/** What a block of the stream said. */
export interface StreamEvent {
  /** The `data` lines; absent if there were none, as in a block that only sets the `id`. */
  data: string | undefined;
  /** How long to wait before coming back, in milliseconds, if the block said so. */
  retryMs: number | undefined;
}

export interface EventParser {
  /** Takes in a piece and gives the events that it completes. Comments give none. */
  push(piece: string): StreamEvent[];
}

export function createEventParser(): EventParser {
  /** The beginning of a line whose end has not come yet, in the pieces in which it came. */
  let partial: string[] = [];
  let partialLength = 0;
  /** The last piece ended with CR, so a LF at the start of the next one belongs to it. */
  let afterReturn = false;
  let isFirst = true;
  let data: string[] = [];
  let retryMs: number | undefined;

  const takeLine = (line: string, events: StreamEvent[]): void => {
    if (line === "") {
      if (data.length || retryMs !== undefined) {
        events.push({ data: data.length ? data.join("\n") : undefined, retryMs });
      }
      data = [];
      retryMs = undefined;
      return;
    }
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(line[colon + 1] === " " ? colon + 2 : colon + 1);
    if (field === "data") data.push(value);
    else if (field === "retry" && /^\d+$/.test(value)) retryMs = Number(value);
  };

  return {
    push(piece) {
      const events: StreamEvent[] = [];
      if (piece === "") return events;
      let from = 0;
      // A byte order mark is left out, whether or not the decoder has done that.
      if (isFirst && piece[0] === "\ufeff") from = 1;
      isFirst = false;
      if (afterReturn && piece[from] === "\n") from += 1;
      afterReturn = false;

      const ends = /\r\n|\r|\n/g;
      ends.lastIndex = from;
      for (let end = ends.exec(piece); end; end = ends.exec(piece)) {
        partial.push(piece.slice(from, end.index));
        from = ends.lastIndex;
        afterReturn = end[0] === "\r" && from === piece.length;
        const line = partial.length === 1 ? partial[0]! : partial.join("");
        partial = [];
        partialLength = 0;
        takeLine(line, events);
      }
      if (from < piece.length) {
        partial.push(piece.slice(from));
        partialLength += piece.length - from;
        if (partialLength > MOST_CHARACTERS) throw new Error("a line of the event stream is too long");
      }
      return events;
    },
  };
}
