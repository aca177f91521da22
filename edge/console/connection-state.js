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

/** "1012: the server restarts", with the server's own reason before ours. */
export function closeWords({ code, reason }) {
  const words = reason || CLOSE_WORDS[code] || "";
  if (code === undefined) return words;
  return words ? `${code}: ${words}` : String(code);
}

/** Keeps `#state` and `#announce` true. */
export function bindConnectionState(connection) {
  const button = $("state");
  const text = $("state-text");
  let ticking = 0;

  const show = (words, state) => {
    if (text.textContent !== words) text.textContent = words;
    button.dataset.state = state;
  };

  const waitWords = (retryAt) => {
    const seconds = Math.ceil((retryAt - Date.now()) / 1000);
    return seconds > 0 ? `Reconnecting in ${seconds} s` : "Reconnecting";
  };

  connection.on("state", (state) => {
    clearInterval(ticking);
    button.title = "";
    if (state.name === "connected") {
      show("Connected", "connected");
      $("announce").textContent = "Connected";
    } else if (state.name === "connecting") {
      show(state.attempt ? "Reconnecting" : "Connecting", "connecting");
    } else if (state.name === "waiting") {
      const tick = () => show(waitWords(state.retryAt), "waiting");
      ticking = setInterval(tick, 250);
      tick();
      button.title = `Closed with ${closeWords(state)}`;
      // Once for each outage; the countdown would be chatter.
      if (state.attempt === 1) $("announce").textContent = `Connection lost, ${closeWords(state)}. Trying again.`;
    } else {
      show(state.code === 1000 ? "Disconnected" : `Closed (${closeWords(state)})`, "closed");
      $("announce").textContent = `Connection closed, ${closeWords(state)}`;
    }
  });
}
