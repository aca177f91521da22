// Rates over time in constant memory, and the small chart of them.

const SLOT_MS = 250;
const SLOTS_A_SECOND = 1000 / SLOT_MS;

/** Counts events; tells the rate of the last second and of each of the last sixty. */
export class Meter {
  #slots = new Float64Array(61 * SLOTS_A_SECOND);
  #now = Math.floor(performance.now() / SLOT_MS);

  add(n = 1) {
    this.#advance();
    this.#slots[this.#now % this.#slots.length] += n;
  }

  /** Of the last full second; the slot that is still filling does not count. */
  perSecond() {
    this.#advance();
    return this.#sum(1);
  }

  /** The last sixty seconds, oldest first. */
  history() {
    this.#advance();
    return Array.from({ length: 60 }, (_, index) => this.#sum(1 + (59 - index) * SLOTS_A_SECOND));
  }

  #sum(from) {
    let sum = 0;
    for (let back = from; back < from + SLOTS_A_SECOND; back += 1) {
      const slot = this.#now - back;
      if (slot >= 0) sum += this.#slots[slot % this.#slots.length];
    }
    return sum;
  }

  #advance() {
    const now = Math.floor(performance.now() / SLOT_MS);
    const first = Math.max(this.#now + 1, now - this.#slots.length + 1);
    for (let slot = first; slot <= now; slot += 1) this.#slots[slot % this.#slots.length] = 0;
    this.#now = now;
  }
}

/** The median of the last values, where one outlier must not shout. */
export class RecentMedian {
  #values = [];

  add(value) {
    this.#values.push(value);
    if (this.#values.length > 101) this.#values.shift();
  }

  clear() {
    this.#values = [];
  }

  /** undefined while there is none */
  get() {
    return this.#values.toSorted((a, b) => a - b)[Math.floor(this.#values.length / 2)];
  }
}

const SVG = "http://www.w3.org/2000/svg";

/** Draws values as an area under a line. */
export class Spark {
  #line = document.createElementNS(SVG, "path");
  #area = document.createElementNS(SVG, "path");

  constructor(svg) {
    svg.setAttribute("viewBox", "0 0 59 20");
    this.#area.setAttribute("class", "spark-area");
    this.#line.setAttribute("class", "spark-line");
    svg.replaceChildren(this.#area, this.#line);
  }

  draw(values) {
    const most = Math.max(1, ...values);
    const points = values.map((value, x) => `${x} ${(19 - (value / most) * 17.5).toFixed(2)}`).join("L");
    this.#line.setAttribute("d", `M${points}`);
    this.#area.setAttribute("d", `M0 20L${points}L59 20Z`);
  }
}
