// The console's connection: a client of the SDK, which a person may close and open anew with another address, and a tap
// on its sockets, by which every frame is seen as it travels. The tap sends pings of its own, to time them.

import { utf8Length } from "./format.js";
import { connect } from "./tailwater.js";

const PING_EVERY_MS = 5_000;

/** The SDK counts its commands up from 1. */
const PING_ID = 2 ** 32 - 1;

/** What frames begin with. */
const TYPE = /^\[?\{"type":"([a-z_]+)"/;

/** The WebSocket of the host that served this page. */
export function defaultAddress() {
  return `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws`;
}

/** Ends the wait for the next attempt. To the SDK it is as if the network had come back. */
export const retryNow = () => dispatchEvent(new Event("online"));

export class Connection {
  #listeners = { client: [], state: [], frame: [], roundTrip: [] };
  #socket = null;
  #pingTimer = 0;
  #pingedAt = 0;

  /** The present client of the SDK. */
  client = null;
  /** When its state became what it is. */
  since = Date.now();
  /** Of the frame that is being read, in bytes. */
  frameSize = 0;

  constructor(url) {
    this.url = url;
  }

  get state() {
    return this.client?.state ?? { name: "closed" };
  }

  /** Hears "client" (a new one), "state", "frame" (both directions) or "roundTrip" (ms). */
  on(event, listener) {
    this.#listeners[event].push(listener);
  }

  /** Opens a client, in the place of the one there may be. */
  open(url = this.url) {
    const former = this.client;
    this.client = null;
    former?.close();
    this.url = url;
    const client = connect(url, { client: "console", WebSocket: this.#tapped() });
    this.client = client;
    client.on("state", (state) => client === this.client && this.#become(state));
    this.#become(client.state);
    this.#tell("client", client);
  }

  close() {
    this.client?.close();
  }

  #become(state) {
    this.since = Date.now();
    clearInterval(this.#pingTimer);
    if (state.name === "connected") {
      this.#pingTimer = setInterval(() => this.#ping(), PING_EVERY_MS);
      this.#ping();
    }
    this.#tell("state", state);
  }

  #ping() {
    this.#pingedAt = performance.now();
    this.#socket.send(JSON.stringify({ type: "ping", id: PING_ID }));
  }

  /** A WebSocket of which each frame is told, to us before the SDK. */
  #tapped() {
    const opened = (socket) => {
      this.#socket = socket;
    };
    const hear = (sent, data) => this.#hear(sent, data);
    return class extends WebSocket {
      constructor(url, protocols) {
        super(url, protocols);
        this.addEventListener("message", ({ data }) => hear(false, data));
        opened(this);
      }

      send(data) {
        super.send(data);
        hear(true, data);
      }
    };
  }

  #hear(sent, data) {
    const size = utf8Length(data);
    const type = TYPE.exec(data)?.[1];
    if (!sent) this.frameSize = size;
    if (!sent && type === "pong" && JSON.parse(data).id === PING_ID) this.#tell("roundTrip", performance.now() - this.#pingedAt);
    this.#tell("frame", { sent, data, size, type });
  }

  #tell(event, detail) {
    for (const listener of this.#listeners[event]) listener(detail);
  }
}
