// The live log: the last lines of all deployments, or of one. It follows the end until the reader scrolls up.

import { h } from "./dom.js";
import { clock, count } from "./format.js";

const MOST_LINES = 500;
const HUES = 6;

export class LogView {
  #place;
  #empty;
  #follow;
  #filterButton;
  #counter;
  #lines = [];
  #fresh = [];
  #only = null;
  #following = true;
  #hues = new Map();

  /** `onFilter(id or null)` hears which deployment is shown alone. */
  constructor({ lines, empty, follow, filter, counter, onFilter }) {
    this.#place = lines;
    this.#empty = empty;
    this.#follow = follow;
    this.#filterButton = filter;
    this.#counter = counter;
    this.onFilter = onFilter;
    lines.addEventListener("scroll", () => this.#noticeScroll(), { passive: true });
    follow.addEventListener("click", () => this.#toEnd());
    filter.addEventListener("click", () => this.filter(null));
  }

  /** Takes a line; `draw` shows it. */
  add({ id, ts, level, phase, line }) {
    const known = level === "warn" || level === "error" ? level : "info";
    this.#take({ id, at: Date.parse(ts) || Date.now(), level: known, phase, text: String(line ?? "") });
  }

  /** A line of the page itself, shown whatever the filter says. */
  note(text, level) {
    this.#take({ id: null, at: Date.now(), level, phase: "", text });
  }

  /** Shows one deployment's lines, or all for null. */
  filter(id) {
    this.#only = id;
    this.#filterButton.hidden = id === null;
    this.#filterButton.textContent = id === null ? "" : `${id} only ×`;
    this.#filterButton.setAttribute("aria-label", `Showing ${id} only. Show all`);
    this.#fresh = [];
    this.#place.replaceChildren(...this.#lines.filter((line) => this.#shows(line)).map((line) => this.#element(line)));
    this.#toEnd();
    this.#showCount();
    this.onFilter(id);
  }

  draw() {
    if (!this.#fresh.length) return;
    const before = this.#place.scrollHeight;
    this.#place.append(...this.#fresh.filter((line) => this.#shows(line)).map((line) => this.#element(line)));
    this.#fresh = [];
    const extra = this.#place.childElementCount - MOST_LINES;
    if (extra > 0) {
      const dropped = [...this.#place.children].slice(0, extra);
      const height = dropped.reduce((sum, element) => sum + element.offsetHeight, 0);
      for (const element of dropped) element.remove();
      if (!this.#following) this.#place.scrollTop -= height; // the reader's lines stay where they are
    }
    if (this.#following) this.#place.scrollTop = this.#place.scrollHeight;
    else if (this.#place.scrollHeight > before) this.#follow.hidden = false;
    this.#showCount();
  }

  #take(line) {
    this.#lines.push(line);
    this.#fresh.push(line);
    if (this.#lines.length > MOST_LINES) this.#lines.shift();
    if (this.#fresh.length > MOST_LINES) this.#fresh.shift(); // a hidden tab does not draw
  }

  #shows({ id }) {
    return this.#only === null || id === null || id === this.#only;
  }

  #element({ id, at, level, phase, text }) {
    return h("div", { class: `log-line ${level}${id === null ? " log-note" : ""}` },
      h("time", { class: "log-time" }, clock(at, false)),
      id !== null && h("span", { class: `log-id hue-${this.#hue(id)}` }, id),
      phase && h("span", { class: "log-phase" }, phase),
      level !== "info" && h("span", { class: "log-level" }, level),
      h("span", { class: "log-text" }, text),
    );
  }

  #hue(id) {
    if (!this.#hues.has(id)) {
      if (this.#hues.size > 200) this.#hues.clear();
      this.#hues.set(id, this.#hues.size % HUES);
    }
    return this.#hues.get(id);
  }

  #noticeScroll() {
    const { scrollTop, clientHeight, scrollHeight } = this.#place;
    this.#following = scrollTop + clientHeight >= scrollHeight - 24;
    if (this.#following) this.#follow.hidden = true;
  }

  #toEnd() {
    this.#following = true;
    this.#follow.hidden = true;
    this.#place.scrollTop = this.#place.scrollHeight;
  }

  #showCount() {
    const shown = this.#place.childElementCount;
    this.#counter.textContent = shown ? `${count(shown)} ${shown === 1 ? "line" : "lines"}` : "";
    this.#empty.hidden = shown > 0;
  }
}
