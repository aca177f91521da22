// What components see of a subscription: a view that is replaced, never changed, at most once a frame. Components that
// ask for the same share one, and it outlives the moment between an unmount and the next mount.

import type { SubscribeOptions, Tailwater } from "./api.js";
import type { TailwaterError } from "./error.js";
import type { Lost, Update } from "./messages.js";

/** What may wait for the next view. It is taken into account earlier when there is more, shown or not. */
const MOST_PENDING = 1_000;

/** How long a change may wait where no frames are drawn, as on a hidden page, of which a title may still be seen. */
const UNDRAWN_MS = 100;

/** What every hook for a channel tells. */
export interface ChannelState {
  /** `live`: what is published comes. `waiting`: not yet, or not now. `closed`: never again. */
  state: "waiting" | "live" | "closed";
  /** Why it is closed, unless the application has closed the client. */
  error: TailwaterError | undefined;
}

/** @internal */
export const WAITING: ChannelState = { state: "waiting", error: undefined };

/** @internal What components ask for. */
export interface Request<View extends ChannelState> {
  channel: string;
  /** How to subscribe: as the first says, as the next if the channel stores nothing. */
  starts: SubscribeOptions[];
  initial: View;
  /** The view after these. What it throws is thrown in the components. */
  fold(view: View, items: (Update<any> | Lost)[]): View;
}

/** @internal */
export interface Feed<View> {
  /** The same until it has changed. */
  current(): View;
  /** Calls `changed` after each change. When the last has left, the subscription ends a moment later. */
  listen(changed: () => void): () => void;
}

/** @internal The feeds of each client, by what was asked for. */
export type Feeds = WeakMap<Tailwater, Map<string, Feed<any>>>;

/** @internal Listens to the feed of this key, which is made if there is none. */
export function listen<View extends ChannelState>(
  feeds: Feeds,
  client: Tailwater,
  key: string,
  request: Request<View>,
  changed: () => void,
): () => void {
  const ofClient = feeds.get(client) ?? new Map<string, Feed<any>>();
  feeds.set(client, ofClient);
  const feed = ofClient.get(key) ?? createFeed(client, request, () => ofClient.delete(key));
  ofClient.set(key, feed);
  return feed.listen(changed);
}

function createFeed<View extends ChannelState>(client: Tailwater, request: Request<View>, ended: () => void): Feed<View> {
  const { channel, starts, initial, fold } = request;
  const listeners = new Set<() => void>();
  const abort = new AbortController();
  let pending: (Update | Lost)[] = [];
  /** The newest view, and the one that components have. */
  let view = initial;
  let shown = initial;
  let thrown: { reason: unknown } | undefined;
  let frame: number | undefined;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let ending: ReturnType<typeof setTimeout> | undefined;

  const settle = (): void => {
    const items = pending;
    pending = [];
    if (!items.length || thrown) return;
    try {
      view = fold(view, items);
    } catch (reason) {
      thrown = { reason };
      abort.abort();
    }
  };

  const unschedule = (): void => {
    clearTimeout(timer);
    if (frame !== undefined) cancelAnimationFrame(frame);
    timer = frame = undefined;
  };

  const show = (): void => {
    unschedule();
    settle();
    shown = view;
    for (const changed of [...listeners]) changed();
  };

  const schedule = (): void => {
    if (timer !== undefined) return;
    timer = setTimeout(show, UNDRAWN_MS);
    frame = globalThis.requestAnimationFrame?.(show);
  };

  const take = (item: Update | Lost): void => {
    pending.push(item);
    if (pending.length >= MOST_PENDING) settle();
    schedule();
  };

  const become = (next: ChannelState): void => {
    view = { ...view, ...next };
    schedule();
  };

  const begin = ([options, ...others]: SubscribeOptions[]): void => {
    const subscription = client.subscribe(channel, { ...options, signal: abort.signal }, take);
    subscription.on("lost", take);
    subscription.on("subscribed", () => become({ state: "live", error: undefined }));
    subscription.on("closed", (error) => {
      if (error?.code === "not_durable" && others.length) begin(others);
      else become({ state: "closed", error });
    });
  };

  begin(starts);
  const off = client.on("state", ({ name }) => {
    if (name !== "connected" && view.state === "live") become(WAITING);
  });

  const endIfUnused = (): void => {
    if (listeners.size) return;
    ended();
    off();
    abort.abort();
    unschedule();
  };

  return {
    current() {
      if (thrown) throw thrown.reason;
      return shown;
    },
    listen(changed) {
      listeners.add(changed);
      return () => {
        listeners.delete(changed);
        // Not at once: StrictMode, and a page that takes another's place, mount again what they have just unmounted.
        clearTimeout(ending);
        ending = setTimeout(endIfUnused);
      };
    },
  };
}
