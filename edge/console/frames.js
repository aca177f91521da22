// The list of raw frames in both directions.

import { h } from "./dom.js";
import { bytes, clock } from "./format.js";

const KEPT_CHARS = 64 * 1024;
const PREVIEW_CHARS = 400;

let nextId = 1;

/** What the list keeps of a frame; the text of a very large one is cut. */
export function frameOf({ sent, data, size, type }) {
  const text = data.length > KEPT_CHARS ? data.slice(0, KEPT_CHARS) : data;
  return { id: nextId++, at: Date.now(), sent, text, cut: text.length < data.length, fullSize: size, size: text.length, type };
}

export const isPing = (frame) => frame.type === "ping" || frame.type === "pong";

export function searchText(frame) {
  frame.searchText ??= frame.text.toLowerCase();
  return frame.searchText;
}

export function fillFrame(row, frame) {
  if (!row.parts) {
    row.parts = {
      time: h("span", { class: "cell time" }),
      way: h("span", { class: "cell way" }),
      text: h("span", { class: "cell payload" }),
      size: h("span", { class: "cell size" }),
    };
    row.replaceChildren(row.parts.time, row.parts.way, row.parts.text, row.parts.size);
  }
  row.classList.add(frame.sent ? "sent" : "received", `type-${frame.type === "error" || frame.type === "lost" ? frame.type : "other"}`);
  row.parts.time.textContent = clock(frame.at);
  row.parts.way.textContent = frame.sent ? "↑ sent" : "↓ received";
  row.parts.text.textContent = frame.text.slice(0, PREVIEW_CHARS);
  row.parts.size.textContent = bytes(frame.fullSize);
}
