// The developer console: wires the connection to the channels, the lists, the meters and the keyboard.

import { readHash, writeHash } from "./address-hash.js";
import { trouble } from "./advice.js";
import { Channels } from "./channels.js";
import { bindConnectionPanel } from "./connection-panel.js";
import { bindConnectionState } from "./connection-state.js";
import { Connection, defaultAddress } from "./connection.js";
import { Continuity } from "./continuity.js";
import { $, bindTheme, copy, copyButton, h, icon, placeIcons } from "./dom.js";
import { Feed, matcher } from "./feed.js";
import { bytes, count, duration, rate } from "./format.js";
import { fillFrame, frameOf, isPing, searchText as frameText } from "./frames.js";
import { buildGuide, fetchInfo, publishCommand } from "./guide.js";
import { Inspector } from "./inspector.js";
import { bindKeys } from "./keys.js";
import { connectionLines, fillMessage, lossOf, messageOf, resumeOf, searchText as messageText } from "./messages.js";
import { Meter, RecentMedian, Spark } from "./meter.js";
import { bindPublish } from "./publish.js";
import { bindTabs } from "./tabs.js";

const EXAMPLES = ["deployments.*.status", "deployments.>", "chat.room"];

placeIcons();
bindTheme($("theme"));

let info = { nats: "nats://127.0.0.1:4222", ws: defaultAddress(), version: null };
const connection = new Connection(defaultAddress());
const continuity = new Continuity();
connection.on("state", (state) => continuity.follow(state));
bindConnectionState(connection);
bindConnectionPanel(connection, continuity, () => info);

const channels = new Channels({
  list: $("channels"),
  empty: $("channels-empty"),
  connection,
  onChange: () => {
    writeHash(channels.all);
    showMessagesEmpty();
  },
  onUpdate: takeUpdate,
  onLost: (lost) => {
    continuity.lose(lost);
    feeds.messages.push(lossOf(lost));
  },
  onSubscribed: (subscribed) => {
    const note = resumeOf(subscribed);
    if (note) feeds.messages.push(note);
  },
});

// The lists and the inspector.

const inspector = new Inspector($("inspector"), () => deselect());
const feeds = {
  messages: new Feed({
    viewport: $("messages"), empty: $("messages-empty"), jump: $("messages-jump"),
    fill: (row, message) => fillMessage(row, message, (channel) => channels.hue(channel)),
    onSelect: (message) => message && inspector.showMessage(message),
  }),
  frames: new Feed({
    viewport: $("frames"), empty: $("frames-empty"), jump: $("frames-jump"),
    fill: fillFrame,
    onSelect: (frame) => frame && inspector.showFrame(frame),
  }),
};
let view = "messages";

function deselect() {
  inspector.close();
  for (const feed of Object.values(feeds)) feed.list.select(null);
}

const chooseTab = bindTabs(document.querySelector("[role=tablist]"), (name) => {
  view = name;
  deselect();
  $("tools").hidden = name === "start";
  $("hide-pings-label").hidden = name !== "frames";
});

function applyFilter() {
  const query = $("filter").value;
  feeds.messages.filter(matcher(query, messageText));
  const matches = matcher(query, frameText);
  const hidePings = $("hide-pings").checked;
  feeds.frames.filter(matches || hidePings ? (frame) => !(hidePings && isPing(frame)) && (!matches || matches(frame)) : null);
  showMessagesEmpty();
}
$("filter").addEventListener("input", applyFilter);
$("hide-pings").addEventListener("change", applyFilter);

let paused = false;
function pause(now = !paused) {
  paused = now;
  for (const feed of Object.values(feeds)) feed.pause(paused);
  $("pause").setAttribute("aria-pressed", paused);
  $("pause").firstElementChild.replaceChildren(icon(paused ? "play" : "pause"));
  showPause();
}
function showPause() {
  const missed = feeds[view]?.sincePause ?? 0;
  $("pause-text").textContent = !paused ? "Pause" : missed ? `Resume (${count(missed)})` : "Resume";
}
$("pause").addEventListener("click", () => pause());

function clear() {
  inspector.close();
  for (const feed of Object.values(feeds)) feed.clear();
  received = receivedBytes = 0;
  ages.clear();
  channels.clearCounts();
  showMeters();
}
$("clear").addEventListener("click", clear);

// What arrives.

const meter = new Meter();
const ages = new RecentMedian();
const spark = new Spark($("rate-spark"));
let received = 0;
let receivedBytes = 0;

