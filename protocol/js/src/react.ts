"use client";
// Hooks for React 18 and 19: what a channel brings, as state of a component.

import {
  createContext,
  createElement,
  type ReactElement,
  type ReactNode,
  useContext,
  useEffect,
  useMemo,
  useRef,
  useState,
  useSyncExternalStore,
} from "react";
import type { SubscribeOptions, Tailwater } from "./api.js";
import type { Lost, Update } from "./messages.js";
import { type ChannelState, type Feeds, listen, type Request, WAITING } from "./react-feed.js";
import type { State } from "./state.js";

export type { ChannelState } from "./react-feed.js";

/** Updates that `useChannel` keeps. */
const UPDATES = 100;

/** Subjects of which `useLatest` keeps the last update, and losses. */
const SUBJECTS = 1_000;

const CONNECTING: State = { name: "connecting", attempt: 0 };

/** The channel or pattern; without one nothing is subscribed. */
export type ChannelName = string | null | undefined;

/** Where a hook's subscription starts; absent, from now. Durable channels only. */
export type StartOptions = Pick<SubscribeOptions, "since" | "latest">;

/** How `useChannel` subscribes, and what it keeps. */
export interface ChannelOptions extends StartOptions {
  /** How many updates are kept, the newest: 100 if absent. */
  limit?: number | undefined;
}

/** What `useLatest` keeps. */
export interface LatestOptions {
  /** How many subjects are kept: 1,000 if absent. Of more, those go that were seen first. */
  limit?: number | undefined;
}

/** What `useChannel` gives. */
export interface ChannelView<T = unknown> extends ChannelState {
  /** The newest updates, oldest first. Those of a stream that began anew take the place of all before. */
  updates: readonly Update<T>[];
  /** Where publications are missing, oldest first. */
  lost: readonly Lost[];
}

/** What `useLatest` gives. */
export interface LatestView<T = unknown> extends ChannelState {
  /** The last update of each subject that has a value, by subject, in the order in which they were first seen. */
  latest: ReadonlyMap<string, Update<T>>;
  /** Where publications are missing, oldest first. */
  lost: readonly Lost[];
}

/** What `useChannelReducer` gives. */
export interface ReducedView<Value> extends ChannelState {
  value: Value;
}

/** `null`: there is no provider. */
const ClientContext = createContext<Tailwater | undefined | null>(null);

/** Gives its components a client. As long as that is `undefined`, as on a server, the hooks wait. */
export function TailwaterProvider(props: { client: Tailwater | undefined; children?: ReactNode }): ReactElement {
  return createElement(ClientContext.Provider, { value: props.client }, props.children);
}

/** The client of the provider, for what has no hook: to publish, to ask. */
export function useTailwater(): Tailwater | undefined {
  const client = useContext(ClientContext);
  if (client === null) throw new Error("there is no TailwaterProvider around this component");
  return client;
}

/** What the connection is doing. */
export function useConnectionState(): State {
  const client = useTailwater();
  const listen = useMemo(() => (changed: () => void) => client?.on("state", changed) ?? (() => {}), [client]);
  return useSyncExternalStore(
    listen,
    () => client?.state ?? CONNECTING,
    () => CONNECTING,
  );
}

/** The newest updates of a channel. Components that ask for the same share them. */
export function useChannel<T = unknown>(
  channel: ChannelName,
  { since, latest, limit = UPDATES }: ChannelOptions = {},
): ChannelView<T> {
  return useFeed<ChannelView<any>>(SHARED, ["channel", channel, since, latest, limit], (channel) => ({
    channel,
    starts: [{ since, latest }],
    initial: NO_UPDATES,
    fold(view, items) {
      const { updates, lost, anew } = part(items);
      return { ...view, updates: append(anew ? [] : view.updates, updates, limit), lost: append(view.lost, lost, limit) };
    },
  }));
}

/**
 * The last update of each subject of a channel or pattern: if it is durable, what is stored to begin with. Components that
 * ask for the same share them.
 */
export function useLatest<T = unknown>(channel: ChannelName, { limit = SUBJECTS }: LatestOptions = {}): LatestView<T> {
  return useFeed<LatestView<any>>(SHARED, ["latest", channel, limit], (channel) => ({
    channel,
    starts: [{ latest: true }, {}],
    initial: NONE_LATEST,
    fold(view, items) {
      const { updates, lost, anew } = part(items);
      const latest = new Map(anew ? [] : view.latest);
      for (const update of updates) {
        const subject = update.subject ?? update.channel;
        if (update.deleted) latest.delete(subject);
        else latest.set(subject, update);
        if (latest.size > limit) latest.delete(latest.keys().next().value!);
      }
      return { ...view, latest, lost: append(view.lost, lost, SUBJECTS) };
    },
  }));
}

/** What `reduce` makes of the updates and losses of a channel, in order, beginning with `initial`: each component its own. */
export function useChannelReducer<Value, T = unknown>(
  channel: ChannelName,
  reduce: (value: Value, item: Update<T> | Lost) => Value,
  initial: Value,
  { since, latest }: StartOptions = {},
): ReducedView<Value> {
  const [own] = useState<Feeds>(() => new WeakMap());
  const reducer = useRef(reduce);
  useEffect(() => {
    reducer.current = reduce;
  });
  return useFeed<ReducedView<Value>>(own, ["reducer", channel, since, latest], (channel) => ({
    channel,
    starts: [{ since, latest }],
    initial: { value: initial, ...WAITING },
    fold: (view, items) => ({
      ...view,
      value: items.reduce<Value>((value, item) => reducer.current(value, item), view.value),
    }),
  }));
}

/** What components share. */
const SHARED: Feeds = new WeakMap();

const NO_UPDATES: ChannelView = { updates: [], lost: [], ...WAITING };
const NONE_LATEST: LatestView = { latest: new Map(), lost: [], ...WAITING };

/** The feed of what was asked for: its kind, its channel, and what else makes it another one. */
function useFeed<View extends ChannelState>(
  feeds: Feeds,
  asked: [kind: string, channel: ChannelName, ...terms: unknown[]],
  request: (channel: string) => Request<View>,
): View {
  const client = useTailwater();
  const key = JSON.stringify(asked);
  // As long as the key is the same, so is what was asked for.
  const [subscribe, current, initial] = useMemo(() => {
    const channel = asked[1];
    const wanted = request(channel ?? "");
    return [
      (changed: () => void) => (client && channel ? listen(feeds, client, key, wanted, changed) : () => {}),
      (): View => (client && feeds.get(client)?.get(key)?.current()) ?? wanted.initial,
      () => wanted.initial,
    ] as const;
  }, [feeds, client, key]);
  return useSyncExternalStore(subscribe, current, initial);
}

/** The updates and the losses. `anew`: the stream has begun anew, and these are the updates since. */
function part(items: (Update | Lost)[]): { updates: Update[]; lost: Lost[]; anew: boolean } {
  const lost: Lost[] = [];
  let updates: Update[] = [];
  let anew = false;
  for (const item of items) {
    if (item.type === "update") updates.push(item);
    else {
      lost.push(item);
      if (item.reason === "epoch_changed") {
        anew = true;
        updates = [];
      }
    }
  }
  return { updates, lost, anew };
}

/** A list of the newest; the same one if nothing was added. */
const append = <T>(list: readonly T[], more: T[], limit: number): readonly T[] =>
  more.length ? [...list, ...more].slice(-limit) : list;
