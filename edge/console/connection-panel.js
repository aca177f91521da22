// The panel behind the state button: address, facts, connect and disconnect.

import { $, h } from "./dom.js";
import { clock, duration } from "./format.js";
import { closeWords } from "./connection-state.js";

export function bindConnectionPanel(connection, info) {
  const panel = $("connection");
  const address = $("address");
  address.value = connection.url;

  const facts = () => {
    const { state } = connection;
    const rows = [];
    if (state.name === "connected") {
      const { welcome } = state;
      rows.push(["Session", welcome.session], ["Protocol", `version ${welcome.protocol}, JSON`], ["Since", clock(state.since, false)]);
      if (welcome.user) rows.push(["User", welcome.user]);
      if (welcome.ping_interval_ms) rows.push(["Server pings every", duration(welcome.ping_interval_ms)]);
    } else {
      if (state.code !== undefined || state.reason) rows.push(["Closed with", closeWords(state)]);
      if (state.attempt) rows.push(["Attempts", String(state.attempt)]);
    }
    rows.push(["NATS for services", info().nats]);
    if (info().version) rows.push(["Version", info().version]);
    $("connection-facts").replaceChildren(...rows.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", { class: "mono" }, value))));
    $("connect").textContent = { connected: "Connect anew", waiting: "Try now" }[state.name] ?? "Connect";
    $("disconnect").disabled = state.name === "closed";
  };

  connection.on("state", facts);
  panel.addEventListener("beforetoggle", facts);
  $("connection-form").addEventListener("submit", (event) => {
    event.preventDefault();
    connection.open(address.value);
    panel.hidePopover();
  });
  $("disconnect").addEventListener("click", () => connection.close());
}
