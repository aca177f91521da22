// The list of messages: updates, announced losses, and where the connection broke.

import { h } from "./dom.js";
import { bytes, clock, duration, payloadTime } from "./format.js";
import { closeWords } from "./connection-state.js";

const PREVIEW_CHARS = 400;

let nextId = 1;

/** What the list keeps of an `update`. */
export function messageOf(update, size) {
  const at = Date.now();
  const sentAt = payloadTime(update.payload) ?? payloadTime(update);
  return { id: nextId++, kind: "update", at, size, update, ageMs: sentAt === undefined ? undefined : at - sentAt };
}

/** A `lost` push: the server says what did not get through. */
export function lossOf(push) {
  const what = push.count !== undefined ? `${push.count} messages` : push.from !== undefined ? `${push.from} to ${push.to}` : "messages";
  return { id: nextId++, kind: "lost", at: Date.now(), size: 64, channel: push.channel, text: `${what} lost: ${push.reason}`, push };
}

/** A line in the list for a change of the connection; null if it needs none, as the first connection does not. */
export function noteOf(state, isFirst) {
  let text = null;
  if (state.name === "connected" && !isFirst) text = `connected again, session ${state.welcome.session}`;
  else if (state.name === "waiting" && state.attempt === 1) text = `connection lost (${closeWords(state)}); what was published meanwhile is not shown`;
  else if (state.name === "closed" && state.reason) text = closeWords(state);
  return text && { id: nextId++, kind: "note", at: Date.now(), size: 64, text };
}

export const subjectOf = (message) => message.update?.subject ?? message.update?.channel ?? message.channel ?? "";

/** The payload in one line. Made once, when first shown or searched. */
export function payloadText(message) {
  if (message.payloadText === undefined) {
    const { update } = message;
    if (!update) message.payloadText = message.text;
    else if (update.payload_b64 !== undefined) message.payloadText = `base64 ${update.payload_b64}`;
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
