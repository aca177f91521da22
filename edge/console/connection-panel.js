// The panel behind the state button: address, facts, connect and disconnect.

import { closeWords, transportOf } from "./connection-state.js";
import { retryNow } from "./connection.js";
import { $, h } from "./dom.js";
import { clock } from "./format.js";

export function bindConnectionPanel(connection, continuity, info) {
  const panel = $("connection");
  const address = $("address");
  address.value = connection.url;

  const facts = () => {
    const { state } = connection;
    const rows = [];
    if (state.name === "connected") {
      rows.push(["Transport", `${transportOf(state)}, JSON`], ["Session", state.session], ["Since", clock(connection.since, false)]);
      if (state.user) rows.push(["User", state.user]);
    } else {
      const why = closeWords(state);
      if (why && state.name !== "connecting") rows.push(["Closed with", why]);
      if (state.attempt) rows.push(["Attempts", String(state.attempt)]);
    }
    if (continuity.reconnects) rows.push(["Came back", continuity.reconnectWords]);
    rows.push(["Lost", continuity.lossWords], ["NATS for services", info().nats]);
    if (info().version) rows.push(["Version", info().version]);
    $("connection-facts").replaceChildren(...rows.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", { class: "mono" }, value))));
    $("connect").textContent = { connected: "Connect anew", waiting: "Try now" }[state.name] ?? "Connect";
    $("disconnect").disabled = state.name === "closed";
  };

  connection.on("state", facts);
  panel.addEventListener("beforetoggle", facts);
  $("connection-form").addEventListener("submit", (event) => {
    event.preventDefault();
    if (connection.state.name === "waiting" && address.value === connection.url) retryNow();
    else connection.open(address.value);
    panel.hidePopover();
  });
  $("disconnect").addEventListener("click", () => connection.close());
}
