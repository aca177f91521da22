// Says in words how the connection is, on the header's button and to screen readers; both pages use it.

import { $ } from "./dom.js";

const CLOSE_WORDS = {
  1000: "closed normally",
  1001: "the server went away",
  1002: "protocol error",
  1006: "no answer, or the network broke",
  1009: "message too large",
  1011: "server error",
  1012: "the server restarts",
  1013: "the server is overloaded",
};

const TRANSPORTS = { websocket: "WebSocket", sse: "event stream", polling: "long polling" };

/** How messages travel. */
export const transportOf = ({ transport = "websocket" }) => TRANSPORTS[transport] ?? transport;

/** "1012: the server restarts", with the server's own reason before ours; of an end, why. */
export function closeWords({ name, code, reason, error }) {
  if (name === "closed") return error?.message ?? "closed by you";
  if (reason === "drain") return "the server is leaving, and named the time to come back";
  const words = reason || CLOSE_WORDS[code] || "";
  if (!code) return words;
  return words ? `${code}: ${words}` : String(code);
}

/** Keeps `#state`, `#state-transport` and `#announce` true. `connection`: a client of the SDK, or the console's. */
export function bindConnectionState(connection) {
  const button = $("state");
  const text = $("state-text");
  let ticking = 0;
  let isTold = false;

  const show = (words, state) => {
    if (text.textContent !== words) text.textContent = words;
    button.dataset.state = state;
  };

  const waitWords = (retryAt) => {
    const seconds = Math.ceil((retryAt - Date.now()) / 1000);
    return seconds > 0 ? `Reconnecting in ${seconds} s` : "Reconnecting";
  };

  const follow = (state) => {
    clearInterval(ticking);
    button.title = "";
    $("state-transport").textContent = state.name === "connected" ? transportOf(state) : "";
    if (state.name === "connected") {
      show("Connected", "connected");
      $("announce").textContent = "Connected";
      isTold = false;
    } else if (state.name === "connecting") {
      show(state.attempt ? "Reconnecting" : "Connecting", "connecting");
    } else if (state.name === "waiting") {
      const retryAt = Date.now() + state.delayMs;
      const tick = () => show(waitWords(retryAt), "waiting");
      ticking = setInterval(tick, 250);
      tick();
      button.title = `Closed with ${closeWords(state)}`;
      // Once for each outage; the countdown would be chatter.
      if (!isTold) $("announce").textContent = `Connection lost, ${closeWords(state)}. Trying again.`;
      isTold = true;
    } else {
      show(state.error ? `Closed (${closeWords(state)})` : "Disconnected", "closed");
      $("announce").textContent = `Connection closed, ${closeWords(state)}`;
    }
  };
  connection.on("state", follow);
  if (connection.state.name !== "closed") follow(connection.state);
}
