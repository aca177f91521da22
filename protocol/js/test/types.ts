// Never run: that this compiles, with the types as they are published, is the test.

import { connect, TailwaterError, type Lost, type State, type Update } from "tailwater";
import { auto, fallback, polling, sse } from "tailwater/http";
import { msgpack } from "tailwater/msgpack";
import { type ChannelView, TailwaterProvider, useChannel, useChannelReducer, useConnectionState, useLatest, useTailwater } from "tailwater/react";
import { stored } from "tailwater/storage";

interface Deployment {
  id: number;
  state: string;
}

export async function compiles(page: { getItem(key: string): string | null; setItem(key: string, text: string): void }) {
  const tw = connect("wss://example.com/ws", { token: async () => "token", codec: msgpack });
  for (const transport of [auto, sse, polling, fallback({ moveUpMs: 60_000 })]) connect("/ws", { transport });
  // @ts-expect-error a transport is not a name
  connect("/ws", { transport: "sse" });
  const storage = stored({ get: (key) => page.getItem(key), set: (key, text) => page.setItem(key, text) });

  for await (const update of tw.subscribe<Deployment>("deployments.*", { since: "beginning", storage })) {
    const state: string = update.payload.state;
    // @ts-expect-error there is no such field
    update.payload.status;
    void state;
  }
  for await (const item of tw.subscribe<Deployment>("deployments.*", { losses: true })) {
    const known: Update<Deployment> | Lost = item;
    if (item.type === "lost") void item.reason;
    else void item.payload.id;
    void known;
  }
  const subscription = tw.subscribe<Deployment>("deployments.*", { latest: true }, ({ payload }) => void payload.id);
  subscription.on("lost", ({ from, to, reason }) => void [from, to, reason]);
  subscription.on("closed", (error) => error instanceof TailwaterError && error.code === "forbidden");
  // @ts-expect-error there is no such event
  subscription.on("opened", () => {});
  tw.on("state", (state: State) => state.name === "waiting" && state.delayMs.toFixed());
  tw.on("state", (state) => state.name === "connected" && state.transport === "polling");

  const { offset } = await tw.publish("chat.room", { text: "hello" }, { key: "k" });
  const price: { amount: number } = await tw.request<{ amount: number }>("prices.get", 17, { timeoutMs: 1_000 });
  const { publications } = await tw.history<Deployment>("deployments.42", { since: { last: 5 }, order: "oldest" });
  const [newest] = await tw.latest<Deployment>("deployments.42");
  void [offset, price, publications[0]?.payload.state, newest?.payload.state];
  // @ts-expect-error a start is a position, "beginning", a number of publications, or a time
  tw.subscribe("a", { since: "now" });
}

export function Compiles() {
  const { updates, lost, state, error }: ChannelView<Deployment> = useChannel<Deployment>("deployments.*", { since: "beginning", limit: 10 });
  void [updates[0]?.payload.state, lost[0]?.reason, state === "live", error?.code];
  // @ts-expect-error the list belongs to all who share it
  updates.push(updates[0]!);
  void useLatest<Deployment>(null).latest.get("deployments.42")?.payload.id;
  const { value } = useChannelReducer("deployments.*", (sum, item: Update<Deployment> | Lost) => (item.type === "update" ? sum + item.payload.id : sum), 0);
  void value.toFixed();
  const connection: State = useConnectionState();
  void [connection, useTailwater()?.publish("chat.room", "hello")];
  return TailwaterProvider({ client: connect("/ws"), children: "text" });
}
