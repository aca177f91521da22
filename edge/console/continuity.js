// What the SDK tells of breaks, counted for both pages: how often it came back, and what is missing.

import { count } from "./format.js";

export class Continuity {
  #connections = 0;
  #lost = 0;
  #gaps = 0;

  /** Takes in a state of the connection. */
  follow(state) {
    if (state.name === "connected") this.#connections += 1;
  }

  /** Takes in a `lost`, which may not say how many. */
  lose({ count: many }) {
    if (many === undefined) this.#gaps += 1;
    else this.#lost += many;
  }

  get reconnects() {
    return Math.max(0, this.#connections - 1);
  }

  /** "once", "3 times" */
  get reconnectWords() {
    return this.reconnects === 1 ? "once" : `${count(this.reconnects)} times`;
  }

  get lossWords() {
    const parts = [];
    if (this.#lost) parts.push(`${count(this.#lost)} ${this.#lost === 1 ? "message" : "messages"}`);
    if (this.#gaps) parts.push(`${count(this.#gaps)} ${this.#gaps === 1 ? "gap" : "gaps"}`);
    return parts.join(" and ") || "nothing";
  }
}

/** "3 messages lost: trimmed" */
export function lossWords({ count: many, from, to, reason }) {
  const what = many !== undefined ? `${count(many)} messages` : from !== undefined ? `${from} to ${to}` : "messages";
  return reason === "disconnected" ? "not connected: what was published meanwhile is not kept" : `${what} lost: ${reason}`;
}

/** What a subscription's answer says of a break before it; null if there is nothing to say. */
export function resumeWords({ recovered, offset }) {
  if (recovered === undefined) return null;
  return recovered ? `resumed behind offset ${count(offset)}: nothing is missing` : "resumed, but not everything is stored any more";
}
