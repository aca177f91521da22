// Quick start: how a service publishes and how a page listens, ready to copy, with this server's addresses.

import { copyButton, h } from "./dom.js";

const DEFAULT_NATS = "nats://127.0.0.1:4222";
const EXAMPLE = '{"id":7,"state":"live"}';

/** The addresses of this server, or the defaults where it does not tell. */
export async function fetchInfo(ws) {
  const unknown = { nats: DEFAULT_NATS, ws, version: null };
  try {
    const response = await fetch("/console/info.json");
    return response.ok ? { ...unknown, ...(await response.json()) } : unknown;
  } catch {
    return unknown;
  }
}

const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

/** Names the server only where the tools' own default would miss it. */
const server = ({ nats }) => (nats === DEFAULT_NATS || nats === "nats://localhost:4222" ? "" : `NATS_URL=${nats} `);

/** A shell line that publishes with the `nats` tool. */
export function publishCommand(info, channel, payload) {
  return `${server(info)}nats pub ${channel} ${quoted(payload)}`;
}

const browserClient = ({ ws }) => `const socket = new WebSocket("${ws}");

socket.addEventListener("open", () => {
  socket.send(JSON.stringify({ type: "subscribe", channel: "deployments" }));
});

socket.addEventListener("message", (event) => {
  console.log(JSON.parse(event.data));
});

// {"type":"connected","message":"Welcome!",…}
// {"type":"subscribed","channel":"deployments",…}
// {"type":"update","channel":"deployments","payload":${EXAMPLE}}`;

const sdkClient = ({ ws }) => `import { connect } from "tailwater";

const tw = connect("${ws}");
for await (const { subject, payload } of tw.subscribe("deployments.*", { since: "beginning" })) {
  console.log(subject, payload);
}`;

const pythonPublisher = ({ nats }) => `import asyncio, json, nats  # pip install nats-py

async def main():
    nc = await nats.connect("${nats}")
    await nc.publish("deployments", json.dumps({"id": 7, "state": "live"}).encode())
    await nc.drain()

asyncio.run(main())`;

function snippet(title, text, note) {
  return h("section", { class: "recipe" },
    h("h2", {}, title),
    note && h("p", {}, note),
    h("div", { class: "snippet" }, h("pre", { class: "mono", tabindex: "0", "aria-label": title }, text), copyButton(() => text)),
  );
}

/** Fills the pane; `subscribe` subscribes to the channel of the examples. */
export function buildGuide(pane, info, subscribe) {
  const offer = h("button", { class: "button", type: "button" }, "Subscribe to deployments");
  offer.addEventListener("click", subscribe);
  pane.replaceChildren(
    h("p", { class: "lead" }, "A service publishes to NATS as it always did; pages receive it over one WebSocket. Subscribe, run one of the commands, and watch it arrive."),
    offer,
    snippet("Publish with the nats tool", publishCommand(info, "deployments", EXAMPLE)),
    snippet("Publish with tailwater itself", `${server(info)}tailwater pub deployments ${quoted(EXAMPLE)}`, "For machines without a NATS client."),
    snippet("Publish from Python", pythonPublisher(info)),
    snippet("Listen in a page", browserClient(info), "No library is needed: this is the whole client."),
    snippet("Listen with the TypeScript client", sdkClient(info), "It comes back after a break and goes on where it was. This page is made with it."),
  );
}
