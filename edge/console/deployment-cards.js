// One card for each deployment: where it stands, how far, by whom. Built from `status` messages alone; each
// carries the whole state, so a page that opens in the middle is right after one message.

import { h, icon } from "./dom.js";
import { elapsed } from "./format.js";

const MOST_CARDS = 12;
const MOST_PODS_DRAWN = 24;
const STEPS = [["build", "Build"], ["push", "Push"], ["rollout", "Roll out"]];
const ENDS = { done: "Live", failed: "Failed", rolled_back: "Rolled back" };
const ENDED = new Set(Object.keys(ENDS));

export class DeploymentCards {
  #list;
  #empty;
  #onChoose;
  #onEnd;
  #byId = new Map();
  #changed = new Set();
  #chosen = null;

  /** `onChoose(id or null)` when a card is clicked; `onEnd(status)` when a deployment ends before our eyes. */
  constructor({ list, empty, onChoose, onEnd }) {
    this.#list = list;
    this.#empty = empty;
    this.#onChoose = onChoose;
    this.#onEnd = onEnd;
  }

  update(status) {
    let deployment = this.#byId.get(status.id);
    if (!deployment) {
      this.#makeRoom();
      deployment = this.#build(status);
      this.#byId.set(status.id, deployment);
    }
    const ended = ENDED.has(status.phase);
    if (ended && !ENDED.has(deployment.status.phase)) this.#onEnd(status);
    if (!ended) deployment.step = Math.max(0, STEPS.findIndex(([phase]) => phase === status.phase));
    else if (status.phase === "done") deployment.step = STEPS.length;
    else if (status.pods) deployment.step = STEPS.length - 1; // it had come to the roll out, seen or not
    deployment.status = status;
    deployment.heardAt = performance.now();
    this.#changed.add(deployment);
  }

  /** Puts on the screen what has changed since the last call. */
  draw() {
    for (const deployment of this.#changed) {
      if (!deployment.card.isConnected) this.#list.prepend(deployment.card);
      this.#fill(deployment);
    }
    this.#changed.clear();
    this.#empty.hidden = this.#byId.size > 0;
  }

  /** Lets the clocks of the running ones go on. */
  tick() {
    for (const deployment of this.#byId.values()) this.#fillElapsed(deployment);
  }

  /** Marks the card of `id`; null marks none. */
  choose(id) {
    this.#chosen = id;
    for (const { card, button, status } of this.#byId.values()) {
      card.classList.toggle("chosen", status.id === id);
      button.setAttribute("aria-pressed", status.id === id);
    }
  }

  tally() {
    const tally = { running: 0, done: 0, failed: 0 };
    for (const { status } of this.#byId.values()) {
      if (status.phase === "done") tally.done += 1;
      else if (ENDED.has(status.phase)) tally.failed += 1;
      else tally.running += 1;
    }
    return tally;
  }

  /** Room for one more: the oldest that has ended goes first; if all run, the oldest. */
  #makeRoom() {
    while (this.#byId.size >= MOST_CARDS) {
      const all = [...this.#byId.values()];
      const oldest = all.find(({ status }) => ENDED.has(status.phase)) ?? all[0];
      this.#byId.delete(oldest.status.id);
      this.#changed.delete(oldest);
      oldest.card.remove();
      if (this.#chosen === oldest.status.id) this.#onChoose(null);
    }
  }

  #build(status) {
    const parts = {
      title: h("span", { class: "card-title" }),
      version: h("span", { class: "card-version mono" }),
      badge: h("span", { class: "badge" }),
      steps: STEPS.map(([, label]) => h("li", { class: "step" }, h("span", { class: "step-mark" }), label)),
      fill: h("div", { class: "progress-fill" }),
      message: h("p", { class: "card-message" }),
      pods: h("div", { class: "pods" }),
      environment: h("span", { class: "environment" }),
      commit: h("span", { class: "mono" }),
      author: h("span", { class: "author" }),
      elapsed: h("span", { class: "elapsed" }),
    };
    parts.progress = h("div", { class: "progress", role: "progressbar", "aria-valuemin": "0", "aria-valuemax": "100" }, parts.fill);
    const button = h("button", { class: "card-button", type: "button", "aria-pressed": "false", title: "Show only this deployment's log" }, parts.title, parts.version);
    const card = h("article", { class: "card", "aria-label": status.id },
      h("header", { class: "card-head" }, button, parts.badge),
      h("ol", { class: "steps", role: "list" }, ...parts.steps),
      parts.progress,
      h("div", { class: "card-now" }, parts.message, parts.pods),
      h("footer", { class: "card-foot" }, parts.environment, parts.commit, parts.author, parts.elapsed),
    );
    button.addEventListener("click", () => this.#onChoose(this.#chosen === status.id ? null : status.id));
    return { card, button, parts, status, step: 0, heardAt: performance.now() };
  }

  #fill(deployment) {
    const { card, parts, status, step } = deployment;
    const { phase } = status;
    const progress = Math.round(100 * Math.min(1, Math.max(0, Number(status.progress) || 0)));
    card.dataset.phase = phase;
    parts.title.textContent = status.service ?? status.id;
    parts.version.textContent = status.version ?? "";
    parts.badge.textContent = ENDS[phase] ?? `${progress} %`;
    parts.steps.forEach((element, index) => {
      const state = index < step ? "done" : index > step ? "ahead" : ENDED.has(phase) ? "broken" : "now";
      if (element.dataset.state === state) return;
      element.dataset.state = state;
      element.firstElementChild.replaceChildren(...(state === "done" ? [icon("check")] : state === "broken" ? [icon(phase === "failed" ? "cross" : "back")] : []));
      element.toggleAttribute("aria-current", state === "now");
    });
    parts.progress.setAttribute("aria-valuenow", progress);
    parts.progress.setAttribute("aria-label", `${status.service ?? status.id}: ${ENDS[phase] ?? phase}`);
    parts.fill.style.setProperty("transform", `scaleX(${progress / 100})`);
    parts.message.textContent = status.message ?? "";
    this.#fillPods(parts.pods, status.pods);
    parts.environment.textContent = status.environment ?? "";
    parts.environment.classList.toggle("production", status.environment === "production");
    parts.commit.textContent = status.commit ?? "";
    parts.author.textContent = status.author ?? "";
    this.#fillElapsed(deployment);
  }

  #fillPods(place, pods) {
    place.hidden = !pods || !(pods.total > 0);
    if (place.hidden) return;
    const drawn = Math.min(pods.total, MOST_PODS_DRAWN);
    const squares = Array.from({ length: drawn }, (_, index) => h("i", { class: index < pods.ready ? "pod ready" : "pod" }));
    place.replaceChildren(h("span", { class: "pod-row", "aria-hidden": "true" }, ...squares), h("span", { class: "pod-text" }, `${pods.ready}/${pods.total} pods`));
  }

  /** By the sender's clock up to its last message, by ours from there: no clocks need to agree. */
  #fillElapsed({ parts, status, heardAt }) {
    const until = Date.parse(status.ts) - Date.parse(status.started);
    if (Number.isNaN(until)) return;
    const since = ENDED.has(status.phase) ? 0 : performance.now() - heardAt;
    parts.elapsed.textContent = elapsed(until + since);
  }
}
