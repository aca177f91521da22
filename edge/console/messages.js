// The list of messages: updates, announced losses, and where the connection broke.

import { h } from "./dom.js";
import { bytes, clock, duration, payloadTime } from "./format.js";
import { closeWords } from "./connection-state.js";
import { lossWords, resumeWords } from "./continuity.js";

const PREVIEW_CHARS = 400;

let nextId = 1;

/** What the list keeps of an `update`. */
export function messageOf(update, size) {
  const at = Date.now();
  const sentAt = payloadTime(update.payload) ?? payloadTime(update);
  return { id: nextId++, kind: "update", at, size, update, ageMs: sentAt === undefined ? undefined : at - sentAt };
}

/** A `lost`: what did not get through. */
export const lossOf = (lost) => lineOf("lost", lossWords(lost), lost.channel);

/** A line for the answer to a subscription; null if it needs none, as one without a break before it does not. */
export function resumeOf(subscribed) {
  const text = resumeWords(subscribed);
  return text && lineOf("note", text, subscribed.channel);
}

/** Makes of each state of the connection a line, or null where it needs none, as the first connection does not. */
export function connectionLines() {
  let last = "";
  return (state) => {
    const before = last;
    if (state.name === "connected") {
      last = "connected";
      return before === "lost" ? lineOf("note", `connected again, session ${state.session}`) : null;
    }
    if (state.name === "connecting") return null;
    if (before === "connected") last = "lost";
    if (state.name === "closed") return lineOf("note", closeWords(state));
    return before === "connected" ? lineOf("note", `connection lost (${closeWords(state)})`) : null;
  };
}

const lineOf = (kind, text, channel) => ({ id: nextId++, kind, at: Date.now(), size: 64, channel, text });

export const subjectOf = (message) => message.update?.subject ?? message.update?.channel ?? message.channel ?? "";

const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(" ");

/** The payload in one line. Made once, when first shown or searched. */
export function payloadText(message) {
  if (message.payloadText === undefined) {
    const { update } = message;
    if (!update) message.payloadText = message.text;
    else if (update.payload instanceof Uint8Array) message.payloadText = `bytes ${hex(update.payload)}`;
    else if (update.deleted !== undefined) message.payloadText = `deleted: ${update.deleted}`;
    else message.payloadText = typeof update.payload === "string" ? update.payload : JSON.stringify(update.payload);
  }
  return message.payloadText;
}

/** What the filter searches. */
export function searchText(message) {
  message.searchText ??= `${subjectOf(message)} ${payloadText(message)}`.toLowerCase();
  return message.searchText;
}

/** Draws one row; `hueOf(channel)` is the channel's colour. */
export function fillMessage(row, message, hueOf) {
  if (!row.parts || row.parts.kind !== "message") {
    row.parts = {
      kind: "message",
      time: h("span", { class: "cell time" }),
      subject: h("span", { class: "cell subject" }),
      payload: h("span", { class: "cell payload" }),
      age: h("span", { class: "cell age" }),
      size: h("span", { class: "cell size" }),
    };
    row.replaceChildren(row.parts.time, row.parts.subject, row.parts.payload, row.parts.age, row.parts.size);
  }
  const { time, subject, payload, age, size } = row.parts;
  row.classList.add(message.kind);
  if (message.update) row.classList.add(`hue-${hueOf(message.update.channel)}`);
  time.textContent = clock(message.at);
  subject.textContent = subjectOf(message);
  subject.title = message.update?.subject ? `${message.update.subject}, by ${message.update.channel}` : "";
  payload.textContent = payloadText(message).slice(0, PREVIEW_CHARS);
  age.textContent = message.ageMs === undefined ? "" : duration(message.ageMs);
  size.textContent = message.update ? bytes(message.size) : "";
}
