// The subscriptions: what is asked for, what the server answered, how much arrives. Drawn as a list of switches. The SDK
// brings them back after a break; a new client gets them all.

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
  #heard;
  #byName = new Map();
  #made = 0;

  /** `onChange` hears of every channel added, removed or switched; the others of what their subscriptions tell. */
  constructor({ list, empty, connection, onChange, onUpdate, onLost, onSubscribed }) {
    this.#list = list;
    this.#empty = empty;
    this.#connection = connection;
    this.#heard = { onChange, onUpdate, onLost, onSubscribed };
    connection.on("client", () => this.#subscribeAll());
    connection.on("state", (state) => state.name === "connected" || this.#markOffline());
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
    const channel = { name, on, hue: this.#made++ % HUES, count: 0, meter: new Meter(), status: "off", subscription: null };
    this.#build(channel);
    this.#byName.set(name, channel);
    this.#empty.hidden = true;
    this.#list.append(channel.row);
    if (on) this.#subscribe(channel);
    this.#heard.onChange();
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
    this.#heard.onChange();
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
    channel.kind = h("span", { class: "channel-kind", title: "The server stores it: after a break nothing is missing", hidden: true }, "durable");
    channel.problem = h("div", { class: "channel-problem" });
    channel.toggle = h("button", { class: "switch", type: "button", role: "switch", "aria-label": `Subscribed to ${channel.name}`, onclick: () => this.#switch(channel) });
    channel.row = h("li", { class: `channel hue-${channel.hue}` },
      channel.toggle,
      h("span", { class: "channel-title" }, h("span", { class: "channel-name mono", title: channel.name }, channel.name), channel.kind),
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
    this.#heard.onChange();
  }

  #subscribe(channel) {
    const { client, state } = this.#connection;
    this.#become(channel, state.name === "connected" ? "asking" : "waiting");
    if (!client || state.name === "closed") return;
    const { onUpdate, onLost, onSubscribed } = this.#heard;
    const subscription = client.subscribe(channel.name, {}, (update) => {
      channel.count += 1;
      channel.meter.add();
      onUpdate(update);
    });
    channel.subscription = subscription;
    subscription.on("lost", onLost);
    subscription.on("subscribed", (subscribed) => {
      this.#become(channel, "on");
      channel.kind.hidden = !subscribed.durable;
      onSubscribed(subscribed);
    });
    subscription.on("closed", (error) => {
      if (channel.subscription !== subscription || this.#connection.state.name === "closed") return;
      if (error) this.#become(channel, "refused", error);
    });
  }

  #unsubscribe(channel) {
    const { subscription } = channel;
    channel.on = false;
    channel.subscription = null;
    subscription?.close();
    this.#become(channel, "off");
  }

  #subscribeAll() {
    for (const channel of this.#byName.values()) if (channel.on) this.#subscribe(channel);
  }

  #markOffline() {
    for (const channel of this.#byName.values()) if (channel.on && channel.status !== "refused") this.#become(channel, "waiting");
  }

  #become(channel, status, error) {
    channel.status = status;
    channel.row.dataset.status = status;
    channel.toggle.setAttribute("aria-checked", channel.on);
    channel.problem.replaceChildren(...(error ? [trouble(error)] : []));
    if (error) channel.problem.setAttribute("role", "alert");
    else channel.problem.removeAttribute("role");
  }

  #showRates() {
    for (const channel of this.#byName.values()) this.#showRate(channel);
  }

  #showRate(channel) {
    channel.rateText.textContent = `${rate(channel.meter.perSecond())}/s`;
    channel.countText.textContent = count(channel.count);
  }
}
