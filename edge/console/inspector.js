// The pane that shows the selected message or frame whole. It keeps showing it when the list has moved on.

import { copyButton, h, icon } from "./dom.js";
import { bytes, clock, count, duration } from "./format.js";
import { jsonTree } from "./json-tree.js";
import { payloadText, subjectOf } from "./messages.js";

export class Inspector {
  #pane;
  #onClose;
  #copyText = null;

  constructor(pane, onClose) {
    this.#pane = pane;
    this.#onClose = onClose;
  }

  get open() {
    return !this.#pane.hidden;
  }

  /** What `c` copies: the payload as JSON, or the raw frame; null if nothing is shown. */
  get copyText() {
    return this.#copyText;
  }

  close() {
    this.#pane.hidden = true;
    this.#copyText = null;
    this.#pane.replaceChildren();
  }

  showMessage(message) {
    const { update } = message;
    const facts = [["Received", clock(message.at)]];
    if (update) {
      if (update.subject) facts.push(["Subscribed as", update.channel]);
      if (message.ageMs !== undefined) facts.push(["Age on arrival", duration(message.ageMs)]);
      facts.push(["Frame", bytes(message.size)]);
      if (update.offset !== undefined) facts.push(["Offset", count(update.offset)]);
      if (update.time) facts.push(["Stored", update.time]);
    }
    const payload = update?.payload;
    const isText = !update || typeof payload === "string" || payload instanceof Uint8Array;
    const pretty = isText ? payloadText(message) : JSON.stringify(payload, null, 2);
    const body = !isText
      ? jsonTree(payload)
      : h("pre", { class: "raw mono" }, payloadText(message));
    this.#show(subjectOf(message) || "Connection", facts, body, pretty);
  }

  showFrame(frame) {
    const facts = [["At", clock(frame.at)], ["Type", frame.type ?? "none"], ["Size", bytes(frame.fullSize)]];
    const title = frame.sent ? "↑ Frame sent" : "↓ Frame received";
    const text = frame.cut ? `${frame.text}… (cut here; the frame has ${bytes(frame.fullSize)})` : frame.text;
    this.#show(title, facts, h("pre", { class: "raw mono" }, text), frame.text);
  }

  #show(title, facts, body, copyText) {
    this.#copyText = copyText;
    this.#pane.replaceChildren(
      h("header", { class: "inspector-head" },
        h("h2", { class: "inspector-title mono" }, title),
        copyButton(() => copyText),
        h("button", { class: "icon-button", type: "button", "aria-label": "Close details", title: "Close (Esc)", onclick: () => this.#onClose() }, icon("close")),
      ),
      h("dl", { class: "facts" }, ...facts.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)))),
      h("div", { class: "inspector-body", tabindex: "0", role: "region", "aria-label": "Content" }, body),
    );
    this.#pane.hidden = false;
  }
}
