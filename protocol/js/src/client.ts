// The client: the connection, the commands under way and the channels, put together.

import type { ClientEvents, ConnectOptions, SubscribeOptions, Tailwater } from "./api.js";
import { type Channel, createChannel } from "./channel.js";
import { createCommands } from "./commands.js";
import { createConnection } from "./connection.js";
import { createEmitter } from "./emitter.js";
import { watchEnvironment } from "./environment.js";
import { TailwaterError } from "./error.js";
import type { ServerMessage, Update } from "./messages.js";
import type { State } from "./state.js";
import { createMember, type Member } from "./subscription.js";
import type { OpenLink } from "./transport.js";

/** How long the last values may take. */
const LATEST_MS = 30_000;

export function createClient(openLink: OpenLink, options: ConnectOptions): Tailwater {
  const { backoff, signal } = options;
  const { on, emit } = createEmitter<ClientEvents>();
  const commands = createCommands();
  const channels = new Map<string, Channel>();
  const ended = new AbortController();
  let state: State;

  const whyClosed = (): TailwaterError =>
    (state as { error?: TailwaterError }).error ?? new TailwaterError("closed", "closed");

  const eachMember = (visit: (member: Member) => void): void =>
    channels.forEach(({ members }) => [...members].forEach(visit));

  const changed = (next: State): void => {
    // Told once, although channels are looked at twice while connecting.
    const isNews = state !== next;
    state = next;
    const { name } = next;
    channels.forEach((channel) => (commands.areOpen() ? channel.sync() : channel.disconnected()));
    if (name === "closed") {
      ended.abort();
      commands.close(whyClosed());
      eachMember((member) => (next.error ? member.fail(next.error) : member.close()));
    }
    if (isNews) emit("state", next);
  };

  const heard = (message: ServerMessage): void => {
    if (message.type !== "update" && commands.answer(message)) return;
    channels.get((message as { channel: string }).channel)?.take(message);
  };

  const subscribe = (
    name: string,
    options: SubscribeOptions = {},
    listener?: (update: Update<any>) => void,
    settled?: () => void,
  ): Member => {
    let channel = channels.get(name);
    if (!channel) {
      channel = createChannel(name, commands, backoff, () => channels.delete(name));
      channels.set(name, channel);
    }
    const member = createMember(channel, options, listener, settled);
    if (state.name === "closed") queueMicrotask(() => member.fail(whyClosed()));
    return member;
  };

  const connection = createConnection(openLink, commands, options, changed, heard);
  const { close } = connection;
  watchEnvironment(connection.wake, () => eachMember((member) => member.flush()), ended.signal);
  signal?.addEventListener("abort", close, { signal: ended.signal });
  if (signal?.aborted) close();
  else connection.open();

  return {
    get state() {
      return state;
    },
    on,
    subscribe,
    publish(channel, payload, { key, ...terms } = {}) {
      // A key that is not the application's own: unique, and there on pages without TLS too, unlike `randomUUID`.
      if (!key && key !== false && !channels.get(channel)?.isLive()) {
        key = crypto.getRandomValues(new Uint32Array(4)).join("-");
      }
      return commands.request({ type: "publish", channel, payload, key: key || undefined }, { ...terms, again: !!key });
    },
    request: (channel, payload, terms = {}) =>
      commands
        .request<any>({ type: "request", channel, payload, timeout_ms: terms.timeoutMs }, terms)
        .then((reply) => reply.payload),
    history: (channel, { timeoutMs, signal, ...range } = {}) =>
      commands.request({ type: "history", channel, ...range }, { timeoutMs, signal, again: true }),
    latest: (channel, { timeoutMs = LATEST_MS, signal } = {}) =>
      new Promise((done, failed) => {
        signal?.throwIfAborted();
        const last = new Map<string | undefined, Update<any>>();
        const member = subscribe(
          channel,
          { latest: true, signal },
          (update) => last.set(update.subject, update),
          () => {
            done([...last.values()]);
            member.close();
          },
        );
        const timer = setTimeout(member.fail, timeoutMs, new TailwaterError("timeout", "no answer in time"));
        member.on("closed", (error) => {
          clearTimeout(timer);
          failed(error ?? signal?.reason ?? whyClosed());
        });
      }),
    close,
  };
}