function takeUpdate(update) {
  const message = messageOf(update, connection.frameSize);
  received += 1;
  receivedBytes += message.size;
  meter.add();
  if (message.ageMs !== undefined) ages.add(message.ageMs);
  feeds.messages.push(message);
}
connection.on("frame", (frame) => feeds.frames.push(frameOf(frame)));
connection.on("roundTrip", (ms) => {
  $("round-trip").textContent = duration(ms);
});
const lineOf = connectionLines();
connection.on("state", (state) => {
  if (state.name !== "connected") $("round-trip").textContent = "–";
  const line = lineOf(state);
  if (line && channels.all.length) feeds.messages.push(line);
});

function showMeters() {
  $("rate").textContent = rate(meter.perSecond());
  $("total").textContent = count(received);
  $("bytes").textContent = bytes(receivedBytes);
  const age = ages.get();
  $("age").textContent = age === undefined ? "–" : duration(age);
  showPause();
}
setInterval(() => {
  if (document.hidden) return;
  showMeters();
  spark.draw(meter.history());
}, 500);
spark.draw(meter.history());

// Subscribing, publishing, and what to do on an empty screen.

$("channel-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const name = $("channel").value.trim();
  const problem = name === "" ? "Type the name of a channel first." : /[\s,]/.test(name) ? "A name has neither spaces nor commas." : null;
  $("channel-error").hidden = problem === null;
  $("channel").toggleAttribute("aria-invalid", problem !== null);
  if (problem) {
    $("channel-error").replaceChildren(trouble({ code: "bad_message", message: problem }, "Example: deployments.42.status or deployments.>"));
    return;
  }
  channels.add(name);
  $("channel").value = "";
});

bindPublish({
  form: $("publish-form"), channel: $("publish-channel"), payload: $("payload"), kind: $("payload-kind"),
  button: $("publish"), result: $("publish-result"), connection, channels, info: () => info,
});
if (matchMedia("(max-width: 760px)").matches) $("publish-panel").open = false;

function showMessagesEmpty() {
  const on = channels.all.filter((channel) => channel.on);
  if ($("filter").value.trim() && $("messages-empty").classList.contains("no-match")) {
    $("messages-empty").replaceChildren(h("p", {}, "Nothing matches the filter."));
  } else if (on.length === 0) {
    const offers = EXAMPLES.map((name) => h("button", { class: "button mono", type: "button", onclick: () => channels.add(name) }, name));
    $("messages-empty").replaceChildren(h("h2", {}, "Subscribe to a channel"), h("p", {}, "Type its name, or begin with one of these:"), h("div", { class: "offers" }, ...offers));
  } else {
    const exact = on.find(({ name }) => !/[*>]/.test(name))?.name ?? on[0].name.replace(/\*/g, "42").replace(/>$/, "42.status");
    const command = publishCommand(info, exact, '{"id":7,"state":"live"}');
    $("messages-empty").replaceChildren(h("h2", {}, "Waiting for the first message"), h("p", {}, "Publish one from any shell:"),
      h("div", { class: "snippet" }, h("pre", { class: "mono", tabindex: "0" }, command), copyButton(() => command)));
  }
}

// The keyboard.

const moveBy = (step) => feeds[view]?.list.move(step);
bindKeys([
  { keys: ["/"], label: "Subscribe to a channel", run: () => $("channel").focus() },
  { keys: ["n"], label: "Publish", run: () => { $("publish-panel").open = true; $("payload").focus(); } },
  { keys: ["f"], label: "Filter", run: () => { if (view === "start") chooseTab("messages"); $("filter").focus(); } },
  { keys: ["p", " "], label: "Pause or go on", run: () => pause() },
  { keys: ["x"], label: "Clear", run: clear },
  { keys: ["j", "↓"], label: "Next older message", run: () => moveBy(1) },
  { keys: ["k", "↑"], label: "Next newer message", run: () => moveBy(-1) },
  { keys: ["c"], label: "Copy the selected message", run: () => inspector.open && copy(inspector.copyText, $("inspector").querySelector(".button")) },
  { keys: ["1"], label: "Messages", run: () => chooseTab("messages") },
  { keys: ["2"], label: "Frames", run: () => chooseTab("frames") },
  { keys: ["3"], label: "Quick start", run: () => chooseTab("start") },
  { keys: ["t"], label: "Theme: system, light, dark", run: () => $("theme").click() },
  { keys: ["?"], label: "This help", run: () => $("help").showModal() },
  { keys: ["Esc"], label: "Leave the field, close the details" },
], deselect);

// Go.

applyFilter();
connection.open();
channels.replace(readHash());
addEventListener("hashchange", () => channels.replace(readHash()));
buildGuide($("pane-start"), info, () => channels.add("deployments"));
fetchInfo(defaultAddress()).then((fetched) => {
  info = fetched;
  buildGuide($("pane-start"), info, () => channels.add("deployments"));
  showMessagesEmpty();
});
