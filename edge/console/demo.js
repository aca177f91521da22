// The demo dashboard: deployments and their logs as they are published, over one WebSocket and without polling.

import { bindConnectionState, closeWords, transportOf } from "./connection-state.js";
import { defaultAddress, retryNow } from "./connection.js";
import { Continuity, lossWords, resumeWords } from "./continuity.js";
import { DeploymentCards } from "./deployment-cards.js";
import { $, bindTheme, h } from "./dom.js";
import { count } from "./format.js";
import { LogView } from "./log-view.js";
import { auto } from "./tailwater-http.js";
import { connect } from "./tailwater.js";

bindTheme($("theme"));

const tw = connect(defaultAddress(), { client: "demo", transport: auto });
bindConnectionState(tw);
// What has ended for good begins with a new page.
$("state").addEventListener("click", () => (tw.state.name === "closed" ? location.reload() : retryNow()));

const log = new LogView({ lines: $("log"), empty: $("log-empty"), follow: $("follow"), filter: $("log-filter"), counter: $("log-count"), onFilter: (id) => cards.choose(id) });
const cards = new DeploymentCards({ list: $("cards"), empty: $("cards-empty"), onChoose: (id) => log.filter(id), onEnd: announceEnd });
const continuity = new Continuity();

let received = 0;
let scheduled = false;

subscribe("deployments.*.status", (status) => cards.update(status));
subscribe("deployments.*.log", (line) => log.add(line));

function subscribe(channel, show) {
  const subscription = tw.subscribe(channel, {}, ({ payload }) => {
    received += 1;
    if (typeof payload?.id === "string") show(payload);
    schedule();
  });
  subscription.on("subscribed", (subscribed) => {
    const words = resumeWords(subscribed);
    if (words) note(`${channel}: ${words}`, subscribed.recovered ? "info" : "warn");
  });
  subscription.on("lost", (lost) => {
    continuity.lose(lost);
    note(`${channel}: ${lossWords(lost)}`, "warn");
  });
  subscription.on("closed", (error) => {
    if (error) $("cards-empty-text").textContent = `The server refused the subscription: ${error.code}, ${error.message}`;
  });
}

let wasConnected = false;
tw.on("state", (state) => {
  const isConnected = state.name === "connected";
  continuity.follow(state);
  $("cards-empty-text").textContent = isConnected
    ? "The next deployment starts within seconds. This page shows what is published from now on; it asks for nothing."
    : "There is no connection at the moment. Deployments appear by themselves once it is back.";
  if (isConnected) showTransport(state);
  if (wasConnected && !isConnected) note(`connection lost (${closeWords(state)})`, "warn");
  wasConnected = isConnected;
  schedule();
});

function showTransport(state) {
  const isPolling = state.transport === "polling";
  $("no-polling").hidden = isPolling;
  $("transport").textContent = isPolling ? transportOf(state) : `one ${transportOf(state)}`;
}

/** A line of the page itself, in the log. */
function note(text, level) {
  log.note(text, level);
  schedule();
}

function schedule() {
  if (scheduled) return;
  scheduled = true;
  requestAnimationFrame(() => {
    scheduled = false;
    draw();
  });
}

function draw() {
  $("received").textContent = count(received);
  $("received-noun").textContent = received === 1 ? "message" : "messages";
  $("continuity").hidden = continuity.reconnects === 0;
  $("continuity").textContent = `The connection came back ${continuity.reconnectWords}; lost: ${continuity.lossWords}`;
  cards.draw();
  log.draw();
  drawTally();
}

function drawTally() {
  const tally = cards.tally();
  const parts = [["running", tally.running], ["live", tally.done], ["failed", tally.failed]];
  $("tally").replaceChildren(...parts.filter(([, n]) => n > 0).map(([name, n]) => h("li", { class: `tally-${name}` }, h("strong", {}, String(n)), ` ${name}`)));
}

function announceEnd({ service, version, phase }) {
  const words = { done: "is live", failed: "failed", rolled_back: "was rolled back" }[phase];
  $("announce").textContent = `${service} ${version} ${words}`;
}

setInterval(() => document.hidden || cards.tick(), 1000);
