// One WebSocket that comes back: welcome, replies by id, liveness, exponential back-off. Both pages use it.
// What was subscribed is not kept here; whoever listens to "connected" subscribes again.

import { utf8Length } from "./format.js";

const FIRST_DELAY_MS = 1_000;
const LONGEST_DELAY_MS = 30_000;
const REPLY_TIMEOUT_MS = 10_000;
const SUBPROTOCOL = "tailwater.v1.json";

/** Closes after which trying again with the same credentials cannot help. */
const FINAL_CLOSES = new Set([1002, 1003, 1007, 1009, 4400, 4401, 4403, 4410]);

/** A command that was answered with `error`, or not at all. */
export class CommandError extends Error {
  constructor(code, message, channel) {
    super(message);
    this.code = code;
    this.channel = channel;
  }
}

export class Connection {
  #url;
  #socket = null;
  #attempt = 0;
  #timer = 0;
  #pingTimer = 0;
  #pingEveryMs;
  #heardAt = 0;
  #nextId = 1;
  #pending = new Map();
  #listeners = { state: [], update: [], push: [], frame: [], roundTrip: [] };
  #drainMs = null;

  /** `connecting`, `connected`, `waiting` (with `retryAt`) or `closed`; the last two with `code` and `reason` if known. */
  state = { name: "closed" };

  constructor(url, { pingEveryMs }) {
    this.#url = url;
    this.#pingEveryMs = pingEveryMs;
    addEventListener("online", () => this.retryNow());
    document.addEventListener("visibilitychange", () => document.hidden || this.retryNow());
  }

  get url() {
    return this.#url;
  }

  /** Hears "state", "update", "push" (all else unasked), "frame" (both directions) or "roundTrip" (ms). */
  on(event, listener) {
    this.#listeners[event].push(listener);
    return this;
  }

  open(url = this.#url) {
    this.#drop();
    this.#url = url;
    this.#attempt = 0;
    this.#connect();
  }

  /** Closes for good, until `open`. */
  close() {
    const socket = this.#socket;
    this.#drop();
    socket?.close(1000, "closed by the user");
    this.#become({ name: "closed", code: 1000, reason: "closed by you" });
  }

  /** Ends a wait for the next attempt. */
  retryNow() {
    if (this.state.name !== "waiting") return;
    clearTimeout(this.#timer);
    this.#connect();
  }

  /** Sends a command and returns its reply; rejects with `CommandError`. */
  request(command) {
    if (this.state.name !== "connected") {
      return Promise.reject(new CommandError("disconnected", "There is no connection at the moment."));
    }
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#pending.delete(id);
        reject(new CommandError("timeout", `No answer within ${REPLY_TIMEOUT_MS / 1000} s.`));
      }, REPLY_TIMEOUT_MS);
      this.#pending.set(id, { resolve, reject, timer });
      this.#send({ ...command, id });
    });
  }

  #connect() {
    this.#become({ name: "connecting", attempt: this.#attempt });
    let socket;
    try {
      socket = new WebSocket(this.#url, SUBPROTOCOL);
    } catch (error) {
      this.#become({ name: "closed", reason: error.message });
      return;
    }
    this.#socket = socket;
    socket.onmessage = (event) => this.#hear(event.data);
    socket.onclose = (event) => this.#lose(event.code, event.reason);
  }

  #hear(data) {
    this.#heardAt = performance.now();
    const size = typeof data === "string" ? utf8Length(data) : data.size;
    let message;
    try {
      message = JSON.parse(data);
    } catch {
      this.#tell("frame", { sent: false, data: String(data), size, type: "not JSON" });
      return;
    }
    this.#tell("frame", { sent: false, data, size, type: Array.isArray(message) ? "batch" : message.type });
    if (Array.isArray(message)) for (const one of message) this.#take(one, size / message.length);
    else this.#take(message, size);
  }

  #take(message, size) {
    if (message.type === "update") {
      this.#tell("update", message, size);
      return;
    }
    const pending = message.id === undefined ? undefined : this.#pending.get(message.id);
    if (pending) {
      this.#pending.delete(message.id);
      clearTimeout(pending.timer);
      if (message.type === "error") pending.reject(new CommandError(message.code, message.message, message.channel));
      else pending.resolve(message);
      return;
    }
    if (message.type === "connected") {
      this.#attempt = 0;
      this.#become({ name: "connected", welcome: message, since: Date.now() });
      this.#watch();
    } else if (message.type === "drain") {
      this.#drain(message.reconnect_after_ms ?? 0);
    }
    this.#tell("push", message);
  }

  #drain(afterMs) {
    this.#drainMs = afterMs;
    this.#socket.close(1000, "drained");
  }

  #lose(code, reason) {
    const drainMs = this.#drainMs;
    this.#drop();
    if (FINAL_CLOSES.has(code)) {
      this.#become({ name: "closed", code, reason });
      return;
    }
    const ceiling = Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** this.#attempt);
    // Half fixed and half random: pages that lost the same edge do not come back in one moment.
    const delay = drainMs ?? ceiling / 2 + (Math.random() * ceiling) / 2;
    this.#attempt += 1;
    this.#become({ name: "waiting", code, reason, attempt: this.#attempt, retryAt: Date.now() + delay });
    this.#timer = setTimeout(() => this.#connect(), delay);
  }

  /** Forgets the socket and all that hangs on it. */
  #drop() {
    clearTimeout(this.#timer);
    clearInterval(this.#pingTimer);
    this.#drainMs = null;
    if (this.#socket) {
      this.#socket.onmessage = null;
      this.#socket.onclose = null;
      this.#socket = null;
    }
    for (const { reject, timer } of this.#pending.values()) {
      clearTimeout(timer);
      reject(new CommandError("disconnected", "The connection ended before the answer came."));
    }
    this.#pending.clear();
  }

  /** Measures the round trip, and notices a connection that is dead without having said so. */
  #watch() {
    const ping = async () => {
      const sentAt = performance.now();
      try {
        await this.request({ type: "ping" });
        this.#tell("roundTrip", performance.now() - sentAt);
      } catch (error) {
        const silentMs = performance.now() - this.#heardAt;
        if (error.code !== "timeout" || silentMs < REPLY_TIMEOUT_MS || !this.#socket) return;
        const socket = this.#socket;
        this.#lose(undefined, `silent for ${Math.round(silentMs / 1000)} s`);
        socket.close();
      }
    };
    ping();
    this.#pingTimer = setInterval(ping, this.#pingEveryMs);
  }

  #send(command) {
    const data = JSON.stringify(command);
    this.#socket.send(data);
    this.#tell("frame", { sent: true, data, size: utf8Length(data), type: command.type });
  }

  #become(state) {
    this.state = state;
    this.#tell("state", state);
  }

  #tell(event, ...details) {
    for (const listener of this.#listeners[event]) listener(...details);
  }
}

/** The WebSocket of the host that served this page. */
export function defaultAddress() {
  return `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws`;
}
