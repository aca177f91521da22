// The subscriptions: what is asked for, what the server answered, how much arrives. Drawn as a list of switches.

import { h, icon } from "./dom.js";
import { count, rate } from "./format.js";
import { Meter } from "./meter.js";
import { trouble } from "./advice.js";

/** Colours that tell channels apart in the message list; the name always stands beside. */
const HUES = 6;

export class Channels {
  #list;
  #empty;
  #connection;
  #onChange;
  #byName = new Map();
  #made = 0;

  /** `onChange` hears of every channel added, removed or switched. */
  constructor({ list, empty, connection, onChange }) {
    this.#list = list;
    this.#empty = empty;
    this.#connection = connection;
    this.#onChange = onChange;
    connection.on("update", (update) => this.#count(update.channel));
    connection.on("state", (state) => (state.name === "connected" ? this.#subscribeAll() : this.#markOffline()));
    setInterval(() => this.#showRates(), 500);
  }

  /** `[{name, on}]`, in the order of their adding */
  get all() {
    return [...this.#byName.values()].map(({ name, on }) => ({ name, on }));
  }

  has(name) {
    return this.#byName.has(name);
  }

  hue(name) {
    return this.#byName.get(name)?.hue ?? 0;
  }

  /** Adds a channel, or switches on the one there is. */
  add(name, on = true) {
    const known = this.#byName.get(name);
    if (known) {
      if (on && !known.on) this.#switch(known);
      known.row.scrollIntoView({ block: "nearest" });
      return;
    }
    const channel = { name, on, hue: this.#made++ % HUES, count: 0, meter: new Meter(), status: "off" };
    this.#build(channel);
    this.#byName.set(name, channel);
    this.#empty.hidden = true;
    this.#list.append(channel.row);
    if (on) this.#subscribe(channel);
    this.#onChange();
  }

  remove(name) {
    const channel = this.#byName.get(name);
    if (!channel) return;
    if (channel.on) this.#unsubscribe(channel);
    this.#byName.delete(name);
    const neighbour = channel.row.nextElementSibling ?? channel.row.previousElementSibling;
    channel.row.remove();
    this.#empty.hidden = this.#byName.size > 0;
    neighbour?.querySelector("button")?.focus();
    this.#onChange();
  }

  /** Becomes exactly these `[{name, on}]`. */
  replace(wanted) {
    const names = new Set(wanted.map(({ name }) => name));
    for (const { name } of this.all) if (!names.has(name)) this.remove(name);
    for (const { name, on } of wanted) {
      const known = this.#byName.get(name);
      if (!known) this.add(name, on);
      else if (known.on !== on) this.#switch(known);
    }
  }

  clearCounts() {
    for (const channel of this.#byName.values()) channel.count = 0;
    this.#showRates();
  }

  #build(channel) {
    channel.rateText = h("span", { class: "channel-rate" });
    channel.countText = h("span", { class: "channel-count" });
    channel.problem = h("div", { class: "channel-problem" });
    channel.toggle = h("button", { class: "switch", type: "button", role: "switch", "aria-label": `Subscribed to ${channel.name}`, onclick: () => this.#switch(channel) });
    channel.row = h("li", { class: `channel hue-${channel.hue}` },
      channel.toggle,
      h("span", { class: "channel-name mono", title: channel.name }, channel.name),
      h("span", { class: "channel-traffic" }, channel.rateText, channel.countText),
      h("button", { class: "icon-button small", type: "button", "aria-label": `Remove ${channel.name}`, title: "Remove", onclick: () => this.remove(channel.name) }, icon("close")),
      channel.problem,
    );
    this.#become(channel, "off");
    this.#showRate(channel);
  }

  #switch(channel) {
    channel.on = !channel.on;
    if (channel.on) this.#subscribe(channel);
    else this.#unsubscribe(channel);
    this.#onChange();
  }

  async #subscribe(channel) {
    if (this.#connection.state.name !== "connected") {
      this.#become(channel, "waiting");
      return;
    }
    this.#become(channel, "asking");
    try {
      await this.#connection.request({ type: "subscribe", channel: channel.name });
      if (channel.on) this.#become(channel, "on");
    } catch (error) {
      if (!channel.on) return;
      if (error.code === "disconnected") this.#become(channel, "waiting");
      else this.#become(channel, "refused", error);
    }
  }

  #unsubscribe(channel) {
    channel.on = false;
    this.#become(channel, "off");
    if (this.#connection.state.name !== "connected") return;
    this.#connection.request({ type: "unsubscribe", channel: channel.name }).catch(() => {
      // Never subscribed, or the connection ended: either way nothing more comes.
    });
  }

  #subscribeAll() {
    for (const channel of this.#byName.values()) if (channel.on) this.#subscribe(channel);
  }

  #markOffline() {
    for (const channel of this.#byName.values()) if (channel.on && channel.status === "on") this.#become(channel, "waiting");
  }

  #become(channel, status, error) {
    channel.status = status;
    channel.row.dataset.status = status;
    channel.toggle.setAttribute("aria-checked", channel.on);
    channel.problem.replaceChildren(...(error ? [trouble(error)] : []));
    if (error) channel.problem.setAttribute("role", "alert");
    else channel.problem.removeAttribute("role");
  }

  #count(name) {
    const channel = this.#byName.get(name);
    if (!channel) return;
    channel.count += 1;
    channel.meter.add();
  }

  #showRates() {
    for (const channel of this.#byName.values()) this.#showRate(channel);
  }

  #showRate(channel) {
    channel.rateText.textContent = `${rate(channel.meter.perSecond())}/s`;
    channel.countText.textContent = count(channel.count);
  }
}
