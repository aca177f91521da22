// One subscription of the application: passes on what its channel brings, once and in order, to a listener or through a
// bounded queue to an iterator.

import type { SubscribeOptions, Subscription, SubscriptionEvents } from "./api.js";
import type { Channel } from "./channel.js";
import { createCursor } from "./cursor.js";
import { createEmitter, guarded } from "./emitter.js";
import { TailwaterError } from "./error.js";
import type { Lost, Position, ServerMessage, Start, Subscribed, Update } from "./messages.js";

/** Updates that may wait for an iterator. */
const BOUND = 10_000;

/** Publications that the server gives at a time to who reads on at its own pace. */
const PAGE = 1_000;

/** `away`: wants nothing of what comes, because its cursor is being read, or it reads on at its own pace. */
export type Standing = "away" | "waiting" | "in step" | "closed";

/** A subscription as its channel sees it. */
export interface Member extends Subscription<any> {
  readonly start: Start;
  /** Where a resume is safe; nothing: it has to start as it was asked to. */
  readonly position: () => Position | undefined;
  standing: Standing;
  /** The server delivers from here on; the last values may still be coming. */
  begin(reply: Subscribed): void;
  /** All that comes before the first live update is there, or follows in order. */
  settle(reply: Subscribed): void;
  /** A message of the channel. */
  take(message: ServerMessage): void;
  /** Ends it, with an error unless the application wants it. What waits for the iterator is still read. */
  fail(error?: TailwaterError): void;
  /** Writes the kept cursor now. */
  flush(): void;
}

/** Adds a subscription to its channel. `settled` is told when all that was asked for at the start is there. */
export function createMember(
  source: Channel,
  options: SubscribeOptions,
  listener?: (update: Update) => void,
  settled?: () => void,
): Member {
  const { since, latest, storage, signal, losses, bound = BOUND, whenFull } = options;
  const channel = source.name;
  const cursor = createCursor(channel);
  const keeper = storage?.(channel);
  const { on, emit } = createEmitter<SubscriptionEvents>();
  let queue: ServerMessage[] = [];
  /** How many at the front of the queue were taken. */
  let taken = 0;
  /** Updates that were dropped in front of the queue. */
  let dropped = 0;
  let begun = false;
  /** Its cursor, or a page, is on its way. */
  let reading = !!keeper;
  let failure: TailwaterError | undefined;
  let wake: (() => void) | undefined;

  const close = (): void => {
    queue = [];
    taken = 0;
    member.fail();
  };

  const lose = (reason: string): void => member.take({ type: "lost", channel, reason });

  const tell = (message: ServerMessage): void => {
    if (message.type === "lost") emit("lost", message);
  };

  /** Wants to be served again. */
  const comeBack = (): void => {
    reading = false;
    if (member.standing !== "away") return;
    member.standing = "waiting";
    source.sync();
  };

  /**
   * Reads a page whenever the last one is used up, and comes back behind the newest. Page by page because a pattern, as
   * long as it is not level, could only begin again where it began.
   */
  const readOn = (): void => {
    if (reading || queue.length || member.standing !== "away") return;
    reading = true;
    source.read(cursor.position()!, Math.min(bound, PAGE)).then(({ publications, lost, epoch, upto, next }) => {
      reading = false;
      if (lost) member.take({ type: "lost", channel, ...lost });
      for (const publication of publications) member.take({ type: "update", channel, ...publication });
      member.take({ type: "position", channel, offset: next ?? upto, epoch });
      if (next === undefined) comeBack();
      else readOn();
    }, comeBack);
  };

  const shift = (): ServerMessage | undefined => {
    const item = queue[taken];
    // Cut off when it is half of all, so that taking one costs the same however many wait.
    if (item && ++taken * 2 > queue.length) {
      queue.splice(0, taken);
      taken = 0;
    }
    return item;
  };

  const next = (): ServerMessage | undefined => {
    const count = dropped;
    dropped = 0;
    if (count) return { type: "lost", channel, count, reason: "slow_consumer" };
    const item = shift();
    readOn();
    return item;
  };

  /** False if the update is not to be taken: delivery stops, or all ends. */
  const makeRoom = (update: Update): boolean => {
    if (whenFull === "close") {
      member.fail(new TailwaterError("overflow", "not read in time", channel));
      return false;
    }
    if (whenFull !== "drop-oldest" && update.offset !== undefined) {
      // The last values of a pattern are bounded by the server, and cannot be had again one by one.
      if (!cursor.position()) return true;
      member.standing = "away";
      source.sync();
      return false;
    }
    const oldest = shift()!;
    if (oldest.type === "update") dropped += 1;
    tell(oldest);
    keeper?.done(oldest);
    return true;
  };

  const member: Member = {
    channel,
    start: { since, latest: latest || undefined },
    position: cursor.position,
    standing: keeper ? "away" : "waiting",
    on,
    close,
    begin(reply) {
      const had = cursor.position();
      // What came since cannot be had again: the channel is live, or its last values had not all come.
      if (begun && (!reply.durable || !had)) lose("disconnected");
      // Another subscription of the channel resumed, in another life of the stream.
      if (had && had.epoch !== reply.epoch && reply.recovered !== false) lose("epoch_changed");
      begun = true;
      cursor.begin(reply.epoch);
      emit("subscribed", reply);
    },
    settle({ offset, epoch }) {
      if (offset !== undefined) member.take({ type: "position", channel, offset, epoch: epoch! });
      settled?.();
    },
    take(message) {
      const isUpdate = message.type === "update";
      const isFull = isUpdate && !listener && member.standing === "in step" && queue.length - taken >= bound;
      if ((isFull && !makeRoom(message)) || !cursor.apply(message)) return;
      if (listener) {
        tell(message);
        if (isUpdate) guarded(listener, message);
        keeper?.done(message);
      } else if (isUpdate || message.type === "lost" || (keeper && message.type === "position")) {
        queue.push(message);
        wake?.();
      }
    },
    fail(error) {
      if (member.standing === "closed") return;
      member.standing = "closed";
      failure = error;
      signal?.removeEventListener("abort", close);
      source.members.delete(member);
      source.sync();
      keeper?.flush();
      if (!emit("closed", error) && error && listener) console.error(error);
      wake?.();
    },
    flush: () => keeper?.flush(),
    async *[Symbol.asyncIterator](): AsyncGenerator<Update | Lost, void, undefined> {
      try {
        for (;;) {
          const item = next();
          if (item) {
            tell(item);
            if (item.type === "update" || (losses && item.type === "lost")) yield item;
            keeper?.done(item);
          } else if (failure) throw failure;
          else if (member.standing === "closed") return;
          else await new Promise<void>((woken) => (wake = woken));
        }
      } finally {
        close();
      }
    },
  };

  source.members.add(member);
  signal?.addEventListener("abort", close);
  if (signal?.aborted) close();
  keeper?.load().then(
    (messages) => {
      messages.forEach(cursor.apply);
      comeBack();
    },
    (error) => member.fail(new TailwaterError("storage", String(error), channel)),
  );
  source.sync();
  return member;
}
