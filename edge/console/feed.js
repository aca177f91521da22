// One of the two lists of the console (messages, frames): a bounded ring, filter, pause, the jump to the newest.
// Arrivals only touch the ring; the screen follows once per animation frame.

import { count } from "./format.js";
import { Ring } from "./ring.js";
import { VirtualList } from "./virtual-list.js";

const MOST_ROWS = 500;
const MOST_BYTES = 16 * 1024 * 1024;

export class Feed {
  #ring = new Ring(MOST_ROWS, MOST_BYTES);
  #matching = null; // a second ring while a filter is on, so that rare matches are not flushed out by the rest
  #accepts = null;
  #list;
  #empty;
  #jump;
  #paused = false;
  #sincePause = 0;
  #unseen = 0;
  #scheduled = false;

  constructor({ viewport, empty, jump, fill, onSelect }) {
    this.#list = new VirtualList(viewport, { fill, onSelect });
    this.#empty = empty;
    this.#jump = jump;
    jump.addEventListener("click", () => this.#list.toTop());
    viewport.addEventListener("scroll", () => this.#list.atTop && this.#seen(), { passive: true });
  }

  get list() {
    return this.#list;
  }

  /** How many came since the pause. */
  get sincePause() {
    return this.#sincePause;
  }

  /** An item has a rising `id` and a `size` in bytes. */
  push(item) {
    this.#ring.push(item);
    if (this.#accepts) {
      if (!this.#accepts(item)) return;
      this.#matching.push(item);
    }
    if (this.#paused) this.#sincePause += 1;
    else if (!this.#list.atTop) this.#unseen += 1;
    this.#schedule();
  }

  /** Shows only what `accepts(item)`; null shows all. */
  filter(accepts) {
    this.#accepts = accepts;
    this.#matching = null;
    if (accepts) {
      this.#matching = new Ring(MOST_ROWS, MOST_BYTES);
      for (const item of this.#ring.toArray().reverse()) if (accepts(item)) this.#matching.push(item);
    }
    this.#list.toTop();
    this.#seen();
    this.#list.show(this.#items());
    this.#showEmpty();
  }

  pause(paused) {
    this.#paused = paused;
    this.#sincePause = 0;
    this.#schedule();
  }

  clear() {
    this.#ring.clear();
    this.#matching?.clear();
    this.#sincePause = 0;
    this.#seen();
    this.#list.show([]);
    this.#list.select(null);
    this.#showEmpty();
  }

  #items() {
    return (this.#matching ?? this.#ring).toArray();
  }

  #schedule() {
    if (this.#scheduled) return;
    this.#scheduled = true;
    requestAnimationFrame(() => {
      this.#scheduled = false;
      if (this.#paused) return;
      this.#list.show(this.#items());
      this.#showEmpty();
      this.#showJump();
    });
  }

  #seen() {
    this.#unseen = 0;
    this.#showJump();
  }

  #showJump() {
    this.#jump.hidden = this.#unseen === 0;
    if (this.#unseen) this.#jump.textContent = `${count(this.#unseen)} new, to the top`;
  }

  #showEmpty() {
    const items = this.#matching ?? this.#ring;
    this.#empty.hidden = items.length > 0;
    this.#empty.classList.toggle("no-match", this.#ring.length > 0);
  }
}

/** `error -debug`: words that must occur, words that must not; null for an empty query. */
export function matcher(query, textOf) {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  const without = words.filter((word) => word.length > 1 && word.startsWith("-")).map((word) => word.slice(1));
  const having = words.filter((word) => !word.startsWith("-"));
  if (!without.length && !having.length) return null;
  return (item) => {
    const text = textOf(item);
    return having.every((word) => text.includes(word)) && !without.some((word) => text.includes(word));
  };
}
