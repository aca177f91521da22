// The newest items, bounded in number and in bytes; older ones fall out.

export class Ring {
  #items = [];
  #start = 0;
  #bytes = 0;
  #most;
  #mostBytes;

  constructor(most, mostBytes) {
    this.#most = most;
    this.#mostBytes = mostBytes;
  }

  get length() {
    return this.#items.length - this.#start;
  }

  /** Each item has its `size` in bytes. */
  push(item) {
    this.#items.push(item);
    this.#bytes += item.size;
    while (this.length > 1 && (this.length > this.#most || this.#bytes > this.#mostBytes)) {
      this.#bytes -= this.#items[this.#start].size;
      this.#items[this.#start] = undefined;
      this.#start += 1;
    }
    // Compact now and then, not at each push.
    if (this.#start > this.#most) {
      this.#items = this.#items.slice(this.#start);
      this.#start = 0;
    }
  }

  /** 0 is the newest. */
  at(index) {
    return this.#items[this.#items.length - 1 - index];
  }

  /** Newest first. */
  toArray() {
    return this.#items.slice(this.#start).reverse();
  }

  clear() {
    this.#items = [];
    this.#start = 0;
    this.#bytes = 0;
  }
}
