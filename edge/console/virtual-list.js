// A long list of rows of one height, newest first, of which only the visible ones are elements. What it costs
// to draw depends on the height of the screen alone, not on how many messages arrive. Rows stay in document
// order, so that a screen reader meets them as the eye does.

import { h } from "./dom.js";

const OVERSCAN = 4;

export class VirtualList {
  #viewport;
  #spacer = h("div", { class: "spacer", role: "presentation" });
  #window = h("div", { class: "window", role: "presentation" });
  #rows = new Map();
  #fill;
  #onSelect;
  #items = [];
  #rowHeight = 34;
  #scheduled = false;
  #newestId = 0;
  #selected = null;

  /** Draws `items` (each with a rising `id`) by `fill(row, item)`; tells `onSelect(item, byUser)`. */
  constructor(viewport, { fill, onSelect }) {
    this.#viewport = viewport;
    this.#fill = fill;
    this.#onSelect = onSelect;
    this.#spacer.append(this.#window);
    viewport.append(this.#spacer);
    viewport.addEventListener("scroll", () => this.#schedule(), { passive: true });
    viewport.addEventListener("click", (event) => this.#click(event));
    viewport.addEventListener("keydown", (event) => this.#key(event));
    new ResizeObserver(() => this.#measure()).observe(viewport);
  }

  get selected() {
    return this.#selected;
  }

  get atTop() {
    return this.#viewport.scrollTop < this.#rowHeight / 2;
  }

  toTop() {
    this.#viewport.scrollTop = 0;
    this.#schedule();
  }

  /** Shows these items, newest first. A reader who has scrolled down keeps the rows before the eyes. */
  show(items) {
    const added = items.length ? this.#countNewer(items, this.#newestId) : 0;
    const stay = !this.atTop && added > 0 && this.#items.length > 0;
    this.#items = items;
    this.#newestId = items[0]?.id ?? this.#newestId;
    this.#spacer.style.setProperty("height", `${items.length * this.#rowHeight}px`);
    if (stay) this.#viewport.scrollTop += added * this.#rowHeight;
    this.#draw();
  }

  select(item, byUser = false) {
    this.#selected = item;
    this.#draw();
    this.#onSelect(item, byUser);
  }

  /** Selects the neighbour of the selected row; -1 is the newer one. */
  move(step) {
    if (!this.#items.length) return;
    const at = this.#selected ? this.#items.indexOf(this.#selected) : -1;
    const index = at < 0 ? 0 : Math.min(this.#items.length - 1, Math.max(0, at + step));
    this.#reveal(index);
    this.select(this.#items[index], true);
  }

  #countNewer(items, id) {
    let newer = 0;
    while (newer < items.length && items[newer].id > id) newer += 1;
    return newer;
  }

  #reveal(index) {
    const top = index * this.#rowHeight;
    const { scrollTop, clientHeight } = this.#viewport;
    if (top < scrollTop) this.#viewport.scrollTop = top;
    else if (top + this.#rowHeight > scrollTop + clientHeight) this.#viewport.scrollTop = top + this.#rowHeight - clientHeight;
  }

  #measure() {
    const height = parseFloat(getComputedStyle(this.#viewport).getPropertyValue("--row"));
    if (height) this.#rowHeight = height;
    this.#spacer.style.setProperty("height", `${this.#items.length * this.#rowHeight}px`);
    this.#schedule();
  }

  #schedule() {
    if (this.#scheduled) return;
    this.#scheduled = true;
    requestAnimationFrame(() => {
      this.#scheduled = false;
      this.#draw();
    });
  }

  #draw() {
    const { scrollTop, clientHeight } = this.#viewport;
    const first = Math.max(0, Math.floor(scrollTop / this.#rowHeight) - OVERSCAN);
    const last = Math.min(this.#items.length, Math.ceil((scrollTop + clientHeight) / this.#rowHeight) + OVERSCAN);
    this.#window.style.setProperty("transform", `translateY(${first * this.#rowHeight}px)`);

    const wanted = this.#items.slice(first, last);
    const keep = new Set(wanted);
    const free = [];
    for (const [item, row] of this.#rows) {
      if (keep.has(item)) continue;
      this.#rows.delete(item);
      free.push(row);
    }
    wanted.forEach((item, index) => {
      const row = this.#rows.get(item) ?? this.#place(item, free.pop());
      if (this.#window.children[index] !== row) this.#window.insertBefore(row, this.#window.children[index] ?? null);
      row.setAttribute("aria-selected", item === this.#selected);
      row.setAttribute("aria-posinset", first + index + 1);
      row.setAttribute("aria-setsize", this.#items.length);
    });
    for (const row of free) row.remove();

    const active = this.#rows.get(this.#selected);
    if (active) this.#viewport.setAttribute("aria-activedescendant", active.id);
    else this.#viewport.removeAttribute("aria-activedescendant");
  }

  #place(item, row = h("div", { role: "option" })) {
    row.className = "line";
    row.id = `${this.#viewport.id}-${item.id}`;
    row.item = item;
    this.#fill(row, item);
    this.#rows.set(item, row);
    return row;
  }

  #click(event) {
    const row = event.target.closest(".line");
    if (row) this.select(row.item, true);
  }

  #key(event) {
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10, Home: -Infinity, End: Infinity };
    if (event.key in steps) this.move(steps[event.key]);
    else if (event.key === "Enter" && !this.#selected) this.move(0);
    else return;
    event.preventDefault();
  }
}
