// The form that publishes from the page. What the server says is shown right below, with what to do.

import { trouble } from "./advice.js";
import { copyButton, h } from "./dom.js";
import { count, duration } from "./format.js";
import { publishCommand } from "./guide.js";

/** A person waits. */
const TIMEOUT_MS = 10_000;

/** A payload as typed: JSON if it is JSON, else text. */
function parsePayload(text) {
  try {
    return { payload: JSON.parse(text), isJson: true };
  } catch {
    return { payload: text, isJson: false };
  }
}

export function bindPublish({ form, channel, payload, kind, button, result, connection, channels, info }) {
  const showKind = () => {
    kind.textContent = parsePayload(payload.value).isJson ? "JSON" : "not JSON, goes as text";
  };

  const offerSubscription = (name) => {
    if (channels.has(name)) return null;
    const offer = h("button", { class: "button small", type: "button" }, `Subscribe to ${name}`);
    offer.addEventListener("click", () => {
      channels.add(name);
      offer.remove();
    });
    return offer;
  };

  const showError = (error, name) => {
    if (error.code !== "forbidden") {
      result.replaceChildren(trouble(error));
      return;
    }
    const command = publishCommand(info(), name, payload.value);
    result.replaceChildren(trouble(error, "Under tailwater dev, pages may publish to chat.> only. Services publish to NATS:",
      h("div", { class: "snippet" }, h("pre", { class: "mono", tabindex: "0" }, command), copyButton(() => command))));
  };

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const name = channel.value.trim();
    const sentAt = performance.now();
    button.disabled = true;
    try {
      const { offset } = await connection.client.publish(name, parsePayload(payload.value).payload, { timeoutMs: TIMEOUT_MS });
      const where = offset === undefined ? "" : `, stored at offset ${count(offset)}`;
      result.replaceChildren(h("div", { class: "fine" }, h("p", {}, `Published to ${name} in ${duration(performance.now() - sentAt)}${where}`), offerSubscription(name)));
    } catch (error) {
      showError(error, name);
    } finally {
      button.disabled = false;
    }
  });

  payload.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  });
  payload.addEventListener("input", showKind);
  showKind();
}
