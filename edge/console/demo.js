// The demo dashboard: deployments and their logs as they are published, over one WebSocket and without polling.

import { bindConnectionState } from "./connection-state.js";
import { Connection, defaultAddress } from "./connection.js";
import { DeploymentCards } from "./deployment-cards.js";
import { $, bindTheme, h } from "./dom.js";
import { count } from "./format.js";
import { LogView } from "./log-view.js";

const STATUS = "deployments.*.status";
const LOG = "deployments.*.log";
/** Only to notice a connection that died silently; nothing is asked for. */
const PING_EVERY_MS = 20_000;

bindTheme($("theme"));

const connection = new Connection(defaultAddress(), { pingEveryMs: PING_EVERY_MS });
bindConnectionState(connection);
$("state").addEventListener("click", () => (connection.state.name === "closed" ? connection.open() : connection.retryNow()));

const log = new LogView({ lines: $("log"), empty: $("log-empty"), follow: $("follow"), filter: $("log-filter"), counter: $("log-count"), onFilter: (id) => cards.choose(id) });
const cards = new DeploymentCards({ list: $("cards"), empty: $("cards-empty"), onChoose: (id) => log.filter(id), onEnd: announceEnd });

let received = 0;
let scheduled = false;

connection.on("update", ({ channel, payload }) => {
  received += 1;
  if (payload !== null && typeof payload === "object" && typeof payload.id === "string") {
    if (channel === STATUS) cards.update(payload);
    else log.add(payload);
  }
  if (scheduled) return;
  scheduled = true;
  requestAnimationFrame(() => {
    scheduled = false;
    draw();
  });
});

connection.on("state", async (state) => {
  $("cards-empty-text").textContent = state.name === "connected"
    ? "The next deployment starts within seconds. This page shows what is published from now on; it asks for nothing."
    : "There is no connection at the moment. Deployments appear by themselves once it is back.";
  if (state.name !== "connected") return;
  try {
    await Promise.all([STATUS, LOG].map((channel) => connection.request({ type: "subscribe", channel })));
  } catch (error) {
    if (error.code !== "disconnected") $("cards-empty-text").textContent = `The server refused the subscription: ${error.code}, ${error.message}`;
  }
});

connection.on("push", (push) => {
  if (push.type === "lost") log.note(`${push.count ?? "some"} messages of ${push.channel} lost: ${push.reason}`);
});

function draw() {
  $("received").textContent = count(received);
  $("received-noun").textContent = received === 1 ? "message" : "messages";
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
connection.open();
