// One channel as the server knows it, shared by all subscriptions of that name. The server delivers a channel once to a
// session, from one place on; so who comes later with a start of its own is begun alone, and then the channel goes on
// from the earliest cursor of all. Each subscription leaves out what it had.

import { type Backoff, backoffMs } from "./backoff.js";
import type { Commands } from "./commands.js";
import { TailwaterError } from "./error.js";
import type { Command, History, Position, ServerMessage, Start, Subscribed } from "./messages.js";
import type { Member, Standing } from "./subscription.js";

/** Refusals that time may mend. */
const PASSING = ["unavailable", "timeout", "rate_limited", "internal", "token_expired"];

export interface Channel {
  readonly name: string;
  readonly members: Set<Member>;
  /** It is known to keep nothing. */
  isLive(): boolean;
  disconnected(): void;
  /** What the server says of this channel. */
  take(message: ServerMessage): void;
  /** Does the next thing that the members need, if any. To be called when one of them has come, gone or changed. */
  sync(): void;
  /** What is stored behind a position, at most that many publications. */
  read(since: Position, limit: number): Promise<History>;
}

/** `emptied` is told when nobody is left and nothing is under way. */
export function createChannel(name: string, commands: Commands, backoff: Backoff | undefined, emptied: () => void): Channel {
  const members = new Set<Member>();
  let durable: boolean | undefined;
  /** An answer is awaited, before which nothing else is begun. */
  let busy = false;
  /** What comes is what the members in step expect. */
  let stands = false;
  /** The server may hold the channel for us. */
  let held = false;
  let attempt = 0;
  let retry: ReturnType<typeof setTimeout> | undefined;

  const those = (standing: Standing): Member[] => [...members].filter((member) => member.standing === standing);

  const fail = (failed: Member[], error: TailwaterError): void => failed.forEach((member) => member.fail(error));

  /** Nobody is in step any more. */
  const pause = (): void => {
    stands = false;
    for (const member of those("in step")) member.standing = "waiting";
  };

  const later = (afterMs = backoffMs(attempt++, backoff)): void => {
    retry = setTimeout(() => {
      retry = undefined;
      sync();
    }, afterMs);
  };

  const unsubscribe = (): void => {
    if (held) commands.request({ type: "unsubscribe", channel: name }).catch(() => {});
    held = stands = false;
  };

  const done = (): void => {
    busy = false;
    sync();
  };

  /** Asks, and begins nothing else until the answer is there. */
  const ask = (command: Command, joining: Member[], answered: (reply: any) => void): void => {
    busy = true;
    commands.ask(command, answered, (error: TailwaterError) => {
      if (!commands.areOpen() || error.code === "disconnected") return;
      // The last values may not all have come.
      if (command.type === "ping") pause();
      if (PASSING.includes(error.code)) later(error.retryAfterMs);
      else fail(joining, error);
      done();
    });
  };

  const enter = (joining: Member[], reply: Subscribed, latest?: true): void => {
    stands = true;
    durable = reply.durable;
    attempt = 0;
    joining = joining.filter(({ standing }) => standing === "waiting");
    for (const member of joining) {
      member.standing = "in step";
      member.begin(reply);
    }
    const settle = (): void => {
      for (const member of joining) if (member.standing === "in step") member.settle(reply);
      done();
    };
    // The last values stand behind the answer, and the answer to this behind them.
    if (latest) ask({ type: "ping" }, [], settle);
    else settle();
  };

  const subscribe = (start: Start, joining: Member[]): void => {
    const { since, latest } = start;
    if (since || latest) {
      // The server replays nothing of what it delivers already; before the last values it would not even say so.
      if (latest) held = true;
      unsubscribe();
      pause();
    }
    held = true;
    ask({ type: "subscribe", channel: name, ...start }, joining, (reply: Subscribed) => {
      // The server had joined the channel itself: once more.
      if (reply.durable && since && reply.recovered === undefined) done();
      else enter(joining, reply, latest);
    });
  };

  /** Lets those in who start as the first of them does, while others may be in step. */
  const begin = ([first, ...rest]: Member[], others: boolean): void => {
    const start = JSON.stringify(first!.start);
    const joining = [first!, ...rest.filter((member) => JSON.stringify(member.start) === start)];
    const fromNow = start === "{}";
    if (others && !durable && !fromNow) {
      // Not before whoever subscribes can listen.
      queueMicrotask(() => fail(joining, new TailwaterError("not_durable", "the channel is live", name)));
    } else if (others && durable && fromNow) {
      // The others may still be reading what was before, so how far the stream has come is asked for.
      ask({ type: "history", channel: name, limit: 1 }, joining, ({ upto, epoch }: History) =>
        enter(joining, { type: "subscribed", channel: name, durable: true, offset: upto, epoch }),
      );
    } else subscribe(first!.start, joining);
  };

  const sync = (): void => {
    if (busy) return;
    const inStep = those("in step");
    const waiting = those("waiting");
    const fresh = waiting.filter((member) => !member.position());
    if (!members.size) {
      clearTimeout(retry);
      unsubscribe();
      emptied();
    } else if (!commands.areOpen() || retry) return;
    else if (fresh.length) begin(fresh, inStep.length > 0);
    else if (waiting.length) {
      const all = [...waiting, ...inStep];
      const positions = all.map((member) => member.position()!);
      const { epoch } = positions[0]!;
      const offset = Math.min(...positions.map((position) => (position.epoch === epoch ? position.offset : Infinity)));
      subscribe({ since: { offset, epoch } }, all);
    } else if (!inStep.length) unsubscribe();
  };

  return {
    name,
    members,
    isLive: () => durable === false,
    disconnected() {
      busy = held = false;
      pause();
      clearTimeout(retry);
      retry = undefined;
      attempt = 0;
    },
    take(message) {
      const { type } = message;
      if (type === "subscribed") held = true;
      else if (type === "unsubscribed") {
        held = false;
        fail([...members], new TailwaterError("forbidden", "ended by the server", name));
      } else if (stands) {
        for (const member of members) if (member.standing === "in step") member.take(message);
        // Nothing comes until it is subscribed again.
        if (type === "lost" && message.reason === "nats_refused") {
          pause();
          later();
        }
      }
    },
    sync,
    read: (since, limit) =>
      commands.request({ type: "history", channel: name, since, order: "oldest", limit }, { again: true }),
  };
}
